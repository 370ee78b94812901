"""Requests of operators, as the database keeps them until a node has journaled them."""

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from aether.control.access import EVERYWHERE, Caller
from aether.control.audit import append, entry_of
from aether.control.sessions import hold
from aether.domain.errors import ConflictError
from aether.domain.events import BalanceBooked, CapitalMoved, OperatorEvent
from aether.domain.identifiers import AccountId
from aether.domain.scaled import format_amount
from aether.store import queries
from aether.store.database import Database
from aether.store.requests import insert_requests, wait_applied

ANSWERS_WITHIN_S = 4.0
"""A node that runs has answered by then whether it takes what was asked."""

Booking = BalanceBooked | CapitalMoved


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

    async def refuse_twice(self, account: str, venue: str, asset: str, amount: int, reference: str) -> None:
        """Raise ConflictError when the same amount is booked under the same reference already."""
        if not reference:
            return
        found = await queries.find_flow(
            self._database.desk, AccountId(account), venue=venue, asset=asset, amount=amount, reference=reference
        )
        if found is not None:
            raise _booked_twice(venue, asset, amount, reference, f", by {found.actor}")

    async def book(self, caller: Caller, action: str, account: str, event: Booking, reason: str) -> bool:
        """Book what came in or went out, an amount under a reference once; return whether it is booked by now.

        Raises:
            ConflictError: when that is booked already, or the account refuses the booking.
        """
        await self.refuse_twice(account, event.venue, event.asset, event.amount, event.reference)
        try:
            ids = await self.submit(caller, action, account, event, reason)
        except sa.exc.IntegrityError as error:
            raise _booked_twice(event.venue, event.asset, event.amount, event.reference) from error
        return await self.answered(ids)

    async def answered(self, ids: list[int]) -> bool:
        """Wait for the accounts, not for ever; return whether all have answered. Raises ConflictError on a refusal."""
        return await wait_applied(self._database.control, ids, ANSWERS_WITHIN_S)

    async def submit(
        self, caller: Caller, action: str, account: str, event: OperatorEvent, reason: str, feed: str | None = None
    ) -> list[int]:
        """Ask the accounts for `event`; return the ids of the requests. Durable when this returns."""
        return await self.submit_all(caller, action, account, [event], reason, feed)

    async def submit_all(
        self,
        caller: Caller,
        action: str,
        account: str,
        events: Sequence[OperatorEvent],
        reason: str,
        feed: str | None = None,
    ) -> list[int]:
        """Ask the accounts for several events, all of them or none, in this order."""
        targets = await self.targets(account, feed)
        ids = []
        async with self._database.control.begin() as connection:
            await hold(connection, caller)
            for event in events:
                ids += await insert_requests(connection, targets, event)
                told = {k: v for k, v in msgspec.to_builtins(event).items() if k not in ("ts_ns", "actor", "reason")}
                entry = entry_of(caller, action, "done", account=account, after=told, reason=reason)
                await append(connection, entry, self._clock())
        return ids


def _booked_twice(venue: str, asset: str, amount: int, reference: str, by: str = "") -> ConflictError:
    return ConflictError(
        f"{format_amount(amount)} {asset} at {venue} is booked under {reference!r} already{by}.",
        remedy="Nothing is to be done; if it is another one, give it another reference.",
    )
