"""One step of an account, the same in live trading, recovery, back-tests and tests: what its venue lets it take now,
what the engine makes of it, and the commands on their way.

    for taken in step(venue, engine, event):
        ...  # make `taken` durable; its commands go out when the loop goes on

A step carries a digest of what it decided. The journal keeps it, so that a replay by other code stops at the first
event that it would decide otherwise (`restep`) instead of going on in another history.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import msgspec

from aether.domain.commands import Command, RaiseAlert
from aether.domain.errors import ReplayMismatchError
from aether.domain.events import BalanceBooked, CapitalMoved, Event
from aether.engine.core import Engine

DIGEST_BYTES = 16


class Counterparty(Protocol):
    """What a step needs of an account's venue."""

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


class Taken(NamedTuple):
    """An event as it was applied, what the engine asked for, and the digest of what it decided."""

    event: Event
    commands: list[Command]
    decided: bytes


def digest(commands: list[Command]) -> bytes:
    """Return a digest of what was decided, empty when nothing was: alerts are words, not decisions."""
    deciding = [c for c in commands if not isinstance(c, RaiseAlert)]
    return hashlib.sha256(msgspec.json.encode(deciding)).digest()[:DIGEST_BYTES] if deciding else b""


def step(venue: Counterparty, engine: Engine, event: Event) -> Iterator[Taken]:
    """Yield what an event leads to; the commands of each are sent when the next is asked for."""
    for given in venue.feed(event):
        commands = engine.apply(given)
        assert engine.applied is not None
        yield Taken(engine.applied, commands, digest(commands) if commands else b"")
        _tell_flow(venue, engine, given)
        for command in commands:
            venue.send(command)


def restep(venue: Counterparty, engine: Engine, event: Event, decided: bytes | None, seq: int) -> None:
    """Apply a journaled event again.

    Args:
        decided: the digest that the journal holds of it; None in rows of before there were digests.
        seq: of the row, for the error.

    Raises:
        ReplayMismatchError: when this code decides otherwise than the code that wrote the row.
    """
    venue.replay(event)
    commands = engine.apply(event)
    if decided is not None and (commands or decided):
        found = digest(commands)
        if found != decided:
            asked = [str(c) for c in commands if not isinstance(c, RaiseAlert)] or ["nothing"]
            held = decided.hex() or "of nothing"
            raise ReplayMismatchError(
                f"At sequence {seq} ({type(event).__name__}) the journal holds a decision with the digest {held}; this "
                f"version decides {found.hex() or 'nothing'}: {'; '.join(asked)}.",
                remedy="Start the version that wrote the journal, stop it so that it leaves a snapshot, and start this "
                "one again.",
            )
    _tell_flow(venue, engine, event)
    for command in commands:
        venue.send(command)


def _tell_flow(venue: Counterparty, engine: Engine, event: Event) -> None:
    if isinstance(event, (CapitalMoved, BalanceBooked)) and engine.applied is event and not engine.refused:
        venue.moved(event)
