"""Moving old days of the market logs to files: proven, written, read again and proven, and only then dropped."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from aether.domain.errors import MarketLogCorruptError
from aether.store.archive import ArchivedDay, Block, write_day
from aether.store.database import Scope
from aether.store.history import StoredHistory
from aether.store.market_log import Head, LogChecker
from aether.store.schema import market_archives, market_log

LOCK_WAIT_S = 2


async def archive_before(scope: Scope, folder: Path, day: int) -> list[ArchivedDay]:
    """Archive the days before a day (days since 1970 UTC); return what was archived.

    What was interrupted is done again: a day leaves the database when the files of all its logs are known to hold it.

    Raises:
        MarketLogCorruptError: when a log does not prove; its day stays where it is.
        OSError: when a file cannot be written.
    """
    done = []
    for old in await days_before(scope, day):
        for log in await _logs(scope, old):
            archived = await _archive(scope, folder, log, old)
            if archived is not None:
                done.append(archived)
        async with scope.begin() as connection:
            await connection.execute(sa.text("SELECT drop_market_day(:day)"), {"day": old})
    return done


async def open_days(scope: Scope, days: Iterable[int]) -> None:
    """Make room for days ahead of time: whoever makes it waits for every reader, and at midnight that would be trading.

    Raises:
        sqlalchemy.exc.DBAPIError: when somebody reads the log for long; it is to be tried again.
    """
    async with scope.begin() as connection:
        await connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
        for day in days:
            await connection.execute(sa.text("SELECT open_market_day(:day)"), {"day": day})


async def days_before(scope: Scope, before: int) -> list[int]:
    """Return the days before a day that the database holds."""
    query = sa.select(market_log.c.day).where(market_log.c.day < before).distinct().order_by(market_log.c.day)
    return [row.day for row in await scope.all(query)]


async def _logs(scope: Scope, day: int) -> list[str]:
    query = sa.select(market_log.c.log).where(market_log.c.day == day).distinct().order_by(market_log.c.log)
    return [row.log for row in await scope.all(query)]


async def _archive(scope: Scope, folder: Path, log: str, day: int) -> ArchivedDay | None:
    known = sa.select(market_archives.c.file).where(market_archives.c.log == log, market_archives.c.day == day)
    if await scope.all(known):
        return None
    query = sa.select(market_log).where(market_log.c.log == log, market_log.c.day == day)
    blocks = [Block._make(row) for row in await scope.all(query.order_by(market_log.c.first))]
    before = await StoredHistory(scope, folder).hash_before(log, blocks[0].first)
    await asyncio.to_thread(_prove, log, before, blocks)
    made = await asyncio.to_thread(write_day, folder, blocks, before)
    if await asyncio.to_thread(made.read, folder) != blocks:
        raise MarketLogCorruptError(log, made.first, f"its file {made.file} does not hold what was written to it")
    async with scope.begin() as connection:
        await connection.execute(sa.insert(market_archives), made._asdict())
    return made


def _prove(log: str, before: bytes, blocks: list[Block]) -> None:
    checker = LogChecker(log, Head(blocks[0].first - 1, before))
    for block in blocks:
        checker.check(block)
