"""An account's trading at one venue: the sockets, limits and tasks around a `Tracker`, which says what to ask.

The session asks what is due, one task for each request, and gives the answers back. It compares with the venue after
each (re)connection before anything new is sent, then at a steady pace, and when a balance moved without an execution:
open orders, executions, balances. Cancels and questions go on while the private socket is away.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from aether.domain.commands import Severity
from aether.domain.errors import AetherError, Failure, VenueError
from aether.domain.events import BalanceReported, VenueNoted, VenueReport
from aether.domain.identifiers import AssetCode, BalanceKey, ClientOrderId, VenueOrderId, balance_key
from aether.domain.instruments import Instrument
from aether.domain.orders import OrderRequest
from aether.domain.scaled import amount_of_size, format_amount
from aether.telemetry import FOREIGN_ORDERS, VENUE_OVERDUE, logger
from aether.venues.actions import (
    Action,
    Amend,
    Balances,
    Cancel,
    CancelAllOrders,
    ClosedOrders,
    DeadManSwitch,
    Fills,
    GetOrder,
    OpenOrders,
    Submit,
)
from aether.venues.client import Permit, VenueClient
from aether.venues.connection import Connected, Connection, Disconnected
from aether.venues.messages import Balance, Execution, Message, OrderUpdate
from aether.venues.protocol import CancelScope, Credentials, refuse
from aether.venues.reconciliation import Held, Ids, Remembered, foreign_fill
from aether.venues.stream import Channel, Stream
from aether.venues.tracked import Ask, ListOpen, LookUp, NotSentError, ReadFills, Send, Sweep, Tracked, Withdraw
from aether.venues.tracker import DEADLINE_S, SETTLE_MARGIN_S, Tracker

_log = logger("session")

ANSWER_TIMEOUT_S = 5.0
COMPARE_EVERY_S = 60.0
CLOCK_EVERY_S = 300.0
BALANCES_AFTER_S = 0.1
OVERLAP_S = 60.0
"""Executions are read again from so long before the last comparison: clocks differ."""
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
WATCH_EVERY_S = 1.0
TOLD_AFTER_S = 10.0
"""A wish that a venue has not fulfilled for so long is told, and again each time it has lasted twice as long."""
DEAD_MAN_REFRESHES = 3
"""Times that the dead-man switch is refreshed within its own time-out."""


class _Permit:
    """Whether one order may still go (`aether.venues.client.Permit`)."""

    def __init__(self, tracker: Tracker, tracked: Tracked, clock: Callable[[], float]) -> None:
        self._tracker = tracker
        self._tracked = tracked
        self._clock = clock

    def check(self) -> float:
        """Return how many seconds the order has left."""
        return self._tracker.check(self._tracked, self._clock())

    def use(self) -> float:
        """Return how many seconds the order has left; it leaves now."""
        return self._tracker.permit(self._tracked, self._clock())


class ExecutionSession:
    """Trading with one key at one venue.

    Args:
        client: with credentials; markets are loaded.
        use_socket: send orders over the socket where the venue takes them there.
        dead_man_s: have the venue cancel everything when we are silent so long (Kraken); 0 for never.
        holds: send nothing new before `allow` is called, also once the venue has been compared.
    """

    def __init__(
        self,
        client: VenueClient,
        *,
        use_socket: bool = True,
        dead_man_s: int = 0,
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
        self.on_still: Callable[[], None] = lambda: None
        """Called when a stop has been confirmed: the venue's list is empty."""
        self._client = client
        self._protocol = client.protocol
        self._use_socket = use_socket
        self._dead_man_s = dead_man_s
        self._answer_timeout_s = answer_timeout_s
        self._compare_every_s = compare_every_s
        self._holds = holds
        self._clock = client.clock
        self.tracker = Tracker(
            client.protocol.wire_id,
            self.reports.put_nowait,
            cancels_by_client_id=client.protocol.cancel_scope is not CancelScope.ORDER,
            deadline_s=deadline_s,
            settle_margin_s=settle_margin_s,
        )
        self.held = Held()
        self._token = ""
        self._is_checked = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._comparing = asyncio.Lock()
        self._moved = asyncio.Event()
        self._ids: Ids | None = None
        self._remembered: Remembered | None = None
        self._is_stopping = False
        self._told_s = 0.0
        self._told_highest = 0
        self._told_foreign: set[VenueOrderId] = set()
        self.connection = Connection(
            client.protocol,
            client.http,
            client.protocol.urls.private,
            make_stream=lambda: client.protocol.stream(depth=10, bar_s=60),
            opening=self._opening,
        )

    @property
    def balances(self) -> dict[BalanceKey, int]:
        """What the venue said last of what is held."""
        venue = self._protocol.venue
        return {balance_key(venue, AssetCode(asset)): total for asset, total in self.held.totals.items()}

    @property
    def _account(self) -> str:
        return self._remembered.account if self._remembered else ""

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
            self._start(self._measure_in_time())
            self._start(self._watch())
            if self._dead_man_s:
                self._start(self._refresh_dead_man())
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
        """Trade with another key from now on; no order is lost over it.

        Orders take the REST way, where the old key was good until now and the new one is from now on, while the
        private socket is opened anew.
        """
        self.ready.clear()
        await self.connection.settle(self._answer_timeout_s)
        self._client.use_key(credentials)
        self._is_checked = False
        await self.connection.close()
        await self.ready.wait()

    def begin(self, remembered: Remembered) -> None:
        """Go on from what the account's books hold: orders, and from when on nobody listened."""
        self._remembered = remembered
        self._ids = Ids(remembered, self._protocol.wire_id)
        for order in remembered.orders:
            self.tracker.restore(order)
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
        self._token = await self._client.stream_token()
        texts = []
        for channel in (Channel.ORDERS, Channel.BALANCES):
            credential = self._protocol.stream_credential(
                channel, credentials, self._token, now_ms=self._client.now_ms()
            )
            texts += stream.subscribe(channel, [], credential=credential)
        return texts

    async def _refresh_dead_man(self) -> None:
        while True:
            await self.ready.wait()
            try:
                await self._perform(DeadManSwitch(timeout_s=self._dead_man_s))
            except VenueError as error:
                _log.warning("dead_man_not_refreshed", venue=self._protocol.venue, reason=error.message)
            await asyncio.sleep(self._dead_man_s / DEAD_MAN_REFRESHES)

    async def _measure_in_time(self) -> None:
        """Measure the venue's clock again and again: ours may drift."""
        while True:
            await asyncio.sleep(CLOCK_EVERY_S)
            with suppress(VenueError):
                await self._client.measure_clock()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task_failed", venue=self._protocol.venue, reason=f"{type(error).__name__}: {error}")

    # What the account wants.

    def submit(self, request: OrderRequest, age_s: float = 0.0) -> None:
        """Send an order; what becomes of it comes in `reports`.

        Args:
            age_s: how long ago it was decided.
        """
        if self._ids is not None:
            self._ids.given(request.id)
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
        self._pump()

    async def amend(self, order_id: ClientOrderId, *, size: int = 0, limit_price: int = 0) -> None:
        """Change size or price of an open order, as far as the venue offers it.

        Raises:
            UnsupportedError, VenueError: when it cannot be, or the venue refuses.
        """
        tracked = self.tracker.orders[order_id]
        instrument = self._instrument(tracked.request)
        action = Amend(
            symbol=instrument.symbol,
            client_order_id=tracked.request.id,
            venue_order_id=tracked.venue_order_id,
            size=instrument.size_text(size) if size else "",
            price=instrument.price_text(limit_price) if limit_price else "",
        )
        await self._perform(action, order_age_s=self._age_s(tracked))
        changes: dict[str, int] = {}
        if size:
            changes["size"] = size
        if limit_price:
            changes["limit_price"] = limit_price
        tracked.request = msgspec.structs.replace(tracked.request, **changes)

    def _instrument(self, request: OrderRequest) -> Instrument:
        return self._protocol.listings.of(request.instrument).instrument

    def left(self) -> str:
        """Return what a stop still waits for, for people."""
        orders = len(self.tracker.unwanted()) + len(self.tracker.foreign)
        return f"{orders} orders not seen to be gone for {self.tracker.overdue(self._clock()):.0f} s"

    def _age_s(self, tracked: Tracked) -> float:
        return self._clock() - tracked.decided_s

    # What is due is asked.

    def _pump(self) -> None:
        """Ask what is due, and come back when more is."""
        now = self._clock()
        for ask in self.tracker.due(now):
            self._start(self._carry_out(ask))
        for execution in self.tracker.take_foreign_fills():
            self._note_id(execution.client_id)
            self._put(foreign_fill(execution))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        next_s = self.tracker.next_s()
        if next_s is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, next_s - now), self._pump)
        if self._is_stopping and self.is_still:
            self._is_stopping = False
            self.on_still()

    async def _carry_out(self, ask: Ask) -> None:
        """Ask and bring the answer to the tracker; whatever goes wrong is an answer too."""
        try:
            match ask:
                case Send(order):
                    await self._send(order)
                case Withdraw(order):
                    await self._withdraw(order)
                case LookUp(order):
                    await self._look_up(order)
                case ReadFills(order):
                    await self._read_fills(order)
                case Sweep():
                    await self._sweep(ask)
                case ListOpen():
                    asked_s = self._clock()
                    listed = await self._client.call(OpenOrders())
                    self._listed(listed, asked_s, is_of_stop=True)
        except Exception as error:  # noqa: BLE001  whatever it is, the wish stands and is driven on
            self._note_failure(ask, error)
        self._pump()

    def _note_failure(self, ask: Ask, error: Exception) -> None:
        known = isinstance(error, VenueError)
        _log.warning(
            "request_failed",
            venue=self._protocol.venue,
            request=type(ask).__name__,
            reason=error.message if isinstance(error, AetherError) else f"{type(error).__name__}: {error}",
            exc_info=not known,
        )
        now = self._clock()
        if isinstance(ask, Sweep | ListOpen):
            self.tracker.sweep_failed(now)
        elif isinstance(ask, Send):
            self.tracker.lost(ask.order, now)
        else:
            self.tracker.failed(ask.order, now)

    async def _send(self, tracked: Tracked) -> None:
        permit = _Permit(self.tracker, tracked, self._clock)
        try:
            venue_order_id = await self._perform(self._action(tracked.request), permit=permit)
        except NotSentError as error:
            self.tracker.refused(tracked, str(error), self._clock())
        except VenueError as error:
            if error.failure is not Failure.UNKNOWN_OUTCOME:
                self.tracker.refused(tracked, error.message, self._clock())
                return
            _log.warning("unknown_outcome", order_id=tracked.request.id, reason=error.message)
            self.tracker.lost(tracked, self._clock())
        except AetherError as error:
            self.tracker.refused(tracked, str(error), self._clock())
        except KeyError:
            self.tracker.refused(tracked, f"{tracked.request.instrument} is not listed", self._clock())
        else:
            self.tracker.accepted(tracked, venue_order_id, self._clock())

    def _action(self, request: OrderRequest) -> Submit:
        instrument = self._instrument(request)
        price = instrument.price_text
        return Submit(
            symbol=instrument.symbol,
            side=request.side,
            type=request.type,
            size=instrument.size_text(request.size),
            price=price(request.limit_price) if request.limit_price else "",
            trigger_price=price(request.trigger_price) if request.trigger_price else "",
            trail=price(request.trail) if request.trail else "",
            display_size=instrument.size_text(request.display_size) if request.display_size else "",
            time_in_force=request.time_in_force,
            post_only=request.post_only,
            expire_s=request.expire_ns // 1_000_000_000,
            client_order_id=request.id,
            deadline_ms=int(self.tracker.deadline_s * 1000),
        )

    async def _perform(self, action: Action, *, order_age_s: float = 1e9, permit: Permit | None = None) -> VenueOrderId:
        """Carry out a trading action, on the socket where it is open and takes it, over REST otherwise."""
        takes = self._use_socket and isinstance(action, self._protocol.socket_actions)
        if takes and self.connection.is_open and self.ready.is_set():
            return await self._client.in_time(lambda: self._on_socket(action, order_age_s, permit))
        result = await self._client.call(action, order_age_s=order_age_s, permit=permit)
        return VenueOrderId(result if isinstance(result, str) else "")

    async def _on_socket(self, action: Action, order_age_s: float, permit: Permit | None) -> VenueOrderId:
        credentials = self._client.credentials
        assert credentials is not None
        await self._client.admit(action, self._protocol.requests(action), order_age_s, permit)

        def text(number: int) -> str:
            now_ms, sent = self._client.now_ms(), action
            if isinstance(sent, Submit) and permit is not None:
                sent = msgspec.structs.replace(sent, deadline_ms=max(1, int(permit.use() * 1000)))
            return self._protocol.socket_request(sent, number, credentials, self._token, now_ms=now_ms)

        answer = await self.connection.request(text, self._answer_timeout_s)
        if answer.failure is not None:
            raise refuse(self._protocol.venue, answer.failure, answer.reason)
        return answer.venue_order_id

    async def _withdraw(self, tracked: Tracked) -> None:
        symbol = self._instrument(tracked.request).symbol
        action = Cancel(symbol=symbol, client_order_id=tracked.request.id, venue_order_id=tracked.venue_order_id)
        try:
            await self._perform(action, order_age_s=self._age_s(tracked))
        except VenueError as error:
            _log.warning("cancel_failed", order_id=tracked.request.id, reason=error.message)
            self.tracker.cancel_failed(tracked, error.failure, self._clock())
        else:
            self.tracker.withdrawn(tracked, self._clock())

    async def _look_up(self, tracked: Tracked) -> None:
        symbol = self._instrument(tracked.request).symbol
        action = GetOrder(symbol=symbol, client_order_id=tracked.request.id, venue_order_id=tracked.venue_order_id)
        asked_s = self._clock()
        try:
            update: OrderUpdate = await self._client.call(action)
        except VenueError as error:
            if error.failure is not Failure.NOT_FOUND:
                raise
            self.tracker.not_found(tracked, asked_s, self._clock())
        else:
            self.tracker.found(tracked, update, self._clock())

    async def _read_fills(self, tracked: Tracked) -> None:
        symbol = self._instrument(tracked.request).symbol
        since_s = max(0, int(tracked.decided_s) - 60)
        action = Fills(symbol=symbol, since_s=since_s, venue_order_id=tracked.venue_order_id)
        executions: list[Execution] = await self._client.call(action)
        own = [e for e in executions if e.venue_order_id == tracked.venue_order_id]
        self.tracker.fills_read(tracked, own, self._clock())
        self._note_execution()

    async def _sweep(self, sweep: Sweep) -> None:
        """Cancel everything in the way that the venue offers: all at once, by pair, or by number."""
        scope = self._protocol.cancel_scope
        if scope is CancelScope.ACCOUNT:
            await self._perform(CancelAllOrders())
        elif scope is CancelScope.SYMBOL:
            instruments = {t.request.instrument for t in sweep.orders} | {u.instrument for u in sweep.listed}
            symbols = {self._protocol.listings.of(i).instrument.symbol for i in instruments}
            for symbol in sorted(symbols):
                await self._cancel_symbol(symbol)
        else:
            numbers = [t.venue_order_id for t in sweep.orders] + [u.venue_order_id for u in sweep.listed]
            if known := tuple(n for n in dict.fromkeys(numbers) if n):
                await self._client.call(CancelAllOrders(venue_order_ids=known))
        self.tracker.swept(self._clock())

    async def _cancel_symbol(self, symbol: str) -> None:
        try:
            await self._client.call(CancelAllOrders(symbol=symbol))
        except VenueError as error:
            if error.failure is not Failure.NOT_FOUND:
                raise

    # What the venue tells.

    def _take(self, message: Message | Connected | Disconnected) -> None:
        now = self._clock()
        if isinstance(message, Execution):
            self.tracker.executed(message, now)
            self._note_execution()
        elif isinstance(message, OrderUpdate):
            self.tracker.updated(message, now)
        elif isinstance(message, Balance):
            self._balance(message, now)
        elif isinstance(message, Connected):
            self._start(self._compare())
        elif isinstance(message, Disconnected):
            self.ready.clear()
        else:
            return
        self._pump()

    def _note_execution(self) -> None:
        self.held.note_execution(self._clock())
        if not self._protocol.tells_balances:
            self._moved.set()

    def _balance(self, balance: Balance, told_s: float) -> None:
        """Take in a balance as it was at `told_s`."""
        key = balance_key(self._protocol.venue, AssetCode(balance.asset))
        if self.held.told(balance, told_s):
            self._put(BalanceReported(ts_ns=balance.ts_ns or int(told_s * 1e9), key=key, total=balance.total))

    def _put(self, report: VenueReport) -> None:
        self.reports.put_nowait(report)

    # Comparison with the venue.

    async def _compare(self) -> None:
        """Compare after a (re)connection; trading goes on once that is done."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self.compare()
                break
            except VenueError as error:
                _log.warning("comparison_failed", venue=self._protocol.venue, reason=error.message)
            await asyncio.sleep(wait_s)
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)
        self.tracker.may_send = not self._holds
        self.ready.set()
        self._pump()

    async def _compare_in_time(self) -> None:
        """Compare at a steady pace, whatever the stream says; and read balances where no stream tells them."""
        while True:
            try:
                await asyncio.wait_for(self._moved.wait(), self._compare_every_s)
            except TimeoutError:
                work = self.compare
            else:
                await asyncio.sleep(BALANCES_AFTER_S)
                work = self._read_balances
            self._moved.clear()
            try:
                await work()
            except VenueError as error:
                _log.warning("comparison_failed", venue=self._protocol.venue, reason=error.message)
                self._moved.set()
                await asyncio.sleep(LONGEST_WAIT_S)

    async def compare(self) -> None:
        """Bring every open order, execution and balance to what the venue says.

        Raises:
            VenueError: when the venue cannot be asked.
        """
        async with self._comparing:
            asked_s = self._clock()
            self._listed(await self._client.call(OpenOrders()), asked_s)
            if self._remembered is not None and not self.held.settled_s:
                await self._catch_up(self._remembered)
            before = dict(self.held.totals)
            await self._read_balances()
            if not self.held.is_explained(before):
                await self._read_all_fills(self.held.settled_s - OVERLAP_S)
            self.held.settled_s = asked_s
            self._pump()

    async def _catch_up(self, remembered: Remembered) -> None:
        """Read what happened since the books end, and whether the venue knows order ids that they do not."""
        since_s = remembered.since_ns / 1e9
        for symbol in self._symbols():
            ended: list[OrderUpdate] = await self._client.call(
                ClosedOrders(symbol=symbol, since_s=max(0, int(since_s)))
            )
            for update in ended:
                self._note_id(update.client_id)
        await self._read_all_fills(since_s)
        self._pump()
        self._tell_ahead()

    def _note_id(self, wire_id: ClientOrderId) -> None:
        if self._ids is not None:
            self._ids.seen(wire_id)

    def _tell_ahead(self) -> None:
        """Say once that the venue knows later order ids than the books."""
        highest = self._ids.highest if self._ids else 0
        if highest > self._told_highest:
            self._told_highest = highest
            told = (
                f"{self._protocol.venue} knows order {highest} of this account, the books do not: they are the older. "
                "Orders go on above it; compare positions before you resume"
            )
            self._note(Severity.CRITICAL, "books_behind", told, next_order=highest + 1)

    def _listed(self, updates: list[OrderUpdate], asked_s: float, *, is_of_stop: bool = False) -> None:
        self.tracker.listed(updates, asked_s, self._clock(), is_of_stop=is_of_stop)
        for number, update in self.tracker.foreign.items():
            self._note_id(update.client_id)
            if number not in self._told_foreign:
                self._told_foreign.add(number)
                self._note(Severity.WARNING, "foreign_order", self._describe(update))
        FOREIGN_ORDERS.labels(self._account, self._protocol.venue).set(len(self.tracker.foreign))
        if self.held.settled_s:
            self._tell_ahead()

    def _describe(self, update: OrderUpdate) -> str:
        side = update.side or "an order"
        instrument = self._protocol.listings.of(update.instrument).instrument
        size = format_amount(amount_of_size(update.size, instrument.size_decimals))
        return (
            f"{self._protocol.venue} works order {update.venue_order_id} ({side} {size} of {update.instrument}), which "
            "this account did not place"
        )

    async def _read_balances(self) -> None:
        asked_s = self._clock()
        read: list[Balance] = await self._client.call(Balances())
        for balance in read:
            self._balance(balance, asked_s)

    async def _read_all_fills(self, since_s: float) -> None:
        """Read every execution since a time; those that are known change nothing."""
        for symbol in self._symbols():
            for execution in await self._client.call(Fills(symbol=symbol, since_s=max(0, int(since_s)))):
                self.tracker.executed(execution, self._clock())

    def _symbols(self) -> list[str]:
        """Return what to ask executions of: everything at once, or pair by pair where the venue wants that."""
        if self._protocol.cancel_scope is not CancelScope.SYMBOL:
            return [""]
        instruments = {t.request.instrument for t in self.tracker.orders.values()}
        if self._remembered is not None:
            instruments |= set(self._remembered.instruments)
        listed = self._protocol.listings
        return sorted(listed.of(i).instrument.symbol for i in instruments if listed.has(i))

    # What people are told.

    async def _watch(self) -> None:
        """Tell of wishes that the venue does not fulfil, again each time they have lasted twice as long."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            overdue_s = self.tracker.overdue(self._clock())
            VENUE_OVERDUE.labels(self._account, self._protocol.venue).set(overdue_s)
            if overdue_s < TOLD_AFTER_S:
                self._told_s = 0.0
            elif overdue_s >= 2 * self._told_s:
                self._told_s = overdue_s
                left = len(self.tracker.unwanted()) + len(self.tracker.foreign)
                told = f"{self._protocol.venue} has not taken back {left or 'all'} orders for {overdue_s:.0f} s"
                self._note(Severity.CRITICAL, "not_canceled", told)

    def _note(self, severity: Severity, code: str, text: str, *, next_order: int = 0) -> None:
        _log.warning(code, venue=self._protocol.venue, reason=text)
        note = VenueNoted(ts_ns=int(self._clock() * 1e9), severity=severity, code=code, text=text)
        self._put(msgspec.structs.replace(note, next_order=next_order))
