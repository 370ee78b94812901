"""The roster: who is who, and which accounts there are, for stops in the minutes when the database does not answer.

To stop needs less proof than to trade. While the database answers, it is asked; this copy is read anew whenever
sessions, tokens, people or roles change, and every few seconds besides, so that whoever signed out, was disabled or
lost a role is not in it any more.
"""

from collections.abc import Awaitable, Callable
from math import inf

import msgspec
import sqlalchemy as sa

from aether.clock import monotonic_s
from aether.control.access import Allowlists, Caller, CallerKind, Role
from aether.control.factors import digest
from aether.control.sessions import SessionRules, person_of
from aether.control.tokens import is_covered, service_of
from aether.domain.errors import AetherError
from aether.store.control_schema import account_scopes, roles, sessions, tokens, users
from aether.store.database import CONNECTION_ERRORS, Scope
from aether.telemetry import Trouble, logger

NS = 1_000_000_000
GOOD_FOR_S = 15 * 60

_log = logger("roster")
_NOBODY = Caller(kind=CallerKind.PERSON, id="", name="nobody")


class _Entry(msgspec.Struct, frozen=True):
    """Somebody, and until when by the session or token."""

    caller: Caller
    until_ns: int


class Roster:
    """A copy of who is who.

    Args:
        clock: nanoseconds since 1970, by which sessions and tokens end.
        age_clock: seconds; must not jump.
    """

    def __init__(
        self,
        scope: Scope,
        rules: SessionRules,
        allowlists: Allowlists,
        clock: Callable[[], int],
        age_clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self.accounts: frozenset[str] = frozenset()
        """The accounts that there are."""
        self.has_people = True
        """Whether anybody is set up; the machine's owner may stop until then."""
        self._scope = scope
        self._rules = rules
        self._allowlists = allowlists
        self._clock = clock
        self._age_clock = age_clock
        self._entries: dict[str, _Entry] = {}
        self._read_s = -inf

    @property
    def is_good(self) -> bool:
        """Whether it was read lately enough to be believed."""
        return self._age_clock() - self._read_s < GOOD_FOR_S

    def caller_of(self, token: str, where: Caller) -> Caller | None:
        """Return who a session or token of a service is; None when it is nobody's, or the copy is too old."""
        entry = self._entries.get(digest(token))
        if entry is None or not self.is_good or self._clock() >= entry.until_ns:
            return None
        known = entry.caller
        return msgspec.structs.replace(
            where,
            kind=known.kind,
            id=known.id,
            name=known.name,
            roles=known.roles,
            actions=known.actions,
            session=known.session,
        )

    async def read(self) -> None:
        """Read it anew."""
        now, read_s = self._clock(), self._age_clock()
        async with self._scope.begin() as connection:
            held: dict[str, dict[str, Role]] = {}
            for row in await connection.execute(sa.select(roles).where(roles.c.waits_ns == 0)):
                held.setdefault(row.user_id, {})[row.account] = Role(row.role)
            open_sessions = (
                sa.select(sessions, users.c.email)
                .join(users, users.c.id == sessions.c.user_id)
                .where(sessions.c.ended_ns == 0, users.c.disabled_ns == 0)
            )
            found = {
                row.digest: _Entry(
                    person_of(row, held.get(row.user_id, {}), self._allowlists, _NOBODY),
                    min(row.seen_ns + self._rules.idle_s * NS, row.created_ns + self._rules.max_s * NS),
                )
                for row in await connection.execute(open_sessions)
            }
            services = sa.select(tokens).where(tokens.c.ended_ns == 0, tokens.c.expires_ns > now)
            people = sa.select(users.c.email, users.c.id).where(users.c.disabled_ns == 0)
            makers = {
                row.email: self._allowlists.held(row.email, held.get(row.id, {}))
                for row in await connection.execute(people)
            }
            found |= {
                row.digest: _Entry(service_of(row, _NOBODY), row.expires_ns)
                for row in await connection.execute(services)
                if is_covered(row, row.created_by, makers.get(row.created_by, {}))
            }
            self.has_people = bool((await connection.execute(sa.select(sa.func.count()).select_from(users))).scalar())
            self.accounts = frozenset((await connection.execute(sa.select(account_scopes.c.account))).scalars())
        self._entries = found
        self._read_s = read_s

    async def follow(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Read it anew after each change, until canceled; while the database is away it stays as it is."""
        trouble = Trouble(_log, "roster_not_read")
        while True:
            try:
                await self.read()
                trouble.over()
            except (AetherError, *CONNECTION_ERRORS, sa.exc.SQLAlchemyError, TimeoutError) as error:
                trouble.tell(error)
            await changed()
