"""Leases: which node owns a market's accounts, and with which epoch.

A lease lasts until its holder gives it back, or does not renew it in time by the database's clock, or the same holder
begins anew. Each owner has the next epoch. A commit names the epoch that it is made in and holds its row while it lasts
(`hold_lease`): whoever takes the lease waits for it, and finds what it wrote; one that comes later is refused. The
owner renews it meanwhile: that changes no key of the row. Nobody waits long to take a lease: who asked may be gone. A
node that knows an older schema than the last owner never takes over from it.
"""

from typing import NamedTuple

import asyncpg
import sqlalchemy as sa

from aether import __version__
from aether.domain.errors import FencedError
from aether.store.database import Scope
from aether.store.schema import REVISION, leases

LEASE_OVER, LOG_GONE_ON = "AE001", "AE002"
"""What the database says to a writer that is not the owner any more."""

_TAKE = "SELECT epoch, holder, version, is_taken, reason, left_s FROM take_lease($1, $2, $3, $4, $5)"
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
        left_s: how long it lasts unless it is renewed.
    """

    epoch: int
    holder: str
    version: str
    is_taken: bool
    reason: str
    left_s: float


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


class Owner(NamedTuple):
    """Who owns the accounts of a market, or did last.

    Attributes:
        left_s: how long the lease still lasts; below 0 it was not renewed.
        has_ended: it was given back.
    """

    log: str
    epoch: int
    holder: str
    version: str
    left_s: float
    has_ended: bool


async def owners(scope: Scope) -> list[Owner]:
    """Return the owner of each market's accounts."""
    left_s = sa.extract("epoch", leases.c.until - sa.func.clock_timestamp()).label("left_s")
    has_ended = leases.c.ended_at.is_not(None).label("has_ended")
    newest = sa.select(leases.c.log, sa.func.max(leases.c.epoch)).group_by(leases.c.log)
    query = sa.select(leases, left_s, has_ended).where(sa.tuple_(leases.c.log, leases.c.epoch).in_(newest))
    found = await scope.all(query.order_by(leases.c.log))
    return [Owner(r.log, r.epoch, r.holder, r.version, float(r.left_s), r.has_ended) for r in found]


def fenced(reason: str) -> FencedError:
    """Return the error of a node that is not the owner any more."""
    return FencedError(
        f"These accounts were taken over by another process: {reason}.",
        remedy="Nothing is lost: it goes on from the journal. This process stands by, or ends.",
    )
