"""One venue is stopped and the others go on (R4)."""

from aether.domain.events import KillSwitchEngaged, OrderCanceled, ParentOrderRequested, VenueReleased, VenueStopped
from aether.domain.identifiers import Symbol, VenueId
from aether.domain.instruments import make_instrument
from aether.domain.orders import OrderRequest, OrderState, Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.domain.scaled import AMOUNT_SCALE as ONE
from aether.engine.stops import Stop
from aether.engine.strategy import Enter
from tests.desk import BTC, ETH, Desk, canceled, submitted

PAPER = VenueId("paper")


def stop(desk: Desk, venue: VenueId = PAPER, reason: str = "it lags") -> list[str]:
    return canceled(desk.tell(VenueStopped(ts_ns=desk.now, venue=venue, reason=reason, actor="ada")))


def release(desk: Desk, *, stopped_ns: int = 0) -> list[OrderRequest]:
    event = VenueReleased(ts_ns=desk.now, venue=PAPER, reason="it is well", actor="ada", stopped_ns=stopped_ns)
    return submitted(desk.tell(event))


def working() -> tuple[Desk, str]:
    """An account with an order that works."""
    desk = Desk()
    desk.quote("49990", "50010")
    (request,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.accept(request)
    return desk, request.id


def test_what_is_open_there_is_canceled_and_nothing_is_sent_until_it_is_released() -> None:
    desk, order_id = working()
    assert stop(desk) == [order_id]
    assert desk.order(order_id).state is OrderState.PENDING_CANCEL
    desk.quote("2990", "3010", ETH)
    assert submitted(desk.want(Enter(instrument=ETH.id))) == []
    denied = list(desk.engine.state.denied_orders.values())[-1]
    assert "venue_stop" in denied.reason
    assert desk.engine.state.stops == {}, "the account itself goes on"
    desk.restart()
    assert desk.engine.state.stopped_venues[PAPER].reason == "it lags", "over a restart"
    release(desk)
    desk.quote("2990", "3010", ETH)
    assert len(submitted(desk.want(Enter(instrument=ETH.id)))) == 1


def test_a_release_of_an_earlier_stop_releases_no_later_one() -> None:
    desk, _ = working()
    stop(desk)
    first = desk.engine.state.stopped_venues[PAPER].asked_ns
    desk.quote("49990", "50010")
    stop(desk, reason="worse")
    release(desk, stopped_ns=first)
    assert desk.engine.refused
    assert desk.engine.state.stopped_venues[PAPER].reason == "worse"
    release(desk, stopped_ns=desk.engine.state.stopped_venues[PAPER].asked_ns)
    assert desk.engine.state.stopped_venues == {}


def test_orders_at_other_venues_go_on() -> None:
    other = make_instrument(VenueId("other"), "BTC/USD", price_decimals=2, size_decimals=8)
    desk = Desk(instruments=(BTC, ETH, other))
    desk.quote("49990", "50010")
    (request,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.accept(request)
    assert stop(desk, VenueId("other")) == []
    assert desk.order(request.id).state is OrderState.ACCEPTED


def test_a_venue_that_the_account_does_not_know_is_refused() -> None:
    desk, _ = working()
    stop(desk, VenueId("nowhere"))
    assert "it trades at paper" in desk.engine.refused
    assert desk.engine.state.stopped_venues == {}


def test_what_a_bracket_holds_at_a_stopped_venue_stays_its_own_until_it_can_be_sold() -> None:
    """It ended as if its stop had been reached, and left its coins without protection (found by review)."""
    desk = Desk()
    desk.quote("49990", "50010")
    request = ParentRequest(
        id=ParentId("b"),
        symbol=Symbol("BTC/USD"),
        side=Side.BUY,
        amount=ONE // 10,
        algorithm=Algorithm.BRACKET,
        profit_price=60_000 * ONE,
        stop_price=45_000 * ONE,
    )
    (buy,) = submitted(desk.tell(ParentOrderRequested(ts_ns=desk.now, request=request, actor="ada")))
    desk.accept(buy)
    desk.fill(buy)
    (sale,) = submitted(desk.quote("44990", "45010"))
    desk.accept(sale)
    assert stop(desk) == [sale.id]
    desk.tell(OrderCanceled(ts_ns=desk.now, order_id=sale.id))
    for _ in range(3):
        assert submitted(desk.quote("44990", "45010")) == []
    assert ParentId("b") in desk.engine.state.parents, "it still protects what it bought"
    assert [(r.side, r.size) for r in release(desk)] == [(Side.SELL, sale.size)], "and sells it once it can"


def test_a_trade_where_every_venue_is_stopped_is_refused_and_says_so() -> None:
    desk = Desk()
    desk.quote("49990", "50010")
    stop(desk)
    request = ParentRequest(
        id=ParentId("r"), symbol=Symbol("BTC/USD"), side=Side.BUY, amount=ONE // 10, algorithm=Algorithm.ROUTE
    )
    desk.tell(ParentOrderRequested(ts_ns=desk.now, request=request, actor="ada"))
    assert desk.engine.refused == "every venue of BTC/USD is stopped"
    desk.quote("49990", "50010")
    assert desk.engine.refused == ""


def test_flattening_is_not_done_while_something_lies_at_a_stopped_venue() -> None:
    desk = Desk()
    desk.quote("49990", "50010")
    (request,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.accept(request)
    desk.fill(request)
    stop(desk)
    desk.tell(KillSwitchEngaged(ts_ns=desk.now, reason="out", actor="ada", flatten=True))
    desk.quote("49990", "50010")
    assert desk.engine.state.stops[Stop.FLATTEN].is_done is False
    release(desk)
    assert submitted(desk.quote("49990", "50010")), "it is sold once it can be"
