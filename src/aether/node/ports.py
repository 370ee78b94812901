"""What the node needs from a venue, and a venue beyond this process from the account."""

from collections.abc import Iterator
from typing import Protocol

from aether.domain.commands import Command
from aether.domain.events import BalanceBooked, CapitalMoved, Event, VenueReport
from aether.domain.identifiers import BalanceKey
from aether.domain.orders import Order


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

    async def run(self, account: "LiveAccount") -> None:
        """Do what the venue has to do by itself while the account trades; return when that is nothing."""
        ...


class LiveAccount(Protocol):
    """An account as its venues see it."""

    def open_orders(self) -> list[Order]:
        """Return the orders that may still trade."""
        ...

    def booked_balances(self) -> dict[BalanceKey, int]:
        """Return what the books hold."""
        ...

    def report(self, report: VenueReport) -> None:
        """Take a venue's report."""
        ...
