"""Attempts that failed, and how long the next one has to wait: per account and address, and per each alone.

Counts live in the database, so every replica and restart knows them. Waits double; nobody is locked out for ever, and
one who attacks an account from elsewhere slows its owner only after many more attempts, and never on a device that they
have signed in from before, nor with a passkey.
"""

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from aether.domain.errors import TooManyAttemptsError
from aether.store.control_schema import throttles
from aether.store.database import Scope

NS = 1_000_000_000
FIRST_WAIT_S = 2
LONGEST_WAIT_S = 900
FORGET_S = 3_600
"""A key without failures for so long starts anew."""


def network_of(address: str) -> str:
    """Return what strangers of an address are counted by: for IPv6 the network that one host is given (/64)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)


class Rule(NamedTuple):
    """How many failures a kind of key allows before waits begin."""

    kind: str
    free_failures: int


PAIR = Rule("pair", 5)
"""An account tried from one address."""
ACCOUNT = Rule("account", 50)
"""An account tried from anywhere."""
ADDRESS = Rule("address", 30)
"""An address trying any account."""
PASSKEY = Rule("passkey", 30)
"""An address showing passkeys that are not known."""
DEVICE = Rule("device", 10)
"""A device that an account was signed in from before: counted alone, whatever others try."""
FACTOR = Rule("factor", 5)
"""A person's second factor."""
LINK = Rule("link", 10)
"""An invitation with which somebody tries passwords."""


class Attempt(NamedTuple):
    """A key with its rule."""

    rule: Rule
    key: str

    @property
    def name(self) -> str:
        """As it is stored."""
        return f"{self.rule.kind}:{self.key}"


def sign_in_attempts(email: str, address: str, device: str) -> tuple[Attempt, ...]:
    """Return the keys that a sign-in counts towards; `device` is the digest of a known one's token, empty for none."""
    if device:
        return (Attempt(DEVICE, device),)
    network = network_of(address)
    return Attempt(PAIR, f"{email} {network}"), Attempt(ACCOUNT, email), Attempt(ADDRESS, network)


class Throttle:
    """Counts attempts and refuses those that come too soon."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def begin(self, attempts: Sequence[Attempt], now_ns: int) -> bool:
        """Count an attempt as failed before it is looked at, so that many at once are worth no more than in a row.

        Returns:
            Whether the next attempt has to wait, should this one fail.

        Raises:
            TooManyAttemptsError: while any of the keys has to wait; nothing is counted then. It says for how long and
                is the same for accounts that exist and those that do not.
        """
        blocked = False
        async with self._scope.begin() as connection:
            await self._refuse_blocked(connection, attempts, now_ns)
            for attempt in sorted(attempts, key=lambda a: a.name):
                failures = (await connection.execute(_count(attempt, now_ns))).scalar_one_or_none()
                if failures is None:
                    await self._refuse_blocked(connection, attempts, now_ns)
                    continue
                over = failures - attempt.rule.free_failures
                if over >= 0:
                    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(over, 20))
                    await connection.execute(
                        sa.update(throttles)
                        .where(throttles.c.key == attempt.name)
                        .values(blocked_until_ns=now_ns + wait_s * NS)
                    )
                    blocked = True
        return blocked

    async def _refuse_blocked(self, connection: AsyncConnection, attempts: Sequence[Attempt], now_ns: int) -> None:
        query = sa.select(sa.func.max(throttles.c.blocked_until_ns)).where(
            throttles.c.key.in_([a.name for a in attempts])
        )
        until = (await connection.execute(query)).scalar_one() or 0
        if until > now_ns:
            wait_s = (until - now_ns) / NS
            raise TooManyAttemptsError(
                "There were too many attempts.",
                remedy=f"Wait {max(1, round(wait_s))} s before the next one; a passkey works meanwhile.",
                retry_after_s=wait_s,
            )

    async def succeeded(self, attempts: Sequence[Attempt]) -> None:
        """Forget the failures of keys that belong to one account; of an address only this attempt is taken back."""
        async with self._scope.begin() as connection:
            for attempt in sorted(attempts, key=lambda a: a.name):
                mine = throttles.c.key == attempt.name
                if attempt.rule is not ADDRESS:
                    await connection.execute(sa.delete(throttles).where(mine))
                    continue
                left = throttles.c.failures - 1
                free = left < attempt.rule.free_failures
                blocked_until = sa.case((free, 0), else_=throttles.c.blocked_until_ns)
                await connection.execute(
                    sa.update(throttles).where(mine).values(failures=left, blocked_until_ns=blocked_until)
                )

    async def forget(self, now_ns: int) -> None:
        """Delete what counts no more: strangers write a row for each name that they try."""
        old = throttles.c.updated_ns < now_ns - (FORGET_S + LONGEST_WAIT_S) * NS
        async with self._scope.begin() as connection:
            await connection.execute(sa.delete(throttles).where(old))

    async def failures(self, attempt: Attempt, now_ns: int) -> int:
        """Return how many attempts failed lately."""
        query = sa.select(throttles.c.failures).where(
            throttles.c.key == attempt.name, throttles.c.updated_ns >= now_ns - FORGET_S * NS
        )
        found = await self._scope.all(query)
        return int(found[0].failures) if found else 0


def _count(attempt: Attempt, now_ns: int) -> ReturningInsert[int]:
    """Return the statement that counts a failure and returns how many there are; no row while the key has to wait."""
    values = {"key": attempt.name, "failures": 1, "updated_ns": now_ns, "blocked_until_ns": 0}
    stale = throttles.c.updated_ns < now_ns - FORGET_S * NS
    return (
        insert(throttles)
        .values(values)
        .on_conflict_do_update(
            index_elements=[throttles.c.key],
            set_={"failures": sa.case((stale, 1), else_=throttles.c.failures + 1), "updated_ns": now_ns},
            where=throttles.c.blocked_until_ns <= now_ns,
        )
        .returning(throttles.c.failures)
    )
