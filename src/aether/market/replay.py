"""A recording as the events that a live feed would have given.

Trades are given as they were. A bar becomes four trades with a quarter of its volume each: the open at its start, then
the extremes (the low first when the bar closed higher, else the high first), then the close just before its end. So the
same matching, exits and bar building work on every kind of recording, and nothing is known before its time.
"""

from collections.abc import Iterator

from aether.domain.events import Trade
from aether.domain.identifiers import FeedId, InstrumentId
from aether.domain.orders import Side
from aether.market.dataset import Dataset, DatasetKind

NS_PER_S = 1_000_000_000
_SIDES = {1: Side.BUY, -1: Side.SELL, 0: None}


def feed_id(dataset: Dataset) -> FeedId:
    """Return the id of a recording as a feed; equal data has an equal id."""
    return FeedId(f"replay-{dataset.digest[:12]}")


def replay_trades(dataset: Dataset, instrument: InstrumentId) -> Iterator[Trade]:
    """Yield the recording's trades in time order."""
    if dataset.kind is DatasetKind.TRADES:
        columns = dataset.columns
        rows = zip(
            dataset.ts_ns.tolist(),
            columns["price"].tolist(),
            columns["size"].tolist(),
            columns["side"].tolist(),
            strict=True,
        )
        for ts_ns, price, size, side in rows:
            yield Trade(ts_ns=ts_ns, instrument=instrument, price=price, size=size, side=_SIDES[side])
    else:
        yield from _bar_trades(dataset, instrument)


def _bar_trades(dataset: Dataset, instrument: InstrumentId) -> Iterator[Trade]:
    length = dataset.interval_s * NS_PER_S
    columns = [dataset.columns[n].tolist() for n in ("open", "high", "low", "close", "volume")]
    for end_ns, open_, high, low, close, volume in zip(dataset.ts_ns.tolist(), *columns, strict=True):
        yield from trades_in(instrument, end_ns, length, (open_, high, low, close), volume)


def trades_in(
    instrument: InstrumentId, end_ns: int, length_ns: int, prices: tuple[int, int, int, int], volume: int
) -> Iterator[Trade]:
    """Yield the four trades that stand for a bar.

    Args:
        prices: open, high, low, close.
    """
    open_, high, low, close = prices
    start_ns = end_ns - length_ns
    path = (open_, low, high, close) if close >= open_ else (open_, high, low, close)
    quarter = volume // 4
    sizes = (quarter, quarter, quarter, volume - 3 * quarter)
    times = (start_ns, start_ns + length_ns // 3, start_ns + 2 * length_ns // 3, end_ns - 1)
    for ts_ns, price, size in zip(times, path, sizes, strict=True):
        yield Trade(ts_ns=ts_ns, instrument=instrument, price=price, size=size)
