"""The life cycles explored whole: stops, breaks and orders together, every event in every order (R4, O9)."""

from collections.abc import Callable

import pytest

from aether.domain.orders import OrderState
from aether.engine import orders, stops
from aether.engine.orders import Trigger
from aether.engine.stops import Cause, Permit, Stop
from tests.property.joint_states import Explorer


@pytest.mark.parametrize(("most", "late"), [(1, True), (2, False)], ids=["late reports", "two at once"])
def test_what_holds_holds_in_every_state_and_a_stop_ends_from_each(most: int, late: bool) -> None:
    explorer = Explorer(most, late=late)
    assert explorer.run() is None
    assert len(explorer.ways) > 900
    assert min(explorer.tried.values()) > 20, "every kind of event was tried"


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], tuple[str, ...]]] = {
    "a resume releases a kill": (
        lambda patch: patch.setitem(stops.MOVES, (Cause.RESUMED, Stop.KILL), False),
        ("kill", "resume"),
    ),
    "a cancel of an accepted order is not noted": (
        lambda patch: patch.setitem(
            orders.TRANSITIONS, (OrderState.ACCEPTED, Trigger.REQUEST_CANCEL), OrderState.ACCEPTED
        ),
        ("enter", "kill", "refuse-cancel 1"),
    ),
    "a kill keeps orders": (
        lambda patch: patch.setitem(stops.PERMITS, Stop.KILL, Permit(exits=False, flattening=True, keeps_orders=True)),
        ("enter", "kill", "refuse-cancel 1"),
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_bad_transition_is_found_by_a_shortest_way(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, way = PLANTED[what]
    plant(monkeypatch)
    found = Explorer(1, late=True).run()
    assert found is not None
    assert len(found.trace) == len(way), found
