"""Parameters of a strategy at work are changed: it begins anew with them, whatever is restarted (B1, A4)."""

from collections.abc import Iterator

import pytest

from aether.domain.accounts import Parameters, StrategyAssignment
from aether.domain.commands import RaiseAlert
from aether.domain.identifiers import StrategyName
from aether.domain.orders import Side
from tests.desk import BTC, Desk, account, configured, submitted

EMA = StrategyName("ema_cross")


def trending(slow: int) -> Desk:
    params: Parameters = {"fast": 2, "slow": slow, "min_gap_bps": 0}
    use = StrategyAssignment(strategy=EMA, instruments=(BTC.id,), params=params)
    desk = Desk(config=account(strategies=(use,)))
    desk.quote("50000.00", "50000.01")
    return desk


def last_alert(desk: Desk) -> str:
    return [c.message for c in desk.commands if isinstance(c, RaiseAlert)][-1]


def rise() -> Iterator[float]:
    price = 50_000.0
    while True:
        price += 10
        yield price


def bars_until_entry(desk: Desk, most: int = 60) -> int:
    """Return after how many bars of a rise the strategy buys."""
    prices = rise()
    for n in range(1, most):
        close = next(prices)
        desk.quote(f"{close:.2f}", f"{close + 0.01:.2f}", after_s=60)
        orders = submitted(desk.bar(close))
        if any(o.side is Side.BUY for o in orders):
            return n
    raise AssertionError("it never entered")


def test_changed_parameters_are_in_force_from_the_next_bar_on() -> None:
    assert bars_until_entry(trending(slow=40)) == 40
    desk = trending(slow=40)
    desk.tell(configured(desk, strategies={EMA: {"fast": 2, "slow": 10, "min_gap_bps": 0}}))
    assert bars_until_entry(desk) == 10


@pytest.mark.parametrize("restarts", [False, True])
def test_what_was_worked_out_with_other_parameters_is_forgotten(*, restarts: bool) -> None:
    desk = trending(slow=40)
    for _ in range(9):
        desk.bar(50_000.0)
    desk.tell(configured(desk, strategies={EMA: {"fast": 2, "slow": 10, "min_gap_bps": 0}}))
    assert "ema_cross begins anew" in last_alert(desk)
    if restarts:
        desk.restart()
    assert bars_until_entry(desk) == 10


def test_the_same_parameters_change_nothing() -> None:
    """Each version of settings names all parameters: defaults spelled out are no change."""
    desk = Desk(config=account(strategies=(StrategyAssignment(strategy=EMA, instruments=(BTC.id,)),)))
    desk.quote("50000.00", "50000.01")
    desk.bar(50_000.0)
    known = dict(desk.engine.state.strategy_states)
    desk.tell(configured(desk, strategies={EMA: {"fast": 12, "slow": 48, "min_gap_bps": 5.0}}))
    desk.tell(configured(desk))
    assert desk.engine.state.strategy_states == known
    assert "anew" not in last_alert(desk)


@pytest.mark.parametrize(
    ("strategies", "said"),
    [
        ({"mean_reversion": {}}, "no strategy of the account"),
        ({"ema_cross": {"slow": 1}}, "does not take slow=1"),
        ({"ema_cross": {"speed": 1}}, "no parameter 'speed'"),
    ],
)
def test_parameters_that_cannot_be_change_no_setting_at_all(strategies: dict[str, Parameters], said: str) -> None:
    desk = trending(slow=40)
    before = desk.engine.config
    desk.tell(configured(desk, strategies=strategies))
    assert said in desk.engine.refused
    assert desk.engine.config == before
    assert not desk.engine.state.stops
