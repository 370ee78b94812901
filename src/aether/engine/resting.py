"""Stops that rest at the venue: the stop of a holding as an order there, so that it protects while nobody looks (T6).

Only where the account chose so (`exits.at_venue`) and the venue has such orders. The plan in `exits` stays the master:
what rests is a wish that follows it, compared at each fact and at each beat of the clock with what does rest, and
driven by cancels and new orders until both agree. Whoever sells takes the stop back first, since it locks the coins:
exits do so in `protection`, a strategy's smaller sale waits here for it (`make_way`).
"""

import msgspec

from aether.domain.commands import Severity
from aether.domain.identifiers import OPERATOR, ClientOrderId, InstrumentId, Owner, VenueId, strategy_of
from aether.domain.instruments import Instrument
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, Purpose, Side
from aether.domain.scaled import BPS, mul_div, round_down, size_of_amount
from aether.engine.changes import Closed, Filled, Outbox
from aether.engine.desk import Desk
from aether.engine.exits import ExitPlan, rests
from aether.engine.state import NS_PER_S, AccountState
from aether.engine.stops import keep_orders, may_exit
from aether.engine.valuation import mark, sellable_size
from aether.kernel.exits import NO_EXIT, resting_level, retry_wait_s

KINDS = {
    VenueId("kraken"): OrderType.STOP_LOSS,
    VenueId("binance"): OrderType.STOP_LOSS,
    VenueId("coinbase"): OrderType.STOP_LOSS_LIMIT,
    VenueId("paper"): OrderType.STOP_LOSS,
}
"""What a stop rests as; at other venues the platform alone watches it."""
LIMIT_BELOW_BPS = 500
"""How far below its trigger a stop with a limit may sell: a fall through that leaves it to the platform."""
PAUSE_NS = 5 * NS_PER_S
"""Least time between two orders of one stop, so that a trail does not become a flood."""


class Resting:
    """Keeps the stops of one account's holdings at their venues."""

    def __init__(self, state: AccountState, out: Outbox, desk: Desk) -> None:
        self._state = state
        self._out = out
        self._desk = desk

    def on_time(self) -> None:
        """Look at every holding, and at every stop that rests."""
        state = self._state
        resting = [o.request.instrument for o in state.open_orders.values() if rests(o.request)]
        for instrument in dict.fromkeys([*(state.exits if state.own.exits.at_venue else ()), *resting]):
            self._look(state.instruments[instrument])

    def on_fact(self, fact: Filled | Closed) -> None:
        """Look at the holdings of an instrument after an execution or the end of an order."""
        if isinstance(fact, Filled):
            self._look(self._state.instruments[fact.fill.instrument])
            return
        request = fact.order.request
        if rests(request):
            self._note_end(fact.order)
        self._look(self._state.instruments[request.instrument])

    def concerns(self, fact: Filled | Closed) -> bool:
        """Return whether stops may have to follow an execution or the end of an order."""
        return self._state.own.exits.at_venue or (fact.order is not None and rests(fact.order.request))

    def make_way(self, request: OrderRequest) -> bool:
        """Let a sale wait until its owner's stop is taken back; return False when none rests and it can go at once."""
        resting = self._of(request.instrument).get(request.owner)
        plan = self._state.exits.get(request.instrument, {}).get(request.owner)
        if resting is None or plan is None:
            return False
        plan.due = request
        for order in resting:
            self._desk.cancel(order)
        return True

    def _of(self, instrument: InstrumentId) -> dict[Owner, list[Order]]:
        """Return what rests on an instrument by owner."""
        found: dict[Owner, list[Order]] = {}
        for order in self._state.open_orders.values():
            if order.request.instrument == instrument and rests(order.request):
                found.setdefault(order.request.owner, []).append(order)
        return found

    def _look(self, instrument: Instrument) -> None:
        """Bring what rests on an instrument nearer to what should."""
        plans, resting = self._state.exits.get(instrument.id, {}), self._of(instrument.id)
        for owner in dict.fromkeys((*plans, *resting)):
            plan, orders = plans.get(owner), resting.get(owner, [])
            if plan is not None and plan.due is not None and not orders:
                self._send_due(instrument, plan)
            wanted = self._wanted(instrument, owner, plan, orders) if plan is not None else None
            if plan is None or wanted is None or len(orders) > 1:
                for order in orders:
                    self._desk.cancel(order)
            elif self._state.now_ns >= plan.rest_ns:
                if not orders and wanted.trigger_price < mark(self._state, instrument.id).price:
                    self._place(plan, wanted)
                elif orders and _is_other(orders[0], wanted, plan):
                    self._desk.cancel(orders[0])

    def _send_due(self, instrument: Instrument, plan: ExitPlan) -> None:
        """Send the sale that waited for a stop, unless the whole holding is being left by now."""
        due, plan.due = plan.due, None
        if due is None or plan.hit != NO_EXIT:
            return
        size = min(due.size, sellable_size(self._state, instrument, due.owner))
        if size >= instrument.min_size:
            self._desk.ask(msgspec.structs.replace(due, size=size))

    def _wanted(self, instrument: Instrument, owner: Owner, plan: ExitPlan, orders: list[Order]) -> OrderRequest | None:
        """Return the stop that should rest for a holding; nothing while it should not or cannot."""
        state = self._state
        kind = KINDS.get(instrument.venue)
        if kind is None or not state.own.exits.at_venue or plan.hit != NO_EXIT or plan.due is not None:
            return None
        if not (keep_orders(state.stops) and may_exit(state.stops)) or instrument.venue in state.stopped_venues:
            return None
        if owner.startswith("parent:") or self._sells(instrument, owner):
            return None
        trigger = round_down(resting_level(plan.stop, plan.best, plan.trail_distance), instrument.tick)
        locked = sum(order.reserved for order in orders)
        free = size_of_amount(state.ledger.balance(instrument.base_key).free + locked, instrument.size_decimals)
        free = round_down(max(0, free), instrument.lot)
        size = min(sellable_size(state, instrument, owner), instrument.max_size, free)
        limit = round_down(mul_div(trigger, BPS - LIMIT_BELOW_BPS, BPS), instrument.tick) if kind.has_limit else 0
        lowest = limit if kind.has_limit else trigger
        if lowest <= 0 or size < instrument.min_size or instrument.notional(lowest, size) < instrument.min_notional:
            return None
        return OrderRequest(
            id=ClientOrderId(""),
            instrument=instrument.id,
            side=Side.SELL,
            type=kind,
            size=size,
            limit_price=limit,
            trigger_price=trigger,
            purpose=Purpose.STOP,
            strategy=strategy_of(owner),
            owner=owner,
        )

    def _sells(self, instrument: Instrument, owner: Owner) -> bool:
        """Return whether something else sells an owner's coins: an order, or a parent order the operators'."""
        state = self._state
        for order in state.open_orders.values():
            request = order.request
            is_owners = request.instrument == instrument.id and request.owner == owner
            if is_owners and request.side is Side.SELL and not rests(request):
                return True
        sales = (p.request for p in state.parents.values() if p.request.side is Side.SELL)
        return owner == OPERATOR and any(request.symbol == instrument.symbol for request in sales)

    def _place(self, plan: ExitPlan, wanted: OrderRequest) -> None:
        plan.rest_ns = self._state.now_ns + PAUSE_NS
        order = self._desk.ask(wanted)
        if order.state is OrderState.DENIED:
            self._note_refusal(wanted.instrument, plan, order.reason)

    def _note_end(self, order: Order) -> None:
        plan = self._state.exits.get(order.request.instrument, {}).get(order.request.owner)
        if plan is None:
            return
        if order.state in (OrderState.REJECTED, OrderState.EXPIRED):
            self._note_refusal(order.request.instrument, plan, order.reason)
        elif order.venue_order_id:
            plan.rest_refusals = 0

    def _note_refusal(self, instrument: InstrumentId, plan: ExitPlan, reason: str) -> None:
        """Try again later and later, and say once that the platform alone watches this stop."""
        plan.rest_ns = self._state.now_ns + max(PAUSE_NS, retry_wait_s(plan.rest_refusals) * NS_PER_S)
        plan.rest_refusals += 1
        if plan.rest_refusals == 1:
            told = f"The stop of {instrument} does not rest at the venue, the platform watches it: {reason}"
            self._out.alert(self._state.now_ns, Severity.WARNING, "stop_not_resting", told)


def _is_other(order: Order, wanted: OrderRequest, plan: ExitPlan) -> bool:
    """Return whether a stop that rests is another than the one wanted; a trail moves it in steps."""
    request = order.request
    if order.remaining != wanted.size:
        return True
    raised = wanted.trigger_price - request.trigger_price
    return raised < 0 or raised > plan.trail_distance // 8


def works(state: AccountState, instrument: InstrumentId, owner: Owner) -> bool:
    """Return whether an order of an owner works on an instrument or waits to be sent; a stop that rests does not."""
    plan = state.exits.get(instrument, {}).get(owner)
    if plan is not None and plan.due is not None:
        return True
    requests = (order.request for order in state.open_orders.values())
    return any(r.instrument == instrument and r.owner == owner and not rests(r) for r in requests)
