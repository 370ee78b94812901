"""Becoming somebody: enrolment by invitation, and sign-in with two factors.

Signing in takes two steps: something known (password, or an OpenID provider's word) opens a short-lived challenge, a
second factor (one-time code, passkey, recovery code) turns it into a session. A passkey with user verification is both
at once. A person exists only once a second factor works.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.control.access import Caller, CallerKind, Role, normal_email
from aether.control.audit import append, entry_of
from aether.control.challenges import Challenges, wrong
from aether.control.devices import Devices
from aether.control.factors import (
    Passkey,
    Site,
    authentication_options,
    credential_id,
    digest,
    new_recovery_codes,
    new_totp_seed,
    qr_svg,
    registered,
    registration_options,
    sign_count_of,
    totp_step_of,
    totp_uri,
)
from aether.control.passwords import Passwords
from aether.control.people import People
from aether.control.proving import Answer, Factors, Proving, method_of
from aether.control.sealing import Sealer
from aether.control.sessions import Sessions, SignedIn
from aether.control.throttle import ACCOUNT, LINK, PASSKEY, Attempt, Throttle, network_of, sign_in_attempts
from aether.domain.errors import ConflictError, NotSignedInError
from aether.store.control_schema import invitations, passkeys, roles, users
from aether.store.database import Scope

NS = 1_000_000_000


@dataclass(frozen=True)
class Parts:
    """What enrolment, sign-in and one's own factors work with.

    Attributes:
        sealer: seals TOTP seeds.
        site: where passkeys belong to.
        clock: nanoseconds since 1970.
    """

    scope: Scope
    sealer: Sealer
    site: Site
    people: People
    sessions: Sessions
    proving: Proving
    challenges: Challenges
    throttle: Throttle
    passwords: Passwords
    devices: Devices
    clock: Callable[[], int]


class Identity:
    """Enrolment and sign-in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def enrol(self, token: str, email: str, name: str, password: str) -> Factors:
        """Take a person's password and return what is needed for the second factor. Nothing is changed yet.

        Raises:
            NotSignedInError: when the invitation is not good.
            InvalidValueError: when address, name or password cannot be.
            TooManyAttemptsError: after many passwords that cannot be.
        """
        async with self._parts.scope.begin() as connection:
            found = await self._parts.people.invitation(connection, token)
        email = found.email or normal_email(email)
        self._parts.people.check_roles(email, {a: Role(r) for a, r in found.roles.items()})
        attempt = (Attempt(LINK, digest(token)),)
        await self._parts.throttle.begin(attempt, self._parts.clock())
        await self._parts.passwords.check(password, email, name)
        await self._parts.throttle.succeeded(attempt)
        seed = new_totp_seed()
        sealed = await self._parts.sealer.seal(seed.encode(), f"totp|{email}")
        handle = secrets.token_bytes(32)
        options = registration_options(self._parts.site, handle, email, name, [])
        payload = {
            "invitation": digest(token),
            "email": email,
            "name": name,
            "password_hash": await self._parts.passwords.hash(password),
            "totp": sealed.hex(),
            "handle": handle.hex(),
            "webauthn": options["challenge"],
        }
        challenge = await self._parts.challenges.issue("enrol", "", payload)
        uri = totp_uri(seed, email)
        return Factors(
            challenge=challenge, methods=("totp", "passkey"), passkey=options, totp_uri=uri, totp_qr=qr_svg(uri)
        )

    async def finish_enrolment(self, challenge: str, answer: Answer, caller: Caller) -> SignedIn:
        """Make the person once the second factor works; the invitation is used up, a session opened.

        Raises:
            NotSignedInError: when challenge or factor is wrong; a wrong code may be tried again.
        """
        found = await self._parts.challenges.open(challenge, "enrol")
        asked = found.payload
        now = self._parts.clock()
        step, passkey = 0, None
        if answer.credential is not None:
            passkey = registered(self._parts.site, asked["webauthn"], answer.credential)
        else:
            seed = await self._parts.sealer.open(bytes.fromhex(asked["totp"]), f"totp|{asked['email']}")
            step = totp_step_of(seed.decode(), answer.code, now / NS, 0) or 0
        if passkey is None and not step:
            await self._parts.proving.count_failure(found.digest, caller)
            raise wrong("The code does not fit; check the time of your phone.")
        codes = new_recovery_codes()
        user = secrets.token_hex(8)
        async with self._parts.scope.begin() as connection:
            await self._parts.challenges.take(connection, found.digest)
            query = sa.delete(invitations).where(invitations.c.digest == asked["invitation"]).returning(invitations)
            invitation = (await connection.execute(query)).one_or_none()
            if invitation is None:
                raise NotSignedInError("This invitation was used meanwhile.", remedy="Ask an admin for another.")
            if not invitation.email:
                await self._refuse_second_first(connection)
            row = {
                "id": user,
                "email": asked["email"],
                "name": asked["name"],
                "password_hash": asked["password_hash"],
                "handle": bytes.fromhex(asked["handle"]),
                "totp": bytes.fromhex(asked["totp"]) if step else b"",
                "totp_step": step,
                "subject": "",
                "created_ns": now,
                "disabled_ns": 0,
                "link_held_by": invitation.held_by,
            }
            if (await connection.execute(sa.select(users.c.id).where(users.c.email == row["email"]))).first():
                raise ConflictError(f"{row['email']} is a person here already.", remedy="Sign in instead.")
            await connection.execute(sa.insert(users), row)
            waits_ns = now if self._parts.people.waits(invitation) else 0
            given = [
                {"user_id": user, "account": a, "role": r, "waits_ns": waits_ns} for a, r in invitation.roles.items()
            ]
            await connection.execute(sa.insert(roles), given)
            if passkey is not None:
                await self._parts.proving.keep_passkey(connection, user, passkey, "First passkey")
            await self._parts.proving.keep_codes(connection, user, codes)
            made = Caller(**{**msgspec.structs.asdict(caller), "kind": CallerKind.PERSON, "id": user})
            made = msgspec.structs.replace(made, name=row["email"], roles={} if waits_ns else dict(invitation.roles))
            after = {"roles": invitation.roles, "waits": bool(waits_ns), "factor": "passkey" if passkey else "totp"}
            await append(connection, entry_of(made, "users.enrol", "done", target=made.name, after=after), now)
            signed_in = await self._parts.sessions.open(connection, user, made, "passkey" if passkey else "totp")
        return msgspec.structs.replace(signed_in, recovery_codes=tuple(codes))

    async def _refuse_second_first(self, connection: AsyncConnection) -> None:
        """Let one person come in by the machine's link, whatever links there were. Raises ConflictError."""
        await connection.execute(sa.text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"))
        if (await connection.execute(sa.select(users.c.id).limit(1))).first():
            raise ConflictError("Another was set up meanwhile.", remedy="Let them invite you.")

    async def sign_in(self, email: str, password: str, caller: Caller, device: str = "") -> Factors:
        """Check a password and return the challenge for a second factor.

        An unknown address, a wrong password and a disabled person look the same and take as long.

        Args:
            device: the token that a device was given when the person signed in from it before.

        Raises:
            TooManyAttemptsError, NotSignedInError: see `throttle.py`.
        """
        email = email.strip().lower()
        known = digest(device) if self._parts.devices.knows(device, email) else ""
        attempts = sign_in_attempts(email, caller.address, known)
        blocked = await self._parts.throttle.begin(attempts, self._parts.clock())
        found = await self._parts.scope.all(sa.select(users).where(users.c.email == email))
        user = found[0] if found and not found[0].disabled_ns else None
        if not await self._parts.passwords.matches(user.password_hash if user else None, password) or user is None:
            raise await self._refuse_sign_in(email, blocked, caller)
        await self._parts.throttle.succeeded(attempts)
        if self._parts.passwords.is_outdated(user.password_hash):
            renewed = await self._parts.passwords.hash(password)
            async with self._parts.scope.begin() as connection:
                await connection.execute(sa.update(users).where(users.c.id == user.id).values(password_hash=renewed))
        return await self._parts.proving.ask("sign-in", user, {"method": "password"})

    async def attacks(self, email: str) -> int:
        """Return how many wrong passwords were tried lately for an address, on devices that it never signed in from."""
        return await self._parts.throttle.failures(Attempt(ACCOUNT, email), self._parts.clock())

    async def _refuse_sign_in(self, email: str, blocked: bool, caller: Caller) -> NotSignedInError:
        entry = entry_of(
            caller, "session.open", "refused", target=email, after={"blocked": blocked} if blocked else None
        )
        async with self._parts.scope.begin() as connection:
            await append(connection, entry, self._parts.clock())
        return wrong()

    async def sign_in_by_subject(self, subject: str, email: str, caller: Caller) -> Factors:
        """Return the challenge for a person whom an OpenID provider vouches for; it stands for the password.

        The provider's subject is tied to the person at the first time, by a verified e-mail address.

        Raises:
            NotSignedInError: when nobody here is meant.
        """
        email = email.strip().lower()
        match = users.c.subject == subject
        if email:
            match = sa.or_(match, sa.and_(users.c.email == email, users.c.subject == ""))
        found = await self._parts.scope.all(sa.select(users).where(match, users.c.disabled_ns == 0))
        user = next((u for u in found if u.subject == subject), found[0] if found else None)
        if user is None:
            entry = entry_of(caller, "session.open", "refused", target=email, reason="unknown to this firm")
            async with self._parts.scope.begin() as connection:
                await append(connection, entry, self._parts.clock())
            raise wrong("Nobody here has that address at the provider.")
        return await self._parts.proving.ask("sign-in", user, {"method": "oidc", "subject": subject})

    async def finish_sign_in(self, challenge: str, answer: Answer, caller: Caller) -> SignedIn:
        """Turn a challenge and a second factor into a session.

        Raises:
            TooManyAttemptsError, NotSignedInError: as their messages say.
        """
        found = await self._parts.challenges.open(challenge, "sign-in")
        await self._parts.proving.prove(found, answer, caller)
        known = await self._parts.scope.all(
            sa.select(users).where(users.c.id == found.user_id, users.c.disabled_ns == 0)
        )
        if not known:
            raise wrong()
        user = known[0]
        method = f"{found.payload['method']}+{method_of(answer)}"
        async with self._parts.scope.begin() as connection:
            await self._parts.challenges.take(connection, found.digest)
            if subject := found.payload.get("subject"):
                await connection.execute(sa.update(users).where(users.c.id == user.id).values(subject=subject))
            who = await self._parts.sessions.as_person(connection, user, caller)
            signed_in = await self._parts.sessions.open(connection, user.id, who, method)
            entry = entry_of(signed_in.caller, "session.open", "done", target=user.email, after={"method": method})
            await append(connection, entry, self._parts.clock())
        return signed_in

    async def passkey_challenge(self) -> Factors:
        """Return a challenge that any passkey of this site may answer."""
        options = authentication_options(self._parts.site, [])
        challenge = await self._parts.challenges.issue("passkey", "", {"webauthn": options["challenge"]})
        return Factors(challenge=challenge, methods=("passkey",), passkey=options)

    async def sign_in_with_passkey(self, challenge: str, credential: dict[str, Any], caller: Caller) -> SignedIn:
        """Turn a passkey's answer into a session: it is both factors. Raises NotSignedInError."""
        found = await self._parts.challenges.open(challenge, "passkey")
        known = await self._parts.scope.all(sa.select(passkeys).where(passkeys.c.id == credential_id(credential)))
        people = await self._parts.scope.all(
            sa.select(users).where(users.c.id == (known[0].user_id if known else ""), users.c.disabled_ns == 0)
        )
        count = None
        if known and people:
            stored = Passkey(bytes(known[0].id), bytes(known[0].public_key), known[0].sign_count)
            count = sign_count_of(self._parts.site, found.payload["webauthn"], credential, stored)
        tried = (Attempt(PASSKEY, network_of(caller.address)),)
        if count is None:
            await self._parts.throttle.begin(tried, self._parts.clock())
        async with self._parts.scope.begin() as connection:
            await self._parts.challenges.take(connection, found.digest)
            if count is not None:
                user = people[0]
                await self._parts.proving.note_passkey(connection, bytes(known[0].id), count)
                who = await self._parts.sessions.as_person(connection, user, caller)
                signed_in = await self._parts.sessions.open(connection, user.id, who, "passkey")
                entry = entry_of(
                    signed_in.caller, "session.open", "done", target=user.email, after={"method": "passkey"}
                )
                await append(connection, entry, self._parts.clock())
                return signed_in
            await append(connection, entry_of(caller, "session.open", "refused", target="passkey"), self._parts.clock())
        raise wrong("This passkey is not known here.")

    async def ask_proof(self, caller: Caller) -> Factors:
        """Return a challenge that proves a second factor again."""
        return await self._parts.proving.ask(
            "proof", await self._parts.people.user(caller.id), {"session": caller.session}
        )

    async def prove(self, caller: Caller, challenge: str, answer: Answer) -> str:
        """Check a second factor and return by which it was; recovery codes do not count for this.

        Raises:
            TooManyAttemptsError, NotSignedInError: as their messages say.
        """
        found = await self._parts.challenges.open(challenge, "proof")
        if found.user_id != caller.id or found.payload["session"] != caller.session or answer.recovery_code:
            raise wrong()
        await self._parts.proving.prove(found, answer, caller)
        async with self._parts.scope.begin() as connection:
            await self._parts.challenges.take(connection, found.digest)
        return method_of(answer)
