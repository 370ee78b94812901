"""The people of a firm: who is invited, who is what where, who is locked out.

Who may be admin comes from the settings alone, and an admin always stays; in production so do two directors, or nothing
could be approved any more.
"""

from collections.abc import Callable, Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.control.access import (
    DIRECTORS,
    EVERYWHERE,
    PLATFORM,
    Allowlists,
    Caller,
    Role,
    normal_email,
)
from aether.control.audit import append, entry_of
from aether.control.factors import digest, new_token
from aether.control.sessions import Sessions, hold, roles_of
from aether.control.tokens import is_covered
from aether.domain.errors import ConflictError, InvalidValueError, NotSignedInError, UnknownNameError
from aether.store.control_schema import invitations, passkeys, recovery_codes, roles, tokens, users
from aether.store.database import Row, Scope

NS = 1_000_000_000
INVITATION_S = 3 * 86_400
RESET = "platform, for a reset"
"""Who made the invitation of somebody who is set up anew."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person as admins see them; `waits` until somebody has confirmed that it is they: no role counts till then."""

    id: str
    email: str
    name: str
    roles: dict[str, Role]
    waits: bool
    has_totp: bool
    passkeys: int
    recovery_codes: int
    created_ns: int
    disabled: bool


class People:
    """The people, as admins see and manage them.

    Args:
        two_people: whether somebody else has to vouch for a new admin.
    """

    def __init__(
        self,
        scope: Scope,
        sessions: Sessions,
        allowlists: Allowlists,
        clock: Callable[[], int],
        *,
        two_people: bool = False,
    ) -> None:
        self._two_people = two_people
        self._scope = scope
        self._sessions = sessions
        self.allowlists = allowlists
        self._clock = clock
        self._any = False

    async def has_people(self) -> bool:
        """Return whether anybody can sign in yet."""
        if not self._any:
            query = sa.select(sa.func.count()).select_from(users)
            self._any = (await self._scope.all(query))[0][0] > 0
        return self._any

    async def first_invitation(self) -> str:
        """Return a token that sets up the first admin, once; any earlier one ends.

        Raises ConflictError when somebody is set up.
        """
        token = new_token()
        async with self._scope.begin() as connection:
            await self._lock_invitations(connection)
            if (await connection.execute(sa.select(users.c.id).limit(1))).first():
                raise ConflictError("People are set up already.", remedy="Let an admin invite you.")
            await connection.execute(sa.delete(invitations).where(invitations.c.email == ""))
            given, by = {EVERYWHERE: Role.ADMIN}, PLATFORM.name
            await self._write_invitation(connection, token, "", "", given, by, by)
        return token

    async def invite(self, caller: Caller, email: str, name: str, given: Mapping[str, Role], reason: str) -> str:
        """Return a token with which a person sets themselves up; none when another must hand it over (`Vouching`).

        Raises:
            InvalidValueError: when the address is no address, or may not have a role.
            ConflictError: when the person exists.
        """
        email = normal_email(email)
        self.check_roles(email, given)
        token = new_token()
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await self._lock_invitations(connection)
            if (await connection.execute(sa.select(users.c.id).where(users.c.email == email))).first():
                raise ConflictError(f"{email} is a person here already.", remedy="Change their roles instead.")
            await connection.execute(sa.delete(invitations).where(invitations.c.email == email))
            holder = "" if self.needs_vouching(given) else caller.name
            await self._write_invitation(connection, token, email, name, given, caller.name, holder)
            entry = entry_of(caller, "users.invite", "done", target=email, after={"roles": dict(given)}, reason=reason)
            await append(connection, entry, self._clock())
        return token if holder else ""

    async def _lock_invitations(self, connection: AsyncConnection) -> None:
        """Let nobody else invite meanwhile: there is one invitation for an address."""
        await connection.execute(sa.text("LOCK TABLE invitations IN SHARE ROW EXCLUSIVE MODE"))

    def needs_vouching(self, given: Mapping[str, str]) -> bool:
        """Return whether somebody other than who invites must vouch for a person with these roles."""
        return self._two_people and Role.ADMIN in given.values()

    def waits(self, invitation: Row) -> bool:
        """Return whether the roles of an invitation count only when somebody has confirmed the person."""
        return self.needs_vouching(invitation.roles) and invitation.held_by != PLATFORM.name

    def check_roles(self, email: str, given: Mapping[str, Role]) -> None:
        """Refuse roles that a person may not have. Raises InvalidValueError."""
        if not given:
            raise InvalidValueError("No role is given.", remedy="Give at least one, for an account or for *.")
        if Role.SERVICE in given.values():
            raise InvalidValueError("People cannot be services.", remedy="Make a token for a service instead.")
        if Role.ADMIN in given.values() and email and not self.allowlists.allows_admin(email):
            raise InvalidValueError(
                f"{email} is not among those who may be admin.",
                remedy="Add the address to AETHER_ADMINS and restart, or give another role.",
            )

    async def _write_invitation(
        self,
        connection: AsyncConnection,
        token: str,
        email: str,
        name: str,
        given: Mapping[str, Role],
        by: str,
        held_by: str,
    ) -> None:
        row = {
            "digest": digest(token),
            "email": email,
            "name": name,
            "roles": dict(given),
            "created_by": by,
            "expires_ns": self._clock() + INVITATION_S * NS,
            "held_by": held_by,
        }
        await connection.execute(sa.insert(invitations), row)

    async def invitation(self, connection: AsyncConnection, token: str) -> Row:
        """Return an invitation that is still good. Raises NotSignedInError."""
        query = sa.select(invitations).where(
            invitations.c.digest == digest(token), invitations.c.expires_ns > self._clock()
        )
        found = (await connection.execute(query)).one_or_none()
        if found is None:
            raise NotSignedInError(
                "This invitation is not good: it was used, has run out, or never was.",
                remedy="Ask an admin for another; for the first admin run `aether link`.",
            )
        return found

    async def invited(self, token: str) -> tuple[str, str]:
        """Return address and name in an invitation; both empty for the first admin. Raises NotSignedInError."""
        async with self._scope.begin() as connection:
            found = await self.invitation(connection, token)
        return found.email, found.name

    async def person(self, user_id: str) -> Person:
        """Return one person. Raises UnknownNameError."""
        found = [p for p in await self.listing() if p.id == user_id]
        if not found:
            raise UnknownNameError(f"There is no person {user_id!r}.", remedy="Look at the list of users.")
        return found[0]

    async def listing(self) -> list[Person]:
        """Return everybody, by address."""
        async with self._scope.begin() as connection:
            found = (await connection.execute(sa.select(users).order_by(users.c.email))).all()
            held: dict[str, dict[str, Role]] = {}
            waiting = set()
            for r in await connection.execute(sa.select(roles)):
                held.setdefault(r.user_id, {})[r.account] = Role(r.role)
                if r.waits_ns:
                    waiting.add(r.user_id)
            count = sa.func.count()
            by_user = sa.select(passkeys.c.user_id, count).group_by(passkeys.c.user_id)
            keys = {r[0]: r[1] for r in await connection.execute(by_user)}
            unused = sa.select(recovery_codes.c.user_id, count).where(recovery_codes.c.used_ns == 0)
            codes = {r[0]: r[1] for r in await connection.execute(unused.group_by(recovery_codes.c.user_id))}
        return [
            Person(
                id=u.id,
                email=u.email,
                name=u.name,
                roles=held.get(u.id, {}),
                waits=u.id in waiting,
                has_totp=bool(u.totp),
                passkeys=keys.get(u.id, 0),
                recovery_codes=codes.get(u.id, 0),
                created_ns=u.created_ns,
                disabled=bool(u.disabled_ns),
            )
            for u in found
        ]

    async def user(self, user_id: str) -> Row:
        """Return a person as stored. Raises UnknownNameError."""
        found = await self._scope.all(sa.select(users).where(users.c.id == user_id))
        if not found:
            raise UnknownNameError(f"There is no person {user_id!r}.", remedy="Look at the list of users.")
        return found[0]

    async def set_roles(self, caller: Caller, user_id: str, given: Mapping[str, Role], reason: str) -> None:
        """Give a person exactly these roles; their sessions go on with them, and what waits to be confirmed waits.

        Raises:
            InvalidValueError: when a role may not be given, or too few directors would be left.
        """
        user = await self.user(user_id)
        self.check_roles(user.email, given)
        async with self._scope.begin() as connection:
            await self._lock_roles(connection, caller, user_id)
            held = (await connection.execute(sa.select(roles).where(roles.c.user_id == user_id))).all()
            before = {r.account: Role(r.role) for r in held}
            waits_ns = max((r.waits_ns for r in held), default=0) if self.needs_vouching(given) else 0
            await connection.execute(sa.delete(roles).where(roles.c.user_id == user_id))
            await connection.execute(
                sa.insert(roles),
                [{"user_id": user_id, "account": a, "role": r, "waits_ns": waits_ns} for a, r in given.items()],
            )
            await self._keep_an_admin(connection)
            was_admin, is_admin = (all_.get(EVERYWHERE) is Role.ADMIN for all_ in (before, given))
            if was_admin and not is_admin and not waits_ns:
                await self._keep_directors(connection, user.email)
            await self._end_what_they_made(connection, caller, user.email, given)
            entry = entry_of(
                caller,
                "users.roles",
                "done",
                target=user.email,
                before=before,
                after=dict(given),
                reason=reason,
            )
            await append(connection, entry, self._clock())

    async def set_disabled(self, caller: Caller, user_id: str, *, disabled: bool, reason: str) -> None:
        """Lock a person out at once, or let them in again. Raises InvalidValueError when no admin would be left."""
        user = await self.user(user_id)
        async with self._scope.begin() as connection:
            await self._lock_roles(connection, caller, user_id)
            values = {"disabled_ns": self._clock() if disabled else 0}
            await connection.execute(sa.update(users).where(users.c.id == user_id).values(values))
            if disabled:
                await self._sessions.end_all(connection, user_id)
                if (await roles_of(connection, user_id)).get(EVERYWHERE) is Role.ADMIN:
                    await self._keep_directors(connection, user.email)
                await self._end_what_they_made(connection, caller, user.email, {})
            await self._keep_an_admin(connection)
            action = "users.disable" if disabled else "users.enable"
            await append(connection, entry_of(caller, action, "done", target=user.email, reason=reason), self._clock())

    async def _lock_roles(self, connection: AsyncConnection, caller: Caller, user_id: str) -> None:
        """Let nobody else change roles meanwhile, nor the person act, nor the caller have lost theirs."""
        await connection.execute(sa.text("LOCK TABLE roles IN SHARE ROW EXCLUSIVE MODE"))
        await hold(connection, caller)
        await connection.execute(sa.select(users.c.id).where(users.c.id == user_id).with_for_update())

    async def _end_what_they_made(
        self, connection: AsyncConnection, caller: Caller, email: str, given: Mapping[str, Role]
    ) -> None:
        """End invitations of a person and tokens of services that may do what they, with these roles, may not."""
        if given.get(EVERYWHERE) is not Role.ADMIN:
            theirs = sa.or_(invitations.c.created_by == email, invitations.c.held_by == email)
            await connection.execute(sa.delete(invitations).where(theirs))
        query = sa.select(tokens).where(tokens.c.created_by == email, tokens.c.ended_ns == 0)
        for token in await connection.execute(query):
            if is_covered(token, email, given):
                continue
            await connection.execute(sa.update(tokens).where(tokens.c.id == token.id).values(ended_ns=self._clock()))
            reason = f"{email}, who made it, may not do that any more"
            entry = entry_of(caller, "tokens.revoke", "done", target=token.name, reason=reason)
            await append(connection, entry, self._clock())

    async def sign_out(self, caller: Caller, user_id: str, reason: str) -> None:
        """End every session of a person. Raises UnknownNameError."""
        user = await self.user(user_id)
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            await self._sessions.end_all(connection, user_id)
            entry = entry_of(caller, "users.sign_out", "done", target=user.email, reason=reason)
            await append(connection, entry, self._clock())

    async def _keep_an_admin(self, connection: AsyncConnection) -> None:
        query = (
            sa.select(users.c.email)
            .select_from(roles.join(users, users.c.id == roles.c.user_id))
            .where(
                roles.c.account == EVERYWHERE,
                roles.c.role == Role.ADMIN,
                roles.c.waits_ns == 0,
                users.c.disabled_ns == 0,
            )
        )
        if not any(map(self.allowlists.allows_admin, (await connection.execute(query)).scalars())):
            raise InvalidValueError("No admin would be left.", remedy="Make somebody else admin first.")

    async def _keep_directors(self, connection: AsyncConnection, disabled: str) -> None:
        """Refuse to take a director when fewer than two would be left to approve each other's requests."""
        if not self._two_people or not self.allowlists.allows_approval(disabled):
            return
        query = (
            sa.select(users.c.email)
            .distinct()
            .select_from(roles.join(users, users.c.id == roles.c.user_id))
            .where(
                roles.c.account == EVERYWHERE,
                roles.c.role == Role.ADMIN,
                roles.c.waits_ns == 0,
                users.c.disabled_ns == 0,
            )
        )
        left = (await connection.execute(query)).scalars()
        count = sum(map(self.allowlists.allows_approval, left))
        if count < DIRECTORS:
            raise InvalidValueError(
                f"Only {count} of the directors could decide without {disabled}, {DIRECTORS} are needed to approve.",
                remedy="Have another director set up first; to end this one's sessions, sign them out.",
            )

    async def reset_factors(self, email: str) -> str:
        """Return an invitation that lets a person who lost everything enrol anew; for whoever rules the machine.

        Their sessions, passkeys and codes end; roles stay in the invitation. Raises UnknownNameError,
        ConflictError.
        """
        found = await self._scope.all(sa.select(users).where(users.c.email == normal_email(email)))
        if not found:
            raise UnknownNameError(f"There is no person {email!r}.", remedy="Look at the list of users.")
        user, token = found[0], new_token()
        if user.disabled_ns:
            raise ConflictError(
                f"{user.email} is locked out.", remedy="Let an admin let them in first: aether users disable --undo."
            )
        async with self._scope.begin() as connection:
            rows = await connection.execute(sa.select(roles).where(roles.c.user_id == user.id))
            given = {r.account: Role(r.role) for r in rows}
            values = {"email": f"{user.email}#{user.id}", "disabled_ns": self._clock(), "subject": "", "totp": b""}
            await connection.execute(sa.update(users).where(users.c.id == user.id).values(values))
            for table in (roles, passkeys, recovery_codes):
                await connection.execute(sa.delete(table).where(table.c.user_id == user.id))
            await self._sessions.end_all(connection, user.id)
            await connection.execute(sa.delete(invitations).where(invitations.c.email == user.email))
            await self._end_what_they_made(connection, PLATFORM, user.email, {})
            await self._write_invitation(connection, token, user.email, user.name, given, RESET, PLATFORM.name)
            await append(connection, entry_of(PLATFORM, "users.reset", "done", target=user.email), self._clock())
        return token
