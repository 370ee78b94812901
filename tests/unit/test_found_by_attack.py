"""What hostile reviewers broke, each kind as a test: exits that were lost, coins of others that were sold, losses that
nobody watched (T6, R3, O8)."""

import asyncio
from typing import Any

import msgspec
import pytest

from aether.compose.housekeeping import mind
from aether.domain.accounts import Exits, Limits, Review, StrategyAssignment
from aether.domain.commands import Command
from aether.domain.events import (
    BalanceBooked,
    BalanceReported,
    CancelRejected,
    CapitalMoved,
    FeedInterrupted,
    InstrumentListed,
    IntentDecided,
    KillSwitchEngaged,
    KillSwitchReleased,
    LimitsChanged,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    ParentOrderCanceled,
    ParentOrderRequested,
    Quote,
    Timer,
    Trade,
    TradingResumed,
)
from aether.domain.identifiers import (
    DEPOSITS,
    OPERATOR,
    AssetCode,
    ClientOrderId,
    StrategyName,
    Symbol,
    TradeId,
    VenueId,
    VenueOrderId,
    parent_owner,
)
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import Liquidity, OrderRequest, OrderState, Purpose, Side
from aether.domain.parents import Algorithm, Parent, ParentId, ParentRequest, ParentState
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.stops import Stop
from aether.engine.strategy import Enter, Exit, Rebalance, Withdraw
from aether.engine.valuation import net_asset_value
from tests.desk import BTC, ETH, SCRIPTED, SECOND, Desk, account, alerts, canceled, submitted

ONE = AMOUNT_SCALE
DAY = 86_400 * SECOND
WIDE = Limits(max_order_notional_bps=10_000, max_position_bps=10_000)
OFF = Exits(stop_multiple=0, take_profit_multiple=0, trailing_multiple=0)
PARENT = ParentId("p")


def wide(**more: Any) -> Desk:
    desk = Desk(config=account(**{"limits": WIDE, **more}))
    desk.quote("49999.99", "50000.01")
    return desk


def ask(desk: Desk, side: str, amount: float, algorithm: str = "route", **fields: Any) -> list[OrderRequest]:
    name = ParentId(fields.pop("id", PARENT))
    request = ParentRequest(
        id=name,
        symbol=Symbol("BTC/USD"),
        side=Side(side),
        amount=round(amount * ONE),
        algorithm=Algorithm(algorithm),
        **fields,
    )
    return submitted(desk.tell(ParentOrderRequested(ts_ns=desk.now, request=request, actor="ada")))


def parent(desk: Desk, name: str = PARENT) -> Parent:
    state = desk.engine.state
    return state.parents.get(ParentId(name)) or state.closed_parents[ParentId(name)]


def fill(desk: Desk, orders: list[OrderRequest]) -> None:
    for order in orders:
        desk.fill(order)


def entered(desk: Desk, **kw: Any) -> OrderRequest:
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, **kw)
    return order


def held(desk: Desk, instrument: Instrument = BTC) -> dict[str, float]:
    return {o: h.quantity / ONE for o, h in desk.engine.state.ledger.position(instrument.id).holdings.items()}


def at(desk: Desk, price: float, instrument: Instrument = BTC, **kw: Any) -> list[Command]:
    return desk.quote(f"{price:.2f}", f"{price + 0.01:.2f}", instrument, **kw)


def coins(desk: Desk, amount: int, value: int | None = None, asset: str = "BTC") -> None:
    desk.tell(CapitalMoved(ts_ns=desk.now, venue=VenueId("paper"), asset=AssetCode(asset), amount=amount, value=value))


def reported(desk: Desk, total: int) -> None:
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.base_key, total=total))


# A venue's wrong figure.


def test_a_balance_told_as_nothing_costs_no_stop() -> None:
    desk = Desk()
    order = entered(desk)
    reported(desk, 0)
    (sale,) = submitted(at(desk, desk.plan().stop / 100 - 1))
    assert sale.size == order.size
    desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="insufficient funds"))
    reported(desk, order.size)
    assert desk.plan().hit
    assert submitted(at(desk, 40_000, after_s=5))


def test_a_balance_that_runs_ahead_of_a_fill_ends_no_exit() -> None:
    desk = Desk()
    order = entered(desk)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    half = sale.size // 2
    reported(desk, order.size - half)
    desk.fill(sale, size=half)
    (rest,) = submitted(desk.tell(OrderCanceled(ts_ns=desk.now, order_id=sale.id, reason="no more depth")))
    assert rest.size == order.size - half


def test_flatten_is_not_done_because_a_venue_says_so() -> None:
    desk = Desk()
    order = entered(desk)
    reported(desk, 0)
    kill = KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a", flatten=True)
    (sale,) = submitted(desk.tell(kill))
    assert "flat" not in alerts(desk.commands)
    desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="busy"))
    reported(desk, order.size)
    assert submitted(at(desk, 50_000, after_s=5))


def test_flatten_asked_again_begins_again() -> None:
    desk = Desk()
    kill = KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a", flatten=True)
    desk.quote("49999.99", "50000.01")
    assert "flat" in alerts(desk.tell(kill))
    coins(desk, ONE)
    (sale,) = submitted(desk.tell(msgspec.structs.replace(kill, ts_ns=desk.now)))
    assert sale.size == ONE


# Holdings that change hands.


def test_a_parent_that_ends_while_its_stop_is_sold_hands_nothing_over_yet() -> None:
    desk = wide()
    entered(desk)
    at(desk, 55_000)
    fill(desk, ask(desk, "buy", 0.2, "twap", duration_s=3_600, slices=2))
    owner = parent_owner(PARENT)
    strategys = held(desk)[SCRIPTED]
    level = desk.plan(owner=owner).stop / 100 - 1
    (sale,) = submitted(at(desk, level))
    assert sale.owner == owner
    desk.tell(ParentOrderCanceled(ts_ns=desk.now, parent_id=PARENT, actor="a"))
    assert submitted(at(desk, level)) == []
    desk.fill(sale)
    assert held(desk) == {SCRIPTED: strategys}


def test_a_stop_that_was_hit_is_not_forgotten_when_its_parent_ends() -> None:
    desk = wide()
    fill(desk, ask(desk, "buy", 0.1, id="first"))
    at(desk, 53_000)
    fill(desk, ask(desk, "buy", 0.2, "twap", duration_s=3_600, slices=2))
    level = desk.plan(owner=parent_owner(PARENT)).stop / 100 - 1
    (sale,) = submitted(at(desk, level))
    desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="maintenance"))
    desk.tell(ParentOrderCanceled(ts_ns=desk.now, parent_id=PARENT, actor="a"))
    (again,) = submitted(at(desk, level, after_s=3))
    assert (again.owner, again.size) == (parent_owner(PARENT), ONE // 10)
    desk.fill(again)
    assert held(desk) == {OPERATOR: 0.1}


@pytest.mark.parametrize("basis", [10_000, 70_000])
def test_a_small_buy_by_hand_sells_no_deposit(basis: int) -> None:
    desk = Desk(cash=1_000_000)
    desk.quote("49999.99", "50000.01")
    coins(desk, ONE, basis * ONE)
    fill(desk, ask(desk, "buy", 0.01))
    assert submitted(desk.quote("49999.99", "50000.01")) == []
    assert held(desk) == {DEPOSITS: 1.0, OPERATOR: 0.01}
    (sale,) = submitted(at(desk, 40_000))
    assert sale.size == ONE // 100, "the stop of what was bought sells what was bought"


def test_a_stop_takes_back_a_sale_by_hand_that_holds_its_coins() -> None:
    desk = Desk()
    order = entered(desk)
    (resting,) = ask(desk, "sell", order.size / ONE, "iceberg", display=order.size, limit_price=50_500 * ONE)
    desk.accept(resting)
    commands = at(desk, desk.plan().stop / 100 - 1)
    assert (canceled(commands), submitted(commands)) == ([resting.id], [])
    commands = desk.tell(OrderCanceled(ts_ns=desk.now, order_id=resting.id, reason="x"))
    assert [(o.purpose, o.size) for o in submitted(commands)] == [(Purpose.STOP, order.size)]


def test_the_stop_of_an_oco_sells_no_strategys_coins() -> None:
    desk = wide()
    entered(desk)
    at(desk, 53_000)
    fill(desk, ask(desk, "buy", 0.1, id="first"))
    ask(desk, "sell", 0.1, "oco", profit_price=60_000 * ONE, stop_price=50_500 * ONE)
    strategys = held(desk)[SCRIPTED]
    for price in (50_700, 50_490, 50_480):
        fill(desk, submitted(at(desk, price)))
    assert held(desk) == {SCRIPTED: strategys}
    assert parent(desk).state is ParentState.DONE


def test_a_bracket_sells_where_its_coins_are() -> None:
    first, second = (make_instrument(VenueId(v), "BTC/USD", price_decimals=2, size_decimals=8) for v in ("va", "vb"))
    assigned = StrategyAssignment(strategy=StrategyName("scripted"), instruments=(first.id,), bar_s=60)
    config = account(strategies=(assigned,), tradable=(second.id,), limits=WIDE)
    desk = Desk(config=config, instruments=(first, second))
    at(desk, 50_000, first)
    at(desk, 50_100, second, after_s=0.1)
    desk.intents = [Enter(instrument=first.id)]
    fill(desk, submitted(desk.bar(50_000, first)))
    at(desk, 50_000, first, after_s=0.1)
    at(desk, 49_900, second, after_s=0.1)
    fill(desk, ask(desk, "buy", 0.1, "bracket", profit_price=51_000 * ONE, stop_price=49_000 * ONE))
    before = held(desk, first)
    at(desk, 48_990, second, after_s=0.1)
    sales = [o for o in submitted(at(desk, 48_995, first, after_s=0.1)) if o.side is Side.SELL]
    assert [(o.instrument, o.size) for o in sales] == [(second.id, ONE // 10)]
    fill(desk, sales)
    assert (held(desk, first), held(desk, second)) == (before, {})


def test_a_bracket_whose_fee_was_in_coins_sells_what_is_left_of_them() -> None:
    desk = wide()
    entered(desk)
    strategys = held(desk)[SCRIPTED]
    (order,) = ask(desk, "buy", 0.1, "bracket", profit_price=51_000 * ONE, stop_price=49_000 * ONE)
    desk.fill(order, fee=10_000, fee_asset="BTC")
    fill(desk, submitted(at(desk, 48_990)))
    assert held(desk) == {SCRIPTED: strategys}


# Parents and what venues tell late.


@pytest.mark.parametrize("algorithm", ["route", "bracket"])
def test_a_fill_told_after_the_end_of_its_child_is_counted(algorithm: str) -> None:
    desk = wide()
    fields = {"profit_price": 60_000 * ONE, "stop_price": 49_000 * ONE} if algorithm == "bracket" else {}
    (order,) = ask(desk, "buy", 0.1, algorithm, **fields)
    desk.accept(order)
    desk.tell(OrderExpired(ts_ns=desk.now, order_id=order.id, reason="ioc"))
    desk.fill(order)
    assert parent(desk).filled == ONE // 10
    later = submitted(desk.quote("49999.99", "50000.01") + desk.quote("49999.99", "50000.01"))
    assert later == [], "nothing is bought twice"
    if algorithm == "bracket":
        (sale,) = submitted(at(desk, 45_000))
        assert (sale.side, sale.size) == (Side.SELL, ONE // 10)


def test_the_stop_of_a_bracket_goes_through_a_crash() -> None:
    desk = wide()
    fill(desk, ask(desk, "buy", 0.1, "bracket", profit_price=55_000 * ONE, stop_price=49_500 * ONE))
    (sale,) = submitted(desk.quote("46000", "49400"))
    assert (sale.purpose, sale.limit_price) == (Purpose.STOP, 0), "no collar holds up an exit at the market"
    for n in range(20):
        desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="EService:Unavailable"))
        again = submitted(desk.quote("46000", "49400", after_s=70))
        assert len(again) == 1, f"it never gives up, attempt {n}"
        sale = again[0]
    assert parent(desk).state is ParentState.WORKING


def test_the_stop_of_a_bracket_takes_our_own_bid_back() -> None:
    desk = wide()
    fill(desk, ask(desk, "buy", 0.1, "bracket", profit_price=55_000 * ONE, stop_price=49_500 * ONE))
    (bid,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_480)))
    desk.accept(bid)
    assert canceled(at(desk, 49_480)) == [bid.id]
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=bid.id, reason="x"))
    later = [o for _ in range(3) for o in submitted(at(desk, 49_480, after_s=3))]
    assert [o.size for o in later if o.side is Side.SELL] == [ONE // 10]


def test_an_oco_at_a_venue_that_refuses_waits_longer_each_time() -> None:
    desk = wide()
    coins(desk, ONE)
    ask(desk, "sell", 0.1, "oco", profit_price=60_000 * ONE, stop_price=49_000 * ONE)
    count = 0
    for _ in range(1_200):
        for order in submitted(at(desk, 48_900, after_s=0.5)):
            count += 1
            desk.tell(OrderRejected(ts_ns=desk.now, order_id=order.id, reason="EService:Unavailable"))
    assert 8 < count < 25


def test_a_halt_keeps_the_oco_that_protects() -> None:
    desk = wide()
    coins(desk, ONE // 2)
    ask(desk, "sell", 0.5, "oco", profit_price=60_000 * ONE, stop_price=48_000 * ONE)
    strange = OrderFilled(
        ts_ns=desk.now,
        order_id=ClientOrderId("web-1"),
        venue_order_id=VenueOrderId("V"),
        trade_id=TradeId("W"),
        price=300_000,
        size=100,
        fee=0,
        fee_asset=AssetCode("USD"),
        liquidity=Liquidity.TAKER,
        instrument=ETH.id,
        side=Side.BUY,
    )
    desk.tell(strange)
    assert Stop.HALT in desk.engine.state.stops
    (sale,) = submitted(at(desk, 40_000))
    assert sale.size == ONE // 2


# Marks.


def test_a_reconnection_beside_an_old_trade_sells_nothing() -> None:
    desk = Desk(config=account(limits=WIDE))
    desk.tell(Trade(ts_ns=desk.now, instrument=BTC.id, price=4_000_000, size=ONE))
    desk.now += 6 * 3_600 * SECOND
    desk.quote("49999.99", "50000.01")
    fill(desk, ask(desk, "buy", 0.5))
    desk.quote("49999.99", "50000.01")
    before = net_asset_value(desk.engine.state)
    commands = desk.tell(FeedInterrupted(ts_ns=desk.now, instrument=BTC.id, reason="reconnect"))
    assert net_asset_value(desk.engine.state) == before
    commands += desk.quote("49999.99", "50000.01")
    assert submitted(commands) == []
    assert not desk.engine.state.stops


def test_a_crossed_book_that_fell_silent_holds_up_no_exit() -> None:
    desk = Desk()
    entered(desk)
    desk.quote("50000.02", "50000.01")
    sales = []
    for n in range(10):
        desk.now += SECOND
        sales += submitted(desk.tell(Trade(ts_ns=desk.now, instrument=BTC.id, price=4_000_000 - n, size=10**6)))
    assert [s.purpose for s in sales] == [Purpose.STOP]


def test_after_an_outage_the_first_fresh_quote_brings_the_stop() -> None:
    desk = Desk()
    entered(desk)
    level = desk.plan().stop / 100 - 1
    (sale,) = submitted(at(desk, level))
    desk.now += 3 * SECOND
    desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="maintenance"))
    for _ in range(130):
        desk.now += SECOND
        assert submitted(desk.tell(Timer(ts_ns=desk.now))) == []
    assert submitted(at(desk, level))


# Losses.


def cash(desk: Desk, amount: float) -> None:
    coins(desk, round(amount * ONE), asset="USD")


def test_a_withdrawal_is_no_loss_and_leaves_the_limits_where_they_were() -> None:
    desk = wide(exits=OFF)
    order = entered(desk, fee=0)
    price = 50_000 - 2_000 * ONE / order.size
    at(desk, price)
    cash(desk, -60_000)
    at(desk, price)
    assert not desk.engine.state.stops, "the loss is 2 %, as before"
    at(desk, 50_000 - 3_100 * ONE / order.size)
    assert Stop.LOSS in desk.engine.state.stops


def test_a_withdrawal_after_a_gain_keeps_the_daily_limit() -> None:
    desk = wide(exits=OFF, limits=msgspec.structs.replace(WIDE, max_drawdown_bps=10_000))
    order = entered(desk, fee=0)
    price = 50_000 + 110_000 * ONE / order.size
    at(desk, price)
    coins(desk, -round(order.size * 0.6))
    cash(desk, -desk.usd()[0] * 0.9)
    assert desk.engine.state.risk.day_start_nav > 0
    at(desk, price / 4)
    assert Stop.LOSS in desk.engine.state.stops


def test_coins_before_the_first_mark_want_a_value_and_are_no_profit() -> None:
    desk = Desk()
    desk.tell(CapitalMoved(ts_ns=desk.now, venue=VenueId("paper"), asset=AssetCode("BTC"), amount=ONE))
    assert "refused" in alerts(desk.commands)
    assert desk.held() == 0
    coins(desk, ONE, 50_000 * ONE)
    desk.quote("49999.99", "50000.01", after_s=61)
    point, risk = desk.engine.equity_point(), desk.engine.state.risk
    assert point.nav == point.capital == risk.day_start_nav == 150_000 * ONE


def test_losses_of_every_kind_are_watched() -> None:
    booked = Desk()
    booked.quote("49999.99", "50000.01")
    booked.tell(
        BalanceBooked(
            ts_ns=booked.now,
            venue=VenueId("paper"),
            asset=AssetCode("USD"),
            amount=-20_000 * ONE,
            reason="a hack",
            actor="a",
        )
    )
    assert Stop.LOSS in booked.engine.state.stops, "what a person books"

    pair = make_instrument(VenueId("v2"), "BNB/USD", price_decimals=2, size_decimals=8)
    others = Desk(instruments=(BTC, ETH, pair))
    at(others, 600, pair)
    coins(others, 100 * ONE, asset="BNB")
    at(others, 300, pair, after_s=61)
    at(others, 300, pair, after_s=61)
    assert Stop.LOSS in others.engine.state.stops, "coins that no position is"

    lowered = wide(exits=OFF, limits=Limits(max_daily_loss_bps=2_000))
    order = entered(lowered, fee=0)
    at(lowered, 50_000 - 2_500 * ONE / order.size)
    lowered.tell(LimitsChanged(ts_ns=lowered.now, limits=Limits(max_daily_loss_bps=100), actor="t"))
    assert Stop.LOSS in lowered.engine.state.stops, "a limit that is lowered below the loss"

    owed = wide(exits=OFF)
    entered(owed, fee=0)
    (sale,) = submitted(owed.want(Exit(instrument=BTC.id)))
    owed.fill(sale, size=5 * sale.size, fee=0)
    owed.tell(TradingResumed(ts_ns=owed.now, reason="r", actor="a"))
    for n in range(30):
        at(owed, 50_000 + n * 200)
    assert Stop.LOSS in owed.engine.state.stops, "coins that are owed, as they rise"


def test_a_clock_that_was_ahead_pins_no_day() -> None:
    desk = wide(exits=OFF)
    entered(desk)
    desk.tell(Timer(ts_ns=desk.now, taken_ns=desk.now + 30 * DAY))

    def tick(price: int) -> None:
        desk.now += SECOND
        bid = price * 100
        desk.tell(
            Quote(
                ts_ns=desk.now,
                taken_ns=desk.now,
                instrument=BTC.id,
                bid=bid,
                ask=bid + 1,
                bid_size=ONE,
                ask_size=ONE,
            )
        )

    tick(50_000)
    assert desk.engine.state.risk.day == desk.now // DAY
    for n in range(4):
        desk.now += DAY
        tick(50_000 - (n + 1) * 1_200)
    assert not desk.engine.state.stops, "0.9 % a day is no daily loss of 3 %"


# Strategies' slips.


@pytest.mark.parametrize(
    "wish",
    [
        Enter(instrument=ETH.id, limit_price=1e308),
        Enter(instrument=ETH.id, strength=None),  # type: ignore[arg-type]
        Rebalance(instrument=ETH.id, weight=None),  # type: ignore[arg-type]
        Rebalance(instrument=ETH.id, weight="0.3"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_number_in_a_wish_switches_its_strategy_off_and_nothing_else(wish: Any) -> None:
    desk = Desk()
    entered(desk)
    at(desk, 3_000, ETH)
    desk.intents = [wish]
    assert alerts(desk.bar(3_000, ETH)) == ["strategy_failed"]
    assert not desk.engine.state.stops
    (sale,) = submitted(at(desk, desk.plan().stop / 100 - 1))
    assert sale.purpose is Purpose.STOP


def test_a_state_that_no_snapshot_holds_switches_its_strategy_off() -> None:
    from aether.engine.core import Engine
    from aether.engine.strategy import StrategyDefinition
    from tests.desk import NoParams

    class State(msgspec.Struct):
        keeps: Any = None

    def on_bar(_params: Any, state: State, _bar: Any, _view: Any) -> list[Any]:
        state.keeps = lambda: 1
        return []

    desk = Desk()
    definition = StrategyDefinition(name="scripted", summary="", params=NoParams, state=State, on_bar=on_bar)
    desk.engine = Engine({StrategyName("scripted"): definition}, desk.engine.snapshot())
    desk.quote("49999.99", "50000.01")
    assert alerts(desk.bar(50_000)) == ["strategy_failed"]
    assert desk.engine.snapshot()


def test_what_a_strategy_took_back_is_not_bought_on_approval() -> None:
    for wish in (Withdraw(instrument=BTC.id), Exit(instrument=BTC.id)):
        desk = Desk(config=account(review=Review(notional=ONE, wait_s=3_600)))
        desk.want(Enter(instrument=BTC.id))
        desk.want(wish)
        assert not desk.engine.state.held
        decided = IntentDecided(ts_ns=desk.now, number=1, approved=True, reason="ok", actor="a")
        assert submitted(desk.tell(decided)) == []


def test_what_was_bought_during_a_fault_is_protected_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("x")

    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    with monkeypatch.context() as patch:
        patch.setattr("aether.engine.review.Review.on_event", fail)
        desk.tell(Timer(ts_ns=desk.now))
    desk.fill(order)
    desk.tell(TradingResumed(ts_ns=desk.now, reason="mended", actor="a"))
    (sale,) = submitted(at(desk, 30_000))
    assert sale.purpose is Purpose.STOP


# Orders.


def test_a_rejection_after_a_part_ends_the_order_and_frees_its_coins() -> None:
    desk = Desk()
    entered(desk)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    desk.accept(sale)
    desk.fill(sale, size=sale.size // 4)
    commands = desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="self-trade prevention"))
    assert desk.order(sale.id).state is OrderState.CANCELED
    assert Stop.HALT in desk.engine.state.stops
    (rest,) = submitted(commands)
    assert rest.size == sale.size - sale.size // 4


def test_the_answer_to_a_cancel_of_a_rejected_order_is_no_impossibility() -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.tell(OrderRejected(ts_ns=desk.now, order_id=order.id, reason="no"))
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=order.id, reason="x"))
    desk.tell(OrderExpired(ts_ns=desk.now, order_id=order.id, reason="x"))
    desk.tell(CancelRejected(ts_ns=desk.now, order_id=ClientOrderId("web-9"), reason="unknown order"))
    assert not desk.engine.state.stops


def test_many_denials_forget_no_order() -> None:
    desk = Desk(config=account(limits=Limits(repeated_order_limit=100_000, max_open_orders=1)))
    (order,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_950)))
    for _ in range(600):
        at(desk, 3_000, ETH)
        desk.intents = [Enter(instrument=ETH.id, limit_price=2_990)]
        assert submitted(desk.bar(3_000, ETH)) == []
    desk.fill(order)
    assert held(desk) == {SCRIPTED: order.size / ONE}
    assert not desk.engine.state.stops


def test_an_instrument_is_not_listed_again_with_other_decimals() -> None:
    desk = Desk()
    entered(desk)
    before = net_asset_value(desk.engine.state)
    other = msgspec.structs.replace(BTC, price_decimals=4)
    assert "refused" in alerts(desk.tell(InstrumentListed(ts_ns=desk.now, definition=other)))
    assert net_asset_value(desk.engine.state) == before
    finer = msgspec.structs.replace(BTC, min_size=100)
    assert desk.tell(InstrumentListed(ts_ns=desk.now, definition=finer)) == []


# Flatten and release.


def test_flatten_ends_over_coins_that_the_account_may_not_trade() -> None:
    pair = make_instrument(VenueId("paper"), "BNB/USD", price_decimals=2, size_decimals=8)
    desk = Desk(instruments=(BTC, ETH, pair))
    at(desk, 600, pair)
    coins(desk, 10 * ONE, asset="BNB")
    kill = KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a", flatten=True)
    commands = desk.tell(kill)
    assert submitted(commands) == []
    assert "flat" in alerts(commands)
    assert desk.changes().verdicts == []


def test_a_holding_that_was_filled_while_killed_has_levels_after_the_release() -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_950)))
    desk.accept(order)
    desk.want(Exit(instrument=BTC.id))
    desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="r", actor="a"))
    desk.fill(order)
    desk.tell(KillSwitchReleased(ts_ns=desk.now, reason="r", actor="a"))
    assert desk.plan().stop > 0
    assert submitted(at(desk, 20_000))


# What the platform minds beside the trading.


async def test_a_database_that_is_away_while_new_accounts_are_looked_for_ends_nothing() -> None:
    asked: list[str] = []
    done = asyncio.Event()

    async def work() -> None:
        asked.append("again")
        if len(asked) == 1:
            raise TimeoutError
        if len(asked) == 2:
            raise ConnectionRefusedError
        done.set()
        await asyncio.Event().wait()

    taking_up = asyncio.create_task(mind("accounts_not_taken_up", 0.0, work))
    await asyncio.wait({asyncio.create_task(done.wait()), taking_up}, return_when=asyncio.FIRST_COMPLETED)
    assert not taking_up.done()
    assert len(asked) == 3
    taking_up.cancel()
