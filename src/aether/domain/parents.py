"""Parent orders: an amount to be traded over venues or over time, carried out by child orders."""

from enum import StrEnum
from typing import Annotated, NewType

import msgspec
from msgspec import Meta

from aether.domain.identifiers import ClientOrderId, Symbol
from aether.domain.orders import Side

ParentId = NewType("ParentId", str)
"""Identifies a parent order within its account."""


class Algorithm(StrEnum):
    """How a parent order is carried out."""

    ROUTE = "route"
    """At once, split over venues by price, fees, depth and balances."""
    TWAP = "twap"
    """In equal parts over time."""
    VWAP = "vwap"
    """Over time, in parts that follow a volume profile."""
    POV = "pov"
    """As a share of the volume that others trade."""
    PEGGED = "pegged"
    """Post-only at the best price of our own side, following it."""
    ICEBERG = "iceberg"
    """A limit order of which only a part is ever in the book."""
    OCO = "oco"
    """Sells at a profit or at a stop, whichever comes first."""
    BRACKET = "bracket"
    """Buys at once, then sells as OCO what it bought."""


class ParentState(StrEnum):
    """Where a parent order is."""

    WORKING = "working"
    DONE = "done"
    CANCELED = "canceled"
    FAILED = "failed"


Seconds = Annotated[int, Meta(ge=0, le=604_800)]


class ParentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parent order as asked for. `amount` counts 10^-8 of the base asset, prices 10^-8 of the quote asset.

    Attributes:
        symbol: traded at every venue where the account may trade it.
        limit_price: no child trades worse than this; 0 for any price.
        duration_s: time over which TWAP and VWAP trade; after it (0: never) any algorithm gives up the rest.
        slices: parts of a TWAP.
        profile: weights of the parts of a VWAP, equally long in time.
        participation_bps: share of the others' volume that a POV trades.
        display: the part of an iceberg that is shown.
        profit_price, stop_price: of OCO and bracket.
    """

    id: ParentId
    symbol: Symbol
    side: Side
    amount: Annotated[int, Meta(ge=1)]
    algorithm: Algorithm
    limit_price: Annotated[int, Meta(ge=0)] = 0
    duration_s: Seconds = 0
    slices: Annotated[int, Meta(ge=1, le=1_000)] = 10
    profile: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=1_000)] = ()
    participation_bps: Annotated[int, Meta(ge=1, le=5_000)] = 1_000
    display: Annotated[int, Meta(ge=0)] = 0
    profit_price: Annotated[int, Meta(ge=0)] = 0
    stop_price: Annotated[int, Meta(ge=0)] = 0


class Parent(msgspec.Struct, kw_only=True):
    """A parent order and what has become of it. Amounts of the base asset and notional in ledger units.

    Attributes:
        sent: amount given to children so far, what they did not trade taken off again.
        seen_volume: what others traded since it began.
        bought: what a bracket has bought and not sold yet.
        children: its child orders, the last ones.
        working: those of them that may still trade, with the amount that was counted of each.
        retry_ns: no child before this time.
        refusals: children refused in a row.
        decision_mid, end_mid: the market's mid when it was asked for, and when it ended; 10^-8 of the quote asset.
    """

    request: ParentRequest
    state: ParentState = ParentState.WORKING
    started_ns: int
    ended_ns: int = 0
    filled: int = 0
    notional: int = 0
    fees: int = 0
    sent: int = 0
    seen_volume: int = 0
    bought: int = 0
    is_selling: bool = False
    reason: str = ""
    children: list[ClientOrderId] = msgspec.field(default_factory=list)
    working: dict[ClientOrderId, int] = msgspec.field(default_factory=dict)
    retry_ns: int = 0
    refusals: int = 0
    decision_mid: int = 0
    end_mid: int = 0


def missing_fields(request: ParentRequest) -> str:
    """Return what the algorithm needs and the request lacks, empty when nothing."""
    algorithm = request.algorithm
    needs = {
        Algorithm.TWAP: (request.duration_s > 0, "duration_s"),
        Algorithm.VWAP: (request.duration_s > 0 and sum(request.profile) > 0, "duration_s and profile"),
        Algorithm.ICEBERG: (request.display > 0 and request.limit_price > 0, "display and limit_price"),
        Algorithm.OCO: (request.profit_price > request.stop_price > 0, "profit_price above stop_price"),
        Algorithm.BRACKET: (request.profit_price > request.stop_price > 0, "profit_price above stop_price"),
    }
    holds, what = needs.get(algorithm, (True, ""))
    if not holds:
        return f"{algorithm} needs {what}"
    if algorithm is Algorithm.OCO and request.side is not Side.SELL:
        return "an OCO sells"
    if algorithm is Algorithm.BRACKET and request.side is not Side.BUY:
        return "a bracket begins with a buy"
    return ""
