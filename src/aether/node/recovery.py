"""Bringing an account back: the latest snapshot, the journal's tail through engine and venue, the chain proven on the
way."""

from collections.abc import Callable
from contextlib import aclosing
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from aether.domain.events import MARKET_EVENTS, as_given
from aether.domain.identifiers import AccountId
from aether.engine.core import Engine
from aether.engine.step import restep
from aether.engine.strategy import Catalogue
from aether.node.ports import Venue
from aether.store.database import Scope
from aether.store.journal import ChainChecker, head_hash, read_pages
from aether.store.schema import snapshots
from aether.telemetry import logger

_MARKET_KINDS = frozenset(kind.__name__ for kind in MARKET_EVENTS)

_log = logger("recovery")

VenueFactory = Callable[[bytes | None], Venue]
"""Makes the account's venue from a snapshot, or an empty one from None."""


class Recovered(NamedTuple):
    """An account as it was left; `chain` is the proven end of its journal, `replayed` the rows since the snapshot."""

    engine: Engine
    venue: Venue
    chain: ChainChecker
    market_taken: int
    replayed: int


async def recover(scope: Scope, account: AccountId, catalogue: Catalogue, make_venue: VenueFactory) -> Recovered:
    """Return the account after its last journaled event; a new account is empty.

    Raises:
        JournalCorruptError: naming the first row that does not verify.
        ReplayMismatchError: when this code decides otherwise than the code that wrote the journal, or the paper venue
            does not reproduce a journaled report.
    """
    engine, venue, chain, market_taken = await _from_snapshot(scope, account, catalogue, make_venue)
    replayed = 0
    async with aclosing(read_pages(scope, account, chain.seq)) as pages:
        async for page in pages:
            for row in page:
                event = chain.check(row)
                restep(venue, engine, event, row.decided, row.seq)
                market_taken += row.kind in _MARKET_KINDS or isinstance(as_given(event), MARKET_EVENTS)
                replayed += 1
            engine.take_changes()
    engine.take_changes()
    return Recovered(engine, venue, chain, market_taken, replayed)


async def _from_snapshot(
    scope: Scope, account: AccountId, catalogue: Catalogue, make_venue: VenueFactory
) -> tuple[Engine, Venue, ChainChecker, int]:
    """Start from the newest snapshot that this version can read, from nothing when there is none."""
    query = sa.select(snapshots).where(snapshots.c.account == account).order_by(snapshots.c.seq.desc())
    async with scope.begin() as connection:
        found = (await connection.execute(query)).all()
    for row in found:
        try:
            engine, venue = Engine(catalogue, row.engine), make_venue(row.venue)
        except msgspec.DecodeError as error:
            _log.warning("snapshot_not_readable", account_id=account, seq=row.seq, reason=str(error))
            continue
        chain = ChainChecker(account, row.seq, await head_hash(scope, account, row.seq))
        return engine, venue, chain, row.market_taken
    return Engine(catalogue), make_venue(None), ChainChecker(account), 0
