"""The journal and its projections in a real PostgreSQL (O1, O4, A5)."""

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import aether.store.control_schema  # noqa: F401  its tables are part of the schema
from aether.domain.errors import FencedError, JournalCorruptError, SchemaVersionError
from aether.domain.events import Bar, Timer, encode_event
from aether.domain.identifiers import AccountId, InstrumentId
from aether.store import datasets, queries
from aether.store.commit import Batch, commit, was_committed, write_bars
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.history import StoredHistory
from aether.store.journal import JournalRow, row_hash, verify
from aether.store.market_log import GENESIS
from aether.store.migrate import migrate, newest_revision
from aether.store.schema import metadata

DESK = AccountId("desk")


def rows(count: int, first: int = 1, previous: bytes = GENESIS) -> list[JournalRow]:
    made = []
    for seq in range(first, first + count):
        payload = encode_event(Timer(ts_ns=seq * 1_000))
        row = JournalRow(DESK, seq, seq * 1_000, "Timer", payload, b"", b"")
        previous = row_hash(previous, row, None)
        made.append(row._replace(hash=previous))
    return made


async def write(database: Database, batch: Batch) -> None:
    connection = await database.node.connect()
    try:
        await commit(connection, [batch])
    finally:
        await connection.close()


async def run_sql(database: Database, statement: str) -> None:
    """Change the database as somebody who rules over it may."""
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        await connection.execute(sa.text(statement))


async def test_a_written_journal_verifies(database: Database) -> None:
    await write(database, Batch(DESK, rows(25)))
    assert await verify(StoredHistory(database.node), DESK) == 25


@pytest.mark.parametrize(
    ("tamper", "seq"),
    [
        ("UPDATE journal SET payload = set_byte(payload, 20, 7) WHERE seq = 13", 13),
        ("UPDATE journal SET ts_ns = ts_ns + 1 WHERE seq = 4", 4),
        ("UPDATE journal SET kind = 'Quote' WHERE seq = 25", 25),
        ("UPDATE journal SET hash = set_byte(hash, 0, 255) WHERE seq = 9", 9),
        ("DELETE FROM journal WHERE seq = 17", 17),
        ("UPDATE journal SET account = 'other' WHERE seq = 1", 1),
    ],
)
async def test_one_changed_byte_is_named_by_its_sequence(database: Database, tamper: str, seq: int) -> None:
    await write(database, Batch(DESK, rows(25)))
    await run_sql(database, tamper)
    with pytest.raises(JournalCorruptError, match=f"broken at sequence {seq}") as caught:
        await verify(StoredHistory(database.node), DESK)
    assert caught.value.seq == seq


async def test_a_rehashed_row_is_found_at_its_successor(database: Database) -> None:
    made = rows(10)
    await write(database, Batch(DESK, made))
    payload = encode_event(Timer(ts_ns=5_001))
    forged = row_hash(made[3].hash, JournalRow(DESK, 5, 5_001, "Timer", payload, b"", b""), None)
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        await connection.execute(
            sa.text("UPDATE journal SET payload = :p, ts_ns = 5001, hash = :h WHERE seq = 5"),
            {"p": payload, "h": forged},
        )
    with pytest.raises(JournalCorruptError) as caught:
        await verify(StoredHistory(database.node), DESK)
    assert caught.value.seq == 6


async def test_a_second_writer_fails_at_once_and_writes_nothing(database: Database) -> None:
    first = rows(5)
    await write(database, Batch(DESK, first))
    stale = Batch(DESK, rows(3, first=5, previous=first[3].hash))
    stale.balances.append((DESK, "paper:USD", 1, 0))
    with pytest.raises(FencedError, match="another process"):
        await write(database, stale)
    assert await verify(StoredHistory(database.node), DESK) == 5
    assert await queries.list_balances(database.node, DESK) == []


async def test_a_commit_in_doubt_is_recognised_by_its_hash(database: Database) -> None:
    made = rows(5)
    await write(database, Batch(DESK, made))
    connection = await database.node.connect()
    assert await was_committed(connection, Batch(DESK, made))
    assert not await was_committed(connection, Batch(DESK, rows(1, first=6, previous=made[-1].hash)))
    assert not await was_committed(connection, Batch(DESK, rows(2, first=4)))
    await connection.close()


async def test_migrations_bring_exactly_the_schema(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_twice_changes_nothing(database: Database) -> None:
    assert await migrate(database.engine) == (newest_revision(), newest_revision())


async def test_a_database_from_a_newer_version_is_refused_untouched(database: Database) -> None:
    await run_sql(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaVersionError, match="9999"):
        await migrate(database.engine)
    async with database.engine.connect() as connection:
        found = (await connection.execute(sa.text("SELECT version_num FROM alembic_version"))).scalar_one()
    assert found == "9999"


async def test_numbers_of_any_size_come_back_exactly(database: Database) -> None:
    huge = 10**30 + 7
    batch = Batch(DESK, rows(1))
    batch.balances.append((DESK, "paper:SHIB", huge, 0))
    await write(database, batch)
    (row,) = await queries.list_balances(database.node, DESK)
    assert row.free == huge


async def test_an_imported_recording_comes_back_the_same(database: Database) -> None:
    import numpy as np

    from aether.domain.identifiers import Symbol

    stored = datasets.StoredColumns(
        kind="trades",
        symbol=Symbol("XRP/ETH"),
        price_decimals=8,
        size_decimals=8,
        interval_s=0,
        ts_ns=np.array([5, 5, 6], dtype=np.int64),
        columns={
            n: np.array(v, dtype=np.int64)
            for n, v in {"price": [3, 1, 2], "size": [1, 2, 3], "side": [1, -1, 0]}.items()
        },
        source="x.json",
        digest="ab" * 32,
    )
    assert await datasets.save(database.node, "x", stored) is True
    assert await datasets.save(database.node, "x", stored) is False
    assert await datasets.save(database.node, "same-again", stored) is True
    back = await datasets.load(database.node, "x")
    assert back.ts_ns.tolist() == [5, 5, 6]
    assert {n: c.tolist() for n, c in back.columns.items()} == {n: c.tolist() for n, c in stored.columns.items()}
    assert [d.name for d in await datasets.listing(database.node)] == ["same-again", "x"]


def test_a_database_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    """O2: kill -9 in the first seconds left a folder that no later start could use."""
    folder = tmp_path / "postgresql"
    made = EmbeddedServer(folder)
    made.start()
    made.stop()
    (folder / "postmaster.opts").unlink()
    (folder / "postmaster.pid").write_text(f"-{2**22 - 1}\n{folder}\n1796009785\n5432\n\n\n  3172747    393257\n")
    (folder / "global" / "pg_control").unlink()
    again = EmbeddedServer(folder)
    assert again.start()
    again.stop()


def test_a_server_whose_user_was_killed_is_still_stopped_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal; from aether.store.embedded import EmbeddedServer; "
        f"EmbeddedServer(pathlib.Path({str(tmp_path / 'data')!r})).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / "data" / "postmaster.pid").exists(), "it goes on without its user"
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    server.stop()
    assert not (tmp_path / "data" / "postmaster.pid").exists()


async def test_the_database_away_is_told(url: str) -> None:
    from aether.domain.errors import DatabaseUnavailableError

    database = Database("postgresql://nobody:secret@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached") as caught:
        await database.ping()
    assert "secret" not in str(caught.value)
    await database.close()
    assert asyncpg.__version__


async def test_a_write_of_many_bars_can_be_cut_off(database: Database) -> None:
    """A stop of the platform waited for ever, now and then, for the bars that it was writing."""
    bars = [
        Bar(ts_ns=n, instrument=InstrumentId("paper:BTC/USD"), interval_s=60, open=1, high=1, low=1, close=1, volume=1)
        for n in range(20_000)
    ]
    for turns in (1, 2, 3, 5, 8, 13):
        connection = await database.node.connect()
        await write_bars(connection, "warm", bars[:1])
        writing = asyncio.create_task(write_bars(connection, f"feed {turns}", bars))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        assert await asyncio.wait([writing], timeout=20) == ({writing}, set())
        await connection.close(timeout=20)
