"""What can be traded, and by which rules: precision, steps, minimums and fees of a pair at a venue."""

from enum import StrEnum
from functools import cache
from math import lcm

import msgspec

from aether.domain.errors import InvalidValueError
from aether.domain.identifiers import AssetCode, BalanceKey, InstrumentId, Symbol, VenueId, balance_key, instrument_id
from aether.domain.scaled import (
    AMOUNT_DECIMALS,
    MAX_DECIMALS,
    POW10,
    format_scaled,
    mul_div_ceil,
    mul_div_round,
    notional_of,
    parse_scaled,
    round_up,
)

LARGEST_SIZE = 9 * 10**18
"""No order is larger: sizes fit into 64 bits."""


class TradingState(StrEnum):
    """What a venue, or one of its pairs, allows."""

    ONLINE = "online"
    POST_ONLY = "post_only"
    LIMIT_ONLY = "limit_only"
    CANCEL_ONLY = "cancel_only"
    MAINTENANCE = "maintenance"
    DELISTED = "delisted"
    """The venue does not list it any more, or not under this name."""

    @property
    def words(self) -> str:
        """Its name as people read it."""
        return self.value.replace("_", " ")

    @property
    def means(self) -> str:
        """What an account does then."""
        return {
            TradingState.ONLINE: "everything is traded",
            TradingState.POST_ONLY: "only what rests is entered, exits as far as the venue takes them",
            TradingState.LIMIT_ONLY: "only limit orders enter, exits as far as the venue takes them",
        }.get(self, "nothing is entered, exits as far as the venue takes them")


class FeeTier(msgspec.Struct, frozen=True, kw_only=True):
    """The fee rates from a 30-day volume upwards.

    Attributes:
        volume: 30-day traded volume at which the tier begins, a ledger amount of the quote asset.
        maker_ppm: rate for orders that rest in the book, parts per million of notional.
        taker_ppm: rate for orders that take from the book, parts per million of notional.
    """

    volume: int
    maker_ppm: int
    taker_ppm: int


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """A pair at a venue. Prices are integers of 10^-`price_decimals`, sizes of 10^-`size_decimals`.

    These scales are the house's own and never change; they are finer than the venue's steps, which are rules for new
    orders and do change (`in_scale`, decision 0037).

    Attributes:
        tick: price step of new orders, in price units.
        lot: size step of new orders, in size units.
        min_size, max_size: size of one order, in size units.
        min_notional: least worth of one order, a ledger amount of the quote asset.
        fee_tiers: by rising volume; the first begins at zero.
        base_decimals, quote_decimals: to how many decimals the venue keeps a balance of the asset; its books round
            what ours hold exactly.
    """

    id: InstrumentId
    venue: VenueId
    symbol: Symbol
    base: AssetCode
    quote: AssetCode
    price_decimals: int
    size_decimals: int
    tick: int
    lot: int
    min_size: int
    max_size: int
    min_notional: int
    fee_tiers: tuple[FeeTier, ...]
    base_decimals: int = AMOUNT_DECIMALS
    quote_decimals: int = AMOUNT_DECIMALS

    def __post_init__(self) -> None:
        checks = (
            (0 <= self.price_decimals <= MAX_DECIMALS, f"price_decimals is {self.price_decimals}"),
            (0 <= self.size_decimals <= AMOUNT_DECIMALS, f"size_decimals is {self.size_decimals}"),
            (
                0 <= self.base_decimals <= MAX_DECIMALS and 0 <= self.quote_decimals <= MAX_DECIMALS,
                f"balances are kept to {self.base_decimals} and {self.quote_decimals} decimals",
            ),
            (self.tick > 0 and self.lot > 0, f"tick is {self.tick}, lot is {self.lot}"),
            (0 < self.min_size <= self.max_size, f"min_size is {self.min_size}, max_size is {self.max_size}"),
            (self.min_notional >= 0, f"min_notional is {self.min_notional}"),
            (bool(self.fee_tiers) and self.fee_tiers[0].volume == 0, "the first fee tier does not begin at zero"),
        )
        for holds, found in checks:
            if not holds:
                raise InvalidValueError(
                    f"Instrument {self.id} is impossible: {found}.", remedy="Correct the venue's reference data."
                )

    @property
    def base_key(self) -> BalanceKey:
        """The ledger key of the base asset at this venue."""
        return balance_key(self.venue, self.base)

    @property
    def quote_key(self) -> BalanceKey:
        """The ledger key of the quote asset at this venue."""
        return balance_key(self.venue, self.quote)

    def price_text(self, price: int) -> str:
        """Return a price as exact decimal text, with the decimals of the tick at least."""
        return _text(price, self.price_decimals, self.tick)

    def average_text(self, price: int) -> str:
        """Return a price that is no order's (an average, a middle) as text, rounded to the decimals of the tick."""
        shown = _decimals_of_step(self.price_decimals, self.tick)
        return format_scaled(mul_div_round(price, 1, POW10[self.price_decimals - shown]), shown)

    def size_text(self, size: int) -> str:
        """Return a size as exact decimal text, with the decimals of the lot at least."""
        return _text(size, self.size_decimals, self.lot)

    def in_scale(self, price_decimals: int, size_decimals: int) -> "Instrument":
        """Return the same rules in another scale.

        A step that the scale cannot hold becomes the least one that it can and that the venue takes too.
        """
        tick = _step_in(self.tick, self.price_decimals, price_decimals)
        lot = _step_in(self.lot, self.size_decimals, size_decimals)
        unit, units = POW10[self.size_decimals], POW10[size_decimals]
        least = round_up(mul_div_ceil(self.min_size, units, unit), lot)
        return msgspec.structs.replace(
            self,
            price_decimals=price_decimals,
            size_decimals=size_decimals,
            tick=tick,
            lot=lot,
            min_size=least,
            max_size=max(least, min(self.max_size * units // unit, LARGEST_SIZE)),
        )

    def with_room(self) -> "Instrument":
        """Return the same rules in the scale that the house keeps a new instrument in: what a venue writes fits, also
        by a finer step than today's."""
        return self.in_scale(
            min(MAX_DECIMALS, max(AMOUNT_DECIMALS, self.price_decimals + SPARE_DECIMALS)), AMOUNT_DECIMALS
        )

    def notional(self, price: int, size: int) -> int:
        """Return price x size as a ledger amount of the quote asset."""
        return notional_of(price, size, self.price_decimals, self.size_decimals)


SPARE_DECIMALS = 2


@cache
def _decimals_of_step(decimals: int, step: int) -> int:
    """Return how many decimals a multiple of `step` has at most."""
    while decimals and not step % 10:
        decimals, step = decimals - 1, step // 10
    return decimals


def _text(value: int, decimals: int, step: int) -> str:
    shown = _decimals_of_step(decimals, step)
    whole, rest = divmod(value, POW10[decimals - shown])
    return format_scaled(value, decimals).rstrip("0") if rest else format_scaled(whole, shown)


def _step_in(step: int, decimals: int, new_decimals: int) -> int:
    """Return the least step in a new scale that is a multiple of an old one."""
    finest = max(decimals, new_decimals)
    unit = POW10[finest - new_decimals]
    return lcm(step * POW10[finest - decimals], unit) // unit


def fee_tier_at(tiers: tuple[FeeTier, ...], volume: int) -> FeeTier:
    """Return the tier that a 30-day `volume` has reached."""
    reached = tiers[0]
    for tier in tiers:
        if volume >= tier.volume:
            reached = tier
    return reached


def split_symbol(text: str) -> tuple[AssetCode, AssetCode]:
    """Return base and quote of a symbol such as `BTC/USD`.

    Raises:
        InvalidValueError: when the text has not the form BASE/QUOTE.
    """
    base, slash, quote = text.partition("/")
    if not (slash and base.isalnum() and quote.isalnum() and text == text.upper()):
        raise InvalidValueError(f"{text!r} is not a symbol.", remedy="Write base and quote like BTC/USD.")
    return AssetCode(base), AssetCode(quote)


def _tiers(*rows: tuple[int, int, int]) -> tuple[FeeTier, ...]:
    scale = 10**AMOUNT_DECIMALS
    return tuple(FeeTier(volume=v * scale, maker_ppm=m, taker_ppm=t) for v, m, t in rows)


DEFAULT_FEE_TIERS = _tiers(
    (0, 2500, 4000),
    (10_000, 2000, 3500),
    (50_000, 1400, 2400),
    (100_000, 1200, 2200),
    (250_000, 1000, 2000),
    (500_000, 800, 1800),
    (1_000_000, 600, 1600),
    (2_500_000, 400, 1400),
    (5_000_000, 200, 1200),
    (10_000_000, 0, 1000),
)
"""Kraken's published spot schedule (volume in USD, maker and taker in ppm), used where a venue states none."""


def make_instrument(
    venue: VenueId,
    symbol: str,
    *,
    price_decimals: int,
    size_decimals: int,
    min_notional: str = "1",
    fee_tiers: tuple[FeeTier, ...] = DEFAULT_FEE_TIERS,
) -> Instrument:
    """Return an instrument whose tick and lot are one unit of its precision and whose size is bounded only by 10^15."""
    base, quote = split_symbol(symbol)
    return Instrument(
        id=instrument_id(venue, Symbol(symbol)),
        venue=venue,
        symbol=Symbol(symbol),
        base=base,
        quote=quote,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=1,
        lot=1,
        min_size=1,
        max_size=10 ** (15 + size_decimals),
        min_notional=parse_scaled(min_notional, AMOUNT_DECIMALS),
        fee_tiers=fee_tiers,
    )
