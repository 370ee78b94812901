"""What the node needs from its database and from a venue, and a venue beyond this process from the account."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from aether.domain.commands import Command
from aether.domain.events import BalanceBooked, Bar, CapitalMoved, Event, VenueReport
from aether.domain.identifiers import AccountId, BalanceKey, ClientOrderId, FeedId, InstrumentId, VenueId
from aether.domain.records import EquityPoint
from aether.store.archive import Block
from aether.store.commit import Batch, Snapshot
from aether.store.journal import History
from aether.store.leases import Claim, Held
from aether.store.market_log import Head
from aether.store.requests import Pending
from aether.venues.reconciliation import Remembered


class Writer(Protocol):
    """A connection that writes; it raises one of `CONNECTION_ERRORS` when what it was asked may or may not be done."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        ...

    async def commit(
        self, batches: list[Batch], blocks: Sequence[Block], days: Iterable[int], lease: Held | None, /
    ) -> None:
        """Write batches and blocks of the market log in one durable statement, see `aether.store.commit`."""
        ...

    async def holds(self, batch: Batch, /) -> bool:
        """Return whether a batch whose commit ended in doubt is there."""
        ...

    async def head(self, log: str, /) -> Head:
        """Return how far a market log is written."""
        ...

    async def take_lease(self, log: str, holder: str, seconds: float, /) -> Claim:
        """Ask for the lease of a market's accounts."""
        ...

    async def renew_lease(self, held: Held, seconds: float, /) -> bool:
        """Hold a lease for so long from now; return whether it is still ours."""
        ...

    async def give_back_lease(self, held: Held, /) -> None:
        """End a lease."""
        ...

    def terminate(self) -> None:
        """Cut the connection."""
        ...


class Store(History, Protocol):
    """What a node keeps, and what it finds of it at a start."""

    async def writer(self) -> Writer:
        """Return a connection that writes. Raises DatabaseUnavailableError."""
        ...

    async def snapshots(self, account: AccountId, until_seq: int, /) -> list[Snapshot]:
        """Return an account's snapshots up to a row, the newest first."""
        ...

    async def last_equity(self, account: AccountId, /) -> EquityPoint | None:
        """Return an account's last equity sample."""
        ...

    async def requests(self, accounts: Iterable[AccountId], /) -> list[Pending]:
        """Return the operators' requests that accounts have not applied, in order."""
        ...

    def announced(self, wake: Callable[[], None], /) -> AbstractAsyncContextManager[Callable[[], bool]]:
        """Call `wake` at each new request while the context is open; yields whether it still would."""
        ...

    async def write_bars(self, feed: FeedId, bars: list[Bar], /) -> None:
        """Keep the market's bars for charts."""
        ...


class Venue(Protocol):
    """An account's venue as its shard drives it."""

    def feed(self, event: Event) -> Iterator[Event]:
        """Yield what the account takes now, in order: reports that are due before `event`, then `event` itself."""
        ...

    def send(self, command: Command) -> None:
        """Take a command whose cause is durable."""
        ...

    def replay(self, event: Event) -> None:
        """See a journaled event again while an account is recovered."""
        ...

    def moved(self, event: CapitalMoved | BalanceBooked) -> None:
        """See what people booked, once the account has taken it."""
        ...

    def snapshot(self) -> bytes:
        """Return the venue's state as far as it lives in this process."""
        ...

    def reported_balances(self) -> dict[BalanceKey, int] | None:
        """Return balances as far as they have been reported, to hold against the books; None for not now."""
        ...

    def tells_of(self, key: BalanceKey, /) -> bool:
        """Return whether `reported_balances` speaks for the venue of a balance: what it leaves out there is zero."""
        ...

    def stop(self) -> None:
        """Let no order out before `release`, and cancel everything; neither engine nor database is asked."""
        ...

    def release(self) -> None:
        """Let the engine's orders out again."""
        ...

    def stop_at(self, venue: VenueId, /) -> None:
        """Let no order out to one venue before `release_at`, and cancel everything there."""
        ...

    def release_at(self, venue: VenueId, /) -> None:
        """Let the engine's orders out to a venue again."""
        ...

    def left_at(self, venue: VenueId, /) -> str:
        """Return what a stop of one venue still waits for, in words; empty when its list was seen to be empty."""
        ...

    def fence(self) -> None:
        """Touch nothing any more: another process owns the account."""
        ...

    def unconfirmed(self) -> list[str]:
        """Return what a stop still waits for, in words; nothing when every venue's list was seen to be empty."""
        ...

    def troubles(self) -> dict[VenueId, str]:
        """Return what keeps the account from each of its venues now, in words; nothing of those that are well."""
        ...

    async def run(self, account: "LiveAccount") -> None:
        """Do what the venue has to do by itself while the account trades; return when that is nothing."""
        ...


class LiveAccount(Protocol):
    """An account as its venues see it."""

    def remembered(self, venue: VenueId, unsent: Collection[ClientOrderId]) -> Remembered:
        """Return what the books hold of a venue, without the orders that are known not to have left."""
        ...

    def booked_balances(self) -> dict[BalanceKey, int]:
        """Return what the books hold."""
        ...

    def now_ns(self) -> int:
        """Return what time it is where the account trades."""
        ...

    def report(self, report: VenueReport) -> None:
        """Take a venue's report."""
        ...

    def owned_s(self) -> float:
        """Return for how long no other node can own the account: nothing new is sent after that."""
        ...

    async def taken(self) -> bool:
        """Return once every report so far has been taken: whether the account may open positions."""
        ...

    def wants_empty(self, venue: VenueId, /) -> bool:
        """Return whether a stop keeps no orders open at a venue."""
        ...

    def dead_man_s(self) -> int:
        """Return after how long a silence venues should cancel everything of the account; 0 for never."""
        ...

    def takes_foreign(self, instrument: InstrumentId) -> bool:
        """Return whether the account takes up an open order of a pair that it did not place."""
        ...

    def still(self) -> None:
        """Hear that a venue's list of open orders was seen to be empty after a stop."""
        ...
