"""Vouching for people whose role weighs: no one person makes a director.

Where two people are needed, whoever invites an admin never sees the link. Another admin hands it over, or the owner of
the machine does. The role counts once somebody who did not hold the link has made sure of who came in by it; what the
machine's owner handed over counts at once: the settings that name the admins are theirs as well.
"""

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from aether.control.access import PLATFORM, Caller, Role, normal_email
from aether.control.audit import append, entry_of
from aether.control.factors import digest, new_token
from aether.control.people import RESET, People
from aether.control.sessions import hold
from aether.domain.errors import RefusedError, UnknownNameError
from aether.store.control_schema import invitations, roles, users
from aether.store.database import Row, Scope


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation that is still good.

    Attributes:
        invited_by: address of the admin; `platform` for the machine's owner.
        held_by: who was given the link last; empty for nobody yet.
    """

    email: str
    name: str
    roles: dict[str, Role]
    invited_by: str
    held_by: str
    expires_ns: int


class Vouching:
    """Hands links over and lets roles count."""

    def __init__(self, scope: Scope, people: People, clock: Callable[[], int]) -> None:
        self._scope = scope
        self._people = people
        self._clock = clock

    async def invited(self) -> list[Invited]:
        """Return the invitations that are still good, by address; the first admin's is not among them."""
        query = sa.select(invitations).where(invitations.c.expires_ns > self._clock(), invitations.c.email != "")
        found = await self._scope.all(query.order_by(invitations.c.email))
        return [
            Invited(
                email=r.email,
                name=r.name,
                roles={account: Role(role) for account, role in r.roles.items()},
                invited_by=r.created_by,
                held_by=r.held_by,
                expires_ns=r.expires_ns,
            )
            for r in found
        ]

    async def hand_over(self, caller: Caller, email: str) -> str:
        """Return a new token of an invitation, for somebody other than who invited; an earlier link ends.

        Raises:
            UnknownNameError: when nobody of that address is invited.
            RefusedError: when the caller invited the person, or it is the machine's owner who lets them in anew.
        """
        email, token = normal_email(email), new_token()
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            query = sa.select(invitations).where(invitations.c.email == email, invitations.c.expires_ns > self._clock())
            found = (await connection.execute(query.with_for_update())).one_or_none()
            if found is None:
                raise UnknownNameError(f"Nobody with the address {email} is invited.", remedy="Invite them first.")
            self._check_hands_over(caller, found)
            await connection.execute(
                sa.update(invitations)
                .where(invitations.c.digest == found.digest)
                .values(digest=digest(token), held_by=caller.name)
            )
            await append(connection, entry_of(caller, "users.link", "done", target=email), self._clock())
        return token

    def _check_hands_over(self, caller: Caller, found: Row) -> None:
        if caller.kind is PLATFORM.kind:
            return
        if found.created_by == RESET:
            raise RefusedError(
                f"The machine's owner lets {found.email} in anew.", remedy="Ask them for the link: aether users reset."
            )
        if found.created_by == caller.name and self._people.needs_vouching(found.roles):
            raise RefusedError(
                f"You invited {found.email} yourself.",
                remedy="Another admin hands the link over, or the machine's owner: aether users vouch.",
            )

    async def confirm(self, caller: Caller, user_id: str, reason: str) -> None:
        """Let the roles of a person count, by somebody who made sure that it is they.

        Raises:
            UnknownNameError: when there is no such person, or nothing waits.
            RefusedError: when the caller held the link, or is the person.
        """
        user = await self._people.user(user_id)
        self._check_confirms(caller, user)
        async with self._scope.begin() as connection:
            await hold(connection, caller)
            changed = await connection.execute(
                sa.update(roles).where(roles.c.user_id == user_id, roles.c.waits_ns != 0).values(waits_ns=0)
            )
            if not changed.rowcount:
                raise UnknownNameError(f"No role of {user.email} waits.", remedy="Look at the list of users.")
            entry = entry_of(caller, "users.confirm", "done", target=user.email, reason=reason)
            await append(connection, entry, self._clock())

    def _check_confirms(self, caller: Caller, user: Row) -> None:
        if caller.kind is PLATFORM.kind:
            return
        if caller.id == user.id:
            raise RefusedError("Nobody confirms themselves.", remedy="Another admin must.")
        if caller.name == user.link_held_by:
            raise RefusedError(
                f"You held the link of {user.email}.",
                remedy="An admin who did not hold it must confirm, or the machine's owner: aether users vouch.",
            )

    async def vouch(self, email: str) -> str:
        """Let the machine's owner answer for a person: their role counts, or for who is invited, return a token.

        Returns:
            the token of the invitation; empty when the person is set up and their role counts now.

        Raises:
            UnknownNameError: when the person is neither invited nor waits.
        """
        found = await self._scope.all(sa.select(users.c.id).where(users.c.email == normal_email(email)))
        if not found:
            return await self.hand_over(PLATFORM, email)
        await self.confirm(PLATFORM, found[0].id, "the machine's owner answers for them")
        return ""
