"""The background of the local exchange: makers around a common fair price that wanders, takers that come and go.

The three exchanges share the fair price and differ in spread, depth and activity, so prices differ a little between
them, as in the world. Everything is drawn from one seed.
"""

import random
from contextlib import suppress

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.exchange.venue import Market, NewOrder, Refused, Venue

MAKER = "background-maker"
TAKER = "background-taker"
LEVELS = 12
VOLATILITY = 0.00024
"""Standard deviation of the fair price in one second, a share of it."""
FUNDS = 10**20


class FairPrice:
    """The price that everybody sees, a geometric random walk that is drawn back to where it began.

    Args:
        prices: by symbol, where each begins.
    """

    def __init__(self, prices: dict[str, float], seed: int) -> None:
        self.prices = dict(prices)
        self._anchors = dict(prices)
        self._random = random.Random(seed)  # noqa: S311  a market to be repeated exactly

    def step(self, step_s: float) -> None:
        """Let `step_s` seconds pass."""
        volatility = VOLATILITY * step_s**0.5
        for symbol, price in self.prices.items():
            pull = 0.002 * step_s * (self._anchors[symbol] / price - 1)
            self.prices[symbol] = price * (1 + pull + self._random.gauss(0, volatility))


class Traders:
    """The makers and takers of one exchange.

    Args:
        half_spread_bps: of the makers' best quotes.
        size_usd: worth of one level.
        takers: chance of a market order in one step and market.
    """

    def __init__(
        self, venue: Venue, fair: FairPrice, seed: int, *, half_spread_bps: float, size_usd: float, takers: float
    ) -> None:
        self._venue = venue
        self._fair = fair
        self._random = random.Random(seed)  # noqa: S311  a market to be repeated exactly
        self._half_spread = half_spread_bps / 10_000
        self._size_usd = size_usd
        self._takers = takers
        self._quotes: dict[str, list[int]] = {symbol: [] for symbol in venue.markets}
        for account in (MAKER, TAKER):
            if venue.account(account).open:
                venue.cancel_all(account)
            for market in venue.markets.values():
                for asset in (market.base, market.quote):
                    if not venue.account(account).total.get(asset):
                        venue.deposit(account, asset, FUNDS)

    def step(self) -> None:
        """Renew some quotes, and trade now and then."""
        for market in self._venue.markets.values():
            fair = self._fair.prices.get(market.symbol)
            if fair is None:
                continue
            self._requote(market, fair)
            if self._random.random() < self._takers:
                self._take(market)
        for account in (MAKER, TAKER):
            self._venue.forget_ended(account)

    def _requote(self, market: Market, fair: float) -> None:
        quotes = self._quotes[market.symbol]
        maker = self._venue.account(MAKER)
        keep = max(0, 2 * LEVELS - 6)
        self._random.shuffle(quotes)
        for number in quotes[keep:]:
            with suppress(Refused):
                self._venue.cancel(MAKER, maker.orders.get(number))
        quotes[keep:] = []
        quotes[:] = [n for n in quotes if n in maker.open]
        for _ in range(2 * LEVELS - len(quotes)):
            side = self._random.choice((Side.BUY, Side.SELL))
            distance = self._half_spread * (1 + self._random.expovariate(0.5))
            price = fair * (1 - distance if side is Side.BUY else 1 + distance)
            order = NewOrder(
                market=market.symbol,
                side=side,
                type=OrderType.LIMIT,
                size=self._size(market, fair, 0.3 + self._random.expovariate(1.0)),
                price=round(price * 10**market.price_decimals),
                post_only=False,
            )
            with suppress(Refused):
                placed = self._venue.place(MAKER, order)
                if placed.status.is_open:
                    quotes.append(placed.number)

    def _size(self, market: Market, fair: float, share: float) -> int:
        return max(market.min_size, int(self._size_usd * share / fair * 10**market.size_decimals))

    def _take(self, market: Market) -> None:
        fair = self._fair.prices[market.symbol]
        order = NewOrder(
            market=market.symbol,
            side=self._random.choice((Side.BUY, Side.SELL)),
            type=OrderType.MARKET,
            size=self._size(market, fair, 0.05 + self._random.expovariate(2.0)),
            tif=TimeInForce.IOC,
        )
        with suppress(Refused):
            self._venue.place(TAKER, order)
