"""Stops that rest at the venue: the stop of a holding as an order there, so that it protects while nobody looks (T6).

Only where the account chose so (`exits.at_venue`) and the venue has such orders. The plan in `exits` stays the master:
what rests is a wish that follows it, compared at each fact and at each beat of the clock with what does rest, and
driven by cancels and new orders until both agree. Whoever sells takes the stop back first, and the gate's `own_stop`
lets no coin be sold twice: exits do so in `protection`, a strategy's smaller sale waits in its plan, parent orders ask
here.
"""

import msgspec

from aether.domain.commands import Severity
from aether.domain.identifiers import OPERATOR, ClientOrderId, InstrumentId, Owner, VenueId, strategy_of
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, Purpose, Side
from aether.domain.scaled import BPS, mul_div, round_down, size_of_amount
from aether.engine.changes import Closed, Filled, Outbox
from aether.engine.desk import Desk
from aether.engine.exits import Due, ExitPlan, rests
from aether.engine.risk import for_sale, held_size, own_stops
from aether.engine.state import NS_PER_S, AccountState
from aether.engine.stops import may_exit
from aether.engine.valuation import free_size, has_fresh_mark, mark, market_of, sellable_size
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
PAUSE_NS = 15 * NS_PER_S
"""Least time between two orders of one stop: a trail is no flood, and Kraken charges less for orders of that age."""
LASTED_NS = 3_600 * NS_PER_S
"""A stop that rested so long was taken: what comes later is told anew."""
TOLD_NS = 10 * NS_PER_S
"""A stop that is not taken back for so long, while something waits for it, is told of."""
EXACT = 10_000
"""A stop of another size by less than this part is left as it is: balances are rounded all the time."""
DUE_NS = 60 * NS_PER_S
"""A sale that waited longer is not sent any more: the strategy asks again at its next bar."""


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
        for instrument in dict.fromkeys([*state.exits, *resting]):
            self._look(state.instruments[instrument])

    def on_fact(self, fact: Filled | Closed) -> None:
        """Look at the holdings of an instrument after an execution or the end of an order."""
        if isinstance(fact, Filled):
            self._look(self._state.instruments[fact.fill.instrument])
            return
        if rests(fact.order.request):
            self._note_end(fact)
        self._look(self._state.instruments[fact.order.request.instrument])

    def concerns(self, fact: Filled | Closed) -> bool:
        """Return whether stops may have to follow an execution or the end of an order."""
        return self._state.own.exits.at_venue or (fact.order is not None and rests(fact.order.request))

    def make_way(self, request: OrderRequest) -> bool:
        """Let a strategy's sale wait until its stop is taken back; return False when it can go at once."""
        plan = self._state.exits.get(request.instrument, {}).get(request.owner)
        instrument = self._state.instruments[request.instrument]
        if plan is None or not self.gives_way(instrument, request.owner, request.size):
            return False
        plan.due = Due(request, self._state.now_ns, mark(self._state, instrument.id).price)
        return True

    def gives_way(self, instrument: Instrument, owner: Owner, size: int) -> bool:
        """Take an owner's stop back where it and a sale are for more than is held; return whether the sale waits."""
        stops = own_stops(self._state, instrument.id, owner)
        if not stops or size + for_sale(self._state, instrument.id, owner) <= held_size(self._state, instrument, owner):
            return False
        self._take_back(stops)
        return True

    def _look(self, instrument: Instrument) -> None:
        """Bring what rests on an instrument nearer to what should."""
        plans = self._state.exits.get(instrument.id, {})
        resting = [o.request for o in self._state.open_orders.values() if rests(o.request)]
        for owner in dict.fromkeys([*plans, *(r.owner for r in resting if r.instrument == instrument.id)]):
            orders = own_stops(self._state, instrument.id, owner)
            if owner in plans:
                self._follow(instrument, owner, plans[owner], orders)
            else:
                self._take_back(orders)

    def _follow(self, instrument: Instrument, owner: Owner, plan: ExitPlan, orders: list[Order]) -> None:
        """Bring what rests for a holding nearer to what its plan wants."""
        if plan.due is not None:
            self._follow_due(instrument, plan, plan.due, orders)
        if plan.hit != NO_EXIT:
            return  # who leaves takes it back when the sale can go
        self._tell_unanswered(instrument, plan, orders)
        wanted = self._wanted(instrument, owner, plan, orders)
        if wanted is None or len(orders) > 1 or self._is_too_large(instrument, owner, orders):
            self._take_back(orders)
        elif self._state.now_ns >= plan.rest_ns and self._may_place(instrument, wanted):
            if not orders:
                self._place(plan, wanted)
            elif _is_other(orders[0], wanted, plan) and has_fresh_mark(self._state, instrument.id):
                self._take_back(orders)

    def _take_back(self, orders: list[Order]) -> None:
        for order in orders:
            self._desk.take_back(order)

    def _is_too_large(self, instrument: Instrument, owner: Owner, orders: list[Order]) -> bool:
        """Return whether a stop would sell others' coins: something else of its owner's was sold meanwhile."""
        stops = sum(o.remaining for o in orders)
        excess = for_sale(self._state, instrument.id, owner) - held_size(self._state, instrument, owner)
        return bool(stops) and excess * EXACT > stops

    def _may_place(self, instrument: Instrument, wanted: OrderRequest) -> bool:
        """Return whether a stop would be taken now: none that is there is given up for one that is not."""
        market, known = market_of(self._state, instrument.id), mark(self._state, instrument.id)
        is_open = market.allows is TradingState.ONLINE and not market.is_crossed
        return is_open and wanted.trigger_price < known.price

    def _tell_unanswered(self, instrument: Instrument, plan: ExitPlan, orders: list[Order]) -> None:
        """Tell people of a stop that is not taken back while a sale waits for it."""
        now = self._state.now_ns
        for order in orders:
            is_late = order.state is OrderState.PENDING_CANCEL and now - order.updated_ns > TOLD_NS
            if is_late and plan.told_id != order.request.id:
                plan.told_id = order.request.id
                told = f"{instrument.venue} does not take back the stop {order.request.id} of {instrument.id}"
                self._out.alert(now, Severity.CRITICAL, "exit_refused", told)

    def _follow_due(self, instrument: Instrument, plan: ExitPlan, due: Due, orders: list[Order]) -> None:
        """Send the sale that waited for a stop; drop it when it waited long, or the whole holding is left by now."""
        state = self._state
        size = min(due.request.size, sellable_size(state, instrument, due.request.owner))
        is_over = plan.hit != NO_EXIT or size < instrument.min_size or state.now_ns > due.since_ns + DUE_NS
        if not is_over and (orders or not has_fresh_mark(state, instrument.id)):
            return  # the gate would deny it
        plan.due = None
        if not is_over:
            self._desk.ask(msgspec.structs.replace(due.request, size=size), decision_price=due.decision_price)

    def _wanted(self, instrument: Instrument, owner: Owner, plan: ExitPlan, orders: list[Order]) -> OrderRequest | None:
        """Return the stop that should rest for a holding; nothing while it should not or cannot."""
        state = self._state
        kind = KINDS.get(instrument.venue)
        if kind is None or not state.own.exits.at_venue or plan.due is not None:
            return None
        if not may_exit(state.stops) or instrument.venue in state.stopped_venues:
            return None
        if owner.startswith("parent:"):
            return None
        level = resting_level(plan.stop, plan.best, plan.trail_distance)
        trigger = round_down(level, instrument.tick)
        resting = sum(order.remaining for order in orders)
        others = for_sale(state, instrument.id, owner) - resting
        others += self._of_parents(instrument) if owner == OPERATOR else 0
        size = min(sellable_size(state, instrument, owner) - others, free_size(state, instrument) + resting)
        size = min(round_down(max(0, size), instrument.lot), instrument.max_size)
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
            purpose=Purpose.STOP if level == plan.stop else Purpose.TRAILING_STOP,
            strategy=strategy_of(owner),
            owner=owner,
        )

    def _of_parents(self, instrument: Instrument) -> int:
        """Return what parent orders are still to send of the operators' coins of an instrument."""
        state, symbol = self._state, instrument.symbol
        sales = [p for p in state.parents.values() if p.request.side is Side.SELL and p.request.symbol == symbol]
        left = sum(max(0, p.request.amount - p.sent) for p in sales)
        for one in state.instruments.values():
            held = max(0, state.ledger.holding(one.id, OPERATOR).quantity) if one.symbol == symbol else 0
            if one.id == instrument.id:
                return size_of_amount(min(left, held), instrument.size_decimals)
            left -= min(left, held)
        return 0

    def _place(self, plan: ExitPlan, wanted: OrderRequest) -> None:
        plan.rest_ns = self._state.now_ns + PAUSE_NS
        order = self._desk.ask(wanted)
        plan.rest_id = order.request.id
        if order.state is OrderState.DENIED:
            self._note_refusal(wanted.instrument, plan, order.reason)

    def _note_end(self, fact: Closed) -> None:
        """Place one that the venue did not keep less and less often."""
        order, now = fact.order, self._state.now_ns
        plan = self._state.exits.get(order.request.instrument, {}).get(order.request.owner)
        if plan is None:
            return
        if order.venue_order_id and now - order.created_ns >= LASTED_NS:
            plan.rest_refusals = 0
        if not order.filled and not fact.was_asked:
            self._note_refusal(order.request.instrument, plan, order.reason or "the venue canceled it")

    def _note_refusal(self, instrument: InstrumentId, plan: ExitPlan, reason: str) -> None:
        """Try again later and later, and say once that the platform alone watches this stop."""
        wait_ns = retry_wait_s(plan.rest_refusals) * NS_PER_S
        plan.rest_ns = max(plan.rest_ns, self._state.now_ns + wait_ns)
        plan.rest_refusals += 1
        if plan.rest_refusals == 1:
            told = f"The stop of {instrument} does not rest at the venue, the platform watches it: {reason}"
            self._out.alert(self._state.now_ns, Severity.WARNING, "stop_not_resting", told)


def _is_other(order: Order, wanted: OrderRequest, plan: ExitPlan) -> bool:
    """Return whether a stop that rests is another than the one wanted; a trail moves it in steps."""
    if abs(order.remaining - wanted.size) * EXACT > wanted.size:
        return True
    raised = wanted.trigger_price - order.request.trigger_price
    return raised < 0 or raised > plan.trail_distance // 8
