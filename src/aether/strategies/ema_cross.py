"""Follow the trend: hold while a fast moving average is above a slow one."""

from typing import Annotated

import msgspec
from msgspec import Meta

from aether.engine.strategy import AccountView, BarValues, Enter, Exit, Intent, StrategyDefinition
from aether.features.averages import ema_step


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of `ema_cross`."""

    fast: Annotated[int, Meta(ge=2, le=1_000, description="bars of the fast average")] = 12
    slow: Annotated[int, Meta(ge=3, le=5_000, description="bars of the slow average, more than fast")] = 48
    min_gap_bps: Annotated[
        float, Meta(ge=0, le=1_000, description="gap between the averages that counts as a cross, bps of price")
    ] = 5.0

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"Expected fast < slow, got fast={self.fast} and slow={self.slow}")


class State(msgspec.Struct):
    """The two averages and how many bars they have seen."""

    fast: float = 0.0
    slow: float = 0.0
    count: int = 0


def on_bar(params: Params, state: State, bar: BarValues, account: AccountView) -> list[Intent]:
    """Enter on a cross upwards, leave on a cross downwards; nothing until the slow average is warm."""
    state.fast = ema_step(state.fast, bar.close, params.fast, state.count)
    state.slow = ema_step(state.slow, bar.close, params.slow, state.count)
    state.count += 1
    if state.count < params.slow:
        return []
    gap_bps = (state.fast - state.slow) / state.slow * 10_000.0
    if gap_bps > params.min_gap_bps and account.is_flat(bar.instrument):
        return [Enter(instrument=bar.instrument)]
    if gap_bps < -params.min_gap_bps and not account.is_flat(bar.instrument):
        return [Exit(instrument=bar.instrument)]
    return []


STRATEGY = StrategyDefinition(
    name="ema_cross",
    summary="Trend following: long while the fast exponential moving average is above the slow one.",
    params=Params,
    state=State,
    on_bar=on_bar,
)
