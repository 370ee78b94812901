"""Requests of operators, as the database keeps them until a node has journaled them."""

from collections.abc import Callable

import msgspec

from aether.control.access import EVERYWHERE, Caller
from aether.control.audit import append, entry_of
from aether.domain.events import OperatorEvent
from aether.domain.identifiers import AccountId
from aether.store import queries
from aether.store.database import Database
from aether.store.requests import insert_requests


class Operators:
    """Operators' decisions with their audit entries, in one transaction."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    async def targets(self, account: str, feed: str | None = None) -> list[AccountId]:
        """Return the accounts that a decision is about: one, or for `*` all of a market."""
        if account != EVERYWHERE:
            return [AccountId(account)]
        return [s.config.id for s in await queries.list_accounts(self._database.desk, feed)]

    async def submit(
        self, caller: Caller, action: str, account: str, event: OperatorEvent, reason: str, feed: str | None = None
    ) -> list[int]:
        """Ask the accounts for `event`; return the ids of the requests. Durable when this returns."""
        targets = await self.targets(account, feed)
        told = {k: v for k, v in msgspec.to_builtins(event).items() if k not in ("ts_ns", "actor", "reason")}
        async with self._database.control.begin() as connection:
            ids = await insert_requests(connection, targets, event)
            entry = entry_of(caller, action, "done", account=account, after=told, reason=reason)
            await append(connection, entry, self._clock())
        return ids
