"""Differences between our books and a venue's: found, named, aged, owned, cleared. They block entries, nothing else.

A break is found when a venue says what does not fit (`Questioned`). One of a balance is cleared by the venue's truth,
when its figure agrees with ours, or by a booking that a person made for a stated reason; one of an order when an
operator has looked at it and resumes. Until then it is told again as it grows old.
"""

from aether.domain.commands import Severity
from aether.domain.events import BreakAssigned, Event, Timer, TradingResumed
from aether.domain.identifiers import BalanceKey
from aether.domain.records import Break, BreakKind
from aether.domain.scaled import format_amount
from aether.engine.changes import Agreed, Closed, Fact, Filled, Moved, Outbox, Questioned
from aether.engine.state import NS_PER_S, AccountState
from aether.engine.stops import Cause, move
from aether.engine.valuation import tolerance

REMIND_AFTER_S = (60, 600, 3_600, 6 * 3_600, 24 * 3_600)
"""Ages at which a break that is still there is told again."""


class Breaks:
    """Watches what venues say against the books."""

    def __init__(self, state: AccountState, out: Outbox) -> None:
        self._state = state
        self._out = out

    def on_fact(self, fact: Fact) -> None:
        """Open, renew and clear breaks as facts come."""
        match fact:
            case Questioned():
                self._find(fact)
            case Agreed():
                self._clear(f"{BreakKind.BALANCE}|{fact.key}", "the venue's figure agrees")
                self._judge_overdrafts()
            case Moved():
                self._count_booking(fact)
                self._judge_overdrafts()
            case Filled() | Closed():
                self._judge_overdrafts()

    def on_event(self, event: Event) -> None:
        """Follow operators, and tell of breaks that grow old."""
        if not self._state.breaks:
            return
        match event:
            case Timer():
                self._remind()
            case TradingResumed():
                for found in list(self._state.breaks.values()):
                    if found.kind in (BreakKind.IMPOSSIBLE, BreakKind.STRANGER):
                        self._clear(found.name, f"{event.actor}: {event.reason}")
            case BreakAssigned():
                self._assign(event)

    def _find(self, fact: Questioned) -> None:
        now, breaks = self._state.now_ns, self._state.breaks
        name = f"{fact.kind}|{fact.subject}"
        found = breaks.get(name)
        if found is None:
            found = breaks[name] = Break(
                kind=fact.kind,
                subject=fact.subject,
                amount=fact.amount,
                evidence=fact.evidence,
                since_ns=now,
                seen_ns=now,
            )
            is_news = True
        else:
            is_news = found.evidence != fact.evidence
            found.amount, found.evidence = fact.amount, fact.evidence
            found.seen_ns, found.times = now, found.times + 1
        self._note(found)
        if is_news:
            self._out.alert(now, Severity.CRITICAL, "break", f"{fact.kind} of {fact.subject}: {fact.evidence}")
        move(self._state.stops, Cause.BREAK_FOUND, now, self._reason())

    def _clear(self, name: str, why: str) -> None:
        found = self._state.breaks.pop(name, None)
        if found is None:
            return
        self._out.changes.breaks.pop(name, None)
        self._out.changes.cleared[name] = None
        now = self._state.now_ns
        self._out.alert(now, Severity.INFO, "break_cleared", f"{found.kind} of {found.subject} is cleared: {why}")
        cause = Cause.BREAK_FOUND if self._state.breaks else Cause.BREAKS_CLEARED
        move(self._state.stops, cause, now, self._reason())

    def _reason(self) -> str:
        found = list(self._state.breaks.values())
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        return f"{found[0].kind} of {found[0].subject}{more}" if found else ""

    def _note(self, found: Break) -> None:
        self._out.changes.breaks[found.name] = found
        self._out.changes.cleared.pop(found.name, None)

    def _count_booking(self, fact: Moved) -> None:
        """A booking of a person explains as much of a difference as it books."""
        found = self._state.breaks.get(f"{BreakKind.BALANCE}|{fact.key}")
        if found is None:
            return
        found.amount -= fact.amount
        if abs(found.amount) <= tolerance(self._state, fact.key):
            self._clear(found.name, "it was booked")
        else:
            found.evidence = f"{format_amount(found.amount)} of {fact.key} is still not explained"
            self._note(found)

    def _judge_overdrafts(self) -> None:
        for found in list(self._state.breaks.values()):
            if found.kind is BreakKind.OVERDRAFT:
                key = BalanceKey(found.subject)
                lacks = -self._state.ledger.balance(key).free
                if lacks <= tolerance(self._state, key):
                    self._clear(found.name, "the books are above zero again")
                elif lacks != found.amount:
                    found.amount = lacks
                    self._note(found)

    def _remind(self) -> None:
        now = self._state.now_ns
        for found in self._state.breaks.values():
            due = found.reminded < len(REMIND_AFTER_S)
            if due and now - found.since_ns >= REMIND_AFTER_S[found.reminded] * NS_PER_S:
                found.reminded += 1
                minutes = (now - found.since_ns) // (60 * NS_PER_S)
                owner = found.owner or "nobody"
                text = f"{found.kind} of {found.subject} is open for {minutes} min, taken on by {owner}"
                self._out.alert(now, Severity.CRITICAL, "break_open", f"{text}: {found.evidence}")

    def _assign(self, event: BreakAssigned) -> None:
        found = self._state.breaks.get(event.name)
        if found is not None:
            found.owner = event.owner
            self._note(found)
