"""Leases: which node owns a market's accounts, and with which epoch.

A lease lasts until its holder gives it back, or does not renew it in time by the database's clock, or the same holder
begins anew. Each owner has the next epoch. A commit names the epoch that it is made in and holds its row while it lasts
(`hold_lease`): whoever takes the lease waits for it, and finds what it wrote; one that comes later is refused. A node
that knows an older schema than the last owner never takes over from it.
"""

from typing import NamedTuple

import asyncpg

from aether import __version__
from aether.domain.errors import FencedError
from aether.store.schema import REVISION

LEASE_OVER, LOG_GONE_ON = "AE001", "AE002"
"""What the database says to a writer that is not the owner any more."""

_TAKE = "SELECT epoch, holder, version, is_taken, reason FROM take_lease($1, $2, $3, $4, $5)"
_RENEW = """
UPDATE leases SET until = clock_timestamp() + make_interval(secs => $3) WHERE log = $1 AND epoch = $2
AND ended_at IS NULL RETURNING epoch
"""
_END = "UPDATE leases SET ended_at = clock_timestamp() WHERE log = $1 AND epoch = $2 AND ended_at IS NULL"


class Claim(NamedTuple):
    """What became of asking for a lease: ours now, or another's.

    Attributes:
        epoch, holder, version: of the lease as it is now.
        reason: why it is not ours: `held`, or `newer` where the last owner knew a newer schema.
    """

    epoch: int
    holder: str
    version: str
    is_taken: bool
    reason: str


class Held(NamedTuple):
    """A lease that a writer holds."""

    log: str
    epoch: int


async def take(connection: asyncpg.Connection, log: str, holder: str, seconds: float) -> Claim:
    """Ask for the lease of a market's accounts."""
    return Claim(*await connection.fetchrow(_TAKE, log, holder, __version__, REVISION, seconds))


async def renew(connection: asyncpg.Connection, held: Held, seconds: float) -> bool:
    """Hold a lease for so long from now; return whether it is still ours."""
    return await connection.fetchval(_RENEW, held.log, held.epoch, seconds) is not None


async def give_back(connection: asyncpg.Connection, held: Held) -> None:
    """End a lease: the next may take it at once."""
    await connection.execute(_END, held.log, held.epoch)


def fenced(reason: str) -> FencedError:
    """Return the error of a node that is not the owner any more."""
    return FencedError(
        f"These accounts were taken over by another process: {reason}.",
        remedy="Nothing is lost: it goes on from the journal. This process stands by, or ends.",
    )
