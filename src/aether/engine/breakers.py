"""Circuit breakers (R6): a venue that fails an account's orders again and again is given no entries for a while.

A venue's refusal of one order (no funds, a price that it does not take) is an answer and counts as one. A failure is
when it answered nothing, answered that it is down, or would not hear the account. A closed breaker counts; an open one
lets no entry out for a while; then it is half open: one order is let out, and what becomes of it closes the breaker or
opens it again. Exits always go; one that is answered closes the breaker too, one that fails prolongs nothing.

The breakers are part of the account's books: a restart keeps them, and whichever node owns the account has them.
"""

from aether.domain.commands import Severity
from aether.domain.identifiers import VenueId
from aether.domain.orders import Order, Side
from aether.engine.changes import Answered, Outbox
from aether.engine.state import NS_PER_S, AccountState, Breaker

ORDERS = 20
"""Of the last orders that count..."""
FAILURES = 5
"""...so many failed: the breaker opens, also when there were fewer orders."""
WINDOW_S = 600
"""What is older does not count any more."""
RECOVERY_S = 120
"""An open breaker lets an order try the venue after this time."""


class Breakers:
    """Writes the circuit breakers of one account."""

    def __init__(self, state: AccountState, out: Outbox) -> None:
        self._state = state
        self._out = out

    def on_fact(self, fact: Answered) -> None:
        """Count what became of an order."""
        state = self._state
        venue = state.instruments[fact.order.request.instrument].venue
        breaker = state.breakers.get(venue)
        if breaker is None:
            if not fact.failed:
                return
            breaker = state.breakers[venue] = Breaker()
        if breaker.opened_ns:
            if fact.order.ordinal >= breaker.first:
                self._judge_again(venue, breaker, fact)
            return
        since_ns = state.now_ns - WINDOW_S * NS_PER_S
        breaker.outcomes = [o for o in breaker.outcomes if o[0] > since_ns][1 - ORDERS :]
        breaker.outcomes.append((state.now_ns, fact.failed))
        failures = sum(failed for _, failed in breaker.outcomes)
        if failures >= FAILURES:
            self._open(venue, breaker, f"{failures} of the last {len(breaker.outcomes)} orders failed: {fact.reason}")
        elif not failures:
            del state.breakers[venue]

    def reset(self, actor: str) -> None:
        """Close every breaker, since a person says so."""
        for venue, breaker in self._state.breakers.items():
            if breaker.opened_ns:
                self._alert(Severity.INFO, f"The circuit breaker of {venue} was reset by {actor}")
        self._state.breakers.clear()

    def _judge_again(self, venue: VenueId, breaker: Breaker, fact: Answered) -> None:
        """An order that was sent while the breaker was open tells whether the venue is back."""
        if fact.failed and fact.order.request.side is Side.SELL:
            return
        if fact.failed:
            self._open(venue, breaker, f"order {fact.order.request.id} failed too: {fact.reason}")
        else:
            del self._state.breakers[venue]
            self._alert(Severity.INFO, f"{venue} takes orders again; entries go on")

    def _open(self, venue: VenueId, breaker: Breaker, reason: str) -> None:
        is_news = not breaker.opened_ns
        breaker.opened_ns, breaker.reason, breaker.outcomes = self._state.now_ns, reason, []
        breaker.first = self._state.next_order
        if is_news:
            self._alert(
                Severity.CRITICAL,
                f"{venue} gets no entries, one tries it every {RECOVERY_S} s until one is answered: {reason}",
            )

    def _alert(self, severity: Severity, message: str) -> None:
        self._out.alert(self._state.now_ns, severity, "breaker", message)


def holds_back(state: AccountState, venue: VenueId) -> str:
    """Return why no entry goes to a venue, empty when one does: the breaker is open, or an order is trying it out."""
    breaker = state.breakers.get(venue)
    if breaker is None or not breaker.opened_ns:
        return ""
    left_s = (breaker.opened_ns - state.now_ns) // NS_PER_S + RECOVERY_S
    if left_s > 0:
        return f"open for {left_s} s more: {breaker.reason}"
    trying = next((o for o in state.open_orders.values() if _is_trying(state, o, venue, breaker)), None)
    return f"half open, {trying.request.id} is trying: {breaker.reason}" if trying else ""


def _is_trying(state: AccountState, order: Order, venue: VenueId, breaker: Breaker) -> bool:
    request = order.request
    is_new = order.ordinal >= breaker.first and not order.venue_order_id
    return is_new and request.side is Side.BUY and state.instruments[request.instrument].venue == venue
