"""Bringing a database to the schema of this version, and refusing one from a newer version."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from aether.domain.errors import InvalidValueError, SchemaVersionError
from aether.store.database import Database, Role

MIGRATION_LOCK = 0x61657468
"""Advisory lock under which one process migrates while others wait."""


MAX_LOGIN = 63


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


async def grant_login(engine: AsyncEngine, login: str) -> None:
    """Let a login take the platform's roles, and nothing else; make it when it is missing.

    Raises:
        InvalidValueError: when the name cannot be a login's.
    """
    if not login or len(login) > MAX_LOGIN or not login.replace("_", "").replace("-", "").isalnum():
        raise InvalidValueError(f"The login is {login!r}.", remedy="Use letters, digits, - and _, up to 63 of them.")
    query = sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = :login")
    async with engine.begin() as connection:
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        is_super = (await connection.execute(query, {"login": login})).scalar_one_or_none()
        if is_super is None:
            await connection.execute(sa.text(f'CREATE ROLE "{login}" LOGIN NOINHERIT'))
        if not is_super:
            await connection.execute(sa.text(f'GRANT {", ".join(Role)} TO "{login}"'))


async def check_revision(database: Database) -> None:
    """Refuse a database that is not at this version's schema. Raises SchemaVersionError."""
    try:
        async with database.desk.begin() as connection:
            current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    except sa.exc.ProgrammingError:
        current = None
    if current != newest_revision():
        raise SchemaVersionError(
            f"The database is at schema revision {current}, this version of Aether needs {newest_revision()}.",
            remedy="Run `aether db migrate` with AETHER_DATABASE_ADMIN_URL set to the owner of the tables.",
        )


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
