"""What the node needs from a venue."""

from collections.abc import Iterator
from typing import Protocol

from aether.domain.commands import Command
from aether.domain.events import Event
from aether.domain.identifiers import BalanceKey


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

    def snapshot(self) -> bytes:
        """Return the venue's state as far as it lives in this process."""
        ...

    def reported_balances(self) -> dict[BalanceKey, int]:
        """Return balances as far as they have been reported, to hold against the books."""
        ...
