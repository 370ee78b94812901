"""An order book kept exact: snapshot, changes, and the venue's own proof that nothing was lost.

Kraken proves each update with a CRC32 over the top ten levels, Binance numbers the changes, Coinbase numbers the
messages of the connection (the stream reports a gap). A book whose proof fails is `broken` until the next snapshot; a
broken, crossed or one-sided book is not `usable`, and nobody trades on it.

Levels lie best first in flat lists, so the best price is index 0 and an update is one bisection.
"""

from bisect import bisect_left
from collections import deque
from zlib import crc32

from aether.domain.events import BookUpdate, Quote
from aether.domain.identifiers import InstrumentId
from aether.domain.scaled import POW10
from aether.venues.messages import BookDelta, BookSnapshot, Level
from aether.venues.wire import Listing

CHECKSUM_LEVELS = 10
Units = tuple[tuple[int, int], tuple[int, int]]
EXACT: Units = ((1, 1), (1, 1))
PENDING_LIMIT = 1_000
"""Most changes that wait for a snapshot; the oldest are dropped, and the snapshot then shows that they are missing."""


class _Side:
    """One side, best first. `sign` makes keys ascend: 1 for asks, -1 for bids."""

    __slots__ = ("keys", "price_digits", "price_unit", "sign", "size_digits", "size_unit", "sizes", "texts")

    def __init__(self, sign: int, units: "Units") -> None:
        self.sign = sign
        (self.price_unit, self.price_digits), (self.size_unit, self.size_digits) = units
        self.keys: list[int] = []
        self.sizes: list[int] = []
        self.texts: list[bytes] = []

    def clear(self) -> None:
        self.keys.clear()
        self.sizes.clear()
        self.texts.clear()

    def apply(self, levels: list[Level], *, proven: bool) -> None:
        keys, sizes, texts, sign = self.keys, self.sizes, self.texts, self.sign
        price_unit, size_unit = self.price_unit, self.size_unit
        more_p, more_s = self.price_digits, self.size_digits
        for price, size in levels:
            key = price * sign
            at = bisect_left(keys, key)
            if at < len(keys) and keys[at] == key:
                if size:
                    sizes[at] = size
                    if proven:
                        texts[at] = b"%d%d" % (price * more_p // price_unit, size * more_s // size_unit)
                else:
                    del keys[at], sizes[at]
                    if proven:
                        del texts[at]
            elif size:
                keys.insert(at, key)
                sizes.insert(at, size)
                if proven:
                    texts.insert(at, b"%d%d" % (price * more_p // price_unit, size * more_s // size_unit))

    def cut(self, depth: int) -> None:
        if len(self.keys) > depth:
            del self.keys[depth:], self.sizes[depth:], self.texts[depth:]

    def top(self, count: int) -> tuple[Level, ...]:
        sign = self.sign
        return tuple([(key * sign, size) for key, size in zip(self.keys[:count], self.sizes[:count], strict=True)])


class OrderBook:
    """The book of one instrument.

    Args:
        depth: levels kept a side, 0 for all; as subscribed to where the venue does not tell what falls out of scope.
        units: of prices and of sizes, what the venue's last digit is worth in ours, and how many of its digits ours is:
            its checksum is over those that it writes.
    """

    def __init__(self, instrument: InstrumentId, depth: int = 0, units: Units = EXACT) -> None:
        self.instrument = instrument
        self.ts_ns = 0
        self.sequence = 0
        self.broken = "no snapshot yet"
        """Why the book cannot be relied on; empty when it can."""
        self.units = units
        self._depth = depth
        self._bids = _Side(-1, units)
        self._asks = _Side(1, units)
        self._proven = False
        self._pending: deque[BookDelta] = deque(maxlen=PENDING_LIMIT)

    @property
    def bid(self) -> int:
        """The best bid, 0 without one."""
        return -self._bids.keys[0] if self._bids.keys else 0

    @property
    def ask(self) -> int:
        """The best ask, 0 without one."""
        return self._asks.keys[0] if self._asks.keys else 0

    @property
    def usable(self) -> bool:
        """Whether it may be traded on: whole, two-sided and not crossed."""
        return not self.broken and 0 < self.bid < self.ask

    def bids(self, count: int) -> tuple[Level, ...]:
        """Return the best `count` bids."""
        return self._bids.top(count)

    def asks(self, count: int) -> tuple[Level, ...]:
        """Return the best `count` asks."""
        return self._asks.top(count)

    def quote(self, ts_ns: int = 0) -> Quote:
        """Return the top of the book."""
        bids, asks = self._bids, self._asks
        return Quote(
            ts_ns=ts_ns or self.ts_ns,
            instrument=self.instrument,
            bid=self.bid,
            ask=self.ask,
            bid_size=bids.sizes[0] if bids.sizes else 0,
            ask_size=asks.sizes[0] if asks.sizes else 0,
        )

    def update(self, levels: int, ts_ns: int = 0) -> BookUpdate:
        """Return the top levels as the engine takes them."""
        return BookUpdate(
            ts_ns=ts_ns or self.ts_ns, instrument=self.instrument, bids=self.bids(levels), asks=self.asks(levels)
        )

    def invalidate(self, reason: str) -> None:
        """Take the book out of use until the next snapshot."""
        self.broken = reason
        self._pending.clear()

    def load(self, snapshot: BookSnapshot) -> bool:
        """Start from a snapshot, with the changes that came before it and are newer; return whether it holds."""
        self._bids.clear()
        self._asks.clear()
        self._proven = snapshot.checksum is not None
        self._bids.apply(snapshot.bids, proven=self._proven)
        self._asks.apply(snapshot.asks, proven=self._proven)
        self.ts_ns = snapshot.ts_ns
        self.sequence = snapshot.sequence
        self.broken = ""
        if snapshot.checksum is not None:
            self._prove(snapshot.checksum)
        waiting = list(self._pending)
        self._pending.clear()
        for delta in waiting:
            if delta.last > self.sequence and not self.broken:
                self.apply(delta)
        return not self.broken

    def apply(self, delta: BookDelta) -> bool:
        """Take changes in; return whether the book holds. Before the snapshot they wait; those it has are skipped."""
        if self.broken:
            self._pending.append(delta)
            return False
        if delta.first:
            if delta.last <= self.sequence:
                return True
            if delta.first > self.sequence + 1:
                self.invalidate(f"changes {self.sequence + 1} to {delta.first - 1} are missing")
                return False
            self.sequence = delta.last
        self._bids.apply(delta.bids, proven=self._proven)
        self._asks.apply(delta.asks, proven=self._proven)
        if self._depth:
            self._bids.cut(self._depth)
            self._asks.cut(self._depth)
        self.ts_ns = delta.ts_ns
        if delta.checksum is not None:
            self._prove(delta.checksum)
        return not self.broken

    def checksum(self) -> int:
        """Return Kraken's CRC32: asks, then bids, of each level the digits of price and size without leading zeros."""
        digits = b"".join(self._asks.texts[:CHECKSUM_LEVELS]) + b"".join(self._bids.texts[:CHECKSUM_LEVELS])
        return crc32(digits)

    def _prove(self, expected: int) -> None:
        found = self.checksum()
        if found != expected:
            self.invalidate(f"the checksum is {found}, the venue says {expected}")


def written_units(listing: Listing) -> Units:
    """Return how the digits that a venue writes a pair's prices and sizes with are to ours, see `OrderBook`."""
    instrument, (price_decimals, size_decimals) = listing.instrument, listing.written
    price, size = instrument.price_decimals - price_decimals, instrument.size_decimals - size_decimals
    return (
        (POW10[max(0, price)], POW10[max(0, -price)]),
        (POW10[max(0, size)], POW10[max(0, -size)]),
    )
