"""The database as a node uses it (`aether.node.ports.Store`): a connection that writes, and what a start reads."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import asyncpg
import sqlalchemy as sa

from aether.domain.events import Bar
from aether.domain.identifiers import AccountId, FeedId
from aether.domain.records import EquityPoint
from aether.store import queries
from aether.store.archive import Block
from aether.store.commit import Batch, Snapshot, commit, was_committed, write_bars
from aether.store.history import StoredHistory
from aether.store.leases import Claim, Held, give_back, renew, take
from aether.store.market_log import Head, head_of
from aether.store.requests import Pending
from aether.store.schema import REQUEST_CHANNEL, operator_requests, snapshots


class PostgresWriter:
    """A connection that writes what nodes make durable."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        return bool(self._connection.is_closed())

    async def commit(
        self, batches: list[Batch], blocks: Sequence[Block], days: Iterable[int], lease: Held | None = None
    ) -> None:
        """Write in one statement, see `aether.store.commit.commit`."""
        await commit(self._connection, batches, blocks, days, lease)

    async def holds(self, batch: Batch) -> bool:
        """Return whether a batch whose commit ended in doubt is there."""
        return await was_committed(self._connection, batch)

    async def head(self, log: str) -> Head:
        """Return how far a log is written."""
        return await head_of(self._connection, log)

    async def take_lease(self, log: str, holder: str, seconds: float) -> Claim:
        """Ask for the lease of a market's accounts."""
        return await take(self._connection, log, holder, seconds)

    async def renew_lease(self, held: Held, seconds: float) -> bool:
        """Hold a lease for so long from now; return whether it is still ours."""
        return await renew(self._connection, held, seconds)

    async def give_back_lease(self, held: Held) -> None:
        """End a lease."""
        await give_back(self._connection, held)

    def terminate(self) -> None:
        """Cut the connection."""
        self._connection.terminate()


class NodeStore(StoredHistory):
    """A node's database."""

    async def writer(self) -> PostgresWriter:
        """Return a connection that writes. Raises DatabaseUnavailableError."""
        return PostgresWriter(await self.scope.connect())

    async def snapshots(self, account: AccountId, until_seq: int) -> list[Snapshot]:
        """Return an account's snapshots up to a row, the newest first."""
        query = sa.select(snapshots).where(snapshots.c.account == account, snapshots.c.seq <= until_seq)
        return [
            Snapshot(r.seq, bytes(r.engine), bytes(r.venue), r.market_taken, r.log, r.market)
            for r in await self.scope.all(query.order_by(snapshots.c.seq.desc()))
        ]

    async def last_equity(self, account: AccountId) -> EquityPoint | None:
        """Return an account's last equity sample."""
        return await queries.last_equity(self.scope, account)

    async def requests(self, accounts: Iterable[AccountId]) -> list[Pending]:
        """Return the operators' requests that accounts have not applied, in order."""
        query = (
            sa.select(operator_requests.c.id, operator_requests.c.account, operator_requests.c.event)
            .where(operator_requests.c.applied_seq.is_(None), operator_requests.c.account.in_(list(accounts)))
            .order_by(operator_requests.c.id)
        )
        return [Pending(r.id, AccountId(r.account), r.event) for r in await self.scope.all(query)]

    @asynccontextmanager
    async def announced(self, wake: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
        """Call `wake` at each new request while the context is open; yields whether it still would."""
        connection = await self.scope.connect()

        def announce(_c: asyncpg.Connection, _pid: int, _channel: str, _payload: str) -> None:
            wake()

        try:
            await connection.add_listener(REQUEST_CHANNEL, announce)
            yield lambda: not connection.is_closed()
        finally:
            connection.terminate()

    async def write_bars(self, feed: FeedId, bars: list[Bar]) -> None:
        """Keep the market's bars for charts."""
        connection = await self.scope.connect()
        try:
            await write_bars(connection, feed, bars)
        finally:
            await connection.close()
