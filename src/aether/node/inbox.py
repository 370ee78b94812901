"""What waits for an account: operators first, then venue reports, then the market; bounded, and whoever is behind takes
the latest in place of everything."""

import asyncio
from collections import deque
from typing import NamedTuple

from aether.clock import monotonic_s
from aether.domain.events import Event, MarketDelayed, OperatorEvent, VenueReport
from aether.node.appetite import conflated
from aether.store.market_log import Logged

INBOX_LIMIT = 4_096


class Input(NamedTuple):
    """An event on its way to the engine.

    Attributes:
        request_id: of the operator request it comes from, 0 for none.
        entered: when it entered, by `monotonic_s`.
        is_live: it is of now; the past that an account is given first, and recordings, have only their own time.
        logged: of the market, with its position; None for the account's own inputs.
    """

    event: Event
    request_id: int
    entered: float
    is_live: bool = True
    logged: Logged | None = None


class Inbox:
    """The queue of one account.

    Nothing of the market is refused: when more waits than `INBOX_LIMIT`, it is conflated, and the account is told up to
    where (`MarketDelayed`) before it takes what is left.
    """

    def __init__(self) -> None:
        self._operators: deque[Input] = deque()
        self._reports: deque[Input] = deque()
        self._market: deque[Input] = deque()
        self._limit = INBOX_LIMIT
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self.drained = asyncio.Event()
        """Set while nothing waits and everything taken has been dealt with."""
        self._closed = False
        self._shed = 0
        self._conflated_to = 0

    def __len__(self) -> int:
        return len(self._operators) + len(self._reports) + len(self._market)

    @property
    def has_reports(self) -> bool:
        """Whether a venue's report waits."""
        return bool(self._reports)

    @property
    def is_full(self) -> bool:
        """Whether a source that can wait should."""
        return len(self._market) >= INBOX_LIMIT and not self._closed

    async def room(self) -> None:
        """Return once there is room for more of the market."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def put_market(self, logged: Logged, entered: float, *, is_live: bool) -> None:
        """Take an event of the market."""
        if self._closed:
            return
        self._market.append(Input(logged.event, 0, entered, is_live, logged))
        if len(self._market) > self._limit:
            self._conflate()
        self._wake()

    def put_request(self, event: OperatorEvent, request_id: int) -> None:
        """Take an operator's decision; it goes before everything else. Nothing is taken once closed."""
        if self._closed:
            return
        self._operators.append(Input(event, request_id, monotonic_s()))
        self._wake()

    def put_report(self, event: VenueReport) -> None:
        """Take a venue's report; it goes before market data and is never shed, until closed: it is told again then."""
        if self._closed:
            return
        self._reports.append(Input(event, 0, monotonic_s()))
        self._wake()

    async def take(self, limit: int) -> list[Input]:
        """Return up to `limit` waiting inputs, at least one; an empty list once closed and empty."""
        while not len(self):
            self.drained.set()
            if self._closed:
                return []
            self._ready.clear()
            await self._ready.wait()
        taken = list(self._operators)
        self._operators.clear()
        while self._reports and len(taken) < limit:
            taken.append(self._reports.popleft())
        if self._conflated_to and self._market:
            taken.append(Input(MarketDelayed(ts_ns=0, through=self._conflated_to), 0, monotonic_s()))
            self._conflated_to = 0
            self._limit = INBOX_LIMIT
        while self._market and len(taken) < limit:
            taken.append(self._market.popleft())
        self._room.set()
        return taken

    def take_shed(self) -> int:
        """Return how many events were left out since the last call."""
        shed, self._shed = self._shed, 0
        return shed

    def close(self) -> None:
        """Let `take` end after what is waiting."""
        self._closed = True
        self._ready.set()
        self._room.set()

    def _wake(self) -> None:
        self.drained.clear()
        self._ready.set()

    def _conflate(self) -> None:
        """Keep of what waits only the bars and the latest; bars alone may be many, so the limit follows them."""
        waiting = {one.logged.pos: one for one in self._market if one.logged is not None}
        last = self._market[-1].logged
        kept = conflated(one.logged for one in self._market if one.logged is not None)
        self._shed += len(self._market) - len(kept)
        self._market = deque(waiting[logged.pos] for logged in kept)
        self._limit = max(INBOX_LIMIT, 2 * len(kept))
        assert last is not None
        self._conflated_to = last.pos
