"""The node's market in one order: what the feed tells gets a position, goes to every account that wants it, and waits
to be written with the next commit.

    feed -> Sequencer -> inboxes of the accounts
                      -> blocks -> committer

Accounts decide on an event before it is written; what they decide leaves only after it is.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from aether.clock import Clock, monotonic_s, wall_ns
from aether.domain.accounts import AccountConfig
from aether.domain.events import BookUpdate, FeedInterrupted, LogEvent, PairTold, Quote, encode_event
from aether.domain.identifiers import FeedId, InstrumentId
from aether.node.appetite import Appetite
from aether.node.inbox import Inbox
from aether.store.archive import DAY_NS, Block
from aether.store.market_log import BEGINNING, Head, Logged, block_of, event_hash

WAITING_LIMIT = 16_384
"""Events that wait to be written; while the database is away for longer, only the latest books are kept."""
BLOCK_LIMIT = 1_000


class Follower(Protocol):
    """An account on the market."""

    inbox: Inbox

    @property
    def config(self) -> AccountConfig:
        """The account's configuration."""
        ...


class Sequencer:
    """The end of a market log.

    Args:
        log: its name.
        clock: of the node; None where the events' own time is the only one.
    """

    def __init__(self, log: FeedId, clock: Clock | None) -> None:
        self.log = log
        self.pos, self.hash = BEGINNING
        self._clock = clock
        self._waiting: list[tuple[Logged, bytes]] = []
        self._late: dict[tuple[InstrumentId, bool], LogEvent] = {}
        self._followers: list[tuple[Inbox, Appetite]] = []
        self._room = asyncio.Event()
        self._shed = 0

    @property
    def written(self) -> int:
        """The last position that is durable."""
        return self._waiting[0][0].pos - 1 if self._waiting else self.pos

    @property
    def has_waiting(self) -> bool:
        """Whether something is not durable yet."""
        return bool(self._waiting)

    def begin(self, head: Head) -> None:
        """Go on after the last position that is written; before anything is offered."""
        self.pos, self.hash = head

    def follow(self, account: Follower) -> Head:
        """Give an account what it wants from the next position on; return where that begins."""
        self._followers.append((account.inbox, Appetite(account.config)))
        return Head(self.pos, self.hash)

    def waiting(self) -> Sequence[Logged]:
        """Return what is not durable yet."""
        return [logged for logged, _ in self._waiting]

    def offer(self, event: LogEvent) -> None:
        """Take an event of now, and give it to everyone who wants it.

        With too much waiting to be written, each instrument's latest top of book, book or interruption is kept for
        later and everything else is shed.
        """
        if len(self._waiting) >= WAITING_LIMIT:
            self._keep_for_later(event)
            return
        self._take(event, is_live=True)

    async def put(self, event: LogEvent) -> None:
        """Take an event of the past or of a recording, waiting for room here and with everyone."""
        while len(self._waiting) >= WAITING_LIMIT:
            self._room.clear()
            await self._room.wait()
        for inbox, _ in self._followers:
            if inbox.is_full:
                await inbox.room()
        self._take(event, is_live=False)

    def blocks(self) -> list[Block]:
        """Return what waits to be written, as blocks of the day that it is."""
        day = wall_ns() // DAY_NS
        waiting = self._waiting
        return [block_of(self.log, day, waiting[n : n + BLOCK_LIMIT]) for n in range(0, len(waiting), BLOCK_LIMIT)]

    def wrote(self, last: int) -> None:
        """Hear that everything up to a position is durable."""
        self._waiting = self._waiting[last - self.written :]
        self._room.set()
        late, self._late = self._late, {}
        for event in late.values():
            self.offer(event)

    def found(self, head: Head) -> None:
        """Hear how far the log is written after a commit in doubt: what stands there of ours is durable."""
        ahead = head.pos - self.written
        if 0 < ahead <= len(self._waiting) and self._waiting[ahead - 1][0].hash == head.hash:
            self.wrote(head.pos)

    def take_shed(self) -> int:
        """Return how many events were shed since the last call."""
        shed, self._shed = self._shed, 0
        return shed

    def _keep_for_later(self, event: LogEvent) -> None:
        if isinstance(event, (Quote, BookUpdate, FeedInterrupted, PairTold)):
            key = (event.instrument, isinstance(event, PairTold))
            self._shed += key in self._late
            self._late[key] = event
        else:
            self._shed += 1

    def _take(self, event: LogEvent, *, is_live: bool) -> None:
        if is_live and self._clock is not None:
            event = msgspec.structs.replace(event, taken_ns=self._clock.now_ns())
        self.pos += 1
        payload = encode_event(event)
        self.hash = event_hash(self.hash, self.pos, payload)
        logged = Logged(self.pos, event, self.hash)
        self._waiting.append((logged, payload))
        entered = monotonic_s()
        for inbox, appetite in self._followers:
            if appetite.wants(event):
                inbox.put_market(logged, entered, is_live=is_live)
