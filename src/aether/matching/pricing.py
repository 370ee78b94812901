"""The numeric rules of fills, as functions of numbers in the subset that numba compiles.

Prices and sizes are in the instrument's units. `is_buy` is the side of our order.
"""

from aether.domain.scaled import BPS, mul_div, mul_div_ceil


def touch_from_trade(last: int, half_spread_centibps: int, is_buy: bool, tick: int) -> int:
    """Return the price at which we could trade at once when only the last trade is known.

    Args:
        half_spread_centibps: half the assumed spread, hundredths of a basis point of price.
    """
    offset = mul_div_ceil(last, half_spread_centibps, 100 * BPS)
    if is_buy:
        return mul_div_ceil(last + offset, 1, tick) * tick
    return max(tick, (last - offset) // tick * tick)


def ladder_price(touch: int, level: int, step_centibps: int, is_buy: bool, tick: int) -> int:
    """Return the price of the assumed book `level` steps behind the touch, at least one tick a level."""
    step = max(tick, mul_div(touch, step_centibps, 100 * BPS) // tick * tick)
    return touch + level * step if is_buy else max(tick, touch - level * step)


def is_marketable(price: int, limit: int, is_buy: bool) -> bool:
    """Return whether `price` satisfies a `limit` (0 for none)."""
    return limit == 0 or (price <= limit if is_buy else price >= limit)


def is_triggered(last: int, trigger: int, is_stop: bool, is_buy: bool) -> bool:
    """Return whether a stop (or take-profit) at `trigger` fires at `last`: stops on the way against the position."""
    rising = is_stop == is_buy
    return last >= trigger if rising else last <= trigger


def trailing_trigger(last: int, trail: int, trigger: int, is_buy: bool) -> int:
    """Return where a trailing stop triggers after a trade at `last`; it only moves towards the market.

    Args:
        trigger: where it triggered before, 0 for nowhere yet.
    """
    if is_buy:
        return min(trigger, last + trail) if trigger else last + trail
    return max(trigger, last - trail)


def passive_fill(trade_price: int, trade_size: int, limit: int, ahead: int, is_buy: bool) -> tuple[int, int]:
    """Return what a resting order may trade of a public trade, and the queue still ahead of it.

    A trade through the limit reaches us whatever stood before us; a trade at the limit first eats the queue ahead.
    """
    through = trade_price < limit if is_buy else trade_price > limit
    if through:
        return trade_size, 0
    if trade_price != limit:
        return 0, ahead
    return max(0, trade_size - ahead), max(0, ahead - trade_size)
