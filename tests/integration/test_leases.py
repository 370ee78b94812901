"""Leases in PostgreSQL: who owns a market's accounts, and what a commit of somebody else is told (O4)."""

import asyncio

import asyncpg
import pytest
import sqlalchemy as sa
from asyncpg.transaction import Transaction

from aether.domain.errors import FencedError
from aether.domain.identifiers import FeedId
from aether.node import lease as module
from aether.node.lease import Lease
from aether.store.commit import commit
from aether.store.database import Database
from aether.store.leases import Held, give_back, renew, take
from aether.store.migrate import newest_revision
from aether.store.node_store import NodeStore
from aether.store.schema import REVISION
from tests.integration.test_committer import ONE, batch, until_waiting

LOG = FeedId("test")
LONG_S = 600.0


async def owner(database: Database, statement: str) -> None:
    """Do something as the owner of the tables."""
    async with database.engine.begin() as connection:
        await connection.execute(sa.text(statement))


async def commit_at_hand(database: Database) -> tuple[asyncpg.Connection, Transaction]:
    """Write as the first owner, and leave the transaction open."""
    writing = await database.node.connect()
    transaction = writing.transaction()
    await transaction.start()
    await commit(writing, [batch(ONE)], lease=Held(LOG, 1))
    return writing, transaction


@pytest.fixture
async def connection(database: Database) -> asyncpg.Connection:
    """A node's connection."""
    return await database.node.connect()


async def test_a_lease_is_one_holders_until_it_runs_out_or_is_given_back(
    database: Database, connection: asyncpg.Connection
) -> None:
    first = await take(connection, LOG, "left", LONG_S)
    assert (first.epoch, first.is_taken) == (1, True)
    asked = await take(connection, LOG, "right", LONG_S)
    assert (asked.epoch, asked.holder, asked.is_taken, asked.reason) == (1, "left", False, "held")
    await owner(database, "UPDATE leases SET until = now() - interval '1 second'")
    assert await renew(connection, Held(LOG, 1), LONG_S), "late, and nobody else was there"
    assert not (await take(connection, LOG, "right", LONG_S)).is_taken
    await owner(database, "UPDATE leases SET until = now() - interval '1 second'")
    assert (await take(connection, LOG, "right", LONG_S))[:2] == (2, "right")
    assert not await renew(connection, Held(LOG, 1), LONG_S)
    await give_back(connection, Held(LOG, 2))
    assert (await take(connection, LOG, "left", LONG_S)).epoch == 3
    await connection.close()


async def test_the_same_platform_takes_its_own_lease_again_at_once(connection: asyncpg.Connection) -> None:
    """A node that was killed is started again by its supervisor: nobody waits for the lease of the dead one."""
    await take(connection, LOG, "left", LONG_S)
    again = await take(connection, LOG, "left", LONG_S)
    assert (again.epoch, again.is_taken) == (2, True)
    with pytest.raises(FencedError, match="the lease 1 of test is over"):
        await commit(connection, [batch(ONE)], lease=Held(LOG, 1))
    await commit(connection, [batch(ONE)], lease=Held(LOG, 2))
    await connection.close()


async def test_two_that_ask_for_a_new_lease_at_once_are_told_the_same_owner(database: Database) -> None:
    connections = [await database.node.connect() for _ in range(8)]
    claims = await asyncio.gather(*(take(c, LOG, f"node {n}", LONG_S) for n, c in enumerate(connections)))
    assert sum(claim.is_taken for claim in claims) == 1
    assert len({claim.holder for claim in claims}) == 1
    for each in connections:
        await each.close()


async def test_who_takes_a_lease_waits_for_the_commit_at_hand_and_the_next_is_refused(
    database: Database, connection: asyncpg.Connection
) -> None:
    """What the one before still wrote is found by the next; between the two nothing slips in."""
    await take(connection, LOG, "left", LONG_S)
    writing, transaction = await commit_at_hand(database)
    taking = asyncio.create_task(take(connection, LOG, "left", LONG_S))
    await until_waiting(database)
    await transaction.commit()
    assert (await taking).epoch == 2
    assert await connection.fetchval("SELECT count(*) FROM journal") == 1
    late = batch(ONE)
    late.rows[0] = late.rows[0]._replace(seq=2)
    with pytest.raises(FencedError, match="is over"):
        await commit(writing, [late], lease=Held(LOG, 1))
    assert await connection.fetchval("SELECT count(*) FROM journal") == 1
    await writing.close()
    await connection.close()


async def test_the_owner_renews_while_its_own_commit_takes_long(
    database: Database, connection: asyncpg.Connection
) -> None:
    """A commit of six seconds kept its owner from renewing, and two healthy nodes fenced each other in turn."""
    await take(connection, LOG, "left", LONG_S)
    writing, transaction = await commit_at_hand(database)
    async with asyncio.timeout(10):
        assert await renew(connection, Held(LOG, 1), LONG_S)
    await transaction.commit()
    await writing.close()
    await connection.close()


async def test_who_waits_too_long_for_a_lease_gives_up_and_takes_nothing(
    database: Database, connection: asyncpg.Connection
) -> None:
    """A request whose sender is gone took the lease for nobody, seconds later."""
    await take(connection, LOG, "left", LONG_S)
    await owner(database, "UPDATE leases SET until = now() - interval '1 second'")
    writing, transaction = await commit_at_hand(database)
    with pytest.raises(asyncpg.LockNotAvailableError):
        await take(connection, LOG, "right", LONG_S)
    await transaction.commit()
    assert await connection.fetchval("SELECT max(epoch) FROM leases") == 1
    await writing.close()
    await connection.close()


async def test_whatever_the_database_says_to_a_renewal_it_is_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that was taken away for half a second ended the renewing for good, and with it all trading."""
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.01)
    lease = Lease(NodeStore(database.node), LOG, "left")
    await lease.take()
    keeping = asyncio.create_task(lease.keep())
    await owner(database, "REVOKE UPDATE ON leases FROM aether_node")
    await asyncio.sleep(0.3)
    await owner(database, "GRANT UPDATE ON leases TO aether_node")
    before = lease.left_s()
    while lease.left_s() <= before:
        assert not keeping.done()
        await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.wait([keeping])
    await lease.give_back()


async def test_a_node_of_an_older_schema_never_takes_over(database: Database, connection: asyncpg.Connection) -> None:
    """Two versions: the older one would not understand what the newer one wrote."""
    await take(connection, LOG, "left", LONG_S)
    await owner(database, "UPDATE leases SET schema = '9999', ended_at = now()")
    asked = await take(connection, LOG, "right", LONG_S)
    assert (asked.is_taken, asked.reason) == (False, "newer")
    await connection.close()


def test_the_schema_names_its_own_revision() -> None:
    assert newest_revision() == REVISION


async def test_a_lease_that_cannot_be_renewed_holds_no_longer_than_the_database_lets_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node counts from before it asked, and stops a little before another could own the account."""
    now = [1_000.0]
    monkeypatch.setattr(module, "monotonic_s", lambda: now[0])
    lease = Lease(NodeStore(database.node), LOG, "left")
    assert not lease.is_held
    await lease.take()
    assert lease.is_held
    now[0] += module.LEASE_S - module.MARGIN_S - 0.01
    assert lease.is_held
    now[0] += 0.01
    assert not lease.is_held
    await lease._renew()
    assert lease.is_held
    other = Lease(NodeStore(database.node), LOG, "right")
    assert not (await other.take()).is_taken
    await lease.give_back()
    assert not lease.is_held
    assert (await other.take()).is_taken
    await other.give_back()


async def test_whoever_lost_its_lease_hears_of_it_at_the_next_renewal(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.01)
    lease = Lease(NodeStore(database.node), LOG, "left")
    await lease.take()
    keeping = asyncio.create_task(lease.keep())
    await asyncio.sleep(0.05)
    again = Lease(NodeStore(database.node), LOG, "left")
    await again.take()
    with pytest.raises(FencedError, match="taken by another node"):
        await keeping
    assert (lease.is_held, again.is_held) == (False, True)
    await again.give_back()
