"""The life cycle of orders: what venues do is absorbed, what no venue can mean halts (T8, O2)."""

import pytest

from aether.domain.events import OrderAccepted, OrderCanceled, OrderExpired, OrderRejected
from aether.domain.identifiers import ClientOrderId, VenueOrderId
from aether.domain.orders import OrderState
from aether.engine.orders import TRANSITIONS, Trigger
from aether.engine.strategy import Enter, Exit
from tests.desk import BTC, ETH, Desk, alerts, canceled, submitted


def working_order(desk: Desk) -> str:
    (request,) = submitted(desk.want(Enter(instrument=BTC.id)))
    return request.id


def test_a_fill_before_the_acknowledgement_is_normal() -> None:
    desk = Desk()
    order_id = working_order(desk)
    request = desk.order(order_id).request
    desk.fill(request, request.size // 2)
    assert desk.order(order_id).state is OrderState.PARTIALLY_FILLED
    desk.accept(request)
    assert desk.order(order_id).state is OrderState.PARTIALLY_FILLED
    desk.fill(request, request.size - request.size // 2)
    assert desk.order(order_id).state is OrderState.FILLED
    assert not desk.halted


def test_a_repeated_trade_is_booked_once() -> None:
    desk = Desk()
    request = desk.order(working_order(desk)).request
    event = desk.fill(request, request.size // 2)
    held = desk.held()
    desk.tell(event)
    assert desk.held() == held
    assert desk.order(request.id).filled == request.size // 2


def test_a_fill_after_the_cancel_is_booked() -> None:
    desk = Desk()
    request = desk.order(working_order(desk)).request
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=request.id, reason="on request"))
    assert desk.order(request.id).state is OrderState.CANCELED
    assert desk.usd()[1] == 0
    desk.fill(request, request.size // 3)
    assert desk.order(request.id).state is OrderState.CANCELED
    assert desk.order(request.id).filled == request.size // 3
    desk.fill(request, request.size - request.size // 3)
    assert desk.order(request.id).state is OrderState.FILLED
    assert not desk.halted


def test_what_is_locked_is_given_back_when_an_order_ends() -> None:
    for ending in (OrderCanceled, OrderExpired):
        desk = Desk()
        request = desk.order(working_order(desk)).request
        assert desk.usd()[1] > 0
        desk.fill(request, request.size // 2)
        desk.tell(ending(ts_ns=desk.now, order_id=request.id, reason="over"))
        assert desk.usd()[1] == 0


@pytest.mark.parametrize("kind", ["overfill", "fill after rejection", "rejection after fill", "unknown order"])
def test_what_no_venue_can_mean_halts_with_the_evidence(kind: str) -> None:
    desk = Desk()
    request = desk.order(working_order(desk)).request
    if kind == "overfill":
        desk.fill(request, request.size + 1)
    elif kind == "fill after rejection":
        desk.tell(OrderRejected(ts_ns=desk.now, order_id=request.id, reason="no"))
        desk.fill(request)
    elif kind == "rejection after fill":
        desk.fill(request, 1)
        desk.tell(OrderRejected(ts_ns=desk.now, order_id=request.id, reason="no"))
    else:
        stranger = ClientOrderId("desk-999")
        desk.tell(OrderAccepted(ts_ns=desk.now, order_id=stranger, venue_order_id=VenueOrderId("V")))
    assert desk.halted
    assert "desk-" in desk.halted
    assert "halted" in alerts(desk.commands)
    assert canceled(desk.commands)[-1] == "all"
    sent = len(submitted(desk.commands))
    desk.want(Enter(instrument=BTC.id))
    assert len(submitted(desk.commands)) == sent, "a halted account sends nothing"


def test_a_halted_account_trades_again_after_an_operator_resumes() -> None:
    from aether.domain.events import TradingResumed

    desk = Desk()
    request = desk.order(working_order(desk)).request
    desk.fill(request, request.size + 1)
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=request.id, reason="all"))
    desk.tell(TradingResumed(ts_ns=desk.now, reason="looked at it", actor="risk"))
    assert not desk.halted
    assert desk.breaks() == []
    desk.quote("3000", "3000.01", ETH)
    desk.intents = [Enter(instrument=ETH.id)]
    assert submitted(desk.bar(3_000, ETH))


def test_exit_takes_back_entries_and_sells_all() -> None:
    desk = Desk()
    request = desk.order(working_order(desk)).request
    desk.fill(request, request.size // 2)
    commands = desk.want(Exit(instrument=BTC.id))
    assert canceled(commands) == [request.id]
    (sale,) = submitted(commands)
    assert sale.size == request.size // 2


def test_the_table_never_leaves_an_end_except_by_a_late_fill() -> None:
    for (before, trigger), after in TRANSITIONS.items():
        if not before.is_open and before is not OrderState.INITIALIZED and after is not before:
            assert (trigger, after) == (Trigger.FILL_WHOLE, OrderState.FILLED)
