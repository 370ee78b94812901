"""An account's trading at one venue: the sockets, limits and tasks around a `Tracker`, which says what to ask.

The session asks what is due, one task for each request, and gives the answers back. It compares with the venue after
each (re)connection before anything new is sent, then at a steady pace, a quicker one while something moves: open
orders, balances, executions. Cancels and questions go on while the private socket is away.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from math import inf
from typing import Any

import msgspec

from aether.domain.accounts import LEAST_DEAD_MAN_S
from aether.domain.commands import Severity
from aether.domain.errors import UnsupportedError, VenueError, words_of
from aether.domain.events import VenueReport
from aether.domain.identifiers import BalanceKey, ClientOrderId
from aether.domain.orders import OrderRequest
from aether.telemetry import VENUE_OVERDUE, logger
from aether.venues.actions import DeadManSwitch
from aether.venues.asking import Asker
from aether.venues.client import VenueClient
from aether.venues.comparison import Comparison
from aether.venues.connection import Connected, Connection, Disconnected
from aether.venues.messages import Balance, Execution, Message, OrderUpdate, Unrecognized
from aether.venues.profile import CancelScope
from aether.venues.protocol import Credentials
from aether.venues.reconciliation import Remembered
from aether.venues.stream import Channel, Stream
from aether.venues.tracked import FIRST_WAIT_S, LONGEST_WAIT_S, Ask
from aether.venues.tracker import DEADLINE_S, SETTLE_MARGIN_S, Tracker

_log = logger("session")

ANSWER_TIMEOUT_S = 5.0
COMPARE_EVERY_S = 60.0
EMPTY_EVERY_S = 5.0
"""How often an account is compared that should have nothing open: an order may turn up late."""
MOVED_EVERY_S = 15.0
"""How often an account is compared in which something moves: no stream tells of an execution that it has lost."""
CLOCK_EVERY_S = 300.0
MISSED_EVERY_S = 5.0
"""How soon after the last an account is compared of which a message was not understood."""
BALANCES_AFTER_S = 0.1
WATCH_EVERY_S = 1.0
TOLD_AFTER_S = 10.0
"""A wish that a venue has not fulfilled for so long is told, and again each time it has lasted twice as long."""
DEAD_MAN_REFRESHES, FAILURES_TOLD = 3, 3
"""Times that the dead-man switch is refreshed within its own time-out, and after how many failures people are told."""


class ExecutionSession:
    """Trading with one key at one venue.

    Args:
        client: with credentials; markets are loaded.
        use_socket: send orders over the socket where the venue takes them there.
        holds: send nothing new before `allow` is called, also once the venue has been compared.
    """

    def __init__(
        self,
        client: VenueClient,
        *,
        use_socket: bool = True,
        deadline_s: float = DEADLINE_S,
        settle_margin_s: float = SETTLE_MARGIN_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        compare_every_s: float = COMPARE_EVERY_S,
        holds: bool = False,
    ) -> None:
        assert client.credentials is not None, "trading needs a key"
        self.reports: asyncio.Queue[VenueReport] = asyncio.Queue()
        self.ready = asyncio.Event()
        """Set while the private socket is open and everything has been compared."""
        self.wants_empty: Callable[[], bool] = lambda: False
        """Asked at each comparison: whether the account should have nothing open that is not its own wish."""
        self.dead_man_s: Callable[[], int] = lambda: 0
        """Asked again and again: after how long a silence of ours the venue should cancel everything; 0 for never."""
        self.on_still: Callable[[], None] = lambda: None
        """Called when a stop has been confirmed: the venue's list is empty."""
        self._client = client
        self._protocol = client.protocol
        self._answer_timeout_s = answer_timeout_s
        self._compare_every_s = compare_every_s
        self._holds = holds
        self._clock = client.clock
        self.tracker = Tracker(
            client.protocol.wire_id,
            self.reports.put_nowait,
            cancels_by_client_id=client.protocol.profile.cancel_scope is not CancelScope.ORDER,
            deadline_s=deadline_s,
            settle_margin_s=settle_margin_s,
        )
        self.comparison = Comparison(client, self.tracker, self.reports.put_nowait)
        self._is_checked = False
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()
        self._comparing: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._told_s = 0.0
        self.connection = Connection(
            client.protocol,
            client.http,
            client.protocol.urls.private,
            make_stream=lambda: client.protocol.stream(depth=10, bar_s=60),
            opening=self._opening,
            random_source=client.random,
        )
        self._asker = Asker(
            client,
            self.connection,
            self.tracker,
            answer_timeout_s,
            may_use_socket=lambda: use_socket and self.ready.is_set(),
            on_listed=lambda listed, asked_s: self.comparison.listed(listed, asked_s, is_of_stop=True),
            on_execution=self._note_execution,
        )

    @property
    def balances(self) -> dict[BalanceKey, int]:
        """What the venue said last of what is held."""
        return self.comparison.balances()

    @property
    def is_still(self) -> bool:
        """Whether no stop waits for the venue's list to be empty."""
        return not self.tracker.stopped_s

    # Life.

    async def run(self) -> None:
        """Keep the private socket open and work through what it tells, until canceled.

        Raises:
            WithdrawingKeyError: when the key may withdraw; nothing was sent then.
        """
        try:
            self._start(self._compare_in_time())
            self._start(self._again(CLOCK_EVERY_S, self._client.measure_clock, "clock_not_measured"))
            self._start(self._watch())
            self._start(self._keep_dead_man())
            self._pump()
            async for message in self.connection.messages():
                self._take(message)
        finally:
            self.ready.clear()
            if self._timer is not None:
                self._timer.cancel()
            for task in list(self._tasks):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def renew(self, credentials: Credentials) -> None:
        """Trade with another key from now on; no order is lost over it. `ready` is set once it works.

        Orders take the REST way, where the old key was good until now and the new one is from now on, while the
        private socket is opened anew.
        """
        self.ready.clear()
        await self.connection.settle(self._answer_timeout_s)
        self._client.use_key(credentials)
        self._is_checked = False
        await self.connection.close()

    def begin(self, remembered: Remembered) -> None:
        """Go on from what the account's books hold: orders, and from when on nobody listened."""
        now = self._clock()
        since_ns = min(remembered.since_ns, int(now * 1e9))
        self.comparison.begin(msgspec.structs.replace(remembered, since_ns=since_ns))
        for order in remembered.orders:
            self.tracker.restore(order, now)
        if remembered.is_stopped:
            self.stop()

    def allow(self, *, entries: bool = True) -> None:
        """Let orders out from now on.

        Args:
            entries: also those that were decided before now.
        """
        self._holds = False
        if not entries:
            self.tracker.drop_entries(self._clock())
        self.tracker.may_send = self.ready.is_set() or self.tracker.may_send
        self._pump()

    async def _opening(self, stream: Stream) -> list[str]:
        credentials = self._client.credentials
        assert credentials is not None
        if not self._is_checked:
            await self._client.check_key()
            self._is_checked = True
        await self._client.measure_clock()
        self._asker.token = await self._client.stream_token()
        texts = []
        for channel in (Channel.ORDERS, Channel.BALANCES):
            credential = self._protocol.stream_credential(
                channel, credentials, self._asker.token, now_ms=self._client.now_ms()
            )
            texts += stream.subscribe(channel, [], credential=credential)
        return texts

    async def _keep_dead_man(self) -> None:
        """Keep the venue's dead-man switch as the account wants it: armed and refreshed, or off.

        It may be armed from before: one that is not wanted is put off once.
        """
        armed_s, asked_s, failures = -1, -inf, 0
        while True:
            await self.ready.wait()
            wanted_s, now = self.dead_man_s(), self._clock()
            every_s = max(WATCH_EVERY_S, (wanted_s or LEAST_DEAD_MAN_S) / DEAD_MAN_REFRESHES)
            is_due = bool(wanted_s) and now - asked_s >= every_s
            if is_due or (wanted_s != armed_s and (not failures or now - asked_s >= every_s)):
                asked_s = now
                try:
                    await self._asker.perform(DeadManSwitch(timeout_s=wanted_s))
                    failures = 0
                except UnsupportedError:
                    if wanted_s and wanted_s != armed_s:
                        told = f"{self._protocol.venue} has no dead-man switch: orders there stay when we are silent"
                        self.comparison.note(Severity.WARNING, "no_dead_man", told)
                except Exception as error:  # noqa: BLE001  the next time it may work
                    failures += 1
                    _log.warning("dead_man_not_refreshed", venue=self._protocol.venue, reason=words_of(error))
                    if failures == FAILURES_TOLD and wanted_s:
                        told = f"{self._protocol.venue} does not take the dead-man switch: {words_of(error)}"
                        self.comparison.note(Severity.CRITICAL, "dead_man_refused", told)
                if not failures:
                    armed_s = wanted_s
            await asyncio.sleep(WATCH_EVERY_S)

    async def _again(self, every_s: float, work: Callable[[], Coroutine[Any, Any, object]], failed: str) -> None:
        """Do something again and again, whatever goes wrong."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001  the next time it may work
                _log.warning(failed, venue=self._protocol.venue, reason=words_of(error))
            await asyncio.sleep(every_s)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task_failed", venue=self._protocol.venue, reason=words_of(error))

    # What the account wants.

    def submit(self, request: OrderRequest, age_s: float = 0.0) -> None:
        """Send an order; what becomes of it comes in `reports`.

        Args:
            age_s: how long ago it was decided.
        """
        self.comparison.given(request.id)
        self.tracker.submit(request, self._clock() - age_s)
        self._pump()

    def cancel(self, order_id: ClientOrderId) -> None:
        """Want an order gone; the outcome comes in `reports`."""
        self.tracker.cancel(order_id, self._clock())
        self._pump()

    def stop(self) -> None:
        """Want every order of the key gone, ours or not, and the venue's list to be seen empty."""
        self._is_stopping = True
        self.tracker.stop(self._clock())
        self._moved.set()
        self._pump()

    async def amend(self, order_id: ClientOrderId, *, size: int = 0, limit_price: int = 0) -> None:
        """Change size or price of an open order; 0 leaves it. Raises UnsupportedError, VenueError."""
        await self._asker.amend(self.tracker.orders[order_id], size, limit_price)

    def _left(self) -> int:
        return len(self.tracker.unwanted()) + len(self.tracker.foreign)

    def left(self) -> str:
        """Return what a stop still waits for, for people."""
        what = f"{left} orders not seen to be gone" if (left := self._left()) else "no list of open orders seen"
        return f"{what} for {self.tracker.overdue(self._clock()):.0f} s"

    # What is due is asked.

    def _pump(self) -> None:
        """Ask what is due, and come back when more is."""
        now = self._clock()
        for ask in self.tracker.due(now):
            self._start(self._ask(ask))
        self.comparison.tell_foreign_fills()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        next_s = self.tracker.next_s()
        if next_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, next_s - now), self._pump)
        if self._is_stopping and self.is_still:
            self._is_stopping = False
            self.on_still()

    async def _ask(self, ask: Ask) -> None:
        await self._asker.carry_out(ask)
        self._pump()

    # What the venue tells.

    def _take(self, message: Message | Connected | Disconnected) -> None:
        now = self._clock()
        if isinstance(message, Execution):
            self.tracker.executed(message, now)
            self._note_execution()
        elif isinstance(message, OrderUpdate):
            self.tracker.updated(message, now)
            if any(self.comparison.takes(u.instrument) for u in self.tracker.foreign.values()):
                self._start(self.comparison.take_up())
        elif isinstance(message, Balance):
            self.comparison.balance(message, now)
            self._moved.set()
        elif isinstance(message, Unrecognized):
            self.comparison.miss()
            self._moved.set()
            return
        elif isinstance(message, Connected):
            self._end_comparing()
            self._comparing = self._start(self._compare())
        elif isinstance(message, Disconnected):
            self._end_comparing()
            self.ready.clear()
        else:
            return
        self._pump()

    def _end_comparing(self) -> None:
        """Give up a comparison after a connection that is gone: it would call a later one compared."""
        if self._comparing is not None:
            self._comparing.cancel()

    def _note_execution(self) -> None:
        if not self._protocol.profile.tells_balances:
            self._moved.set()

    # Comparison with the venue.

    async def compare(self) -> None:
        """Bring every open order, execution and balance to what the venue says.

        Raises:
            VenueError: when the venue cannot be asked.
        """
        await self.comparison.compare()
        if self.tracker.foreign and self.is_still and self.wants_empty() and self.tracker.owned_s() > 0:
            self.stop()
        self._pump()

    async def _compare(self) -> None:
        """Compare after a (re)connection; trading goes on once that is done."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self.compare()
                break
            except Exception as error:  # noqa: BLE001  whatever it is, nothing new leaves before it is mended
                self._not_compared(error)
            await asyncio.sleep(wait_s)
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)
        self.tracker.may_send = not self._holds
        self.ready.set()
        self._pump()

    def _not_compared(self, error: Exception) -> None:
        known = isinstance(error, VenueError)
        _log.warning("comparison_failed", venue=self._protocol.venue, reason=words_of(error), exc_info=not known)

    async def _compare_in_time(self) -> None:
        """Compare at a steady pace, whatever the stream says; and read balances where no stream tells them."""
        compared_s = self._clock()
        while True:
            left_s = compared_s + self._next_in_s() - self._clock()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, left_s)):
                    await self._moved.wait()
                await asyncio.sleep(BALANCES_AFTER_S)
            started_s = self._clock()
            is_due = started_s >= compared_s + self._next_in_s()
            if not is_due and not self._moved.is_set():
                continue
            self._moved.clear()
            try:
                if is_due:
                    await self.compare()
                    compared_s = started_s
                elif not self._protocol.profile.tells_balances:
                    await self.comparison.read_balances()
            except Exception as error:  # noqa: BLE001  the pace goes on
                self._not_compared(error)
                self._moved.set()
                await asyncio.sleep(LONGEST_WAIT_S)

    def _next_in_s(self) -> float:
        """Return how long after a comparison the next one is due."""
        if self.comparison.has_missed:
            return MISSED_EVERY_S
        moved_s = MOVED_EVERY_S if self.comparison.held.have_moved() else inf
        return min(self._compare_every_s, EMPTY_EVERY_S if self.wants_empty() else moved_s)

    async def _watch(self) -> None:
        """Tell of wishes that the venue does not fulfil, again each time they have lasted twice as long."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            overdue_s = self.tracker.overdue(self._clock())
            VENUE_OVERDUE.labels(self.comparison.account, self._protocol.venue).set(overdue_s)
            if overdue_s < TOLD_AFTER_S:
                self._told_s = 0.0
            elif overdue_s >= 2 * self._told_s:
                self._told_s = overdue_s
                told = f"{self._protocol.venue} has not taken back {self._left() or 'all'} orders for {overdue_s:.0f} s"
                self.comparison.note(Severity.CRITICAL, "not_canceled", told)
