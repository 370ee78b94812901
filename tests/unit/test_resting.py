"""Stops that rest at the venue (T6): they follow the plan, give way to every sale, and end with what is held."""

from itertools import pairwise

import msgspec
import pytest

from aether.control.configuration import Document, parse_document
from aether.domain.accounts import Exits, Reconciliation, StrategyAssignment
from aether.domain.errors import InvalidValueError
from aether.domain.events import (
    KillSwitchEngaged,
    KillSwitchReleased,
    OrderCanceled,
    OrderRejected,
    ParentOrderRequested,
    Timer,
    VenueReleased,
    VenueStopped,
)
from aether.domain.identifiers import StrategyName, VenueId, strategy_owner
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import OrderRequest, OrderState, OrderType, Purpose, Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.engine.exits import rests
from aether.engine.strategy import Enter, Exit, Intent, Rebalance
from aether.kernel.exits import STOP_HIT
from tests.desk import SECOND, Desk, account, alerts, canceled, configured, submitted

KRAKEN = make_instrument(VenueId("kraken"), "BTC/USD", price_decimals=2, size_decimals=8)
COINBASE = make_instrument(VenueId("coinbase"), "BTC/USD", price_decimals=2, size_decimals=8)
BRIDGED = make_instrument(VenueId("ccxt:bitstamp"), "BTC/USD", price_decimals=2, size_decimals=8)
STOP_ONLY = Exits(trailing_multiple=0, take_profit_multiple=0, at_venue=True)


class Resting(Desk):
    """A desk that trades one instrument, with time that beats."""

    def __init__(self, instrument: Instrument = KRAKEN, exits: Exits = STOP_ONLY) -> None:
        self.instrument = instrument
        assignment = StrategyAssignment(
            strategy=StrategyName("scripted"), instruments=(instrument.id,), bar_s=60, params={}
        )
        super().__init__(config=account(exits=exits, strategies=(assignment,)), instruments=(instrument,))

    def want(self, *intents: Intent, price: float = 50_000) -> list:  # type: ignore[type-arg]
        self.at(price)
        self.intents = list(intents)
        return self.bar(price, self.instrument)

    def at(self, price: float, after_s: float = 1) -> list:  # type: ignore[type-arg]
        return self.quote(f"{price - 0.01:.2f}", f"{price + 0.01:.2f}", self.instrument, after_s=after_s)

    def beat(self, after_s: float = 6, price: float = 50_000) -> list:  # type: ignore[type-arg]
        """Let time pass, with the market where it is, and return what is sent."""
        self.at(price, after_s)
        return self.tell(Timer(ts_ns=self.now))

    def entered(self) -> OrderRequest:
        """Buy, and return the stop that rests then."""
        (entry,) = submitted(self.want(Enter(instrument=self.instrument.id)))
        count = len(self.commands)
        self.fill(entry)
        (stop,) = submitted(self.commands[count:])
        self.accept(stop)
        return stop

    @property
    def resting(self) -> list[OrderRequest]:
        return [o.request for o in self.engine.state.open_orders.values() if rests(o.request)]

    def gone(self, request: OrderRequest, reason: str = "") -> list:  # type: ignore[type-arg]
        """Let the venue cancel an order; return what is done upon that."""
        return self.tell(OrderCanceled(ts_ns=self.now, order_id=request.id, reason=reason))


def test_the_stop_of_a_holding_rests_at_its_level() -> None:
    desk = Resting()
    stop = desk.entered()
    plan = desk.plan(KRAKEN)
    assert (stop.side, stop.type, stop.purpose) == (Side.SELL, OrderType.STOP_LOSS, Purpose.STOP)
    assert (stop.trigger_price, stop.limit_price) == (plan.stop, 0)
    assert stop.size == round(desk.held(KRAKEN) * 10**8)
    assert stop.owner == strategy_owner(StrategyName("scripted"))
    assert submitted(desk.beat()) == [], "it rests already"


def test_where_a_venue_wants_a_limit_it_has_one_below() -> None:
    desk = Resting(COINBASE)
    stop = desk.entered()
    assert stop.type is OrderType.STOP_LOSS_LIMIT
    assert stop.limit_price == pytest.approx(stop.trigger_price * 0.95, abs=1)


@pytest.mark.parametrize(
    ("instrument", "exits"), [(BRIDGED, STOP_ONLY), (KRAKEN, msgspec.structs.replace(STOP_ONLY, at_venue=False))]
)
def test_elsewhere_and_unasked_the_platform_alone_watches(instrument: Instrument, exits: Exits) -> None:
    desk = Resting(instrument, exits)
    (entry,) = submitted(desk.want(Enter(instrument=instrument.id)))
    desk.fill(entry)
    assert desk.beat() == []
    level = desk.plan(instrument).stop / 100
    (sale,) = submitted(desk.at(level - 1))
    assert sale.type is OrderType.MARKET


def test_a_stop_that_the_venue_carries_out_ends_the_plan_and_cools_down() -> None:
    desk = Resting()
    stop = desk.entered()
    desk.fill(stop, price=stop.trigger_price)
    assert desk.held(KRAKEN) == 0
    assert KRAKEN.id not in desk.engine.state.exits
    assert desk.engine.state.risk.cool_until[KRAKEN.id] > desk.now
    assert desk.beat() == []


def test_a_part_that_the_venue_sold_leaves_the_rest_to_the_platform() -> None:
    desk = Resting()
    stop = desk.entered()
    count = len(desk.commands)
    desk.fill(stop, size=stop.size // 2, price=stop.trigger_price)
    assert desk.plan(KRAKEN).hit == STOP_HIT
    assert canceled(desk.commands[count:]) == [stop.id]
    (sale,) = submitted(desk.gone(stop))
    assert (sale.type, sale.size) == (OrderType.MARKET, stop.size - stop.size // 2)


def test_the_platform_takes_it_back_before_it_sells_itself() -> None:
    desk = Resting()
    stop = desk.entered()
    taken = desk.at(stop.trigger_price / 100 - 5)
    assert (canceled(taken), submitted(taken)) == ([stop.id], []), "both would sell twice"
    (sale,) = submitted(desk.gone(stop))
    assert (sale.type, sale.size, sale.purpose) == (OrderType.MARKET, stop.size, Purpose.STOP)


def test_a_strategys_exit_takes_it_back_first() -> None:
    desk = Resting()
    stop = desk.entered()
    taken = desk.want(Exit(instrument=KRAKEN.id))
    assert (canceled(taken), submitted(taken)) == ([stop.id], [])
    (sale,) = submitted(desk.gone(stop))
    assert (sale.purpose, sale.size) == (Purpose.EXIT, stop.size)


def test_a_smaller_sale_waits_for_it_and_the_rest_is_protected_again() -> None:
    desk = Resting()
    stop = desk.entered()
    weight = desk.engine.state.own.limits.max_position_bps / 10_000 / 4
    taken = desk.want(Rebalance(instrument=KRAKEN.id, weight=weight))
    assert (canceled(taken), submitted(taken)) == ([stop.id], [])
    assert desk.want(Rebalance(instrument=KRAKEN.id, weight=weight)) == [], "one sale at a time"
    (sale,) = submitted(desk.gone(stop))
    assert (sale.purpose, sale.type) == (Purpose.REBALANCE, OrderType.MARKET)
    assert 0 < sale.size < stop.size
    desk.fill(sale)
    (again,) = submitted(desk.beat())
    assert (again.trigger_price, again.size) == (desk.plan(KRAKEN).stop, stop.size - sale.size)


def test_a_sale_that_waits_is_dropped_when_the_stop_sells_instead() -> None:
    desk = Resting()
    stop = desk.entered()
    desk.want(Rebalance(instrument=KRAKEN.id, weight=0.01))
    count = len(desk.commands)
    desk.fill(stop, price=stop.trigger_price)
    assert submitted(desk.commands[count:]) == []
    assert desk.beat() == []


def test_it_follows_the_best_price_in_steps() -> None:
    desk = Resting(exits=Exits(stop_multiple=0, take_profit_multiple=0, trailing_multiple=2, at_venue=True))
    stop = desk.entered()
    plan = desk.plan(KRAKEN)
    assert stop.trigger_price == plan.best - plan.trail_distance
    assert desk.beat(price=50_000 + plan.trail_distance / 100 / 16) == [], "too little to be worth an order"
    higher = 50_000 + plan.trail_distance / 100 / 2
    assert canceled(desk.beat(price=higher)) == [stop.id]
    (raised,) = submitted(desk.gone(stop))
    assert raised.trigger_price == desk.plan(KRAKEN).best - plan.trail_distance > stop.trigger_price
    desk.accept(raised)
    much_higher = higher + plan.trail_distance / 100
    assert desk.beat(1, much_higher) == [], "a trail is no flood"
    assert canceled(desk.beat(5, much_higher)) == [raised.id]


def test_stops_of_the_account_take_it_back_and_their_end_brings_it_again() -> None:
    desk = Resting()
    stop = desk.entered()
    killed = desk.tell(KillSwitchEngaged(ts_ns=desk.now, actor="ada", reason="drill", flatten=False))
    assert canceled(killed) == ["all"]
    desk.gone(stop)
    assert submitted(desk.beat()) == []
    desk.tell(KillSwitchReleased(ts_ns=desk.now, actor="ada", reason="over"))
    (again,) = submitted(desk.beat())
    desk.accept(again)
    assert (again.trigger_price, again.size) == (stop.trigger_price, stop.size)
    desk.tell(VenueStopped(ts_ns=desk.now, venue=VenueId("kraken"), reason="drill", actor="ada"))
    desk.gone(again)
    assert submitted(desk.beat()) == []
    desk.tell(VenueReleased(ts_ns=desk.now, venue=VenueId("kraken"), reason="over", actor="ada"))
    assert len(submitted(desk.beat())) == 1


def test_one_that_somebody_else_canceled_comes_again() -> None:
    """A dead-man switch of somebody else's, or a person at the venue's own page."""
    desk = Resting()
    stop = desk.entered()
    assert submitted(desk.gone(stop, "user requested")) == []
    assert [r.size for r in submitted(desk.beat())] == [stop.size]


def test_one_that_the_venue_refuses_is_told_once_and_tried_less_and_less() -> None:
    desk = Resting()
    (entry,) = submitted(desk.want(Enter(instrument=KRAKEN.id)))
    desk.fill(entry)
    told: list[str] = []
    times = []
    for _ in range(60):
        for stop in desk.resting:
            times.append(desk.now)
            told += alerts(desk.tell(OrderRejected(ts_ns=desk.now, order_id=stop.id, reason="not here")))
        desk.beat()
    assert told == ["stop_not_resting"]
    waits = [b - a for a, b in pairwise(times)]
    assert waits == sorted(waits)
    assert waits[-1] >= 60 * SECOND


def test_settings_switch_it_on_and_off_while_something_is_held() -> None:
    desk = Resting()
    stop = desk.entered()
    off = msgspec.structs.replace(STOP_ONLY, at_venue=False)
    desk.tell(configured(desk, exits=off))
    assert canceled(desk.beat()) == [stop.id]
    desk.gone(stop)
    assert submitted(desk.beat()) == []
    desk.tell(configured(desk, exits=STOP_ONLY))
    assert len(submitted(desk.beat())) == 1


def test_a_restart_leaves_it_where_it_is() -> None:
    desk = Resting()
    stop = desk.entered()
    desk.restart()
    assert desk.beat() == []
    assert [r.id for r in desk.resting] == [stop.id]


def test_operators_who_sell_by_hand_have_their_coins_free() -> None:
    desk = Resting()
    bought = ParentRequest(
        id=ParentId("p1"), symbol=KRAKEN.symbol, side=Side.BUY, amount=10**6, algorithm=Algorithm.ROUTE
    )
    desk.at(50_000)
    (child,) = submitted(desk.tell(ParentOrderRequested(ts_ns=desk.now, request=bought, actor="ada")))
    desk.fill(child)
    (stop,) = submitted(desk.beat())
    desk.accept(stop)
    assert stop.size == 10**6
    sold = msgspec.structs.replace(bought, id=ParentId("p2"), side=Side.SELL)
    desk.tell(ParentOrderRequested(ts_ns=desk.now, request=sold, actor="ada"))
    for _ in range(4):
        desk.beat()
        for order in list(desk.engine.state.open_orders.values()):
            if order.state is OrderState.PENDING_CANCEL:
                desk.gone(order.request)
            elif not rests(order.request):
                desk.fill(order.request)
    assert desk.held(KRAKEN) == 0
    assert desk.resting == []


def test_it_and_a_switch_that_cancels_everything_contradict_each_other() -> None:
    document = Document(
        limits=account().limits,
        sizing=account().sizing,
        exits=STOP_ONLY,
        review=account().review,
        reconciliation=Reconciliation(),
        strategies={},
    )
    with pytest.raises(InvalidValueError, match="contradict"):
        parse_document(document, {"reconciliation": {"dead_man_s": 60}}, {})
