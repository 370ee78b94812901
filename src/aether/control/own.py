"""What people change about themselves: password, authenticator app, passkeys, recovery codes."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from aether.control.access import Caller
from aether.control.audit import append, entry_of
from aether.control.challenges import wrong
from aether.control.factors import (
    new_recovery_codes,
    new_totp_seed,
    qr_svg,
    registered,
    registration_options,
    totp_step_of,
    totp_uri,
)
from aether.control.identity import Parts
from aether.control.proving import Factors
from aether.control.sessions import hold
from aether.control.throttle import FACTOR, Attempt
from aether.domain.errors import InvalidValueError, UnknownNameError
from aether.store.control_schema import passkeys, users
from aether.store.database import Row

NS = 1_000_000_000
MAX_PASSKEYS = 10


class Own:
    """One's own factors."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def change_password(self, caller: Caller, current: str, password: str) -> None:
        """Set another password and end every other session. Raises NotSignedInError when `current` is wrong."""
        user = await self._parts.people.user(caller.id)
        attempt = (Attempt(FACTOR, f"password {caller.id}"),)
        await self._parts.throttle.begin(attempt, self._parts.clock())
        if not await self._parts.passwords.matches(user.password_hash, current):
            raise wrong("The present password is wrong.")
        await self._parts.throttle.succeeded(attempt)
        await self._parts.passwords.check(password, user.email, user.name)
        hashed = await self._parts.passwords.hash(password)
        async with self._parts.scope.begin() as connection:
            await hold(connection, caller)
            await connection.execute(sa.update(users).where(users.c.id == caller.id).values(password_hash=hashed))
            await self._parts.sessions.end_all(connection, caller.id, keep=caller.session)
            await append(connection, entry_of(caller, "own.password", "done", target=user.email), self._parts.clock())

    async def new_totp(self, caller: Caller) -> Factors:
        """Return a seed for another authenticator app; it counts once a code of it is shown."""
        user = await self._parts.people.user(caller.id)
        seed = new_totp_seed()
        sealed = await self._parts.sealer.seal(seed.encode(), f"totp|{user.email}")
        challenge = await self._parts.challenges.issue("totp", caller.id, {"totp": sealed.hex()})
        uri = totp_uri(seed, user.email)
        return Factors(challenge=challenge, methods=("totp",), totp_uri=uri, totp_qr=qr_svg(uri))

    async def confirm_totp(self, caller: Caller, challenge: str, code: str) -> None:
        """Replace the authenticator app by one that shows `code`. Raises NotSignedInError when it does not fit."""
        found = await self._parts.challenges.open(challenge, "totp")
        user = await self._parts.people.user(caller.id)
        sealed, step = bytes.fromhex(found.payload["totp"]), None
        if found.user_id == caller.id:
            seed = (await self._parts.sealer.open(sealed, f"totp|{user.email}")).decode()
            step = totp_step_of(seed, code, self._parts.clock() / NS, 0)
        if step is None:
            await self._parts.proving.count_failure(found.digest, caller)
            raise wrong("The code does not fit; check the time of your phone.")
        async with self._parts.scope.begin() as connection:
            await hold(connection, caller)
            await self._parts.challenges.take(connection, found.digest)
            values = {"totp": sealed, "totp_step": step}
            await connection.execute(sa.update(users).where(users.c.id == caller.id).values(values))
            await append(connection, entry_of(caller, "own.totp", "done", target=user.email), self._parts.clock())

    async def new_passkey(self, caller: Caller) -> Factors:
        """Return options to make another passkey. Raises InvalidValueError when there are too many."""
        user = await self._parts.people.user(caller.id)
        known = await self._parts.scope.all(sa.select(passkeys.c.id).where(passkeys.c.user_id == caller.id))
        if len(known) >= MAX_PASSKEYS:
            raise InvalidValueError(f"You have {len(known)} passkeys.", remedy="Remove one first.")
        options = registration_options(
            self._parts.site, bytes(user.handle), user.email, user.name, [bytes(k.id) for k in known]
        )
        challenge = await self._parts.challenges.issue("new-passkey", caller.id, {"webauthn": options["challenge"]})
        return Factors(challenge=challenge, methods=("passkey",), passkey=options)

    async def add_passkey(self, caller: Caller, challenge: str, credential: dict[str, Any], name: str) -> None:
        """Add the passkey that a browser made. Raises NotSignedInError when it does not fit the challenge."""
        found = await self._parts.challenges.open(challenge, "new-passkey")
        made = registered(self._parts.site, found.payload["webauthn"], credential)
        if made is None or found.user_id != caller.id:
            raise wrong("The passkey does not fit; begin again.")
        async with self._parts.scope.begin() as connection:
            await hold(connection, caller)
            await self._parts.challenges.take(connection, found.digest)
            await self._parts.proving.keep_passkey(connection, caller.id, made, name)
            await append(connection, entry_of(caller, "own.passkey.add", "done", target=name), self._parts.clock())

    async def list_passkeys(self, caller: Caller) -> Sequence[Row]:
        """Return one's own passkeys."""
        return await self._parts.scope.all(
            sa.select(passkeys).where(passkeys.c.user_id == caller.id).order_by(passkeys.c.created_ns)
        )

    async def remove_passkey(self, caller: Caller, passkey_id: bytes) -> None:
        """Remove one of one's own passkeys, never the last second factor.

        Raises:
            UnknownNameError, InvalidValueError: as their messages say.
        """
        user = await self._parts.people.user(caller.id)
        async with self._parts.scope.begin() as connection:
            await hold(connection, caller)
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
            await append(
                connection, entry_of(caller, "own.passkey.remove", "done", target=chosen.name), self._parts.clock()
            )

    async def renew_recovery_codes(self, caller: Caller) -> list[str]:
        """Return new recovery codes; the old ones end."""
        codes = new_recovery_codes()
        async with self._parts.scope.begin() as connection:
            await hold(connection, caller)
            await self._parts.proving.keep_codes(connection, caller.id, codes)
            await append(connection, entry_of(caller, "own.recovery", "done", target=caller.name), self._parts.clock())
        return codes
