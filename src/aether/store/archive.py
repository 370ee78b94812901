"""Old days of a market log: Parquet files beside the database, which prove as much as the rows that they were.

A file holds the blocks of one log that were written on one day. `market_archives` says where it is, from which position
to which it goes, the hashes before and after, and the SHA-256 of the file: a file that was changed is not read.
"""

import hashlib
import os
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

from aether.domain.errors import MarketLogCorruptError
from aether.store.database import Scope
from aether.store.schema import market_archives

EPOCH = date(1970, 1, 1)
DAY_NS = 86_400 * 1_000_000_000


class Block(NamedTuple):
    """Events that were written together, as stored; `hash` is that of the last."""

    log: str
    day: int
    first: int
    events: int
    ts_ns: int
    payload: bytes
    hash: bytes

    @property
    def last(self) -> int:
        """Position of the last event."""
        return self.first + self.events - 1


class ArchivedDay(NamedTuple):
    """A day of a log that lies in a file.

    Attributes:
        first, last: positions of its first and last event.
        before, hash: of the log before its first event and after its last.
        file: its path within the folder of archives.
        digest: SHA-256 of the file, hex.
    """

    log: str
    day: int
    first: int
    last: int
    ts_ns: int
    before: bytes
    hash: bytes
    file: str
    digest: str

    @property
    def events(self) -> int:
        """How many it holds."""
        return self.last - self.first + 1

    def read(self, folder: Path | None) -> list[Block]:
        """Return the blocks. Raises MarketLogCorruptError when the file is not there or not what was archived."""
        import polars as pl  # noqa: PLC0415  loaded where it is used: each process starts sooner

        if folder is None:
            raise MarketLogCorruptError(self.log, self.first, f"{self.file} is archived, and no folder was named")
        try:
            content = (folder / self.file).read_bytes()
        except OSError as error:
            reason = f"its file {self.file} cannot be read ({error.strerror})"
            raise MarketLogCorruptError(self.log, self.first, reason) from error
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise MarketLogCorruptError(self.log, self.first, f"its file {self.file} is not what was archived")
        return [Block(self.log, self.day, *row) for row in pl.read_parquet(content).iter_rows()]


def day_name(day: int) -> str:
    """Return a day as people write it."""
    return str(EPOCH + timedelta(days=day))


def file_of(log: str, day: int) -> str:
    """Return the path of a day's file within the folder of archives."""
    return f"{quote(log, safe='')}/{day_name(day)}.parquet"


async def archived_days(scope: Scope, log: str, after: int = 0) -> list[ArchivedDay]:
    """Return the archived days with events after a position, in order."""
    query = sa.select(market_archives).where(market_archives.c.log == log, market_archives.c.last > after)
    rows = await scope.all(query.order_by(market_archives.c.first))
    return [ArchivedDay._make(row) for row in rows]


def write_day(folder: Path, blocks: Sequence[Block], before: bytes) -> ArchivedDay:
    """Write a day's file, whole and on disk when this returns; one that lies there is replaced."""
    import polars as pl  # noqa: PLC0415  loaded where it is used: each process starts sooner

    first, last = blocks[0], blocks[-1]
    file = folder / file_of(first.log, first.day)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    columns = {name: [getattr(b, name) for b in blocks] for name in ("first", "events", "ts_ns", "payload", "hash")}
    part = file.with_suffix(".part")
    pl.DataFrame(columns).write_parquet(part, compression="zstd")
    with part.open("rb") as written:
        os.fsync(written.fileno())
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    part.replace(file)
    parent = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
    name = str(file.relative_to(folder))
    return ArchivedDay(first.log, first.day, first.first, last.last, last.ts_ns, before, last.hash, name, digest)
