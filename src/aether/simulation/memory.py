"""The database of a world (`aether.node.ports.Store`): what is committed stays, whatever becomes of who asked.

A commit is refused as PostgreSQL would refuse it: a row that is there, a market log that has gone on. Faults are those
of a database over a network: away, slow, done and the answer lost, not done and the answer lost, done late.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from aether.domain.errors import DatabaseUnavailableError, FencedError, JournalCorruptError, MarketLogCorruptError
from aether.domain.events import Bar, OperatorEvent
from aether.domain.identifiers import AccountId, FeedId
from aether.domain.records import EquityPoint
from aether.store.archive import Block
from aether.store.commit import Batch, Snapshot
from aether.store.journal import JournalRow
from aether.store.leases import Claim, Held, fenced
from aether.store.market_log import BEGINNING, GENESIS, Head
from aether.store.requests import Pending
from aether.store.statement import SNAPSHOTS_KEPT

COMMIT_S = (0.0005, 0.004)
LATE_S = 3.0


class Loss(StrEnum):
    """What becomes of a commit whose answer is lost."""

    DONE = "commit done, answer lost"
    NOT_DONE = "commit not done, answer lost"
    LATE = "commit done late, answer lost"


@dataclass
class _Lease:
    """The last lease of a log."""

    epoch: int
    holder: str
    until_s: float
    has_ended: bool = False


class MemoryStore:
    """Journals, market logs and requests in memory.

    Attributes:
        losses: what becomes of the next commits.
        is_away: nobody reaches it.
        slow_s: added to each commit.
        order_ids: of every order in a durable projection.
        happened: faults that took place.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  a world to be repeated exactly
        self.journal: dict[AccountId, list[JournalRow]] = {}
        self.log: dict[str, list[Block]] = {}
        self.kept: dict[AccountId, list[Snapshot]] = {}
        self.equity: dict[AccountId, EquityPoint] = {}
        self.asked: dict[int, Pending] = {}
        self.applied: dict[int, tuple[int, str]] = {}
        self.order_ids: set[str] = set()
        self.fills: Counter[tuple[str, str]] = Counter()
        self.leases: dict[str, _Lease] = {}
        self.losses: list[Loss] = []
        self.is_away = False
        self.slow_s = 0.0
        self.happened: Counter[str] = Counter()
        self._writers: dict[MemoryWriter, None] = {}
        self._lates: set[asyncio.Future[None]] = set()
        self.turn = asyncio.Lock()
        self._listeners: dict[Callable[[], None], None] = {}

    # What a node reads.

    async def rows(self, account: AccountId, after_seq: int = 0) -> AsyncGenerator[JournalRow, None]:
        """Yield an account's rows."""
        await self._reach()
        for row in list(self.journal.get(account, ())):
            if row.seq > after_seq:
                yield row

    async def row_hash(self, account: AccountId, seq: int) -> bytes:
        """Return the hash of a row."""
        await self._reach()
        rows = self.journal.get(account, [])
        if seq == 0:
            return GENESIS
        if seq > len(rows):
            raise JournalCorruptError(account, seq, "a snapshot was taken after it, but the row is missing")
        return rows[seq - 1].hash

    async def blocks(self, log: str, after: int) -> AsyncGenerator[Block, None]:
        """Yield the blocks with events after a position."""
        await self._reach()
        for block in list(self.log.get(log, ())):
            if block.last > after:
                yield block

    async def hash_before(self, log: str, first: int) -> bytes:
        """Return the log's hash before a block."""
        await self._reach()
        if first == 1:
            return GENESIS
        for block in self.log.get(log, ()):
            if block.last == first - 1:
                return block.hash
        raise MarketLogCorruptError(log, first - 1, "it is missing")

    async def head(self, log: str) -> Head:
        """Return how far a log is written."""
        await self._reach()
        return self.head_now(log)

    def head_now(self, log: str) -> Head:
        """The same at once."""
        blocks = self.log.get(log)
        return Head(blocks[-1].last, blocks[-1].hash) if blocks else BEGINNING

    async def snapshots(self, account: AccountId, until_seq: int) -> list[Snapshot]:
        """Return an account's snapshots, the newest first."""
        await self._reach()
        return [s for s in reversed(self.kept.get(account, [])) if s.seq <= until_seq]

    async def last_equity(self, account: AccountId) -> EquityPoint | None:
        """Return an account's last equity sample."""
        await self._reach()
        return self.equity.get(account)

    async def requests(self, accounts: Iterable[AccountId]) -> list[Pending]:
        """Return the requests that were not applied."""
        await self._reach()
        chosen = set(accounts)
        return [r for r in self.asked.values() if r.id not in self.applied and r.account in chosen]

    @asynccontextmanager
    async def announced(self, wake: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
        """Call `wake` at each new request."""
        await self._reach()
        self._listeners[wake] = None
        try:
            yield lambda: not self.is_away
        finally:
            self._listeners.pop(wake, None)

    async def write_bars(self, _feed: FeedId, _bars: list[Bar]) -> None:
        """Let them go: nobody looks at charts here."""
        await self._reach()

    async def writer(self) -> "MemoryWriter":
        """Return a connection that writes."""
        await self._reach()
        made = MemoryWriter(self)
        self._writers[made] = None
        return made

    # What people ask.

    def ask(self, account: AccountId, event: OperatorEvent) -> int:
        """Ask an account for something, as the API does."""
        number = len(self.asked) + 1
        self.asked[number] = Pending(number, account, msgspec.to_builtins(event))
        for wake in self._listeners:
            wake()
        return number

    # Who owns the accounts, by this machine's clock.

    def take_lease(self, log: str, holder: str, seconds: float) -> Claim:
        """Give a lease to who asks, unless another holds it."""
        now_s = asyncio.get_running_loop().time()
        last = self.leases.get(log)
        if last is not None and not last.has_ended and last.holder != holder and last.until_s > now_s:
            return Claim(last.epoch, last.holder, "", is_taken=False, reason="held")
        epoch = last.epoch + 1 if last else 1
        self.leases[log] = _Lease(epoch, holder, now_s + seconds)
        return Claim(epoch, holder, "", is_taken=True, reason="")

    def renew_lease(self, held: Held, seconds: float) -> bool:
        """Hold a lease for longer; return whether it is still theirs who ask."""
        if not self.is_valid(held):
            return False
        self.leases[held.log].until_s = asyncio.get_running_loop().time() + seconds
        return True

    def end_lease(self, held: Held) -> None:
        """End a lease."""
        if self.is_valid(held):
            self.leases[held.log].has_ended = True

    def is_valid(self, held: Held) -> bool:
        """Return whether nobody has taken a lease since."""
        last = self.leases.get(held.log)
        return last is not None and last.epoch == held.epoch and not last.has_ended

    # Faults.

    def go_away(self) -> None:
        """Let nobody reach it, and cut who is connected."""
        self.is_away = True
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        for writer in list(self._writers):
            writer.terminate()

    def forget(self, writer: "MemoryWriter") -> None:
        """Hear that a connection is gone."""
        self._writers.pop(writer, None)

    async def _reach(self) -> None:
        await asyncio.sleep(self.random.uniform(*COMMIT_S))
        if self.is_away:
            self.happened["database away"] += 1
            raise DatabaseUnavailableError("The database cannot be reached.", remedy="Wait.")

    # Commits.

    async def commit(
        self, writer: "MemoryWriter", batches: list[Batch], blocks: Sequence[Block], lease: Held | None
    ) -> None:
        """Write as PostgreSQL does: whole or not at all, and durable before it is told."""
        loss = self.losses.pop(0) if self.losses else None
        async with self.turn:
            await asyncio.sleep(self.random.uniform(*COMMIT_S) + self.slow_s)
            if writer.is_closed or self.is_away:
                raise ConnectionResetError("the connection is gone")
            if loss is None:
                self._apply(batches, blocks, lease)
                await asyncio.sleep(self.random.uniform(*COMMIT_S))
                if writer.is_closed:
                    raise ConnectionResetError("the connection is gone")
                return
        self.happened[loss] += 1
        writer.terminate()
        if loss is Loss.DONE:
            self._apply(batches, blocks, lease)
        elif loss is Loss.LATE:
            late = asyncio.ensure_future(self._late(batches, blocks, lease))
            self._lates.add(late)
            await asyncio.sleep(0)
        raise ConnectionResetError("the answer was lost")

    async def _late(self, batches: list[Batch], blocks: Sequence[Block], lease: Held | None) -> None:
        """Hold the rows that are written until it is done, as a transaction does."""
        async with self.turn:
            await asyncio.sleep(self.random.uniform(0, LATE_S))
            try:
                self._apply(batches, blocks, lease)
            except FencedError:
                self.happened["late commit refused"] += 1

    def _apply(self, batches: list[Batch], blocks: Sequence[Block], lease: Held | None) -> None:
        if lease is not None and not self.is_valid(lease):
            raise fenced(f"the lease {lease.epoch} of {lease.log} is over")
        if blocks and self.head_now(blocks[0].log).pos != blocks[0].first - 1:
            raise fenced("the market log has gone on")
        for batch in batches:
            if batch.rows and batch.rows[0].seq != len(self.journal.get(batch.account, ())) + 1:
                raise fenced("the journal has gone on")
        for block in blocks:
            self.log.setdefault(block.log, []).append(block)
        for batch in batches:
            self._take(batch)

    def _take(self, batch: Batch) -> None:
        account = batch.account
        self.journal.setdefault(account, []).extend(batch.rows)
        self.order_ids.update(str(row[1]) for row in batch.orders)
        self.fills.update((account, f"{row[5]} {row[2]}") for row in batch.fills)
        for number, seq, refusal in batch.applied:
            self.applied.setdefault(number, (seq, refusal))
        for row in batch.equity:
            names = EquityPoint.__struct_fields__
            self.equity[account] = EquityPoint(**dict(zip(names, row[1:], strict=True)))  # type: ignore[arg-type]
        if batch.snapshot is not None:
            kept = [s for s in self.kept.get(account, []) if s.seq != batch.snapshot.seq]
            self.kept[account] = [*kept, batch.snapshot][-SNAPSHOTS_KEPT:]


class MemoryWriter:
    """A connection that writes."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.is_closed = False

    async def commit(
        self, batches: list[Batch], blocks: Sequence[Block], _days: Iterable[int], lease: Held | None
    ) -> None:
        """Write in one statement."""
        await self._store.commit(self, batches, blocks, lease)

    async def holds(self, batch: Batch) -> bool:
        """Return whether a batch is there."""
        await self._asked()
        rows = self._store.journal.get(batch.account, [])
        if not batch.rows or len(rows) < batch.rows[-1].seq:
            return False
        return rows[batch.rows[-1].seq - 1].hash == batch.rows[-1].hash

    async def head(self, log: str) -> Head:
        """Return how far a log is written."""
        await self._asked()
        return self._store.head_now(log)

    async def take_lease(self, log: str, holder: str, seconds: float) -> Claim:
        """Ask for the lease of a market's accounts."""
        async with self._store.turn:
            await self._asked()
            return self._store.take_lease(log, holder, seconds)

    async def renew_lease(self, held: Held, seconds: float) -> bool:
        """Hold a lease for so long from now; return whether it is still ours."""
        async with self._store.turn:
            await self._asked()
            return self._store.renew_lease(held, seconds)

    async def give_back_lease(self, held: Held) -> None:
        """End a lease."""
        async with self._store.turn:
            await self._asked()
            self._store.end_lease(held)

    async def _asked(self) -> None:
        await asyncio.sleep(self._store.random.uniform(*COMMIT_S))
        if self.is_closed or self._store.is_away:
            raise ConnectionResetError("the connection is gone")

    def terminate(self) -> None:
        """Cut the connection."""
        self.is_closed = True
        self._store.forget(self)
