"""Reaching the database: the URL, the pool for queries, the connection for writing."""

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from aether.domain.errors import DatabaseUnavailableError

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0
POOL_SIZE = 5

CONNECTION_ERRORS = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""What asyncpg raises when the database is away, as against refusing what it was asked."""


class Database:
    """A PostgreSQL database.

    Args:
        url: `postgresql://user:password@host:port/name`; a socket folder goes into `?host=`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            pool_size=POOL_SIZE,
            pool_pre_ping=True,
            connect_args={"timeout": CONNECT_TIMEOUT_S, "command_timeout": COMMAND_TIMEOUT_S},
        )

    async def connect(self) -> asyncpg.Connection:
        """Return a connection of its own, for writing or listening.

        Raises:
            DatabaseUnavailableError: when the database cannot be reached.
        """
        try:
            return await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S)
        except (*CONNECTION_ERRORS, TimeoutError, asyncpg.PostgresError) as error:
            raise self.unavailable(error) from error

    async def ping(self) -> None:
        """Ask the database for a sign of life. Raises DatabaseUnavailableError."""
        try:
            async with self.engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except (*CONNECTION_ERRORS, TimeoutError, sa.exc.SQLAlchemyError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: BaseException) -> DatabaseUnavailableError:
        """Return the error that tells a person that the database is away."""
        shown = make_url(self._url).render_as_string(hide_password=True)
        return DatabaseUnavailableError(
            f"The database {shown} cannot be reached: {error}.",
            remedy="Check that it runs and that AETHER_DATABASE_URL is right.",
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
