"""Tokens of services: a name, the actions it may use, where, and until when."""

import secrets
from collections.abc import Callable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from aether.clock import wall_ns
from aether.control.access import ACTIONS, EVERYWHERE, Allowlists, Caller, CallerKind, Reach, Role
from aether.control.audit import append, entry_of
from aether.control.factors import digest, new_token
from aether.control.sessions import hold, roles_of
from aether.domain.errors import InvalidValueError, UnknownNameError
from aether.store.control_schema import tokens, users
from aether.store.database import Row, Scope

NS = 1_000_000_000
DAY_S = 86_400
MAX_DAYS = 365
USED_EVERY_S = 60
ARMED = "kill.flatten"
TOKEN_PREFIX = "aether_"  # noqa: S105  what secret scanners look for


def service_of(token: Row, where: Caller) -> Caller:
    """Return the caller that a token is."""
    return msgspec.structs.replace(
        where,
        kind=CallerKind.SERVICE,
        id=token.id,
        name=f"service {token.name}",
        roles=dict.fromkeys(token.accounts or [EVERYWHERE], Role.SERVICE),
        actions=frozenset(token.permissions),
    )


def is_covered(token: Row, email: str, held: Mapping[str, Role]) -> bool:
    """Return whether who made a token, with the roles that they hold now, may do all that it may."""
    maker = Caller(kind=CallerKind.PERSON, id=email, name=email, roles=held)
    return all(maker.may(ACTIONS[a], account) for a in token.permissions for account in token.accounts)


class TokenPlan(msgspec.Struct, frozen=True):
    """A token that is asked for; of its text there is only a digest."""

    digest: str
    name: str
    actions: tuple[str, ...]
    accounts: tuple[str, ...]
    days: int

    @property
    def is_armed(self) -> bool:
        """Whether it may do what takes a second person to hand on."""
        return ARMED in self.actions


def new_text() -> str:
    """Return the text of a new token."""
    return TOKEN_PREFIX + new_token()


class Tokens:
    """Makes, ends and recognises tokens of services."""

    def __init__(self, scope: Scope, allowlists: Allowlists, clock: Callable[[], int] = wall_ns) -> None:
        self._scope = scope
        self._allowlists = allowlists
        self._clock = clock

    def check(self, caller: Caller, wanted: TokenPlan) -> None:
        """Refuse what cannot be. Raises InvalidValueError."""
        allowed = sorted(a.name for a in ACTIONS.values() if a.service)
        for chosen in wanted.actions:
            if chosen not in allowed:
                raise InvalidValueError(f"Services may not use {chosen!r}.", remedy=f"Choose of {', '.join(allowed)}.")
            for account in wanted.accounts:
                if ACTIONS[chosen].reach is Reach.ACCOUNT and not caller.may(ACTIONS[chosen], account):
                    raise InvalidValueError(f"You may not {chosen} in {account}.", remedy="Choose other accounts.")
        if not (wanted.actions and wanted.accounts and 1 <= wanted.days <= MAX_DAYS):
            raise InvalidValueError(
                f"The token has {len(wanted.actions)} actions, {len(wanted.accounts)} accounts and {wanted.days} days.",
                remedy=f"Give at least one of each, and 1 to {MAX_DAYS} days.",
            )

    async def create(self, caller: Caller, wanted: TokenPlan) -> str:
        """Make a token; return its id.

        Raises:
            InvalidValueError: when an action is not for services, or the caller may not do it there.
        """
        self.check(caller, wanted)
        token, now = secrets.token_hex(8), self._clock()
        row = {
            "id": token,
            "digest": wanted.digest,
            "name": wanted.name,
            "permissions": list(wanted.actions),
            "accounts": list(wanted.accounts),
            "created_by": caller.name,
            "created_ns": now,
            "expires_ns": now + wanted.days * DAY_S * NS,
            "used_ns": 0,
            "ended_ns": 0,
        }
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await connection.execute(sa.insert(tokens), row)
            after = {"actions": wanted.actions, "accounts": wanted.accounts, "days": wanted.days}
            await append(connection, entry_of(caller, "tokens.create", "done", target=wanted.name, after=after), now)
        return token

    async def listing(self) -> Sequence[Row]:
        """Return all tokens, newest first."""
        return await self._scope.all(sa.select(tokens).order_by(tokens.c.created_ns.desc()))

    async def revoke(self, caller: Caller, token_id: str) -> None:
        """End a token at once. Raises UnknownNameError."""
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            ended = await connection.execute(
                sa.update(tokens)
                .where(tokens.c.id == token_id, tokens.c.ended_ns == 0)
                .values(ended_ns=self._clock())
                .returning(tokens.c.name)
            )
            row = ended.one_or_none()
            if row is None:
                raise UnknownNameError(f"There is no token {token_id!r} to end.", remedy="Look at the list of tokens.")
            await append(connection, entry_of(caller, "tokens.revoke", "done", target=row.name), self._clock())

    async def caller_of(self, text: str, where: Caller) -> Caller | None:
        """Return whose token it is; None when it is nobody's, has ended or run out, or its maker may do less now."""
        now = self._clock()
        query = sa.select(tokens).where(
            tokens.c.digest == digest(text), tokens.c.ended_ns == 0, tokens.c.expires_ns > now
        )
        async with self._scope.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return None
            query = sa.select(users.c.id).where(users.c.email == row.created_by, users.c.disabled_ns == 0)
            maker = (await connection.execute(query)).scalar()
            held = self._allowlists.held(row.created_by, await roles_of(connection, maker)) if maker else {}
            if not is_covered(row, row.created_by, held):
                return None
            if now - row.used_ns > USED_EVERY_S * NS:
                await connection.execute(sa.update(tokens).where(tokens.c.id == row.id).values(used_ns=now))
        return service_of(row, where)
