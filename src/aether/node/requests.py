"""Operators' decisions on their way to the accounts.

Whoever may decide (API, command line) writes a row into `operator_requests`; the node that owns the account takes it,
stamps it with the account's time, and marks it applied in the transaction that journals it: exactly once, and not lost
while no node runs.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import asyncpg
import msgspec
import sqlalchemy as sa

from aether.domain.errors import DatabaseUnavailableError
from aether.domain.events import OperatorEvent
from aether.domain.identifiers import AccountId
from aether.node.shard import Shard
from aether.store.database import CONNECTION_ERRORS, Scope
from aether.store.schema import REQUEST_CHANNEL, operator_requests
from aether.telemetry import Trouble, logger

POLL_S = 2.0
RETRY_S = 1.0

_log = logger("requests")


class RequestReader:
    """Brings pending requests to the shards of this node."""

    def __init__(self, scope: Scope, shards: Mapping[AccountId, Shard]) -> None:
        self._scope = scope
        self._shards = shards
        self._given: set[int] = set()

    async def fetch(self) -> None:
        """Hand every pending request that was not handed over yet to its account.

        An id says nothing about which came last: it is given when a row is written, and seen when that is committed.
        """
        query = (
            sa.select(operator_requests.c.id, operator_requests.c.account, operator_requests.c.event)
            .where(
                operator_requests.c.applied_seq.is_(None),
                operator_requests.c.account.in_(list(self._shards)),
            )
            .order_by(operator_requests.c.id)
        )
        async with self._scope.begin() as connection:
            rows = (await connection.execute(query)).all()
        self._given &= {row.id for row in rows}
        for row in rows:
            if row.id in self._given:
                continue
            self._given.add(row.id)
            try:
                event = msgspec.convert(row.event, OperatorEvent)
            except msgspec.ValidationError as error:
                _log.error("request_not_readable", request_id=row.id, reason=str(error))
                continue
            self._shards[row.account].inbox.put_request(event, row.id)

    async def run(self) -> None:
        """Listen for announcements, and look every `POLL_S` seconds besides, until canceled."""
        trouble = Trouble(_log, "requests_not_reachable")
        while True:
            try:
                await self._listen(trouble)
            except (*CONNECTION_ERRORS, DatabaseUnavailableError, sa.exc.SQLAlchemyError, TimeoutError) as error:
                trouble.tell(error)
                await asyncio.sleep(RETRY_S)

    async def _listen(self, trouble: Trouble) -> None:
        connection = await self._scope.connect()
        announced = asyncio.Event()

        def wake(_c: asyncpg.Connection, _pid: int, _channel: str, _payload: str) -> None:
            announced.set()

        try:
            await connection.add_listener(REQUEST_CHANNEL, wake)
            while not connection.is_closed():
                await self.fetch()
                trouble.over()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await announced.wait()
                announced.clear()
        finally:
            connection.terminate()
