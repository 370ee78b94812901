"""The paper venue: an account's own simulated exchange, driven by the same market data that the account sees.

It is a pure function of the account's journal: fed with the journaled market events and with the commands that the
engine gives for them, it arrives at the same state. After a crash it is rebuilt by that replay, and the reports that
had not reached the journal come again, with the same trade ids; so it can lose and double nothing.
"""

from collections.abc import Iterator

import msgspec

from aether.domain.commands import Command
from aether.domain.errors import ReplayMismatchError
from aether.domain.events import (
    MARKET_EVENTS,
    VENUE_REPORTS,
    BalanceBooked,
    BalanceReported,
    CapitalMoved,
    Event,
    InstrumentListed,
    OrderFilled,
    as_given,
)
from aether.domain.identifiers import BalanceKey, VenueId, balance_key
from aether.domain.orders import Side
from aether.domain.scaled import amount_of_size
from aether.matching.simulator import FillModel, Simulator


class PaperVenue:
    """One account's simulated venue.

    Args:
        model: how fills are made.
        seed: of the account.
        snapshot: of an earlier instance.
    """

    def __init__(self, model: FillModel, seed: int, snapshot: bytes | None = None) -> None:
        self._simulator = Simulator(model, seed, snapshot)

    def snapshot(self) -> bytes:
        """Return the whole state."""
        return self._simulator.snapshot()

    def send(self, command: Command) -> None:
        """Take a command from the engine."""
        self._simulator.send(command)

    def feed(self, event: Event) -> Iterator[Event]:
        """Yield what the account takes now, in order: the reports due before `event`, then `event` itself.

        The commands that the account answers with are to be sent before the next one is taken.
        """
        while (report := self._simulator.next_report(_now_ns(event))) is not None:
            yield report
        self._observe(event)
        yield event

    def reported_balances(self) -> dict[BalanceKey, int]:
        """Return the venue's balances without the fills whose reports are still on their way."""
        balances = dict(self._simulator.state.balances)
        for fill, request in self._simulator.unreported_fills():
            instrument = self._simulator.state.instruments[request.instrument]
            sign = 1 if request.side is Side.BUY else -1
            balances[instrument.base_key] -= sign * amount_of_size(fill.size, instrument.size_decimals)
            balances[instrument.quote_key] += sign * instrument.notional(fill.price, fill.size) + fill.fee
        return balances

    def tells_of(self, _key: BalanceKey) -> bool:
        """Return that all balances are told."""
        return True

    def stop(self) -> None:
        """Do nothing: the simulation does only what the journal says, and nothing real is at stake."""

    def release(self) -> None:
        """Do nothing, as `stop`."""

    def fence(self) -> None:
        """Do nothing: the simulation lives in this process alone."""

    def unconfirmed(self) -> list[str]:
        """Return how many orders the simulation still works."""
        count = len(self._simulator.state.orders)
        return [f"paper: {count} orders"] if count else []

    def stop_at(self, venue: VenueId) -> None:
        """Do nothing: the engine cancels what it has open, and sends nothing there."""

    def release_at(self, venue: VenueId) -> None:
        """Do nothing: nothing was held back."""

    def left_at(self, venue: VenueId) -> str:  # noqa: ARG002  a port
        """Return nothing: what is open there is what the account's books say."""
        return ""

    def troubles(self) -> dict[VenueId, str]:
        """Return nothing: the simulation is always there."""
        return {}

    def _observe(self, event: Event) -> None:
        if isinstance(event, MARKET_EVENTS):
            self._simulator.on_market(event)
        elif isinstance(event, InstrumentListed):
            self._simulator.list_instrument(event.definition)

    def moved(self, event: CapitalMoved | BalanceBooked) -> None:
        """Let the simulated venue hold what people booked and the account took."""
        self._simulator.move_capital(balance_key(event.venue, event.asset), event.amount)

    def replay(self, event: Event) -> None:
        """See a journaled event again; a report must be the one that the simulation gives now.

        Raises:
            ReplayMismatchError: when the journal holds another report than the simulation gives.
        """
        journaled = as_given(event)
        given = self._simulator.next_report(_now_ns(journaled))
        expected = None
        if isinstance(journaled, VENUE_REPORTS) and not isinstance(journaled, BalanceReported):
            expected = journaled
        else:
            self._observe(journaled)
        if given is not expected and _as_told(given, expected) != expected:
            raise ReplayMismatchError(
                f"The journal holds {expected}, the replayed paper venue gives {given}.",
                remedy="This journal was made by another version of the simulation; trade on in a new account.",
            )

    async def run(self, account: object) -> None:
        """Return at once: the simulation lives on the account's own events."""


def _as_told(given: Event | None, expected: Event | None) -> Event | None:
    """Return a report as an older journal holds it, when that leaves out the venue's time and what was traded."""
    if isinstance(given, VENUE_REPORTS) and isinstance(expected, VENUE_REPORTS) and not expected.venue_ns:
        given = msgspec.structs.replace(given, venue_ns=0)
        if isinstance(given, OrderFilled) and isinstance(expected, OrderFilled) and expected.side is None:
            return msgspec.structs.replace(given, instrument=expected.instrument, side=None)
    return given


def _now_ns(event: Event) -> int:
    """Return the account's time at an event, which is the paper venue's too."""
    return event.taken_ns or event.ts_ns
