"""Imported recordings in the database."""

import asyncpg
import msgspec
import numpy as np
import sqlalchemy as sa

from aether.clock import wall_ns
from aether.domain.errors import InvalidValueError, UnknownNameError
from aether.domain.identifiers import Symbol
from aether.store.database import Scope
from aether.store.schema import bars, datasets, trades


class StoredColumns(msgspec.Struct, frozen=True, kw_only=True):
    """A recording as stored: the fields of `market.dataset.Dataset`, which this row of the house cannot name."""

    kind: str
    symbol: Symbol
    price_decimals: int
    size_decimals: int
    interval_s: int
    ts_ns: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    columns: "dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]"
    source: str
    digest: str


class DatasetInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A recording as listed."""

    name: str
    digest: str
    kind: str
    symbol: str
    interval_s: int
    rows: int
    first_ns: int
    last_ns: int
    source: str


def _feed(digest: str) -> str:
    return f"replay-{digest[:12]}"


async def save(scope: Scope, name: str, data: StoredColumns) -> bool:
    """Store a recording under `name`; return False when exactly it is there already.

    Raises:
        InvalidValueError: when the name holds other data.
    """
    async with scope.begin() as reader:
        found = (await reader.execute(sa.select(datasets.c.digest).where(datasets.c.name == name))).scalar_one_or_none()
    if found == data.digest:
        return False
    if found is not None:
        raise InvalidValueError(f"The name {name!r} holds another recording.", remedy="Choose another --name.")
    connection = await scope.connect()
    try:
        async with connection.transaction():
            await _copy(connection, data)
            await connection.execute(
                "INSERT INTO datasets VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                name,
                data.digest,
                data.kind,
                data.symbol,
                data.price_decimals,
                data.size_decimals,
                data.interval_s,
                len(data.ts_ns),
                int(data.ts_ns[0]),
                int(data.ts_ns[-1]),
                data.source,
                wall_ns(),
            )
    finally:
        await connection.close()
    return True


async def _copy(connection: asyncpg.Connection, data: StoredColumns) -> None:
    """Write the rows unless another name holds the same recording."""
    feed = _feed(data.digest)
    if await connection.fetchval("SELECT count(*) FROM datasets WHERE digest = $1", data.digest):
        return
    times = data.ts_ns.tolist()
    if data.kind == "bars":
        values = zip(*(data.columns[n].tolist() for n in ("open", "high", "low", "close", "volume")), strict=True)
        records = [(feed, data.symbol, data.interval_s, t, *row) for t, row in zip(times, values, strict=True)]
        await connection.copy_records_to_table("bars", records=records)
    else:
        values = zip(*(data.columns[n].tolist() for n in ("price", "size", "side")), strict=True)
        records = [(feed, data.symbol, t, n, *row) for n, (t, row) in enumerate(zip(times, values, strict=True))]
        await connection.copy_records_to_table("trades", records=records)


async def listing(scope: Scope) -> list[DatasetInfo]:
    """Return all recordings by name."""
    names = DatasetInfo.__struct_fields__
    query = sa.select(*(datasets.c[n] for n in names)).order_by(datasets.c.name)
    async with scope.begin() as connection:
        return [DatasetInfo(**row._mapping) for row in await connection.execute(query)]


async def load(scope: Scope, name: str) -> StoredColumns:
    """Return a recording. Raises UnknownNameError when there is none of that name."""
    async with scope.begin() as connection:
        info = (await connection.execute(sa.select(datasets).where(datasets.c.name == name))).one_or_none()
        if info is None:
            known = ", ".join(d.name for d in await listing(scope)) or "none yet"
            raise UnknownNameError(f"There is no data set {name!r}.", remedy=f"Known data sets: {known}.")
        table, order, columns = (
            (bars, (bars.c.ts_ns,), ("open", "high", "low", "close", "volume"))
            if info.kind == "bars"
            else (trades, (trades.c.ts_ns, trades.c.part), ("price", "size", "side"))
        )
        query = sa.select(table.c.ts_ns, *(table.c[n] for n in columns)).where(table.c.feed == _feed(info.digest))
        if info.kind == "bars":
            query = query.where(bars.c.interval_s == info.interval_s, bars.c.instrument == info.symbol)
        rows = (await connection.execute(query.order_by(*order))).all()
    grid = np.array([tuple(row) for row in rows], dtype=np.int64)
    return StoredColumns(
        kind=info.kind,
        symbol=Symbol(info.symbol),
        price_decimals=info.price_decimals,
        size_decimals=info.size_decimals,
        interval_s=info.interval_s,
        ts_ns=grid[:, 0].copy(),
        columns={name: grid[:, n + 1].copy() for n, name in enumerate(columns)},
        source=info.source,
        digest=info.digest,
    )
