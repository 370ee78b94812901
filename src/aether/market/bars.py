"""Bars from trades, as they come.

A bar covers [start, end) with starts at multiples of its interval since 1970; it is given when time reaches its end,
before the trade that proves it. Without trades there is no bar.
"""

from collections.abc import Iterable, Iterator

from aether.domain.events import Bar, MarketEvent, Trade
from aether.domain.identifiers import InstrumentId

NS_PER_S = 1_000_000_000
SET_BACK_NS = 60 * NS_PER_S
"""A bar that begins further ahead than this was begun by a clock that has been set right since."""


class _Open:
    """A bar in the making."""

    __slots__ = ("close", "end_ns", "high", "low", "open", "volume")

    def __init__(self, trade: Trade, end_ns: int) -> None:
        self.end_ns = end_ns
        self.open = self.high = self.low = self.close = trade.price
        self.volume = trade.size

    def add(self, trade: Trade) -> None:
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.close = trade.price
        self.volume += trade.size


class BarAggregator:
    """Builds bars of several lengths at once.

    Args:
        intervals_s: lengths, in seconds.
    """

    def __init__(self, intervals_s: Iterable[int]) -> None:
        self._intervals = sorted(set(intervals_s))
        self._open: dict[tuple[InstrumentId, int], _Open] = {}

    def also(self, intervals_s: Iterable[int]) -> None:
        """Build bars of more lengths from now on."""
        self._intervals = sorted({*self._intervals, *intervals_s})

    def add(self, trade: Trade) -> None:
        """Count a trade; the caller has taken what `advance` gave for its time."""
        for interval in self._intervals:
            key = (trade.instrument, interval)
            bar = self._open.get(key)
            if bar is None:
                length = interval * NS_PER_S
                self._open[key] = _Open(trade, (trade.ts_ns // length + 1) * length)
            else:
                bar.add(trade)

    def advance(self, now_ns: int) -> list[Bar]:
        """Return the bars that have ended by `now_ns`, in the order of their ends.

        After the clock was set back, bars that begin in what is the future now are dropped and begun anew: nothing
        would end them until then.
        """
        if not self._open:
            return []
        latest = now_ns + SET_BACK_NS
        for key in [k for k, bar in self._open.items() if bar.end_ns - k[1] * NS_PER_S > latest]:
            del self._open[key]
        ended = [(key, bar) for key, bar in self._open.items() if bar.end_ns <= now_ns]
        for key, _ in ended:
            del self._open[key]
        ended.sort(key=lambda pair: (pair[1].end_ns, pair[0][1], pair[0][0]))
        return [
            Bar(
                ts_ns=bar.end_ns,
                instrument=instrument,
                interval_s=interval,
                open=bar.open,
                high=bar.high,
                low=bar.low,
                close=bar.close,
                volume=bar.volume,
            )
            for (instrument, interval), bar in ended
        ]

    def flush(self) -> list[Bar]:
        """Return the bars that have not ended, as they are."""
        return self.advance(max((bar.end_ns for bar in self._open.values()), default=0))


def with_bars(events: Iterable[MarketEvent], intervals_s: Iterable[int]) -> Iterator[MarketEvent]:
    """Yield `events` with the bars of their trades in between; an unfinished last bar is not given."""
    aggregator = BarAggregator(intervals_s)
    for event in events:
        yield from aggregator.advance(event.ts_ns)
        if isinstance(event, Trade):
            aggregator.add(event)
        yield event
