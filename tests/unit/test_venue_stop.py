"""One venue is stopped and the others go on (R4)."""

from aether.domain.events import VenueReleased, VenueStopped
from aether.domain.identifiers import VenueId
from aether.domain.instruments import make_instrument
from aether.domain.orders import OrderState
from aether.engine.strategy import Enter
from tests.desk import BTC, ETH, Desk, canceled, submitted

PAPER = VenueId("paper")


def stop(desk: Desk, venue: VenueId = PAPER, reason: str = "it lags") -> list[str]:
    return canceled(desk.tell(VenueStopped(ts_ns=desk.now, venue=venue, reason=reason, actor="ada")))


def release(desk: Desk, *, stopped_ns: int = 0) -> None:
    desk.tell(VenueReleased(ts_ns=desk.now, venue=PAPER, reason="it is well", actor="ada", stopped_ns=stopped_ns))


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
