"""Sessions: opened by two factors, kept as a hash, ended by time, by their person, or by an admin."""

import secrets
from collections.abc import Callable, Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.control.access import Allowlists, Caller, CallerKind, Role
from aether.control.audit import append, entry_of
from aether.control.factors import digest, new_token
from aether.domain.errors import ConflictError, NotSignedInError, UnknownNameError
from aether.store.control_schema import challenges, idempotency, roles, sessions, tokens, users
from aether.store.database import Row, Scope

NS = 1_000_000_000
SEEN_EVERY_S = 30
MAX_SESSIONS = 20


class SessionRules(msgspec.Struct, frozen=True):
    """When sessions end."""

    idle_s: int = 1_800
    max_s: int = 43_200


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was opened; `recovery_codes` only when they are new."""

    token: str
    caller: Caller
    recovery_codes: tuple[str, ...] = ()


async def roles_of(connection: AsyncConnection, user_id: str) -> dict[str, Role]:
    """Return the role that a person has in each account, of those that count."""
    held = await connection.execute(sa.select(roles).where(roles.c.user_id == user_id, roles.c.waits_ns == 0))
    return {r.account: Role(r.role) for r in held}


async def hold(connection: AsyncConnection, caller: Caller) -> None:
    """Make sure that a caller still is who they came in as, and stays it until the transaction ends.

    Whoever locks them out, ends their session or takes a role from them meanwhile waits for this transaction, or this
    one finds it done. A request that carries an Idempotency-Key is marked as one that did something, by the very
    transaction that does it: whatever becomes of its answer, it is not carried out again.

    Raises:
        NotSignedInError: when that is over.
        ConflictError: when the request took so long that its key was given to another one.
    """
    await _mark(connection, caller)
    if caller.kind is CallerKind.SERVICE:
        query = sa.select(tokens.c.id).where(tokens.c.id == caller.id, tokens.c.ended_ns == 0)
        is_good = (await connection.execute(query.with_for_update(read=True))).first() is not None
    elif caller.kind is CallerKind.PERSON:
        query = sa.select(users.c.id).where(users.c.id == caller.id, users.c.disabled_ns == 0)
        is_good = (await connection.execute(query.with_for_update(read=True))).first() is not None
        held = await roles_of(connection, caller.id)
        is_good &= all(held.get(account) == role for account, role in caller.roles.items())
        if caller.session:
            query = sa.select(sessions.c.id).where(sessions.c.id == caller.session, sessions.c.ended_ns == 0)
            is_good &= (await connection.execute(query.with_for_update(read=True))).first() is not None
    else:
        return
    if not is_good:
        raise NotSignedInError("You were signed out, or may do less than a moment ago.", remedy="Sign in again.")


async def _mark(connection: AsyncConnection, caller: Caller) -> None:
    """Mark a request as one that did something. Raises ConflictError."""
    if caller.claim is None:
        return
    key, claimed_ns = caller.claim
    mine = sa.and_(idempotency.c.actor == caller.id, idempotency.c.key == key, idempotency.c.created_ns == claimed_ns)
    done = await connection.execute(sa.update(idempotency).where(mine).values(has_acted=True))
    if done.rowcount != 1:
        raise ConflictError("This request took so long that another one took its place.", remedy="Look at what it did.")


def person_of(session: Row, given: Mapping[str, Role], allowlists: Allowlists, where: Caller) -> Caller:
    """Return the caller whose session it is, with the roles that they hold."""
    held = allowlists.held(session.email, given)
    return msgspec.structs.replace(
        where, kind=CallerKind.PERSON, id=session.user_id, name=session.email, roles=held, session=session.id
    )


class Sessions:
    """The sessions of a firm."""

    def __init__(self, scope: Scope, rules: SessionRules, allowlists: Allowlists, clock: Callable[[], int]) -> None:
        self._scope = scope
        self.rules = rules
        self._allowlists = allowlists
        self._clock = clock

    async def caller_of(self, token: str, where: Caller, *, is_use: bool = True) -> Caller | None:
        """Return whose session a token is, None when it is nobody's or has ended.

        Args:
            where: address, agent and request of the caller.
            is_use: the session lives longer by it.
        """
        query = (
            sa.select(sessions, users.c.email, users.c.disabled_ns)
            .join(users, users.c.id == sessions.c.user_id)
            .where(sessions.c.digest == digest(token))
        )
        now = self._clock()
        async with self._scope.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None or row.disabled_ns or not self._is_open(row):
                return None
            if is_use and now - row.seen_ns > SEEN_EVERY_S * NS:
                await connection.execute(sa.update(sessions).where(sessions.c.id == row.id).values(seen_ns=now))
            return person_of(row, await roles_of(connection, row.user_id), self._allowlists, where)

    def _is_open(self, row: Row) -> bool:
        now = self._clock()
        idle, age = now - row.seen_ns, now - row.created_ns
        return not row.ended_ns and idle < self.rules.idle_s * NS and age < self.rules.max_s * NS

    async def as_person(self, connection: AsyncConnection, user: Row, where: Caller) -> Caller:
        """Return the caller that a person is, with their roles."""
        return msgspec.structs.replace(
            where,
            kind=CallerKind.PERSON,
            id=user.id,
            name=user.email,
            roles=self._allowlists.held(user.email, await roles_of(connection, user.id)),
        )

    async def open(self, connection: AsyncConnection, user: str, caller: Caller, method: str) -> SignedIn:
        """Open a session; one that the caller had ends."""
        token, session = new_token(), secrets.token_hex(8)
        now = self._clock()
        if caller.session:
            await connection.execute(sa.update(sessions).where(sessions.c.id == caller.session).values(ended_ns=now))
        old = (
            sa.select(sessions.c.id)
            .where(sessions.c.user_id == user)
            .order_by(sessions.c.created_ns.desc())
            .offset(MAX_SESSIONS - 1)
        )
        await connection.execute(sa.delete(sessions).where(sessions.c.id.in_(old)))
        row = {
            "id": session,
            "digest": digest(token),
            "user_id": user,
            "method": method,
            "address": caller.address,
            "agent": caller.agent[:200],
            "created_ns": now,
            "seen_ns": now,
            "ended_ns": 0,
        }
        await connection.execute(sa.insert(sessions), row)
        return SignedIn(token=token, caller=msgspec.structs.replace(caller, session=session))

    async def end_all(self, connection: AsyncConnection, user: str, keep: str = "") -> None:
        """End every session of a person but one, and what was begun by a password that may be another's."""
        begun = sa.and_(challenges.c.user_id == user, challenges.c.purpose == "sign-in")
        await connection.execute(sa.delete(challenges).where(begun))
        await connection.execute(
            sa.update(sessions)
            .where(sessions.c.user_id == user, sessions.c.id != keep, sessions.c.ended_ns == 0)
            .values(ended_ns=self._clock())
        )

    async def listing(self, caller: Caller) -> list[Row]:
        """Return one's own open sessions, newest first."""
        query = sa.select(sessions).where(sessions.c.user_id == caller.id).order_by(sessions.c.created_ns.desc())
        return [row for row in await self._scope.all(query) if self._is_open(row)]

    async def end(self, caller: Caller, session_id: str) -> None:
        """End one of one's own sessions. Raises UnknownNameError."""
        async with self._scope.begin() as connection:
            done = await connection.execute(
                sa.update(sessions)
                .where(sessions.c.id == session_id, sessions.c.user_id == caller.id, sessions.c.ended_ns == 0)
                .values(ended_ns=self._clock())
            )
            if done.rowcount != 1:
                raise UnknownNameError("You have no such session.", remedy="Look at the list of your sessions.")
            await append(connection, entry_of(caller, "session.end", "done", target=session_id), self._clock())
