"""Protective levels and pauses between attempts, as functions of numbers."""

from aether.domain.scaled import BPS

NO_EXIT, STOP_HIT, TRAIL_HIT, PROFIT_HIT, ASKED = 0, 1, 2, 3, 4
"""Why a position is being left; `ASKED` when its owner wants to."""

RETRY_FIRST_S = 1
RETRY_LONGEST_S = 60
SHRINK_PARTS = 100
MAX_DOUBLINGS = 40


def distance(price: int, fraction: float, min_bps: int, max_bps: int) -> int:
    """Return `fraction` of `price` in price units, kept between `min_bps` and `max_bps` of it and at least one unit."""
    bps = min(max(round(fraction * BPS), min_bps), max_bps)
    return max(1, price * bps // BPS)


def exit_hit(price: int, best: int, stop: int, profit: int, trail_distance: int) -> int:
    """Return which level a sellable `price` reaches: stop first, then the trail below `best`, then the profit."""
    if stop and price <= stop:
        return STOP_HIT
    if trail_distance and price <= best - trail_distance:
        return TRAIL_HIT
    if profit and price >= profit:
        return PROFIT_HIT
    return NO_EXIT


def resting_level(stop: int, best: int, trail_distance: int) -> int:
    """Return the price at which `exit_hit` would sell next below the market; 0 when it never would."""
    return max(stop, best - trail_distance if trail_distance and best else 0)


def retry_wait_s(refusals: int) -> int:
    """Return how long to wait before the next attempt after `refusals` in a row, counted from 0."""
    return min(RETRY_FIRST_S << min(refusals, 16), RETRY_LONGEST_S)


def shrunk(size: int, step: int, shortfalls: int) -> int:
    """Return a size that a venue may have, after it said `shortfalls` times that it holds less than our books.

    One step less at first, twice as much each time, at most a hundredth of the whole.
    """
    if shortfalls <= 0:
        return size
    less = min(step << min(shortfalls - 1, MAX_DOUBLINGS), max(step, size // SHRINK_PARTS))
    return max(0, size - less)
