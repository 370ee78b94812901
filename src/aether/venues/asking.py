"""Carrying out what a `Tracker` asks: one request of a venue each, over the socket or over REST; the answer goes back.

Whatever goes wrong is an answer too: the wish stands, and the tracker asks again.
"""

import asyncio
from collections.abc import Callable

import msgspec

from aether.domain.errors import AetherError, Failure, VenueError
from aether.domain.events import RejectedBy
from aether.domain.identifiers import VenueOrderId, symbol_of
from aether.domain.instruments import Instrument
from aether.domain.orders import OrderRequest
from aether.telemetry import logger
from aether.venues.actions import Action, Amend, Cancel, CancelAllOrders, Fates, Fills, GetOrder, OpenOrders, Submit
from aether.venues.client import Permit, VenueClient
from aether.venues.connection import Connection
from aether.venues.messages import Execution, OrderUpdate
from aether.venues.profile import CancelScope
from aether.venues.protocol import refuse
from aether.venues.tracked import Ask, ListOpen, LookUp, NotSentError, ReadFills, Send, Sweep, Tracked, Withdraw
from aether.venues.tracker import Tracker

_log = logger("session")

Listed = Callable[[list[OrderUpdate], float], None]
"""Takes the open orders that a stop asked for, and when it asked."""


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


class Asker:
    """The way from one account's tracker to its venue.

    Args:
        may_use_socket: whether trading requests may go over the socket now.
        on_listed: takes the list of open orders that a stop wanted.
        on_execution: called when executions were read.
    """

    def __init__(
        self,
        client: VenueClient,
        connection: Connection,
        tracker: Tracker,
        answer_timeout_s: float,
        *,
        may_use_socket: Callable[[], bool],
        on_listed: Listed,
        on_execution: Callable[[], None],
    ) -> None:
        self.token = ""
        """Of the private socket."""
        self.tracker = tracker
        self._client = client
        self._connection = connection
        self._protocol = client.protocol
        self._clock = client.clock
        self._answer_timeout_s = answer_timeout_s
        self._may_use_socket = may_use_socket
        self._on_listed = on_listed
        self._on_execution = on_execution
        self._together: list[Tracked] = []
        """Orders whose fates are asked for next."""
        self._asking_fates = asyncio.Lock()

    def instrument(self, request: OrderRequest) -> Instrument:
        """Return what an order is of. Raises KeyError when the venue does not list it."""
        return self._protocol.listings.of(request.instrument).instrument

    def age_s(self, tracked: Tracked) -> float:
        """Return how long ago an order was decided."""
        return self._clock() - tracked.decided_s

    async def carry_out(self, ask: Ask) -> None:
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
                    self._on_listed(listed, asked_s)
        except Exception as error:  # noqa: BLE001  whatever it is, the wish stands and is driven on
            self._note_failure(ask, error)

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
            venue_order_id = await self.perform(self._action(tracked.request), permit=permit)
        except NotSentError as error:
            self.tracker.refused(tracked, str(error), self._clock(), error.by)
        except VenueError as error:
            if error.failure is not Failure.UNKNOWN_OUTCOME:
                by = RejectedBy.ANSWER if error.failure.is_answer else RejectedBy.FAILURE
                self.tracker.refused(tracked, error.message, self._clock(), by)
                return
            _log.warning("unknown_outcome", order_id=tracked.request.id, reason=error.message)
            self.tracker.lost(tracked, self._clock())
        except AetherError as error:
            self.tracker.refused(tracked, str(error), self._clock(), RejectedBy.US)
        except KeyError:
            self.tracker.refused(tracked, f"{tracked.request.instrument} is not listed", self._clock(), RejectedBy.US)
        else:
            self.tracker.accepted(tracked, venue_order_id, self._clock())

    def _action(self, request: OrderRequest) -> Submit:
        instrument = self.instrument(request)
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

    async def perform(self, action: Action, *, order_age_s: float = 1e9, permit: Permit | None = None) -> VenueOrderId:
        """Carry out a trading action, on the socket where it is open and takes it, over REST otherwise."""
        takes = isinstance(action, self._protocol.profile.socket_actions)
        if takes and self._connection.is_open and self._may_use_socket():
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
            return self._protocol.socket_request(sent, number, credentials, self.token, now_ms=now_ms)

        answer = await self._connection.request(text, self._answer_timeout_s)
        if answer.failure is not None:
            raise refuse(self._protocol.venue, answer.failure, answer.reason)
        return answer.venue_order_id

    async def _withdraw(self, tracked: Tracked) -> None:
        symbol = symbol_of(tracked.request.instrument)
        action = Cancel(symbol=symbol, client_order_id=tracked.request.id, venue_order_id=tracked.venue_order_id)
        try:
            await self.perform(action, order_age_s=self.age_s(tracked))
        except VenueError as error:
            _log.warning("cancel_failed", order_id=tracked.request.id, reason=error.message)
            self.tracker.cancel_failed(tracked, error.failure, self._clock())
        else:
            self.tracker.withdrawn(tracked, self._clock())

    async def amend(self, tracked: Tracked, size: int, limit_price: int) -> None:
        """Change size or price of an open order; 0 leaves it. Raises UnsupportedError, VenueError."""
        instrument = self.instrument(tracked.request)
        action = Amend(
            symbol=instrument.symbol,
            client_order_id=tracked.request.id,
            venue_order_id=tracked.venue_order_id,
            size=instrument.size_text(size) if size else "",
            price=instrument.price_text(limit_price) if limit_price else "",
            post_only=tracked.request.post_only,
        )
        await self.perform(action, order_age_s=self.age_s(tracked))
        wanted = {"size": size, "limit_price": limit_price}
        tracked.request = msgspec.structs.replace(tracked.request, **{k: v for k, v in wanted.items() if v})

    async def _look_up(self, tracked: Tracked) -> None:
        """Ask for an order's fate; where the venue tells many at once, together with those that wait meanwhile."""
        if self._protocol.profile.fates_at_once == 1 or not self._is_listed(tracked.request):
            await self._look_up_one(tracked)
            return
        self._together.append(tracked)
        async with self._asking_fates:
            if not any(t is tracked for t in self._together):
                return  # answered with those before
            most = self._protocol.profile.fates_at_once
            orders, self._together = self._together[:most], self._together[most:]
            await (self._look_up_all(orders) if len(orders) > 1 else self._look_up_one(tracked))

    async def _look_up_all(self, orders: list[Tracked]) -> None:
        """Ask for many fates at the price of one; what the answer leaves open is asked for alone."""
        known = [t.venue_order_id for t in orders if t.venue_order_id]
        new_s = [t.decided_s for t in orders if not t.venue_order_id]
        action = Fates(venue_order_ids=tuple(known), since_s=max(1, int(min(new_s)) - 60) if new_s else 0)
        asked_s = self._clock()
        try:
            updates: list[OrderUpdate] = await self._client.call(action)
        except Exception as error:  # noqa: BLE001  each of them is asked for again
            updates, is_whole = [], False
            if not isinstance(error, VenueError) or error.failure not in (Failure.NOT_FOUND, Failure.REJECTED):
                for tracked in orders:
                    self._note_failure(LookUp(tracked), error)
                return
        else:
            is_whole = len(updates) < self._protocol.profile.fates_at_once
        by_number = {u.venue_order_id: u for u in updates}
        by_ours = {u.client_id: u for u in updates if u.client_id}
        for tracked in orders:
            update = by_number.get(tracked.venue_order_id) or by_ours.get(tracked.wire_id)
            if update is not None:
                self.tracker.found(tracked, update, self._clock())
            elif is_whole and not tracked.venue_order_id:
                self.tracker.not_found(tracked, asked_s, self._clock())
            else:
                await self._alone(tracked)

    async def _alone(self, tracked: Tracked) -> None:
        try:
            await self._look_up_one(tracked)
        except Exception as error:  # noqa: BLE001  as in `carry_out`
            self._note_failure(LookUp(tracked), error)

    async def _look_up_one(self, tracked: Tracked) -> None:
        symbol = symbol_of(tracked.request.instrument)
        action = GetOrder(symbol=symbol, client_order_id=tracked.request.id, venue_order_id=tracked.venue_order_id)
        asked_s = self._clock()
        try:
            update: OrderUpdate = await self._client.call(action)
        except VenueError as error:
            is_gone = error.failure is Failure.REJECTED and not self._is_listed(tracked.request)
            if error.failure is not Failure.NOT_FOUND and not is_gone:
                raise
            self.tracker.not_found(tracked, asked_s, self._clock())
        else:
            self.tracker.found(tracked, update, self._clock())

    async def _read_fills(self, tracked: Tracked) -> None:
        symbol = symbol_of(tracked.request.instrument)
        since_s = max(1, int(tracked.decided_s) - 60)
        action = Fills(symbol=symbol, since_s=since_s, venue_order_id=tracked.venue_order_id)
        if not self._is_listed(tracked.request):
            _log.error("executions_unreadable", order_id=tracked.request.id, instrument=tracked.request.instrument)
            self.tracker.fills_unreadable(tracked, self._clock())
            return
        executions: list[Execution] = await self._client.call(action)
        own = [e for e in executions if e.venue_order_id == tracked.venue_order_id]
        self.tracker.fills_read(tracked, own, self._clock())
        self._on_execution()

    async def _sweep(self, sweep: Sweep) -> None:
        """Cancel everything in the way that the venue offers: all at once, by pair, or by number."""
        scope = self._protocol.profile.cancel_scope
        if scope is CancelScope.ACCOUNT:
            await self.perform(CancelAllOrders())
        elif scope is CancelScope.SYMBOL:
            instruments = {t.request.instrument for t in sweep.orders} | {u.instrument for u in sweep.listed}
            await self._cancel_each({symbol_of(i) for i in instruments})
        else:
            numbers = [t.venue_order_id for t in sweep.orders] + [u.venue_order_id for u in sweep.listed]
            if known := tuple(n for n in dict.fromkeys(numbers) if n):
                await self._client.call(CancelAllOrders(venue_order_ids=known))
        self.tracker.swept(self._clock())

    async def _cancel_each(self, symbols: set[str]) -> None:
        """Cancel everything pair by pair; one that is refused keeps none of the others. Raises VenueError."""
        failed: VenueError | None = None
        for symbol in sorted(symbols):
            try:
                await self._client.call(CancelAllOrders(symbol=symbol))
            except VenueError as error:
                if error.failure is not Failure.NOT_FOUND:
                    failed = error
        if failed is not None:
            raise failed

    def _is_listed(self, request: OrderRequest) -> bool:
        return self._protocol.listings.has(request.instrument)
