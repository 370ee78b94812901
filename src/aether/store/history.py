"""What PostgreSQL and the archive hold of journals and markets (`journal.History`)."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from pathlib import Path

import sqlalchemy as sa

from aether.domain.errors import JournalCorruptError, MarketLogCorruptError
from aether.domain.identifiers import AccountId
from aether.store.archive import Block, archived_days
from aether.store.database import Scope
from aether.store.journal import JournalRow
from aether.store.market_log import BEGINNING, GENESIS, Head, LogChecker
from aether.store.schema import journal, market_heads, market_log

PAGE_ROWS = 2_000
PAGE_BLOCKS = 200

_ROWS = """
SELECT account, seq, ts_ns, kind, payload, hash, decided, market, epoch FROM journal WHERE account = $1 AND seq > $2
ORDER BY seq LIMIT $3
"""
_BLOCKS = """
SELECT log, day, first, events, ts_ns, payload, hash FROM market_log
WHERE log = $1 AND first > $2 ORDER BY first LIMIT $3
"""
_CONTAINING = "SELECT first FROM market_log WHERE log = $1 AND first <= $2 ORDER BY first DESC LIMIT 1"
_ENDS = """
SELECT log, day, first, events, ts_ns, payload, hash, (
    SELECT hash FROM market_log AS b WHERE b.log = market_log.log AND b.first < market_log.first
    ORDER BY b.first DESC LIMIT 1
) AS before
FROM market_log WHERE log = $1 AND first + events - 1 = ANY($2::bigint[]) ORDER BY first
"""


class StoredHistory:
    """Journals and market logs in a database.

    Args:
        archive: the folder of the archived days; None where there are none.
    """

    def __init__(self, scope: Scope, archive: Path | None = None) -> None:
        self.scope = scope
        self.archive = archive

    async def rows(self, account: AccountId, after_seq: int = 0) -> AsyncGenerator[JournalRow, None]:
        """Yield the account's rows above `after_seq` in order; holds a connection."""
        connection = await self.scope.connect()
        try:
            while True:
                page = await connection.fetch(_ROWS, account, after_seq, PAGE_ROWS)
                for row in page:
                    yield JournalRow._make(row)
                if len(page) < PAGE_ROWS:
                    return
                after_seq = page[-1]["seq"]
        finally:
            await connection.close()

    async def row_hash(self, account: AccountId, seq: int) -> bytes:
        """Return the hash of a row; the genesis hash for 0. Raises JournalCorruptError when there is no such row."""
        if seq == 0:
            return GENESIS
        query = sa.select(journal.c.hash).where(journal.c.account == account, journal.c.seq == seq)
        found = await self.scope.all(query)
        if not found:
            raise JournalCorruptError(account, seq, "a snapshot was taken after it, but the row is missing")
        return bytes(found[0].hash)

    async def blocks(self, log: str, after: int) -> AsyncGenerator[Block, None]:
        """Yield the blocks with events after a position, in order, archived days first; holds a connection.

        Raises:
            MarketLogCorruptError: when an archived file is not what was archived.
        """
        last = after
        for day in await archived_days(self.scope, log, after):
            for block in await asyncio.to_thread(day.read, self.archive):
                if block.last > last:
                    yield block
                    last = block.last
        connection = await self.scope.connect()
        try:
            first = await connection.fetchval(_CONTAINING, log, last + 1)
            seen = (first or 1) - 1
            while True:
                page = await connection.fetch(_BLOCKS, log, seen, PAGE_BLOCKS)
                for row in page:
                    block = Block(*row)
                    if block.last > last:
                        yield block
                    seen = block.first
                if len(page) < PAGE_BLOCKS:
                    return
        finally:
            await connection.close()

    async def hash_before(self, log: str, first: int) -> bytes:
        """Return the log's hash before a block. Raises MarketLogCorruptError when that is not to be had."""
        if first == 1:
            return GENESIS
        for day in await archived_days(self.scope, log, first - 2):
            if day.first == first:
                return day.before
            blocks = await asyncio.to_thread(day.read, self.archive)
            if found := next((b.hash for b in blocks if b.last == first - 1), None):
                return found
            break
        query = sa.select(market_log.c.hash).where(market_log.c.log == log, market_log.c.first < first)
        stored = await self.scope.all(query.order_by(market_log.c.first.desc()).limit(1))
        if not stored:
            raise MarketLogCorruptError(log, first - 1, "what was before is neither here nor archived")
        return bytes(stored[0].hash)

    async def hashes_at_ends(self, log: str, positions: Collection[int]) -> dict[int, bytes]:
        """Return the log's hash at positions at which a block ends, each block proven; others are left out.

        Raises:
            MarketLogCorruptError: when a block does not prove, or an archived file is not what was archived.
        """
        found = {0: GENESIS}
        for day in await archived_days(self.scope, log):
            if any(day.first <= pos <= day.last for pos in positions):
                before = day.before
                for block in await asyncio.to_thread(day.read, self.archive):
                    if block.last in positions:
                        LogChecker(log, Head(block.first - 1, before)).check(block)
                        found[block.last] = block.hash
                    before = block.hash
        connection = await self.scope.connect()
        try:
            for row in await connection.fetch(_ENDS, log, list(positions)):
                before, block = row["before"] or await self.hash_before(log, row["first"]), Block(*row[:7])
                LogChecker(log, Head(block.first - 1, before)).check(block)
                found[block.last] = block.hash
        finally:
            await connection.close()
        return found

    async def head(self, log: str) -> Head:
        """Return how far a log is written."""
        query = sa.select(market_heads.c.pos, market_heads.c.hash).where(market_heads.c.log == log)
        found = await self.scope.all(query)
        return Head(int(found[0].pos), bytes(found[0].hash)) if found else BEGINNING

    async def logs(self) -> list[str]:
        """Return the names of the logs."""
        return [row.log for row in await self.scope.all(sa.select(market_heads.c.log).order_by(market_heads.c.log))]
