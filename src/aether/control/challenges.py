"""What was asked and waits for one answer: short-lived, bound to its purpose, used up by whoever answers first."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aether.control.factors import digest, new_token
from aether.domain.errors import NotSignedInError
from aether.store.control_schema import challenges
from aether.store.database import Row, Scope

NS = 1_000_000_000
CHALLENGE_S = 300
WRONG = "The e-mail address, password or second factor is wrong."


class Challenges:
    """The challenges of a firm."""

    def __init__(self, scope: Scope, clock: Callable[[], int]) -> None:
        self._scope = scope
        self._clock = clock

    async def issue(self, purpose: str, user_id: str, payload: dict[str, Any]) -> str:
        """Return the token of a new challenge."""
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

    async def open(self, token: str, purpose: str) -> Row:
        """Return a challenge that still waits. Raises NotSignedInError."""
        query = sa.select(challenges).where(
            challenges.c.digest == digest(token),
            challenges.c.purpose == purpose,
            challenges.c.expires_ns > self._clock(),
        )
        found = await self._scope.all(query)
        if not found:
            raise wrong("This took too long, or was answered already; begin again.")
        return found[0]

    async def take(self, connection: AsyncConnection, key: str) -> None:
        """Use up a challenge; whoever comes second is refused."""
        done = await connection.execute(sa.delete(challenges).where(challenges.c.digest == key))
        if done.rowcount != 1:
            raise wrong("This was answered already; begin again.")


def wrong(message: str = WRONG) -> NotSignedInError:
    """Return the refusal of whatever does not fit."""
    return NotSignedInError(message, remedy="Try again, or ask an admin.")
