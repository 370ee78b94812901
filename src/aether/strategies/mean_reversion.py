"""Buy a dip, sell the return: enter passively below a band around the average, leave at the average."""

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from aether.engine.strategy import AccountView, BarValues, Enter, Exit, Intent, StrategyDefinition, Withdraw
from aether.features.averages import ema_band_step, z_score


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of `mean_reversion`."""

    span: Annotated[int, Meta(ge=5, le=5_000, description="bars of the average and the band")] = 40
    entry_z: Annotated[
        float, Meta(gt=0, le=10, description="standard deviations below the average at which to buy")
    ] = 2.0
    exit_z: Annotated[float, Meta(ge=-5, le=5, description="standard deviations from the average at which to sell")] = (
        0.0
    )

    def __post_init__(self) -> None:
        if -self.entry_z >= self.exit_z:
            raise ValueError(f"Expected exit_z above -entry_z, got exit_z={self.exit_z} and entry_z={self.entry_z}")


class State(msgspec.Struct):
    """Average, variance and how many bars they have seen."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0


def on_bar(params: Params, state: State, bar: BarValues, account: AccountView) -> list[Intent]:
    """Rest a post-only buy at the close while it is below the band; take it back when the dip is over."""
    z = z_score(bar.close, state.mean, state.variance)
    warm = state.count >= params.span
    state.mean, state.variance = ema_band_step(state.mean, state.variance, bar.close, params.span, state.count)
    state.count += 1
    if not warm or math.isnan(z):
        return []
    if not account.is_flat(bar.instrument):
        return [Exit(instrument=bar.instrument)] if z >= params.exit_z else []
    if z <= -params.entry_z:
        if account.has_open_order(bar.instrument):
            return [Withdraw(instrument=bar.instrument)]
        return [Enter(instrument=bar.instrument, limit_price=bar.close, post_only=True)]
    return [Withdraw(instrument=bar.instrument)] if account.has_open_order(bar.instrument) else []


STRATEGY = StrategyDefinition(
    name="mean_reversion",
    summary="Mean reversion: buys passively below a volatility band and sells at the average.",
    params=Params,
    state=State,
    on_bar=on_bar,
)
