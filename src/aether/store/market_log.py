"""The market log: every event that a node's market told, in one order, written once for all its accounts.

Events have positions from 1 on and are chained: the hash of an event is

    SHA-256(hash of the event before || "pos|" || payload)

with 32 zero bytes before the first, `payload` being the event's journal form. A row of the table is a block: the events
of one commit, one a line, with the hash of the last. A log has one writer: `market_heads` moves on only from where that
writer left it. Blocks lie in partitions by the day (UTC) on which they were written; old days move to Parquet files
(`archive.py`), which prove as much.
"""

import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple, Protocol

import asyncpg
import msgspec

from aether.domain.errors import MarketLogCorruptError
from aether.domain.events import LogEvent, decode_logged
from aether.store.archive import Block

GENESIS = bytes(32)
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


class MarketHistory(Protocol):
    """What is kept of market logs."""

    def blocks(self, log: str, after: int) -> AsyncGenerator[Block, None]:
        """Yield the blocks with events after a position, in order.

        It may hold a connection: whoever may leave it early closes it (`contextlib.aclosing`).
        """
        ...

    async def hash_before(self, log: str, first: int) -> bytes:
        """Return the log's hash before a block. Raises MarketLogCorruptError when that is not to be had."""
        ...

    async def head(self, log: str) -> Head:
        """Return how far a log is written."""
        ...


class LogReader:
    """Reads a log forward and proves what it reads.

    Args:
        after: the position that was taken last.
    """

    def __init__(self, history: MarketHistory, log: str, after: int) -> None:
        self._history = history
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
        async with aclosing(self._history.blocks(self.log, pos - 1)) as blocks:
            async for block in blocks:
                before = await self._history.hash_before(self.log, block.first)
                for one in LogChecker(self.log, Head(block.first - 1, before)).check(block):
                    if one.pos == pos:
                        return one.hash
                break
        raise MarketLogCorruptError(self.log, pos, f"position {pos} is missing")

    async def _fetch(self) -> bool:
        is_fresh = self._blocks is None
        if self._blocks is None:
            seen = self._ahead[-1].pos if self._ahead else self.pos
            self._blocks = self._history.blocks(self.log, seen)
        async for block in self._blocks:
            if self._checker is None:
                before = await self._history.hash_before(self.log, block.first)
                self._checker = LogChecker(self.log, Head(block.first - 1, before))
            self._ahead += [one for one in self._checker.check(block) if one.pos > self.pos]
            return True
        self._blocks = None
        return not is_fresh and await self._fetch()  # more may have been written since it was asked


async def verify_log(history: MarketHistory, log: str) -> int:
    """Prove a log from its first position to its head; return how many events it has.

    Raises:
        MarketLogCorruptError: naming the first bad position.
    """
    head = await history.head(log)
    checker = LogChecker(log)
    async with aclosing(history.blocks(log, 0)) as blocks:
        async for block in blocks:
            checker.check(block)
            if checker.pos == head.pos and checker.hash != head.hash:
                raise MarketLogCorruptError(log, head.pos, "its head was left with another hash")
    if head.pos > checker.pos:
        raise MarketLogCorruptError(log, checker.pos + 1, f"position {checker.pos + 1} is missing")
    return checker.pos


async def head_of(connection: asyncpg.Connection, log: str) -> Head:
    """Return how far a log is written."""
    found = await connection.fetchrow("SELECT pos, hash FROM market_heads WHERE log = $1", log)
    return Head(found["pos"], bytes(found["hash"])) if found else BEGINNING
