"""Exact numbers: integers scaled by a power of ten, and the few operations that money needs.

A price of 46319.5 with one decimal is the integer 463195. Nothing here touches binary floats. All functions stay in the
subset that numba compiles; products that may pass 64 bits go through `mul_div`, the single primitive for which
compiled code supplies 128-bit intermediates.
"""

from decimal import Decimal, InvalidOperation

from aether.domain.errors import InvalidValueError

AMOUNT_DECIMALS = 8
"""Every ledger amount of every asset is an integer count of 10^-8 of that asset."""

AMOUNT_SCALE: int = 10**AMOUNT_DECIMALS

PPM = 1_000_000
"""Fee rates are in parts per million: 2600 is 0.26 %."""

BPS = 10_000
"""Limits are in basis points: 200 is 2 %."""

MAX_DECIMALS = 18

POW10 = tuple(int(10**n) for n in range(MAX_DECIMALS + 1))
"""Powers of ten by exponent."""


def mul_div(a: int, b: int, c: int) -> int:
    """Return `a * b / c` rounded towards negative infinity, exactly. `c` is positive."""
    return a * b // c


def mul_div_round(a: int, b: int, c: int) -> int:
    """Return `a * b / c` rounded half up, exactly. `a` and `b` are non-negative, `c` is positive."""
    quotient = mul_div(a, b, c)
    remainder = a * b - quotient * c
    return quotient + 1 if 2 * remainder >= c else quotient


def mul_div_ceil(a: int, b: int, c: int) -> int:
    """Return `a * b / c` rounded towards positive infinity, exactly. `c` is positive."""
    return -mul_div(-a, b, c)


def round_down(value: int, step: int) -> int:
    """Return the largest multiple of `step` that is not above `value`."""
    return value // step * step


def round_up(value: int, step: int) -> int:
    """Return the smallest multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def parse_scaled(text: str, decimals: int) -> int:
    """Return decimal `text` as an integer scaled by 10^`decimals`.

    Raises:
        InvalidValueError: when the text is no plain decimal number, or has more decimals than fit exactly.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise InvalidValueError(f"{text!r} is not a decimal number.", remedy="Write it like 1234.5.")
    scaled = value.scaleb(decimals)
    if scaled != scaled.to_integral_value():
        raise InvalidValueError(
            f"{text} has more than {decimals} decimals.", remedy=f"Round it to {decimals} decimals before passing it."
        )
    return int(scaled)


def format_scaled(value: int, decimals: int) -> str:
    """Return the exact decimal text of an integer scaled by 10^`decimals`, with all its decimals."""
    if decimals == 0:
        return str(value)
    sign = "-" if value < 0 else ""
    digits = str(abs(value)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def format_amount(value: int) -> str:
    """Return the exact decimal text of a ledger amount."""
    return format_scaled(value, AMOUNT_DECIMALS)


def parse_amount(text: str) -> int:
    """Return decimal `text` as a ledger amount. Raises InvalidValueError as `parse_scaled` does."""
    return parse_scaled(text, AMOUNT_DECIMALS)


def notional_of(price: int, size: int, price_decimals: int, size_decimals: int) -> int:
    """Return price x size as a ledger amount of the quote asset, rounded half up where it is finer than 10^-8.

    Args:
        price: scaled by 10^`price_decimals`.
        size: scaled by 10^`size_decimals`.
    """
    shift = price_decimals + size_decimals - AMOUNT_DECIMALS
    if shift > 0:
        return mul_div_round(price, size, POW10[shift])
    return price * size * POW10[-shift]


def size_for_notional(notional: int, price: int, price_decimals: int, size_decimals: int) -> int:
    """Return the largest size whose notional at `price` is not above `notional` (a ledger amount). `price` > 0."""
    shift = price_decimals + size_decimals - AMOUNT_DECIMALS
    if shift >= 0:
        return mul_div(notional, POW10[shift], price)
    return notional // (price * POW10[-shift])


def amount_of_size(size: int, size_decimals: int) -> int:
    """Return an order size as a ledger amount of the base asset; exact because sizes have at most 8 decimals."""
    return size * POW10[AMOUNT_DECIMALS - size_decimals]


def size_of_amount(amount: int, size_decimals: int) -> int:
    """Return the largest order size that a ledger amount of the base asset covers."""
    return amount // POW10[AMOUNT_DECIMALS - size_decimals]


def value_of(amount: int, price: int, price_decimals: int) -> int:
    """Return the worth of a ledger amount of a base asset at `price`, as a ledger amount of the quote asset."""
    return mul_div_round(amount, price, POW10[price_decimals])


def average_price(notional: int, quantity: int, price_decimals: int) -> int:
    """Return the price at which `quantity` (a ledger amount of base, > 0) is worth `notional`, rounded half up.

    Of one price it is that price: rounded down it would be a tick below where a notional was rounded down before.
    """
    return mul_div_round(notional, POW10[price_decimals], quantity)


def price_e8(price: int, price_decimals: int) -> int:
    """Return a price in 10^-8 of the quote asset, rounded down where it is finer: comparable between venues."""
    return price * POW10[AMOUNT_DECIMALS] // POW10[price_decimals]


def before_fee(amount: int, rate_ppm: int) -> int:
    """Return the largest notional that `amount` pays for together with the fee on it."""
    return mul_div(amount, PPM, PPM + rate_ppm)


def fee_of(notional: int, rate_ppm: int) -> int:
    """Return the fee on `notional` at `rate_ppm`, rounded half up to a ledger amount."""
    return mul_div_round(notional, rate_ppm, PPM)


def bps_of(amount: int, bps: int) -> int:
    """Return `bps` basis points of a ledger amount, rounded down."""
    return mul_div(amount, bps, BPS)


def ratio_bps(part: int, whole: int) -> int:
    """Return `part / whole` in basis points, rounded up so that a limit is never missed by rounding. `whole` > 0."""
    return mul_div_ceil(part, BPS, whole)
