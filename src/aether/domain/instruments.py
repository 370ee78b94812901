"""What can be traded, and by which rules: precision, steps, minimums and fees of a pair at a venue."""

import msgspec

from aether.domain.errors import InvalidValueError
from aether.domain.identifiers import AssetCode, BalanceKey, InstrumentId, Symbol, VenueId, balance_key, instrument_id
from aether.domain.scaled import AMOUNT_DECIMALS, MAX_DECIMALS, format_scaled, notional_of, parse_scaled


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

    Attributes:
        tick: smallest price step, in price units.
        lot: smallest size step, in size units.
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
        """Return a price as exact decimal text."""
        return format_scaled(price, self.price_decimals)

    def size_text(self, size: int) -> str:
        """Return a size as exact decimal text."""
        return format_scaled(size, self.size_decimals)

    def notional(self, price: int, size: int) -> int:
        """Return price x size as a ledger amount of the quote asset."""
        return notional_of(price, size, self.price_decimals, self.size_decimals)


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
