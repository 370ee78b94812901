"""A recording in memory: exact integers in columns, with the precision they are scaled by."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from aether.domain.identifiers import Symbol, VenueId
from aether.domain.instruments import Instrument, make_instrument

Column = NDArray[np.int64]

RECORDING_VENUE = VenueId("paper")
"""Recordings are traded on the paper venue."""


class DatasetKind(StrEnum):
    """What a row is."""

    BARS = "bars"
    TRADES = "trades"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Bars or trades of one symbol in time order.

    Attributes:
        interval_s: length of a bar; 0 for trades. ts_ns: shape (n,); a bar's is its end. columns: by name, each shape
        (n,), in price or size units. Bars: open, high, low, close, volume. Trades: price, size,
            side (1 aggressor bought, -1 sold, 0 unknown).
        source: where it came from, for people.
    """

    kind: DatasetKind
    symbol: Symbol
    price_decimals: int
    size_decimals: int
    interval_s: int
    ts_ns: Column
    columns: dict[str, Column]
    source: str

    def __len__(self) -> int:
        return len(self.ts_ns)

    @property
    def digest(self) -> str:
        """SHA-256 of what the data says, the same for the same data from whatever file format."""
        head = f"{self.kind}|{self.symbol}|{self.price_decimals}|{self.size_decimals}|{self.interval_s}"
        digest = hashlib.sha256(head.encode())
        for name, column in (("ts_ns", self.ts_ns), *sorted(self.columns.items())):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
        return digest.hexdigest()

    def instrument(self) -> Instrument:
        """Return an instrument with the recording's precision and the default fees."""
        return make_instrument(
            RECORDING_VENUE,
            self.symbol,
            price_decimals=self.price_decimals,
            size_decimals=self.size_decimals,
            min_notional="1" if self.symbol.endswith(("USD", "USDT", "USDC", "EUR")) else "0.0001",
        )
