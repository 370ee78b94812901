"""The pre-trade risk gate (requirement R1): the only place where an approved order is made.

Every check of `CHECKS` looks at the candidate and returns a breach or nothing; all are evaluated, so a denial lists
every reason with what was found and what is allowed. A check applies to entries always, to exits where losing the exit
would not be the greater risk, and to the flattening orders of the kill switch where stated.
"""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec

from aether.domain.accounts import AccountConfig, Limits, Mode
from aether.domain.commands import ApprovedOrder
from aether.domain.identifiers import BalanceKey, InstrumentId, Owner
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, Purpose, Side
from aether.domain.records import Breach, Verdict
from aether.domain.scaled import (
    BPS,
    amount_of_size,
    bps_of,
    fee_of,
    format_amount,
    mul_div_ceil,
    ratio_bps,
    size_of_amount,
)
from aether.engine.breakers import holds_back
from aether.engine.exits import rests
from aether.engine.state import NS_PER_MS, NS_PER_S, AccountState, MarketState
from aether.engine.stops import PERMITS, Stop, reason_of
from aether.engine.valuation import (
    Mark,
    cash_and_others,
    fee_tier,
    fresh_from,
    gross_exposure,
    mark,
    market_of,
    position_value,
)
from aether.kernel.exits import NO_EXIT
from aether.kernel.marks import NO_MARK

CLOSED_LOOKED_AT = 8
"""Of the orders that ended last, those that a new one may be the duplicate of."""
SELF_TRADE_WAIT_S = 2
"""An own order whose cancel was asked for so long ago does not hold up an exit any more."""


class Candidate(msgspec.Struct, frozen=True):
    """An order before the gate, with the numbers that the checks need; money as ledger amounts.

    Attributes:
        mark: what the position is valued at, with its source and time.
        nav, exposure: the account's worth at the marks, and that of its positions.
        price: what it is judged at: its limit, else its trigger, else the mark; price units.
        reserve: what has to be locked for it, incl. the fee at the taker rate; quote for buys, base for sells.
        free: what is free of that asset.
    """

    request: OrderRequest
    instrument: Instrument
    market: MarketState
    config: AccountConfig
    state: AccountState
    mark: Mark
    price: int
    notional: int
    fee: int
    nav: int
    exposure: int
    reserve_key: BalanceKey
    reserve: int
    free: int

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self.config.limits


def make_candidate(state: AccountState, request: OrderRequest) -> Candidate:
    """Return `request` with the numbers that the checks need; its instrument is known to the account."""
    instrument = state.instruments[request.instrument]
    marked = mark(state, request.instrument)
    price = request.limit_price or request.trigger_price or marked.price
    notional = instrument.notional(price, request.size)
    taker_ppm = fee_tier(state, instrument).taker_ppm
    if request.side is Side.BUY:
        key = instrument.quote_key
        worst = notional if request.type.has_limit else _with_collar(notional, state.own.limits.price_collar_bps)
        reserve = worst + fee_of(worst, taker_ppm)
    else:
        key = instrument.base_key
        reserve = amount_of_size(request.size, instrument.size_decimals)
    exposure = gross_exposure(state)
    return Candidate(
        request=request,
        instrument=instrument,
        market=market_of(state, request.instrument),
        config=state.own,
        state=state,
        mark=marked,
        price=price,
        notional=notional,
        fee=fee_of(notional, taker_ppm),
        nav=exposure + cash_and_others(state),
        exposure=exposure,
        reserve_key=key,
        reserve=reserve,
        free=state.ledger.balance(key).free,
    )


def _with_collar(notional: int, collar_bps: int) -> int:
    return mul_div_ceil(notional, BPS + collar_bps, BPS)


class Gate:
    """Judges candidates. It holds no state of its own: what it remembers is in `AccountState.risk`."""

    def judge(self, candidate: Candidate) -> tuple[Verdict, ApprovedOrder | None]:
        """Return the verdict on `candidate` and, when nothing is breached, the approved order."""
        request = candidate.request
        breaches = tuple(breach for check in checks_of(request) if (breach := check.find(candidate)) is not None)
        verdict = Verdict(
            ts_ns=candidate.state.now_ns, order_id=request.id, instrument=request.instrument, breaches=breaches
        )
        return verdict, None if breaches else ApprovedOrder(request)


def _breach(check: str, value: str, limit: str) -> Breach:
    return Breach(check=check, value=value, limit=limit)


def _bps_breach(check: str, part: int, whole: int, limit_bps: int) -> Breach | None:
    """Return a breach when `part` is above `limit_bps` of `whole`; anything is above a share of nothing."""
    if part <= 0 or (whole > 0 and part <= bps_of(whole, limit_bps)):
        return None
    found = f"{ratio_bps(part, whole)} bps" if whole > 0 else f"{format_amount(part)} of no worth"
    return _breach(check, f"{found} of NAV", f"at most {limit_bps} bps of NAV")


def check_kill_switch(c: Candidate) -> Breach | None:
    """No order while the kill switch is engaged."""
    return _stopped(c, Stop.KILL, "kill_switch", "engaged", "released")


def check_venue_stop(c: Candidate) -> Breach | None:
    """No order at a venue that is stopped."""
    stopped = c.state.stopped_venues.get(c.instrument.venue)
    return _breach("venue_stop", f"{c.instrument.venue} stopped: {stopped.reason}", "released") if stopped else None


def check_fault(c: Candidate) -> Breach | None:
    """No order after the engine met an error of its own."""
    return _stopped(c, Stop.FAULT, "fault", "stopped", "resumed by an operator")


def check_halt(c: Candidate) -> Breach | None:
    """No entry after a venue reported what no venue can mean."""
    return _stopped(c, Stop.HALT, "halt", "halted", "resumed by an operator")


def check_safe_mode(c: Candidate) -> Breach | None:
    """No entry in safe mode."""
    return _stopped(c, Stop.SAFE, "safe_mode", "engaged", "released")


def check_breaks(c: Candidate) -> Breach | None:
    """No entry while our books and a venue's differ."""
    return _stopped(c, Stop.BREAK, "breaks", "open", "none open")


def _stopped(c: Candidate, stop: Stop, check: str, state: str, limit: str) -> Breach | None:
    reason = reason_of(c.state.stops, stop)
    return _breach(check, f"{state}: {reason}", limit) if stop in c.state.stops else None


def check_mode(c: Candidate) -> Breach | None:
    """Live orders need the approval with which the account was opened."""
    if c.config.mode is not Mode.LIVE or c.config.live_approval:
        return None
    return _breach("mode", "live without approval", "live with one, or paper")


def check_strategy(c: Candidate) -> Breach | None:
    """No entry of a strategy that is switched off."""
    if c.request.strategy not in c.state.disabled:
        return None
    return _breach("strategy", f"{c.request.strategy} is switched off", "switched on")


def check_instrument(c: Candidate) -> Breach | None:
    """Only instruments that the account was given, quoted in its currency."""
    if c.config.may_trade(c.instrument.id) and c.instrument.quote == c.config.currency:
        return None
    approved = c.config.approved
    return _breach("instrument", c.instrument.id, f"one of {', '.join(sorted(approved))} quoted in {c.config.currency}")


def check_pair(c: Candidate) -> Breach | None:
    """The venue lets the pair be entered in this way."""
    request, allows = c.request, c.market.allows
    may = {
        TradingState.ONLINE: True,
        TradingState.POST_ONLY: request.post_only,
        TradingState.LIMIT_ONLY: request.type.has_limit,
    }
    if may.get(allows, False):
        return None
    found = f"{allows.value}: {c.market.allows_detail}" if c.market.allows_detail else allows.value
    return _breach("pair", f"{c.instrument.id} is {found}", "online")


def check_breaker(c: Candidate) -> Breach | None:
    """The venue has not failed the account's orders again and again (R6)."""
    held = holds_back(c.state, c.instrument.venue)
    return _breach("breaker", f"{c.instrument.venue} {held}", "closed, or resumed by an operator") if held else None


def check_market_data_age(c: Candidate) -> Breach | None:
    """Market data is fresh: for entries the book, where the market has one; for exits whatever the mark is from.

    A stop that rests at the venue needs none: it is for the hours in which nobody sees the market.
    """
    limit = f"at most {c.limits.market_data_max_age_ms} ms old"
    if c.mark.source == NO_MARK:
        return _breach("market_data_age", "no market data", limit)
    if rests(c.request):
        return None
    market = c.market
    needs_book = c.request.side is Side.BUY and market.book_ns
    if needs_book and market.trouble:
        return _breach("market_data_age", f"feed interrupted: {market.trouble}", limit)
    known_ns = market.book_ns if needs_book else c.mark.ts_ns
    if known_ns >= fresh_from(c.state):
        return None
    age_ms = (c.state.now_ns - known_ns) // NS_PER_MS
    return _breach("market_data_age", f"{age_ms} ms old", limit)


def check_crossed_book(c: Candidate) -> Breach | None:
    """Bid is below ask."""
    if not c.market.is_crossed or c.market.book_ns < fresh_from(c.state):
        return None
    text = c.instrument.price_text
    return _breach("crossed_book", f"bid {text(c.market.bid)}, ask {text(c.market.ask)}", "bid below ask")


def check_price_collar(c: Candidate) -> Breach | None:
    """The order's price is near the mark; a stop that protects a holding lies as far below it as its plan says."""
    price = c.mark.price
    if price == 0 or (rests(c.request) and c.request.trigger_price < price):
        return None
    away = ratio_bps(abs(c.price - price), price)
    limit = c.limits.price_collar_bps
    if away <= limit:
        return None
    text = c.instrument.average_text
    return _breach("price_collar", f"{text(c.price)} is {away} bps from the mark {text(price)}", f"at most {limit} bps")


def check_tick_and_lot(c: Candidate) -> Breach | None:
    """Prices are multiples of the tick, sizes of the lot."""
    i, r = c.instrument, c.request
    if r.limit_price % i.tick or r.trigger_price % i.tick:
        off = r.limit_price if r.limit_price % i.tick else r.trigger_price
        return _breach("tick_size", i.price_text(off), f"a multiple of {i.price_text(i.tick)}")
    if r.size % i.lot:
        return _breach("lot_size", i.size_text(r.size), f"a multiple of {i.size_text(i.lot)}")
    return None


def check_order_size(c: Candidate) -> Breach | None:
    """The size is within the venue's bounds."""
    i, size = c.instrument, c.request.size
    if i.min_size <= size <= i.max_size:
        return None
    return _breach("order_size", i.size_text(size), f"{i.size_text(i.min_size)} to {i.size_text(i.max_size)}")


def check_min_notional(c: Candidate) -> Breach | None:
    """The worth is above the venue's minimum."""
    if c.notional >= c.instrument.min_notional and c.notional > 0:
        return None
    return _breach("min_notional", format_amount(c.notional), f"at least {format_amount(c.instrument.min_notional)}")


Share = tuple[int, int, int]
"""A part, the whole that it is judged against, and the most that it may be of it in basis points."""


def max_notional_share(c: Candidate) -> Share:
    """Return the order's worth, of NAV."""
    return c.notional, c.nav, c.limits.max_order_notional_bps


def check_max_order_notional(c: Candidate) -> Breach | None:
    """The worth of one order is a bounded share of NAV."""
    return _bps_breach("max_order_notional", *max_notional_share(c))


def check_free_balance(c: Candidate) -> Breach | None:
    """What the order may cost, fee included, is free. This is also what keeps spot from going short."""
    if 0 < c.reserve <= c.free:
        return None
    return _breach(
        "free_balance", f"needs {format_amount(c.reserve)} of {c.reserve_key}", f"{format_amount(c.free)} free"
    )


def max_position_share(c: Candidate) -> Share:
    """Return the asset's worth, open buys and this order included, of NAV."""
    held = sum(position_value(c.state, i) for i in c.state.instruments.values() if i.base == c.instrument.base)
    working = sum(_open_buy_notional(c, base=True))
    return held + working + c.notional, c.nav, c.limits.max_position_bps


def check_max_position(c: Candidate) -> Breach | None:
    """The asset's share of NAV stays bounded, open buys and this order included."""
    return _bps_breach("max_position", *max_position_share(c))


def gross_exposure_share(c: Candidate) -> Share:
    """Return the worth of all positions, open buys and this order included, of NAV."""
    return c.exposure + sum(_open_buy_notional(c, base=False)) + c.notional, c.nav, c.limits.max_gross_exposure_bps


def check_gross_exposure(c: Candidate) -> Breach | None:
    """All positions together stay bounded, open buys and this order included."""
    return _bps_breach("gross_exposure", *gross_exposure_share(c))


def _open_buy_notional(c: Candidate, *, base: bool) -> list[int]:
    return [
        _working_notional(c.state, order)
        for order in c.state.open_orders.values()
        if order.request.side is Side.BUY
        and (not base or c.state.instruments[order.request.instrument].base == c.instrument.base)
    ]


def _working_notional(state: AccountState, order: Order) -> int:
    instrument = state.instruments[order.request.instrument]
    price = order.request.limit_price or order.request.trigger_price or order.send_price
    return instrument.notional(price, order.remaining)


def check_open_orders(c: Candidate) -> Breach | None:
    """The number of working orders is bounded; stops that rest at the venue do not count."""
    count = sum(1 for order in c.state.open_orders.values() if not rests(order.request))
    limit = c.limits.max_open_orders
    return None if count < limit else _breach("open_orders", f"{count} open", f"fewer than {limit} before this one")


def check_order_rate(c: Candidate) -> Breach | None:
    """The number of orders per second and per minute is bounded."""
    now, times, limits = c.state.now_ns, c.state.risk.order_times, c.limits
    second = sum(1 for t in times if t > now - NS_PER_S)
    minute = sum(1 for t in times if t > now - 60 * NS_PER_S)
    if second >= limits.max_orders_per_second:
        return _breach("order_rate", f"{second} in a second", f"{limits.max_orders_per_second} in a second")
    if minute >= limits.max_orders_per_minute:
        return _breach("order_rate", f"{minute} in a minute", f"{limits.max_orders_per_minute} in a minute")
    return None


def check_repeated_orders(c: Candidate) -> Breach | None:
    """A strategy that keeps sending is stopped until a person lets it go on (as RTS 6, article 15, asks of a desk)."""
    count = c.state.risk.throttled.get(repeat_key(c.request))
    if count is None:
        return None
    return _breach("repeated_orders", f"stopped after {count} orders", "resumed by an operator")


def repeat_key(request: OrderRequest) -> str:
    """Return what the repeated-order throttle counts by."""
    return f"{request.strategy}|{request.instrument}"


def check_loss_stop(c: Candidate) -> Breach | None:
    """No entry after the daily loss or the drawdown has passed its limit, until an operator resumes (R3)."""
    return _stopped(c, Stop.LOSS, "loss_stop", "stopped", "resumed by an operator")


def loss_breach(state: AccountState, nav: int) -> Breach | None:
    """Return how the daily loss or the drawdown is over its limit at a NAV, None while neither is."""
    risk, limits = state.risk, state.own.limits
    start, peak = risk.day_start_nav, risk.peak_nav
    found = _bps_breach("daily_loss", start - nav, start, limits.max_daily_loss_bps) if start > 0 else None
    if found is None and peak > 0:
        found = _bps_breach("drawdown", peak - nav, peak, limits.max_drawdown_bps)
    return found


def daily_loss_share(c: Candidate) -> Share:
    """Return today's loss, of the day's first NAV."""
    start = c.state.risk.day_start_nav
    return start - c.nav if start else 0, start, c.limits.max_daily_loss_bps


def check_daily_loss(c: Candidate) -> Breach | None:
    """Today's loss is bounded."""
    return _bps_breach("daily_loss", *daily_loss_share(c))


def drawdown_share(c: Candidate) -> Share:
    """Return the fall from the highest NAV, of that."""
    peak = c.state.risk.peak_nav
    return peak - c.nav if peak else 0, peak, c.limits.max_drawdown_bps


def check_drawdown(c: Candidate) -> Breach | None:
    """The fall from the highest NAV is bounded."""
    return _bps_breach("drawdown", *drawdown_share(c))


def fee_budget_share(c: Candidate) -> Share:
    """Return today's fees, this order's included, of NAV."""
    return c.state.risk.fees_today + c.fee, c.nav, c.limits.max_daily_fees_bps


def check_fee_budget(c: Candidate) -> Breach | None:
    """Today's fees, this order's included, are bounded."""
    return _bps_breach("fee_budget", *fee_budget_share(c))


def check_cool_down(c: Candidate) -> Breach | None:
    """No entry while the instrument is being left, nor right after a stop was hit on it."""
    if any(plan.hit != NO_EXIT for plan in c.state.exits.get(c.instrument.id, {}).values()):
        return _breach("cool_down", "a position in it is being sold", "no exit under way")
    until = c.state.risk.cool_until.get(c.instrument.id, 0)
    if c.state.now_ns >= until:
        return None
    return _breach("cool_down", f"{(until - c.state.now_ns) // NS_PER_S} s left after a stop", "0 s")


def check_self_trade(c: Candidate) -> Breach | None:
    """The order cannot meet one of our own now, as a stop that rests may later; exits wait for no unanswered cancel."""
    if rests(c.request):
        return None
    is_leaving = c.request.side is Side.SELL and c.request.purpose is not Purpose.ALGORITHM
    for order in c.state.open_orders.values():
        r = order.request
        if r.instrument != c.instrument.id or r.side is c.request.side or r.type is not OrderType.LIMIT:
            continue
        if is_leaving and not is_in_the_way(c.state, order, c.instrument.id):
            continue
        crosses = (
            not c.request.limit_price
            or (c.request.side is Side.BUY and c.request.limit_price >= r.limit_price)
            or (c.request.side is Side.SELL and c.request.limit_price <= r.limit_price)
        )
        if crosses:
            price = c.instrument.price_text(r.limit_price)
            return _breach("self_trade", f"would meet our own {r.side} {r.id} at {price}", "no own order to meet")
    return None


def is_in_the_way(state: AccountState, order: Order, instrument: InstrumentId) -> bool:
    """Return whether an exit of an instrument waits for an open order of it.

    It does not wait for ever for a venue that has been asked to cancel and does not answer.
    """
    if order.request.instrument != instrument:
        return False
    given_up = state.now_ns - SELF_TRADE_WAIT_S * NS_PER_S
    return order.state is not OrderState.PENDING_CANCEL or order.updated_ns > given_up


def check_own_stop(c: Candidate) -> Breach | None:
    """No coin is sold twice: where a stop rests at the venue, all of its owner's sales are for no more than is held."""
    request, state, i = c.request, c.state, c.instrument
    if request.side is Side.BUY or not (rests(request) or own_stops(state, i.id, request.owner)):
        return None
    others, held = for_sale(state, i.id, request.owner), held_size(state, i, request.owner)
    if request.size + others <= held:
        return None
    found = f"{i.size_text(request.size)} beside {i.size_text(others)} for sale, a stop included"
    return _breach("own_stop", found, f"{i.size_text(held)} held by {request.owner}")


def own_orders(state: AccountState, instrument: InstrumentId, owner: Owner) -> list[Order]:
    """Return an owner's open orders of an instrument."""
    orders = state.open_orders.values()
    return [o for o in orders if o.request.instrument == instrument and o.request.owner == owner]


def own_stops(state: AccountState, instrument: InstrumentId, owner: Owner) -> list[Order]:
    """Return an owner's stops at the venue, those included that are being taken back."""
    return [o for o in own_orders(state, instrument, owner) if rests(o.request)]


def for_sale(state: AccountState, instrument: InstrumentId, owner: Owner) -> int:
    """Return how much of an owner's coins open orders may still sell, those included that are being taken back."""
    return sum(o.remaining for o in own_orders(state, instrument, owner) if o.request.side is Side.SELL)


def held_size(state: AccountState, instrument: Instrument, owner: Owner) -> int:
    """Return what an owner holds of an instrument."""
    return size_of_amount(max(0, state.ledger.holding(instrument.id, owner).quantity), instrument.size_decimals)


def is_busy(state: AccountState, instrument: InstrumentId, owner: Owner) -> bool:
    """Return whether an order of an owner works on an instrument or waits to be sent; a stop that rests does not."""
    plan = state.exits.get(instrument, {}).get(owner)
    if plan is not None and plan.due is not None:
        return True
    return any(not rests(order.request) for order in own_orders(state, instrument, owner))


def check_duplicate(c: Candidate) -> Breach | None:
    """The same order was not sent just before; a parent's next child may be like its last."""
    window = c.limits.duplicate_window_ms
    new = c.request
    for order in (*c.state.open_orders.values(), *islice(reversed(c.state.closed_orders.values()), CLOSED_LOOKED_AT)):
        old = order.request
        if new.parent and old.parent == new.parent and not order.state.is_open:
            continue
        same = (
            old.instrument == new.instrument
            and old.side is new.side
            and old.type is new.type
            and old.size == new.size
            and old.limit_price == new.limit_price
            and old.owner == new.owner
        )
        age_ms = (c.state.now_ns - order.created_ns) // NS_PER_MS
        if same and order.state != "denied" and age_ms < window:
            return _breach("duplicate", f"like {old.id}, sent {age_ms} ms before", f"at least {window} ms apart")
    return None


class Check(NamedTuple):
    """A check and what it applies to besides entries."""

    find: Callable[[Candidate], Breach | None]
    exits: bool
    flattening: bool


def _stop_check(find: Callable[[Candidate], Breach | None], stop: Stop) -> Check:
    """Return a check of a stop; what it applies to stands in the table of stops."""
    permit = PERMITS[stop]
    return Check(find, exits=not permit.exits, flattening=not permit.flattening)


CHECKS: tuple[Check, ...] = (
    _stop_check(check_kill_switch, Stop.KILL),
    Check(check_venue_stop, exits=True, flattening=True),
    _stop_check(check_fault, Stop.FAULT),
    _stop_check(check_halt, Stop.HALT),
    _stop_check(check_safe_mode, Stop.SAFE),
    _stop_check(check_breaks, Stop.BREAK),
    Check(check_mode, exits=True, flattening=True),
    Check(check_strategy, exits=False, flattening=False),
    Check(check_instrument, exits=True, flattening=True),
    Check(check_pair, exits=False, flattening=False),
    Check(check_breaker, exits=False, flattening=False),
    Check(check_market_data_age, exits=True, flattening=False),
    Check(check_crossed_book, exits=True, flattening=False),
    Check(check_price_collar, exits=True, flattening=False),
    Check(check_tick_and_lot, exits=True, flattening=True),
    Check(check_order_size, exits=True, flattening=True),
    Check(check_min_notional, exits=True, flattening=True),
    Check(check_max_order_notional, exits=False, flattening=False),
    Check(check_free_balance, exits=True, flattening=True),
    Check(check_max_position, exits=False, flattening=False),
    Check(check_gross_exposure, exits=False, flattening=False),
    Check(check_open_orders, exits=False, flattening=False),
    Check(check_order_rate, exits=False, flattening=False),
    Check(check_repeated_orders, exits=False, flattening=False),
    _stop_check(check_loss_stop, Stop.LOSS),
    Check(check_daily_loss, exits=False, flattening=False),
    Check(check_drawdown, exits=False, flattening=False),
    Check(check_fee_budget, exits=False, flattening=False),
    Check(check_cool_down, exits=False, flattening=False),
    Check(check_self_trade, exits=True, flattening=True),
    Check(check_own_stop, exits=True, flattening=False),
    Check(check_duplicate, exits=False, flattening=False),
)
"""All checks, in the order in which a denial lists them."""

SHARES: Mapping[str, Callable[[Candidate], Share]] = {
    "max_order_notional": max_notional_share,
    "max_position": max_position_share,
    "gross_exposure": gross_exposure_share,
    "daily_loss": daily_loss_share,
    "drawdown": drawdown_share,
    "fee_budget": fee_budget_share,
}
"""What those checks measure that hold a share against a limit."""


def checks_of(request: OrderRequest) -> list[Check]:
    """Return the checks that apply to an order."""
    flattening = request.purpose is Purpose.FLATTEN
    exiting = request.side is Side.SELL and not flattening
    return [c for c in CHECKS if (c.flattening if flattening else c.exits if exiting else True)]
