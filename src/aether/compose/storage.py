"""The database of the settings, ready to use."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aether.compose.directory import DataDirectory
from aether.config import Settings
from aether.domain.errors import DatabaseUnavailableError
from aether.store.database import Database, login_of, login_url
from aether.store.embedded import EmbeddedServer

EMBEDDED_LOGIN = "aether"
LEAVES_WITHIN_S = 20.0


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
        admin_url = await _join(server)
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
            await _leave(server)


async def _join(server: EmbeddedServer) -> str:
    """Start the embedded server, or join it; whoever is interrupted meanwhile leaves none behind."""
    starting = asyncio.ensure_future(asyncio.to_thread(server.start))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:  # one that did not start is not left, nor told of any more
            await _leave(server)
        raise


async def _leave(server: EmbeddedServer) -> None:
    """Leave the embedded server, which stops when nobody else uses it.

    Raises:
        DatabaseUnavailableError: when it hangs; it is left as it is.
    """
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    failed: list[Exception] = []

    def leave() -> None:
        try:
            server.stop()
        except Exception as error:  # noqa: BLE001  told below
            failed.append(error)
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=leave, name="leave postgresql", daemon=True).start()
    try:
        async with asyncio.timeout(LEAVES_WITHIN_S):
            await done.wait()
    except TimeoutError as error:
        raise DatabaseUnavailableError(
            f"The embedded PostgreSQL does not stop within {LEAVES_WITHIN_S:.0f} s: it hangs.",
            remedy="What was journaled is safe. End its processes yourself; the next start joins or recovers it.",
        ) from error
    if failed:
        raise failed[0]


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
