"""Numeric rules stay in the subset that numba compiles, and mean the same there (design: numeric rules)."""

import inspect
import types
from collections.abc import Callable
from typing import Any

import numba
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether.domain import scaled
from aether.features import averages
from aether.kernel import exits, marks, positions, schedules, sizing
from aether.matching import pricing
from aether.strategies import vol_target_basket

RULES: tuple[Callable[..., Any], ...] = (
    scaled.mul_div,
    scaled.mul_div_round,
    scaled.mul_div_ceil,
    scaled.round_down,
    scaled.round_up,
    scaled.notional_of,
    scaled.size_for_notional,
    scaled.amount_of_size,
    scaled.size_of_amount,
    scaled.value_of,
    scaled.average_price,
    scaled.fee_of,
    scaled.bps_of,
    scaled.ratio_bps,
    schedules.twap_target,
    schedules.pov_target,
    schedules.oco_hit,
    pricing.trailing_trigger,
    positions.rounding_tolerance,
    positions.traded,
    marks.choose_mark,
    exits.retry_wait_s,
    exits.shrunk,
    sizing.ewma_variance,
    sizing.annual_volatility,
    sizing.volatility_over,
    sizing.entry_weight,
    exits.distance,
    exits.exit_hit,
    pricing.touch_from_trade,
    pricing.ladder_price,
    pricing.is_marketable,
    pricing.is_triggered,
    pricing.passive_fill,
    averages.ema_step,
    averages.ema_band_step,
    averages.z_score,
    vol_target_basket.target_weight,
)


def compile_all() -> dict[str, Callable[..., Any]]:
    """Return every rule compiled, each calling the compiled ones before it."""
    done: dict[str, Callable[..., Any]] = {}
    for rule in RULES:
        assert isinstance(rule, types.FunctionType)
        copy = types.FunctionType(rule.__code__, {**rule.__globals__, **done}, rule.__name__)
        done[rule.__name__] = numba.njit(copy)
    return done


COMPILED = compile_all()
SMALL = {
    "participation_bps": st.integers(1, 5_000),
    "price_decimals": st.integers(0, 4),
    "size_decimals": st.integers(0, 8),
    "decimals": st.integers(0, 4),
}
POSITIVE = (
    "c",
    "step",
    "price",
    "tick",
    "limit",
    "quantity",
    "whole",
    "log_price",
    "assets",
    "span",
    "last",
    "touch",
    "slices",
    "duration_ns",
)


def argument(name: str, kind: Any) -> st.SearchStrategy[Any]:
    if name in SMALL:
        return SMALL[name]
    if kind is bool:
        return st.booleans()
    if kind is float:
        return st.floats(1e-6, 1e6)
    low = 1 if name in POSITIVE else 0
    return st.integers(low, 20 if name == "level" else 20_000)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_compiled_and_interpreted_agree(rule: Callable[..., Any]) -> None:
    signature = inspect.signature(rule)
    arguments = {p.name: argument(p.name, p.annotation) for p in signature.parameters.values()}

    @settings(max_examples=40, deadline=None)
    @given(st.fixed_dictionaries(arguments))
    def agree(values: dict[str, Any]) -> None:
        assert COMPILED[rule.__name__](**values) == pytest.approx(rule(**values), rel=1e-12, abs=0)

    agree()
