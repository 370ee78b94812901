"""What stops the account and what is done then: kill and flatten, halts, faults, loss limits, safe mode.

The stops themselves are the table in `stops`; this room moves them, has open orders taken back where the table says
so, watches the loss limits at every mark, and sells everything while the kill switch asks for it.
"""

from aether.domain.commands import Severity
from aether.domain.events import (
    AccountConfigured,
    EngineFaulted,
    Event,
    KillSwitchEngaged,
    KillSwitchReleased,
    LimitsChanged,
    MarketEvent,
    SafeModeEngaged,
    SafeModeReleased,
    Timer,
    TradingResumed,
    VenueReleased,
    VenueStopped,
)
from aether.domain.identifiers import OPERATOR, ClientOrderId, InstrumentId, Owner, strategy_of
from aether.domain.instruments import Instrument
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, Purpose, Side, TimeInForce
from aether.domain.records import BreakKind
from aether.domain.scaled import POW10, bps_of, format_amount, round_down
from aether.engine.changes import Closed, Fact, Filled, Halting, Moved, Outbox, Questioned
from aether.engine.desk import Desk
from aether.engine.exits import rests
from aether.engine.risk import is_in_the_way, loss_breach
from aether.engine.state import NS_PER_DAY, NS_PER_S, AccountState, Retry
from aether.engine.stops import Cause, Stop, Stopped, keep_orders, may_exit, move
from aether.engine.valuation import (
    equity_point,
    free_size,
    fresh_from,
    is_sellable,
    mark_price,
    net_asset_value,
    sellable_size,
)
from aether.kernel.exits import NO_EXIT, retry_wait_s, shrunk

SAMPLE_NS = 60 * NS_PER_S
"""How often the account's worth is noted down."""
INSUFFICIENT = "insufficient"
"""In every venue's words for an order that it has not the coins or the money for."""


class Safety:
    """Moves the stops of the account and does what they ask for."""

    def __init__(self, state: AccountState, out: Outbox, desk: Desk) -> None:
        self._state = state
        self._out = out
        self._desk = desk

    # Time.

    def roll(self) -> None:
        """Do what is due as time passes, before an event is applied: a new day, an equity sample, the peak."""
        state, risk = self._state, self._state.risk
        if state.config is None:
            return
        state.sample = state.now_ns // SAMPLE_NS
        day = state.now_ns // NS_PER_DAY
        if risk.day < 0:
            risk.day = day
        point = equity_point(state)
        if point.capital == 0 and point.nav == 0:
            return
        self._out.changes.equity.append(point)
        risk.peak_nav = max(risk.peak_nav, point.nav)
        if day > risk.day:
            risk.day, risk.day_start_nav, risk.fees_today = day, point.nav, 0
        self._watch_losses()

    # Stops.

    def on_event(self, event: Event) -> None:
        """Follow operators; go on flattening as time passes."""
        match event:
            case KillSwitchEngaged():
                cause = Cause.KILL_AND_FLATTEN if event.flatten else Cause.KILL_ENGAGED
                told = f"Kill switch engaged by {event.actor}: {event.reason}"
                self._state.flattening.clear()
                self._stop(cause, event.reason, event.actor, Severity.CRITICAL, "kill_switch", told)
                self._state.stops[Stop.KILL].asked_ns = event.ts_ns
            case KillSwitchReleased():
                self._release(event)
            case VenueStopped():
                self._stop_venue(event)
            case VenueReleased():
                self._state.stopped_venues.pop(event.venue, None)
                self._alert(Severity.INFO, "venue_stop", f"{event.venue} released by {event.actor}: {event.reason}")
            case SafeModeEngaged():
                told = f"Safe mode engaged by {event.actor}: {event.reason}"
                self._stop(Cause.SAFE_MODE_ENGAGED, event.reason, event.actor, Severity.WARNING, "safe_mode", told)
            case SafeModeReleased():
                move(self._state.stops, Cause.SAFE_MODE_RELEASED, self._state.now_ns, event.reason)
                self._alert(Severity.INFO, "safe_mode", f"Safe mode released by {event.actor}: {event.reason}")
            case TradingResumed():
                self._resume(event)
                self._watch_losses()
            case LimitsChanged() | AccountConfigured():
                self._watch_losses()
            case EngineFaulted():
                told = f"The engine could not apply an event and stopped the account: {event.error}"
                self._stop(Cause.ENGINE_FAULTED, event.error, "", Severity.CRITICAL, "faulted", told)
        if isinstance(event, Timer):
            self._take_back()
        if Stop.FLATTEN in self._state.stops and isinstance(event, (Timer, KillSwitchEngaged)):
            self._flatten()

    def _take_back(self) -> None:
        """Want every order gone that a stop does not keep, again where a venue has refused to cancel it."""
        state = self._state
        if not state.stopped_venues and keep_orders(state.stops):
            return
        keeps, protects = keep_orders(state.stops), may_exit(state.stops)
        for order in list(state.open_orders.values()):
            is_there = state.instruments[order.request.instrument].venue in state.stopped_venues
            is_ours = order.request.purpose is Purpose.FLATTEN or (protects and rests(order.request))
            if order.state is not OrderState.PENDING_CANCEL and (is_there or not (keeps or is_ours)):
                self._desk.cancel(order)

    def on_market(self, event: MarketEvent) -> None:
        """Watch the losses as marks fall; go on flattening."""
        state = self._state
        position = state.ledger.positions.get(event.instrument)
        if position is not None and position.quantity:
            market = state.market[event.instrument]
            price = mark_price(market, fresh_from(state))
            if price != market.watched:
                self._note_mark(event.instrument, position.quantity, market.watched - price)
                market.watched = price
        if Stop.FLATTEN in state.stops:
            self._flatten()

    def on_fact(self, fact: Fact) -> None:
        """Halt on what no venue can mean; watch what a fill cost; go on flattening when an order has ended."""
        if isinstance(fact, (Filled, Moved)):
            self._watch_losses()
        if isinstance(fact, Questioned) and fact.kind in (BreakKind.IMPOSSIBLE, BreakKind.STRANGER):
            told = f"The account halted itself: {fact.evidence}"
            self._stop(Cause.IMPOSSIBLE_REPORT, fact.evidence, "", Severity.CRITICAL, "halted", told)
        elif isinstance(fact, (Closed, Filled)) and Stop.FLATTEN in self._state.stops:
            if isinstance(fact, Closed):
                self._note_end(fact.order)
            self._flatten()

    def _stop(self, cause: Cause, reason: str, actor: str, severity: Severity, code: str, told: str) -> None:
        """Enter what a cause enters; take back what is open where a stop keeps no orders."""
        entered = move(self._state.stops, cause, self._state.now_ns, reason, actor)
        is_asked = cause in (Cause.KILL_ENGAGED, Cause.KILL_AND_FLATTEN)
        if is_asked or not keep_orders(entered):
            self._desk.cancel_all()
            if cause is not Cause.ENGINE_FAULTED:
                keeps_exits = may_exit(self._state.stops)
                self._out.facts.append(Halting("all orders were canceled", keeps_exits))
        if is_asked or entered or cause is Cause.ENGINE_FAULTED:
            self._alert(severity, code, told)

    def _stop_venue(self, event: VenueStopped) -> None:
        """Let no order out to a venue, and have those canceled that are open there."""
        state = self._state
        before = state.stopped_venues.get(event.venue)
        since_ns = before.since_ns if before else state.now_ns
        state.stopped_venues[event.venue] = Stopped(since_ns, event.reason, event.actor, asked_ns=event.ts_ns)
        for order in list(state.open_orders.values()):
            if state.instruments[order.request.instrument].venue == event.venue:
                self._desk.cancel(order)
        told = f"{event.venue} stopped by {event.actor}: {event.reason}"
        self._alert(Severity.CRITICAL, "venue_stop", told)

    def _release(self, event: KillSwitchReleased) -> None:
        was_flattening = Stop.FLATTEN in self._state.stops
        move(self._state.stops, Cause.KILL_RELEASED, self._state.now_ns, event.reason)
        if was_flattening:
            self._state.flattening.clear()
            for plans in self._state.exits.values():
                for plan in plans.values():
                    plan.hit, plan.refusals, plan.retry_ns = NO_EXIT, 0, 0
        self._alert(Severity.INFO, "kill_switch", f"Kill switch released by {event.actor}: {event.reason}")

    def _resume(self, event: TradingResumed) -> None:
        risk = self._state.risk
        if Stop.FAULT in self._state.stops:
            self._out.facts.append(Halting("the engine was at fault", keeps_exits=False))
        move(self._state.stops, Cause.RESUMED, self._state.now_ns, event.reason)
        risk.throttled.clear()
        risk.repeats.clear()
        risk.peak_nav = risk.day_start_nav = net_asset_value(self._state)
        self._alert(Severity.INFO, "resumed", f"Trading resumed by {event.actor}: {event.reason}")

    def _alert(self, severity: Severity, code: str, message: str) -> None:
        self._out.alert(self._state.now_ns, severity, code, message)

    # Losses.

    def _note_mark(self, instrument: InstrumentId, quantity: int, fall: int) -> None:
        """Count how far a mark has taken the account towards its loss limits; look closely when that may be enough.

        What is owed (a quantity below zero) loses as the mark rises.

        `risk.slack` is how much may be lost before a limit is reached: exact when NAV was last worked out, less all
        falls since. Rises are not counted, so it errs on the safe side.
        """
        risk = self._state.risk
        if quantity * fall > 0:
            risk.slack -= quantity * fall // POW10[self._state.instruments[instrument].price_decimals] + 1
        if risk.slack <= 0:
            self._watch_losses()

    def _watch_losses(self) -> None:
        """Stop entries once the account is over a loss limit, whether or not anybody asks for an order."""
        state, risk, limits = self._state, self._state.risk, self._state.own.limits
        if Stop.LOSS in state.stops:
            return
        nav, fresh_ns = net_asset_value(state), fresh_from(state)
        for instrument in state.ledger.positions:
            if instrument in state.market:
                state.market[instrument].watched = mark_price(state.market[instrument], fresh_ns)
        breach = loss_breach(state, nav)
        if breach is not None:
            reason = f"{breach.check} {breach.value}, allowed {breach.limit}"
            told = f"Entries stopped: {reason}"
            self._stop(Cause.LOSS_LIMIT_PASSED, reason, "", Severity.CRITICAL, "loss_stop", told)
            return
        daily = risk.day_start_nav - bps_of(risk.day_start_nav, limits.max_daily_loss_bps)
        deepest = risk.peak_nav - bps_of(risk.peak_nav, limits.max_drawdown_bps)
        risk.slack = nav - max(daily, deepest)

    # Flattening.

    def _flatten(self) -> None:
        """Sell what is held, a piece at a time, until nothing that a venue would take is left."""
        state = self._state
        stopped = state.stops[Stop.FLATTEN]
        left = False
        for instrument in list(state.instruments.values()):
            if not state.own.may_trade(instrument.id):
                continue
            size = sellable_size(state, instrument)
            if instrument.venue in state.stopped_venues:
                left = left or bool(size)
                continue
            working = any(is_in_the_way(state, o, instrument.id) for o in state.open_orders.values())
            left = left or bool(size) or working
            retry = state.flattening.setdefault(instrument.id, Retry()) if size else None
            if retry is not None and not working and state.now_ns >= retry.retry_ns:
                free = round_down(max(0, free_size(state, instrument)), instrument.lot)
                piece = min(size, instrument.max_size, free)
                if is_sellable(state, instrument, piece):
                    self._sell(instrument, piece, retry)
        if left:
            stopped.is_done = False
        elif not stopped.is_done:
            stopped.is_done = True
            rest = [format_amount(p.quantity) + f" {i}" for i, p in state.ledger.positions.items() if p.quantity]
            dust = f"; what no venue takes, or the account may not trade, stays: {', '.join(rest)}" if rest else ""
            self._alert(Severity.WARNING, "flat", f"Everything is sold{dust}")

    def _sell(self, instrument: Instrument, size: int, retry: Retry) -> None:
        request = market_sale(instrument, shrunk(size, instrument.lot, retry.shortfalls), Purpose.FLATTEN)
        order = self._desk.ask(request)
        if order.state is OrderState.DENIED:
            self._note_refusal(instrument.id, order.reason)

    def _note_end(self, order: Order) -> None:
        """After a piece that sold something go on at once, after one that did not wait, longer each time."""
        request = order.request
        if request.side is not Side.SELL:
            return
        if rests(request) and not order.filled:
            if request.instrument in self._state.flattening:
                self._state.flattening[request.instrument].retry_ns = 0
            return
        retry = self._state.flattening.setdefault(request.instrument, Retry())
        if order.filled:
            retry.refusals = retry.retry_ns = 0
            return
        retry.shortfalls += INSUFFICIENT in order.reason.lower()
        self._note_refusal(request.instrument, order.reason)

    def _note_refusal(self, instrument: InstrumentId, reason: str) -> None:
        retry = self._state.flattening.setdefault(instrument, Retry())
        retry.retry_ns = self._state.now_ns + retry_wait_s(retry.refusals) * NS_PER_S
        retry.refusals += 1
        if retry.refusals == 1:
            self._alert(Severity.CRITICAL, "exit_refused", f"Flattening {instrument} was refused: {reason}")


def market_sale(instrument: Instrument, size: int, purpose: Purpose, owner: Owner = OPERATOR) -> OrderRequest:
    """Return a request to sell an owner's coins at the market."""
    return OrderRequest(
        id=ClientOrderId(""),
        instrument=instrument.id,
        side=Side.SELL,
        type=OrderType.MARKET,
        size=size,
        time_in_force=TimeInForce.IOC,
        purpose=purpose,
        strategy=strategy_of(owner),
        owner=owner,
    )
