"""Facts are booked whole, then judged: what a venue reports is never refused (O8, O1, T1)."""

from typing import Any

import msgspec
import pytest

from aether.domain.accounts import Limits
from aether.domain.commands import RaiseAlert
from aether.domain.events import (
    BalanceBooked,
    BalanceReported,
    BreakAssigned,
    CapitalMoved,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    Timer,
    TradingResumed,
)
from aether.domain.identifiers import AssetCode, ClientOrderId, TradeId, VenueId, VenueOrderId, balance_key
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import Liquidity, OrderRequest, OrderState, Purpose, Side
from aether.domain.scaled import AMOUNT_SCALE, value_of
from aether.engine.state import CLOSED_ORDERS_KEPT
from aether.engine.stops import Stop
from aether.engine.strategy import Enter, Exit
from aether.engine.valuation import net_asset_value, tolerance
from tests.desk import BTC, ETH, SCRIPTED, SECOND, Desk, account, alerts, canceled, submitted

ONE = AMOUNT_SCALE
WIDE = Limits(max_order_notional_bps=10_000, max_position_bps=10_000)
BNB = make_instrument(VenueId("paper"), "BNB/USD", price_decimals=2, size_decimals=8)
BNB_KEY = balance_key(VenueId("paper"), AssetCode("BNB"))
KRAKEN_LIKE = msgspec.structs.replace(BTC, quote_decimals=4)


def bought(desk: Desk, **fill: Any) -> OrderRequest:
    """Enter BTC and let it fill."""
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, **fill)
    return order


def stranger(desk: Desk, order_id: str = "web-1", trade_id: str = "W1", **fields: Any) -> OrderFilled:
    values: dict[str, Any] = {
        "ts_ns": desk.now,
        "order_id": ClientOrderId(order_id),
        "venue_order_id": VenueOrderId("V9"),
        "trade_id": TradeId(trade_id),
        "price": 5_000_000,
        "size": ONE // 100,
        "fee": ONE,
        "fee_asset": AssetCode("USD"),
        "liquidity": Liquidity.TAKER,
        "instrument": BTC.id,
        "side": Side.BUY,
    }
    return OrderFilled(**{**values, **fields})


# Finding 1: a fee in an asset that the books do not hold.


def test_a_fee_in_an_unknown_asset_is_booked_once_and_its_retelling_changes_nothing() -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    event = desk.fill(order, fee=12_345, fee_asset="BNB")
    held, trades = desk.held(), list(desk.order(order.id).trade_ids)
    for _ in range(3):
        desk.tell(event)
    desk.restart()
    desk.tell(event)
    assert (desk.held(), desk.order(order.id).trade_ids) == (held, trades)
    assert desk.engine.state.ledger.balance(BNB_KEY).total == -12_345
    assert len(desk.changes().fills) == 0, "told again after the restart, booked before"
    desk.engine.state.ledger.assert_balanced()
    assert desk.breaks() == [f"overdraft|{BNB_KEY}"]
    assert not desk.halted


def test_a_fee_that_the_books_can_pay_is_no_break() -> None:
    desk = Desk()
    desk.tell(CapitalMoved(ts_ns=desk.now, venue=VenueId("paper"), asset=AssetCode("BNB"), amount=ONE))
    bought(desk, fee=12_345, fee_asset="BNB")
    assert desk.engine.state.ledger.balance(BNB_KEY).total == ONE - 12_345
    assert desk.breaks() == []


def test_bringing_coins_in_for_the_fee_clears_the_break() -> None:
    desk = Desk()
    bought(desk, fee=12_345, fee_asset="BNB")
    desk.quote("3000", "3000.01", ETH)
    desk.intents = [Enter(instrument=ETH.id)]
    assert submitted(desk.bar(3_000, ETH)) == []
    commands = desk.tell(CapitalMoved(ts_ns=desk.now, venue=VenueId("paper"), asset=AssetCode("BNB"), amount=ONE))
    assert "break_cleared" in alerts(commands)
    assert desk.breaks() == []
    desk.quote("3000", "3000.01", ETH)
    desk.intents = [Enter(instrument=ETH.id)]
    assert submitted(desk.bar(3_000, ETH))


def test_coins_that_come_in_count_at_their_worth_and_not_as_currency() -> None:
    desk = Desk(instruments=(BTC, ETH, BNB))
    desk.quote("299.99", "300.01", BNB)
    before = desk.engine.state.risk.day_start_nav
    desk.tell(CapitalMoved(ts_ns=desk.now, venue=VenueId("paper"), asset=AssetCode("BNB"), amount=10 * ONE))
    risk = desk.engine.state.risk
    assert risk.day_start_nav - before == risk.peak_nav - before == 3_000 * ONE
    assert desk.engine.equity_point().nav == desk.engine.equity_point().capital == 103_000 * ONE
    holding = desk.engine.state.ledger.position(BNB.id)
    assert (holding.quantity, holding.cost) == (10 * ONE, 3_000 * ONE)
    unknown = Desk()
    commands = unknown.tell(CapitalMoved(ts_ns=unknown.now, venue=VenueId("paper"), asset=AssetCode("BNB"), amount=ONE))
    assert unknown.engine.state.risk.peak_nav == 100_000 * ONE
    assert "unvalued" in alerts(commands)


def test_a_fee_in_coins_is_a_cost_at_their_mark_and_counts_for_the_day() -> None:
    desk = Desk(instruments=(BTC, ETH, BNB))
    desk.quote("299.99", "300.01", BNB)
    desk.tell(CapitalMoved(ts_ns=desk.now, venue=VenueId("paper"), asset=AssetCode("BNB"), amount=ONE))
    desk.quote("399.99", "400.01", BNB)
    desk.changes()
    order = bought(desk, fee=ONE // 100, fee_asset="BNB")
    (fill,) = desk.changes().fills
    assert (fill.fee, fill.fee_asset, fill.fee_amount) == (4 * ONE, "BNB", ONE // 100)
    assert desk.order(order.id).fees == desk.engine.state.risk.fees_today == 4 * ONE
    bnb = desk.engine.state.ledger.position(BNB.id)
    assert (bnb.quantity, bnb.realized) == (ONE - ONE // 100, ONE), "the coins leave their own holdings, at 400 for 300"
    assert desk.usd()[0] + desk.usd()[1] == pytest.approx(100_000 - order.size * 50_000 / ONE, abs=1)


def test_a_fee_in_coins_without_a_price_counts_as_what_the_tier_would_have_charged() -> None:
    desk = Desk()
    bought(desk, fee=12_345, fee_asset="BNB")
    (fill,) = desk.changes().fills
    assert fill.fee == pytest.approx(fill.notional * 4_000 // 1_000_000, abs=1), "taker, first tier"
    assert desk.engine.state.risk.fees_today == fill.fee


# Finding 2: overdrafts, late fills, fees beyond what is held, rebates.


def test_a_fill_beyond_the_collar_overdraws_and_is_booked() -> None:
    desk = Desk(config=account(), cash=100)
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, price=50_000_000)
    assert desk.order(order.id).state is OrderState.FILLED
    assert desk.held() == order.size / ONE
    assert desk.usd()[0] < 0
    assert desk.breaks() == ["overdraft|paper:USD"]
    assert not desk.halted
    desk.quote("499999", "500001")
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id), price=500_000))
    desk.fill(sale, price=50_000_000)
    assert desk.breaks() == [], "the sale brings the books above zero again"


def test_a_late_fill_after_a_cancel_whose_funds_are_locked_again_is_booked() -> None:
    desk = Desk(cash=10_000, config=account(limits=WIDE))
    (first,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_950)))
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=first.id, reason="on request"))
    amount = desk.usd()[0] - 1_000
    desk.quote("3000", "3000.01", ETH)
    balance = desk.engine.state.ledger.balance(BTC.quote_key)
    balance.free -= round(amount * ONE)
    balance.locked += round(amount * ONE)
    desk.fill(first)
    assert desk.order(first.id).state is OrderState.FILLED
    assert desk.held() == first.size / ONE
    assert balance.free < 0
    assert desk.breaks() == ["overdraft|paper:USD"]
    desk.engine.state.ledger.assert_balanced()


def test_a_sell_whose_fee_in_base_is_beyond_what_is_held_is_booked() -> None:
    desk = Desk()
    order = bought(desk)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    desk.fill(sale, fee=5_000, fee_asset="BTC")
    assert desk.order(sale.id).state is OrderState.FILLED
    assert desk.engine.state.ledger.position(BTC.id).quantity == -5_000
    assert desk.breaks() == ["overdraft|paper:BTC"]
    assert order.size == sale.size
    assert not desk.halted


def test_a_rebate_in_base_on_a_full_sell_is_booked() -> None:
    desk = Desk()
    bought(desk)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    desk.fill(sale, fee=-3_000, fee_asset="BTC")
    assert desk.order(sale.id).state is OrderState.FILLED
    assert desk.engine.state.ledger.position(BTC.id).quantity == 3_000
    assert desk.order(sale.id).fees == -value_of(3_000, 5_000_000, 2)
    assert not desk.engine.state.stops


def test_a_fee_in_base_above_the_quantity_is_booked() -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, size=100, fee=500, fee_asset="BTC")
    assert desk.engine.state.ledger.position(BTC.id).quantity == -400
    desk.engine.state.ledger.assert_balanced()


def test_an_overfill_is_booked_whole_and_halts() -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(order, size=2 * order.size)
    assert desk.held() == 2 * order.size / ONE
    assert desk.order(order.id).state is OrderState.FILLED
    assert "left and got a fill" in desk.halted
    assert canceled(desk.commands)[-1] == "all"
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    assert sale.size == 2 * order.size, "exits go on"


def test_an_operator_books_what_the_venue_did_and_says_why() -> None:
    desk = Desk()
    interest = 12_345
    total = desk.engine.state.ledger.balance(BTC.quote_key).total + interest
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total))
    assert desk.breaks() == ["balance|paper:USD"]
    booking = BalanceBooked(
        ts_ns=desk.now,
        venue=VenueId("paper"),
        asset=AssetCode("USD"),
        amount=interest,
        reason="interest of November",
        actor="ada",
        reference="L-7",
    )
    desk.changes()
    desk.tell(booking)
    assert desk.breaks() == []
    assert not desk.engine.state.stops
    (flow,) = desk.changes().flows
    assert (flow.kind, flow.amount, flow.value, flow.reference) == ("booking", interest, interest, "L-7")
    assert (flow.reason, flow.actor) == ("interest of November", "ada")
    point = desk.engine.equity_point()
    assert point.nav - point.capital == interest, "it is profit, not capital"
    assert point.realized == interest, "and no open position's"


def test_a_booking_that_explains_a_part_leaves_the_rest_open() -> None:
    desk = Desk()
    key = BTC.quote_key
    total = desk.engine.state.ledger.balance(key).total
    desk.tell(BalanceReported(ts_ns=desk.now, key=key, total=total + 5 * ONE))
    desk.tell(_booked(desk, 2 * ONE))
    (found,) = desk.engine.state.breaks.values()
    assert found.amount == 3 * ONE
    desk.tell(_booked(desk, 3 * ONE))
    assert desk.breaks() == []


def _booked(desk: Desk, amount: int, asset: str = "USD") -> BalanceBooked:
    return BalanceBooked(
        ts_ns=desk.now, venue=VenueId("paper"), asset=AssetCode(asset), amount=amount, reason="looked", actor="ada"
    )


def test_flows_add_up_to_the_capital_whatever_the_coins_are_said_to_have_cost() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    desk.changes()
    flows = []
    for asset, amount, value in (("USD", 7 * ONE, None), ("BTC", ONE, 900_000 * ONE), ("BTC", -ONE // 2, None)):
        before = desk.engine.state.risk.capital
        desk.tell(
            CapitalMoved(
                ts_ns=desk.now,
                venue=VenueId("paper"),
                asset=AssetCode(asset),
                amount=amount,
                value=value,
                reference="W-5",
                reason="moved in",
                actor="ada",
            )
        )
        flows += desk.changes().flows
        assert flows[-1].value == desk.engine.state.risk.capital - before
    assert [f.value for f in flows] == [7 * ONE, 50_000 * ONE, -25_000 * ONE]
    assert {(f.reason, f.reference) for f in flows} == {("moved in", "W-5")}
    assert desk.engine.state.ledger.position(BTC.id).cost == 450_000 * ONE
    worth = CapitalMoved(ts_ns=desk.now, venue=VenueId("paper"), asset=AssetCode("USD"), amount=ONE, value=5 * ONE)
    held = desk.usd()
    desk.tell(worth)
    assert desk.usd() == held, "money is worth itself"


@pytest.mark.parametrize("asset", ["USD", "BNB", "BTC"])
def test_a_booking_that_takes_more_than_the_books_hold_is_a_break_at_once(asset: str) -> None:
    """It said "books and venues agree" until the next execution."""
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    desk.tell(_booked(desk, -200_000 * ONE, asset))
    assert desk.breaks() == [f"overdraft|paper:{asset}"]
    (found,) = desk.engine.state.breaks.values()
    lacks = found.amount
    assert 0 < lacks <= 200_000 * ONE, "what has to be booked"
    desk.tell(_booked(desk, ONE, asset))
    assert found.amount == lacks - ONE
    assert Stop.BREAK in desk.engine.state.stops
    desk.restart()
    desk.tell(_booked(desk, lacks - ONE, asset))
    assert desk.breaks() == []
    assert Stop.BREAK not in desk.engine.state.stops


def test_coins_that_an_operator_books_are_deposits_that_nothing_sells() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    desk.tell(_booked(desk, ONE // 10, "BTC"))
    holdings = desk.engine.state.ledger.position(BTC.id).holdings
    assert {o: (holding.quantity, holding.cost) for o, holding in holdings.items()} == {
        "deposits": (ONE // 10, 5_000 * ONE)
    }
    assert submitted(desk.quote("20000", "20000.01")) == []
    desk.tell(_booked(desk, -ONE // 10, "BTC"))
    assert desk.held() == 0
    desk.engine.state.ledger.assert_balanced()


# Strangers: reports on orders that the account does not know.


def test_a_fill_of_a_strange_order_is_booked_once_and_halts() -> None:
    desk = Desk()
    event = stranger(desk)
    commands = desk.tell(event)
    desk.tell(event)
    desk.restart()
    desk.tell(event)
    assert desk.held() == 0.01
    assert desk.usd()[0] == 100_000 - 500 - 1
    assert "does not know" in desk.halted
    assert {"break", "halted"} <= set(alerts(commands))
    holdings = desk.engine.state.ledger.position(BTC.id).holdings
    assert list(holdings) == ["operator"]


def test_a_second_impossible_report_is_told_too() -> None:
    desk = Desk()
    desk.tell(stranger(desk))
    again = desk.tell(stranger(desk, order_id="web-2", trade_id="W2"))
    assert "break" in alerts(again)
    assert len(desk.breaks()) == 2


def test_a_report_that_cannot_be_booked_is_kept_as_evidence() -> None:
    desk = Desk()
    commands = desk.tell(stranger(desk, instrument="", side=None))
    assert desk.held() == 0
    assert "cannot be booked" in desk.halted
    assert [c.message for c in commands if isinstance(c, RaiseAlert) and c.code == "break"]


def test_a_late_report_on_an_order_of_long_ago_is_absorbed() -> None:
    """An order that is not kept any more: its execution is told again, and then a refusal of it."""
    desk = Desk(config=account(limits=Limits(repeated_order_limit=100_000)))
    (first,) = submitted(desk.want(Enter(instrument=BTC.id, limit_price=49_000)))
    event = desk.fill(first, size=first.size // 2)
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=first.id, reason="x"))
    for _ in range(CLOSED_ORDERS_KEPT + 1):
        desk.now += 2 * SECOND
        desk.quote("3000", "3000.01", ETH)
        desk.intents = [Enter(instrument=ETH.id, limit_price=2_990)]
        (other,) = submitted(desk.bar(3_000, ETH))
        desk.tell(OrderRejected(ts_ns=desk.now, order_id=other.id, reason="no"))
    assert first.id not in desk.engine.state.closed_orders
    held = desk.held()
    desk.restart()
    desk.tell(event)
    desk.tell(OrderRejected(ts_ns=desk.now, order_id=first.id, reason="late words"))
    assert desk.held() == held == event.size / ONE, "booked once, long ago"
    assert not desk.engine.state.breaks


# Finding 3: precision, rounding, dust.


def test_a_venue_that_keeps_dollars_to_four_decimals_stops_nothing() -> None:
    desk = Desk(instruments=(KRAKEN_LIKE, ETH))
    key = BTC.quote_key
    for n in range(20):
        bought(desk, price=5_000_001 + n, fee=1_234_567)
        told = desk.engine.state.ledger.balance(key).total // 10_000 * 10_000
        desk.tell(BalanceReported(ts_ns=desk.now, key=key, total=told))
        assert desk.engine.state.ledger.balance(key).total == told
        (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
        desk.fill(sale)
        desk.now += 3_600 * SECOND
    assert not desk.engine.state.stops
    balance = desk.engine.state.ledger.balance(key)
    assert balance.rounding != 0
    desk.engine.state.ledger.assert_balanced()


def test_a_cent_at_a_venue_that_keeps_cents_is_rounding_and_two_are_not() -> None:
    cents = msgspec.structs.replace(BTC, quote_decimals=2)
    for extra, is_break in ((ONE // 100, False), (3 * ONE // 100, True)):
        desk = Desk(instruments=(cents, ETH))
        balance = desk.engine.state.ledger.balance(BTC.quote_key)
        balance.postings = 1
        assert tolerance(desk.engine.state, BTC.quote_key) == 2 * ONE // 100
        desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=balance.total + extra))
        assert bool(desk.breaks()) is is_break


def test_rounding_of_coins_keeps_lots_and_balance_equal() -> None:
    five = msgspec.structs.replace(BTC, base_decimals=5)
    desk = Desk(instruments=(five, ETH))
    bought(desk)
    balance = desk.engine.state.ledger.balance(BTC.base_key)
    told = balance.total // 1_000 * 1_000
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.base_key, total=told))
    assert balance.total == told == desk.engine.state.ledger.holding(BTC.id, SCRIPTED).quantity
    assert not desk.engine.state.stops
    desk.engine.state.ledger.assert_balanced()


def test_a_cent_of_interest_is_a_break_that_blocks_entries_and_keeps_exits() -> None:
    desk = Desk()
    bought(desk)
    total = desk.engine.state.ledger.balance(BTC.quote_key).total
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total + 12_345))
    assert not desk.halted
    assert set(desk.engine.state.stops) == {Stop.BREAK}
    desk.quote("3000", "3000.01", ETH)
    desk.intents = [Enter(instrument=ETH.id)]
    assert submitted(desk.bar(3_000, ETH)) == []
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    assert sale.side is Side.SELL


def test_a_venue_that_agrees_clears_the_break() -> None:
    desk = Desk()
    total = desk.engine.state.ledger.balance(BTC.quote_key).total
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total + 5))
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total))
    assert desk.breaks() == []
    assert not desk.engine.state.stops


def test_a_stop_that_a_venue_has_not_the_coins_for_asks_for_less_each_time() -> None:
    desk = Desk()
    bought(desk)
    level = desk.plan().stop / 100 - 5
    sizes = []
    for _ in range(60):
        for sale in submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}", after_s=61)):
            sizes.append(sale.size)
            desk.tell(OrderRejected(ts_ns=desk.now, order_id=sale.id, reason="EOrder:Insufficient funds"))
    assert len(set(sizes[:10])) == 10, "never the identical size"
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[1] == 1, "a last unit at first"
    assert sizes[-1] >= sizes[0] * 98 // 100


def test_an_exit_sells_no_more_than_the_venue_says_it_holds() -> None:
    desk = Desk()
    order = bought(desk)
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.base_key, total=order.size * 9 // 10))
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    assert sale.size == order.size * 9 // 10


def dusty() -> tuple[Desk, Instrument]:
    """A desk whose pair takes no order below 100 dollars."""
    pair = msgspec.structs.replace(BTC, min_notional=100 * ONE)
    return Desk(instruments=(pair, ETH)), pair


def test_dust_blocks_no_entry_and_no_exit_and_is_told() -> None:
    desk, _ = dusty()
    bought(desk)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    left = 100_000
    desk.fill(sale, size=sale.size - left)
    commands = desk.tell(OrderCanceled(ts_ns=desk.now, order_id=sale.id, reason="no more depth"))
    assert "dust" in alerts(commands), "50 dollars of it: less than the venue takes"
    assert BTC.id not in desk.engine.state.exits
    (again,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.fill(again)
    (last,) = submitted(desk.want(Exit(instrument=BTC.id)))
    assert last.size == again.size + left, "the dust goes with the next exit"


def test_a_stop_hit_on_what_became_dust_ends_and_says_so() -> None:
    """105 dollars of it are for sale; the price falls, and the venue takes no order so small any more."""
    desk, _ = dusty()
    bought(desk)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    desk.fill(sale, size=sale.size - 210_000)
    desk.quote("20000", "20000.01")
    commands = desk.tell(OrderCanceled(ts_ns=desk.now, order_id=sale.id, reason="no more depth"))
    assert alerts(commands) == ["dust"]
    assert BTC.id not in desk.engine.state.exits
    assert submitted(desk.quote("19000", "19000.01")) == []


# Breaks: named, aged, owned.


def test_a_break_ages_is_taken_on_and_survives_a_restart() -> None:
    desk = Desk()
    total = desk.engine.state.ledger.balance(BTC.quote_key).total
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total + 5))
    name = "balance|paper:USD"
    desk.tell(BreakAssigned(ts_ns=desk.now, name=name, owner="ada", actor="bob"))
    desk.restart()
    found = desk.engine.state.breaks[name]
    assert (found.owner, found.amount, found.times) == ("ada", 5, 1)
    told = []
    for _ in range(700):
        desk.now += SECOND
        told += [c for c in desk.tell(Timer(ts_ns=desk.now)) if isinstance(c, RaiseAlert)]
    assert [c.code for c in told] == ["break_open", "break_open"], "after a minute, and after ten"
    assert "taken on by ada" in told[0].message
    assert Stop.BREAK in desk.engine.state.stops


def test_resuming_clears_what_was_impossible_and_not_a_balance() -> None:
    desk = Desk()
    desk.tell(stranger(desk))
    total = desk.engine.state.ledger.balance(BTC.quote_key).total
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total + 5))
    desk.tell(TradingResumed(ts_ns=desk.now, reason="ours, by hand", actor="ada"))
    assert desk.breaks() == ["balance|paper:USD"]
    assert set(desk.engine.state.stops) == {Stop.BREAK}


def test_a_break_never_stops_protection() -> None:
    desk = Desk()
    bought(desk)
    total = desk.engine.state.ledger.balance(BTC.quote_key).total
    desk.tell(BalanceReported(ts_ns=desk.now, key=BTC.quote_key, total=total + ONE))
    desk.tell(stranger(desk, trade_id="W7"))
    level = desk.plan().stop / 100
    (sale, *_) = submitted(desk.quote(f"{level:.2f}", f"{level + 0.01:.2f}"))
    assert sale.purpose is Purpose.STOP


# What reports will need.


def test_a_fill_keeps_the_venues_time_the_fee_as_charged_and_its_owner() -> None:
    desk = Desk()
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    event = OrderFilled(
        ts_ns=desk.now,
        venue_ns=desk.now - 250_000_000,
        order_id=order.id,
        venue_order_id=VenueOrderId("V"),
        trade_id=TradeId("T"),
        price=5_000_000,
        size=order.size,
        fee=777,
        fee_asset=AssetCode("BTC"),
        liquidity=Liquidity.MAKER,
    )
    desk.changes()
    desk.tell(event)
    (fill,) = desk.changes().fills
    assert (fill.ts_ns, fill.venue_ns) == (desk.now, desk.now - 250_000_000)
    assert (fill.fee_asset, fill.fee_amount, fill.fee) == ("BTC", 777, value_of(777, 5_000_000, 2))
    assert fill.owner == SCRIPTED


def test_an_order_keeps_the_mids_of_decision_arrival_and_send() -> None:
    desk = Desk()
    desk.quote("49990.00", "50010.00")
    desk.intents = [Enter(instrument=BTC.id)]
    (order,) = submitted(desk.bar(50_000))
    record = desk.order(order.id)
    assert record.decision_price == record.arrival_price == record.send_price == 5_000_000
    assert record.half_spread == 1_000


def test_capital_flows_are_kept_with_value_and_reference() -> None:
    desk = Desk()
    desk.changes()
    desk.tell(
        CapitalMoved(
            ts_ns=desk.now,
            venue=VenueId("paper"),
            asset=AssetCode("BNB"),
            amount=5 * ONE,
            value=1_500 * ONE,
            reference="tx 9",
            actor="ada",
        )
    )
    (flow,) = desk.changes().flows
    assert (flow.kind, flow.asset, flow.amount, flow.value) == ("capital", "BNB", 5 * ONE, 1_500 * ONE)
    assert (flow.reference, flow.actor) == ("tx 9", "ada")
    risk = desk.engine.state.risk
    assert net_asset_value(desk.engine.state) == risk.capital == risk.peak_nav == 100_000 * ONE, "no price: no worth"
