"""Two people: what is sensitive in production waits until somebody else has approved it.

A request holds everything that its execution needs, secrets sealed, so what is approved is what was asked. It is
decided once, by a person other than the one who asked, and runs out. Whatever is registered in `Approvals` runs
through here in every environment; in development it runs at once.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.clock import wall_ns
from aether.control.access import ACTIONS, Allowlists, Caller, CallerKind
from aether.control.audit import append, entry_of
from aether.control.sealing import Sealer
from aether.control.sessions import hold, roles_of
from aether.domain.errors import AetherError, ConflictError, InvalidValueError, RefusedError, UnknownNameError
from aether.store.control_schema import approvals, users
from aether.store.database import Row, Scope

NS = 1_000_000_000
EXPIRES_S = 86_400
AT_WORK_S = 300
MIN_REASON, MAX_REASON = 3, 500

WAITING, APPROVED = "waiting", "approved"
INTERRUPTED = "It was interrupted, and may have been done: look before you ask anew."


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A request and what came of it.

    Attributes:
        state: `waiting`, `approved` (being carried out), `done`, `failed`, `declined`, `withdrawn` or `expired`.
        payload: what is asked for; never a secret.
        decision: why it was decided so, or what went wrong.
    """

    id: str
    action: str
    account: str
    summary: str
    payload: dict[str, Any]
    reason: str
    requested_by: str
    requested_ns: int
    expires_ns: int
    state: str
    decided_by: str = ""
    decided_ns: int = 0
    decision: str = ""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be carried out.

    Attributes:
        account: `*` for what concerns more than one.
        payload: everything that the execution needs, as JSON.
        secret: what must be sealed meanwhile.
        summary: one line for the person who decides.
    """

    action: str
    account: str
    payload: dict[str, Any]
    summary: str
    reason: str
    secret: bytes = b""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a task: its result, or the approval that it waits for."""

    result: Any = None
    approval: Approval | None = None


Execute = Callable[[Caller, Task], Awaitable[Any]]
"""Carries a task out for the caller who asked."""


def check_reason(reason: str) -> str:
    """Return a reason without outer blanks. Raises InvalidValueError when it is none."""
    reason = reason.strip()
    if not MIN_REASON <= len(reason) <= MAX_REASON:
        raise InvalidValueError(
            f"The reason has {len(reason)} characters.", remedy=f"Say why in {MIN_REASON} to {MAX_REASON} characters."
        )
    return reason


class Approvals:
    """The requests of a firm.

    Args:
        two_people: whether a second person is needed (production).
        executors: by action.
    """

    def __init__(
        self,
        scope: Scope,
        sealer: Sealer,
        allowlists: Allowlists,
        executors: Mapping[str, Execute],
        *,
        two_people: bool,
        clock: Callable[[], int] = wall_ns,
    ) -> None:
        self._scope = scope
        self._sealer = sealer
        self._allowlists = allowlists
        self._executors = executors
        self.two_people = two_people
        self._clock = clock

    def needs_second(self, action: str) -> bool:
        """Return whether a second person has to approve an action."""
        return self.two_people and ACTIONS[action].second

    async def submit(self, caller: Caller, task: Task) -> Outcome:
        """Carry a task out, or let it wait for a second person.

        Raises:
            AetherError: what the execution raises, when nobody else is needed.
        """
        check_reason(task.reason)
        if not self.needs_second(task.action):
            return Outcome(result=await self._executors[task.action](caller, task))
        now, number = self._clock(), secrets.token_hex(6)
        row = {
            "id": number,
            "action": task.action,
            "account": task.account,
            "payload": task.payload,
            "sealed": await self._sealer.seal(task.secret, f"approval|{number}") if task.secret else b"",
            "summary": task.summary,
            "reason": task.reason,
            "requested_by": caller.id,
            "requested_ns": now,
            "expires_ns": now + EXPIRES_S * NS,
            "state": WAITING,
            "decided_by": "",
            "decided_ns": 0,
            "decision": "",
        }
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await connection.execute(sa.insert(approvals), row)
            entry = entry_of(
                caller,
                task.action,
                "asked",
                account=task.account,
                target=number,
                after={"summary": task.summary, **task.payload},
                reason=task.reason,
            )
            await append(connection, entry, now)
        return Outcome(approval=await self.get(number))

    async def decide(self, caller: Caller, number: str, *, approve: bool, reason: str) -> Approval:
        """Approve and carry out, or decline.

        Raises:
            RefusedError: when the caller asked for it, or may not approve.
            ConflictError: when it was decided, withdrawn or ran out meanwhile.
            AetherError: what the execution raises; the request has failed then and is not repeated.
        """
        reason = check_reason(reason)
        row = await self._row(number)
        if row.requested_by == caller.id:
            raise RefusedError("You asked for this yourself.", remedy="Another person must decide.")
        if caller.kind is not CallerKind.PERSON or not self._allowlists.allows_approval(caller.name):
            raise RefusedError(
                f"{caller.name} is not among those who may approve.", remedy="Add the address to AETHER_DIRECTORS."
            )
        if not caller.may(ACTIONS[row.action], row.account):
            raise RefusedError(f"You may not do {row.action} yourself.", remedy="Somebody who may must decide.")
        state = APPROVED if approve else "declined"
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await self._close(connection, row, state, caller.id, reason)
            entry = entry_of(
                caller, "approvals.decide", "done", account=row.account, target=number, after=state, reason=reason
            )
            await append(connection, entry, self._clock())
        if approve:
            await self._carry_out(row, reason)
        return await self.get(number)

    async def _carry_out(self, row: Row, reason: str) -> None:
        """Carry out for the one who asked, if they may still do it."""
        try:
            asker = await self._asker(row.requested_by, row.id)
            if not asker.may(ACTIONS[row.action], row.account):
                raise RefusedError(f"{asker.name} may not do this any more.", remedy="Ask anew.")
            secret = await self._sealer.open(bytes(row.sealed), f"approval|{row.id}") if row.sealed else b""
            task = Task(
                action=row.action,
                account=row.account,
                payload={**row.payload, "approval": row.id},
                summary=row.summary,
                reason=row.reason,
                secret=secret,
            )
            await self._executors[row.action](asker, task)
        except AetherError as error:
            await self._finish(row.id, "failed", str(error))
            raise
        except BaseException:
            await self._finish(row.id, "failed", INTERRUPTED)
            raise
        await self._finish(row.id, "done", reason)

    async def _asker(self, user_id: str, number: str) -> Caller:
        """Return who asked, as they are now; the audit trail shows by which request it is done."""
        async with self._scope.begin() as connection:
            query = sa.select(users).where(users.c.id == user_id, users.c.disabled_ns == 0)
            user = (await connection.execute(query)).one_or_none()
            if user is None:
                raise RefusedError("Who asked for this is not here any more.", remedy="Ask anew.")
            given = self._allowlists.held(user.email, await roles_of(connection, user_id))
        return Caller(
            kind=CallerKind.PERSON, id=user.id, name=user.email, roles=given, agent=f"approved request {number}"
        )

    async def withdraw(self, caller: Caller, number: str, reason: str) -> Approval:
        """Take back what one asked for. Raises RefusedError, ConflictError."""
        row = await self._row(number)
        if row.requested_by != caller.id:
            raise RefusedError("Somebody else asked for this.", remedy="Decline it instead.")
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await self._close(connection, row, "withdrawn", caller.id, check_reason(reason))
            entry = entry_of(caller, "approvals.withdraw", "done", account=row.account, target=number, reason=reason)
            await append(connection, entry, self._clock())
        return await self.get(number)

    async def _close(self, connection: AsyncConnection, row: Row, state: str, by: str, reason: str) -> None:
        now = self._clock()
        sealed = row.sealed if state == APPROVED else b""
        done = await connection.execute(
            sa.update(approvals)
            .where(approvals.c.id == row.id, approvals.c.state == WAITING, approvals.c.expires_ns > now)
            .values(state=state, decided_by=by, decided_ns=now, decision=reason, sealed=sealed)
        )
        if done.rowcount != 1:
            raise ConflictError(f"Request {row.id} does not wait any more.", remedy="Look at what came of it.")

    async def _finish(self, number: str, state: str, decision: str) -> None:
        async with self._scope.begin() as connection:
            await connection.execute(
                sa.update(approvals)
                .where(approvals.c.id == number)
                .values(state=state, decision=decision[:MAX_REASON], sealed=b"")
            )

    async def close_interrupted(self) -> None:
        """Mark requests whose execution ended with its process, and destroy the secrets of those that ran out."""
        async with self._scope.begin() as connection:
            await connection.execute(
                sa.update(approvals)
                .where(approvals.c.state == WAITING, approvals.c.expires_ns <= self._clock(), approvals.c.sealed != b"")
                .values(sealed=b"")
            )
            await connection.execute(
                sa.update(approvals)
                .where(approvals.c.state == APPROVED, approvals.c.decided_ns < self._clock() - AT_WORK_S * NS)
                .values(state="failed", decision=INTERRUPTED, sealed=b"")
            )

    async def get(self, number: str) -> Approval:
        """Return one request. Raises UnknownNameError."""
        return await self._shown(await self._row(number))

    async def page(
        self, accounts: Sequence[str] | None, *, only_waiting: bool, limit: int, before_ns: int | None = None
    ) -> list[Approval]:
        """Return requests, newest first; of some accounts, or all for None."""
        query = sa.select(approvals).order_by(approvals.c.requested_ns.desc()).limit(limit)
        if accounts is not None:
            query = query.where(approvals.c.account.in_(list(accounts)))
        if before_ns is not None:
            query = query.where(approvals.c.requested_ns < before_ns)
        if only_waiting:
            query = query.where(approvals.c.state == WAITING, approvals.c.expires_ns > self._clock())
        names = await self._names()
        return [self._approval(row, names) for row in await self._scope.all(query)]

    async def _row(self, number: str) -> Row:
        found = await self._scope.all(sa.select(approvals).where(approvals.c.id == number))
        if not found:
            raise UnknownNameError(f"There is no request {number!r}.", remedy="Look at the list of approvals.")
        return found[0]

    async def _shown(self, row: Row) -> Approval:
        return self._approval(row, await self._names())

    async def _names(self) -> dict[str, str]:
        return {r.id: r.email for r in await self._scope.all(sa.select(users.c.id, users.c.email))}

    def _approval(self, row: Row, names: Mapping[str, str]) -> Approval:
        ran_out = row.state == WAITING and row.expires_ns <= self._clock()
        return Approval(
            id=row.id,
            action=row.action,
            account=row.account,
            summary=row.summary,
            payload=row.payload,
            reason=row.reason,
            requested_by=names.get(row.requested_by, row.requested_by),
            requested_ns=row.requested_ns,
            expires_ns=row.expires_ns,
            state="expired" if ran_out else row.state,
            decided_by=names.get(row.decided_by, row.decided_by),
            decided_ns=row.decided_ns,
            decision=row.decision,
        )
