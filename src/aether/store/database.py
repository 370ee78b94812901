"""Reaching the database: the URL, the pool for queries, the connection for writing.

Whoever logs in owns nothing and inherits nothing: every transaction takes a role first, and may do what that role may.
`docs/explanation/access.md` shows who has which.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from aether.domain.errors import DatabaseUnavailableError, InvalidValueError

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0
POOL_SIZE = 5

CONNECTION_ERRORS = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What asyncpg raises when the database is away, full, read-only or interrupted: it says nothing of what was asked, and
the same may be taken later. The system's own TimeoutError is an OSError."""


Row = sa.Row[Any]


class Role(StrEnum):
    """The database roles that every database has; accounts have one each besides."""

    NODE = "aether_node"
    """Writes journals and their projections; reads what accounts are to do."""
    CONTROL = "aether_control"
    """Identity, secrets, governance, audit."""
    DESK = "aether_desk"
    """Reads all accounts."""


SCHEMES = ("postgresql", "postgres")
IN_QUERY = frozenset(("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl"))
"""What a database's URL may say after the question mark."""
CLOSES_WITHIN_S = 3.0
VERIFIED = ("verify-full",)


def parse_url(text: str) -> URL:
    """Return a database's URL.

    Raises:
        InvalidValueError: when it is none.
    """
    remedy = "Write postgresql://user:password@host:5432/name, with ?sslmode=verify-full where it is another machine."
    try:
        url = make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise InvalidValueError("The database's URL cannot be read as one.", remedy=remedy) from error
    if url.drivername not in SCHEMES:
        raise InvalidValueError(f"The database's URL begins with {url.drivername!r}.", remedy=remedy)
    if unknown := sorted(set(url.query) - IN_QUERY):
        raise InvalidValueError(
            f"The database's URL has {unknown[0]!r}; after the question mark it takes {', '.join(sorted(IN_QUERY))}.",
            remedy="Demand TLS with sslmode=verify-full and sslrootcert=FILE.",
        )
    return url


def goes_in_the_clear(text: str) -> bool:
    """Return whether a database is reached over a network by a connection that nobody verifies."""
    url = parse_url(text)
    hosts = [url.host or "", *url.normalized_query.get("host", ())]
    is_here = all(h in ("", "localhost", "127.0.0.1", "::1") or h.startswith("/") for h in hosts)
    return not is_here and url.normalized_query.get("sslmode", ("",))[-1] not in VERIFIED


def login_of(url: str) -> str:
    """Return who logs in with a URL."""
    return parse_url(url).username or ""


def login_url(url: str, login: str) -> str:
    """Return the URL with another login, without a password."""
    return parse_url(url).set(username=login, password=None).render_as_string(hide_password=False)


class Scope:
    """The database as one role sees it.

    Args:
        role: a name of the database's own, never of a caller's.
    """

    def __init__(self, database: "Database", role: str) -> None:
        self.database = database
        self.role = role

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction in this role; it is committed at the end, or rolled back on an error."""
        async with self.database.engine.begin() as connection:
            await connection.execute(sa.text(f'SET LOCAL ROLE "{self.role}"'))
            yield connection

    async def all(self, query: sa.Select[Any]) -> Sequence[Row]:
        """Return the rows of a query."""
        async with self.begin() as connection:
            found: Sequence[Row] = (await connection.execute(query)).all()
            return found

    async def connect(self) -> asyncpg.Connection:
        """Return a connection of its own, for writing or listening.

        Raises:
            DatabaseUnavailableError: when the database cannot be reached.
        """
        return await self.database.connect(self.role)


class Database:
    """A PostgreSQL database.

    Args:
        url: `postgresql://user:password@host:port/name`; a socket folder goes into `?host=`, and what TLS has to prove
            into `?sslmode=` and `sslrootcert=`, as libpq's URLs have it.
        setting: that the URL comes from, for people.

    Raises:
        InvalidValueError: when the URL is none.
    """

    def __init__(self, url: str, *, setting: str = "AETHER_DATABASE_URL") -> None:
        self._url = url
        self._setting = setting
        self._shown = parse_url(url).render_as_string(hide_password=True)
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://", async_creator=self._open, pool_size=POOL_SIZE, pool_pre_ping=True
        )

        self.node = Scope(self, Role.NODE)
        self.control = Scope(self, Role.CONTROL)
        self.desk = Scope(self, Role.DESK)

    async def _open(self, **more: Any) -> asyncpg.Connection:
        return await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, **more)

    async def connect(self, role: str) -> asyncpg.Connection:
        """Return a connection of its own in a role. Raises DatabaseUnavailableError when that cannot be."""
        try:
            return await self._open(server_settings={"role": str(role)})
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
        told = getattr(error, "orig", None) or error
        return DatabaseUnavailableError(
            f"The database {self._shown} cannot be reached: {str(told) or type(told).__name__}.",
            remedy=f"Check that it runs and that {self._setting} is right.",
        )

    async def close(self) -> None:
        """Close all connections; a database that hangs is left without a word."""
        pool = logging.getLogger("sqlalchemy.pool")
        level = pool.level
        pool.setLevel(logging.CRITICAL)  # it would show a traceback for each connection that does not close
        try:
            async with asyncio.timeout(CLOSES_WITHIN_S):
                await self.engine.dispose()
        except TimeoutError:
            await self.engine.dispose(close=False)
        finally:
            pool.setLevel(level)
