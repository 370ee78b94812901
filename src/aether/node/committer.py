"""Group commit: batches of all shards that wait together become one durable transaction, with what the market told.

While the database is away, full or only to be read, shards wait for their commit and so do not trade; nothing is
dropped. A commit that ended in doubt (the connection broke after it was sent) is looked up by the hash of its last row
before it is tried again, and once more when a row of it turns out to be there. What the database refuses of one account
fails that account alone.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aether.clock import monotonic_s
from aether.domain.errors import AetherError, DatabaseUnavailableError, FencedError
from aether.node.lease import Lease
from aether.node.ports import Store, Writer
from aether.node.sequencer import Sequencer
from aether.store.commit import Batch
from aether.store.database import CONNECTION_ERRORS
from aether.store.leases import fenced
from aether.telemetry import COMMIT_ROWS, COMMIT_SECONDS, PAUSED, Trouble, logger

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0
HANGS_S = 2.0
"""A database that has not answered for so long is away, as far as people are told."""
STUCK_S = 10.0
"""A commit that is not answered for so long is looked up on another connection: the one at hand may be dead."""
MARKET_WITHIN_S = 0.25
"""What the market told is written within so long, also when no account decides anything."""

_log = logger("committer")


class Committer:
    """Writes batches.

    Args:
        store: where to.
        revive: called before a reconnect, to start an embedded server again.
        market: whose events go with every commit.
        lease: in which everything is written.
    """

    def __init__(self, store: Store, revive: Callable[[], None], market: Sequencer, lease: Lease) -> None:
        self._store = store
        self._revive = revive
        self._market = market
        self._lease = lease
        self._days: set[int] = set()
        """Days of the log that are known to be open."""
        self._refused = Trouble(_log, "market_not_written")
        self.on_fenced: Callable[[FencedError], None] = lambda _error: None
        """Called when another process writes the market's log."""
        self._waiting: list[tuple[Batch, asyncio.Future[None]]] = []
        self._ready = asyncio.Event()
        self._connection: Writer | None = None
        self._in_doubt = False
        """Whether an earlier try at the same batches may have been committed, or may be while another is at work."""
        self._not_revived = Trouble(_log, "database_not_revived")
        self._outage = ""
        self._began_s: float | None = None
        """When the write at hand began."""

    @property
    def outage(self) -> str:
        """Why nothing can be written now; empty while it can."""
        if self._outage or self._began_s is None:
            return self._outage
        for_s = monotonic_s() - self._began_s
        return f"the database has not answered for {for_s:.0f} s" if for_s > HANGS_S else ""

    async def commit(self, batch: Batch) -> None:
        """Return once `batch` is durable.

        Raises:
            FencedError: when another writer owns the account.
            asyncpg.PostgresError, ...: what the database has against this batch.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, done))
        self._ready.set()
        await done

    async def run(self) -> None:
        """Write until canceled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(MARKET_WITHIN_S):
                    await self._ready.wait()
            self._ready.clear()
            group, self._waiting = self._waiting, []
            self._began_s = monotonic_s()
            if group:
                await self._write([b for b, _ in group], [f for _, f in group])
            elif self._market.has_waiting:
                await self._write_market()
            self._began_s = None

    async def _write_market(self) -> None:
        """Write what the market told, while no account has anything; a refusal meets the next that has."""
        self._in_doubt = False
        try:
            await self._until_durable([])
        except FencedError as error:
            self.on_fenced(error)
        except Exception as error:  # noqa: BLE001  see above
            self._refused.tell(error)
        else:
            self._refused.over()

    def end(self) -> None:
        """Give up what is not durable by now; to be called before the task is canceled.

        Cutting the connection comes first: canceling a write alone may wait for ever for the database's answer.
        """
        if self._connection is not None:
            self._connection.terminate()

    async def _write(self, batches: list[Batch], waiting: list[asyncio.Future[None]]) -> None:
        started = monotonic_s()
        self._in_doubt = False
        try:
            await self._until_durable(batches)
        except Exception:  # noqa: BLE001  one batch of these is refused: which one shows when each is tried alone
            for batch, future in zip(batches, waiting, strict=True):
                await self._write_alone(batch, future)
        else:
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        COMMIT_SECONDS.observe(monotonic_s() - started)
        COMMIT_ROWS.inc(sum(len(b.rows) for b in batches))

    async def _write_alone(self, batch: Batch, future: asyncio.Future[None]) -> None:
        try:
            await self._until_durable([batch])
        except Exception as error:  # noqa: BLE001  it is the account's alone, which fails with it
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(None)

    async def _until_durable(self, batches: list[Batch]) -> None:
        """Try until the batches are in the database, however long it is away."""
        wait_s = RETRY_FIRST_S
        while True:
            try:
                batches = await self._try(batches)
                self._recovered()
                if not batches:
                    return
            except Exception as error:
                if not self._is_outage(error):
                    raise
                self._in_doubt = True
                await self._lose(error)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)

    async def _try(self, batches: list[Batch]) -> list[Batch]:
        """Write what is not there yet; return what is still to be written."""
        connection = await self._connected()
        left = await self._not_there(connection, batches)
        blocks = self._market.blocks()
        if not left and not blocks:
            return []
        if self._lease.held is None:
            raise fenced("this node holds no lease")
        days = {b.day for b in blocks} - self._days
        try:
            async with asyncio.timeout(STUCK_S):
                await connection.commit(left, blocks, sorted(days), self._lease.held)
        except TimeoutError as error:
            raise DatabaseUnavailableError(
                f"A commit was not answered within {STUCK_S:g} s.", remedy="It is looked up on another connection."
            ) from error
        except FencedError:
            before = (len(left), self._market.written)
            left = await self._not_there(connection, left)
            if (len(left), self._market.written) == before:
                raise
            return left
        self._days |= days
        if blocks:
            self._market.wrote(blocks[-1].last)
        return []

    async def _not_there(self, connection: Writer, batches: list[Batch]) -> list[Batch]:
        """Return what is not in the database of batches that were tried before, and tell the market what is."""
        if not self._in_doubt:
            return batches
        self._market.found(await connection.head(self._market.log))
        return [b for b in batches if not await connection.holds(b)]

    def _is_outage(self, error: Exception) -> bool:
        """Return whether `error` means that the database is away, as against refusing what it was given."""
        if isinstance(error, (*CONNECTION_ERRORS, DatabaseUnavailableError)):
            return True
        return self._connection is None or self._connection.is_closed

    async def _connected(self) -> Writer:
        if self._connection is None or self._connection.is_closed:
            if self._outage:
                await asyncio.to_thread(self._try_revive)
            self._connection = await self._store.writer()
        return self._connection

    def _try_revive(self) -> None:
        try:
            self._revive()
        except AetherError as error:
            self._not_revived.tell(error)
        else:
            self._not_revived.over()

    async def _lose(self, error: BaseException) -> None:
        if not self._outage:
            _log.error("trading_paused", reason=f"{type(error).__name__}: {error}")
            PAUSED.set(1)
        self._outage = f"{type(error).__name__}: {error}"
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _recovered(self) -> None:
        if self._outage:
            _log.warning("trading_resumed", after=self._outage)
            PAUSED.set(0)
            self._outage = ""
