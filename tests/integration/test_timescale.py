"""TimescaleDB where it is offered: what becomes a hypertable, and what does not (issue 11, findings 16 and 17).

There is no package of it, so an extension of that name stands in for it, which refuses as the real one does when it is
not preloaded. What real chunks do is not tried.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.migrate import migrate
from aether.store.migrations.versions import r0001_first_schema

CONTROL = "default_version = '1.0'\nrelocatable = true\n"
SCRIPT = """
DO $$ BEGIN
    IF current_setting('shared_preload_libraries') NOT LIKE '%timescaledb%' THEN
        RAISE EXCEPTION 'extension "timescaledb" must be preloaded';
    END IF;
END $$;
"""


@pytest.fixture
async def offered(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A server to which the extension is offered."""
    folder = tmp_path / "share" / "extension"
    folder.mkdir(parents=True)
    (folder / "timescaledb.control").write_text(CONTROL)
    (folder / "timescaledb--1.0.sql").write_text(SCRIPT)
    server = EmbeddedServer(tmp_path / "data")
    connection = await asyncpg.connect(server.start())
    await connection.execute(f"ALTER SYSTEM SET extension_control_path = '$system:{tmp_path / 'share'}'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    yield server
    server.stop()


async def test_it_is_left_alone_where_it_is_not_preloaded(offered: EmbeddedServer) -> None:
    connection = await asyncpg.connect(offered.start())
    names = await connection.fetch("SELECT name FROM pg_available_extensions WHERE name = 'timescaledb'")
    assert names, "it is not offered: the test shows nothing"
    await connection.close()
    database = Database(offered.start())
    await migrate(database.engine)
    await database.close()


async def test_no_table_that_keeps_accounts_apart_becomes_a_hypertable(database: Database) -> None:
    """Through the chunks of `equity` each account's role read all accounts."""
    query = sa.text("SELECT relname FROM pg_class WHERE relrowsecurity")
    async with database.engine.connect() as connection:
        apart = set((await connection.execute(query)).scalars())
    assert apart >= {"equity", "orders", "journal"}
    assert set(r0001_first_schema.HYPERTABLES) & apart == set()
