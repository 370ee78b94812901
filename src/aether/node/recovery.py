"""Bringing an account back: the latest snapshot, then the journal's tail and what the market told between its rows,
through engine and venue, every row and event proven on the way.

    replay = Replay(history, engine, venue, chain, place)
    async for row in ...:
        await replay.take(row)

An event of the market on which the account has no row decided nothing then, and may decide nothing now.
"""

from collections.abc import Callable
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from aether.domain.errors import JournalCorruptError, MarketLogCorruptError
from aether.domain.events import (
    MARKET_EVENTS,
    Event,
    LogEvent,
    MarketDelayed,
    MarketFollowed,
    as_given,
    as_taken,
)
from aether.domain.identifiers import AccountId
from aether.engine.core import Engine
from aether.engine.step import restep
from aether.engine.strategy import Catalogue
from aether.node.appetite import Appetite, conflated_positions
from aether.node.place import Place
from aether.node.ports import Store, Venue
from aether.store.commit import Snapshot
from aether.store.journal import ChainChecker, History, JournalRow, followed, is_in_log
from aether.store.market_log import Logged, LogReader
from aether.telemetry import logger

_MARKET_KINDS = frozenset(kind.__name__ for kind in MARKET_EVENTS)

FORGET_EVERY = 1_000
"""Rows and events after which the engine lets go of what it would have to repeat."""

_log = logger("recovery")

VenueFactory = Callable[[bytes | None], Venue]
"""Makes the account's venue from a snapshot, or an empty one from None."""


class Replay:
    """An account that goes through its history again, from what it was at a place.

    Attributes:
        replayed: rows and events so far.
    """

    def __init__(self, history: History, engine: Engine, venue: Venue, chain: ChainChecker, place: Place) -> None:
        self.engine = engine
        self.venue = venue
        self.chain = chain
        self.place = place
        self.replayed = 0
        self._history = history
        self._appetite: Appetite | None = None
        self._reader: LogReader | None = LogReader(history, place.log, place.pos) if place.log else None
        self._together: frozenset[int] = frozenset()

    async def take(self, row: JournalRow) -> None:
        """Go on by a row, and by what the market told before it.

        Raises:
            JournalCorruptError, MarketLogCorruptError, ReplayMismatchError: as in `warm`.
        """
        if row.market is None:
            self._apply(self._own(row, None), row)
        elif row.kind == MarketFollowed.__name__:
            await self._follow(row)
        elif is_in_log(row):
            await self._pass(row.market - 1)
            logged = await self._next(row.market)
            self.place.pass_to(logged)
            event = self.chain.check(row, self.place.hash)
            self._apply(event or self._as_taken(logged.event), row)
        else:
            await self._pass(row.market)
            event = self._own(row, self.place.hash)
            if isinstance(event, MarketDelayed):
                await self._delay(event)
            self._apply(event, row)

    async def pass_market(self, until_ns: int, until: int | None = None) -> None:
        """Go on by what the market told after the last row, up to a time and a position: nothing was decided on it."""
        while self._reader is not None and (ahead := await self._reader.ahead(self.place.pos + 1)):
            if (ahead[0].event.taken_ns or ahead[0].event.ts_ns) > until_ns or ahead[0].pos == until:
                return
            await self._pass(self.place.pos + 1)

    async def close(self) -> None:
        """Let go of the database."""
        if self._reader is not None:
            await self._reader.close()

    def reader(self) -> LogReader | None:
        """Return the reader of the account's log, at its place."""
        return self._reader

    def _own(self, row: JournalRow, log_hash: bytes | None) -> Event:
        event = self.chain.check(row, log_hash)
        assert event is not None, "only rows of the market leave it to the log"
        return event

    def _apply(self, event: Event, row: JournalRow) -> None:
        restep(self.venue, self.engine, event, row.decided, row.seq)
        if row.market is None:
            self.place.taken += row.kind in _MARKET_KINDS or isinstance(as_given(event), MARKET_EVENTS)
        self._count()

    def _as_taken(self, event: LogEvent) -> LogEvent:
        return as_taken(event, self.engine.state.now_ns)

    async def _follow(self, row: JournalRow) -> None:
        """Go to where a row says that the account follows a log from; it took nothing of what is between."""
        await self.close()
        self._reader = followed(self._history, self.chain, row)
        log_hash = await self._reader.hash()
        event = self._own(row, log_hash)
        assert isinstance(event, MarketFollowed)
        self.place.follow(event, log_hash)
        self._together = frozenset()
        self._apply(event, row)

    async def _delay(self, event: MarketDelayed) -> None:
        """Find out what the account takes of the events that it took together."""
        self.place.delay(event)
        if event.through and self._reader is not None:
            waiting = await self._reader.ahead(event.through)
            self._together = conflated_positions(waiting, self._wanted())

    async def _pass(self, until: int) -> None:
        """Take what the market told up to a position: nothing was decided on it."""
        if self._reader is None or until < self.place.pos:
            raise JournalCorruptError(
                self.chain.account, self.chain.seq + 1, f"it goes back to position {until} of the market"
            )
        while self.place.pos < until:
            logged = await self._next(self.place.pos + 1)
            if self._takes(logged):
                self._repeat(logged)
            self.place.pass_to(logged)

    def _repeat(self, logged: Logged) -> None:
        restep(self.venue, self.engine, self._as_taken(logged.event), b"", self.chain.seq)
        self._count()

    def _count(self) -> None:
        self.replayed += 1
        if self.replayed % FORGET_EVERY == 0:
            self.engine.take_changes()

    def _takes(self, logged: Logged) -> bool:
        if logged.pos <= self.place.through:
            return logged.pos in self._together
        return self._wanted().wants(logged.event)

    def _wanted(self) -> Appetite:
        if self._appetite is None:
            self._appetite = Appetite(self.engine.config)
        return self._appetite

    async def _next(self, pos: int) -> Logged:
        logged = None if self._reader is None else await self._reader.next()
        if logged is None or logged.pos != pos:
            raise MarketLogCorruptError(self.place.log, pos, f"position {pos} is missing")
        return logged


class Until(NamedTuple):
    """How far a replay goes: a time, a sequence, a position of the market, or several of them.

    A sequence alone is the account right after that row; with a position it has also passed the market up to there.
    """

    ts_ns: int = 2**63 - 1
    seq: int = 2**63 - 1
    market: int = 2**63 - 1


END = Until()


class Recovered(NamedTuple):
    """An account as it was left; `chain` is the proven end of its journal.

    Attributes:
        reader: of the log that it follows, at its place; None when it follows none.
        replayed: rows and events since the snapshot.
    """

    engine: Engine
    venue: Venue
    chain: ChainChecker
    place: Place
    reader: LogReader | None
    replayed: int


async def warm(store: Store, account: AccountId, catalogue: Catalogue, make_venue: VenueFactory) -> Replay:
    """Return the account after its last journaled row, ready to go on by more of them; a new account is empty.

    Raises:
        JournalCorruptError, MarketLogCorruptError: naming the first row or event that does not verify.
        ReplayMismatchError: when this code decides otherwise than the code that wrote the journal, or the paper venue
            does not reproduce a journaled report.
    """
    replay = await _from_snapshot(store, account, catalogue, make_venue, END)
    await advance(store, replay)
    return replay


async def advance(store: Store, replay: Replay) -> None:
    """Bring a replay to the journal's last row. Raises as `warm`."""
    async with aclosing(store.rows(replay.chain.account, replay.chain.seq)) as rows:
        async for row in rows:
            await replay.take(row)
    replay.engine.take_changes()


def recovered(replay: Replay) -> Recovered:
    """Return the account that a replay has come to."""
    return Recovered(replay.engine, replay.venue, replay.chain, replay.place, replay.reader(), replay.replayed)


async def replay_until(
    store: Store,
    account: AccountId,
    catalogue: Catalogue,
    make_venue: VenueFactory,
    until: Until,
    *,
    from_snapshot: bool,
) -> Replay:
    """Return the account as it was at a time: its last row of then, and what the market told by then.

    Args:
        from_snapshot: begin with the newest snapshot of before; otherwise with the first row.

    Raises:
        JournalCorruptError, MarketLogCorruptError, ReplayMismatchError: as `warm`.
    """
    if from_snapshot:
        replay = await _from_snapshot(store, account, catalogue, make_venue, until)
    else:
        replay = Replay(store, Engine(catalogue), make_venue(None), ChainChecker(account), Place())
    try:
        async with aclosing(store.rows(account, replay.chain.seq)) as rows:
            async for row in rows:
                if row.seq > until.seq:
                    break
                if row.ts_ns > until.ts_ns:
                    last = row.market if is_in_log(row) or row.market is None else row.market + 1
                    await replay.pass_market(until.ts_ns, last)
                    return replay
                await replay.take(row)
        if until.seq > replay.chain.seq or until.market < END.market:
            await replay.pass_market(until.ts_ns, until.market + 1)
        return replay
    finally:
        replay.engine.take_changes()
        await replay.close()


async def _from_snapshot(
    store: Store, account: AccountId, catalogue: Catalogue, make_venue: VenueFactory, until: Until
) -> Replay:
    """Start from the newest snapshot of before that this version can read, from nothing when there is none."""
    for found in await store.snapshots(account, until.seq):
        try:
            engine, venue = Engine(catalogue, found.engine), make_venue(found.venue)
        except msgspec.DecodeError as error:
            _log.warning("snapshot_not_readable", account_id=account, seq=found.seq, reason=str(error))
            continue
        if engine.state.now_ns > until.ts_ns:
            continue
        chain = ChainChecker(account, found.seq, await store.row_hash(account, found.seq))
        return Replay(store, engine, venue, chain, await _place(store, found))
    return Replay(store, Engine(catalogue), make_venue(None), ChainChecker(account), Place())


async def _place(history: History, found: Snapshot) -> Place:
    """Return the place of a snapshot."""
    if found.market is None:
        return Place(taken=found.market_taken)
    reader = LogReader(history, found.log, found.market)
    try:
        return Place(found.log, found.market, await reader.hash(), found.market_taken)
    finally:
        await reader.close()
