"""Circuit breakers (R6): a venue that fails again and again gets no entries, is tried once, and is trusted again."""

import pytest

from aether.domain.accounts import Limits
from aether.domain.events import OrderRejected, RejectedBy, TradingResumed
from aether.domain.identifiers import VenueId
from aether.domain.orders import Order, OrderState
from aether.engine.breakers import FAILURES, ORDERS, RECOVERY_S, WINDOW_S
from aether.engine.core import Engine, _set_back
from aether.engine.strategy import Enter, Exit
from tests.desk import BTC, ETH, SECOND, Desk, account, submitted
from tests.unit.test_risk import request

PAPER = VenueId("paper")


def trader() -> Desk:
    """A desk whose other limits are not in the way of twenty entries."""
    return Desk(
        config=account(limits=Limits(repeated_order_limit=1_000, duplicate_window_ms=1, max_gross_exposure_bps=10_000))
    )


def enter(desk: Desk) -> Order:
    """Ask for an entry, as the rooms do; return what became of it."""
    desk.quote("49999.99", "50000.01")
    return desk.engine._desk.ask(request(size=10**6))


def told(desk: Desk) -> list[str]:
    """What people were told of breakers."""
    return [a.message for a in desk.changes().alerts if a.code == "breaker"]


def answer(desk: Desk, order: Order, *, failed: bool, reason: str = "HTTP 503") -> None:
    """Let the venue fail an order, or refuse it for a reason of the order's own."""
    by = RejectedBy.FAILURE if failed else RejectedBy.ANSWER
    desk.tell(OrderRejected(ts_ns=desk.now, order_id=order.request.id, reason=reason, by=by))


def fail(desk: Desk, times: int) -> None:
    for _ in range(times):
        order = enter(desk)
        assert order.state is OrderState.SUBMITTED, order.reason
        answer(desk, order, failed=True)


def wait(desk: Desk, seconds: float) -> None:
    desk.quote("49999.99", "50000.01", after_s=seconds)


def test_r6_the_fifth_failure_opens_it_and_says_so_once() -> None:
    desk = trader()
    fail(desk, FAILURES - 1)
    assert not told(desk)
    fail(desk, 1)
    denied = enter(desk)
    assert denied.state is OrderState.DENIED
    assert denied.reason.startswith("breaker: paper open for 119 s more: 5 of the last 5 orders failed: HTTP 503")
    assert len(told(desk)) == 1


def test_r6_a_refusal_of_the_order_is_an_answer() -> None:
    """No funds, a bad price: twenty of those open nothing, and push failures out of the window."""
    desk = trader()
    fail(desk, FAILURES - 1)
    for _ in range(ORDERS):
        answer(desk, enter(desk), failed=False, reason="insufficient funds")
    assert PAPER not in desk.engine.state.breakers, "no failure is left among the last twenty"
    fail(desk, FAILURES - 1)
    assert not told(desk)


def test_r6_five_of_twenty_are_enough_four_are_not() -> None:
    for spread, opens in ((4, True), (5, False)):
        desk = trader()
        for n in range(3 * ORDERS):
            order = enter(desk)
            if order.state is OrderState.DENIED:
                break
            answer(desk, order, failed=n % spread == 0)
        assert bool(told(desk)) is opens, spread


def test_r6_failures_grow_old() -> None:
    desk = trader()
    fail(desk, FAILURES - 1)
    wait(desk, WINDOW_S + 1)
    fail(desk, FAILURES - 1)
    assert not told(desk)


def test_r6_one_order_tries_the_venue_and_closes_it() -> None:
    desk = trader()
    fail(desk, FAILURES)
    wait(desk, RECOVERY_S)
    trial, second = enter(desk), enter(desk)
    assert trial.state is OrderState.SUBMITTED
    assert second.state is OrderState.DENIED
    assert f"half open, {trial.request.id} is trying" in second.reason
    desk.accept(trial.request)
    assert PAPER not in desk.engine.state.breakers
    assert enter(desk).state is OrderState.SUBMITTED
    assert len(told(desk)) == 2, "opened, and closed"


def test_r6_a_trial_that_fails_opens_it_again_without_a_word() -> None:
    desk = trader()
    fail(desk, FAILURES)
    for _ in range(3):
        wait(desk, RECOVERY_S)
        answer(desk, enter(desk), failed=True, reason="HTTP 502")
        assert "open for 119 s more" in enter(desk).reason
    assert len(told(desk)) == 1


def test_r6_a_refused_trial_closes_it() -> None:
    """A venue that says no to an order hears and answers."""
    desk = trader()
    fail(desk, FAILURES)
    wait(desk, RECOVERY_S)
    answer(desk, enter(desk), failed=False, reason="insufficient funds")
    assert PAPER not in desk.engine.state.breakers


def test_r6_answers_to_what_was_sent_before_it_opened_do_not_count() -> None:
    desk = trader()
    early = [enter(desk) for _ in range(3)]
    fail(desk, FAILURES)
    desk.accept(early[0].request)
    answer(desk, early[1], failed=True)
    wait(desk, RECOVERY_S)
    answer(desk, early[2], failed=True)
    assert enter(desk).state is OrderState.SUBMITTED, "the wait was not begun anew"


def test_r6_exits_go_and_tell_as_much() -> None:
    desk = trader()
    bought = enter(desk)
    desk.accept(bought.request)
    desk.fill(bought.request)
    fail(desk, FAILURES)
    wait(desk, 1)
    (sale,) = submitted(desk.want(Exit(instrument=BTC.id)))
    desk.accept(sale)
    assert PAPER not in desk.engine.state.breakers, "the venue took the exit"


def test_r6_a_person_resets_it() -> None:
    desk = trader()
    fail(desk, FAILURES)
    desk.tell(TradingResumed(ts_ns=desk.now, reason="the venue says it is back", actor="ada"))
    assert "reset by ada" in told(desk)[-1]
    assert enter(desk).state is OrderState.SUBMITTED


@pytest.mark.parametrize("failures", [FAILURES - 1, FAILURES])
def test_r6_a_restart_keeps_it(failures: int) -> None:
    desk = trader()
    fail(desk, failures)
    again = Engine(desk.catalogue, desk.engine.snapshot())
    assert again.state_hash() == desk.engine.state_hash()
    desk.engine = again
    fail(desk, FAILURES - failures)
    assert enter(desk).state is OrderState.DENIED


def test_r6_other_pairs_of_the_venue_wait_too() -> None:
    desk = trader()
    fail(desk, FAILURES)
    desk.quote("2999", "3001", ETH)
    desk.intents = [Enter(instrument=ETH.id)]
    assert not submitted(desk.bar(3_000, ETH))


def test_r6_what_this_side_took_back_says_nothing_of_the_venue() -> None:
    """Found by attack: an order that a brake kept here closed the breaker, and pushed failures out."""
    desk = trader()
    fail(desk, FAILURES)
    wait(desk, RECOVERY_S)
    order = enter(desk)
    desk.tell(OrderRejected(ts_ns=desk.now, order_id=order.request.id, reason="the brake is on", by=RejectedBy.US))
    assert desk.engine.state.breakers[PAPER].opened_ns
    assert enter(desk).state is OrderState.SUBMITTED, "the next one tries"


def test_r6_an_exit_that_fails_keeps_no_trial_waiting() -> None:
    """Found by attack: exits that a venue refuses for hours began the wait anew each time."""
    desk = trader()
    bought = enter(desk)
    desk.accept(bought.request)
    desk.fill(bought.request)
    fail(desk, FAILURES)
    for _ in range(RECOVERY_S // 10):
        wait(desk, 10)
        for sale in submitted(desk.want(Exit(instrument=BTC.id))):
            answer(desk, desk.order(sale.id), failed=True)
    assert "breaker" not in enter(desk).reason


def test_r6_a_fill_is_an_answer() -> None:
    desk = trader()
    fail(desk, FAILURES)
    wait(desk, RECOVERY_S)
    desk.fill(enter(desk).request)
    assert PAPER not in desk.engine.state.breakers


def test_r6_a_clock_that_is_set_back_makes_no_old_order_a_trial() -> None:
    desk = trader()
    early = enter(desk)
    fail(desk, FAILURES)
    _set_back(desk.engine.state, desk.now - 3_600 * SECOND)
    desk.now -= 3_600 * SECOND
    wait(desk, RECOVERY_S + 5)
    assert "breaker" not in enter(desk).reason, "the old one is no trial"
    desk.accept(early.request)
    assert PAPER in desk.engine.state.breakers, "and its answer no news"
