"""Hearing of changes at once: one listening connection for everyone in the process who follows a channel."""

import asyncio
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

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
        self.is_listening = False
        self._followers: WeakKeyDictionary[asyncio.Task[Any], asyncio.Event] = WeakKeyDictionary()

    async def changed(self) -> None:
        """Return once something was announced since this task called last, or after `POLL_S` in any case.

        Its first call returns at once: what was announced before it, nobody has kept.
        """
        task = asyncio.current_task()
        assert task is not None
        if task not in self._followers:
            self._followers[task] = asyncio.Event()
            return
        event = self._followers[task]
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await event.wait()
        event.clear()

    def _wake(self, _c: asyncpg.Connection, _pid: int, _channel: str, _payload: str) -> None:
        self._wake_all()

    def _wake_all(self) -> None:
        for event in self._followers.values():
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
                    self.is_listening = True
                    self._wake_all()
                    while not connection.is_closed():
                        await asyncio.sleep(POLL_S)
                        await connection.execute("SELECT 1")
                finally:
                    self.is_listening = False
                    connection.terminate()
            except (*CONNECTION_ERRORS, DatabaseUnavailableError, sa.exc.SQLAlchemyError, TimeoutError) as error:
                if told != str(error):
                    told = str(error)
                    _log.warning("not_listening", channel=self._channel, reason=told)
                await asyncio.sleep(RETRY_S)


async def announce(connection: AsyncConnection) -> None:
    """Wake whoever follows secrets, plans and configurations, once this transaction is committed."""
    await connection.execute(sa.text(f"NOTIFY {CONTROL_CHANNEL}"))
