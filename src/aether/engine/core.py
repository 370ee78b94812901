"""The engine's only door: `Engine.apply(event) -> commands`.

One call takes one event, brings the account's state forward and returns what should be done in the world. The caller
makes the event durable first and lets the commands out afterwards. What people want to see of the step (orders that
changed, fills, verdicts, equity) is collected in `Engine.changes` for whoever writes it down; it is no part of the
state.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import msgspec

from aether.domain.accounts import AccountConfig, StrategyAssignment
from aether.domain.commands import CancelAll, CancelOrder, Command, RaiseAlert, Severity, SubmitOrder
from aether.domain.errors import IllegalTransitionError, InvalidValueError, LedgerError
from aether.domain.events import (
    AccountConfigured,
    AccountOpened,
    BalanceReported,
    Bar,
    BookUpdate,
    CancelRejected,
    CapitalMoved,
    Event,
    InstrumentListed,
    IntentDecided,
    KillSwitchEngaged,
    KillSwitchReleased,
    LimitsChanged,
    ModeChanged,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    ParentOrderCanceled,
    ParentOrderRequested,
    Quote,
    StrategyEnabled,
    Timer,
    Trade,
    TradingResumed,
)
from aether.domain.identifiers import (
    BalanceKey,
    ClientOrderId,
    InstrumentId,
    StrategyName,
    balance_key,
    client_order_id,
)
from aether.domain.instruments import Instrument
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, Purpose, Side, TimeInForce
from aether.domain.records import EquityPoint, Fill, Verdict
from aether.domain.scaled import (
    BPS,
    amount_of_size,
    average_price,
    bps_of,
    format_amount,
    mul_div,
    round_down,
    size_for_notional,
    size_of_amount,
)
from aether.engine.exits import (
    NO_EXIT,
    PROFIT_HIT,
    PURPOSE_OF_HIT,
    ExitPlan,
    exit_hit,
    make_plan,
    rebase,
    stop_fraction,
)
from aether.engine.ledger import Position
from aether.engine.orders import Trigger, cancel_refused_trigger, fill_trigger, next_state
from aether.engine.parents import ParentDesk
from aether.engine.risk import (
    FEE_WINDOW_DAYS,
    NS_PER_S,
    Gate,
    check_daily_loss,
    check_drawdown,
    gross_exposure,
    make_candidate,
    net_asset_value,
    position_value,
    repeat_key,
)
from aether.engine.sizing import annual_volatility, entry_weight, ewma_variance
from aether.engine.state import CLOSED_ORDERS_KEPT, AccountState, Held, MarketState
from aether.engine.strategy import (
    BarValues,
    Catalogue,
    Enter,
    Exit,
    Intent,
    Rebalance,
    Withdraw,
    find_strategy,
    parse_params,
)

EQUITY_SAMPLE_S = 60
EXIT_RETRY_S = 1
EXIT_RETRY_MAX_S = 60
NS_PER_DAY = 86_400 * NS_PER_S


class Changes:
    """What one or more steps changed, in the order in which it happened; emptied by `Engine.take_changes`."""

    def __init__(self) -> None:
        self.orders: dict[ClientOrderId, Order] = {}
        self.fills: list[Fill] = []
        self.verdicts: list[Verdict] = []
        self.equity: list[EquityPoint] = []
        self.alerts: list[RaiseAlert] = []
        self.positions: dict[InstrumentId, Position] = {}
        self.balances: set[BalanceKey] = set()


class _View:
    """The account as a strategy sees it (`AccountView`)."""

    def __init__(self, state: AccountState, basket: tuple[InstrumentId, ...]) -> None:
        self._state = state
        self._basket = basket

    @property
    def basket(self) -> tuple[InstrumentId, ...]:
        return self._basket

    def weight(self, instrument: InstrumentId) -> float:
        nav = net_asset_value(self._state)
        return position_value(self._state, self._state.instruments[instrument]) / nav if nav > 0 else 0.0

    def is_flat(self, instrument: InstrumentId) -> bool:
        return _holding(self._state, self._state.instruments[instrument]) == 0

    def has_open_order(self, instrument: InstrumentId) -> bool:
        return any(o.request.instrument == instrument for o in self._state.open_orders.values())

    def volatility(self, instrument: InstrumentId) -> float:
        market = self._state.market.get(instrument) or MarketState()
        return annual_volatility(market.variance_per_s)


class _Runner:
    """A strategy assignment ready to run: its definition, parameters and live state per instrument."""

    def __init__(self, assignment: StrategyAssignment, catalogue: Catalogue, states: dict[str, Any]) -> None:
        self.assignment = assignment
        self.definition = find_strategy(catalogue, assignment.strategy)
        self.params = parse_params(self.definition, assignment.params)
        self._states = states

    def step(self, bar: BarValues, view: _View) -> list[Intent]:
        key = f"{self.assignment.strategy}|{bar.instrument}"
        state = self._states.get(key)
        if not isinstance(state, self.definition.state):
            state = self.definition.state() if state is None else msgspec.convert(state, self.definition.state)
            self._states[key] = state
        return list(self.definition.on_bar(self.params, state, bar, view))


class Engine:
    """The state machine of one account.

    Args:
        catalogue: the strategies that `AccountOpened` may name.
        snapshot: what `snapshot()` returned earlier; None starts empty.
    """

    def __init__(self, catalogue: Catalogue, snapshot: bytes | None = None) -> None:
        self._catalogue = catalogue
        self.state = msgspec.msgpack.decode(snapshot, type=AccountState) if snapshot else AccountState()
        self.changes = Changes()
        self._gate = Gate()
        self._commands: list[Command] = []
        self._runners: dict[tuple[InstrumentId, int], _Runner] = {}
        self._views: dict[tuple[InstrumentId, int], _View] = {}
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Quote: self._on_quote,
            Trade: self._on_trade,
            BookUpdate: self._on_book,
            Bar: self._on_bar,
            Timer: self._on_timer,
            OrderAccepted: self._on_accepted,
            OrderRejected: self._on_rejected,
            OrderFilled: self._on_filled,
            OrderCanceled: self._on_canceled,
            OrderExpired: self._on_expired,
            CancelRejected: self._on_cancel_rejected,
            BalanceReported: self._on_balance,
            AccountOpened: self._on_opened,
            InstrumentListed: self._on_listed,
            CapitalMoved: self._on_capital,
            KillSwitchEngaged: self._on_kill_engaged,
            KillSwitchReleased: self._on_kill_released,
            LimitsChanged: self._on_limits,
            AccountConfigured: self._on_configured,
            IntentDecided: self._on_intent_decided,
            ModeChanged: self._on_mode,
            TradingResumed: self._on_resumed,
            StrategyEnabled: self._on_strategy_enabled,
            ParentOrderRequested: self._on_parent_requested,
            ParentOrderCanceled: self._on_parent_canceled,
        }
        self._parents = ParentDesk(self.state, self._put_before_gate, self._cancel)
        if self.state.config:
            self._wire(self.state.config)

    @property
    def config(self) -> AccountConfig:
        """The account's configuration; the account has been opened."""
        assert self.state.config is not None, "AccountOpened has not been applied"
        return self.state.config

    def apply(self, event: Event) -> list[Command]:
        """Bring the account forward by one event and return what should be done in the world, in order.

        Reports that no venue can mean and postings that do not balance halt the account: open orders are canceled,
        nothing new is sent, and an alert carries the evidence. Errors in an `AccountOpened` event are raised: it is
        then not opened.

        Raises:
            InvalidValueError, UnknownNameError: when `AccountOpened` names what does not exist or is out of bounds.
        """
        state = self.state
        self._commands = []
        state.now_ns = max(state.now_ns, event.ts_ns)
        if state.config is None and not isinstance(event, AccountOpened):
            raise InvalidValueError(
                f"The first event of a journal is AccountOpened, not {type(event).__name__}.",
                remedy="Open the account first.",
            )
        try:
            self._roll()
            self._handlers[type(event)](event)
            if state.held:
                self._drop_unreviewed()
            if state.risk.flatten:
                self._flatten()
            if state.parents:
                self._parents.work()
        except (IllegalTransitionError, LedgerError) as error:
            self._halt(f"{type(event).__name__}: {error}")
        return self._commands

    def take_changes(self) -> Changes:
        """Return what changed since the last call and start a new collection."""
        taken, self.changes = self.changes, Changes()
        return taken

    def snapshot(self) -> bytes:
        """Return the whole state; `Engine(catalogue, snapshot)` continues from it exactly."""
        return msgspec.msgpack.encode(self.state)

    def state_hash(self) -> str:
        """Return the SHA-256 of the state, equal exactly when the states are."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    # Operator decisions.

    def _on_opened(self, event: AccountOpened) -> None:
        if self.state.config is not None:
            raise IllegalTransitionError("the account is open already")
        self._wire(event.config)
        self.state.config = event.config

    def _wire(self, config: AccountConfig) -> None:
        runners: dict[tuple[InstrumentId, int], _Runner] = {}
        owners: dict[InstrumentId, StrategyName] = {}
        for assignment in config.strategies:
            runner = _Runner(assignment, self._catalogue, self.state.strategy_states)
            for instrument in assignment.instruments:
                if instrument in owners:
                    raise InvalidValueError(
                        f"{instrument} is given to {owners[instrument]} and to {assignment.strategy} in account "
                        f"{config.id}.",
                        remedy="Give each instrument to one strategy of the account.",
                    )
                owners[instrument] = assignment.strategy
                runners[instrument, assignment.bar_s] = runner
                self._views[instrument, assignment.bar_s] = _View(self.state, assignment.instruments)
        self._runners = runners

    def _on_listed(self, event: InstrumentListed) -> None:
        self.state.instruments[event.definition.id] = event.definition

    def _on_capital(self, event: CapitalMoved) -> None:
        key = balance_key(event.venue, event.asset)
        free = self.state.ledger.balance(key).free
        if free + event.amount < 0:
            asked = f"{format_amount(-event.amount)} {event.asset}"
            self._alert(
                Severity.WARNING,
                "capital_refused",
                f"{asked} cannot leave {event.venue}: {format_amount(free)} is free",
            )
            return
        self.state.ledger.move_capital(key, event.amount)
        self.changes.balances.add(key)
        risk = self.state.risk
        risk.day_start_nav += event.amount
        risk.peak_nav += event.amount

    def _on_kill_engaged(self, event: KillSwitchEngaged) -> None:
        self.state.risk.kill_reason = event.reason
        self.state.risk.flatten = event.flatten
        self._cancel_everything()
        self._alert(Severity.CRITICAL, "kill_switch", f"Kill switch engaged by {event.actor}: {event.reason}")

    def _on_kill_released(self, event: KillSwitchReleased) -> None:
        self.state.risk.kill_reason = ""
        if self.state.risk.flatten:
            self.state.risk.flatten = False
            for plan in self.state.exits.values():
                plan.hit, plan.refusals, plan.retry_ns = NO_EXIT, 0, 0
        self._alert(Severity.INFO, "kill_switch", f"Kill switch released by {event.actor}: {event.reason}")

    def _on_limits(self, event: LimitsChanged) -> None:
        self.state.config = msgspec.structs.replace(self.config, limits=event.limits)

    def _on_configured(self, event: AccountConfigured) -> None:
        self.state.config = msgspec.structs.replace(
            self.config, limits=event.limits, sizing=event.sizing, exits=event.exits, review=event.review
        )
        self._alert(Severity.INFO, "configured", f"Settings are now version {event.version}, by {event.actor}")

    def _on_intent_decided(self, event: IntentDecided) -> None:
        held = self.state.held.pop(event.number, None)
        if held is None:
            self._alert(Severity.WARNING, "review", f"Entry {event.number} does not wait for review any more")
        elif event.approved:
            self._alert(Severity.INFO, "review", f"Entry {event.number} approved by {event.actor}: {event.reason}")
            self._put_before_gate(held.request)
        else:
            self._alert(Severity.INFO, "review", f"Entry {event.number} declined by {event.actor}: {event.reason}")

    def _on_mode(self, event: ModeChanged) -> None:
        self.state.config = msgspec.structs.replace(self.config, mode=event.mode)

    def _on_resumed(self, event: TradingResumed) -> None:
        risk = self.state.risk
        risk.halt_reason = ""
        risk.loss_reason = ""
        risk.throttled.clear()
        risk.repeats.clear()
        risk.peak_nav = risk.day_start_nav = net_asset_value(self.state)
        self._alert(Severity.INFO, "resumed", f"Trading resumed by {event.actor}: {event.reason}")

    def _on_strategy_enabled(self, event: StrategyEnabled) -> None:
        if event.enabled:
            self.state.disabled.pop(event.strategy, None)
        else:
            self.state.disabled[event.strategy] = event.actor

    def _on_parent_requested(self, event: ParentOrderRequested) -> None:
        reason = self._parents.begin(event.request)
        if reason:
            self._alert(Severity.WARNING, "parent_refused", f"Parent order {event.request.id} not taken: {reason}")

    def _on_parent_canceled(self, event: ParentOrderCanceled) -> None:
        if not self._parents.cancel(event.parent_id, event.reason or f"canceled by {event.actor}"):
            self._alert(Severity.WARNING, "parent_unknown", f"No parent order {event.parent_id} is at work")

    # Market data and time.

    def _market(self, instrument: InstrumentId, ts_ns: int) -> MarketState:
        market = self.state.market.get(instrument)
        if market is None:
            market = self.state.market[instrument] = MarketState()
        market.ts_ns = max(market.ts_ns, ts_ns)
        return market

    def _on_quote(self, event: Quote) -> None:
        market = self._market(event.instrument, event.ts_ns)
        market.bid, market.ask = event.bid, event.ask
        market.bids = ((event.bid, event.bid_size),) if event.bid else ()
        market.asks = ((event.ask, event.ask_size),) if event.ask else ()
        self._watch_exits(event.instrument, market)

    def _on_book(self, event: BookUpdate) -> None:
        market = self._market(event.instrument, event.ts_ns)
        market.bid = event.bids[0][0] if event.bids else 0
        market.ask = event.asks[0][0] if event.asks else 0
        market.bids, market.asks = event.bids, event.asks
        self._watch_exits(event.instrument, market)

    def _on_trade(self, event: Trade) -> None:
        market = self._market(event.instrument, event.ts_ns)
        market.last = event.price
        if self.state.parents:
            instrument = self.state.instruments.get(event.instrument)
            if instrument is not None:
                quantity = amount_of_size(event.size, instrument.size_decimals)
                self._parents.on_volume(instrument.symbol, quantity)
        self._watch_exits(event.instrument, market)

    def _on_bar(self, event: Bar) -> None:
        instrument = self.state.instruments.get(event.instrument)
        runner = self._runners.get((event.instrument, event.interval_s))
        if instrument is None or runner is None:
            return
        market = self._market(event.instrument, 0)
        market.last = market.last or event.close
        if market.close:
            market.variance_per_s = ewma_variance(
                market.variance_per_s,
                math.log(event.close / market.close),
                event.interval_s,
                self.config.sizing.volatility_halflife_bars,
            )
        market.close = event.close
        scale = 10.0**instrument.price_decimals
        bar = BarValues(
            instrument=event.instrument,
            ts_ns=event.ts_ns,
            interval_s=event.interval_s,
            open=event.open / scale,
            high=event.high / scale,
            low=event.low / scale,
            close=event.close / scale,
            volume=event.volume / 10.0**instrument.size_decimals,
        )
        view = self._views[event.instrument, event.interval_s]
        for intent in runner.step(bar, view):
            self._follow(intent, runner.assignment.strategy)

    def _on_timer(self, _event: Timer) -> None:
        for instrument, plan in list(self.state.exits.items()):
            if plan.hit:
                self._try_exit(instrument)

    def _roll(self) -> None:
        """Do what is due as time passes: a new day, an equity sample."""
        state, risk = self.state, self.state.risk
        sample = state.now_ns // (EQUITY_SAMPLE_S * NS_PER_S)
        if sample == state.sample or state.config is None:
            return
        state.sample = sample
        point = self.equity_point()
        if point.capital == 0 and point.nav == 0:
            return
        self.changes.equity.append(point)
        risk.peak_nav = max(risk.peak_nav, point.nav)
        day = state.now_ns // NS_PER_DAY
        if day != risk.day:
            risk.day = day
            risk.day_start_nav = point.nav
            risk.fees_today = 0
            risk.day_volume = {d: v for d, v in risk.day_volume.items() if d > day - FEE_WINDOW_DAYS}

    def equity_point(self) -> EquityPoint:
        """Return the account's worth now."""
        state = self.state
        suffix = f":{self.config.currency}"
        own = [b for key, b in state.ledger.balances.items() if key.endswith(suffix)]
        exposure = gross_exposure(state)
        cash = sum(b.total for b in own)
        return EquityPoint(
            ts_ns=state.now_ns,
            nav=cash + exposure,
            cash=cash,
            exposure=exposure,
            realized=-sum(b.realized for b in own),
            fees=sum(b.fees for b in own),
            capital=-sum(b.capital for b in own),
        )

    # Venue reports.

    def _order(self, order_id: ClientOrderId) -> Order:
        order = self.state.open_orders.get(order_id) or self.state.closed_orders.get(order_id)
        if order is None:
            raise IllegalTransitionError(f"the venue reports on order {order_id}, which this account does not know")
        return order

    def _on_accepted(self, event: OrderAccepted) -> None:
        order = self._order(event.order_id)
        self._move(order, Trigger.ACCEPT)
        order.venue_order_id = event.venue_order_id

    def _on_rejected(self, event: OrderRejected) -> None:
        order = self._order(event.order_id)
        was_open = order.state.is_open
        self._move(order, Trigger.REJECT, event.reason)
        if was_open:
            self._note_refused_exit(order, event.reason)

    def _on_canceled(self, event: OrderCanceled) -> None:
        self._move(self._order(event.order_id), Trigger.CANCEL, event.reason)

    def _on_expired(self, event: OrderExpired) -> None:
        self._move(self._order(event.order_id), Trigger.EXPIRE, event.reason)

    def _on_cancel_rejected(self, event: CancelRejected) -> None:
        order = self._order(event.order_id)
        self._move(order, cancel_refused_trigger(order))

    def _on_balance(self, event: BalanceReported) -> None:
        booked = self.state.ledger.balance(event.key).total
        if booked != event.total:
            raise LedgerError(
                f"the venue holds {format_amount(event.total)} of {event.key}, the books say {format_amount(booked)}"
            )

    def _on_filled(self, event: OrderFilled) -> None:
        order = self._order(event.order_id)
        if event.trade_id in order.trade_ids:
            return
        trigger = fill_trigger(order, event.size)
        state_after = next_state(order, trigger)
        request = order.request
        instrument = self.state.instruments[request.instrument]
        notional = instrument.notional(event.price, event.size)
        self._release(order, order.remaining - event.size)
        fee_in_base = event.fee_asset == instrument.base
        fee_in_pair = fee_in_base or event.fee_asset == instrument.quote
        fee = event.fee if fee_in_pair else 0
        realized = 0
        if request.side is Side.BUY:
            fee_paid = self.state.ledger.buy(
                instrument, event.size, notional, fee, fee_in_base=fee_in_base, price=event.price
            )
        else:
            realized, fee_paid = self.state.ledger.sell(
                instrument, event.size, notional, fee, fee_in_base=fee_in_base, price=event.price
            )
        if not fee_in_pair:
            self._pay_in_third_asset(instrument, event)
        order.trade_ids.append(event.trade_id)
        order.filled += event.size
        order.filled_notional += notional
        order.fees += fee_paid
        if request.parent:
            quantity = amount_of_size(event.size, instrument.size_decimals)
            self._parents.on_fill(request.id, quantity, notional, fee_paid)
        if event.venue_order_id:
            order.venue_order_id = event.venue_order_id
        self._enter(order, state_after, order.reason)
        risk = self.state.risk
        risk.fees_today += fee_paid
        day = self.state.now_ns // NS_PER_DAY
        risk.day_volume[day] = risk.day_volume.get(day, 0) + notional
        self.changes.fills.append(
            Fill(
                ts_ns=event.ts_ns,
                order_id=request.id,
                trade_id=event.trade_id,
                instrument=instrument.id,
                side=request.side,
                price=event.price,
                size=event.size,
                notional=notional,
                fee=fee_paid,
                realized=realized,
                liquidity=event.liquidity,
                purpose=request.purpose,
                strategy=request.strategy,
            )
        )
        self.changes.positions[instrument.id] = self.state.ledger.position(instrument.id)
        self.changes.balances |= {instrument.base_key, instrument.quote_key}
        self._protect(instrument, order)
        self.state.ledger.assert_balanced()

    def _pay_in_third_asset(self, instrument: Instrument, event: OrderFilled) -> None:
        key = balance_key(instrument.venue, event.fee_asset)
        balance = self.state.ledger.balance(key)
        if balance.free < event.fee:
            raise LedgerError(f"a fee of {format_amount(event.fee)} {key} with {format_amount(balance.free)} free")
        balance.free -= event.fee
        balance.fees += event.fee
        self.changes.balances.add(key)

    def _move(self, order: Order, trigger: Trigger, reason: str = "") -> None:
        self._enter(order, next_state(order, trigger), reason)

    def _enter(self, order: Order, state: OrderState, reason: str) -> None:
        """Put `order` into `state`; when it is over, give back what was locked and file it."""
        order.state = state
        order.updated_ns = self.state.now_ns
        order_id = order.request.id
        if reason and not state.is_open:
            order.reason = reason
        if not state.is_open:
            self._release(order, 0)
            if self.state.open_orders.pop(order_id, None) is not None:
                self._file(order)
                if order.request.parent:
                    self._parents.on_closed(order)
        self.changes.orders[order_id] = order

    def _file(self, order: Order) -> None:
        closed = self.state.closed_orders
        closed[order.request.id] = order
        if len(closed) > CLOSED_ORDERS_KEPT:
            del closed[next(iter(closed))]

    def _release(self, order: Order, remaining: int) -> None:
        """Unlock what `remaining` size no longer needs."""
        if order.reserved == 0:
            return
        keep = mul_div(order.reserved, remaining, order.remaining) if order.remaining else 0
        instrument = self.state.instruments[order.request.instrument]
        key = instrument.quote_key if order.request.side is Side.BUY else instrument.base_key
        self.state.ledger.release(key, order.reserved - keep)
        order.reserved = keep
        self.changes.balances.add(key)

    # Strategies' intents.

    def _follow(self, intent: Intent, strategy: StrategyName) -> None:
        instrument = self.state.instruments.get(intent.instrument)
        if instrument is None:
            return
        match intent:
            case Enter():
                self._enter_position(intent, instrument, strategy)
            case Exit():
                self._cancel_open(instrument.id, Side.BUY)
                if not self._has_open(instrument.id, Side.SELL):
                    self._sell_all(instrument, Purpose.EXIT, strategy)
            case Rebalance():
                self._rebalance(intent, instrument, strategy)
            case Withdraw():
                self._cancel_open(instrument.id, Side.BUY)

    def _enter_position(self, intent: Enter, instrument: Instrument, strategy: StrategyName) -> None:
        state = self.state
        if _holding(state, instrument) or self._is_busy(instrument.id) or strategy in state.disabled:
            return
        market = self._market(instrument.id, 0)
        price = market.mark
        limit = 0
        if intent.limit_price is not None:
            limit = round_down(round(intent.limit_price * 10**instrument.price_decimals), instrument.tick)
            price = limit
        if price <= 0:
            return
        sizing, limits = self.config.sizing, self.config.limits
        weight = entry_weight(
            min(max(intent.strength, 0.0), 1.0),
            sizing.target_volatility,
            annual_volatility(market.variance_per_s),
            sizing.risk_per_trade_bps / BPS,
            stop_fraction(self.config.exits, market.variance_per_s),
        )
        nav = net_asset_value(state)
        cap_bps = min(limits.max_position_bps, limits.max_order_notional_bps)
        notional = min(int(nav * weight), bps_of(nav, cap_bps))
        size = self._affordable(instrument, notional, price, has_limit=limit > 0)
        if size < instrument.min_size or instrument.notional(price, size) < instrument.min_notional:
            return
        self._send(
            instrument,
            Side.BUY,
            size,
            Purpose.ENTRY,
            strategy,
            limit_price=limit,
            post_only=intent.post_only and limit > 0,
        )

    def _affordable(self, instrument: Instrument, notional: int, price: int, *, has_limit: bool) -> int:
        """Return the largest size of at most `notional` whose worst cost, collar and fee included, is free."""
        free = self.state.ledger.balance(instrument.quote_key).free
        collar = 0 if has_limit else self.config.limits.price_collar_bps
        taker_ppm = instrument.fee_tiers[0].taker_ppm
        cap = mul_div(free, BPS * 1_000_000, (BPS + collar + 1) * (1_000_000 + taker_ppm))
        size = size_for_notional(min(notional, cap), price, instrument.price_decimals, instrument.size_decimals)
        return min(round_down(size, instrument.lot), instrument.max_size)

    def _rebalance(self, intent: Rebalance, instrument: Instrument, strategy: StrategyName) -> None:
        state = self.state
        if self._is_busy(instrument.id):
            return
        mark = self._market(instrument.id, 0).mark
        nav = net_asset_value(state)
        if mark <= 0 or nav <= 0:
            return
        weight = min(max(intent.weight, 0.0), 1.0)
        wanted = min(int(nav * weight), bps_of(nav, self.config.limits.max_position_bps))
        gap = wanted - position_value(state, instrument)
        if gap > 0 and strategy in state.disabled:
            return
        if gap > 0:
            size = self._affordable(instrument, gap, mark, has_limit=False)
            side = Side.BUY
        else:
            size = size_for_notional(-gap, mark, instrument.price_decimals, instrument.size_decimals)
            size = min(round_down(size, instrument.lot), _holding(state, instrument))
            side = Side.SELL
        if size >= instrument.min_size and instrument.notional(mark, size) >= instrument.min_notional:
            self._send(instrument, side, size, Purpose.REBALANCE, strategy)

    # Exits.

    def _protect(self, instrument: Instrument, order: Order) -> None:
        """Keep the exit plan in step with the position after a fill."""
        exits = self.state.exits
        position = self.state.ledger.position(instrument.id)
        if size_of_amount(position.quantity, instrument.size_decimals) < instrument.min_size:
            plan = exits.pop(instrument.id, None)
            if plan and plan.hit not in (NO_EXIT, PROFIT_HIT):
                self.state.risk.cool_until[instrument.id] = self.state.now_ns + self.config.exits.cool_down_s * NS_PER_S
            return
        if order.request.side is not Side.BUY:
            return
        average = average_price(position.cost, position.quantity, instrument.price_decimals)
        if instrument.id not in exits:
            variance = self._market(instrument.id, 0).variance_per_s
            exits[instrument.id] = make_plan(self.config.exits, average, variance)
        rebase(exits[instrument.id], average)

    def _watch_exits(self, instrument: InstrumentId, market: MarketState) -> None:
        plan = self.state.exits.get(instrument)
        if plan is None:
            return
        if not plan.hit:
            price = market.sellable
            if price <= 0 or market.is_crossed:
                return
            plan.hit = exit_hit(price, plan.best, plan.stop, plan.profit, plan.trail_distance)
            plan.best = max(plan.best, price)
        if plan.hit:
            self._try_exit(instrument)

    def _try_exit(self, instrument_id: InstrumentId) -> None:
        """Sell the position of a plan that was hit; first take back what still works on the instrument."""
        plan = self.state.exits[instrument_id]
        if self.state.now_ns < plan.retry_ns:
            return
        if self._has_open(instrument_id):
            self._cancel_resting(instrument_id)
            return
        instrument = self.state.instruments[instrument_id]
        owner = next((r.assignment.strategy for (i, _), r in self._runners.items() if i == instrument_id), "")
        self._sell_all(instrument, PURPOSE_OF_HIT[plan.hit], StrategyName(owner))

    def _cancel_resting(self, instrument: InstrumentId) -> None:
        """Cancel what rests in the book; market orders on their way end by themselves."""
        for order in self.state.open_orders.values():
            if order.request.instrument == instrument and order.request.type is not OrderType.MARKET:
                self._cancel(order)

    def _note_refused_exit(self, order: Order, reason: str) -> None:
        """Space out the retries of an exit that was denied or rejected, and say so once."""
        plan = self.state.exits.get(order.request.instrument)
        if plan is None or not plan.hit or order.request.side is not Side.SELL:
            return
        wait_s = min(EXIT_RETRY_S << min(plan.refusals, 16), EXIT_RETRY_MAX_S)
        plan.retry_ns = self.state.now_ns + wait_s * NS_PER_S
        plan.refusals += 1
        if plan.refusals == 1:
            self._alert(
                Severity.CRITICAL, "exit_refused", f"The exit of {order.request.instrument} was refused: {reason}"
            )

    def _flatten(self) -> None:
        """While the kill switch asks for it, sell every position whose orders are gone."""
        for instrument in self.state.instruments.values():
            if not _holding(self.state, instrument) or self._has_open(instrument.id):
                continue
            plan = self.state.exits.setdefault(instrument.id, ExitPlan(0, 0, 0))
            plan.hit = plan.hit or PROFIT_HIT
            if self.state.now_ns >= plan.retry_ns:
                self._sell_all(instrument, Purpose.FLATTEN, StrategyName(""))

    def _sell_all(self, instrument: Instrument, purpose: Purpose, strategy: StrategyName) -> None:
        """Sell what is held, unless it is worth less than the venue takes: such dust stays."""
        size = _holding(self.state, instrument)
        mark = self._market(instrument.id, 0).mark
        if size and (mark == 0 or instrument.notional(mark, size) >= instrument.min_notional):
            self._send(instrument, Side.SELL, min(size, instrument.max_size), purpose, strategy)

    # Orders going out.

    def _send(
        self,
        instrument: Instrument,
        side: Side,
        size: int,
        purpose: Purpose,
        strategy: StrategyName,
        *,
        limit_price: int = 0,
        post_only: bool = False,
    ) -> None:
        """Put an order of a strategy or exit before the risk gate."""
        request = OrderRequest(
            id=ClientOrderId(""),
            instrument=instrument.id,
            side=side,
            type=OrderType.LIMIT if limit_price else OrderType.MARKET,
            size=size,
            limit_price=limit_price,
            time_in_force=TimeInForce.GTC if limit_price else TimeInForce.IOC,
            post_only=post_only,
            purpose=purpose,
            strategy=strategy,
        )
        if side is Side.BUY and self._hold_for_review(instrument, request):
            return
        self._put_before_gate(request)

    def _hold_for_review(self, instrument: Instrument, request: OrderRequest) -> bool:
        """Let an entry that is large enough wait for a person; return whether it does (R12)."""
        review, state = self.config.review, self.state
        price = request.limit_price or self._market(instrument.id, 0).mark
        notional = instrument.notional(price, request.size)
        if not review.notional or notional < review.notional:
            return False
        number, now = state.next_held, state.now_ns
        state.next_held += 1
        state.held[number] = Held(request, notional, now, now + review.wait_s * NS_PER_S)
        worth = format_amount(notional)
        self._alert(
            Severity.WARNING,
            "review",
            f"Entry {number}, {instrument.size_text(request.size)} {instrument.symbol} for {worth}, waits for a person",
        )
        return True

    def _drop_unreviewed(self) -> None:
        """Drop entries that nobody decided in time, and all of them while the account may not enter."""
        risk = self.state.risk
        stopped = bool(risk.kill_reason or risk.halt_reason or risk.loss_reason)
        for number, held in list(self.state.held.items()):
            if stopped or held.until_ns <= self.state.now_ns:
                del self.state.held[number]
                why = "trading stopped" if stopped else "nobody decided in time"
                self._alert(Severity.WARNING, "review", f"Entry {number} was dropped: {why}")

    def _put_before_gate(self, unnamed: OrderRequest) -> Order:
        """Put an order before the risk gate and, when it passes, lock its funds and ask for it to be sent."""
        state = self.state
        instrument = state.instruments[unnamed.instrument]
        request = msgspec.structs.replace(unnamed, id=client_order_id(self.config.id, state.next_order))
        state.next_order += 1
        self._watch_losses(instrument)
        candidate = make_candidate(state, request)
        order = Order(
            request=request,
            state=OrderState.INITIALIZED,
            created_ns=state.now_ns,
            updated_ns=state.now_ns,
            arrival_price=candidate.market.mark,
        )
        verdict, approved = self._gate.judge(candidate)
        self.changes.verdicts.append(verdict)
        if approved is None:
            self._move(order, Trigger.DENY, verdict.reason)
            self._file(order)
            self._note_refused_exit(order, verdict.reason)
            return order
        state.ledger.reserve(candidate.reserve_key, candidate.reserve)
        order.reserved = candidate.reserve
        self.changes.balances.add(candidate.reserve_key)
        state.open_orders[request.id] = order
        self._move(order, Trigger.APPROVE)
        self._count_order(request)
        self._commands.append(SubmitOrder(state.now_ns, approved))
        return order

    def _count_order(self, request: OrderRequest) -> None:
        """Remember an approved order for the rate limits and the repeated-order throttle."""
        risk, limits, now = self.state.risk, self.config.limits, self.state.now_ns
        risk.order_times = [t for t in risk.order_times if t > now - 60 * NS_PER_S]
        risk.order_times.append(now)
        if request.side is not Side.BUY:
            return
        key = repeat_key(request)
        recent = [t for t in risk.repeats.get(key, []) if t > now - limits.repeated_order_window_s * NS_PER_S]
        recent.append(now)
        risk.repeats[key] = recent
        if len(recent) >= limits.repeated_order_limit and key not in risk.throttled:
            risk.throttled[key] = len(recent)
            self._alert(
                Severity.CRITICAL,
                "repeated_orders",
                f"{key} sent {len(recent)} entries within {limits.repeated_order_window_s} s and is stopped",
            )

    def _watch_losses(self, instrument: Instrument) -> None:
        """Latch a daily loss or drawdown over its limit: entries stay off until an operator resumes (R3)."""
        if self.state.risk.loss_reason:
            return
        probe = OrderRequest(
            id=ClientOrderId(""), instrument=instrument.id, side=Side.SELL, type=OrderType.MARKET, size=0
        )
        candidate = make_candidate(self.state, probe)
        breach = check_daily_loss(candidate) or check_drawdown(candidate)
        if breach:
            self.state.risk.loss_reason = f"{breach.check} {breach.value}, allowed {breach.limit}"
            self._alert(Severity.CRITICAL, "loss_stop", f"Entries stopped: {self.state.risk.loss_reason}")

    def _has_open(self, instrument: InstrumentId, side: Side | None = None) -> bool:
        """Whether an order works on the instrument."""
        return any(
            o.request.instrument == instrument and (side is None or o.request.side is side)
            for o in self.state.open_orders.values()
        )

    def _is_busy(self, instrument: InstrumentId) -> bool:
        """Whether an order works on the instrument, or an entry into it waits for review."""
        return self._has_open(instrument) or any(h.request.instrument == instrument for h in self.state.held.values())

    def _cancel_open(self, instrument: InstrumentId, side: Side) -> None:
        for order in self.state.open_orders.values():
            if order.request.instrument == instrument and order.request.side is side:
                self._cancel(order)

    def _cancel(self, order: Order) -> None:
        if order.state is not OrderState.PENDING_CANCEL:
            self._move(order, Trigger.REQUEST_CANCEL)
            self._commands.append(CancelOrder(self.state.now_ns, order.request.id, order.request.instrument))

    def _cancel_everything(self) -> None:
        self._parents.cancel_all("all orders were canceled")
        for order in self.state.open_orders.values():
            self._move(order, Trigger.REQUEST_CANCEL)
        self._commands.append(CancelAll(self.state.now_ns))

    def _halt(self, reason: str) -> None:
        first = not self.state.risk.halt_reason
        if first:
            self.state.risk.halt_reason = reason
            self._cancel_everything()
            self._alert(Severity.CRITICAL, "halted", f"The account halted itself: {reason}")

    def _alert(self, severity: Severity, code: str, message: str) -> None:
        alert = RaiseAlert(self.state.now_ns, severity, code, message)
        self._commands.append(alert)
        self.changes.alerts.append(alert)


def _holding(state: AccountState, instrument: Instrument) -> int:
    """Return what could be sold of an instrument as a whole number of lots, 0 when below the smallest order."""
    balance = state.ledger.balances.get(instrument.base_key)
    if balance is None:
        return 0
    size = round_down(size_of_amount(balance.total, instrument.size_decimals), instrument.lot)
    return size if size >= instrument.min_size else 0
