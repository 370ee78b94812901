"""Hearing of changes at once: one listening connection for everyone in the process who follows a channel."""

import asyncio
from contextlib import suppress

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.domain.errors import DatabaseUnavailableError
from aether.store.control_schema import CONTROL_CHANNEL
from aether.store.database import CONNECTION_ERRORS, Scope
from aether.telemetry import logger

POLL_S = 5.0
RETRY_S = 1.0

_log = logger("announcements")


class Announcements:
    """Wakes whoever waits for a change that is announced on a channel."""

    def __init__(self, scope: Scope, channel: str) -> None:
        self._scope = scope
        self._channel = channel
        self._waiting: set[asyncio.Event] = set()

    async def changed(self) -> None:
        """Return after the next announcement, or after `POLL_S` in any case."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), POLL_S)
        finally:
            self._waiting.discard(event)

    def _wake(self, _c: asyncpg.Connection, _pid: int, _channel: str, _payload: str) -> None:
        for event in self._waiting:
            event.set()

    async def run(self) -> None:
        """Listen until canceled."""
        told = ""
        while True:
            try:
                connection = await self._scope.connect()
                told = ""
                try:
                    await connection.add_listener(self._channel, self._wake)
                    while not connection.is_closed():
                        await asyncio.sleep(POLL_S)
                        await connection.execute("SELECT 1")
                finally:
                    connection.terminate()
            except (*CONNECTION_ERRORS, DatabaseUnavailableError, sa.exc.SQLAlchemyError, TimeoutError) as error:
                if told != str(error):
                    told = str(error)
                    _log.warning("not_listening", channel=self._channel, reason=told)
                await asyncio.sleep(RETRY_S)


async def announce(connection: AsyncConnection) -> None:
    """Wake whoever follows secrets, plans and configurations, once this transaction is committed."""
    await connection.execute(sa.text(f"NOTIFY {CONTROL_CHANNEL}"))
