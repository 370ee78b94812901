"""The write-ahead journal: every input of an account, in order, each row chained to the one before.

`(account, seq)` is the primary key, so a second writer with a stale sequence fails at once: the key is the fencing
token. The hash of a row is

    SHA-256(hash of the row before || "account|seq|ts_ns|kind|" || payload || "|" || decided)

with 32 zero bytes before the first row, so that anyone with SQL and SHA-256 can check it. `decided` is a digest of what
the engine decided on the row (`engine/step.py`), empty when that was nothing; rows of before there were digests have
NULL there, and their hash ends with the payload.
"""

import hashlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from aether.domain.errors import JournalCorruptError
from aether.domain.events import Event, decode_event
from aether.domain.identifiers import AccountId
from aether.store.database import Scope
from aether.store.schema import journal

GENESIS = bytes(32)
PAGE_ROWS = 2_000


class JournalRow(NamedTuple):
    """One journal row as stored."""

    account: AccountId
    seq: int
    ts_ns: int
    kind: str
    payload: bytes
    hash: bytes
    decided: bytes | None = None


def row_hash(
    previous: bytes, account: str, seq: int, ts_ns: int, kind: str, payload: bytes, decided: bytes | None
) -> bytes:
    """Return the hash that a row must carry."""
    tail = b"" if decided is None else b"|" + decided
    return hashlib.sha256(previous + f"{account}|{seq}|{ts_ns}|{kind}|".encode() + payload + tail).digest()


Page = Iterable[JournalRow]

_PAGE = """
SELECT account, seq, ts_ns, kind, payload, hash, decided FROM journal WHERE account = $1 AND seq > $2
ORDER BY seq LIMIT $3
"""


async def read_pages(scope: Scope, account: AccountId, after_seq: int = 0) -> AsyncGenerator[Page, None]:
    """Yield the account's rows above `after_seq` in order, a page at a time.

    It holds a connection: whoever may leave it early closes it (`contextlib.aclosing`).
    """
    connection = await scope.connect()
    try:
        while True:
            page = await connection.fetch(_PAGE, account, after_seq, PAGE_ROWS)
            if page:
                yield map(JournalRow._make, page)
            if len(page) < PAGE_ROWS:
                return
            after_seq = page[-1]["seq"]
    finally:
        await connection.close()


class ChainChecker:
    """Follows a journal and proves each row.

    Args:
        account: whose journal it is.
        seq, hash: of the last row that is taken as proven; the beginning by default.
    """

    def __init__(self, account: AccountId, seq: int = 0, hash_: bytes = GENESIS) -> None:
        self._account = account
        self.seq = seq
        self.hash = hash_

    def check(self, row: JournalRow) -> Event:
        """Return the row's event after proving it.

        Raises:
            JournalCorruptError: naming the row's sequence, when it is missing, altered or unreadable.
        """
        if row.seq != self.seq + 1:
            raise JournalCorruptError(self._account, self.seq + 1, f"row {self.seq + 1} is missing")
        wanted = row_hash(self.hash, row.account, row.seq, row.ts_ns, row.kind, row.payload, row.decided)
        if wanted != row.hash:
            raise JournalCorruptError(self._account, row.seq, "its hash does not match its content and predecessor")
        try:
            event = decode_event(row.payload)
        except msgspec.DecodeError as error:
            raise JournalCorruptError(self._account, row.seq, f"its payload cannot be read ({error})") from error
        self.seq, self.hash = row.seq, row.hash
        return event


async def verify(scope: Scope, account: AccountId) -> int:
    """Check the whole chain of an account; return how many rows it has.

    Raises:
        JournalCorruptError: naming the first bad sequence.
    """
    checker = ChainChecker(account)
    async with aclosing(read_pages(scope, account)) as pages:
        async for page in pages:
            for row in page:
                checker.check(row)
    return checker.seq


async def head_hash(scope: Scope, account: AccountId, seq: int) -> bytes:
    """Return the hash of row `seq`; the genesis hash for 0.

    Raises:
        JournalCorruptError: when there is no such row.
    """
    if seq == 0:
        return GENESIS
    query = sa.select(journal.c.hash).where(journal.c.account == account, journal.c.seq == seq)
    found = await scope.all(query)
    if not found:
        raise JournalCorruptError(account, seq, "a snapshot was taken after it, but the row is missing")
    return bytes(found[0].hash)
