"""The built-in strategies do what they say, within their bounds (B1)."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from aether.domain.errors import InvalidValueError, UnknownNameError
from aether.domain.identifiers import InstrumentId
from aether.engine.strategy import BarValues, Enter, Exit, Intent, Rebalance, Withdraw, find_strategy, parse_params
from aether.strategies import catalogue
from tests.desk import BTC, ETH

MINUTE = 60_000_000_000


class Account:
    """An account as a strategy sees it, under the test's control."""

    def __init__(self) -> None:
        self.basket: tuple[InstrumentId, ...] = (BTC.id, ETH.id)
        self.flat = True
        self.open = False
        self.share = 0.0
        self.vol = 0.7

    def weight(self, instrument: InstrumentId) -> float:
        return self.share

    def is_flat(self, instrument: InstrumentId) -> bool:
        return self.flat

    def has_open_order(self, instrument: InstrumentId) -> bool:
        return self.open

    def volatility(self, instrument: InstrumentId) -> float:
        return self.vol


def run(name: str, closes: Sequence[float], account: Account, **params: Any) -> list[list[Intent]]:
    definition = find_strategy(catalogue(), name)
    given, state = parse_params(definition, params), definition.state()
    answers = []
    for n, close in enumerate(closes):
        bar = BarValues(BTC.id, n * MINUTE, 60, close, close, close, close, 1.0)
        answers.append(list(definition.on_bar(given, state, bar, account)))
    return answers


def test_ema_cross_waits_until_it_is_warm_then_enters_a_rise() -> None:
    answers = run("ema_cross", [100.0 + n for n in range(60)], Account(), fast=3, slow=20)
    assert all(not a for a in answers[:19])
    assert answers[19] == [Enter(instrument=BTC.id)]


def test_ema_cross_leaves_a_fall() -> None:
    account = Account()
    account.flat = False
    answers = run("ema_cross", [100.0 - n for n in range(40)], account, fast=3, slow=20)
    assert answers[-1] == [Exit(instrument=BTC.id)]


def test_ema_cross_does_nothing_within_the_gap() -> None:
    assert not any(run("ema_cross", [100.0] * 100, Account(), fast=3, slow=20))


def test_mean_reversion_buys_a_dip_passively_and_takes_it_back() -> None:
    calm = [100.0 + 0.1 * (-1) ** n for n in range(50)]
    account = Account()
    assert run("mean_reversion", [*calm, 98.0], account, span=20)[-1] == [
        Enter(instrument=BTC.id, limit_price=98.0, post_only=True)
    ]
    account.open = True
    assert run("mean_reversion", [*calm, 100.0], account, span=20)[-1] == [Withdraw(instrument=BTC.id)]


def test_mean_reversion_sells_at_the_average() -> None:
    account = Account()
    account.flat = False
    calm = [100.0 + 0.1 * (-1) ** n for n in range(50)]
    assert run("mean_reversion", [*calm, 100.5], account, span=20)[-1] == [Exit(instrument=BTC.id)]


def test_basket_rebalances_outside_the_band_only() -> None:
    account = Account()
    account.vol, account.share = 0.7, 0.0
    assert run("vol_target_basket", [1.0], account, target_volatility=0.35) == [
        [Rebalance(instrument=BTC.id, weight=0.25)]
    ]
    account.share = 0.24
    assert run("vol_target_basket", [1.0], account, target_volatility=0.35) == [[]]


def test_basket_looks_every_few_bars() -> None:
    answers = run("vol_target_basket", [1.0] * 6, Account(), every_bars=3)
    assert [bool(a) for a in answers] == [True, False, False, True, False, False]


@pytest.mark.parametrize("name", catalogue())
def test_every_parameter_has_a_default_bounds_and_a_meaning(name: str) -> None:
    definition = catalogue()[name]  # type: ignore[index]
    properties = next(iter(msgspec.json.schema(definition.params)["$defs"].values()))["properties"]
    for parameter, schema in properties.items():
        assert "default" in schema, parameter
        assert schema.get("description"), parameter
        assert {"minimum", "exclusiveMinimum"} & set(schema), parameter
        assert {"maximum", "exclusiveMaximum"} & set(schema), parameter


def test_an_unknown_strategy_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"no strategy 'momo'.*ema_cross, mean_reversion"):
        find_strategy(catalogue(), "momo")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"speed": 3}, "no parameter 'speed'.*fast, min_gap_bps, slow"),
        ({"fast": 1}, "does not take fast=1: expected `int` >= 2"),
        ({"fast": "x"}, "does not take fast=x: expected `int`"),
        ({"fast": 50, "slow": 20}, "expected fast < slow, got fast=50 and slow=20"),
    ],
)
def test_wrong_parameters_are_named_with_their_bounds(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        parse_params(find_strategy(catalogue(), "ema_cross"), params)
