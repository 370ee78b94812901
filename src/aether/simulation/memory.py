"""The database of a world (`aether.node.ports.Store`): what is committed stays, whatever becomes of who asked.

A commit is refused as PostgreSQL would refuse it: a row that is there, a market log that has gone on. Faults are those
of a database over a network: away, slow, done and the answer lost, not done and the answer lost, done late.
"""

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import asyncpg
import msgspec

from aether.domain.errors import DatabaseUnavailableError, FencedError, JournalCorruptError, MarketLogCorruptError
from aether.domain.events import Bar, LimitsChanged, OperatorEvent
from aether.domain.identifiers import AccountId, FeedId
from aether.domain.records import EquityPoint
from aether.simulation.firm import LIMITS
from aether.simulation.process import Process, current
from aether.store.archive import Block
from aether.store.commit import Batch, Snapshot
from aether.store.journal import JournalRow
from aether.store.leases import Claim, Held, fenced
from aether.store.market_log import BEGINNING, GENESIS, Head
from aether.store.queries import OPEN_STATES
from aether.store.requests import Pending
from aether.store.statement import SNAPSHOTS_KEPT

T = TypeVar("T")

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
    before: "_Lease | None" = None

    def may_arrive(self, epoch: int, now_s: float) -> bool:
        """Return whether an order of an owner may arrive now: the present one's, or, within the time that it was given,
        one of an owner on the same platform, which was started again: it knows of it and asks for its fate.
        """
        lease: _Lease | None = self
        while lease is not None and lease.epoch != epoch:
            lease = lease.before
        return lease is self or (lease is not None and lease.holder == self.holder and now_s <= lease.until_s)


class MemoryStore:
    """Journals, market logs and requests in memory.

    Attributes:
        losses: what becomes of the next commits.
        is_away: nobody reaches it.
        is_full: it takes no more.
        slow_s: added to each commit.
        order_epochs: of every order in a durable projection, by its id: who owned the account then.
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
        self.order_epochs: dict[str, int] = {}
        self.ended: set[str] = set()
        """Orders that accounts were told are over."""
        self.locked: dict[tuple[AccountId, str], int] = {}
        """What a balance has locked for orders."""
        self.stopped: dict[AccountId, set[str]] = {}
        """Venues at which a journal says that an account is stopped; an empty name for all of them."""
        self.on_wrong: Callable[[str], None] = lambda _text: None
        """Called when something durable should not be."""
        self.order_seqs: dict[str, tuple[int, int]] = {}
        """Of every order, by its id, the first and the last row of the batch with which it became durable."""
        self.position_bps: dict[AccountId, list[tuple[int, int]]] = {}
        """Of every account the limits of its positions since a row, the first from its plan."""
        self.fills: Counter[tuple[str, str]] = Counter()
        self.leases: dict[str, _Lease] = {}
        self.losses: list[Loss] = []
        self.is_away = False
        self.is_full = False
        self.slow_s = 0.0
        self.happened: Counter[str] = Counter()
        self._writers: dict[MemoryWriter, None] = {}
        self._serving: set[asyncio.Future[Any]] = set()
        self._context = contextvars.copy_context()
        """It is a machine of its own: what it has begun it ends, whoever asked may be gone."""
        self.after_order: Callable[[Process | None], None] = lambda _process: None
        """Called when a commit with a new order is done, before who asked can hear of it."""
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
            return Claim(last.epoch, last.holder, "", is_taken=False, reason="held", left_s=last.until_s - now_s)
        epoch = last.epoch + 1 if last else 1
        self.leases[log] = _Lease(epoch, holder, now_s + seconds, before=last)
        return Claim(epoch, holder, "", is_taken=True, reason="", left_s=seconds)

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

    def cut(self, process: Process | None = None) -> None:
        """Cut every connection, or those of a process."""
        for writer in list(self._writers):
            if process is None or writer.process is process:
                writer.terminate()

    def forget(self, writer: "MemoryWriter") -> None:
        """Hear that a connection is gone."""
        self._writers.pop(writer, None)

    async def way(self) -> None:
        """Pass the network once: a process whose wire is cut waits, and is told nothing; a dead one gets nowhere."""
        process = current()
        if process is not None:
            await process.wire.wait()
            if process.is_dead:
                raise ConnectionResetError("the process is gone")

    async def _reach(self) -> None:
        await self.way()
        await asyncio.sleep(self.random.uniform(*COMMIT_S))
        if self.is_away:
            self.happened["database away"] += 1
            raise DatabaseUnavailableError("The database cannot be reached.", remedy="Wait.")

    # Commits.

    async def commit(
        self, writer: "MemoryWriter", batches: list[Batch], blocks: Sequence[Block], lease: Held | None
    ) -> None:
        """Write as PostgreSQL does: whole or not at all, and durable before it is told."""
        await self.serve(lambda: self._commit(writer, batches, blocks, lease))

    async def serve(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Have something done here, over the network and back: it is done, whatever becomes of who asked."""
        await self.way()
        serving = asyncio.get_running_loop().create_task(work(), context=self._context.copy())
        self._serving.add(serving)
        serving.add_done_callback(self._served)
        found = await asyncio.shield(serving)
        await self.way()
        return found

    def _served(self, serving: "asyncio.Future[Any]") -> None:
        self._serving.discard(serving)
        if not serving.cancelled():
            serving.exception()  # whoever asked may not hear of it

    async def _commit(
        self, writer: "MemoryWriter", batches: list[Batch], blocks: Sequence[Block], lease: Held | None
    ) -> None:
        loss = self.losses.pop(0) if self.losses else None
        async with self.turn:
            await asyncio.sleep(self.random.uniform(*COMMIT_S) + self.slow_s)
            if writer.is_closed or self.is_away:
                raise ConnectionResetError("the connection is gone")
            if self.is_full:
                self.happened["commit refused: disk full"] += 1
                raise asyncpg.DiskFullError("could not extend file: no space left on device")
            if loss is None:
                known = len(self.order_epochs)
                self._apply(batches, blocks, lease)
                if len(self.order_epochs) > known:
                    self.after_order(writer.process)
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
            self._serving.add(late)
            late.add_done_callback(self._served)
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
            self._take(batch, lease)

    def position_limit(self, account: AccountId, order: str) -> int:
        """Return the limit of the account's positions when an order was decided, in basis points of its worth: the
        widest of those of its batch.
        """
        first, last = self.order_seqs[order]
        told = self.position_bps.get(account, [])
        before = [bps for seq, bps in told if seq < first]
        meanwhile = [bps for seq, bps in told if first <= seq <= last]
        return max([before[-1] if before else LIMITS.max_position_bps, *meanwhile])

    def _note_row(self, account: AccountId, row: JournalRow) -> None:
        """Read a stop, a release or another limit off a row."""
        stopped = self.stopped.setdefault(account, set())
        if row.kind == "KillSwitchEngaged":
            stopped.add("")
        elif row.kind == "KillSwitchReleased":
            stopped.discard("")
        elif row.kind == "VenueStopped":
            stopped.add(msgspec.json.decode(row.payload)["venue"])
        elif row.kind == "VenueReleased":
            stopped.discard(msgspec.json.decode(row.payload)["venue"])
        elif row.kind == "LimitsChanged":
            told = msgspec.json.decode(row.payload, type=LimitsChanged)
            self.position_bps.setdefault(account, []).append((row.seq, told.limits.max_position_bps))

    def _take(self, batch: Batch, lease: Held | None) -> None:
        account = batch.account
        for row in batch.rows:
            if lease is not None and row.epoch not in (None, lease.epoch):
                self.on_wrong(f"{account}: row {row.seq} names owner {row.epoch}, owner {lease.epoch} wrote it")
            self._note_row(account, row)
        self.journal.setdefault(account, []).extend(batch.rows)
        for order in batch.orders:
            is_new = str(order[1]) not in self.order_epochs
            if order[9] not in OPEN_STATES:
                self.ended.add(str(order[1]))
            self.order_epochs.setdefault(str(order[1]), int(str(order[-1])))
            last = len(self.journal[account])
            self.order_seqs.setdefault(str(order[1]), (last - len(batch.rows) + 1, last))
            if is_new and (order[7], order[9]) == ("entry", "submitted"):
                under = self.stopped.get(account, set()) & {"", str(order[3]).partition(":")[0]}
                for venue in sorted(under):
                    what = f"a stop of {venue}" if venue else "a kill"
                    self.on_wrong(f"{account}: entry {order[1]} was decided under {what}")
        self.fills.update((account, f"{row[5]} {row[2]}") for row in batch.fills)
        for balance in batch.balances:
            self.locked[account, str(balance[1])] = int(str(balance[3]))
        for rows in (batch.rows, batch.orders, batch.fills, batch.positions, batch.balances):
            if strangers := {str(row[0]) for row in rows} - {account}:
                self.on_wrong(f"{account} writes rows of {', '.join(sorted(strangers))}")
        for number, seq, refusal in batch.applied:
            self.applied.setdefault(number, (seq, refusal))
        for sample in batch.equity:
            names = EquityPoint.__struct_fields__
            self.equity[account] = EquityPoint(**dict(zip(names, sample[1:], strict=True)))  # type: ignore[arg-type]
        if batch.snapshot is not None:
            kept = [s for s in self.kept.get(account, []) if s.seq != batch.snapshot.seq]
            self.kept[account] = [*kept, batch.snapshot][-SNAPSHOTS_KEPT:]


class MemoryWriter:
    """A connection that writes."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.process = current()
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
        return await self._store.serve(lambda: self._in_turn(lambda: self._store.take_lease(log, holder, seconds)))

    async def renew_lease(self, held: Held, seconds: float) -> bool:
        """Hold a lease for so long from now; return whether it is still ours."""
        return await self._store.serve(lambda: self._in_turn(lambda: self._store.renew_lease(held, seconds)))

    async def give_back_lease(self, held: Held) -> None:
        """End a lease."""
        await self._store.serve(lambda: self._in_turn(lambda: self._store.end_lease(held)))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        async with self._store.turn:
            await self._asked()
            return work()

    async def _asked(self) -> None:
        await self._store.way()
        await asyncio.sleep(self._store.random.uniform(*COMMIT_S))
        if self.is_closed or self._store.is_away:
            raise ConnectionResetError("the connection is gone")

    def terminate(self) -> None:
        """Cut the connection."""
        self.is_closed = True
        self._store.forget(self)
