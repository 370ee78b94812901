"""The engine's only door: `Engine.apply(event) -> commands`.

One call takes one event, brings the account's state forward and returns what should be done in the world. The caller
makes what was applied durable first and lets the commands out afterwards (`step` does both in order). What people want
to see of the step (orders that changed, fills, verdicts, equity) is collected for whoever writes it down; it is no part
of the state.

One match writes what the event says: markets, books, settings. Then the rooms above hear of it in a fixed order, each
facts first: `breaks`, `safety`, `protection`, `resting`, `review`, `intents`, `parents`. They ask the desk, which tells
them in facts what came of it; nobody calls a room above its own.

Nothing leaves `apply` but commands. What cannot be is refused at the door. An error that nobody foresaw leaves the
state as it was before the event: the engine goes back to its last checkpoint and repeats the events since, with what
strategies gave then, so that nothing depends on a strategy giving the same again. The event then stands in the journal
as `EngineFaulted`, and the account is stopped: it still books, cancels and can be killed.
"""

import hashlib

import msgspec

from aether.domain.accounts import AccountConfig, StrategyAssignment
from aether.domain.commands import Command, Severity
from aether.domain.errors import InvalidValueError
from aether.domain.events import (
    MARKET_EVENTS,
    VENUE_REPORTS,
    AccountConfigured,
    AccountOpened,
    BalanceBooked,
    Bar,
    BookUpdate,
    CapitalMoved,
    EngineFaulted,
    Event,
    FeedInterrupted,
    InstrumentListed,
    IntentDecided,
    LimitsChanged,
    MarketEvent,
    ModeChanged,
    PairTold,
    Quote,
    StrategyEnabled,
    Timer,
    Trade,
    TradingResumed,
    encode_event,
)
from aether.domain.instruments import TradingState
from aether.domain.records import EquityPoint
from aether.engine import valuation
from aether.engine.breakers import Breakers
from aether.engine.breaks import Breaks
from aether.engine.changes import Answered, Changes, Closed, Fact, Filled, Halting, Judged, Moved, Outbox, Questioned
from aether.engine.desk import Desk
from aether.engine.door import refusal
from aether.engine.intents import Intents, Ran, Runners, make_runners, state_key
from aether.engine.market import Market
from aether.engine.parents import PARENT_EVENTS, Parents
from aether.engine.protection import Protection
from aether.engine.resting import Resting
from aether.engine.review import Review
from aether.engine.safety import SAMPLE_NS, Safety
from aether.engine.state import NS_PER_DAY, NS_PER_S, AccountState, decode_state, encode_state
from aether.engine.stops import Stop
from aether.engine.strategy import Catalogue, find_strategy, parse_params

CHECKPOINT_EVERY = 2_048
"""Events after which the engine can go back no further."""
CLOCK_BACK_NS = 60 * NS_PER_S
"""A node's clock so far behind the account's was set right: the account's was ahead of the world."""
TELL_AGAIN_NS = 60 * NS_PER_S
SETTINGS = ("limits", "sizing", "exits", "review", "reconciliation")
MAX_ROUNDS = 1_000
"""Times that facts may lead to further facts within one step."""


class Engine:
    """The state machine of one account.

    Args:
        catalogue: the strategies that `AccountOpened` may name.
        snapshot: what `snapshot()` returned earlier; None starts empty.
        on_judged: hears what the risk gate says.
    """

    def __init__(self, catalogue: Catalogue, snapshot: bytes | None = None, *, on_judged: Judged | None = None) -> None:
        self.catalogue = catalogue
        self._out = Outbox(on_judged)
        self.state = AccountState()
        self.applied: Event | None = None
        """The last event as it was applied, which is what the journal holds of it."""
        self._checkpoint = b""
        self._since: list[Event] = []
        self._ran: dict[int, Ran] = {}
        self._taken = 0
        self._load(decode_state(snapshot) if snapshot else self.state)
        self._checkpoint = snapshot or self.snapshot()

    def _load(self, state: AccountState) -> None:
        """Make the rooms anew around a state."""
        self.state = state
        runners = make_runners(state.config, self.catalogue, state) if state.config else {}
        self._wire(runners)

    def _wire(self, runners: Runners) -> None:
        state, out = self.state, self._out
        self._market = Market(state)
        self._desk = Desk(state, out)
        self._breaks = Breaks(state, out)
        self._breakers = Breakers(state, out)
        self._safety = Safety(state, out, self._desk)
        self._protection = Protection(state, out, self._desk)
        self._review = Review(state, out, self._desk)
        self._resting = Resting(state, out, self._desk)
        self._intents = Intents(state, out, self._desk, self._review, self._protection, self._resting, runners)
        self._parents = Parents(state, out, self._desk, self._protection, self._resting)

    @property
    def refused(self) -> str:
        """Why the last event was refused, at the door or by the room that it is for; empty when it was not."""
        return self._out.refused

    @property
    def config(self) -> AccountConfig:
        """The account's configuration; the account has been opened."""
        return self.state.own

    def apply(self, event: Event) -> list[Command]:
        """Bring the account forward by one event and return what should be done in the world, in order.

        Raises:
            InvalidValueError, UnknownNameError: only before the account is open: when the first event is not
                `AccountOpened`, or that names what does not exist. Nothing is changed then.
        """
        if self.state.config is None and not isinstance(event, AccountOpened):
            raise InvalidValueError(
                f"The first event of a journal is AccountOpened, not {type(event).__name__}.",
                remedy="Open the account first.",
            )
        self.applied = event
        try:
            commands = self._step(event)
        except Exception as error:
            if self.state.config is None:
                self._load(AccountState())
                raise
            commands = self._fault(event, error)
        if self._intents.ran is not None:
            self._ran[len(self._since)] = self._intents.ran
            self._intents.ran = None
        self._since.append(self.applied)
        return commands

    def take_changes(self) -> Changes:
        """Return what changed since the last call and start a new collection.

        It is also when the engine may set a new checkpoint: nothing that it would have to repeat is outstanding.
        """
        taken, self._out.changes = self._out.changes, Changes()
        self._taken = len(self._since)
        if self._taken >= CHECKPOINT_EVERY:
            self._checkpoint, self._since, self._ran, self._taken = self.snapshot(), [], {}, 0
        return taken

    def snapshot(self) -> bytes:
        """Return the whole state; `Engine(catalogue, snapshot)` continues from it exactly."""
        return encode_state(self.state)

    def state_hash(self) -> str:
        """Return the SHA-256 of the state, equal exactly when the states are."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def equity_point(self) -> EquityPoint:
        """Return the account's worth now."""
        return valuation.equity_point(self.state)

    # One step.

    def _step(self, event: Event) -> list[Command]:
        out, state = self._out, self.state
        out.commands, out.facts, out.refused = [], [], ""
        now = event.taken_ns or event.ts_ns
        if now >= state.now_ns:
            state.now_ns = now
        else:
            self._set_clock(event)
        if isinstance(event, EngineFaulted):
            self._desk.keep(event)
            self._safety.on_event(event)
            return out.commands
        if state.now_ns // SAMPLE_NS != state.sample:
            self._safety.roll()
        out.refused = refusal(state, event, self.catalogue)
        if out.refused:
            self._tell_refusal(event, out.refused)
            return out.commands
        self._write(event)
        if out.facts:
            self._hear()
        if isinstance(event, MARKET_EVENTS):
            self._tell_of_market(event)
        else:
            self._tell_rooms(event)
        return out.commands

    def _set_clock(self, event: Event) -> None:
        """Set the account's clock back, where the node's own clock shows that it was ahead."""
        state, now = self.state, event.taken_ns
        if now and now < state.now_ns - CLOCK_BACK_NS:
            ahead_s = (state.now_ns - now) // NS_PER_S
            _set_back(state, now)
            self._desk.alert(Severity.CRITICAL, "clock", f"The account's clock was {ahead_s} s ahead and is set right")

    def _write(self, event: Event) -> None:
        """Write down what an event says: the one match."""
        match event:
            case Quote():
                self._market.quote(event)
            case Trade():
                self._market.trade(event)
            case BookUpdate():
                self._market.book(event)
            case Bar():
                self._market.bar(event)
            case FeedInterrupted():
                self._market.interrupted(event)
            case PairTold():
                self._tell_of_pair(event)
            case CapitalMoved():
                self._desk.move_capital(event)
            case BalanceBooked():
                self._desk.book_balance(event)
            case AccountOpened():
                runners = make_runners(event.config, self.catalogue, self.state)
                self.state.config = event.config
                self._wire(runners)
            case InstrumentListed():
                self.state.instruments[event.definition.id] = event.definition
            case LimitsChanged():
                self.state.config = msgspec.structs.replace(self.config, limits=event.limits)
            case AccountConfigured():
                self._configure(event)
            case ModeChanged():
                self.state.config = msgspec.structs.replace(self.config, mode=event.mode)
            case StrategyEnabled(enabled=True):
                self.state.disabled.pop(event.strategy, None)
            case StrategyEnabled():
                self.state.disabled[event.strategy] = event.actor
            case _ if isinstance(event, VENUE_REPORTS):
                self._desk.book(event)
            case TradingResumed():
                self._desk.book_late()
                self._hear()
                self._breakers.reset(event.actor)

    def _tell_of_pair(self, event: PairTold) -> None:
        news = self._market.told(event)
        if news:
            is_bad = event.state is not TradingState.ONLINE
            told = f"{event.instrument}: {'; '.join(news)}"
            self._desk.alert(Severity.WARNING if is_bad else Severity.INFO, "pair", told)

    def _configure(self, event: AccountConfigured) -> None:
        """Take settings; a strategy with other parameters begins anew, what it had worked out belongs to the old."""
        state, given = self.state, event.strategies

        def is_other(assignment: StrategyAssignment) -> bool:
            strategy = find_strategy(self.catalogue, assignment.strategy)
            wanted = parse_params(strategy, given.get(assignment.strategy, assignment.params))
            return bool(wanted != parse_params(strategy, assignment.params))

        anew = [s for s in self.config.strategies if is_other(s)]
        strategies = tuple(
            msgspec.structs.replace(s, params=given[s.strategy]) if s in anew else s for s in self.config.strategies
        )
        settings = {name: getattr(event, name) for name in SETTINGS}
        state.config = msgspec.structs.replace(self.config, strategies=strategies, **settings)
        told = f"Settings are now version {event.version}, by {event.actor}"
        if anew:
            for assignment in anew:
                for instrument in assignment.instruments:
                    state.strategy_states.pop(state_key(assignment.strategy, instrument), None)
            self._intents.runners = make_runners(state.config, self.catalogue, state)
            told += f"; {', '.join(s.strategy for s in anew)} begins anew with other parameters"
        self._desk.alert(Severity.INFO, "configured", told)

    def _tell_rooms(self, event: Event) -> None:
        """Let the rooms act on an event, in their order; while the engine is at fault only those that stop things.

        A venue's report has come as facts already; what is left is what was waiting for time to pass.
        """
        if not isinstance(event, VENUE_REPORTS):
            self._breaks.on_event(event)
            self._safety.on_event(event)
            self._hear()
        state = self.state
        if state.stops and Stop.FAULT in state.stops:
            return
        if isinstance(event, Timer):
            self._protection.on_time()
            self._resting.on_time()
        elif isinstance(event, TradingResumed):
            self._protection.catch_up()
        if state.held or isinstance(event, IntentDecided):
            self._review.on_event(event)
        self._hear()
        if state.parents or isinstance(event, PARENT_EVENTS):
            self._parents.on_event(event)
            self._hear()

    def _tell_of_market(self, event: MarketEvent) -> None:
        """The same for market data, of which there is most: rooms with nothing to do are not asked."""
        state, out = self.state, self._out
        self._safety.on_market(event)
        if out.facts:
            self._hear()
        if state.stops and Stop.FAULT in state.stops:
            return
        if event.instrument in state.exits:
            self._protection.on_market(event)
        if state.held:
            self._review.on_event(event)
        if isinstance(event, Bar) and (failed := self._intents.on_bar(event)):
            self.applied = msgspec.structs.replace(event, failed=failed)
        if out.facts:
            self._hear()
        if state.parents:
            self._parents.on_event(event)
            self._hear()

    def _hear(self) -> None:
        """Let the rooms hear of facts, and of the facts that those lead to, until there is nothing new."""
        rounds = 0
        while self._out.facts:
            facts, self._out.facts = self._out.facts, []
            rounds += 1
            assert rounds < MAX_ROUNDS, "facts lead to facts without end"
            for fact in facts:
                self._tell_fact(fact)

    def _tell_fact(self, fact: Fact) -> None:
        """Tell the rooms that a fact concerns, in their order."""
        state = self.state
        if isinstance(fact, Answered):
            self._breakers.on_fact(fact)
            return
        if state.breaks or isinstance(fact, Questioned):
            self._breaks.on_fact(fact)
        if isinstance(fact, (Filled, Moved, Questioned)) or Stop.FLATTEN in state.stops:
            self._safety.on_fact(fact)
        protects = isinstance(fact, Filled) or (
            isinstance(fact, Closed) and fact.order.request.instrument in state.exits
        )
        if protects and Stop.FAULT not in state.stops:
            self._protection.on_fact(fact)
        if isinstance(fact, (Filled, Closed)) and Stop.FAULT not in state.stops and self._resting.concerns(fact):
            self._resting.on_fact(fact)
        if isinstance(fact, Halting) or (
            isinstance(fact, (Filled, Closed)) and fact.order is not None and fact.order.request.concerns_parent
        ):
            self._parents.on_fact(fact)

    def _tell_refusal(self, event: Event, reason: str) -> None:
        """Say that an event was refused: each kind once a minute."""
        kind = type(event).__name__
        if self.state.now_ns - self.state.told.get(kind, -TELL_AGAIN_NS) >= TELL_AGAIN_NS:
            self.state.told[kind] = self.state.now_ns
            self._desk.alert(Severity.WARNING, "refused", f"{kind} refused, nothing changed: {reason}")

    # Errors that nobody foresaw.

    def _fault(self, event: Event, error: Exception) -> list[Command]:
        """Go back to the state before the event and stop the account."""
        faulted = EngineFaulted(
            ts_ns=event.ts_ns,
            taken_ns=event.taken_ns,
            event=encode_event(event).decode(),
            error=f"{type(event).__name__}: {type(error).__name__}: {error}{_place(error)}",
        )
        half_done = self.state
        self._intents.ran = None
        try:
            self._go_back()
        except Exception as again:  # noqa: BLE001  whatever it is, the account has to be stopped
            self._load(half_done)
            faulted = msgspec.structs.replace(
                faulted,
                error=f"{faulted.error}; the state before it could not be restored ({type(again).__name__}: {again}): "
                "restart the platform, which rebuilds it from the journal",
            )
        self.applied = faulted
        return self._step(faulted)

    def _go_back(self) -> None:
        """Restore the checkpoint and repeat the events since; what was taken of their changes is not given again."""
        since, taken = self._since, self._taken
        self._out.changes = Changes()
        self._load(decode_state(self._checkpoint))
        for n, event in enumerate(since):
            if n == taken:
                self._out.changes = Changes()
            self._intents.ran = self._ran.get(n)
            self._step(event)
        self._intents.ran = None
        if taken >= len(since):
            self._out.changes = Changes()


def _place(error: Exception) -> str:
    """Return the function in which an error was raised, for people."""
    found = error.__traceback__
    while found is not None and found.tb_next is not None:
        found = found.tb_next
    return f" in {found.tb_frame.f_code.co_qualname}" if found else ""


def _set_back(state: AccountState, now_ns: int) -> None:
    """Set the account's clock back; no time in its memory stays ahead of it."""
    state.now_ns = now_ns
    for market in state.market.values():
        market.book_ns, market.trade_ns = min(market.book_ns, now_ns), min(market.trade_ns, now_ns)
        market.bar_ns = min(market.bar_ns, now_ns)
    for plans in state.exits.values():
        for plan in plans.values():
            plan.retry_ns, plan.rest_ns = min(plan.retry_ns, now_ns), min(plan.rest_ns, now_ns)
            if plan.due is not None:
                plan.due = msgspec.structs.replace(plan.due, since_ns=min(plan.due.since_ns, now_ns))
    for retry in state.flattening.values():
        retry.retry_ns = min(retry.retry_ns, now_ns)
    for parent in state.parents.values():
        parent.started_ns, parent.retry_ns = min(parent.started_ns, now_ns), min(parent.retry_ns, now_ns)
    for order in state.open_orders.values():
        order.created_ns, order.updated_ns = min(order.created_ns, now_ns), min(order.updated_ns, now_ns)
        order.asked_ns = min(order.asked_ns, now_ns)
    risk = state.risk
    today = now_ns // NS_PER_DAY
    risk.day = min(risk.day, today)
    volumes = dict.fromkeys(sorted({min(d, today) for d in risk.day_volume}), 0)
    for day, volume in risk.day_volume.items():
        volumes[min(day, today)] += volume
    risk.day_volume = volumes
    longest = now_ns + state.own.exits.cool_down_s * NS_PER_S
    risk.cool_until = {i: min(until, longest) for i, until in risk.cool_until.items()}
    risk.order_times = [min(t, now_ns) for t in risk.order_times]
    risk.repeats = {key: [min(t, now_ns) for t in times] for key, times in risk.repeats.items()}
    for breaker in state.breakers.values():
        breaker.opened_ns = min(breaker.opened_ns, now_ns)
        breaker.outcomes = [(min(t, now_ns), failed) for t, failed in breaker.outcomes]
    state.told.clear()
    state.sample = -1
