"""Hold a basket in which every asset brings the same risk, and rebalance it when it drifts."""

from typing import Annotated

import msgspec
from msgspec import Meta

from aether.engine.strategy import AccountView, BarValues, Intent, Rebalance, StrategyDefinition


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of `vol_target_basket`."""

    target_volatility: Annotated[
        float, Meta(gt=0, le=2, description="yearly volatility of the basket if its assets moved together, a fraction")
    ] = 0.35
    band: Annotated[float, Meta(ge=0.001, le=0.5, description="drift of a weight that is let be, share of NAV")] = 0.03
    every_bars: Annotated[int, Meta(ge=1, le=100_000, description="bars between two looks at the weights")] = 5


class State(msgspec.Struct):
    """Bars seen."""

    count: int = 0


def target_weight(target_volatility: float, volatility: float, assets: int) -> float:
    """Return the weight at which one of `assets` brings its share of `target_volatility`; together at most 1."""
    return min(target_volatility / max(volatility, 1e-9), 1.0) / assets


def on_bar(params: Params, state: State, bar: BarValues, account: AccountView) -> list[Intent]:
    """Compare the weight with its target every few bars; trade the difference when it is out of the band."""
    due = state.count % params.every_bars == 0
    state.count += 1
    if not due:
        return []
    target = target_weight(params.target_volatility, account.volatility(bar.instrument), len(account.basket))
    if abs(target - account.weight(bar.instrument)) <= params.band:
        return []
    return [Rebalance(instrument=bar.instrument, weight=target)]


STRATEGY = StrategyDefinition(
    name="vol_target_basket",
    summary="Risk parity: holds a basket whose assets bring equal volatility, rebalanced outside a band.",
    params=Params,
    state=State,
    on_bar=on_bar,
)
