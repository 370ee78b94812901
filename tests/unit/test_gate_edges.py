"""The risk gate to the last unit (R1, R2, R3): at every limit just allowed and just denied, and what a denial says."""

from collections.abc import Callable

import msgspec
import pytest

from aether.domain.accounts import Limits
from aether.domain.commands import RaiseAlert
from aether.domain.events import (
    CancelRejected,
    FeedInterrupted,
    KillSwitchEngaged,
    LimitsChanged,
    OrderCanceled,
    VenueStopped,
)
from aether.domain.identifiers import OPERATOR, ClientOrderId, VenueId
from aether.domain.instruments import make_instrument
from aether.domain.orders import OrderRequest, OrderState, OrderType, Purpose, Side
from aether.domain.parents import ParentId
from aether.domain.records import Verdict
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.ledger import Charge
from aether.engine.risk import SHARES, Gate, is_in_the_way, loss_breach, make_candidate
from aether.engine.strategy import Enter
from aether.kernel.exits import NO_EXIT
from tests.desk import BTC, ETH, SCRIPTED, SECOND, Desk, account, submitted
from tests.unit.test_risk import CASES, COIN, case_self_trade, fresh, judge, limits, request, with_position

MS = SECOND // 1_000
SAID = {
    "kill_switch": "engaged: drill / released",
    "halt": "halted: evidence / resumed by an operator",
    "fault": "stopped: an error / resumed by an operator",
    "venue_stop": "paper stopped: drill / released",
    "safe_mode": "engaged: storm / released",
    "pair": "paper:BTC/USD is maintenance: HALT / online",
    "breaker": "paper open for 120 s more: 5 of the last 5 orders failed / closed, or resumed by an operator",
    "breaks": "open: balance of paper:USD / none open",
    "mode": "live without approval / live with one, or paper",
    "strategy": "scripted is switched off / switched on",
    "instrument": "paper:BTC/USD / one of paper:ETH/USD quoted in USD",
    "market_data_age": "2001 ms old / at most 2000 ms old",
    "crossed_book": "bid 50000.01, ask 50000.00 / bid below ask",
    "price_collar": "51000.01 is 201 bps from the mark 50000.00 / at most 200 bps",
    "tick_size": "50000.1 / a multiple of 0.5",
    "lot_size": "0.10000001 / a multiple of 0.00001",
    "order_size": "0.10000000 / 1.00000000 to 1000000000000000.00000000",
    "min_notional": "0.99950000 / at least 1.00000000",
    "max_order_notional": "500 bps of NAV / at most 499 bps of NAV",
    "free_balance": "needs 100400.00000000 of paper:USD / 100000.00000000 free",
    "max_position": "500 bps of NAV / at most 499 bps of NAV",
    "gross_exposure": "500 bps of NAV / at most 499 bps of NAV",
    "open_orders": "1 open / fewer than 1 before this one",
    "order_rate": "3 in a second / 3 in a second",
    "repeated_orders": "stopped after 30 orders / resumed by an operator",
    "loss_stop": "stopped: daily_loss / resumed by an operator",
    "daily_loss": "301 bps of NAV / at most 300 bps of NAV",
    "drawdown": "1504 bps of NAV / at most 1500 bps of NAV",
    "fee_budget": "101 bps of NAV / at most 100 bps of NAV",
    "cool_down": "60 s left after a stop / 0 s",
    "own_stop": "0.10000000 beside 1.00000000 for sale, a stop included / 1.00000000 held by strategy:scripted",
    "self_trade": "would meet our own buy desk-1 at 49950.00 / no own order to meet",
    "duplicate": "like desk-1, sent 0 ms before / at least 250 ms apart",
}


def said(verdict: Verdict) -> list[str]:
    return [f"{b.check}: {b.value} / {b.limit}" for b in verdict.breaches]


def breached(desk: Desk, order: OrderRequest) -> list[str]:
    return [b.check for b in judge(desk, order).breaches]


@pytest.mark.parametrize("check", CASES)
def test_a_denial_says_what_was_found_and_what_is_allowed(check: str) -> None:
    desk, order = CASES[check]()
    verdict = Gate().judge(make_candidate(desk.engine.state, order))[0]
    assert said(verdict) == [f"{check}: {SAID[check]}"]
    assert (verdict.ts_ns, verdict.order_id, verdict.instrument) == (
        desk.engine.state.now_ns, order.id, order.instrument,
    )  # fmt: skip


def test_several_instruments_are_named() -> None:
    coarse = msgspec.structs.replace(BTC, quote="EUR")
    desk = Desk(instruments=(coarse, ETH))
    desk.quote("49999.99", "50000.01")
    (found,) = [s for s in said(judge(desk, request())) if s.startswith("instrument")]
    assert found == "instrument: paper:BTC/USD / one of paper:BTC/USD, paper:ETH/USD quoted in USD"


def test_market_data_is_fresh_to_the_last_millisecond() -> None:
    desk = fresh()
    desk.engine.state.now_ns += 2_000 * MS
    assert judge(desk, request()).approved
    desk.engine.state.now_ns += 1
    assert said(judge(desk, request())) == ["market_data_age: 2000 ms old / at most 2000 ms old"]
    unknown = Desk()
    assert "market_data_age: no market data / at most 2000 ms old" in said(judge(unknown, request()))
    broken = fresh()
    broken.tell(FeedInterrupted(ts_ns=broken.now, instrument=BTC.id, reason="cut"))
    assert "market_data_age: feed interrupted: cut / at most 2000 ms old" in said(judge(broken, request()))
    with_position(broken)
    leave = request(side=Side.SELL, purpose=Purpose.EXIT)
    assert judge(broken, leave).approved, "who leaves trades at the last mark while it is fresh"


def test_a_crossed_book_counts_while_it_is_fresh() -> None:
    desk = fresh()
    desk.quote("50000.01", "50000.00")
    with_position(desk)
    leave = request(side=Side.SELL, purpose=Purpose.EXIT)
    desk.engine.state.now_ns += 2_000 * MS
    assert breached(desk, leave) == ["crossed_book"]
    desk.engine.state.now_ns += 1
    assert "crossed_book" not in breached(desk, leave), "an old one says nothing"


def test_a_price_or_a_trigger_between_ticks_is_named() -> None:
    desk = Desk(instruments=(msgspec.structs.replace(BTC, tick=50), ETH))
    desk.quote("49999.99", "50000.01")
    stop = {"type": OrderType.STOP_LOSS_LIMIT}
    on, off = 5_000_050, 5_000_060
    assert "tick_size" not in breached(desk, request(limit_price=on, trigger_price=on, **stop))
    for limit_price, trigger_price, named in (
        (off, on, "50000.6"),
        (on, off, "50000.6"),
        (off, off + 10, "50000.6"),
    ):
        found = said(judge(desk, request(limit_price=limit_price, trigger_price=trigger_price, **stop)))
        assert f"tick_size: {named} / a multiple of 0.5" in found


def test_an_order_is_worth_something_and_costs_something() -> None:
    free = msgspec.structs.replace(BTC, min_notional=0, min_size=1)
    desk = Desk(instruments=(free, ETH))
    desk.quote("0.01", "0.02")
    tiny = request(size=1, limit_price=1)
    assert {"min_notional", "free_balance"} <= set(breached(desk, tiny)), "it comes to nothing in 10^-8"
    assert "min_notional" not in breached(desk, request(size=100, limit_price=1)), "a single unit is enough"


@pytest.mark.parametrize("base", [BTC, ETH])
def test_what_is_bought_of_another_asset_counts_for_all_positions_alone(base: object) -> None:
    desk = limits(max_position_bps=10_000, max_gross_exposure_bps=20_000)
    desk.quote("2999.99", "3000.01", ETH)
    resting = ETH if base is ETH else BTC
    price = 2_990.0 if base is ETH else 49_900.0
    desk.intents = [Enter(instrument=resting.id, limit_price=price, post_only=True)]
    (order,) = submitted(desk.bar(3_000 if base is ETH else 50_000, resting))
    working = resting.notional(order.limit_price, order.size)
    candidate = make_candidate(desk.engine.state, request(owner=OPERATOR))
    position, nav, _ = SHARES["max_position"](candidate)
    gross, _, _ = SHARES["gross_exposure"](candidate)
    assert position == candidate.notional + (working if base is BTC else 0)
    assert gross == candidate.notional + working
    assert nav == 100_000 * AMOUNT_SCALE


def test_a_share_of_nothing_is_too_much() -> None:
    desk = fresh()
    desk.engine.state.ledger.balance(BTC.quote_key).free = 0
    found = said(judge(desk, request()))
    assert "max_order_notional: 5000.00000000 of no worth of NAV / at most 3500 bps of NAV" in found
    desk.engine.state.ledger.balance(BTC.quote_key).free = 1
    assert any(s.startswith("max_order_notional: 50000000000") for s in said(judge(desk, request())))
    none = Desk()
    assert not [s for s in said(judge(none, request(size=0))) if s.startswith(("max_order", "gross"))]


def test_orders_of_a_second_and_of_a_minute_are_counted() -> None:
    desk = limits(max_orders_per_second=2, max_orders_per_minute=4)
    now = desk.engine.state.now_ns
    times: list[tuple[list[int], list[str]]] = [
        ([now - SECOND, now], []),
        ([now - SECOND + 1, now], ["order_rate: 2 in a second / 2 in a second"]),
        ([now - 60 * SECOND, *[now - 2 * SECOND] * 3], []),
        ([now - 60 * SECOND + 1, *[now - 2 * SECOND] * 3], ["order_rate: 4 in a minute / 4 in a minute"]),
        ([now - 59 * SECOND] * 5, ["order_rate: 5 in a minute / 4 in a minute"]),
    ]
    for sent, expected in times:
        desk.engine.state.risk.order_times = sent
        assert said(judge(desk, request())) == expected


def test_losses_are_held_against_what_they_began_with() -> None:
    desk = limits(max_daily_loss_bps=100, max_drawdown_bps=200)
    risk = desk.engine.state.risk
    nav = 100_000 * AMOUNT_SCALE
    risk.day_start_nav = risk.peak_nav = nav
    assert loss_breach(desk.engine.state, nav - nav // 100) is None
    found = loss_breach(desk.engine.state, nav - nav // 100 - 1)
    assert found is not None
    assert (found.check, found.value, found.limit) == ("daily_loss", "101 bps of NAV", "at most 100 bps of NAV")
    risk.day_start_nav = 0
    assert loss_breach(desk.engine.state, nav - nav // 50) is None
    fallen = loss_breach(desk.engine.state, nav - nav // 50 - 1)
    assert fallen is not None
    assert (fallen.check, fallen.value) == ("drawdown", "201 bps of NAV")
    risk.peak_nav = 0
    assert loss_breach(desk.engine.state, -1) is None, "there was nothing to lose yet"
    candidate = make_candidate(desk.engine.state, request())
    assert SHARES["daily_loss"](candidate)[0] == SHARES["drawdown"](candidate)[0] == 0
    risk.day_start_nav = risk.peak_nav = 1
    assert loss_breach(desk.engine.state, 0) is not None
    assert SHARES["daily_loss"](candidate)[0] == SHARES["drawdown"](candidate)[0] == 1 - nav


def test_a_cool_down_ends_on_time_and_an_exit_under_way_is_told() -> None:
    desk = fresh()
    now = desk.engine.state.now_ns
    desk.engine.state.risk.cool_until[BTC.id] = now + 90 * SECOND + SECOND // 2
    assert said(judge(desk, request())) == ["cool_down: 90 s left after a stop / 0 s"]
    desk.engine.state.risk.cool_until[BTC.id] = now + 1
    assert breached(desk, request()) == ["cool_down"]
    desk.engine.state.risk.cool_until[BTC.id] = now
    assert judge(desk, request()).approved
    left = fresh()
    (order,) = submitted(left.want(Enter(instrument=BTC.id)))
    left.fill(order)
    plan = left.plan()
    assert plan.hit == NO_EXIT
    plan.hit = next(kind for kind in (1, 2, 3) if kind != NO_EXIT)
    found = said(judge(left, request(size=COIN // 11)))
    assert "cool_down: a position in it is being sold / no exit under way" in found


def roomy() -> Desk:
    return limits(max_position_bps=9_000, max_order_notional_bps=9_000)


def resting(desk: Desk, side: Side, price: int, size: int = COIN // 10) -> ClientOrderId:
    """Let an operator's limit order rest in the books."""
    from aether.engine.state import AccountState

    state: AccountState = desk.engine.state
    number = state.next_order
    if side is Side.SELL and not state.ledger.balance(BTC.base_key).free:
        with_position(desk, COIN)
    asked = request(side=side, limit_price=price, size=size, owner=OPERATOR, purpose=Purpose.ALGORITHM, strategy="")
    desk.engine._desk.ask(asked)
    return ClientOrderId(f"desk-{number}")


@pytest.mark.parametrize(
    ("own", "at", "side", "limit", "meets"),
    [
        (Side.SELL, 5_001_000, Side.BUY, 5_001_000, True),
        (Side.SELL, 5_001_000, Side.BUY, 5_000_999, False),
        (Side.SELL, 5_001_000, Side.BUY, 0, True),
        (Side.BUY, 4_999_000, Side.SELL, 4_999_000, True),
        (Side.BUY, 4_999_000, Side.SELL, 4_999_001, False),
        (Side.BUY, 4_999_000, Side.SELL, 0, True),
        (Side.BUY, 4_999_000, Side.BUY, 4_999_000, False),
    ],
)
def test_an_order_meets_our_own_where_their_prices_cross(
    own: Side, at: int, side: Side, limit: int, meets: bool
) -> None:
    desk = roomy()
    with_position(desk, COIN)
    name = resting(desk, own, at)
    kind = OrderType.LIMIT if limit else OrderType.MARKET
    order = request(side=side, limit_price=limit, type=kind, size=COIN // 20, purpose=Purpose.ALGORITHM)
    found = [s for s in said(judge(desk, order)) if s.startswith("self_trade")]
    price = BTC.price_text(at)
    assert found == (
        [f"self_trade: would meet our own {own} {name} at {price} / no own order to meet"] if meets else []
    )


def test_every_own_order_is_looked_at_not_only_the_first() -> None:
    desk = roomy()
    with_position(desk, COIN)
    desk.quote("2999.99", "3000.01", ETH)
    desk.intents = [Enter(instrument=ETH.id, limit_price=2_990, post_only=True)]
    assert submitted(desk.bar(3_000, ETH)), "first an order of another pair"
    resting(desk, Side.SELL, 5_002_000)
    resting(desk, Side.SELL, 5_001_000)
    order = request(limit_price=5_001_000, size=COIN // 20)
    assert "self_trade" in breached(desk, order)


def test_an_exit_waits_for_a_cancel_only_so_long() -> None:
    desk, leave = case_self_trade()
    state = desk.engine.state
    (order,) = state.open_orders.values()
    assert not is_in_the_way(state, order, ETH.id)
    assert is_in_the_way(state, order, BTC.id)
    desk.engine._desk.cancel(order)
    order.updated_ns = state.now_ns - 1_999 * MS
    assert "self_trade" in breached(desk, leave)
    order.updated_ns = state.now_ns - 2_000 * MS
    assert "self_trade" not in breached(desk, leave)
    entry = msgspec.structs.replace(leave, purpose=Purpose.ALGORITHM)
    assert "self_trade" in breached(desk, entry), "only who leaves does not wait"
    desk.tell(LimitsChanged(ts_ns=desk.now, limits=Limits(max_position_bps=9_000), actor="t"))
    second = resting(desk, Side.BUY, 4_999_000, COIN // 50)
    assert [s for s in said(judge(desk, leave)) if second in s], "the one behind it is in the way"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"size": COIN // 7}, False),
        ({"limit_price": 4_994_999}, False),
        ({"owner": OPERATOR}, False),
        ({"side": Side.SELL}, False),
        ({"type": OrderType.MARKET}, False),
        ({"instrument": ETH.id}, False),
    ],
)
def test_only_the_same_order_is_a_duplicate(change: dict[str, object], same: bool) -> None:
    desk = fresh()
    (sent,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_950)))
    again = msgspec.structs.replace(sent, id=ClientOrderId("desk-1000"), **change)
    assert ("duplicate" in breached(desk, again)) is same


def test_a_duplicate_is_one_for_as_long_as_the_window_is() -> None:
    desk = fresh()
    (sent,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_950)))
    again = msgspec.structs.replace(sent, id=ClientOrderId("desk-1000"))
    desk.engine.state.now_ns += 249 * MS + MS - 1
    assert "duplicate: like desk-1, sent 249 ms before / at least 250 ms apart" in said(judge(desk, again))
    desk.engine.state.now_ns += 1
    assert "duplicate" not in breached(desk, again)


def test_a_parents_next_child_may_be_like_its_last_and_others_may_not() -> None:
    desk = fresh()
    (sent,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_950)))
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=sent.id, reason="x"))
    state = desk.engine.state
    closed = state.closed_orders[sent.id]
    child = msgspec.structs.replace(sent, id=ClientOrderId("desk-1000"), parent=ParentId("p1"))
    assert "duplicate" in breached(desk, child), "the other belongs to nobody"
    closed.request = msgspec.structs.replace(closed.request, parent=ParentId("p1"))
    assert "duplicate" not in breached(desk, child)
    other = msgspec.structs.replace(child, parent=ParentId("p2"))
    assert "duplicate" in breached(desk, other)
    alone = msgspec.structs.replace(child, parent=ParentId(""))
    assert "duplicate" in breached(desk, alone)
    second = resting(desk, Side.BUY, sent.limit_price, sent.size)
    like = msgspec.structs.replace(state.open_orders[second].request, id=ClientOrderId("desk-1001"))
    assert "duplicate" in breached(desk, like), "behind one that is passed over"


def test_the_day_ends_where_nothing_was_put_in() -> None:
    desk = Desk(cash=0, config=account())
    desk.quote("49999.99", "50000.01")
    desk.changes()
    desk.quote("49999.99", "50000.01", after_s=120)
    assert desk.changes().equity == [], "an account without money has no worth to note down"
    with_money = fresh()
    with_money.changes()
    with_money.quote("49999.99", "50000.01", after_s=120)
    assert [p.nav for p in with_money.changes().equity] == [100_000 * AMOUNT_SCALE]


def test_a_buy_is_charged_to_the_last_unit_that_is_free() -> None:
    desk = limits(max_order_notional_bps=10_000, max_position_bps=10_000)
    order = request(owner=OPERATOR, strategy="")
    reserve = make_candidate(desk.engine.state, order).reserve
    balance = desk.engine.state.ledger.balance(BTC.quote_key)
    balance.free = reserve
    assert "free_balance" not in breached(desk, order)
    balance.free = reserve - 1
    assert "free_balance" in breached(desk, order)


def test_funds_are_reserved_and_released_to_the_last_unit() -> None:
    ledger = fresh().engine.state.ledger
    key = BTC.quote_key
    free = ledger.balance(key).free
    ledger.reserve(key, 0)
    ledger.reserve(key, 3)
    ledger.reserve(key, 4)
    assert (ledger.balance(key).free, ledger.balance(key).locked) == (free - 7, 7)
    ledger.release(key, 0)
    ledger.release(key, 7)
    assert (ledger.balance(key).free, ledger.balance(key).locked) == (free, 0)


def test_what_an_owner_made_adds_up() -> None:
    desk = fresh()
    made: Callable[[], int] = lambda: desk.engine.state.ledger.positions[BTC.id].realized  # noqa: E731
    ledger = desk.engine.state.ledger
    for _ in range(2):
        ledger.book_buy(BTC, SCRIPTED, COIN, BTC.notional(5_000_000, COIN), Charge(0, 0, BTC.quote_key))
        ledger.book_sale(BTC, SCRIPTED, COIN, BTC.notional(5_000_100, COIN), Charge(0, 0, BTC.quote_key))
    assert made() == 2 * AMOUNT_SCALE
    ledger.assert_balanced()


@pytest.mark.parametrize("may_trade", [True, False])
def test_what_can_be_sold_is_sold_whatever_stands_before_it(may_trade: bool) -> None:
    """Coins at a venue that is stopped, or of a pair that the account may not trade, keep nothing else from going."""
    other = make_instrument(VenueId("kraken"), "BTC/USD", price_decimals=2, size_decimals=8)
    tradable = (other.id,) if may_trade else ()
    desk = Desk(config=account(tradable=tradable), instruments=(other, BTC, ETH))
    for instrument in (other, BTC):
        desk.quote("49999.99", "50000.01", instrument)
    charge = Charge(0, 0, BTC.quote_key)
    ledger = desk.engine.state.ledger
    ledger.balance(BTC.quote_key)
    for instrument in (other, BTC):
        ledger.balance(instrument.quote_key).free += 10**15
        ledger.book_buy(instrument, SCRIPTED, COIN, instrument.notional(5_000_000, COIN), charge)
    if may_trade:
        desk.tell(VenueStopped(ts_ns=desk.now, venue=VenueId("kraken"), reason="odd", actor="ada"))
    sent = submitted(desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="out", actor="ada", flatten=True)))
    assert [(r.instrument, r.size) for r in sent] == [(BTC.id, COIN)]
    told = [c.message for c in desk.commands if isinstance(c, RaiseAlert) and c.code == "flat"]
    assert told == [], "it is not flat yet"


def test_a_cancel_that_is_refused_leaves_an_order_as_filled_as_it_is() -> None:
    desk = fresh()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_900)))
    desk.accept(order)
    desk.engine._desk.cancel(desk.order(order.id))
    desk.tell(CancelRejected(ts_ns=desk.now, order_id=order.id, reason="busy"))
    assert desk.order(order.id).state is OrderState.ACCEPTED
    desk.fill(order, order.size // 2)
    desk.engine._desk.cancel(desk.order(order.id))
    desk.tell(CancelRejected(ts_ns=desk.now, order_id=order.id, reason="busy"))
    assert desk.order(order.id).state is OrderState.PARTIALLY_FILLED
    assert desk.halted == ""
