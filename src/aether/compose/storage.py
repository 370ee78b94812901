"""The database of the settings, ready to use."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aether.compose.directory import DataDirectory
from aether.config import Settings
from aether.store.database import Database, login_of, login_url
from aether.store.embedded import EmbeddedServer

EMBEDDED_LOGIN = "aether"


@dataclass(frozen=True)
class Storage:
    """The database, migrated, and the way to start an embedded server again."""

    database: Database
    revive: Callable[[], None]


@contextlib.asynccontextmanager
async def open_storage(settings: Settings, *, is_prepared: bool = False) -> AsyncIterator[Storage]:
    """Open the database of `settings`, starting the embedded server if it is the one, and migrate it.

    Args:
        is_prepared: another process of the platform has migrated it.

    With a `database_url` in production and no `database_admin_url`, migrating is somebody else's: the schema must be
    this version's.

    Raises:
        DatabaseUnavailableError, SchemaVersionError, MissingExtraError: as their messages say.
    """
    server = None
    url, admin_url = settings.database_url, settings.database_admin_url
    if not url:
        server = EmbeddedServer(DataDirectory(settings.data_dir).database)
        admin_url = await asyncio.to_thread(server.start)
        url = login_url(admin_url, EMBEDDED_LOGIN)
    elif not admin_url and not settings.is_production:
        admin_url = url
    try:
        if admin_url and not is_prepared:
            await prepare_database(admin_url, url)
        database = Database(url)
        try:
            await database.ping()
            if not is_prepared:
                from aether.store.migrate import check_revision  # noqa: PLC0415  loaded where it is used: each process starts sooner

                await check_revision(database)
            yield Storage(database, server.ensure_running if server else lambda: None)
        finally:
            await database.close()
    finally:
        if server:
            await asyncio.to_thread(server.stop)


async def prepare_database(admin_url: str, url: str) -> None:
    """Bring the database to this version's schema as its owner, and let the login of `url` use it."""
    from aether.store.migrate import grant_login, migrate  # noqa: PLC0415  loaded where it is used: each process starts sooner

    owner = Database(admin_url, setting="AETHER_DATABASE_ADMIN_URL" if admin_url != url else "AETHER_DATABASE_URL")
    try:
        await owner.ping()
        await migrate(owner.engine)
        await grant_login(owner.engine, login_of(url))
    finally:
        await owner.close()
