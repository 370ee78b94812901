"""People: invitation and enrolment, sign-in with two factors, sessions, devices.

Signing in takes two steps: something known (password, or an OpenID provider's word) opens a short-lived challenge, a
second factor (one-time code, passkey, recovery code) turns it into a session. A passkey with user verification is both
at once. A person exists only once a second factor works.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.control.access import EVERYWHERE, PLATFORM, Caller, CallerKind, Role
from aether.control.audit import append, entry_of
from aether.control.factors import (
    Passkey,
    Site,
    authentication_options,
    credential_id,
    digest,
    new_recovery_codes,
    new_token,
    new_totp_seed,
    qr_svg,
    recovery_digest,
    registered,
    registration_options,
    sign_count_of,
    totp_step_of,
    totp_uri,
)
from aether.control.passwords import Passwords, check_strength
from aether.control.sealing import Sealer
from aether.control.throttle import FACTOR, Attempt, Throttle, sign_in_attempts
from aether.domain.errors import ConflictError, InvalidValueError, NotSignedInError, UnknownNameError
from aether.store.control_schema import challenges, invitations, passkeys, recovery_codes, roles, sessions, users
from aether.store.database import Row, Scope

NS = 1_000_000_000
CHALLENGE_S = 300
INVITATION_S = 3 * 86_400
SEEN_EVERY_S = 30
MAX_SESSIONS = 20
MAX_PASSKEYS = 10

WRONG = "The e-mail address, password or second factor is wrong."


class Allowlists(msgspec.Struct, frozen=True):
    """Who may become what, from the settings alone.

    Attributes:
        admins: who may hold the role admin; empty allows anybody in development.
        directors: who may approve what another asked for; likewise.
        strict: production, where an empty list allows nobody.
    """

    admins: frozenset[str] = frozenset()
    directors: frozenset[str] = frozenset()
    strict: bool = False

    def allows_admin(self, email: str) -> bool:
        """Return whether a person may be admin."""
        return email in self.admins or not (self.admins or self.strict)

    def allows_approval(self, email: str) -> bool:
        """Return whether a person may approve what another asked for."""
        return email in self.directors or not (self.directors or self.strict)


class SessionRules(msgspec.Struct, frozen=True):
    """When sessions end."""

    idle_s: int = 1_800
    max_s: int = 43_200


class Factors(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge that waits for a second factor.

    Attributes:
        challenge: to send back with the answer.
        methods: what may answer it: `totp`, `passkey`, `recovery`.
        passkey: options for the browser's passkey dialog.
        totp_uri, totp_qr: while enrolling: the seed to put into an authenticator app.
    """

    challenge: str
    methods: tuple[str, ...]
    passkey: dict[str, Any] = {}
    totp_uri: str = ""
    totp_qr: str = ""


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was opened; `recovery_codes` only when they are new."""

    token: str
    caller: Caller
    recovery_codes: tuple[str, ...] = ()


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person as admins see them."""

    id: str
    email: str
    name: str
    roles: dict[str, Role]
    has_totp: bool
    passkeys: int
    recovery_codes: int
    created_ns: int
    disabled: bool


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A second factor, one of the three."""

    code: str = ""
    recovery_code: str = ""
    credential: dict[str, Any] | None = None


class Identity:
    """The people of a firm.

    Args:
        sealer: seals TOTP seeds.
        site: where passkeys belong to.
        clock: nanoseconds since 1970.
    """

    def __init__(
        self,
        scope: Scope,
        sealer: Sealer,
        site: Site,
        allowlists: Allowlists,
        rules: SessionRules,
        clock: Callable[[], int] = time_ns,
    ) -> None:
        self._scope = scope
        self._sealer = sealer
        self._site = site
        self.allowlists = allowlists
        self.rules = rules
        self._clock = clock
        self._passwords = Passwords()
        self._throttle = Throttle(scope)
        self._has_people = False

    # Setting people up.

    async def has_people(self) -> bool:
        """Return whether anybody can sign in yet."""
        if not self._has_people:
            query = sa.select(sa.func.count()).select_from(users)
            self._has_people = (await self._scope.all(query))[0][0] > 0
        return self._has_people

    async def first_invitation(self) -> str:
        """Return a token that sets up the first admin, once; any earlier one ends."""
        token = new_token()
        async with self._scope.begin() as connection:
            await connection.execute(sa.delete(invitations).where(invitations.c.created_by == PLATFORM.id))
            await self._write_invitation(connection, token, "", "", {EVERYWHERE: Role.ADMIN}, PLATFORM.id)
        return token

    async def invite(self, caller: Caller, email: str, name: str, given: Mapping[str, Role], reason: str) -> str:
        """Return a token with which a person sets themselves up.

        Raises:
            InvalidValueError: when the address is no address, or may not have a role.
            ConflictError: when the person exists.
        """
        email = normal_email(email)
        self._check_roles(email, given)
        token = new_token()
        async with self._scope.begin() as connection:
            if (await connection.execute(sa.select(users.c.id).where(users.c.email == email))).first():
                raise ConflictError(f"{email} is a person here already.", remedy="Change their roles instead.")
            await connection.execute(sa.delete(invitations).where(invitations.c.email == email))
            await self._write_invitation(connection, token, email, name, given, caller.id)
            entry = entry_of(caller, "users.invite", "done", target=email, after={"roles": dict(given)}, reason=reason)
            await append(connection, entry, self._clock())
        return token

    def _check_roles(self, email: str, given: Mapping[str, Role]) -> None:
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
    ) -> None:
        row = {
            "digest": digest(token),
            "email": email,
            "name": name,
            "roles": dict(given),
            "created_by": by,
            "expires_ns": self._clock() + INVITATION_S * NS,
        }
        await connection.execute(sa.insert(invitations), row)

    async def _invitation(self, connection: AsyncConnection, token: str, *, lock: bool = False) -> Row:
        query = sa.select(invitations).where(
            invitations.c.digest == digest(token), invitations.c.expires_ns > self._clock()
        )
        found = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
        if found is None:
            raise NotSignedInError(
                "This invitation is not good: it was used, has run out, or never was.",
                remedy="Ask an admin for another; for the first admin run `aether link`.",
            )
        return found

    async def invited(self, token: str) -> tuple[str, str]:
        """Return address and name in an invitation; both empty for the first admin. Raises NotSignedInError."""
        async with self._scope.begin() as connection:
            found = await self._invitation(connection, token)
        return found.email, found.name

    async def enrol(self, token: str, email: str, name: str, password: str) -> Factors:
        """Take a person's password and return what is needed for the second factor. Nothing is changed yet.

        Raises:
            NotSignedInError: when the invitation is not good.
            InvalidValueError: when address, name or password cannot be.
        """
        async with self._scope.begin() as connection:
            found = await self._invitation(connection, token)
        email = found.email or normal_email(email)
        self._check_roles(email, {a: Role(r) for a, r in found.roles.items()})
        check_strength(password, email, name)
        seed = new_totp_seed()
        sealed = await self._sealer.seal(seed.encode(), f"totp|{email}")
        handle = secrets.token_bytes(32)
        options = registration_options(self._site, handle, email, name, [])
        payload = {
            "invitation": digest(token),
            "email": email,
            "name": name,
            "password_hash": await self._passwords.hash(password),
            "totp": sealed.hex(),
            "handle": handle.hex(),
            "webauthn": options["challenge"],
        }
        challenge = await self._challenge("enrol", "", payload)
        uri = totp_uri(seed, email)
        return Factors(
            challenge=challenge, methods=("totp", "passkey"), passkey=options, totp_uri=uri, totp_qr=qr_svg(uri)
        )

    async def finish_enrolment(self, challenge: str, answer: Answer, caller: Caller) -> SignedIn:
        """Make the person once the second factor works; the invitation is used up, a session opened.

        Raises:
            NotSignedInError: when challenge or factor is wrong; a wrong code may be tried again.
        """
        found = await self._open_challenge(challenge, "enrol")
        asked = found.payload
        now = self._clock()
        step, passkey = 0, None
        if answer.credential is not None:
            passkey = registered(self._site, asked["webauthn"], answer.credential)
        else:
            seed = await self._sealer.open(bytes.fromhex(asked["totp"]), f"totp|{asked['email']}")
            step = totp_step_of(seed.decode(), answer.code, now / NS, 0) or 0
        if passkey is None and not step:
            await self._count_factor_failure(found.digest, caller)
            raise _wrong("The code does not fit; check the time of your phone.")
        codes = new_recovery_codes()
        user = secrets.token_hex(8)
        async with self._scope.begin() as connection:
            await self._take_challenge(connection, found.digest)
            query = sa.delete(invitations).where(invitations.c.digest == asked["invitation"]).returning(invitations)
            invitation = (await connection.execute(query)).one_or_none()
            if invitation is None:
                raise NotSignedInError("This invitation was used meanwhile.", remedy="Ask an admin for another.")
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
            }
            if (await connection.execute(sa.select(users.c.id).where(users.c.email == row["email"]))).first():
                raise ConflictError(f"{row['email']} is a person here already.", remedy="Sign in instead.")
            await connection.execute(sa.insert(users), row)
            given = [{"user_id": user, "account": a, "role": r} for a, r in invitation.roles.items()]
            await connection.execute(sa.insert(roles), given)
            if passkey is not None:
                await self._insert_passkey(connection, user, passkey, "First passkey")
            await self._insert_codes(connection, user, codes)
            made = Caller(**{**msgspec.structs.asdict(caller), "kind": CallerKind.PERSON, "id": user})
            made = msgspec.structs.replace(made, name=row["email"], roles=dict(invitation.roles))
            after = {"roles": invitation.roles, "factor": "passkey" if passkey else "totp"}
            await append(connection, entry_of(made, "users.enrol", "done", target=made.name, after=after), now)
            signed_in = await self._open_session(connection, user, made, "passkey" if passkey else "totp")
        self._has_people = True
        return msgspec.structs.replace(signed_in, recovery_codes=tuple(codes))

    # Signing in.

    async def sign_in(self, email: str, password: str, caller: Caller) -> Factors:
        """Check a password and return the challenge for a second factor.

        An unknown address, a wrong password and a disabled person look the same and take as long.

        Raises:
            TooManyAttemptsError, NotSignedInError: see `throttle.py`.
        """
        email = email.strip().lower()
        attempts = sign_in_attempts(email, caller.address)
        await self._throttle.check(attempts, self._clock())
        found = await self._scope.all(sa.select(users).where(users.c.email == email))
        user = found[0] if found and not found[0].disabled_ns else None
        if not await self._passwords.matches(user.password_hash if user else None, password) or user is None:
            raise await self._refuse_sign_in(attempts, email, caller)
        await self._throttle.succeeded(attempts)
        if self._passwords.is_outdated(user.password_hash):
            renewed = await self._passwords.hash(password)
            async with self._scope.begin() as connection:
                await connection.execute(sa.update(users).where(users.c.id == user.id).values(password_hash=renewed))
        return await self._ask_factor("sign-in", user, {"method": "password"})

    async def _refuse_sign_in(self, attempts: Sequence[Attempt], email: str, caller: Caller) -> NotSignedInError:
        blocked = await self._throttle.failed(attempts, self._clock())
        entry = entry_of(
            caller, "session.open", "refused", target=email, after={"blocked": blocked} if blocked else None
        )
        async with self._scope.begin() as connection:
            await append(connection, entry, self._clock())
        return _wrong()

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
        found = await self._scope.all(sa.select(users).where(match, users.c.disabled_ns == 0))
        user = next((u for u in found if u.subject == subject), found[0] if found else None)
        if user is None:
            entry = entry_of(caller, "session.open", "refused", target=email, reason="unknown to this firm")
            async with self._scope.begin() as connection:
                await append(connection, entry, self._clock())
            raise _wrong("Nobody here has that address at the provider.")
        return await self._ask_factor("sign-in", user, {"method": "oidc", "subject": subject})

    async def _ask_factor(self, purpose: str, user: Row, payload: dict[str, Any]) -> Factors:
        known = await self._scope.all(sa.select(passkeys.c.id).where(passkeys.c.user_id == user.id))
        options: dict[str, Any] = {}
        if known:
            options = authentication_options(self._site, [bytes(k.id) for k in known])
            payload = {**payload, "webauthn": options["challenge"]}
        methods = (*(("passkey",) if known else ()), *(("totp",) if user.totp else ()), "recovery")
        challenge = await self._challenge(purpose, user.id, payload)
        return Factors(challenge=challenge, methods=methods, passkey=options)

    async def finish_sign_in(self, challenge: str, answer: Answer, caller: Caller) -> SignedIn:
        """Turn a challenge and a second factor into a session.

        Raises:
            TooManyAttemptsError, NotSignedInError: as their messages say.
        """
        found = await self._open_challenge(challenge, "sign-in")
        await self._prove(found, answer, caller)
        user = (await self._scope.all(sa.select(users).where(users.c.id == found.user_id, users.c.disabled_ns == 0)))[0]
        method = f"{found.payload['method']}+{_method(answer)}"
        async with self._scope.begin() as connection:
            await self._take_challenge(connection, found.digest)
            if subject := found.payload.get("subject"):
                await connection.execute(sa.update(users).where(users.c.id == user.id).values(subject=subject))
            who = await self._person_caller(connection, user, caller)
            signed_in = await self._open_session(connection, user.id, who, method)
            entry = entry_of(signed_in.caller, "session.open", "done", target=user.email, after={"method": method})
            await append(connection, entry, self._clock())
        return signed_in

    async def passkey_challenge(self) -> Factors:
        """Return a challenge that any passkey of this site may answer."""
        options = authentication_options(self._site, [])
        challenge = await self._challenge("passkey", "", {"webauthn": options["challenge"]})
        return Factors(challenge=challenge, methods=("passkey",), passkey=options)

    async def sign_in_with_passkey(self, challenge: str, credential: dict[str, Any], caller: Caller) -> SignedIn:
        """Turn a passkey's answer into a session: it is both factors. Raises NotSignedInError."""
        found = await self._open_challenge(challenge, "passkey")
        known = await self._scope.all(sa.select(passkeys).where(passkeys.c.id == credential_id(credential)))
        people = await self._scope.all(
            sa.select(users).where(users.c.id == (known[0].user_id if known else ""), users.c.disabled_ns == 0)
        )
        count = None
        if known and people:
            stored = Passkey(bytes(known[0].id), bytes(known[0].public_key), known[0].sign_count)
            count = sign_count_of(self._site, found.payload["webauthn"], credential, stored)
        async with self._scope.begin() as connection:
            await self._take_challenge(connection, found.digest)
            if count is not None:
                user = people[0]
                await self._note_passkey(connection, bytes(known[0].id), count)
                who = await self._person_caller(connection, user, caller)
                signed_in = await self._open_session(connection, user.id, who, "passkey")
                entry = entry_of(
                    signed_in.caller, "session.open", "done", target=user.email, after={"method": "passkey"}
                )
                await append(connection, entry, self._clock())
                return signed_in
            await append(connection, entry_of(caller, "session.open", "refused", target="passkey"), self._clock())
        raise _wrong("This passkey is not known here.")

    # Second factors of people who are signed in.

    async def ask_proof(self, caller: Caller) -> Factors:
        """Return a challenge that proves a second factor again."""
        return await self._ask_factor("proof", await self._user(caller.id), {"session": caller.session})

    async def prove(self, caller: Caller, challenge: str, answer: Answer) -> str:
        """Check a second factor and return by which it was; recovery codes do not count for this.

        Raises:
            TooManyAttemptsError, NotSignedInError: as their messages say.
        """
        found = await self._open_challenge(challenge, "proof")
        if found.user_id != caller.id or found.payload["session"] != caller.session or answer.recovery_code:
            raise _wrong()
        await self._prove(found, answer, caller)
        async with self._scope.begin() as connection:
            await self._take_challenge(connection, found.digest)
        return _method(answer)

    async def _prove(self, asked: Row, answer: Answer, caller: Caller) -> None:
        """Check a second factor for a challenge of a known person; counts failures."""
        attempt = (Attempt(FACTOR, asked.user_id),)
        await self._throttle.check(attempt, self._clock())
        if not await self._is_proven(asked, answer):
            await self._throttle.failed(attempt, self._clock())
            user = await self._user(asked.user_id)
            entry = entry_of(caller, "factor.prove", "refused", target=user.email, after={"method": _method(answer)})
            async with self._scope.begin() as connection:
                await append(connection, entry, self._clock())
            raise _wrong()
        await self._throttle.succeeded(attempt)

    async def _is_proven(self, asked: Row, answer: Answer) -> bool:
        if answer.credential is not None:
            return await self._is_passkey(asked, answer.credential)
        if answer.recovery_code:
            statement = (
                sa.update(recovery_codes)
                .where(
                    recovery_codes.c.user_id == asked.user_id,
                    recovery_codes.c.digest == recovery_digest(answer.recovery_code),
                    recovery_codes.c.used_ns == 0,
                )
                .values(used_ns=self._clock())
            )
            async with self._scope.begin() as connection:
                return (await connection.execute(statement)).rowcount == 1
        return await self._is_code(asked.user_id, answer.code)

    async def _is_code(self, user_id: str, code: str) -> bool:
        user = await self._user(user_id)
        if not user.totp:
            return False
        seed = (await self._sealer.open(bytes(user.totp), f"totp|{user.email}")).decode()
        step = totp_step_of(seed, code, self._clock() / NS, user.totp_step)
        if step is None:
            return False
        statement = sa.update(users).where(users.c.id == user_id, users.c.totp_step < step).values(totp_step=step)
        async with self._scope.begin() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def _is_passkey(self, asked: Row, credential: dict[str, Any]) -> bool:
        query = sa.select(passkeys).where(
            passkeys.c.id == credential_id(credential), passkeys.c.user_id == asked.user_id
        )
        found = await self._scope.all(query)
        if not found or "webauthn" not in asked.payload:
            return False
        stored = Passkey(bytes(found[0].id), bytes(found[0].public_key), found[0].sign_count)
        count = sign_count_of(self._site, asked.payload["webauthn"], credential, stored)
        if count is None:
            return False
        async with self._scope.begin() as connection:
            await self._note_passkey(connection, stored.id, count)
        return True

    async def _note_passkey(self, connection: AsyncConnection, key: bytes, count: int) -> None:
        values = {"sign_count": count, "used_ns": self._clock()}
        await connection.execute(sa.update(passkeys).where(passkeys.c.id == key).values(values))

    # One's own factors and devices.

    async def person(self, user_id: str) -> Person:
        """Return one person. Raises UnknownNameError."""
        found = [p for p in await self.people() if p.id == user_id]
        if not found:
            raise UnknownNameError(f"There is no person {user_id!r}.", remedy="Look at the list of users.")
        return found[0]

    async def change_password(self, caller: Caller, current: str, password: str) -> None:
        """Set another password and end every other session. Raises NotSignedInError when `current` is wrong."""
        user = await self._user(caller.id)
        attempt = (Attempt(FACTOR, caller.id),)
        await self._throttle.check(attempt, self._clock())
        if not await self._passwords.matches(user.password_hash, current):
            await self._throttle.failed(attempt, self._clock())
            raise _wrong("The present password is wrong.")
        check_strength(password, user.email, user.name)
        hashed = await self._passwords.hash(password)
        async with self._scope.begin() as connection:
            await connection.execute(sa.update(users).where(users.c.id == caller.id).values(password_hash=hashed))
            await self._end_sessions(connection, caller.id, keep=caller.session)
            await append(connection, entry_of(caller, "own.password", "done", target=user.email), self._clock())

    async def new_totp(self, caller: Caller) -> Factors:
        """Return a seed for another authenticator app; it counts once a code of it is shown."""
        user = await self._user(caller.id)
        seed = new_totp_seed()
        sealed = await self._sealer.seal(seed.encode(), f"totp|{user.email}")
        challenge = await self._challenge("totp", caller.id, {"totp": sealed.hex()})
        uri = totp_uri(seed, user.email)
        return Factors(challenge=challenge, methods=("totp",), totp_uri=uri, totp_qr=qr_svg(uri))

    async def confirm_totp(self, caller: Caller, challenge: str, code: str) -> None:
        """Replace the authenticator app by one that shows `code`. Raises NotSignedInError when it does not fit."""
        found = await self._open_challenge(challenge, "totp")
        user = await self._user(caller.id)
        sealed = bytes.fromhex(found.payload["totp"])
        seed = (await self._sealer.open(sealed, f"totp|{user.email}")).decode()
        step = totp_step_of(seed, code, self._clock() / NS, 0)
        if found.user_id != caller.id or step is None:
            await self._count_factor_failure(found.digest, caller)
            raise _wrong("The code does not fit; check the time of your phone.")
        async with self._scope.begin() as connection:
            await self._take_challenge(connection, found.digest)
            values = {"totp": sealed, "totp_step": step}
            await connection.execute(sa.update(users).where(users.c.id == caller.id).values(values))
            await append(connection, entry_of(caller, "own.totp", "done", target=user.email), self._clock())

    async def new_passkey(self, caller: Caller) -> Factors:
        """Return options to make another passkey. Raises InvalidValueError when there are too many."""
        user = await self._user(caller.id)
        known = await self._scope.all(sa.select(passkeys.c.id).where(passkeys.c.user_id == caller.id))
        if len(known) >= MAX_PASSKEYS:
            raise InvalidValueError(f"You have {len(known)} passkeys.", remedy="Remove one first.")
        options = registration_options(
            self._site, bytes(user.handle), user.email, user.name, [bytes(k.id) for k in known]
        )
        challenge = await self._challenge("new-passkey", caller.id, {"webauthn": options["challenge"]})
        return Factors(challenge=challenge, methods=("passkey",), passkey=options)

    async def add_passkey(self, caller: Caller, challenge: str, credential: dict[str, Any], name: str) -> None:
        """Add the passkey that a browser made. Raises NotSignedInError when it does not fit the challenge."""
        found = await self._open_challenge(challenge, "new-passkey")
        made = registered(self._site, found.payload["webauthn"], credential)
        if made is None or found.user_id != caller.id:
            raise _wrong("The passkey does not fit; begin again.")
        async with self._scope.begin() as connection:
            await self._take_challenge(connection, found.digest)
            await self._insert_passkey(connection, caller.id, made, name)
            await append(connection, entry_of(caller, "own.passkey.add", "done", target=name), self._clock())

    async def list_passkeys(self, caller: Caller) -> Sequence[Row]:
        """Return one's own passkeys."""
        return await self._scope.all(
            sa.select(passkeys).where(passkeys.c.user_id == caller.id).order_by(passkeys.c.created_ns)
        )

    async def remove_passkey(self, caller: Caller, passkey_id: bytes) -> None:
        """Remove one of one's own passkeys, never the last second factor.

        Raises:
            UnknownNameError, InvalidValueError: as their messages say.
        """
        user = await self._user(caller.id)
        async with self._scope.begin() as connection:
            mine = passkeys.c.user_id == caller.id
            known = (await connection.execute(sa.select(passkeys).where(mine).with_for_update())).all()
            chosen = next((k for k in known if bytes(k.id) == passkey_id), None)
            if chosen is None:
                raise UnknownNameError("You have no such passkey.", remedy="Look at the list of your passkeys.")
            if len(known) == 1 and not user.totp:
                raise InvalidValueError(
                    "This passkey is your only second factor.", remedy="Set up an authenticator app first."
                )
            await connection.execute(sa.delete(passkeys).where(mine, passkeys.c.id == passkey_id))
            await append(connection, entry_of(caller, "own.passkey.remove", "done", target=chosen.name), self._clock())

    async def renew_recovery_codes(self, caller: Caller) -> list[str]:
        """Return new recovery codes; the old ones end."""
        codes = new_recovery_codes()
        async with self._scope.begin() as connection:
            await self._insert_codes(connection, caller.id, codes)
            await append(connection, entry_of(caller, "own.recovery", "done", target=caller.name), self._clock())
        return codes

    async def list_sessions(self, caller: Caller) -> list[Row]:
        """Return one's own open sessions, newest first."""
        query = sa.select(sessions).where(sessions.c.user_id == caller.id).order_by(sessions.c.created_ns.desc())
        return [row for row in await self._scope.all(query) if self._is_open(row)]

    async def end_session(self, caller: Caller, session_id: str) -> None:
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

    # Sessions.

    async def caller_of(self, token: str, where: Caller) -> Caller | None:
        """Return whose session a token is, None when it is nobody's or has ended.

        Args:
            where: address, agent and request of the caller.
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
            if now - row.seen_ns > SEEN_EVERY_S * NS:
                await connection.execute(sa.update(sessions).where(sessions.c.id == row.id).values(seen_ns=now))
            held = await connection.execute(sa.select(roles).where(roles.c.user_id == row.user_id))
            return msgspec.structs.replace(
                where,
                kind=CallerKind.PERSON,
                id=row.user_id,
                name=row.email,
                roles={r.account: Role(r.role) for r in held},
                session=row.id,
            )

    def _is_open(self, row: Row) -> bool:
        now = self._clock()
        idle, age = now - row.seen_ns, now - row.created_ns
        return not row.ended_ns and idle < self.rules.idle_s * NS and age < self.rules.max_s * NS

    async def _open_session(self, connection: AsyncConnection, user: str, caller: Caller, method: str) -> SignedIn:
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

    async def _end_sessions(self, connection: AsyncConnection, user: str, keep: str = "") -> None:
        await connection.execute(
            sa.update(sessions)
            .where(sessions.c.user_id == user, sessions.c.id != keep, sessions.c.ended_ns == 0)
            .values(ended_ns=self._clock())
        )

    # People as admins see them.

    async def people(self) -> list[Person]:
        """Return everybody, by address."""
        async with self._scope.begin() as connection:
            found = (await connection.execute(sa.select(users).order_by(users.c.email))).all()
            held: dict[str, dict[str, Role]] = {}
            for r in await connection.execute(sa.select(roles)):
                held.setdefault(r.user_id, {})[r.account] = Role(r.role)
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
                has_totp=bool(u.totp),
                passkeys=keys.get(u.id, 0),
                recovery_codes=codes.get(u.id, 0),
                created_ns=u.created_ns,
                disabled=bool(u.disabled_ns),
            )
            for u in found
        ]

    async def set_roles(self, caller: Caller, user_id: str, given: Mapping[str, Role], reason: str) -> None:
        """Give a person exactly these roles; their sessions go on with them.

        Raises:
            InvalidValueError: when a role may not be given, or no admin would be left.
        """
        user = await self._user(user_id)
        self._check_roles(user.email, given)
        async with self._scope.begin() as connection:
            await connection.execute(sa.text("LOCK TABLE roles IN SHARE ROW EXCLUSIVE MODE"))
            held = await connection.execute(sa.select(roles).where(roles.c.user_id == user_id))
            before = {r.account: r.role for r in held}
            await connection.execute(sa.delete(roles).where(roles.c.user_id == user_id))
            await connection.execute(
                sa.insert(roles), [{"user_id": user_id, "account": a, "role": r} for a, r in given.items()]
            )
            await self._keep_an_admin(connection)
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
        user = await self._user(user_id)
        async with self._scope.begin() as connection:
            await connection.execute(sa.text("LOCK TABLE roles IN SHARE ROW EXCLUSIVE MODE"))
            values = {"disabled_ns": self._clock() if disabled else 0}
            await connection.execute(sa.update(users).where(users.c.id == user_id).values(values))
            if disabled:
                await self._end_sessions(connection, user_id)
            await self._keep_an_admin(connection)
            action = "users.disable" if disabled else "users.enable"
            await append(connection, entry_of(caller, action, "done", target=user.email, reason=reason), self._clock())

    async def sign_out(self, caller: Caller, user_id: str, reason: str) -> None:
        """End every session of a person. Raises UnknownNameError."""
        user = await self._user(user_id)
        async with self._scope.begin() as connection:
            await self._end_sessions(connection, user_id)
            entry = entry_of(caller, "users.sign_out", "done", target=user.email, reason=reason)
            await append(connection, entry, self._clock())

    async def _keep_an_admin(self, connection: AsyncConnection) -> None:
        query = (
            sa.select(sa.func.count())
            .select_from(roles.join(users, users.c.id == roles.c.user_id))
            .where(roles.c.account == EVERYWHERE, roles.c.role == Role.ADMIN, users.c.disabled_ns == 0)
        )
        if (await connection.execute(query)).scalar_one() == 0:
            raise InvalidValueError("No admin would be left.", remedy="Make somebody else admin first.")

    async def reset_factors(self, email: str) -> str:
        """Return an invitation that lets a person who lost everything enrol anew; for whoever rules the machine.

        Their sessions, passkeys and codes end; roles stay in the invitation. Raises UnknownNameError.
        """
        found = await self._scope.all(sa.select(users).where(users.c.email == normal_email(email)))
        if not found:
            raise UnknownNameError(f"There is no person {email!r}.", remedy="Look at the list of users.")
        user, token = found[0], new_token()
        async with self._scope.begin() as connection:
            held = await connection.execute(sa.select(roles).where(roles.c.user_id == user.id))
            given = {r.account: Role(r.role) for r in held}
            values = {"email": f"{user.email}#{user.id}", "disabled_ns": self._clock(), "subject": "", "totp": b""}
            await connection.execute(sa.update(users).where(users.c.id == user.id).values(values))
            for table in (roles, passkeys, recovery_codes):
                await connection.execute(sa.delete(table).where(table.c.user_id == user.id))
            await self._end_sessions(connection, user.id)
            await self._write_invitation(connection, token, user.email, user.name, given, PLATFORM.id + "-reset")
            await append(connection, entry_of(PLATFORM, "users.reset", "done", target=user.email), self._clock())
        return token

    # Parts.

    async def _user(self, user_id: str) -> Row:
        found = await self._scope.all(sa.select(users).where(users.c.id == user_id))
        if not found:
            raise UnknownNameError(f"There is no person {user_id!r}.", remedy="Look at the list of users.")
        return found[0]

    async def _person_caller(self, connection: AsyncConnection, user: Row, where: Caller) -> Caller:
        held = await connection.execute(sa.select(roles).where(roles.c.user_id == user.id))
        return msgspec.structs.replace(
            where,
            kind=CallerKind.PERSON,
            id=user.id,
            name=user.email,
            roles={r.account: Role(r.role) for r in held},
        )

    async def _challenge(self, purpose: str, user_id: str, payload: dict[str, Any]) -> str:
        token, now = new_token(), self._clock()
        row = {
            "digest": digest(token),
            "purpose": purpose,
            "user_id": user_id,
            "payload": payload,
            "expires_ns": now + CHALLENGE_S * NS,
        }
        async with self._scope.begin() as connection:
            await connection.execute(sa.delete(challenges).where(challenges.c.expires_ns < now))
            await connection.execute(sa.insert(challenges), row)
        return token

    async def _open_challenge(self, token: str, purpose: str) -> Row:
        """Return a challenge that still waits. Raises NotSignedInError."""
        query = sa.select(challenges).where(
            challenges.c.digest == digest(token),
            challenges.c.purpose == purpose,
            challenges.c.expires_ns > self._clock(),
        )
        found = await self._scope.all(query)
        if not found:
            raise _wrong("This took too long, or was answered already; begin again.")
        return found[0]

    async def _take_challenge(self, connection: AsyncConnection, key: str) -> None:
        """Use up a challenge; whoever comes second is refused."""
        done = await connection.execute(sa.delete(challenges).where(challenges.c.digest == key))
        if done.rowcount != 1:
            raise _wrong("This was answered already; begin again.")

    async def _count_factor_failure(self, key: str, caller: Caller) -> None:
        attempt = (Attempt(FACTOR, f"challenge {key}"),)
        if await self._throttle.failed(attempt, self._clock()):
            async with self._scope.begin() as connection:
                await connection.execute(sa.delete(challenges).where(challenges.c.digest == key))
                await append(connection, entry_of(caller, "factor.enrol", "refused"), self._clock())

    async def _insert_passkey(self, connection: AsyncConnection, user: str, made: Passkey, name: str) -> None:
        row = {
            "id": made.id,
            "user_id": user,
            "public_key": made.public_key,
            "sign_count": made.sign_count,
            "name": name,
            "created_ns": self._clock(),
            "used_ns": 0,
        }
        await connection.execute(sa.insert(passkeys), row)

    async def _insert_codes(self, connection: AsyncConnection, user: str, codes: Sequence[str]) -> None:
        await connection.execute(sa.delete(recovery_codes).where(recovery_codes.c.user_id == user))
        rows = [{"user_id": user, "digest": recovery_digest(code), "used_ns": 0} for code in codes]
        await connection.execute(sa.insert(recovery_codes), rows)


def normal_email(text: str) -> str:
    """Return an e-mail address as it is stored. Raises InvalidValueError when it is none."""
    email = text.strip().lower()
    local, _, domain = email.partition("@")
    plain = all(c.isprintable() and c not in ' "(),:;<>[]\\#' for c in email)
    if not (local and "." in domain.strip(".") and plain and email.count("@") == 1 and len(email) <= 254):
        raise InvalidValueError(f"{text[:80]!r} is no e-mail address.", remedy="Write it like name@example.com.")
    return email


def _method(answer: Answer) -> str:
    return "passkey" if answer.credential is not None else "recovery" if answer.recovery_code else "totp"


def _wrong(message: str = WRONG) -> NotSignedInError:
    return NotSignedInError(message, remedy="Try again, or ask an admin.")
