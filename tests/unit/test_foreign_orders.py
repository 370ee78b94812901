"""Orders that the account did not place: taken up, canceled or only told, as its settings say (R5)."""

import msgspec
import pytest

from aether.domain.accounts import ForeignOrders, Reconciliation
from aether.domain.commands import RaiseAlert
from aether.domain.events import (
    KillSwitchEngaged,
    KillSwitchReleased,
    OrderAccepted,
    OrderAdopted,
    OrderCanceled,
    OrderFilled,
    VenueReport,
)
from aether.domain.identifiers import AssetCode, ClientOrderId, InstrumentId, TradeId, VenueOrderId
from aether.domain.orders import Liquidity, Order, OrderRequest, OrderState, OrderType, Purpose, Side
from aether.domain.records import BreakKind
from aether.engine.strategy import Enter
from aether.venues.messages import Execution, OrderUpdate
from aether.venues.tracked import Phase, Send
from aether.venues.tracker import EARLY_KEPT, Tracker
from tests.desk import BTC, Desk, account, alerts, canceled, configured, submitted

ONE = 10**8


def desk_with(policy: ForeignOrders) -> Desk:
    desk = Desk(config=account(reconciliation=Reconciliation(foreign_orders=policy)))
    desk.quote("49999.99", "50000.01")
    return desk


def told(desk: Desk) -> str:
    return " ".join(c.message for c in desk.commands if isinstance(c, RaiseAlert))


def adopted(desk: Desk, number: str = "OAB-CD", size: int = ONE // 10, **fields: object) -> OrderAdopted:
    instrument = fields.pop("instrument", BTC.id)
    return OrderAdopted(
        ts_ns=desk.now,
        request=OrderRequest(
            id=ClientOrderId(f"foreign-{number}"),
            instrument=InstrumentId(str(instrument)),
            side=Side(str(fields.pop("side", "buy"))),
            type=OrderType.LIMIT,
            size=size,
            limit_price=4_000_000,
            purpose=Purpose.ENTRY,
        ),
        venue_order_id=VenueOrderId(number),
        **fields,  # type: ignore[arg-type]
    )


def trade(desk: Desk, name: str, size: int, number: str = "OAB-CD") -> OrderFilled:
    return OrderFilled(
        ts_ns=desk.now,
        order_id=ClientOrderId(f"foreign-{number}"),
        venue_order_id=VenueOrderId(number),
        trade_id=TradeId(name),
        price=4_000_000,
        size=size,
        fee=0,
        fee_asset=AssetCode("USD"),
        liquidity=Liquidity.MAKER,
        instrument=BTC.id,
        side=Side.BUY,
    )


def test_an_adopted_order_locks_its_funds_fills_and_gives_them_back() -> None:
    desk = desk_with(ForeignOrders.ADOPT)
    free, _ = desk.usd()
    event = adopted(desk)
    desk.tell(event)
    order = desk.order(event.request.id)
    assert order.state is OrderState.ACCEPTED
    assert desk.usd() == (free - order.reserved / ONE, order.reserved / ONE)
    assert order.reserved >= 4_000 * ONE
    assert "OAB-CD (buy 0.10000000 of paper:BTC/USD), which this account did not place; it is adopted" in told(desk)
    desk.tell(trade(desk, "T1", ONE // 25))
    assert desk.order(event.request.id).state is OrderState.PARTIALLY_FILLED
    assert desk.held() == 0.04
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=event.request.id, reason="by hand"))
    assert desk.usd() == (free - 1_600, 0)
    assert desk.breaks() == []


def test_what_it_executed_before_is_booked_once_and_what_is_left_is_locked() -> None:
    desk = desk_with(ForeignOrders.ADOPT)
    desk.tell(trade(desk, "T1", ONE // 25))
    assert desk.held() == 0.04
    assert desk.breaks() == [], "the account takes such orders: a question to nobody"
    assert "which this account does not know; it is booked" in told(desk)
    event = adopted(desk, filled=ONE // 25, filled_notional=1_600 * ONE, trade_ids=(TradeId("T1"),))
    desk.tell(event)
    order = desk.order(event.request.id)
    assert order.state is OrderState.PARTIALLY_FILLED
    assert 2_400 * ONE <= order.reserved < 2_500 * ONE
    desk.tell(trade(desk, "T1", ONE // 25))
    assert desk.held() == 0.04
    desk.tell(trade(desk, "T2", ONE * 6 // 100))
    assert desk.held() == 0.1
    assert desk.order(event.request.id).state is OrderState.FILLED
    assert desk.usd()[1] == 0


def test_an_order_larger_than_what_is_free_locks_what_there_is() -> None:
    desk = desk_with(ForeignOrders.ADOPT)
    total, _ = desk.usd()
    desk.tell(adopted(desk, size=100 * ONE))
    assert desk.usd() == (0, total)
    desk.restart()
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=ClientOrderId("foreign-OAB-CD"), reason="by hand"))
    assert desk.usd() == (total, 0)


def test_an_order_told_twice_is_taken_up_once() -> None:
    desk = desk_with(ForeignOrders.ADOPT)
    desk.tell(adopted(desk))
    before = desk.usd()
    desk.restart()
    desk.commands.clear()
    desk.tell(adopted(desk))
    assert (desk.usd(), alerts(desk.commands)) == (before, [])
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=ClientOrderId("foreign-OAB-CD"), reason="by hand"))
    desk.tell(adopted(desk))
    assert desk.engine.state.open_orders == {}, "what is over stays over"


def test_under_cancel_it_is_taken_up_and_canceled() -> None:
    desk = desk_with(ForeignOrders.CANCEL)
    desk.commands.clear()
    desk.tell(adopted(desk))
    assert canceled(desk.commands) == ["foreign-OAB-CD"]
    assert "it is canceled" in told(desk)


@pytest.mark.parametrize("policy", [ForeignOrders.ADOPT, ForeignOrders.CANCEL])
def test_a_stop_takes_it_back_whatever_the_settings_say(policy: ForeignOrders) -> None:
    """It was on its way to the books when the stop came, or it was adopted before."""
    desk = desk_with(policy)
    desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="drill", actor="ada"))
    desk.commands.clear()
    desk.tell(adopted(desk))
    assert canceled(desk.commands) == ["foreign-OAB-CD"]

    early = desk_with(ForeignOrders.ADOPT)
    early.tell(adopted(early))
    early.tell(KillSwitchEngaged(ts_ns=early.now, reason="drill", actor="ada"))
    early.tell(OrderCanceled(ts_ns=early.now, order_id=ClientOrderId("foreign-OAB-CD"), reason="stop"))
    early.tell(KillSwitchReleased(ts_ns=early.now, reason="over", actor="ada"))
    assert early.engine.state.open_orders == {}


def test_a_pair_that_the_account_has_not_is_a_question() -> None:
    desk = desk_with(ForeignOrders.ADOPT)
    desk.tell(adopted(desk, instrument="paper:DOGE/USD"))
    assert BreakKind.STRANGER in {b.kind for b in desk.engine.state.breaks.values()}
    assert desk.engine.state.open_orders == {}


def test_under_alert_a_strangers_fill_stays_a_question() -> None:
    desk = desk_with(ForeignOrders.ALERT)
    desk.tell(trade(desk, "T1", ONE // 25))
    assert BreakKind.STRANGER in {b.kind for b in desk.engine.state.breaks.values()}


def test_the_policy_is_a_setting_and_outlives_a_restart() -> None:
    desk = desk_with(ForeignOrders.ALERT)
    chosen = Reconciliation(foreign_orders=ForeignOrders.CANCEL)
    desk.tell(configured(desk, reconciliation=chosen))
    desk.restart()
    assert desk.engine.state.own.reconciliation == chosen


@pytest.mark.parametrize("number", ["OAB-CD", "4293153", "7e2d1f7c-0000-4f00-b000-00000000000d"])
def test_any_venues_number_has_a_row(number: str) -> None:
    """Rows of orders are sorted by a number; a venue's own ids end with anything (Kraken, Binance, Coinbase)."""
    desk = desk_with(ForeignOrders.ADOPT)
    desk.tell(adopted(desk, number))
    (own,) = submitted(desk.want(Enter(instrument=BTC.id)))
    assert desk.order(f"foreign-{number}").number == 1
    assert own.id == "desk-2", "no two orders of an account have one number"


def test_an_order_that_is_filled_already_is_not_taken_up() -> None:
    desk = desk_with(ForeignOrders.ADOPT)
    desk.tell(adopted(desk, filled=ONE // 10, filled_notional=4_000 * ONE))
    assert desk.engine.state.open_orders == {}


def test_an_execution_told_as_a_strangers_moves_its_order_on_and_no_money_twice() -> None:
    """It was heard before anybody knew that the order is ours."""
    desk = desk_with(ForeignOrders.ALERT)
    (own,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.accept(own)
    early = msgspec.structs.replace(trade(desk, "T1", own.size, "V9"), price=5_000_000)
    desk.tell(early)
    held, usd = desk.held(), sum(desk.usd())
    desk.tell(msgspec.structs.replace(early, order_id=own.id))
    assert (desk.held(), sum(desk.usd())) == (held, usd)
    assert desk.order(own.id).state is OrderState.FILLED
    assert desk.usd()[1] == 0


def tracker() -> tuple[Tracker, list[VenueReport]]:
    reports: list[VenueReport] = []
    made = Tracker(lambda i: i, reports.append)
    made.may_send = True
    return made, reports


def test_an_order_that_is_over_is_not_sent_when_it_is_asked_for_once_more() -> None:
    """T1: what the account was told of an order stays true."""
    made, reports = tracker()
    request = OrderRequest(
        id=ClientOrderId("a-1"),
        instrument=InstrumentId("kraken:BTC/USD"),
        side=Side.SELL,
        type=OrderType.MARKET,
        size=1,
    )
    made.submit(request, 100.0)
    made.stop(100.0)
    assert [type(r).__name__ for r in reports] == ["OrderRejected"]
    made.submit(request, 101.0)
    assert not any(isinstance(ask, Send) for ask in made.due(102.0))


def heard(instrument: str, name: str, size: int, number: str) -> Execution:
    return Execution(
        ts_ns=1,
        instrument=InstrumentId(instrument),
        client_id=ClientOrderId(""),
        venue_order_id=VenueOrderId(number),
        trade_id=TradeId(name),
        side=Side.BUY,
        price=1_000,
        size=size,
        fee=0,
        fee_asset=AssetCode("USD"),
        liquidity=Liquidity.TAKER,
    )


def limit(order_id: str) -> OrderRequest:
    return OrderRequest(
        id=ClientOrderId(order_id),
        instrument=InstrumentId("binance:BTC/USD"),
        side=Side.BUY,
        type=OrderType.LIMIT,
        size=10,
        limit_price=1_000,
    )


def test_a_strangers_trade_of_another_pair_hides_none_of_ours() -> None:
    """Binance numbers trades by pair: 77 of ETH and 77 of BTC are two."""
    made, reports = tracker()
    made.executed(heard("binance:ETH/USD", "77", 5, "900"), 1.0)
    made.submit(limit("company-1"), 1.0)
    (ask,) = made.due(1.0)
    assert isinstance(ask, Send)
    made.permit(ask.order, 1.0)
    made.accepted(ask.order, VenueOrderId("1"), 1.1)
    made.executed(heard("binance:BTC/USD", "77", 10, "1"), 1.2)
    assert [type(r) for r in reports] == [OrderAccepted, OrderFilled]


def test_nothing_that_is_heard_of_others_is_forgotten_while_one_is_in_doubt() -> None:
    made, _ = tracker()
    order = Order(request=limit("company-1"), state=OrderState.SUBMITTED, created_ns=1, updated_ns=1)
    made.restore(order, 1.0)
    told = 0
    for n in range(3 * EARLY_KEPT):
        made.executed(heard("binance:BTC/USD", f"t{n}", 1, f"F{n % 7}"), 1.0)
        told += len(made.take_foreign_fills())
        assert made._early_count == sum(map(len, made._early.values())) <= EARLY_KEPT
    assert told + made._early_count == 3 * EARLY_KEPT


def test_an_adopted_order_that_its_owner_enlarges_goes_on() -> None:
    made, _ = tracker()
    made.adopt(limit("foreign-9"), VenueOrderId("9"), [], 1.0)
    update = OrderUpdate(
        ts_ns=1,
        instrument=InstrumentId("binance:BTC/USD"),
        client_id=ClientOrderId(""),
        venue_order_id=VenueOrderId("9"),
        state=OrderState.ACCEPTED,
        filled=0,
        size=20,
        side=Side.BUY,
    )
    made.updated(update, 2.0)
    made.executed(heard("binance:BTC/USD", "t1", 10, "9"), 3.0)
    made.listed([msgspec.structs.replace(update, filled=10)], 10.0, 10.1)
    (order,) = made.orders.values()
    assert (order.phase, order.unwanted_s) == (Phase.OPEN, 0.0), "nobody wants it gone"
