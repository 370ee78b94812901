"""Running a back-test, and the id that says what was run.

A run is a function of its plan, the data and the code. The run id is a hash of all three, so equal inputs have the
equal id and give the identical fills; a different id means that something was different.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources

import msgspec

from aether.domain.accounts import AccountConfig
from aether.domain.commands import RaiseAlert
from aether.domain.events import Event, opening_events
from aether.domain.identifiers import ClientOrderId
from aether.domain.orders import Order, OrderState
from aether.domain.records import EquityPoint, Fill, Verdict
from aether.engine.core import Engine
from aether.engine.step import step
from aether.engine.strategy import Catalogue
from aether.market.bars import with_bars
from aether.market.dataset import Dataset
from aether.market.replay import replay_trades
from aether.matching.simulator import FillModel
from aether.venues.paper import PaperVenue

PROGRESS_EVERY = 5_000
CODE_THAT_DECIDES = ("domain", "kernel", "engine", "matching", "features", "strategies", "market", "venues", "backtest")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is run besides the data: the account with its strategy and limits, its cash, the fill models."""

    account: AccountConfig
    cash: int
    model: FillModel = FillModel()


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        orders: every order by its end, in order of creation.
        denials: how often each check of the risk gate denied.
        final: the account's worth at the end.
        state_hash: of the engine after the last event.
    """

    run_id: str
    orders: list[Order] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    equity: list[EquityPoint] = field(default_factory=list)
    alerts: list[RaiseAlert] = field(default_factory=list)
    denials: Counter[str] = field(default_factory=Counter)
    events: int = 0
    final: EquityPoint | None = None
    state_hash: str = ""

    def count(self, state: OrderState) -> int:
        """Return how many orders ended in `state`."""
        return sum(1 for order in self.orders if order.state is state)


def run_id(plan: Plan, dataset: Dataset) -> str:
    """Return the id of running `plan` on `dataset` with the code as it is: 16 hex digits."""
    digest = hashlib.sha256()
    for part in (msgspec.json.encode(plan), dataset.digest.encode(), code_digest().encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def code_digest() -> str:
    """Return a hash of the source that a result depends on."""
    digest = hashlib.sha256()
    for package in CODE_THAT_DECIDES:
        folder = resources.files("aether") / package
        for file in sorted(folder.iterdir(), key=lambda f: f.name):
            if file.name.endswith(".py"):
                digest.update(f"{package}/{file.name}".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def run(
    plan: Plan, dataset: Dataset, catalogue: Catalogue, on_progress: Callable[[int], None] | None = None
) -> Outcome:
    """Trade `dataset` by `plan` and return what came of it.

    Args:
        on_progress: called now and then with the events taken so far.

    Raises:
        InvalidValueError, UnknownNameError: when the plan names a strategy or parameter that does not exist.
    """
    instrument = dataset.instrument()
    engine = Engine(catalogue)
    venue = PaperVenue(plan.model, plan.account.seed)
    outcome = Outcome(run_id(plan, dataset))
    orders: dict[ClientOrderId, Order] = {}

    def take(event: Event) -> None:
        for _ in step(venue, engine, event):
            pass
        outcome.events += 1
        changes = engine.take_changes()
        orders.update(changes.orders)
        outcome.fills += changes.fills
        outcome.equity += changes.equity
        outcome.alerts += changes.alerts
        outcome.denials.update(_checks(changes.verdicts))
        if on_progress and outcome.events % PROGRESS_EVERY == 0:
            on_progress(outcome.events)

    intervals = {a.bar_s for a in plan.account.strategies}
    first = True
    for event in with_bars(replay_trades(dataset, instrument.id), intervals):
        if first:
            for opening in opening_events(plan.account, [instrument], plan.cash, event.ts_ns):
                take(opening)
            first = False
        take(event)
    outcome.orders = list(orders.values())
    outcome.final = engine.equity_point()
    outcome.equity.append(outcome.final)
    outcome.state_hash = engine.state_hash()
    return outcome


def _checks(verdicts: list[Verdict]) -> list[str]:
    return [breach.check for verdict in verdicts for breach in verdict.breaches]
