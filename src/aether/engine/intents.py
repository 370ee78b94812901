"""Strategies at work: their steps run, their intents sized and put before the desk, each on the coins that are its own.

A strategy sees and sells its own holding only. One whose step raises, or that asks for what cannot be, is switched off
with the bar and its state in an alert; what it holds stays protected, and its state is what it was before the step.
"""

import re
from copy import deepcopy
from typing import Any, NamedTuple

import msgspec

from aether.domain.accounts import AccountConfig, StrategyAssignment
from aether.domain.commands import Severity
from aether.domain.errors import InvalidValueError
from aether.domain.events import Bar
from aether.domain.identifiers import ClientOrderId, InstrumentId, StrategyName, strategy_owner
from aether.domain.instruments import Instrument
from aether.domain.orders import OrderRequest, OrderType, Purpose, Side, TimeInForce
from aether.domain.scaled import BPS, bps_of, mul_div, round_down, size_for_notional
from aether.engine.changes import Outbox
from aether.engine.desk import Desk
from aether.engine.exits import stop_fraction
from aether.engine.protection import Protection
from aether.engine.resting import Resting
from aether.engine.review import Review
from aether.engine.risk import is_busy
from aether.engine.state import AccountState
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
from aether.engine.valuation import holding_value, mark, market_of, net_asset_value, sellable_size
from aether.kernel.sizing import annual_volatility, entry_weight

LARGEST_NUMBER = 1e12
"""A strategy's prices, in the quote asset, and weights are below this; NaN is not."""
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class View:
    """The account as a strategy sees it (`AccountView`): its own holding, its own orders."""

    def __init__(self, state: AccountState, assignment: StrategyAssignment) -> None:
        self._state = state
        self._basket = assignment.instruments
        self._owner = strategy_owner(assignment.strategy)

    @property
    def basket(self) -> tuple[InstrumentId, ...]:
        """The instruments that the strategy trades."""
        return self._basket

    def weight(self, instrument: InstrumentId) -> float:
        """Return the share of NAV that the strategy holds in `instrument`."""
        state = self._state
        nav = net_asset_value(state)
        held = holding_value(state, state.instruments[instrument], state.ledger.holding(instrument, self._owner))
        return max(0, held) / nav if nav > 0 else 0.0

    def is_flat(self, instrument: InstrumentId) -> bool:
        """Return whether the strategy holds nothing that could be sold."""
        return sellable_size(self._state, self._state.instruments[instrument], self._owner) == 0

    def has_open_order(self, instrument: InstrumentId) -> bool:
        """Return whether an order of the strategy is working on `instrument`, other than a stop that rests."""
        return is_busy(self._state, instrument, self._owner)

    def volatility(self, instrument: InstrumentId) -> float:
        """Return the yearly volatility of `instrument`, a fraction."""
        return annual_volatility(market_of(self._state, instrument).variance_per_s)


class Ran(NamedTuple):
    """What a strategy's step gave, and its state afterwards, frozen."""

    intents: list[Intent]
    state: Any


class Runner:
    """A strategy assignment ready to run: its definition, parameters and view."""

    def __init__(self, assignment: StrategyAssignment, catalogue: Catalogue, state: AccountState) -> None:
        self.strategy = assignment.strategy
        self.owner = strategy_owner(assignment.strategy)
        self.basket = assignment.instruments
        self._definition = find_strategy(catalogue, assignment.strategy)
        self._params = parse_params(self._definition, assignment.params)
        self._states = state.strategy_states
        self._instruments = state.instruments
        self._view = View(state, assignment)

    def step(self, bar: BarValues) -> Ran:
        """Return what the strategy wants after a bar; when it raises, its state is what it was."""
        key = self._key(bar.instrument)
        before = self._states.get(key)
        kept = None if before is None else _freeze(before)
        state = self._own_state(before)
        self._states[key] = state
        try:
            wanted = self._definition.on_bar(self._params, state, bar, self._view)
            return Ran([self._checked(intent) for intent in wanted], _freeze(state))
        except Exception:
            if kept is None:
                del self._states[key]
            else:
                self._states[key] = self._thaw(kept)
            raise

    def _checked(self, intent: Intent) -> Intent:
        """Return an intent that can be; raise what is wrong with any other."""
        if not isinstance(intent, (Enter, Exit, Rebalance, Withdraw)):
            raise TypeError(f"{intent!r} is no intent")
        if intent.instrument not in self._instruments or intent.instrument not in self.basket:
            raise ValueError(f"{intent.instrument} is not in the strategy's basket")
        numbers: list[Any] = []
        if isinstance(intent, Enter):
            numbers = [intent.strength, *([] if intent.limit_price is None else [intent.limit_price])]
        elif isinstance(intent, Rebalance):
            numbers = [intent.weight]
        if not all(isinstance(n, (int, float)) and abs(n) <= LARGEST_NUMBER for n in numbers):
            raise ValueError(f"{intent!r} has a number that cannot be")
        return intent

    def _own_state(self, known: Any) -> Any:
        if known is None:
            return self._definition.state()
        if isinstance(known, self._definition.state):
            return known
        return msgspec.convert(known, self._definition.state)

    def put_state(self, instrument: InstrumentId, frozen: Any) -> None:
        """Put back a state that a step gave."""
        self._states[self._key(instrument)] = self._thaw(frozen)

    def _thaw(self, frozen: Any) -> Any:
        if isinstance(frozen, bytes):
            return msgspec.msgpack.decode(frozen, type=self._definition.state)
        return deepcopy(frozen)

    def state_text(self, instrument: InstrumentId) -> str:
        """Return the strategy's state for people."""
        return str(self._own_state(self._states.get(self._key(instrument))))

    def _key(self, instrument: InstrumentId) -> str:
        return state_key(self.strategy, instrument)


def state_key(strategy: StrategyName, instrument: InstrumentId) -> str:
    """Return under which name the account keeps a strategy's state for an instrument."""
    return f"{strategy}|{instrument}"


Runners = dict[tuple[InstrumentId, int], Runner]


def make_runners(config: AccountConfig, catalogue: Catalogue, state: AccountState) -> Runners:
    """Return the account's strategies by instrument and bar length.

    Raises:
        InvalidValueError, UnknownNameError: when a strategy or parameter does not exist, a strategy is there twice or
            an instrument is given to two of them.
    """
    runners: Runners = {}
    owners: dict[InstrumentId, StrategyName] = {}
    names = [a.strategy for a in config.strategies]
    if len(set(names)) < len(names):
        raise InvalidValueError(
            f"Account {config.id} has a strategy twice: {', '.join(names)}.",
            remedy="Give it all of its instruments at once: its parameters and holdings go by its name.",
        )
    for assignment in config.strategies:
        runner = Runner(assignment, catalogue, state)
        for instrument in assignment.instruments:
            if instrument in owners:
                raise InvalidValueError(
                    f"{instrument} is given to {owners[instrument]} and to {assignment.strategy} in account "
                    f"{config.id}.",
                    remedy="Give each instrument to one strategy of the account.",
                )
            owners[instrument] = assignment.strategy
            runners[instrument, assignment.bar_s] = runner
    return runners


class Intents:
    """Runs the strategies of one account and follows what they want."""

    def __init__(
        self,
        state: AccountState,
        out: Outbox,
        desk: Desk,
        review: Review,
        protection: Protection,
        resting: Resting,
        runners: Runners,
    ) -> None:
        self._state = state
        self._out = out
        self._desk = desk
        self._review = review
        self._protection = protection
        self._resting = resting
        self.runners = runners
        self.ran: Ran | None = None
        """What the strategy gave at the last bar; set before a bar, it is taken for what the strategy gives."""

    def on_bar(self, event: Bar) -> str:
        """Let the strategy of the bar's instrument decide; return what it raised, empty when it did not."""
        instrument = self._state.instruments.get(event.instrument)
        runner = self.runners.get((event.instrument, event.interval_s))
        if instrument is None or runner is None:
            return ""
        bar = _values(event, instrument)
        if self.ran is not None:
            runner.put_state(event.instrument, self.ran.state)
        elif event.failed:
            return self._switch_off(runner, bar, event.failed)
        else:
            try:
                self.ran = runner.step(bar)
            except Exception as raised:  # noqa: BLE001  a strategy is the user's: whatever it raises is its own fault
                return self._switch_off(runner, bar, ADDRESS.sub("", f"{type(raised).__name__}: {raised}"))
        for intent in self.ran.intents:
            self._follow(intent, self._state.instruments[intent.instrument], runner)
        return ""

    def _switch_off(self, runner: Runner, bar: BarValues, what: str) -> str:
        """Switch a strategy off for what it raised; return that."""
        self._state.disabled[runner.strategy] = f"it raised {what}"
        told = f"{runner.strategy} is switched off, its holdings stay protected. It raised {what} at {bar}"
        state = ADDRESS.sub("", runner.state_text(bar.instrument))
        self._out.alert(self._state.now_ns, Severity.CRITICAL, "strategy_failed", f"{told} with state {state}")
        return what

    def _follow(self, intent: Intent, instrument: Instrument, runner: Runner) -> None:
        match intent:
            case Enter():
                self._enter(intent, instrument, runner)
            case Exit():
                self._review.withdraw(instrument.id, runner.owner)
                self._protection.want_exit(instrument.id, runner.owner)
            case Rebalance():
                self._rebalance(intent, instrument, runner)
            case Withdraw():
                self._review.withdraw(instrument.id, runner.owner)
                self._desk.cancel_open(instrument.id, Side.BUY, runner.owner)

    def _is_busy(self, instrument: InstrumentId, runner: Runner) -> bool:
        """Return whether an order of the strategy works on the instrument, or an entry waits for review."""
        return is_busy(self._state, instrument, runner.owner) or self._review.waits(instrument, runner.owner)

    def _enter(self, intent: Enter, instrument: Instrument, runner: Runner) -> None:
        state = self._state
        if sellable_size(state, instrument, runner.owner) or self._is_busy(instrument.id, runner):
            return
        if runner.strategy in state.disabled:
            return
        price = mark(state, instrument.id).price
        limit = 0
        if intent.limit_price is not None:
            limit = round_down(round(intent.limit_price * 10**instrument.price_decimals), instrument.tick)
            price = limit
        if price <= 0:
            return
        config, variance = state.own, market_of(state, instrument.id).variance_per_s
        weight = entry_weight(
            min(max(intent.strength, 0.0), 1.0),
            config.sizing.target_volatility,
            annual_volatility(variance),
            config.sizing.risk_per_trade_bps / BPS,
            stop_fraction(config.exits, variance),
        )
        nav = net_asset_value(state)
        notional = min(int(nav * weight), bps_of(nav, self._largest_bps()))
        size = self._affordable(instrument, notional, price, has_limit=limit > 0)
        if size >= instrument.min_size and instrument.notional(price, size) >= instrument.min_notional:
            post_only = intent.post_only and limit > 0
            self._propose(instrument, Side.BUY, size, Purpose.ENTRY, runner, limit_price=limit, post_only=post_only)

    def _largest_bps(self) -> int:
        """Return the share of NAV that one entry may have by the account's limits."""
        limits = self._state.own.limits
        return min(limits.max_position_bps, limits.max_order_notional_bps)

    def _affordable(self, instrument: Instrument, notional: int, price: int, *, has_limit: bool) -> int:
        """Return the largest size of at most `notional` whose worst cost, collar and fee included, is free."""
        free = max(0, self._state.ledger.balance(instrument.quote_key).free)
        collar = 0 if has_limit else self._state.own.limits.price_collar_bps
        taker_ppm = instrument.fee_tiers[0].taker_ppm
        cap = mul_div(free, BPS * 1_000_000, (BPS + collar + 1) * (1_000_000 + taker_ppm))
        size = size_for_notional(min(notional, cap), price, instrument.price_decimals, instrument.size_decimals)
        return min(round_down(size, instrument.lot), instrument.max_size)

    def _rebalance(self, intent: Rebalance, instrument: Instrument, runner: Runner) -> None:
        """Trade towards a weight: a gap larger than one order may be is closed a piece at a time."""
        state = self._state
        if self._is_busy(instrument.id, runner):
            return
        price = mark(state, instrument.id).price
        nav = net_asset_value(state)
        if price <= 0 or nav <= 0:
            return
        limits = state.own.limits
        wanted = min(int(nav * min(max(intent.weight, 0.0), 1.0)), bps_of(nav, limits.max_position_bps))
        gap = wanted - holding_value(state, instrument, state.ledger.holding(instrument.id, runner.owner))
        if gap > 0:
            if runner.strategy in state.disabled:
                return
            piece = min(gap, bps_of(nav, limits.max_order_notional_bps))
            size, side = self._affordable(instrument, piece, price, has_limit=False), Side.BUY
        else:
            size = size_for_notional(-gap, price, instrument.price_decimals, instrument.size_decimals)
            size = min(
                round_down(size, instrument.lot), sellable_size(state, instrument, runner.owner), instrument.max_size
            )
            side = Side.SELL
        if size >= instrument.min_size and instrument.notional(price, size) >= instrument.min_notional:
            self._propose(instrument, side, size, Purpose.REBALANCE, runner)

    def _propose(
        self,
        instrument: Instrument,
        side: Side,
        size: int,
        purpose: Purpose,
        runner: Runner,
        *,
        limit_price: int = 0,
        post_only: bool = False,
    ) -> None:
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
            strategy=runner.strategy,
            owner=runner.owner,
        )
        if side is Side.BUY or not self._resting.make_way(request):
            self._review.propose(request)


def _freeze(state: Any) -> Any:
    """Return a copy of a strategy's state that nothing changes: MessagePack, unless its numbers are too large for it.

    Raises:
        TypeError: when it holds what no snapshot can.
    """
    try:
        return msgspec.msgpack.encode(state)
    except OverflowError:
        msgspec.json.encode(state)
        return deepcopy(state)


def _values(event: Bar, instrument: Instrument) -> BarValues:
    """Return a bar in plain floats."""
    scale = 10.0**instrument.price_decimals
    return BarValues(
        instrument=event.instrument,
        ts_ns=event.ts_ns,
        interval_s=event.interval_s,
        open=event.open / scale,
        high=event.high / scale,
        low=event.low / scale,
        close=event.close / scale,
        volume=event.volume / 10.0**instrument.size_decimals,
    )
