"""Every joint state that an account can be in, reached by every event in every order, on the real engine.

A state is what the life cycles say: the stops, the stopped venues, the breaks, the orders with how they stand, and
whether anything is held. One engine stands for each; what it does next depends on nothing else that is looked at here.
The search goes by breadth, so the way to a state is a shortest one.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from aether.domain.accounts import Limits
from aether.domain.commands import Command, SubmitOrder
from aether.domain.events import (
    BalanceReported,
    CancelRejected,
    KillSwitchEngaged,
    KillSwitchReleased,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    SafeModeEngaged,
    SafeModeReleased,
    Timer,
    TradingResumed,
    VenueReleased,
    VenueStopped,
)
from aether.domain.identifiers import TradeId, VenueId
from aether.domain.orders import Order, OrderState, Purpose
from aether.domain.scaled import fee_of
from aether.engine.core import Engine
from aether.engine.stops import Stop
from aether.engine.strategy import Enter, Exit
from tests.desk import BTC, ETH, Desk, account

KEEP_ORDERS = {Stop.LOSS, Stop.SAFE, Stop.BREAK}
"""Stops under which what is open may stay; said here once more, for the table to be held against it."""
LEAVES: dict[Stop, set[str]] = {
    Stop.KILL: {"release"},
    Stop.FLATTEN: {"release", "kill"},
    Stop.FAULT: {"resume"},
    Stop.HALT: {"resume"},
    Stop.LOSS: {"resume"},
    Stop.SAFE: {"safe-mode-off"},
    Stop.BREAK: set(),
}
"""What leaves a stop; a break is left when its reason is gone."""
ROUNDS = 12
"""Answers of the venue after which a stop has to have ended."""
PAPER = VenueId("paper")
WIDE = Limits(
    max_position_bps=10_000, max_order_notional_bps=10_000, max_daily_fees_bps=10_000, max_daily_loss_bps=10_000,
    max_drawdown_bps=10_000, max_orders_per_minute=100_000, market_data_max_age_ms=3_600_000, duplicate_window_ms=0,
)  # fmt: skip


class Broken(NamedTuple):
    """What does not hold, and the shortest way to it."""

    what: str
    trace: tuple[str, ...]


class Explorer:
    """Walks the joint states.

    Args:
        orders: how many there are at most, the sales of a flatten among them.
        late: venues tell things of orders that are over too; otherwise those are forgotten.

    Attributes:
        ways: the shortest way to each state.
        tried: how often each kind of event was applied.
    """

    def __init__(self, orders: int, *, late: bool) -> None:
        self._orders = orders
        self._late = late
        self._desk = Desk(config=account(limits=WIDE), instruments=(BTC, ETH))
        self._desk.quote("49999.99", "50000.01")
        self.ways: dict[object, tuple[str, ...]] = {}
        self.tried: dict[str, int] = {}
        self.ended = 0

    def run(self) -> Broken | None:
        """Return the first thing that does not hold, None when all states do."""
        first = self._desk.engine.snapshot()
        self.ways[self._key()] = ()
        waiting = deque([(first, self._desk.now, ())])
        while waiting:
            snapshot, now, way = waiting.popleft()
            self._load(snapshot, now)
            for name in [name for name, _ in self._events()]:
                self._load(snapshot, now)
                before = set(self._desk.engine.state.stops), dict(self._desk.engine.state.stopped_venues)
                commands = dict(self._events())[name]()
                self.tried[name.split()[0]] = self.tried.get(name.split()[0], 0) + 1
                trace = (*way, name)
                if what := self._wrong(commands, *before) or self._left_wrongly(name, before[0]):
                    return Broken(what, trace)
                key = self._key()
                if key in self.ways:
                    continue
                self.ways[key] = trace
                if len(self._counted()) > self._orders:
                    continue
                after = self._desk.engine.snapshot()
                waiting.append((after, self._desk.now, trace))  # type: ignore[arg-type]
                if what := self._does_not_end():
                    return Broken(what, trace)
        return None

    # The state.

    def _load(self, snapshot: bytes, now: int) -> None:
        self._desk.engine = Engine(self._desk.catalogue, snapshot)
        self._desk.now = now

    def _all(self) -> list[Order]:
        state = self._desk.engine.state
        return sorted([*state.open_orders.values(), *state.closed_orders.values()], key=lambda o: o.request.id)

    def _counted(self) -> list[Order]:
        """Return the orders that are part of the state."""
        return [o for o in self._all() if self._late or o.state.is_open]

    def _key(self) -> object:
        state = self._desk.engine.state
        return (
            frozenset((stop, on.is_done) for stop, on in state.stops.items()),
            frozenset(state.stopped_venues),
            frozenset(b.kind for b in state.breaks.values()),
            tuple(sorted((o.request.instrument, o.request.purpose, o.state, _part(o)) for o in self._counted())),
            self._desk.held() > 0,
            self._desk.held(ETH) > 0,
            bool(state.unbooked),
        )

    # The events.

    def _events(self) -> Iterator[tuple[str, Callable[[], list[Command]]]]:
        desk = self._desk
        at: dict[str, Any] = {"ts_ns": desk.now, "reason": "test", "actor": "ada"}
        yield "kill", lambda: desk.tell(KillSwitchEngaged(**at))
        yield "kill-and-flatten", lambda: desk.tell(KillSwitchEngaged(**at, flatten=True))
        yield "release", lambda: desk.tell(KillSwitchReleased(**at))
        yield "safe-mode", lambda: desk.tell(SafeModeEngaged(**at))
        yield "safe-mode-off", lambda: desk.tell(SafeModeReleased(**at))
        yield "resume", lambda: desk.tell(TradingResumed(**at))
        yield "stop-venue", lambda: desk.tell(VenueStopped(**at, venue=PAPER))
        yield "release-venue", lambda: desk.tell(VenueReleased(**at, venue=PAPER))
        yield "balance-differs", lambda: self._balance(7)
        yield "balance-agrees", lambda: self._balance(0)
        if len(self._counted()) < self._orders:
            yield "enter", lambda: desk.want(Enter(instrument=BTC.id, limit_price=49_000.0))
            yield "enter-eth", self._enter_eth
            if desk.held():
                yield "exit", lambda: desk.want(Exit(instrument=BTC.id))
        for order in self._counted():
            yield from self._reports(int(order.request.id.rpartition("-")[2]), order)

    def _enter_eth(self) -> list[Command]:
        self._desk.quote("2999.99", "3000.01", ETH)
        self._desk.intents = [Enter(instrument=ETH.id, limit_price=2_950.0)]
        return self._desk.bar(3_000, ETH)

    def _balance(self, off: int) -> list[Command]:
        held = self._desk.engine.state.ledger.balance(BTC.quote_key).total
        return self._desk.tell(BalanceReported(ts_ns=self._desk.now, key=BTC.quote_key, total=held + off))

    def _reports(self, number: int, order: Order) -> Iterator[tuple[str, Callable[[], list[Command]]]]:
        desk, request = self._desk, order.request

        def tell(kind: Any, **more: Any) -> list[Command]:
            return desk.tell(kind(ts_ns=desk.now, order_id=request.id, **more))

        def fill(size: int) -> list[Command]:
            price = request.limit_price or (5_000_000 if request.instrument == BTC.id else 300_000)
            trade = TradeId(f"{request.id}-{order.filled}-{size}")
            return tell(
                OrderFilled, venue_order_id=f"V{number}", trade_id=trade, price=price, size=size,
                fee=fee_of(BTC.notional(price, size), 2_500), fee_asset=BTC.quote, liquidity="taker",
            )  # fmt: skip

        def accept() -> list[Command]:
            desk.accept(request)
            return []

        yield f"accept {number}", accept
        yield f"reject {number}", lambda: tell(OrderRejected, reason="no")
        yield f"cancel {number}", lambda: tell(OrderCanceled, reason="")
        yield f"expire {number}", lambda: tell(OrderExpired, reason="")
        yield f"refuse-cancel {number}", lambda: tell(CancelRejected, reason="too late")
        if order.filled == 0:
            yield f"fill-half {number}", lambda: fill(max(1, request.size // 2))
        if order.remaining > 0:
            yield f"fill-rest {number}", lambda: fill(order.remaining)

    # What holds.

    def _wrong(self, commands: list[Command], stops: set[Stop], venues: dict[Any, Any]) -> str:
        state = self._desk.engine.state
        if Stop.FAULT in state.stops:
            return f"the engine failed: {state.stops[Stop.FAULT].reason}"
        sent = [c.order.request for c in commands if isinstance(c, SubmitOrder)]
        for request in sent:
            if request.purpose is Purpose.ENTRY and (stops & set(state.stops) or venues.keys() & state.stopped_venues):
                return f"{request.id} enters while the account is stopped by {sorted(stops) or 'its venue'}"
        if self._working_under_a_stop():
            snapshot, now = self._desk.engine.snapshot(), self._desk.now
            self._desk.tell(Timer(ts_ns=now + 1))  # a venue may refuse a cancel; then it is asked again as time passes
            working = self._working_under_a_stop()
            self._load(snapshot, now)
            if working:
                return working
        locked = sum(o.reserved for o in state.open_orders.values())
        held = sum(balance.locked for balance in state.ledger.balances.values())
        if locked != held:
            return f"{held} are locked, open orders hold {locked}"
        return ""

    def _working_under_a_stop(self) -> str:
        state = self._desk.engine.state
        if set(state.stops) <= KEEP_ORDERS and PAPER not in state.stopped_venues:
            return ""
        for order in state.open_orders.values():
            if order.state is not OrderState.PENDING_CANCEL and order.request.purpose is not Purpose.FLATTEN:
                return f"{order.request.id} is {order.state} under {sorted(state.stops) or 'a stop of its venue'}"
        return ""

    def _left_wrongly(self, name: str, before: set[Stop]) -> str:
        """Return which stop was left by something that does not leave it."""
        state = self._desk.engine.state
        left = {stop for stop in before - set(state.stops) if name not in LEAVES[stop]}
        if Stop.BREAK in left and not state.breaks:
            left.discard(Stop.BREAK)
        return f"{name} left {', '.join(sorted(left))}" if left else ""

    def _does_not_end(self) -> str:
        """Kill, let the venue answer, and see that nothing is left; return what is."""
        snapshot, now = self._desk.engine.snapshot(), self._desk.now
        self._load(snapshot, now)
        desk = self._desk
        desk.tell(KillSwitchEngaged(ts_ns=now, reason="test", actor="ada"))
        for _ in range(ROUNDS):
            working = list(desk.engine.state.open_orders)
            if not working:
                break
            for order_id in working:
                desk.tell(OrderCanceled(ts_ns=desk.now, order_id=order_id, reason=""))
        left = sorted(desk.engine.state.open_orders)
        stops = set(desk.engine.state.stops)
        self._load(snapshot, now)
        self.ended += 1
        if Stop.KILL not in stops:
            return "a kill was not taken"
        return f"{', '.join(left)} are open after a kill that the venue answered" if left else ""


def _part(order: Order) -> str:
    if not order.filled:
        return "none"
    return "whole" if order.remaining <= 0 else "part"
