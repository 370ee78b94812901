"""Protective exits (requirement T6) as data: when a holding is left whatever its strategy thinks.

Each owner's holding carries a plan: a stop-loss below the average entry, a take-profit above it, and a trailing stop
that follows the best price. `protection` watches the price at which it could sell and carries the plan out. Plans are
part of the engine's state, so they survive a restart; a plan that was hit is a wish that stands until nothing is held.
"""

import msgspec

from aether.domain.accounts import Exits
from aether.domain.identifiers import ClientOrderId
from aether.domain.orders import OrderRequest, Purpose, Side
from aether.domain.scaled import BPS
from aether.kernel.exits import ASKED, NO_EXIT, PROFIT_HIT, STOP_HIT, TRAIL_HIT, distance
from aether.kernel.sizing import volatility_over

PURPOSE_OF_HIT = {
    STOP_HIT: Purpose.STOP,
    TRAIL_HIT: Purpose.TRAILING_STOP,
    PROFIT_HIT: Purpose.TAKE_PROFIT,
    ASKED: Purpose.EXIT,
}


RESTING = (Purpose.STOP, Purpose.TRAILING_STOP)
"""What a stop that rests is for."""


class Due(msgspec.Struct, frozen=True):
    """A sale that waits until the stop that rests at the venue is taken back, and since when it does."""

    request: OrderRequest
    since_ns: int
    decision_price: int = 0


class ExitPlan(msgspec.Struct):
    """The protection of one owner's holding; distances and levels in price units, 0 where switched off.

    Attributes:
        best: highest price at which we could have sold since the entry.
        hit: what has triggered (`STOP_HIT`, ...), `NO_EXIT` while nothing has.
        retry_ns: do not try again before this time, after an exit was refused.
        refusals: how often in a row it was refused.
        shortfalls: how often a venue said that it holds less than our books.
        due: a sale that waits for its stop.
        rest_id: the last order that was placed at the venue for the stop.
        told_id: the last of them that was told of for not being taken back.
        rest_ns: no order is placed or replaced at the venue for the stop before this time.
        rest_refusals: how often in a row the venue did not take it.
    """

    stop_distance: int = 0
    profit_distance: int = 0
    trail_distance: int = 0
    stop: int = 0
    profit: int = 0
    best: int = 0
    hit: int = NO_EXIT
    retry_ns: int = 0
    refusals: int = 0
    shortfalls: int = 0
    due: Due | None = None
    rest_id: ClientOrderId = ClientOrderId("")
    told_id: ClientOrderId = ClientOrderId("")
    rest_ns: int = 0
    rest_refusals: int = 0


def rests(request: OrderRequest) -> bool:
    """Return whether an order is the stop of a holding that rests at the venue, see `resting`."""
    return request.side is Side.SELL and request.purpose in RESTING and request.type.has_trigger


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
    """Set the plan's levels around the average entry price of the holding."""
    plan.stop = max(0, average_price - plan.stop_distance) if plan.stop_distance else 0
    plan.profit = average_price + plan.profit_distance if plan.profit_distance else 0
    plan.best = max(plan.best, average_price)
