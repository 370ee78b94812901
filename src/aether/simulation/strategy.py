"""A strategy for simulated worlds: it buys and sells as the digits of the bars fall, so that a replay does the same."""

import msgspec

from aether.domain.identifiers import StrategyName
from aether.engine.strategy import AccountView, BarValues, Catalogue, Enter, Exit, Intent, StrategyDefinition
from aether.strategies import catalogue

COIN = StrategyName("coin")


class _Params(msgspec.Struct, frozen=True):
    """None."""


class _State(msgspec.Struct):
    """None."""


def _on_bar(_params: _Params, _state: _State, bar: BarValues, account: AccountView) -> list[Intent]:
    digit = int(bar.close * 10) % 10
    if digit < 4 and account.is_flat(bar.instrument):
        limit = bar.close * 0.9995 if digit % 2 else None
        return [Enter(instrument=bar.instrument, limit_price=limit)]
    return [Exit(instrument=bar.instrument)] if digit == 9 else []


CATALOGUE: Catalogue = {
    COIN: StrategyDefinition(name=COIN, summary="For simulated worlds.", params=_Params, state=_State, on_bar=_on_bar),
    **catalogue(),
}
