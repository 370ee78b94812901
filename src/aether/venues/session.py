"""An account's trading at one venue: orders out, reports in, and no doubt left standing.

An order is sent once. When its answer is lost, its outcome is unknown, and the session asks the venue for it by our
order id until the venue tells: found, it is reported as it stands; not found after the deadline that the order itself
carried (plus a margin), it never arrived and is reported as rejected. Cancels may be repeated: a second one does no
harm.

After each (re)connection the session compares what it knows with what the venue says: open orders, executions,
balances. Executions are reported once, by the venue's trade id, whichever way they come.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from time import time, time_ns
from typing import Any

import msgspec

from aether.domain.errors import AetherError, Failure, VenueError
from aether.domain.events import (
    BalanceReported,
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    VenueReport,
)
from aether.domain.identifiers import AssetCode, BalanceKey, ClientOrderId, TradeId, VenueOrderId, balance_key
from aether.domain.instruments import Instrument
from aether.domain.orders import Order, OrderRequest, OrderState, TimeInForce
from aether.telemetry import logger
from aether.venues.actions import (
    Action,
    Amend,
    Balances,
    Cancel,
    CancelAllOrders,
    DeadManSwitch,
    Fills,
    GetOrder,
    OpenOrders,
    Submit,
)
from aether.venues.client import VenueClient
from aether.venues.connection import Connected, Connection, Disconnected
from aether.venues.messages import Balance, Execution, Message, OrderUpdate
from aether.venues.protocol import CancelScope, Credentials, refuse
from aether.venues.stream import Channel, Stream

_log = logger("session")

DEADLINE_MS = 5_000
"""How long after it was made a venue may still accept an order, where the venue takes a deadline."""
SETTLE_MARGIN_S = 2.0
"""How long after its deadline an order that the venue does not know is taken for never arrived."""
ANSWER_TIMEOUT_S = 5.0
QUERY_FIRST_WAIT_S = 0.1
QUERY_LONGEST_WAIT_S = 5.0
CANCEL_ATTEMPTS = 8
BALANCES_AFTER_S = 0.1
CLOSED_KEPT = 4_096
EARLY_KEPT = 1_024
"""Orders of which the stream may speak before the answer to their request tells that they are ours."""
DEAD_MAN_REFRESHES = 3
"""Times that the dead-man switch is refreshed within its own time-out."""


class Tracked(msgspec.Struct):
    """An order as the session knows it."""

    request: OrderRequest
    wire_id: ClientOrderId
    venue_order_id: VenueOrderId = VenueOrderId("")
    filled: int = 0
    accepted: bool = False
    closed: bool = False
    sent_s: float = 0.0
    trades: set[TradeId] = msgspec.field(default_factory=set)


class _Backoff:
    """Waits between attempts, each twice as long as the one before."""

    def __init__(self) -> None:
        self._wait_s = QUERY_FIRST_WAIT_S

    async def wait(self) -> None:
        await asyncio.sleep(self._wait_s)
        self._wait_s = min(QUERY_LONGEST_WAIT_S, self._wait_s * 2)


class ExecutionSession:
    """Trading with one key at one venue.

    Args:
        client: with credentials; markets are loaded.
        use_socket: send orders over the socket where the venue takes them there.
        dead_man_s: have the venue cancel everything when we are silent so long (Kraken); 0 for never.
    """

    def __init__(
        self,
        client: VenueClient,
        *,
        use_socket: bool = True,
        dead_man_s: int = 0,
        deadline_ms: int = DEADLINE_MS,
        settle_margin_s: float = SETTLE_MARGIN_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        assert client.credentials is not None, "trading needs a key"
        self.reports: asyncio.Queue[VenueReport] = asyncio.Queue()
        self.balances: dict[BalanceKey, int] = {}
        """As the venue told last."""
        self.orders: dict[ClientOrderId, Tracked] = {}
        self.foreign: set[VenueOrderId] = set()
        """Orders at the venue that are not ours."""
        self.ready = asyncio.Event()
        """Set while the private socket is open and everything has been compared."""
        self.unknown_outcomes = 0
        self._client = client
        self._protocol = client.protocol
        self._use_socket = use_socket
        self._dead_man_s = dead_man_s
        self._deadline_ms = deadline_ms
        self._settle_margin_s = settle_margin_s
        self._answer_timeout_s = answer_timeout_s
        self._by_wire: dict[ClientOrderId, Tracked] = {}
        self._by_venue: dict[VenueOrderId, Tracked] = {}
        self._early: dict[VenueOrderId, list[Execution | OrderUpdate]] = {}
        self._token = ""
        self._reading_balances = False
        self._is_checked = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling: dict[ClientOrderId, asyncio.Lock] = {}
        self.connection = Connection(
            client.protocol,
            client.http,
            client.protocol.urls.private,
            make_stream=lambda: client.protocol.stream(depth=10, bar_s=60),
            opening=self._opening,
        )

    # Life.

    async def run(self) -> None:
        """Keep the private socket open and work through what it tells, until canceled.

        Raises:
            WithdrawingKeyError: when the key may withdraw; nothing was sent then.
        """
        try:
            if self._dead_man_s:
                self._start(self._refresh_dead_man())
            async for message in self.connection.messages():
                self._take(message)
        finally:
            self.ready.clear()
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

    def restore(self, order: Order) -> None:
        """Take up an order that was open when an earlier session ended; what had been reported of it is not again."""
        tracked = self._track(order.request)
        tracked.filled, tracked.trades = order.filled, set(order.trade_ids)
        tracked.accepted = order.state is not OrderState.SUBMITTED or bool(order.filled)
        tracked.sent_s = order.created_ns / 1e9
        if order.venue_order_id:
            self._learn(tracked, order.venue_order_id)

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

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Orders out.

    def submit(self, request: OrderRequest) -> None:
        """Send an order; what becomes of it comes in `reports`."""
        self._start(self._submit(self._track(request)))

    def cancel(self, order_id: ClientOrderId) -> None:
        """Cancel an order; the outcome comes in `reports`."""
        self._start(self._cancel(order_id))

    def cancel_all(self) -> None:
        """Cancel every order of the key, ours or not."""
        self._start(self._cancel_all())

    async def amend(self, order_id: ClientOrderId, *, size: int = 0, limit_price: int = 0) -> None:
        """Change size or price of an open order, as far as the venue offers it.

        Raises:
            UnsupportedError, VenueError: when it cannot be, or the venue refuses.
        """
        tracked = self.orders[order_id]
        instrument = self._instrument(tracked.request)
        action = Amend(
            symbol=instrument.symbol,
            client_order_id=tracked.request.id,
            venue_order_id=tracked.venue_order_id,
            size=instrument.size_text(size) if size else "",
            price=instrument.price_text(limit_price) if limit_price else "",
        )
        await self._perform(action, self._age_s(tracked))
        changes: dict[str, int] = {}
        if size:
            changes["size"] = size
        if limit_price:
            changes["limit_price"] = limit_price
        tracked.request = msgspec.structs.replace(tracked.request, **changes)

    def _instrument(self, request: OrderRequest) -> Instrument:
        return self._protocol.listings.of(request.instrument).instrument

    def _track(self, request: OrderRequest) -> Tracked:
        tracked = Tracked(request=request, wire_id=self._protocol.wire_id(request.id))
        self.orders[request.id] = tracked
        self._by_wire[tracked.wire_id] = tracked
        if len(self.orders) > CLOSED_KEPT:
            self._forget_closed()
        return tracked

    def _forget_closed(self) -> None:
        for order_id, tracked in list(self.orders.items()):
            if len(self.orders) <= CLOSED_KEPT:
                return
            if tracked.closed:
                del self.orders[order_id], self._by_wire[tracked.wire_id]
                self._by_venue.pop(tracked.venue_order_id, None)
                self._settling.pop(order_id, None)

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
            deadline_ms=self._deadline_ms,
        )

    async def _submit(self, tracked: Tracked) -> None:
        tracked.sent_s = time()
        try:
            venue_order_id = await self._perform(self._action(tracked.request))
        except (AetherError, KeyError) as error:
            if isinstance(error, VenueError) and error.failure is Failure.UNKNOWN_OUTCOME:
                self.unknown_outcomes += 1
                _log.warning("unknown_outcome", order_id=tracked.request.id, reason=error.message)
                await self._resolve(tracked)
            else:
                known = isinstance(error, AetherError)
                self._reject(tracked, str(error) if known else f"{tracked.request.instrument} is not listed")
            return
        self._accept(tracked, venue_order_id, time_ns())

    async def _perform(self, action: Action, order_age_s: float = 1e9) -> VenueOrderId:
        """Carry out a trading action, on the socket where it is open and takes it, over REST otherwise."""
        takes = self._use_socket and isinstance(action, self._protocol.socket_actions)
        if takes and self.connection.is_open and self.ready.is_set():
            return await self._on_socket(action, order_age_s)
        result = await self._client.call(action, order_age_s=order_age_s)
        return VenueOrderId(result if isinstance(result, str) else "")

    async def _on_socket(self, action: Action, order_age_s: float) -> VenueOrderId:
        credentials = self._client.credentials
        assert credentials is not None
        await self._client.admit(action, self._protocol.requests(action), order_age_s)

        def text(number: int) -> str:
            now_ms = self._client.now_ms()
            return self._protocol.socket_request(action, number, credentials, self._token, now_ms=now_ms)

        answer = await self.connection.request(text, self._answer_timeout_s)
        if answer.failure is not None:
            raise refuse(self._protocol.venue, answer.failure, answer.reason)
        return answer.venue_order_id

    async def _resolve(self, tracked: Tracked) -> None:
        """Ask for an order whose outcome is unknown until the venue tells."""
        backoff = _Backoff()
        final_s = tracked.sent_s + self._deadline_ms / 1000 + self._settle_margin_s
        while not tracked.accepted and not tracked.closed:
            asked_s = time()
            try:
                update = await self._query(tracked)
            except VenueError as error:
                if error.failure is Failure.NOT_FOUND and asked_s > final_s:
                    self._reject(tracked, "it never reached the venue")
                    return
            else:
                await self._settle(tracked, update)
                return
            await backoff.wait()

    async def _query(self, tracked: Tracked) -> OrderUpdate:
        symbol = self._instrument(tracked.request).symbol
        action = GetOrder(symbol=symbol, client_order_id=tracked.request.id, venue_order_id=tracked.venue_order_id)
        update: OrderUpdate = await self._client.call(action)
        return update

    async def _cancel(self, order_id: ClientOrderId) -> None:
        tracked = self.orders.get(order_id)
        if tracked is None or tracked.closed:
            self._put(CancelRejected(ts_ns=time_ns(), order_id=order_id, reason="no such open order"))
            return
        backoff = _Backoff()
        for _ in range(CANCEL_ATTEMPTS):
            try:
                await self._cancel_once(tracked)
                return
            except VenueError as error:
                if tracked.closed:
                    return
                if error.failure is Failure.NOT_FOUND and await self._ended(tracked):
                    return
                if error.failure in (Failure.REJECTED, Failure.AUTH):
                    self._put(CancelRejected(ts_ns=time_ns(), order_id=order_id, reason=error.message))
                    return
            await backoff.wait()
        self._put(CancelRejected(ts_ns=time_ns(), order_id=order_id, reason="the venue did not take the cancel"))

    async def _cancel_once(self, tracked: Tracked) -> None:
        if not tracked.venue_order_id and self._protocol.cancel_scope is CancelScope.ORDER:
            await self._settle(tracked, await self._query(tracked))
        symbol = self._instrument(tracked.request).symbol
        action = Cancel(symbol=symbol, client_order_id=tracked.request.id, venue_order_id=tracked.venue_order_id)
        await self._perform(action, self._age_s(tracked))

    async def _ended(self, tracked: Tracked) -> bool:
        """Whether an order that could not be canceled has ended; reports how."""
        try:
            update = await self._query(tracked)
        except VenueError:
            return False
        await self._settle(tracked, update)
        return tracked.closed

    async def _cancel_all(self) -> None:
        backoff = _Backoff()
        for _ in range(CANCEL_ATTEMPTS):
            try:
                if self._protocol.cancel_scope is CancelScope.ACCOUNT:
                    await self._perform(CancelAllOrders())
                    return
                listed: list[OrderUpdate] = await self._client.call(OpenOrders())
                if not listed:
                    return
                for action in self._cancels_of(listed):
                    await self._client.call(action)
                return
            except VenueError as error:
                _log.warning("cancel_all_failed", venue=self._protocol.venue, reason=error.message)
            await backoff.wait()

    def _cancels_of(self, listed: list[OrderUpdate]) -> list[CancelAllOrders]:
        if self._protocol.cancel_scope is CancelScope.ORDER:
            return [CancelAllOrders(venue_order_ids=tuple(update.venue_order_id for update in listed))]
        symbols = {self._protocol.listings.of(update.instrument).instrument.symbol for update in listed}
        return [CancelAllOrders(symbol=symbol) for symbol in sorted(symbols)]

    @staticmethod
    def _age_s(tracked: Tracked) -> float:
        return time() - tracked.sent_s

    # Reports in.

    def _take(self, message: Message | Connected | Disconnected) -> None:
        if isinstance(message, Execution):
            self._execution(message)
        elif isinstance(message, OrderUpdate):
            self._update(message)
        elif isinstance(message, Balance):
            self._balance(message)
        elif isinstance(message, Connected):
            self._start(self._compare())
        elif isinstance(message, Disconnected):
            self.ready.clear()

    def _find(self, client_id: ClientOrderId, venue_order_id: VenueOrderId) -> Tracked | None:
        tracked = self._by_venue.get(venue_order_id) or self._by_wire.get(client_id)
        if tracked is not None and venue_order_id and not tracked.venue_order_id:
            self._learn(tracked, venue_order_id)
        return tracked

    def _learn(self, tracked: Tracked, venue_order_id: VenueOrderId) -> None:
        tracked.venue_order_id = venue_order_id
        self._by_venue[venue_order_id] = tracked
        for message in self._early.pop(venue_order_id, ()):
            self._take(message)

    def _execution(self, execution: Execution) -> None:
        tracked = self._find(execution.client_id, execution.venue_order_id)
        if tracked is not None:
            self._fill(tracked, execution)
        else:
            self._keep_early(execution)

    def _keep_early(self, message: Execution | OrderUpdate) -> bool:
        """Keep what the stream says of an order whose number the venue has not told us yet; return whether that may
        be one of ours."""
        ours = any(not t.venue_order_id and not t.closed for t in self.orders.values())
        if ours:
            self._early.setdefault(message.venue_order_id, []).append(message)
            while len(self._early) > EARLY_KEPT:
                del self._early[next(iter(self._early))]
        return ours

    def _fill(self, tracked: Tracked, execution: Execution) -> None:
        if execution.trade_id in tracked.trades:
            return
        tracked.trades.add(execution.trade_id)
        tracked.filled += execution.size
        self._accept(tracked, execution.venue_order_id, execution.ts_ns)
        self._put(
            OrderFilled(
                ts_ns=execution.ts_ns,
                order_id=tracked.request.id,
                venue_order_id=execution.venue_order_id,
                trade_id=execution.trade_id,
                price=execution.price,
                size=execution.size,
                fee=execution.fee,
                fee_asset=execution.fee_asset,
                liquidity=execution.liquidity,
                instrument=tracked.request.instrument,
                side=tracked.request.side,
            )
        )
        if tracked.filled >= tracked.request.size:
            tracked.closed = True
        if not self._protocol.tells_balances and not self._reading_balances:
            self._reading_balances = True
            self._start(self._read_balances())

    def _update(self, update: OrderUpdate) -> None:
        tracked = self._find(update.client_id, update.venue_order_id)
        if tracked is None:
            if not self._keep_early(update):
                self.foreign.add(update.venue_order_id)
            return
        if update.filled > tracked.filled or not _is_final(update.state):
            self._start(self._settle(tracked, update))
        else:
            self._close(tracked, update)

    async def _settle(self, tracked: Tracked, update: OrderUpdate) -> None:
        """Bring an order to what an update says, with executions that have not been told fetched first."""
        if update.state is OrderState.REJECTED:
            self._reject(tracked, update.reason or "rejected by the venue")
            return
        if update.state is not OrderState.SUBMITTED:
            self._accept(tracked, update.venue_order_id, update.ts_ns)
        lock = self._settling.setdefault(tracked.request.id, asyncio.Lock())
        async with lock:
            if update.filled > tracked.filled:
                await self._fetch_fills(tracked, update.filled)
            if _is_final(update.state):
                self._close(tracked, update)

    async def _fetch_fills(self, tracked: Tracked, filled: int) -> None:
        symbol = self._instrument(tracked.request).symbol
        backoff = _Backoff()
        while tracked.filled < filled:
            action = Fills(
                symbol=symbol, since_s=max(0, int(tracked.sent_s) - 60), venue_order_id=tracked.venue_order_id
            )
            try:
                for execution in await self._client.call(action):
                    if execution.venue_order_id == tracked.venue_order_id:
                        self._fill(tracked, execution)
            except VenueError as error:
                _log.warning("fills_not_read", order_id=tracked.request.id, reason=error.message)
            if tracked.filled >= filled:
                return
            await backoff.wait()

    def _accept(self, tracked: Tracked, venue_order_id: VenueOrderId, ts_ns: int) -> None:
        if venue_order_id and not tracked.venue_order_id:
            self._learn(tracked, venue_order_id)
        if not tracked.accepted and not tracked.closed:
            tracked.accepted = True
            self._put(OrderAccepted(ts_ns=ts_ns, order_id=tracked.request.id, venue_order_id=tracked.venue_order_id))

    def _reject(self, tracked: Tracked, reason: str) -> None:
        if not tracked.closed and not tracked.accepted:
            tracked.closed = True
            self._put(OrderRejected(ts_ns=time_ns(), order_id=tracked.request.id, reason=reason))

    def _close(self, tracked: Tracked, update: OrderUpdate) -> None:
        if tracked.closed or update.state is OrderState.FILLED:
            return
        tracked.closed = True
        immediate = tracked.request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        kind = OrderExpired if update.state is OrderState.EXPIRED or immediate else OrderCanceled
        self._put(kind(ts_ns=update.ts_ns or time_ns(), order_id=tracked.request.id, reason=update.reason))

    def _balance(self, balance: Balance) -> None:
        key = balance_key(self._protocol.venue, AssetCode(balance.asset))
        if self.balances.get(key) != balance.total:
            self.balances[key] = balance.total
            self._put(BalanceReported(ts_ns=balance.ts_ns or time_ns(), key=key, total=balance.total))

    async def _read_balances(self) -> None:
        """Fetch balances after executions, where no socket tells them."""
        await asyncio.sleep(BALANCES_AFTER_S)
        self._reading_balances = False
        with suppress(VenueError):
            for balance in await self._client.call(Balances()):
                self._balance(balance)

    def _put(self, report: VenueReport) -> None:
        self.reports.put_nowait(report)

    # Comparison with the venue.

    async def _compare(self) -> None:
        """Compare orders and balances after a (re)connection; trading goes on once that is done."""
        backoff = _Backoff()
        while True:
            try:
                await self.compare()
                self.ready.set()
                return
            except VenueError as error:
                _log.warning("comparison_failed", venue=self._protocol.venue, reason=error.message)
            await backoff.wait()

    async def compare(self) -> None:
        """Bring every open order and balance to what the venue says.

        Raises:
            VenueError: when the venue cannot be asked.
        """
        listed: list[OrderUpdate] = await self._client.call(OpenOrders())
        for update in listed:
            tracked = self._find(update.client_id, update.venue_order_id)
            if tracked is None:
                self.foreign.add(update.venue_order_id)
            else:
                await self._settle(tracked, update)
        seen = {update.venue_order_id for update in listed}
        for tracked in list(self.orders.values()):
            if not tracked.closed and tracked.venue_order_id not in seen:
                await self._look_up(tracked)
        for balance in await self._client.call(Balances()):
            self._balance(balance)

    async def _look_up(self, tracked: Tracked) -> None:
        """Ask for an order that should be open and is not; one that the venue never knew is resolved in time."""
        try:
            await self._settle(tracked, await self._query(tracked))
        except VenueError as error:
            if error.failure is not Failure.NOT_FOUND:
                raise
            if not tracked.accepted:
                self._start(self._resolve(tracked))
            elif not tracked.closed:
                tracked.closed = True
                reason = "the venue does not know it any more"
                _log.error("order_vanished", order_id=tracked.request.id, venue=self._protocol.venue)
                self._put(OrderCanceled(ts_ns=time_ns(), order_id=tracked.request.id, reason=reason))


def _is_final(state: OrderState) -> bool:
    return state in (OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED)
