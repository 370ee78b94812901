"""What steps did, for whoever acts on it or writes it down: commands for the world, records for people, facts for the
rooms above the desk. None of it is part of the account's state."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from aether.domain.commands import Command, RaiseAlert, Severity
from aether.domain.identifiers import BalanceKey, ClientOrderId, InstrumentId
from aether.domain.orders import Order
from aether.domain.parents import Parent, ParentId
from aether.domain.records import Break, BreakKind, EquityPoint, Fill, Flow, Verdict
from aether.engine.ledger import Position

if TYPE_CHECKING:
    from aether.engine.risk import Candidate


class Filled(NamedTuple):
    """An execution was booked; `order` is None when the account no longer knows the order."""

    fill: Fill
    quantity: int
    order: Order | None


class Closed(NamedTuple):
    """An order has ended; `was_asked` when we had asked for it to be canceled."""

    order: Order
    was_asked: bool = False


class Answered(NamedTuple):
    """A venue answered an order of ours, or `failed` to; a plain refusal is an answer. What we took back is neither."""

    order: Order
    failed: bool
    reason: str


class Questioned(NamedTuple):
    """A venue said what does not fit our books: of an order, or of a balance; `amount` as in `Break`."""

    kind: BreakKind
    subject: str
    evidence: str
    amount: int = 0


class Agreed(NamedTuple):
    """A venue's figure of a balance agrees with the books."""

    key: BalanceKey


class Moved(NamedTuple):
    """A person had an amount booked in or out of a balance."""

    key: BalanceKey
    amount: int


class Halting(NamedTuple):
    """The account entered a stop under which nothing stays open: parents end, unless they only protect and exits go
    on."""

    reason: str
    keeps_exits: bool


Judged = Callable[["Candidate", Verdict], None]
"""Hears the risk gate's verdict on a candidate."""

Fact = Filled | Closed | Answered | Questioned | Agreed | Moved | Halting


class Changes:
    """What one or more steps changed, in the order in which it happened; emptied by `Engine.take_changes`.

    Attributes:
        cleared: names of breaks that are no more.
    """

    def __init__(self) -> None:
        self.orders: dict[ClientOrderId, Order] = {}
        self.fills: list[Fill] = []
        self.verdicts: list[Verdict] = []
        self.equity: list[EquityPoint] = []
        self.alerts: list[RaiseAlert] = []
        self.flows: list[Flow] = []
        self.positions: dict[InstrumentId, Position] = {}
        self.balances: set[BalanceKey] = set()
        self.parents: dict[ParentId, Parent] = {}
        self.breaks: dict[str, Break] = {}
        self.cleared: dict[str, None] = {}

    def __bool__(self) -> bool:
        return any(vars(self).values())


class Outbox:
    """What the step at hand gives: commands in order, and facts that the rooms above have not heard yet.

    Attributes:
        on_judged: hears what the risk gate says, and of what; None for nobody.
        refused: why the event was refused, empty when it was not.
    """

    def __init__(self, on_judged: Judged | None = None) -> None:
        self.on_judged = on_judged
        self.refused = ""
        self.commands: list[Command] = []
        self.facts: list[Fact] = []
        self.changes = Changes()

    def alert(self, ts_ns: int, severity: Severity, code: str, message: str) -> None:
        """Tell a person."""
        alert = RaiseAlert(ts_ns, severity, code, message)
        self.commands.append(alert)
        self.changes.alerts.append(alert)
