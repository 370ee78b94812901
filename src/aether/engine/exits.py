"""Protective exits (requirement T6): when a position is closed whatever its strategy thinks.

Each position carries a plan: a stop-loss below the average entry, a take-profit above it, and a trailing stop that
follows the best price. The engine emulates them: it watches the price at which it could sell and sends a market order
when a level is reached. Plans are part of the engine's state, so they survive a restart.
"""

import msgspec

from aether.domain.accounts import Exits
from aether.domain.orders import Purpose
from aether.domain.scaled import BPS
from aether.engine.sizing import volatility_over

NO_EXIT, STOP_HIT, TRAIL_HIT, PROFIT_HIT = 0, 1, 2, 3

PURPOSE_OF_HIT = {STOP_HIT: Purpose.STOP, TRAIL_HIT: Purpose.TRAILING_STOP, PROFIT_HIT: Purpose.TAKE_PROFIT}


class ExitPlan(msgspec.Struct):
    """The protection of one position; distances and levels in price units, 0 where switched off.

    Attributes:
        best: highest price at which we could have sold since the entry.
        hit: what has triggered (`STOP_HIT`, ...), `NO_EXIT` while nothing has.
        retry_ns: do not try again before this time, after an exit was refused.
        refusals: how often in a row it was refused.
    """

    stop_distance: int
    profit_distance: int
    trail_distance: int
    stop: int = 0
    profit: int = 0
    best: int = 0
    hit: int = NO_EXIT
    retry_ns: int = 0
    refusals: int = 0


def distance(price: int, fraction: float, min_bps: int, max_bps: int) -> int:
    """Return `fraction` of `price` in price units, kept between `min_bps` and `max_bps` of it and at least one unit."""
    bps = min(max(round(fraction * BPS), min_bps), max_bps)
    return max(1, price * bps // BPS)


def stop_fraction(exits: Exits, variance_per_s: float) -> float:
    """Return the stop's distance as a fraction of price, 0 when the stop is off."""
    if exits.stop_multiple == 0:
        return 0.0
    wanted = exits.stop_multiple * volatility_over(variance_per_s, exits.horizon_s)
    return min(max(wanted, exits.min_stop_bps / BPS), exits.max_stop_bps / BPS)


def make_plan(exits: Exits, price: int, variance_per_s: float) -> ExitPlan:
    """Return the plan of a position entered at `price`; levels are set by `rebase`."""
    sigma = volatility_over(variance_per_s, exits.horizon_s)

    def at(multiple: float, max_bps: int) -> int:
        return distance(price, multiple * sigma, exits.min_stop_bps, max_bps) if multiple else 0

    return ExitPlan(
        stop_distance=at(exits.stop_multiple, exits.max_stop_bps),
        profit_distance=at(exits.take_profit_multiple, 100 * BPS),
        trail_distance=at(exits.trailing_multiple, 9_000),
    )


def rebase(plan: ExitPlan, average_price: int) -> None:
    """Set the plan's levels around the average entry price of the position."""
    plan.stop = max(0, average_price - plan.stop_distance) if plan.stop_distance else 0
    plan.profit = average_price + plan.profit_distance if plan.profit_distance else 0
    plan.best = max(plan.best, average_price)


def exit_hit(price: int, best: int, stop: int, profit: int, trail_distance: int) -> int:
    """Return which level a sellable `price` reaches: stop first, then the trail below `best`, then the profit."""
    if stop and price <= stop:
        return STOP_HIT
    if trail_distance and price <= best - trail_distance:
        return TRAIL_HIT
    if profit and price >= profit:
        return PROFIT_HIT
    return NO_EXIT
