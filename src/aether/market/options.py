"""How a file of market data is to be read, as people say it."""

from enum import StrEnum
from typing import NamedTuple


class OnBad(StrEnum):
    """What to do with rows that break a rule."""

    STOP = "stop"
    SKIP = "skip"


class ReadOptions(NamedTuple):
    """What a file does not say of itself.

    Attributes:
        symbol: the pair, like BTC/USD.
        timestamps: whether a bar's time is its "open" or its "close".
        volume_in: whether volume counts "base" or "quote".
        on_bad: what to do with rows that break a rule.
        max_gap_s: for trades, silence that counts as a gap; None for none.
    """

    symbol: str
    timestamps: str = "open"
    volume_in: str = "base"
    on_bad: OnBad = OnBad.STOP
    max_gap_s: int | None = None
