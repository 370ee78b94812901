"""Proving a second factor of somebody who is known: asks, checks against what is stored, counts failures."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.control.access import Caller
from aether.control.audit import append, entry_of
from aether.control.challenges import Challenges, wrong
from aether.control.factors import (
    Passkey,
    Site,
    authentication_options,
    credential_id,
    recovery_digest,
    sign_count_of,
    totp_step_of,
)
from aether.control.people import People
from aether.control.sealing import Sealer
from aether.control.throttle import FACTOR, Attempt, Throttle
from aether.store.control_schema import challenges, passkeys, recovery_codes, users
from aether.store.database import Row, Scope

NS = 1_000_000_000


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


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A second factor, one of the three."""

    code: str = ""
    recovery_code: str = ""
    credential: dict[str, Any] | None = None


USED = "This code was used already; wait for the next one, which your app shows within half a minute."
"""Only who was shown a code that was right hears of it."""


class Proving:
    """The second factors of a firm's people.

    Args:
        sealer: seals TOTP seeds.
        site: where passkeys belong to.
    """

    def __init__(
        self,
        scope: Scope,
        sealer: Sealer,
        site: Site,
        people: People,
        challenges_: Challenges,
        throttle: Throttle,
        clock: Callable[[], int],
    ) -> None:
        self._scope = scope
        self._sealer = sealer
        self._site = site
        self._people = people
        self._challenges = challenges_
        self._throttle = throttle
        self._clock = clock

    async def ask(self, purpose: str, user: Row, payload: dict[str, Any]) -> Factors:
        """Return a challenge that one of a person's second factors answers."""
        known = await self._scope.all(sa.select(passkeys.c.id).where(passkeys.c.user_id == user.id))
        options: dict[str, Any] = {}
        if known:
            options = authentication_options(self._site, [bytes(k.id) for k in known])
            payload = {**payload, "webauthn": options["challenge"]}
        methods = (*(("passkey",) if known else ()), *(("totp",) if user.totp else ()), "recovery")
        challenge = await self._challenges.issue(purpose, user.id, payload)
        return Factors(challenge=challenge, methods=methods, passkey=options)

    async def prove(self, asked: Row, answer: Answer, caller: Caller) -> None:
        """Check a second factor for a challenge of a known person; counts failures."""
        attempt = self._counted(asked, answer)
        await self._throttle.begin(attempt, self._clock())
        if not await self._is_proven(asked, answer):
            user = await self._people.user(asked.user_id)
            entry = entry_of(caller, "factor.prove", "refused", target=user.email, after={"method": method_of(answer)})
            async with self._scope.begin() as connection:
                await append(connection, entry, self._clock())
            raise wrong()
        await self._throttle.succeeded(attempt)

    def _counted(self, asked: Row, answer: Answer) -> tuple[Attempt, ...]:
        """Return what a failure counts towards.

        A passkey cannot be guessed; and who knows a password alone slows down no session that is open.
        """
        where = asked.payload.get("session", "sign-in")
        return () if answer.credential is not None else (Attempt(FACTOR, f"{asked.user_id} {where}"),)

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
        user = await self._people.user(user_id)
        if not user.totp:
            return False
        seed = (await self._sealer.open(bytes(user.totp), f"totp|{user.email}")).decode()
        step = totp_step_of(seed, code, self._clock() / NS, user.totp_step)
        if step is None:
            if totp_step_of(seed, code, self._clock() / NS, 0) is not None:
                raise wrong(USED)
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
            await self.note_passkey(connection, stored.id, count)
        return True

    async def note_passkey(self, connection: AsyncConnection, key: bytes, count: int) -> None:
        """Keep a passkey's new counter."""
        values = {"sign_count": count, "used_ns": self._clock()}
        await connection.execute(sa.update(passkeys).where(passkeys.c.id == key).values(values))

    async def keep_passkey(self, connection: AsyncConnection, user: str, made: Passkey, name: str) -> None:
        """Store a person's new passkey."""
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

    async def keep_codes(self, connection: AsyncConnection, user: str, codes: Sequence[str]) -> None:
        """Store a person's recovery codes in the place of the old ones."""
        await connection.execute(sa.delete(recovery_codes).where(recovery_codes.c.user_id == user))
        rows = [{"user_id": user, "digest": recovery_digest(code), "used_ns": 0} for code in codes]
        await connection.execute(sa.insert(recovery_codes), rows)

    async def count_failure(self, key: str, caller: Caller) -> None:
        """Count a wrong answer while something is set up; too many end the challenge."""
        attempt = (Attempt(FACTOR, f"challenge {key}"),)
        if await self._throttle.begin(attempt, self._clock()):
            async with self._scope.begin() as connection:
                await connection.execute(sa.delete(challenges).where(challenges.c.digest == key))
                await append(connection, entry_of(caller, "factor.enrol", "refused"), self._clock())


def method_of(answer: Answer) -> str:
    """Return by what an answer proves."""
    return "passkey" if answer.credential is not None else "recovery" if answer.recovery_code else "totp"
