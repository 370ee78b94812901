"""Operators' decisions on their way to the accounts.

Whoever may decide (API, command line) writes a row into `operator_requests`; the node that owns the account takes it,
stamps it with the account's time, and marks it applied in the transaction that journals it: exactly once, and not lost
while no node runs.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from aether.domain.errors import DatabaseUnavailableError
from aether.domain.events import OperatorEvent
from aether.domain.identifiers import AccountId
from aether.node.ports import Store
from aether.node.shard import Shard
from aether.store.database import CONNECTION_ERRORS
from aether.telemetry import Trouble, logger

POLL_S = 2.0
RETRY_S = 1.0

_log = logger("requests")


class RequestReader:
    """Brings pending requests to the shards of this node."""

    def __init__(self, store: Store, shards: Mapping[AccountId, Shard]) -> None:
        self._store = store
        self._shards = shards
        self._given: set[int] = set()

    async def fetch(self) -> None:
        """Hand every pending request that was not handed over yet to its account.

        An id says nothing about which came last: it is given when a row is written, and seen when that is committed.
        """
        rows = await self._store.requests(self._shards)
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
        announced = asyncio.Event()
        async with self._store.announced(announced.set) as is_listening:
            while is_listening():
                await self.fetch()
                trouble.over()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await announced.wait()
                announced.clear()
