"""Entries that wait for a person, changed settings, moved capital, live orders with an approval (R12, A4, A7)."""

import pytest

from aether.domain.accounts import Limits, Mode, Review
from aether.domain.commands import Command, RaiseAlert
from aether.domain.events import (
    CapitalMoved,
    IntentDecided,
    KillSwitchEngaged,
    Timer,
)
from aether.domain.identifiers import AssetCode, VenueId
from aether.domain.orders import OrderState
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.core import Engine
from aether.engine.strategy import Enter, Exit, Intent, Rebalance
from tests.desk import BTC, ETH, SECOND, Desk, account, configured, submitted


def desk_under_review(notional: int = 1_000) -> Desk:
    desk = Desk(config=account(review=Review(notional=notional * AMOUNT_SCALE, wait_s=300)))
    desk.quote("49999.99", "50000.01")
    return desk


def told(desk: Desk) -> str:
    """What the last alert said."""
    return [c.message for c in desk.commands if isinstance(c, RaiseAlert)][-1]


def decide(desk: Desk, number: int, *, approved: bool) -> list[Command]:
    return desk.tell(
        IntentDecided(ts_ns=desk.now, number=number, approved=approved, reason="looked at it", actor="ada")
    )


@pytest.mark.parametrize("intent", [Enter(instrument=BTC.id), Rebalance(instrument=BTC.id, weight=0.2)])
def test_a_large_entry_waits_and_locks_nothing(intent: Intent) -> None:
    desk = desk_under_review()
    assert submitted(desk.want(intent)) == []
    (held,) = desk.engine.state.held.values()
    assert held.notional >= 1_000 * AMOUNT_SCALE
    assert held.until_ns - held.since_ns == 300 * SECOND
    assert desk.usd() == (100_000.0, 0.0)
    assert desk.engine.state.next_order == 1, "it is no order yet"
    assert "waits for a person" in told(desk)
    desk.commands.clear()
    assert submitted(desk.want(intent)) == [], "one at a time"
    assert len(desk.engine.state.held) == 1


def test_an_approved_entry_goes_before_the_gate_as_it_is_then() -> None:
    desk = desk_under_review()
    desk.want(Enter(instrument=BTC.id))
    desk.quote("49999.99", "50000.01", after_s=60)
    (order,) = submitted(decide(desk, 1, approved=True))
    assert desk.engine.state.held == {}
    assert desk.order(order.id).state is OrderState.SUBMITTED
    second = desk_under_review()
    second.want(Enter(instrument=BTC.id))
    second.now += 60 * SECOND
    second.tell(Timer(ts_ns=second.now))
    assert submitted(decide(second, 1, approved=True)) == [], "its market data are old by now"
    assert second.order("desk-1").state is OrderState.DENIED


def test_declined_late_and_stopped_entries_are_dropped() -> None:
    declined = desk_under_review()
    declined.want(Enter(instrument=BTC.id))
    assert submitted(decide(declined, 1, approved=False)) == []
    assert declined.engine.state.held == {}

    late = desk_under_review()
    late.want(Enter(instrument=BTC.id))
    late.now += 301 * SECOND
    late.tell(Timer(ts_ns=late.now))
    assert late.engine.state.held == {}
    assert "nobody decided in time" in told(late)
    late.commands.clear()
    decide(late, 1, approved=True)
    assert "does not wait" in told(late)
    assert submitted(late.commands) == []

    stopped = desk_under_review()
    stopped.want(Enter(instrument=BTC.id))
    stopped.tell(KillSwitchEngaged(ts_ns=stopped.now, reason="drill", actor="ada"))
    assert stopped.engine.state.held == {}


def test_small_entries_and_exits_do_not_wait() -> None:
    desk = desk_under_review(notional=90_000)
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    desk.accept(order)
    desk.fill(order)
    desk.tell(configured(desk, review=Review(notional=1, wait_s=60)))
    desk.commands.clear()
    assert len(submitted(desk.want(Exit(instrument=BTC.id)))) == 1, "an exit is never held up"
    desk.commands.clear()
    assert submitted(desk.want(Enter(instrument=ETH.id))) == []


def test_what_waits_survives_a_snapshot() -> None:
    desk = desk_under_review()
    desk.want(Enter(instrument=BTC.id))
    restored = Engine(desk.catalogue, desk.engine.snapshot())
    assert restored.state_hash() == desk.engine.state_hash()
    approval = IntentDecided(ts_ns=desk.now, number=1, approved=True, reason="fine", actor="ada")
    assert restored.apply(approval) == desk.engine.apply(approval)


def test_settings_apply_from_the_next_decision_on() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    desk.tell(configured(desk, version=4, limits=Limits(max_position_bps=100)))
    assert "version 4, by ada" in told(desk)
    (order,) = submitted(desk.want(Enter(instrument=BTC.id)))
    assert BTC.notional(5_000_000, order.size) <= 1_000 * AMOUNT_SCALE


def move(desk: Desk, amount: int) -> None:
    desk.tell(
        CapitalMoved(ts_ns=desk.now, venue=VenueId(BTC.venue), asset=AssetCode("USD"), amount=amount * AMOUNT_SCALE)
    )


def test_capital_is_no_profit_and_more_than_is_free_does_not_leave() -> None:
    desk = Desk()
    desk.quote("49999.99", "50000.01")
    move(desk, 500)
    move(desk, -300)
    assert desk.usd() == (100_200.0, 0.0)
    point = desk.engine.equity_point()
    assert point.nav == point.capital == 100_200 * AMOUNT_SCALE
    move(desk, -200_000)
    assert desk.usd() == (100_200.0, 0.0)
    assert desk.halted == "", "a wrong number of a person halts nothing"
    assert "100200" in told(desk).replace(",", "")


def test_live_orders_need_the_approval_that_opened_the_account() -> None:
    without = Desk(config=account(mode=Mode.LIVE))
    without.quote("49999.99", "50000.01")
    assert submitted(without.want(Enter(instrument=BTC.id))) == []
    assert without.order("desk-1").reason.startswith("mode: live without approval")
    approved = Desk(config=account(mode=Mode.LIVE, live_approval="request 4f2a"))
    approved.quote("49999.99", "50000.01")
    assert len(submitted(approved.want(Enter(instrument=BTC.id)))) == 1
