"""The market log: every event that a node's market told, in one order, written once for all its accounts.

Events have positions from 1 on and are chained: the hash of an event is

    SHA-256(hash of the event before || "pos|" || payload)

with 32 zero bytes before the first, `payload` being the event's journal form. A row of the table is a block: the events
of one commit, one a line, with the hash of the last. A log has one writer: `market_heads` moves on only from where that
writer left it. Blocks lie in partitions by the day (UTC) on which they were written; old days move to Parquet files
(`archive.py`), which prove as much.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import asyncpg
import msgspec
import sqlalchemy as sa

from aether.domain.errors import FencedError, MarketLogCorruptError
from aether.domain.events import LogEvent, decode_logged
from aether.store.archive import Block, archived_days
from aether.store.database import Scope
from aether.store.schema import market_heads

GENESIS = bytes(32)
PAGE_BLOCKS = 200
JUMP = 20_000
"""Events that are sooner read than left out."""


class Logged(NamedTuple):
    """An event at its position, with the log's hash there."""

    pos: int
    event: LogEvent
    hash: bytes


class Head(NamedTuple):
    """The last position of a log, and its hash there."""

    pos: int
    hash: bytes


BEGINNING = Head(0, GENESIS)


def event_hash(previous: bytes, pos: int, payload: bytes) -> bytes:
    """Return the hash that the log has after an event."""
    return hashlib.sha256(previous + b"%d|" % pos + payload).digest()


def block_of(log: str, day: int, logged: Sequence[tuple[Logged, bytes]]) -> Block:
    """Return the block of some events and their journal forms, which follow each other."""
    (first, _), (last, _) = logged[0], logged[-1]
    payload = b"\n".join(encoded for _, encoded in logged)
    return Block(log, day, first.pos, len(logged), last.event.ts_ns, payload, last.hash)


class LogChecker:
    """Follows a log and proves each block.

    Args:
        head: up to where it is taken as proven.
    """

    def __init__(self, log: str, head: Head = BEGINNING) -> None:
        self.log = log
        self.pos, self.hash = head

    def check(self, block: Block) -> list[Logged]:
        """Return a block's events after proving them.

        Raises:
            MarketLogCorruptError: naming the first bad position, as far as that can be told.
        """
        if block.first != self.pos + 1:
            raise MarketLogCorruptError(self.log, self.pos + 1, f"position {self.pos + 1} is missing")
        found = []
        for payload in block.payload.split(b"\n"):
            self.pos += 1
            self.hash = event_hash(self.hash, self.pos, payload)
            try:
                event = decode_logged(payload)
            except msgspec.DecodeError as error:
                raise MarketLogCorruptError(self.log, self.pos, f"it cannot be read ({error})") from error
            found.append(Logged(self.pos, event, self.hash))
        if len(found) != block.events or self.hash != block.hash:
            whole = f"the hash after {block.last} does not match what stands from here on and before"
            raise MarketLogCorruptError(self.log, block.first, whole)
        return found


_PAGE = """
SELECT log, day, first, events, ts_ns, payload, hash FROM market_log
WHERE log = $1 AND first > $2 ORDER BY first LIMIT $3
"""
_CONTAINING = "SELECT first FROM market_log WHERE log = $1 AND first <= $2 ORDER BY first DESC LIMIT 1"
_BEFORE = "SELECT hash FROM market_log WHERE log = $1 AND first < $2 ORDER BY first DESC LIMIT 1"


async def read_blocks(scope: Scope, archive: Path | None, log: str, after: int) -> AsyncGenerator[Block, None]:
    """Yield the blocks with events after a position, in order: archived days first.

    It holds a connection: whoever may leave it early closes it (`contextlib.aclosing`).

    Args:
        archive: the folder of the archived days.

    Raises:
        MarketLogCorruptError: when an archived file is not what was archived.
    """
    last = after
    for day in await archived_days(scope, log, after):
        for block in await asyncio.to_thread(day.read, archive):
            if block.last > last:
                yield block
                last = block.last
    connection = await scope.connect()
    try:
        first = await connection.fetchval(_CONTAINING, log, last + 1)
        seen = (first or 1) - 1
        while True:
            page = await connection.fetch(_PAGE, log, seen, PAGE_BLOCKS)
            for row in page:
                block = Block(*row)
                if block.last > last:
                    yield block
                seen = block.first
            if len(page) < PAGE_BLOCKS:
                return
    finally:
        await connection.close()


async def hash_before(scope: Scope, archive: Path | None, log: str, first: int) -> bytes:
    """Return the log's hash before a block. Raises MarketLogCorruptError when that is not to be had."""
    if first == 1:
        return GENESIS
    for day in await archived_days(scope, log, first - 2):
        if day.first == first:
            return day.before
        blocks = await asyncio.to_thread(day.read, archive)
        if found := next((b.hash for b in blocks if b.last == first - 1), None):
            return found
        break
    connection = await scope.connect()
    try:
        stored = await connection.fetchval(_BEFORE, log, first)
    finally:
        await connection.close()
    if stored is None:
        raise MarketLogCorruptError(log, first - 1, "what was before is neither here nor archived")
    return bytes(stored)


class LogReader:
    """Reads a log forward and proves what it reads.

    Args:
        archive: the folder of the archived days.
        after: the position that was taken last.
    """

    def __init__(self, scope: Scope, archive: Path | None, log: str, after: int) -> None:
        self._scope = scope
        self._archive = archive
        self.log = log
        self.pos = after
        self._ahead: deque[Logged] = deque()
        self._hash: bytes | None = None
        self._blocks: AsyncGenerator[Block, None] | None = None
        self._checker: LogChecker | None = None

    async def next(self) -> Logged | None:
        """Return the next event; None at the end of what is written."""
        if not self._ahead and not await self._fetch():
            return None
        taken = self._ahead.popleft()
        self.pos, self._hash = taken.pos, taken.hash
        return taken

    async def hash(self) -> bytes:
        """Return the log's hash at its position."""
        if self._hash is None:
            self._hash = await self._hash_at(self.pos)
        return self._hash

    async def hash_at(self, pos: int) -> bytes:
        """Go on to a position and return the log's hash there; what is between is read only where it is near."""
        if pos > self.pos + JUMP:
            await self.close()
            self.pos, self._hash, self._checker = pos, None, None
            self._ahead.clear()
        while self.pos < pos:
            if await self.next() is None:
                raise MarketLogCorruptError(self.log, self.pos + 1, f"position {self.pos + 1} is missing")
        return await self.hash()

    async def ahead(self, until: int) -> Sequence[Logged]:
        """Return the events up to a position without taking them."""
        while not self._ahead or self._ahead[-1].pos < until:
            if not await self._fetch():
                break
        return [one for one in self._ahead if one.pos <= until]

    async def close(self) -> None:
        """Let go of the database."""
        if self._blocks is not None:
            await self._blocks.aclose()
            self._blocks = None

    async def _hash_at(self, pos: int) -> bytes:
        if pos == 0:
            return GENESIS
        async with aclosing(read_blocks(self._scope, self._archive, self.log, pos - 1)) as blocks:
            async for block in blocks:
                before = await hash_before(self._scope, self._archive, self.log, block.first)
                for one in LogChecker(self.log, Head(block.first - 1, before)).check(block):
                    if one.pos == pos:
                        return one.hash
                break
        raise MarketLogCorruptError(self.log, pos, f"position {pos} is missing")

    async def _fetch(self) -> bool:
        if self._blocks is None:
            seen = self._ahead[-1].pos if self._ahead else self.pos
            self._blocks = read_blocks(self._scope, self._archive, self.log, seen)
        async for block in self._blocks:
            if self._checker is None:
                before = await hash_before(self._scope, self._archive, self.log, block.first)
                self._checker = LogChecker(self.log, Head(block.first - 1, before))
            self._ahead += [one for one in self._checker.check(block) if one.pos > self.pos]
            return True
        self._blocks = None
        return False


async def read_head(scope: Scope, log: str) -> Head:
    """Return how far a log is written."""
    query = sa.select(market_heads.c.pos, market_heads.c.hash).where(market_heads.c.log == log)
    found = await scope.all(query)
    return Head(int(found[0].pos), bytes(found[0].hash)) if found else BEGINNING


async def list_logs(scope: Scope) -> list[str]:
    """Return the names of the logs."""
    return [row.log for row in await scope.all(sa.select(market_heads.c.log).order_by(market_heads.c.log))]


async def verify_log(scope: Scope, archive: Path | None, log: str) -> int:
    """Prove a log from its first position to its head; return how many events it has.

    Raises:
        MarketLogCorruptError: naming the first bad position.
    """
    head = await read_head(scope, log)
    checker = LogChecker(log)
    async with aclosing(read_blocks(scope, archive, log, 0)) as blocks:
        async for block in blocks:
            checker.check(block)
            if checker.pos == head.pos and checker.hash != head.hash:
                raise MarketLogCorruptError(log, head.pos, "its head was left with another hash")
    if head.pos > checker.pos:
        raise MarketLogCorruptError(log, checker.pos + 1, f"position {checker.pos + 1} is missing")
    return checker.pos


_MOVE_HEAD = """
INSERT INTO market_heads (log, pos, hash) VALUES ($1, $3, $4)
ON CONFLICT (log) DO UPDATE SET pos = excluded.pos, hash = excluded.hash WHERE market_heads.pos = $2
RETURNING pos
"""
_INSERT_BLOCKS = (
    "INSERT INTO market_log SELECT * FROM "
    "unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[])"
)


async def write_blocks(connection: asyncpg.Connection, blocks: Sequence[Block], days: Iterable[int]) -> None:
    """Write blocks that follow the log's head, in the transaction at hand.

    Args:
        days: those of them that may be new.

    Raises:
        FencedError: when the log has gone on without this writer.
    """
    first, last = blocks[0], blocks[-1]
    if await connection.fetchval(_MOVE_HEAD, first.log, first.first - 1, last.last, last.hash) is None:
        raise FencedError(
            f"The market log {first.log} was written by another process from position {first.first} on.",
            remedy="Stop this process: another one trades this market's accounts.",
        )
    for day in days:
        await connection.execute("SELECT open_market_day($1)", day)
    await connection.execute(_INSERT_BLOCKS, *zip(*blocks, strict=True))


async def head_of(connection: asyncpg.Connection, log: str) -> Head:
    """Return how far a log is written, as `read_head`."""
    found = await connection.fetchrow("SELECT pos, hash FROM market_heads WHERE log = $1", log)
    return Head(found["pos"], bytes(found["hash"])) if found else BEGINNING
