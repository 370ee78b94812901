"""The write-ahead journal: every input and every decision of an account, in order, each row chained to the one before.

What the market told stands in the market log (`market_log.py`); a row of an account says at which position of it the
account was, and is chained over the log's hash there. A market event has a row of its own only when the account decided
something on it; its payload is empty, since the log holds it, unless the account took it otherwise (a strategy failed).

`(account, seq)` is the primary key, so a second writer with a stale sequence fails at once: the key is the fencing
token. The hash of a row is

    SHA-256(hash of the row before || "account|seq|ts_ns|kind|" || payload || "|" || decided || "|epoch|market|" || log)

with 32 zero bytes before the first row, so that anyone with SQL and SHA-256 can check it. `decided` is a digest of what
the engine decided on the row (`engine/step.py`), empty when that was nothing; `epoch` is that of the owner's lease,
`log` the hash of the market log at position `market`. Rows of before the account followed a log have NULL for `market`,
and their hash ends with `decided`; rows of before there were digests have NULL there too, and theirs ends with the
payload.
"""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple, Protocol

import msgspec

from aether.domain.errors import JournalCorruptError
from aether.domain.events import LOG_EVENTS, EngineFaulted, Event, MarketFollowed, as_given, decode_event
from aether.domain.identifiers import AccountId
from aether.store.market_log import GENESIS, LogReader, MarketHistory

_LOG_KINDS = frozenset(kind.__name__ for kind in LOG_EVENTS)


class JournalRow(NamedTuple):
    """One journal row as stored."""

    account: AccountId
    seq: int
    ts_ns: int
    kind: str
    payload: bytes
    hash: bytes
    decided: bytes | None = None
    market: int | None = None
    epoch: int | None = None


def row_hash(previous: bytes, row: JournalRow, log_hash: bytes | None) -> bytes:
    """Return the hash that a row must carry.

    Args:
        log_hash: of the market log at the row's position; None for a row without one.
    """
    tail = b"" if row.decided is None else b"|" + row.decided
    if log_hash is not None:
        tail += f"|{row.epoch}|{row.market}|".encode() + log_hash
    head = f"{row.account}|{row.seq}|{row.ts_ns}|{row.kind}|".encode()
    return hashlib.sha256(previous + head + row.payload + tail).digest()


class History(MarketHistory, Protocol):
    """What is kept of journals and market logs."""

    def rows(self, account: AccountId, after_seq: int = 0) -> AsyncGenerator[JournalRow, None]:
        """Yield the account's rows above `after_seq` in order; may hold a connection, as `blocks`."""
        ...

    async def row_hash(self, account: AccountId, seq: int) -> bytes:
        """Return the hash of a row; the genesis hash for 0. Raises JournalCorruptError when there is no such row."""
        ...


class ChainChecker:
    """Follows a journal and proves each row.

    Args:
        account: whose journal it is.
        seq, hash: of the last row that is taken as proven; the beginning by default.
    """

    def __init__(self, account: AccountId, seq: int = 0, hash_: bytes = GENESIS) -> None:
        self.account = account
        self.seq = seq
        self.hash = hash_

    def check(self, row: JournalRow, log_hash: bytes | None = None) -> Event | None:
        """Return the row's event after proving it; None where the market log holds it.

        Raises:
            JournalCorruptError: naming the row's sequence, when it is missing, altered or unreadable.
        """
        if row.seq != self.seq + 1:
            raise JournalCorruptError(self.account, self.seq + 1, f"row {self.seq + 1} is missing")
        if row_hash(self.hash, row, log_hash) != row.hash:
            raise JournalCorruptError(self.account, row.seq, "its hash does not match its content and predecessor")
        event = None if is_in_log(row) and not row.payload else self.read(row)
        self.seq, self.hash = row.seq, row.hash
        return event

    def read(self, row: JournalRow) -> Event:
        """Return what stands in a row. Raises JournalCorruptError when that cannot be read."""
        try:
            return decode_event(row.payload)
        except msgspec.DecodeError as error:
            raise JournalCorruptError(self.account, row.seq, f"its payload cannot be read ({error})") from error


def is_in_log(row: JournalRow) -> bool:
    """Return whether a row is about the event at its position of the market log, and not an input of its own."""
    if row.market is None:
        return False
    if row.kind == EngineFaulted.__name__:
        return isinstance(as_given(decode_event(row.payload)), LOG_EVENTS)
    return row.kind in _LOG_KINDS


async def verify(history: History, account: AccountId) -> int:
    """Check the whole chain of an account; return how many rows it has.

    The market log's own chain is another matter (`market_log.verify_log`); its blocks that rows refer to are proven.

    Raises:
        JournalCorruptError: naming the first bad sequence.
        MarketLogCorruptError: naming the first bad position that a row refers to.
    """
    checker = ChainChecker(account)
    reader: LogReader | None = None
    try:
        async with aclosing(history.rows(account)) as rows:
            async for row in rows:
                if row.kind == MarketFollowed.__name__ and row.market is not None:
                    if reader is not None:
                        await reader.close()
                    reader = followed(history, checker, row)
                checker.check(row, await _hash_at(reader, checker, row))
    finally:
        if reader is not None:
            await reader.close()
    return checker.seq


def followed(history: History, checker: ChainChecker, row: JournalRow) -> LogReader:
    """Return a reader of the log that an account follows from a row on. Raises JournalCorruptError."""
    event = checker.read(row)
    if not isinstance(event, MarketFollowed) or event.after != row.market:
        raise JournalCorruptError(row.account, row.seq, "it names no market log and position that fit")
    return LogReader(history, event.log, event.after)


async def _hash_at(reader: LogReader | None, checker: ChainChecker, row: JournalRow) -> bytes | None:
    """Return the log's hash at a row's position; None for a row without one."""
    if row.market is None:
        return None
    if reader is None or row.market < reader.pos:
        raise JournalCorruptError(row.account, checker.seq + 1, f"it goes back to position {row.market} of the market")
    return await reader.hash_at(row.market)
