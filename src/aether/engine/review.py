"""Entries that a person looks at before they are sent (requirement R12): held, decided, dropped."""

from aether.domain.commands import Severity
from aether.domain.events import Event, IntentDecided
from aether.domain.identifiers import InstrumentId, Owner
from aether.domain.orders import OrderRequest, Side
from aether.domain.scaled import format_amount
from aether.engine.changes import Outbox
from aether.engine.desk import Desk
from aether.engine.state import NS_PER_S, AccountState, Held
from aether.engine.stops import may_enter
from aether.engine.valuation import mark


class Review:
    """Stands between strategies and the desk."""

    def __init__(self, state: AccountState, out: Outbox, desk: Desk) -> None:
        self._state = state
        self._out = out
        self._desk = desk

    def propose(self, request: OrderRequest) -> None:
        """Ask the desk for an order, or let an entry that is large enough wait for a person."""
        state, review = self._state, self._state.own.review
        instrument = state.instruments[request.instrument]
        mid = mark(state, instrument.id).price
        notional = instrument.notional(request.limit_price or mid, request.size)
        if request.side is not Side.BUY or not review.notional or notional < review.notional:
            self._desk.ask(request)
            return
        number, now = state.next_held, state.now_ns
        state.next_held += 1
        state.held[number] = Held(request, notional, now, now + review.wait_s * NS_PER_S, mid)
        size, worth = instrument.size_text(request.size), format_amount(notional)
        self._tell(Severity.WARNING, f"Entry {number}, {size} {instrument.symbol} for {worth}, waits for a person")

    def waits(self, instrument: InstrumentId, owner: Owner) -> bool:
        """Return whether an entry of an owner waits."""
        held = self._state.held.values()
        return any(h.request.instrument == instrument and h.request.owner == owner for h in held)

    def withdraw(self, instrument: InstrumentId, owner: Owner) -> None:
        """Drop what waits for an owner: it does not want it any more."""
        for number, held in list(self._state.held.items()):
            if held.request.instrument == instrument and held.request.owner == owner:
                del self._state.held[number]
                self._tell(Severity.INFO, f"Entry {number} was dropped: its strategy took it back")

    def on_event(self, event: Event) -> None:
        """Follow a person's decision; drop what nobody decided in time, and all while entries are stopped."""
        if isinstance(event, IntentDecided):
            self._decide(event)
        if self._state.held:
            self._drop()

    def _decide(self, event: IntentDecided) -> None:
        held = self._state.held.pop(event.number, None)
        if held is None:
            self._tell(Severity.WARNING, f"Entry {event.number} does not wait for review any more")
            return
        verb = "approved" if event.approved else "declined"
        self._tell(Severity.INFO, f"Entry {event.number} {verb} by {event.actor}: {event.reason}")
        if event.approved:
            self._desk.ask(held.request, decision_price=held.decision_price)

    def _drop(self) -> None:
        state = self._state
        stopped = not may_enter(state.stops)
        for number, held in list(state.held.items()):
            if stopped or held.until_ns <= state.now_ns:
                del state.held[number]
                why = "trading stopped" if stopped else "nobody decided in time"
                self._tell(Severity.WARNING, f"Entry {number} was dropped: {why}")

    def _tell(self, severity: Severity, message: str) -> None:
        self._out.alert(self._state.now_ns, severity, "review", message)
