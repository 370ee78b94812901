"""Bringing a database to the schema of this version, and refusing one from a newer version."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from aether.domain.errors import SchemaVersionError

MIGRATION_LOCK = 0x61657468
"""Advisory lock under which one process migrates while others wait."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def newest_revision() -> str:
    """Return the revision that this version of Aether needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


async def migrate(engine: AsyncEngine) -> tuple[str | None, str]:
    """Bring the database up to date; return the revision before and after.

    Raises:
        SchemaVersionError: when the database was written by a newer version.
    """
    async with engine.begin() as connection:
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        return await connection.run_sync(_migrate)


def _migrate(connection: sa.Connection) -> tuple[str | None, str]:
    current = MigrationContext.configure(connection).get_current_revision()
    script = ScriptDirectory.from_config(_config())
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaVersionError(
            f"The database is at schema revision {current}, this version of Aether knows up to {newest_revision()}.",
            remedy="Run the newer version of Aether that wrote it, or use another --data-dir.",
        )
    if current != newest_revision():
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return current, newest_revision()
