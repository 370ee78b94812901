"""Orders, fills and worth over all accounts that the caller may see: filtered, sorted, in pages, or whole as a file.

A list is the next page as JSON (`next` leads on), or every row that the filters leave: as CSV, Parquet or one JSON
object a line, when `Accept` asks for it. All of them hold the same rows and the same digits.
"""

import asyncio
import base64
import csv
import hashlib
import io
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from aether.api.accounts import fill_of, order_of, point_of
from aether.api.guard import Granted, account_scope, allow
from aether.api.models import (
    AccountEquity,
    Fill,
    FillPage,
    Limit,
    LineText,
    OfAccount,
    Order,
    OrderPage,
    VenueOrAny,
)
from aether.api.turns import Turns
from aether.clock import utc_text, wall_ns
from aether.control.access import EVERYWHERE
from aether.domain.errors import InvalidValueError
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.instruments import Instrument
from aether.store import queries
from aether.store.database import Row, Scope
from aether.store.listings import FILLS, ORDERS, Filters, Listing, Place

router = APIRouter(tags=["listings"])

Reads = Annotated[Granted, allow("accounts.read", anywhere=True)]
Cursor = Annotated[str, Query(max_length=600, description="`next` of the page before")]
SortBy = Annotated[str, Query(max_length=20, description="what it is in the order of; with - from the largest down")]

CSV, PARQUET, NDJSON = "text/csv", "application/vnd.apache.parquet", "application/x-ndjson"
EXPORTS = Turns(2, "Two exports are being made already.")
CHUNK = 64 * 1024
SCALE = 18
"""Decimals of amounts in Parquet: more than any instrument has."""


def filters(
    symbol: LineText = "",
    venue: VenueOrAny = "",
    side: Annotated[str, Query(pattern="^(buy|sell)?$")] = "",
    state: Annotated[str, Query(max_length=30)] = "",
    strategy: LineText = "",
    since_ns: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    until_ns: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    text: LineText = "",
) -> Filters:
    """Return what a list is narrowed down to."""
    return Filters(
        symbol=symbol, venue=venue, side=side, state=state, strategy=strategy,
        since_ns=since_ns, until_ns=until_ns, text=text,
    )  # fmt: skip


Wanted = Annotated[Filters, Depends(filters)]


async def _scopes(granted: Granted) -> list[Scope]:
    """Return the database as the caller sees it: whole, or each account that is asked about in its own role."""
    allowed = granted.accounts()
    if granted.account != EVERYWHERE or allowed is None:
        return [granted.scope]
    found = [await account_scope(granted.context, a) for a in sorted(allowed)]
    return [scope for scope in found if scope is not None]


async def _instruments(scopes: list[Scope]) -> dict[str, dict[InstrumentId, Instrument]]:
    """Return the instruments of each account."""
    return {s.config.id: s.instruments for scope in scopes for s in await queries.list_accounts(scope)}


def _cursor(place: Place, sort: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((sort, *place))).decode()


def _place(cursor: str, listing: Listing, sort: str) -> Place | None:
    """Return where a cursor goes on. Raises InvalidValueError."""
    if not cursor:
        return None
    columns, _ = listing.order(sort)
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[str | int, ...])
    except (ValueError, msgspec.MsgspecError) as error:
        raise _no_cursor(cursor) from error
    kinds = (str, *(str if listing.table.c[name].type.python_type is str else int for name in columns))
    if tuple(type(value) for value in found) != kinds or found[0] != sort:
        raise _no_cursor(cursor)
    return found[1:]


def _no_cursor(cursor: str) -> InvalidValueError:
    return InvalidValueError(
        f"{cursor[:40]!r} leads nowhere in this order.",
        remedy="Begin again without a cursor, in the order that it is of.",
    )


FILES = {"description": f"The next page; or every row as a file, where `Accept` is {CSV}, {PARQUET} or {NDJSON}"}


@router.get("/orders", response_model=OrderPage, responses={200: FILES})
async def list_all_orders(
    request: Request,
    granted: Reads,
    narrowed: Wanted,
    account: OfAccount = "",
    sort: SortBy = "-time",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Any:
    """Return orders of all accounts that the caller may see."""
    wanted = msgspec.structs.replace(narrowed, account=account)
    return await _answer(
        request, granted, _Kind("orders", ORDERS, Order, OrderPage, order_of), wanted, sort, cursor, limit
    )


@router.get("/fills", response_model=FillPage, responses={200: FILES})
async def list_all_fills(
    request: Request,
    granted: Reads,
    narrowed: Wanted,
    account: OfAccount = "",
    sort: SortBy = "-time",
    cursor: Cursor = "",
    limit: Limit = 100,
) -> Any:
    """Return executions of all accounts that the caller may see."""
    wanted = msgspec.structs.replace(narrowed, account=account)
    return await _answer(request, granted, _Kind("fills", FILLS, Fill, FillPage, fill_of), wanted, sort, cursor, limit)


class _Kind(NamedTuple):
    """What is listed: by which query, and how a row and a page of it go over the wire."""

    name: str
    listing: Listing
    row: type[Order] | type[Fill]
    page: type[OrderPage] | type[FillPage]
    shown: Callable[[Row, Instrument], Order | Fill]


async def _answer(
    request: Request, granted: Granted, kind: _Kind, wanted: Filters, sort: str, cursor: str, limit: int
) -> Any:
    """Return the next page, or the whole list as the kind of file that is asked for."""
    listing, scopes = kind.listing, await _scopes(granted)
    known = await _instruments(scopes)

    def shown(row: Row) -> Order | Fill:
        return kind.shown(row, known[row.account][InstrumentId(row.instrument)])

    if media := _file_kind(request):
        return await _file(media, kind.name, kind.row, listing, scopes, wanted, sort, shown)
    rows = await listing.page(scopes, wanted, sort, _place(cursor, listing, sort), limit)
    following = _cursor(listing.place(rows[-1], sort), sort) if len(rows) == limit else ""
    return kind.page.model_validate({"rows": [shown(row) for row in rows], "next": following})


@router.get("/equity")
async def list_all_equity(
    granted: Reads, points: Annotated[int, Query(ge=2, le=1_000, description="about how many samples of each")] = 200
) -> list[AccountEquity]:
    """Return the equity curves of all accounts that the caller may see, each evenly thinned."""
    found = []
    for scope in await _scopes(granted):
        for stored in await queries.list_accounts(scope, granted.context.feed):
            rows = await queries.list_equity(scope, AccountId(stored.config.id), since_ns=0, points=points)
            found.append(AccountEquity(account=stored.config.id, points=[point_of(row) for row in rows]))
    return found


# Whole lists as files.


def _file_kind(request: Request) -> str:
    """Return the kind of file that is asked for, empty for a page."""
    accepted = request.headers.get("accept", "")
    return next((kind for kind in (CSV, PARQUET, NDJSON) if kind in accepted), "")


async def _file(
    kind: str,
    name: str,
    model: type[Order] | type[Fill],
    listing: Listing,
    scopes: list[Scope],
    wanted: Filters,
    sort: str,
    shown: Callable[[Row], Order | Fill],
) -> Response:
    """Return every row as a file: made whole first, so that what is sent is complete and its digest is known."""
    listing.order(sort)
    columns = list(model.model_fields)
    made: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=8 * 1024 * 1024)  # noqa: SIM115  sent below
    async with EXPORTS.one():
        rows = (shown(row).model_dump(mode="json") async for row in listing.rows(scopes, wanted, sort))
        count = await WRITERS[kind](made, columns, _units(model), rows)
    made.seek(0)
    digest = (await asyncio.to_thread(hashlib.file_digest, made, "sha256")).hexdigest()  # type: ignore[arg-type]
    made.seek(0)
    made_at = utc_text(wall_ns())
    told = f"{name}, {count} rows, {_told(wanted)}, {sort}, made {made_at} UTC, sha256 of what follows {digest}"

    async def chunks() -> AsyncIterator[bytes]:
        with made:
            if kind == CSV:
                yield f"# {told}\n".encode()
            while chunk := made.read(CHUNK):
                yield chunk

    suffix = {CSV: "csv", PARQUET: "parquet", NDJSON: "ndjson"}[kind]
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{suffix}"',
        "X-Aether-Rows": str(count),
        "X-Aether-Digest": f"sha256={digest}",
    }
    return StreamingResponse(chunks(), media_type=kind, headers=headers)


def _told(wanted: Filters) -> str:
    given = [f"{name}={value}" for name, value in msgspec.structs.asdict(wanted).items() if value]
    return " ".join(given).replace("\n", " ") or "all"


def _units(model: type[Order] | type[Fill]) -> dict[str, str]:
    """Return the unit of each field that has one."""
    found = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "x-unit" in extra:
            found[name] = str(extra["x-unit"])
    return found


Rows = AsyncIterator[dict[str, Any]]


async def _csv(made: IO[bytes], columns: list[str], _units: dict[str, str], rows: Rows) -> int:
    text = io.TextIOWrapper(made, "utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    count = 0
    async for row in rows:
        writer.writerow(row)
        count += 1
    text.detach()
    return count


async def _ndjson(made: IO[bytes], _columns: list[str], _units: dict[str, str], rows: Rows) -> int:
    count = 0
    async for row in rows:
        made.write(msgspec.json.encode(row) + b"\n")
        count += 1
    return count


async def _parquet(made: IO[bytes], columns: list[str], units: dict[str, str], rows: Rows) -> int:
    """Write amounts as decimals and times as such; what is empty is null."""
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "rows.ndjson", Path(folder) / "rows.parquet"
        with plain.open("wb") as lines:
            count = await _ndjson(lines, columns, units, rows)
        await asyncio.to_thread(_pack, plain, packed, columns, units)
        with packed.open("rb") as found:
            await asyncio.to_thread(shutil.copyfileobj, found, made)
    return count


def _pack(plain: Path, packed: Path, columns: list[str], units: dict[str, str]) -> None:
    """Turn lines of JSON into Parquet, a part at a time."""
    import polars as pl  # noqa: PLC0415  large, and asked for now and then

    counts = {"number", "seq", *(name for name, unit in units.items() if unit == "ns")}
    amounts = [name for name in columns if units.get(name) in ("base", "quote", "currency")]
    schema = {name: pl.Int64 if name in counts else pl.String for name in columns}
    is_empty = plain.stat().st_size == 0
    frame = pl.DataFrame(schema=schema).lazy() if is_empty else pl.scan_ndjson(plain, schema=schema)
    frame.with_columns(
        *(pl.col(n).replace("", None).cast(pl.Decimal(38, SCALE)) for n in amounts),
        *(pl.from_epoch(n, time_unit="ns").dt.replace_time_zone("UTC") for n, unit in units.items() if unit == "ns"),
    ).sink_parquet(packed)


WRITERS: dict[str, Callable[[IO[bytes], list[str], dict[str, str], Rows], Awaitable[int]]] = {
    CSV: _csv,
    PARQUET: _parquet,
    NDJSON: _ndjson,
}
