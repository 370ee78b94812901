"""What the database says to a commit: refused, away, or done late; each account's trouble stays its own (O3, A1)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from aether.domain.errors import FencedError
from aether.domain.events import Timer, encode_event
from aether.domain.identifiers import AccountId, FeedId
from aether.node.committer import Committer
from aether.node.lease import Lease
from aether.node.sequencer import Sequencer
from aether.store import node_store as module
from aether.store.commit import Batch, commit
from aether.store.database import Database
from aether.store.history import StoredHistory
from aether.store.journal import JournalRow, row_hash, verify
from aether.store.market_log import GENESIS
from aether.store.node_store import NodeStore

ONE, OTHER = AccountId("one"), AccountId("other")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def batch(account: AccountId, alert: str = "") -> Batch:
    """Return the first row of an account's journal, with an alert if there is one."""
    payload = encode_event(Timer(ts_ns=1_000))
    row = JournalRow(account, 1, 1_000, "Timer", payload, b"", b"")
    made = Batch(account, [row._replace(hash=row_hash(GENESIS, row, None))])
    if alert:
        made.alerts.append((account, 1, 0, 1_000, "critical", "refused", alert))
    return made


@pytest.fixture
def market() -> Sequencer:
    """A market that says nothing by itself."""
    return Sequencer(FeedId("test"), None)


@pytest.fixture
async def committer(database: Database, market: Sequencer) -> AsyncIterator[Committer]:
    """A committer at work."""
    store = NodeStore(database.node)
    lease = Lease(store, market.log, "here")
    await lease.take()
    made = Committer(store, lambda: None, market, lease)
    task = asyncio.create_task(made.run())
    yield made
    assert not task.done(), "it works on"
    made.end()
    task.cancel()
    await lease.give_back()


async def count(database: Database, query: str) -> int:
    """Return a number that the owner of the database sees."""
    async with database.engine.begin() as connection:
        return int((await connection.execute(sa.text(query))).scalar_one())


async def until_waiting(database: Database) -> None:
    """Return once somebody waits for a lock."""
    while not await count(database, WAITING):
        await asyncio.sleep(0.01)


async def test_what_is_refused_fails_one_account_and_no_other(database: Database, committer: Committer) -> None:
    """A NUL in a venue's text ended the node for all accounts, again after each restart."""
    bad, good = await asyncio.gather(
        committer.commit(batch(ONE, "rejected\x00by the venue")),
        committer.commit(batch(OTHER, "fine")),
        return_exceptions=True,
    )
    assert isinstance(bad, asyncpg.PostgresError)
    assert good is None
    assert (await verify(StoredHistory(database.node), ONE), await verify(StoredHistory(database.node), OTHER)) == (
        0,
        1,
    )
    assert committer.outage == ""


@pytest.mark.parametrize("cut", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_canceled_query_is_tried_again(database: Database, committer: Committer, cut: str) -> None:
    holding = await database.node.connect()
    transaction = holding.transaction()
    await transaction.start()
    await commit(holding, [batch(ONE)])
    waiting = asyncio.create_task(committer.commit(batch(ONE)))
    await until_waiting(database)
    await count(database, f"SELECT count({cut}(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while not committer.outage:
        await asyncio.sleep(0.01)
    await transaction.rollback()
    await waiting
    assert await verify(StoredHistory(database.node), ONE) == 1
    await holding.close()


async def test_a_commit_that_lands_late_does_not_fence_the_node_against_itself(
    database: Database, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = await database.node.connect()
    late = lost.transaction()
    tries = 0

    async def cut(connection: asyncpg.Connection, batches: list[Batch], *market: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await late.start()
            await commit(lost, batches, *market)
            raise ConnectionResetError("cut after it was sent")
        await commit(connection, batches, *market)

    monkeypatch.setattr(module, "commit", cut)
    waiting = asyncio.create_task(committer.commit(batch(ONE)))
    await until_waiting(database)
    await late.commit()
    await waiting
    assert (tries, await verify(StoredHistory(database.node), ONE)) == (2, 1)
    await lost.close()


async def test_another_writer_still_fences_after_an_outage(
    database: Database, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def cut(connection: asyncpg.Connection, batches: list[Batch], *market: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionResetError("cut before it was sent")
        await commit(connection, batches, *market)

    other = batch(ONE)
    row = other.rows[0]._replace(ts_ns=2_000)
    other.rows[0] = row._replace(hash=row_hash(GENESIS, row, None))
    writer = await database.node.connect()
    await commit(writer, [other])
    await writer.close()
    monkeypatch.setattr(module, "commit", cut)
    with pytest.raises(FencedError):
        await committer.commit(batch(ONE))


FULL = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER disk_full BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION disk_full()
"""


async def fill(database: Database, table: str) -> None:
    """Let a table's disk be full."""
    async with database.engine.begin() as connection:
        for statement in FULL.format(table=table).strip().split(";\n"):
            await connection.execute(sa.text(statement))


async def test_a_full_disk_pauses_and_loses_nothing(database: Database, committer: Committer) -> None:
    await fill(database, "journal")
    waiting = asyncio.create_task(committer.commit(batch(ONE)))
    while not committer.outage:
        await asyncio.sleep(0.01)
    assert "DiskFullError" in committer.outage
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("DROP TRIGGER disk_full ON journal"))
    await waiting
    assert (committer.outage, await verify(StoredHistory(database.node), ONE)) == ("", 1)
