"""Rows, not answers: a list is read row by row, and one that is not understood spoils none of the others.

An order that is not understood keeps its ids, so it is counted, asked for and canceled like every other. Everything
else that is not understood becomes an `Unread`, which the client counts and tells of.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from aether.domain.errors import InvalidValueError
from aether.domain.events import Bar
from aether.domain.identifiers import ClientOrderId, InstrumentId, Symbol, VenueId, VenueOrderId, instrument_id
from aether.domain.orders import OrderState, Side
from aether.telemetry import UNREAD_ROWS, logger
from aether.venues.messages import BarProgress, Execution, Message, OrderUpdate, Unread, Unrecognized
from aether.venues.wire import Listings, MalformedError, digest, parse, plain_text

_log = logger("venue")

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

ROW_ERRORS = (KeyError, TypeError, IndexError, AttributeError, ArithmeticError, ValueError, InvalidValueError)
"""What reading a row raises that is not what the venue documents; a `MalformedError` is a ValueError."""


_SIDES = {side.value: side for side in Side}


def each_row(what: str, found: Iterable[T], read: Callable[[T], list[U]]) -> list[U | Unread]:
    """Return what `read` makes of each row; a row that is not understood is told as such, and spoils no other."""
    return _each(found, read, lambda row, error: [_unread(what, row, error)])


def _each(
    found: Iterable[T], read: Callable[[T], list[U]], otherwise: Callable[[T, Exception], list[V]]
) -> list[U | V]:
    result: list[U | V] = []
    for row in found:
        try:
            result += read(row)
        except ROW_ERRORS as error:
            result += otherwise(row, error)
    return result


def _unread(what: str, row: object, error: Exception) -> Unread:
    return Unread(what=what, reason=why_unread(error), text=plain_text(str(row)))


def time_of(row: Bar | Execution | Unread) -> int:
    """Return a row's time, for sorting; what is not understood comes first."""
    return 0 if isinstance(row, Unread) else row.ts_ns


def each_order(
    venue: VenueId,
    listings: Listings,
    found: Iterable[T],
    ids: Callable[[T], tuple[object, object, object, object]],
    read: Callable[[T], list[OrderUpdate]],
) -> list[OrderUpdate | Unread]:
    """Return the orders of a list; one that is not understood keeps its ids, so it is counted, asked for and canceled.

    Args:
        ids: what a row says of the venue's id, the client's id, the pair and the side, before all else of it is read.
    """
    return _each(found, read, lambda row, error: [unread_order(venue, listings, row, ids, error)])


def unread_order(
    venue: VenueId,
    listings: Listings,
    row: T,
    ids: Callable[[T], tuple[object, object, object, object]],
    error: Exception,
) -> OrderUpdate | Unread:
    """Return an order that is not understood with what is known of it."""
    try:
        number, client_id, pair, side = ids(row)
    except ROW_ERRORS:
        number = client_id = pair = side = ""
    if not number:
        return _unread("order", row, error)
    listing = listings.find(str(pair))
    return OrderUpdate(
        ts_ns=0,
        instrument=listing.id if listing else instrument_id(venue, Symbol(plain_text(str(pair)))),
        client_id=ClientOrderId(str(client_id or "")),
        venue_order_id=VenueOrderId(str(number)),
        state=OrderState.ACCEPTED,
        side=_SIDES.get(str(side).lower()),
        unread=why_unread(error),
    )


def understood(venue: VenueId, found: list[Any], on_unread: Callable[[list[Unread]], None]) -> list[Any]:
    """Return the rows that are understood; count and tell of the others."""
    unread = [row for row in found if isinstance(row, Unread)]
    if not unread:
        return found
    for row in unread:
        UNREAD_ROWS.labels(venue, row.what).inc()
    first = unread[0]
    _log.warning("rows_not_understood", venue=venue, rows=len(unread), what=first.what, reason=first.reason)
    on_unread(unread)
    return [row for row in found if not isinstance(row, Unread)]


def why_unread(error: Exception) -> str:
    """Return in words why a row is not understood."""
    if isinstance(error, MalformedError):
        return plain_text(f"{error.kind}: {error.detail}")
    return plain_text(f"fields: {type(error).__name__}: {error}")


def each_tradable(found: Iterable[T], read: Callable[[T], list[U]]) -> list[U]:
    """Return the instruments of all rows, without those that are not understood, and those that the house cannot hold
    exactly (finer than a ledger unit)."""
    return _each(found, read, lambda _row, _error: [])


def unrecognized(payload: bytes, error: MalformedError | msgspec.ValidationError) -> Unrecognized:
    """Return a payload, or a row of one, that cannot be read."""
    if isinstance(error, MalformedError):
        return Unrecognized(kind=error.kind, detail=error.detail[:200], digest=digest(payload))
    return Unrecognized(kind="fields", detail=str(error)[:200], digest=digest(payload))


def unread_row(
    venue: VenueId,
    listings: Listings,
    row: bytes,
    names: tuple[str, str, str, str],
    error: MalformedError | msgspec.ValidationError,
) -> Message:
    """Return a row about an order that is not understood with what is known of it, so that it can be asked for.

    Args:
        names: of the fields with the venue's id, the client's id, the pair and the side.
    """
    number, client, pair, side = names
    found = unread_order(
        venue, listings, parse(row), lambda r: (r.get(number), r.get(client), r.get(pair), r.get(side)), error
    )
    return unrecognized(row, error) if isinstance(found, Unread) else found


def progress(unfinished: dict[InstrumentId, Bar], bar: Bar) -> list[Message]:
    """Return how a pair's bar has come on, and the one before it once this one has begun.

    Args:
        unfinished: by pair, the bar that goes on: venues tell of one again and again.
    """
    before = unfinished.get(bar.instrument)
    if before is not None and before.ts_ns > bar.ts_ns:
        return []
    unfinished[bar.instrument] = bar
    going_on = BarProgress(bar=bar)
    return [before, going_on] if before is not None and before.ts_ns < bar.ts_ns else [going_on]
