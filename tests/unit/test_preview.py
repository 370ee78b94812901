"""What a decision would lead to is what it leads to, and looking changes nothing (A6, R1)."""

from typing import Any

from aether.domain.accounts import Limits
from aether.domain.commands import SubmitOrder
from aether.domain.events import CapitalMoved, Event, ParentOrderRequested
from aether.domain.identifiers import AssetCode, VenueId
from aether.domain.orders import Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.domain.scaled import AMOUNT_SCALE, parse_amount
from aether.engine.preview import preview
from tests.desk import BTC, SECOND, Desk, account


def quoted(**limits: int) -> Desk:
    desk = Desk(config=account(limits=Limits(**limits)))
    desk.quote("99.90", "100.10")
    return desk


def wanted(amount: str, **more: object) -> ParentOrderRequested:
    fields = {"algorithm": Algorithm.ROUTE, "side": Side.BUY, **more}
    request = ParentRequest(id=ParentId("manual-1"), symbol="BTC/USD", amount=parse_amount(amount), **fields)  # type: ignore[arg-type]
    return ParentOrderRequested(ts_ns=0, request=request, actor="ada")


def foreseen(desk: Desk, *events: Event) -> Any:
    before = desk.engine.state_hash()
    found = preview(desk.catalogue, desk.engine.snapshot(), events, desk.now + SECOND)
    assert desk.engine.state_hash() == before, "looking changes nothing"
    return found


def test_the_orders_foreseen_are_those_that_are_sent() -> None:
    desk = quoted()
    found = foreseen(desk, wanted("20"))
    (order,), (later,) = found["orders"], found["later"]
    assert parse_amount(order["size"]) + parse_amount(later["amount"]) == parse_amount("20"), "the book has 10"
    desk.now += SECOND
    event = wanted("20")
    commands = desk.tell(type(event)(ts_ns=desk.now, request=event.request, actor=event.actor))
    (sent,) = [c.order.request for c in commands if isinstance(c, SubmitOrder)]
    assert (order["instrument"], order["side"], order["size"]) == (BTC.id, "buy", BTC.size_text(sent.size))
    assert order["approved"] is True
    assert order["notional"] == "1001.00000000", "10 at the ask"
    assert order["half_spread"] == "1.00000000", "10 at 0.10"
    shown = {c["check"]: (c["value"], c["limit"], c["ok"]) for c in order["checks"]}
    assert shown["max_order_notional"] == ("101 bps", "at most 3500 bps", True)
    assert shown["open_orders"][2] is True
    assert {c["check"] for c in order["checks"]} >= {"kill_switch", "price_collar", "gross_exposure", "free_balance"}


def test_an_order_over_a_limit_is_foreseen_with_the_check_that_fails_first() -> None:
    (order,) = foreseen(quoted(max_order_notional_bps=50), wanted("20"))["orders"]
    assert order["approved"] is False
    failed = [c for c in order["checks"] if not c["ok"]]
    assert order["checks"][: len(failed)] == failed
    assert [(c["check"], c["value"], c["limit"]) for c in failed] == [
        ("max_order_notional", "101 bps of NAV", "at most 50 bps of NAV")
    ]
    assert len({c["check"] for c in order["checks"]}) == len(order["checks"]), "each check once"


def test_what_follows_over_time_is_told_as_what_is_left() -> None:
    found = foreseen(quoted(), wanted("20", algorithm=Algorithm.TWAP, duration_s=600, slices=10))
    (order,) = found["orders"]
    (later,) = found["later"]
    assert parse_amount(order["size"]) + parse_amount(later["amount"]) == parse_amount("20")


def test_what_the_account_would_refuse_says_so() -> None:
    event = CapitalMoved(
        ts_ns=0, venue=VenueId("paper"), asset=AssetCode("USD"), amount=10**40, reason="too much", actor="ada"
    )
    found = foreseen(quoted(), event)
    assert "10" in found["refused"]
    assert found["capital_after"] == found["capital_before"]


def test_a_booking_shows_what_it_moves() -> None:
    event = CapitalMoved(
        ts_ns=0, venue=VenueId("paper"), asset=AssetCode("USD"), amount=500 * AMOUNT_SCALE, reason="more", actor="ada"
    )
    found = foreseen(quoted(), event)
    assert found["orders"] == []
    assert (found["capital_before"], found["capital_after"]) == ("100000.00000000", "100500.00000000")
    assert (found["nav_before"], found["nav_after"]) == ("100000.00000000", "100500.00000000")
