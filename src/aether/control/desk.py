"""Opening and closing accounts.

People open accounts here; the node that runs their market takes them up. A live account is one of its own, never a
paper account that was switched over: its journal holds real money from the first row.
"""

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from aether.clock import wall_ns
from aether.control.access import Caller
from aether.control.audit import append, entry_of
from aether.control.sessions import hold
from aether.domain.accounts import AccountPlan
from aether.domain.errors import ConflictError, InvalidValueError, UnknownNameError
from aether.domain.events import KillSwitchEngaged
from aether.domain.identifiers import AccountId
from aether.store.announcements import announce
from aether.store.control_schema import plans
from aether.store.database import Scope
from aether.store.requests import insert_requests
from aether.store.schema import accounts

MAX_NAME = 40
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")


def check_account_id(text: str) -> AccountId:
    """Return an account's id. Raises InvalidValueError when it cannot be one."""
    fits = 2 <= len(text) <= MAX_NAME and set(text) <= _ALLOWED and text[0].isalpha() and not text.endswith((".", "-"))
    if not fits:
        raise InvalidValueError(
            f"The account's id is {text[:60]!r}.",
            remedy=f"Use 2 to {MAX_NAME} small letters, digits, - and ., beginning with a letter.",
        )
    return AccountId(text)


class Desk:
    """The accounts that people opened."""

    def __init__(self, scope: Scope, clock: Callable[[], int] = wall_ns) -> None:
        self._scope = scope
        self._clock = clock

    async def open(self, caller: Caller, plan: AccountPlan, action: str, reason: str) -> None:
        """Have an account opened by the node of its market. Raises ConflictError when the id is taken."""
        config = plan.config
        check_account_id(config.id)
        now = self._clock()
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await connection.execute(sa.text("LOCK TABLE plans IN SHARE ROW EXCLUSIVE MODE"))
            for table in (plans, accounts):
                if (await connection.execute(sa.select(table.c.account).where(table.c.account == config.id))).first():
                    raise ConflictError(f"There is an account {config.id!r} already.", remedy="Choose another id.")
            row = {
                "account": config.id,
                "feed": config.feed,
                "plan": msgspec.to_builtins(plan),
                "created_ns": now,
                "archived_ns": 0,
            }
            await connection.execute(sa.insert(plans), row)
            after = {"name": config.name, "kind": config.kind, "mode": config.mode, "market": config.feed}
            await append(
                connection, entry_of(caller, action, "done", account=config.id, after=after, reason=reason), now
            )
            await announce(connection)

    async def archive(self, caller: Caller, account: str, reason: str) -> None:
        """Stop an account's trading for good and leave it out from the next start on; its records stay.

        Raises:
            UnknownNameError, ConflictError: as their messages say.
        """
        now = self._clock()
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await connection.execute(sa.text("LOCK TABLE plans IN SHARE ROW EXCLUSIVE MODE"))
            found = (await connection.execute(sa.select(accounts).where(accounts.c.account == account))).one_or_none()
            if found is None:
                raise UnknownNameError(f"There is no account {account!r}.", remedy="Look at the list of accounts.")
            query = sa.select(plans.c.archived_ns).where(plans.c.account == account)
            known = (await connection.execute(query)).one_or_none()
            if known is not None and known.archived_ns:
                raise ConflictError(f"{account} is archived already.", remedy="Its records are there to read.")
            if known is None:
                row = {"account": account, "feed": found.feed, "plan": {}, "created_ns": now, "archived_ns": now}
                await connection.execute(sa.insert(plans), row)
            else:
                await connection.execute(sa.update(plans).where(plans.c.account == account).values(archived_ns=now))
            event = KillSwitchEngaged(ts_ns=0, reason=f"archived: {reason}", actor=caller.name)
            await insert_requests(connection, [AccountId(account)], event)
            entry = entry_of(caller, "accounts.archive", "done", account=account, reason=reason)
            await append(connection, entry, now)
            await announce(connection)


class PlanReader:
    """What a node needs of the plans."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def opened(self, feed: str) -> list[AccountPlan]:
        """Return the plans of a market's accounts that are not archived, oldest first."""
        query = sa.select(plans).where(plans.c.feed == feed, plans.c.archived_ns == 0).order_by(plans.c.created_ns)
        return [msgspec.convert(row.plan, AccountPlan) for row in await self._scope.all(query)]

    async def shadows_of(self, account: str, feed: str) -> list[AccountPlan]:
        """Return the plans of those that run beside an account of a market and are not archived."""
        return [plan for plan in await self.opened(feed) if plan.config.shadow_of == account]

    async def archived(self) -> set[str]:
        """Return the accounts that are archived."""
        query = sa.select(plans.c.account).where(plans.c.archived_ns > 0)
        return {row.account for row in await self._scope.all(query)}
