"""What waits for an account: operators first, then venue reports, then the market, bounded, fresh quotes in place of
stale ones."""

import asyncio
from collections import deque
from time import perf_counter
from typing import NamedTuple

from aether.domain.events import Event, MarketEvent, OperatorEvent, Quote, Timer, VenueReport
from aether.domain.identifiers import InstrumentId

INBOX_LIMIT = 4_096


class Input(NamedTuple):
    """An event on its way to the engine.

    Attributes:
        request_id: of the operator request it comes from, 0 for none.
        entered: when it entered, by `perf_counter`.
        is_live: it is of now; the past that an account is given first, and recordings, have only their own time.
    """

    event: Event
    request_id: int
    entered: float
    is_live: bool = True


class Inbox:
    """The queue of one account.

    `offer` never waits: when the queue is full, a quote takes the place of the waiting quote of its instrument, and
    anything else is shed and counted. `put` waits for room and is for sources that can.
    """

    def __init__(self) -> None:
        self._operators: deque[Input] = deque()
        self._reports: deque[Input] = deque()
        self._market: deque[Input] = deque()
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.drained = asyncio.Event()
        """Set while nothing waits and everything taken has been dealt with."""
        self._closed = False
        self._shed = 0

    def __len__(self) -> int:
        return len(self._operators) + len(self._reports) + len(self._market)

    @property
    def has_reports(self) -> bool:
        """Whether a venue's report waits."""
        return bool(self._reports)

    def offer(self, event: MarketEvent | Timer) -> None:
        """Take an event if there is room, replace a stale quote if there is not, shed it otherwise."""
        if len(self._market) < INBOX_LIMIT:
            self._append(event)
        elif not (isinstance(event, Quote) and self._replace_quote(event, event.instrument)):
            self._shed += 1

    async def put(self, event: MarketEvent | Timer) -> None:
        """Take an event of the past or of a recording, waiting for room."""
        while len(self._market) >= INBOX_LIMIT and not self._closed:
            self._room.clear()
            await self._room.wait()
        self._append(event, is_live=False)

    def put_request(self, event: OperatorEvent, request_id: int) -> None:
        """Take an operator's decision; it goes before everything else. Nothing is taken once closed."""
        if self._closed:
            return
        self._operators.append(Input(event, request_id, perf_counter()))
        self.drained.clear()
        self._ready.set()

    def put_report(self, event: VenueReport) -> None:
        """Take a venue's report; it goes before market data and is never shed, until closed: it is told again then."""
        if self._closed:
            return
        self._reports.append(Input(event, 0, perf_counter()))
        self.drained.clear()
        self._ready.set()

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
        while self._market and len(taken) < limit:
            taken.append(self._market.popleft())
        self._room.set()
        return taken

    def take_shed(self) -> int:
        """Return how many events were shed since the last call."""
        shed, self._shed = self._shed, 0
        return shed

    def close(self) -> None:
        """Let `take` end after what is waiting."""
        self._closed = True
        self._ready.set()
        self._room.set()

    def _append(self, event: MarketEvent | Timer, *, is_live: bool = True) -> None:
        if self._closed:
            return
        self._market.append(Input(event, 0, perf_counter(), is_live))
        self.drained.clear()
        self._ready.set()

    def _replace_quote(self, event: Quote, instrument: InstrumentId) -> bool:
        for n, waiting in enumerate(self._market):
            if isinstance(waiting.event, Quote) and waiting.event.instrument == instrument:
                del self._market[n]
                self._append(event)
                return True
        return False
