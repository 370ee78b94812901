"""Stops that rest at the venue (T6): they follow the plan, give way to every sale, and end with what is held."""

from itertools import pairwise

import msgspec
import pytest

from aether.control.configuration import Document, parse_document
from aether.domain.accounts import Exits, Limits, Reconciliation, StrategyAssignment
from aether.domain.errors import InvalidValueError
from aether.domain.events import (
    BalanceBooked,
    BalanceReported,
    CancelRejected,
    CapitalMoved,
    KillSwitchEngaged,
    KillSwitchReleased,
    OrderAccepted,
    OrderCanceled,
    OrderRejected,
    ParentOrderCanceled,
    ParentOrderRequested,
    Timer,
    VenueReleased,
    VenueStopped,
)
from aether.domain.identifiers import OPERATOR, ClientOrderId, StrategyName, VenueId, VenueOrderId, strategy_owner
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import OrderRequest, OrderState, OrderType, Purpose, Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.engine.exits import rests
from aether.engine.safety import market_sale
from aether.engine.strategy import Enter, Exit, Intent, Rebalance
from aether.kernel.exits import STOP_HIT
from tests.desk import SECOND, Desk, account, alerts, canceled, configured, submitted

KRAKEN = make_instrument(VenueId("kraken"), "BTC/USD", price_decimals=2, size_decimals=8)
COINBASE = make_instrument(VenueId("coinbase"), "BTC/USD", price_decimals=2, size_decimals=8)
BRIDGED = make_instrument(VenueId("ccxt:bitstamp"), "BTC/USD", price_decimals=2, size_decimals=8)
STOP_ONLY = Exits(trailing_multiple=0.0, take_profit_multiple=0.0, at_venue=True)


TRAIL = Exits(stop_multiple=0.0, take_profit_multiple=0.0, trailing_multiple=2.0, at_venue=True)


class Resting(Desk):
    """A desk that trades one instrument, with time that beats."""

    def __init__(self, instrument: Instrument = KRAKEN, exits: Exits = STOP_ONLY, limits: Limits | None = None) -> None:
        self.instrument = instrument
        assignment = StrategyAssignment(
            strategy=StrategyName("scripted"), instruments=(instrument.id,), bar_s=60, params={}
        )
        config = account(exits=exits, strategies=(assignment,), limits=limits or Limits())
        super().__init__(config=config, instruments=(instrument,))

    def want(self, *intents: Intent, price: float = 50_000) -> list:  # type: ignore[type-arg]
        self.at(price)
        self.intents = list(intents)
        return self.bar(price, self.instrument)

    def at(self, price: float, after_s: float = 1) -> list:  # type: ignore[type-arg]
        return self.quote(f"{price - 0.01:.2f}", f"{price + 0.01:.2f}", self.instrument, after_s=after_s)

    def beat(self, after_s: float = 16, price: float = 50_000) -> list:  # type: ignore[type-arg]
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


def moved_in(desk: Resting, coins: int) -> None:
    """Coins that nobody bought here lie beside those that are protected."""
    desk.tell(
        CapitalMoved(
            ts_ns=desk.now,
            venue=KRAKEN.venue,
            asset=KRAKEN.base,
            amount=coins * 10**8,
            value=coins * 50_000 * 10**8,
            actor="ada",
            reference="r",
            reason="moved in",
        )
    )


def by_hand(desk: Resting, number: int, side: Side, amount: int, algorithm: Algorithm, **prices: int) -> list:  # type: ignore[type-arg]
    """Have an operator trade."""
    request = ParentRequest(
        id=ParentId(f"p{number}"),
        symbol=KRAKEN.symbol,
        side=side,
        amount=amount,
        algorithm=algorithm,
        **prices,  # type: ignore[arg-type]
    )
    return desk.tell(ParentOrderRequested(ts_ns=desk.now, request=request, actor="ada"))


def operators_hold(desk: Resting, amount: int) -> OrderRequest:
    """Buy by hand; return the stop that rests then."""
    desk.at(50_000)
    (child,) = submitted(by_hand(desk, 1, Side.BUY, amount, Algorithm.ROUTE))
    desk.fill(child)
    (stop,) = [r for r in submitted(desk.beat()) if r.owner == OPERATOR]
    desk.accept(stop)
    return stop


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
    desk.fill(stop, size=stop.size // 2, price=stop.trigger_price)
    assert desk.plan(KRAKEN).hit == STOP_HIT
    assert canceled(desk.at(stop.trigger_price / 100)) == [stop.id]
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
    desk = Resting(exits=TRAIL)
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
    assert canceled(desk.beat(15, much_higher)) == [raised.id]


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
    stop = operators_hold(desk, 10**6)
    assert stop.size == 10**6
    moved_in(desk, 1)
    asked = by_hand(desk, 2, Side.SELL, 10**6, Algorithm.ROUTE)
    assert (canceled(asked), submitted(asked)) == ([stop.id], []), "both would sell what was moved in too"
    for _ in range(4):
        desk.beat()
        for order in list(desk.engine.state.open_orders.values()):
            if order.state is OrderState.PENDING_CANCEL:
                desk.gone(order.request)
            elif not rests(order.request):
                desk.fill(order.request)
    assert desk.held(KRAKEN) == pytest.approx(1), "what was moved in"
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


@pytest.mark.parametrize("by", ["price", "strategy"])
def test_an_exit_waits_for_a_stop_that_is_not_answered_and_sells_nobody_elses_coins(by: str) -> None:
    """Found by attack: two seconds after the cancel both were out, and coins of the firm's were sold."""
    desk = Resting()
    stop = desk.entered()
    moved_in(desk, 1)
    if by == "price":
        desk.at(stop.trigger_price / 100 - 5)
    else:
        desk.want(Exit(instrument=KRAKEN.id))
    for _ in range(30):
        desk.beat(1, stop.trigger_price / 100 - 5)
    assert alerts(desk.commands).count("exit_refused") == 1, "and it is said"
    assert [o.request.id for o in desk.engine.state.open_orders.values()] == [stop.id]
    (sale,) = submitted(desk.gone(stop))
    desk.fill(sale)
    assert desk.held(KRAKEN) == pytest.approx(1), "the firm's own"


def test_the_gate_lets_no_coin_be_sold_twice() -> None:
    desk = Resting()
    stop = desk.entered()
    moved_in(desk, 1)
    sale = market_sale(KRAKEN, KRAKEN.min_size * 100, Purpose.EXIT, stop.owner)
    denied = desk.engine._desk.ask(sale)
    assert denied.state is OrderState.DENIED
    assert "own_stop: 0.00000100 beside 0.23398717" in denied.reason


def test_an_exit_leaves_the_stops_of_others() -> None:
    """Found by attack: every exit took all owners' stops back, and sold the coins of whose stop went first."""
    desk = Resting()
    stop = desk.entered()
    operators_hold(desk, 10**6)
    assert {r.owner for r in desk.resting} == {stop.owner, OPERATOR}
    assert canceled(desk.want(Exit(instrument=KRAKEN.id))) == [stop.id]


def test_no_stop_is_given_up_for_one_that_could_not_be_placed() -> None:
    """Found by attack: a feed that fell silent took the stop away, which was there for that very hour."""
    desk = Resting(exits=TRAIL)
    stop = desk.entered()
    desk.at(51_000, 16)
    desk.now += 60 * SECOND
    assert desk.tell(Timer(ts_ns=desk.now)) == []
    assert [r.id for r in desk.resting] == [stop.id]
    assert canceled(desk.beat(1, 51_000)) == [stop.id]


def test_what_parents_are_to_sell_is_left_out_and_the_rest_stays_protected() -> None:
    """Found by attack: an OCO of a hundredth took the operators' whole stop away for as long as it worked."""
    desk = Resting()
    stop = operators_hold(desk, 10**7)
    by_hand(desk, 2, Side.SELL, 10**6, Algorithm.OCO, profit_price=60_000 * 10**8, stop_price=40_000 * 10**8)
    assert canceled(desk.beat()) == [stop.id]
    (smaller,) = submitted(desk.gone(stop))
    assert smaller.size == 9 * 10**6


def test_a_halt_keeps_what_protects() -> None:
    """Exits go on under a halt, and so does what rests for them; a kill keeps nothing."""
    desk = Resting()
    desk.entered()
    desk.tell(OrderAccepted(ts_ns=desk.now, order_id=ClientOrderId("desk-99"), venue_order_id=VenueOrderId("V99")))
    assert desk.halted
    for stop in desk.resting:
        desk.gone(stop)
    desk.beat()
    (stop,) = desk.resting
    desk.accept(stop)
    for _ in range(5):
        done = desk.beat()
        assert (submitted(done), canceled(done)) == ([], [])


def test_stops_keep_nobody_from_entering() -> None:
    """Found by attack: a dozen trails used up the orders of a minute."""
    desk = Resting()
    desk.entered()
    assert desk.engine.state.risk.order_times[-1] < desk.now + 1
    assert len(desk.engine.state.risk.order_times) == 1, "the entry"


def test_one_that_the_venue_cancels_again_and_again_is_told_and_tried_less_and_less() -> None:
    """Found by attack: 720 orders an hour without a word."""
    desk = Resting()
    desk.entered()
    told, count = list[str](), 0
    for _ in range(400):
        for stop in desk.resting:
            count += 1
            told += alerts(desk.gone(stop, "insufficient funds"))
            for again in desk.resting:
                desk.accept(again)
        desk.beat(10)
    assert told == ["stop_not_resting"]
    assert count < 80


def test_a_sale_that_waited_long_is_not_sent() -> None:
    """Found by attack: one was sent two days later, at another price."""
    desk = Resting()
    stop = desk.entered()
    desk.want(Rebalance(instrument=KRAKEN.id, weight=0.01))
    desk.at(50_000, 120)
    assert [r.type for r in submitted(desk.gone(stop))] == [OrderType.STOP_LOSS]
    assert desk.plan(KRAKEN).due is None


def test_a_sale_waits_for_fresh_data_too() -> None:
    desk = Resting()
    stop = desk.entered()
    desk.want(Rebalance(instrument=KRAKEN.id, weight=0.01))
    desk.now += 10 * SECOND
    assert submitted(desk.gone(stop)) == []
    (sale,) = submitted(desk.beat(1))
    assert sale.purpose is Purpose.REBALANCE


def test_a_late_execution_of_an_old_stop_leaves_the_new_plan() -> None:
    desk = Resting()
    old = desk.entered()
    desk.want(Exit(instrument=KRAKEN.id))
    (sale,) = submitted(desk.gone(old))
    desk.fill(sale)
    desk.want(Enter(instrument=KRAKEN.id))
    (entry,) = [o.request for o in desk.engine.state.open_orders.values()]
    desk.fill(entry)
    desk.fill(old, size=10)
    assert not desk.plan(KRAKEN).hit


def test_flattening_goes_on_as_soon_as_the_stop_is_gone() -> None:
    """Found by attack: the end of the stop counted as a refused sale, and cost a minute."""
    desk = Resting()
    stop = desk.entered()
    desk.tell(KillSwitchEngaged(ts_ns=desk.now, actor="ada", reason="drill", flatten=True))
    for _ in range(90):
        desk.beat(1)
    done = desk.gone(stop)
    assert [r.purpose for r in submitted(done)] == [Purpose.FLATTEN]
    assert "exit_refused" not in alerts(done)


def test_a_clock_that_was_ahead_delays_no_stop() -> None:
    desk = Resting()
    stop = desk.entered()
    right = desk.now
    desk.now += 86_400 * SECOND
    desk.beat()
    desk.gone(stop)
    desk.now = right
    desk.tell(Timer(ts_ns=desk.now, taken_ns=desk.now))
    for again in desk.resting:
        desk.gone(again)
    desk.quote("49999.99", "50000.01", KRAKEN)
    desk.beat()
    assert len(desk.resting) == 1


def test_an_oco_takes_back_no_exit_and_nobody_elses_stop() -> None:
    """Found by attack: it canceled the sale that was being sent in the same step, and the strategy's stop."""
    desk = Resting()
    desk.entered()
    stop = operators_hold(desk, 10**7)
    by_hand(desk, 2, Side.SELL, 10**7, Algorithm.OCO, profit_price=60_000 * 10**8, stop_price=49_000 * 10**8)
    desk.beat()
    for order in desk.resting:
        if order.owner == OPERATOR:
            desk.gone(order)
    done = desk.at(48_900)
    kept = [r.owner for r in desk.resting if r.id not in canceled(done)]
    assert strategy_owner(StrategyName("scripted")) in kept or not desk.plan(KRAKEN).hit
    assert not set(canceled(done)) & {r.id for r in submitted(done)}
    assert stop.owner == OPERATOR


def test_a_child_of_a_parent_that_is_over_is_left_out_of_the_stop() -> None:
    """Found by attack: the stop was placed for all while the child could still fill."""
    desk = Resting()
    operators_hold(desk, 10**7)
    moved_in(desk, 1)
    by_hand(desk, 2, Side.SELL, 10**7, Algorithm.ICEBERG, limit_price=50_500 * 10**8, display=10**7)
    for _ in range(3):
        desk.beat()
        for order in list(desk.engine.state.open_orders.values()):
            if order.state is OrderState.PENDING_CANCEL:
                desk.gone(order.request)
    (child,) = [o.request for o in desk.engine.state.open_orders.values() if o.request.parent == "p2"]
    desk.accept(child)
    desk.tell(ParentOrderCanceled(ts_ns=desk.now, parent_id=ParentId("p2"), actor="ada"))
    for _ in range(5):
        desk.beat()
    assert desk.resting == [], "the child may still sell all of it"


def test_a_stop_that_is_larger_than_what_is_held_is_taken_back_at_once() -> None:
    """Found by attack: it stayed until a stop could be replaced, for ever where the feed was silent."""
    desk = Resting()
    stop = desk.entered()
    other = desk.engine.state.ledger.holding(KRAKEN.id, stop.owner)
    desk.now += 60 * SECOND
    booked = BalanceBooked(
        ts_ns=desk.now, venue=KRAKEN.venue, asset=KRAKEN.base, amount=-other.quantity // 2, reason="lost", actor="ada"
    )
    desk.tell(booked)
    assert canceled(desk.tell(Timer(ts_ns=desk.now))) == [stop.id]


def test_a_sale_that_waits_is_dropped_after_a_minute_though_the_stop_is_not_answered() -> None:
    desk = Resting()
    desk.entered()
    desk.want(Rebalance(instrument=KRAKEN.id, weight=0.01))
    for _ in range(70):
        desk.beat(1)
    assert desk.plan(KRAKEN).due is None
    assert alerts(desk.commands).count("exit_refused") == 1, "people hear of it"


def test_a_venue_that_refuses_to_cancel_is_not_asked_at_every_quote() -> None:
    """Found by attack: a thousand cancels in an instant."""
    desk = Resting()
    stop = desk.entered()
    desk.want(Exit(instrument=KRAKEN.id))
    count = len(desk.commands)
    for _ in range(100):
        desk.tell(CancelRejected(ts_ns=desk.now, order_id=stop.id, reason="no"))
        desk.at(50_000, 0.02)
    assert len(canceled(desk.commands[count:])) <= 4


def test_a_stop_is_placed_also_while_the_feed_is_silent() -> None:
    """It needs no fresh market: it is for the hours in which nobody sees one."""
    desk = Resting()
    stop = desk.entered()
    desk.gone(stop, "user requested")
    desk.now += 120 * SECOND
    (again,) = submitted(desk.tell(Timer(ts_ns=desk.now)))
    assert again.trigger_price == stop.trigger_price


def test_an_exit_that_cannot_be_sent_takes_no_stop_back() -> None:
    desk = Resting()
    stop = desk.entered()
    desk.now += 60 * SECOND
    desk.tell(Timer(ts_ns=desk.now))
    desk.engine._protection.want_exit(KRAKEN.id, stop.owner)
    assert canceled(desk.tell(Timer(ts_ns=desk.now))) == []
    assert canceled(desk.at(50_000)) == [stop.id]


def test_rounding_replaces_no_stop() -> None:
    desk = Resting()
    stop = desk.entered()
    held = desk.engine.state.ledger.balance(KRAKEN.base_key).total
    for n in range(20):
        desk.tell(BalanceReported(ts_ns=desk.now, key=KRAKEN.base_key, total=held - n % 2))
        desk.beat()
    assert [r.id for r in desk.resting] == [stop.id]


def test_flattening_sells_what_is_free_beside_a_stop_that_is_not_answered() -> None:
    """Found by attack: one stop that the venue did not take back kept everything else from being sold."""
    desk = Resting()
    desk.entered()
    moved_in(desk, 1)
    desk.tell(KillSwitchEngaged(ts_ns=desk.now, actor="ada", reason="drill", flatten=True))
    sales: list[OrderRequest] = []
    for _ in range(10):
        sales += submitted(desk.at(50_000))
    assert [s.size for s in sales] == [10**8]
