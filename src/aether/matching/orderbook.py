"""A central limit order book: price-time priority, iceberg display, exact integers. The heart of the local exchange.

It knows orders by number and owner, nothing of money; who may trade and what it costs is the exchange's business.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator


class BookOrder:
    """A resting order. `left` is what remains, `shown` the part of it that others see."""

    __slots__ = ("display", "is_buy", "left", "number", "owner", "price", "shown")

    def __init__(self, number: int, owner: str, price: int, size: int, *, is_buy: bool, display: int = 0) -> None:
        self.number = number
        self.owner = owner
        self.is_buy = is_buy
        self.price = price
        self.left = size
        self.display = display
        self.shown = min(size, display) if display else size


class Match:
    """One execution between an incoming and a resting order."""

    __slots__ = ("maker", "price", "size")

    def __init__(self, maker: BookOrder, price: int, size: int) -> None:
        self.maker = maker
        self.price = price
        self.size = size


class _Ladder:
    """One side: price levels in order of preference, each a queue."""

    __slots__ = ("keys", "levels", "sign", "totals")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.levels: dict[int, OrderedDict[int, BookOrder]] = {}
        self.totals: dict[int, int] = {}

    def add(self, order: BookOrder) -> None:
        price = order.price
        queue = self.levels.get(price)
        if queue is None:
            self.levels[price] = queue = OrderedDict()
            self.totals[price] = 0
            key = price * self.sign
            self.keys.insert(bisect_left(self.keys, key), key)
        queue[order.number] = order
        self.totals[price] += order.shown

    def remove(self, order: BookOrder) -> None:
        price = order.price
        queue = self.levels[price]
        del queue[order.number]
        self.totals[price] -= order.shown
        if not queue:
            del self.levels[price], self.totals[price]
            del self.keys[bisect_left(self.keys, price * self.sign)]


class LimitOrderBook:
    """The resting orders of one market.

    Attributes:
        changed: prices whose shown size changed since `take_changes`, as (is_buy, price).
    """

    def __init__(self) -> None:
        self._bids = _Ladder(-1)
        self._asks = _Ladder(1)
        self._orders: dict[int, BookOrder] = {}
        self.changed: dict[tuple[bool, int], None] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._orders

    def best(self, *, is_buy: bool) -> int:
        """Return the best bid or ask, 0 when the side is empty."""
        ladder = self._bids if is_buy else self._asks
        return ladder.keys[0] * ladder.sign if ladder.keys else 0

    def levels(self, count: int, *, is_buy: bool) -> list[tuple[int, int]]:
        """Return the best `count` levels as (price, shown size)."""
        ladder = self._bids if is_buy else self._asks
        return [(key * ladder.sign, ladder.totals[key * ladder.sign]) for key in ladder.keys[:count]]

    def shown_at(self, price: int, *, is_buy: bool) -> int:
        """Return the shown size at a price."""
        return (self._bids if is_buy else self._asks).totals.get(price, 0)

    def resting(self, *, is_buy: bool) -> Iterator[BookOrder]:
        """Yield the resting orders of a side in the order in which they would trade."""
        ladder = self._bids if is_buy else self._asks
        for key in list(ladder.keys):
            yield from list(ladder.levels[key * ladder.sign].values())

    def fillable(self, limit: int, size: int, *, is_buy: bool) -> bool:
        """Whether an order of `size` would fill whole at `limit` (0 for any price), hidden parts included."""
        ladder = self._asks if is_buy else self._bids
        for key in ladder.keys:
            price = key * ladder.sign
            if limit and (price > limit if is_buy else price < limit):
                return False
            size -= sum(order.left for order in ladder.levels[price].values())
            if size <= 0:
                return True
        return False

    def add(self, order: BookOrder) -> None:
        """Let an order rest behind those at its price."""
        (self._bids if order.is_buy else self._asks).add(order)
        self._orders[order.number] = order
        self.changed[order.is_buy, order.price] = None

    def remove(self, number: int) -> BookOrder | None:
        """Take an order out; None when it does not rest here."""
        order = self._orders.pop(number, None)
        if order is not None:
            (self._bids if order.is_buy else self._asks).remove(order)
            self.changed[order.is_buy, order.price] = None
        return order

    def reduce(self, number: int, left: int) -> None:
        """Make an order smaller without losing its place."""
        order = self._orders[number]
        ladder = self._bids if order.is_buy else self._asks
        before = order.shown
        order.left = left
        order.shown = min(before, left)
        ladder.totals[order.price] += order.shown - before
        self.changed[order.is_buy, order.price] = None

    def first(self, limit: int, *, is_buy: bool) -> BookOrder | None:
        """Return the resting order that an incoming order at `limit` (0 for any price) would meet next."""
        ladder = self._asks if is_buy else self._bids
        if not ladder.keys:
            return None
        price = ladder.keys[0] * ladder.sign
        if limit and (price > limit if is_buy else price < limit):
            return None
        return next(iter(ladder.levels[price].values()))

    def execute(self, maker: BookOrder, size: int) -> Match:
        """Trade `size` with the resting order, at most what it shows; a spent iceberg shows its next part, last in
        the queue."""
        ladder = self._bids if maker.is_buy else self._asks
        take = min(size, maker.shown)
        maker.left -= take
        maker.shown -= take
        ladder.totals[maker.price] -= take
        self.changed[maker.is_buy, maker.price] = None
        if maker.left == 0:
            ladder.remove(maker)
            del self._orders[maker.number]
        elif maker.shown == 0:
            ladder.remove(maker)
            maker.shown = min(maker.left, maker.display)
            ladder.add(maker)
        return Match(maker, maker.price, take)

    def take_changes(self) -> list[tuple[bool, int, int]]:
        """Return (is_buy, price, shown size) of every price that changed since the last call."""
        found = [(is_buy, price, self.shown_at(price, is_buy=is_buy)) for is_buy, price in self.changed]
        self.changed.clear()
        return found
