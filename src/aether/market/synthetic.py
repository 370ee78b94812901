"""A market of its own making: several USD pairs that move together, calm and stormy by turns, with jumps.

Each pair's log price is a random walk whose variance follows a GARCH(1,1) recursion (Bollerslev, 1986), driven partly
by one common factor, with rare jumps. Spreads widen with volatility; trades arrive at random, mostly small. The same
seed gives the same market.
"""

import math
from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from aether.domain.events import MarketEvent, Quote, Trade
from aether.domain.identifiers import FeedId, InstrumentId, VenueId
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.orders import Side

SYNTHETIC_FEED = FeedId("synthetic")
SYNTHETIC_VENUE = VenueId("paper")
SECONDS_PER_YEAR = 365 * 86_400

PAIRS: tuple[tuple[str, float, float, int, int], ...] = (
    ("BTC/USD", 64_000.0, 0.65, 1, 8),
    ("ETH/USD", 3_100.0, 0.80, 2, 8),
    ("SOL/USD", 145.0, 1.10, 3, 6),
    ("XRP/USD", 0.61, 0.95, 5, 4),
)
"""Symbol, first price, yearly volatility, price decimals, size decimals."""

COMMON_SHARE = 0.6
"""Share of a pair's variance that is the market's."""

GARCH_ALPHA, GARCH_BETA = 0.06, 0.93
JUMPS_PER_DAY = 6.0
JUMP_SIZE = 0.006
TRADE_PROBABILITY = 0.7
TYPICAL_TRADE_USD = 4_000.0
TOUCH_USD = 25_000.0


def synthetic_instruments() -> list[Instrument]:
    """Return the pairs of the synthetic market."""
    return [
        make_instrument(SYNTHETIC_VENUE, symbol, price_decimals=pd, size_decimals=sd) for symbol, _, _, pd, sd in PAIRS
    ]


class SyntheticMarket:
    """Gives a quote, and often a trade, for every pair at each step.

    Args:
        seed: of all its random numbers.
        start_prices: prices to go on from; pairs left out begin at their first price.
    """

    def __init__(self, seed: int, start_prices: Mapping[InstrumentId, Decimal] | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self.instruments = synthetic_instruments()
        starts = start_prices or {}
        self._log_price = np.array(
            [
                math.log(starts.get(i.id) or first)
                for i, (_, first, _, _, _) in zip(self.instruments, PAIRS, strict=True)
            ]
        )
        self._long_run = np.array([vol**2 / SECONDS_PER_YEAR for _, _, vol, _, _ in PAIRS])
        self._variance = self._long_run.copy()

    def step(self, ts_ns: int, step_s: float) -> list[MarketEvent]:
        """Return the events of the next step, `step_s` seconds after the last one, stamped `ts_ns`."""
        random, count = self._random, len(self.instruments)
        common = random.standard_normal()
        own = random.standard_normal(count)
        shock = math.sqrt(COMMON_SHARE) * common + math.sqrt(1 - COMMON_SHARE) * own
        change = np.sqrt(self._variance * step_s) * shock
        jumped = random.random(count) < JUMPS_PER_DAY / 86_400 * step_s
        change += jumped * random.normal(0.0, JUMP_SIZE, count)
        self._variance = np.minimum(
            (1 - GARCH_ALPHA - GARCH_BETA) * self._long_run
            + GARCH_ALPHA * change**2 / step_s
            + GARCH_BETA * self._variance,
            100 * self._long_run,
        )
        self._log_price += change
        events: list[MarketEvent] = []
        draws = random.random((count, 3))
        sizes = random.lognormal(0.0, 1.0, (count, 3))
        for n, instrument in enumerate(self.instruments):
            events += self._events(n, instrument, ts_ns, draws[n].tolist(), sizes[n].tolist())
        return events

    def _events(
        self, n: int, instrument: Instrument, ts_ns: int, draws: list[float], sizes: list[float]
    ) -> list[MarketEvent]:
        mid = math.exp(self._log_price[n])
        stress = math.sqrt(self._variance[n] / self._long_run[n])
        half_spread = mid * 0.00004 * (0.5 + stress)
        scale = 10**instrument.price_decimals
        bid = max(1, math.floor((mid - half_spread) * scale))
        ask = max(bid + 1, math.ceil((mid + half_spread) * scale))
        size_scale = 10**instrument.size_decimals
        touch = TOUCH_USD / mid * size_scale
        quote = Quote(
            ts_ns=ts_ns,
            instrument=instrument.id,
            bid=bid,
            ask=ask,
            bid_size=max(1, int(touch * sizes[0])),
            ask_size=max(1, int(touch * sizes[1])),
        )
        if draws[0] > TRADE_PROBABILITY:
            return [quote]
        side = Side.BUY if draws[1] < 0.5 else Side.SELL
        size = max(1, int(TYPICAL_TRADE_USD / mid * size_scale * sizes[2]))
        return [
            quote,
            Trade(ts_ns=ts_ns, instrument=instrument.id, price=ask if side is Side.BUY else bid, size=size, side=side),
        ]
