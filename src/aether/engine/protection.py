"""Protective exits and exits that were asked for, carried out: a plan that is hit is driven until nothing is held.

Each owner's holding is protected by a plan of its own and left on its own. A plan that is hit first takes back what
rests on the instrument, then sells its owner's holding, as often as it takes: after a refusal later and later, after a
venue's "insufficient funds" a little less, after a fill at once. Dust that no venue takes ends the plan and is told.
Breaks, halts and loss stops do not stop it; only the kill switch and a fault of the engine do.
"""

from aether.domain.commands import Severity
from aether.domain.events import MarketEvent
from aether.domain.identifiers import DEPOSITS, InstrumentId, Owner
from aether.domain.instruments import Instrument
from aether.domain.orders import Order, OrderState, OrderType, Side
from aether.domain.parents import Algorithm, ParentId
from aether.domain.scaled import format_amount, round_down
from aether.engine.changes import Closed, Fact, Filled, Outbox
from aether.engine.desk import Desk
from aether.engine.exits import PURPOSE_OF_HIT, ExitPlan, make_plan, rebase, rests
from aether.engine.risk import held_size, is_busy, is_in_the_way, own_orders, own_stops
from aether.engine.safety import INSUFFICIENT, market_sale
from aether.engine.state import NS_PER_S, AccountState
from aether.engine.stops import may_exit
from aether.engine.valuation import (
    average_entry,
    free_size,
    fresh_from,
    has_fresh_mark,
    is_sellable,
    market_of,
    sellable_price,
    sellable_size,
)
from aether.kernel.exits import ASKED, NO_EXIT, STOP_HIT, TRAIL_HIT, exit_hit, retry_wait_s, shrunk


class Protection:
    """Watches and leaves the holdings of one account."""

    def __init__(self, state: AccountState, out: Outbox, desk: Desk) -> None:
        self._state = state
        self._out = out
        self._desk = desk

    def want_exit(self, instrument: InstrumentId, owner: Owner) -> None:
        """Leave an owner's holding and take back what still buys for it; stands until nothing is held."""
        self._desk.cancel_open(instrument, Side.BUY, owner)
        plans = self._state.exits.setdefault(instrument, {})
        if owner not in plans:
            plans[owner] = self._make(instrument, owner)
        if plans[owner].hit == NO_EXIT:
            plans[owner].hit = ASKED
        self._try_exit(instrument, owner, plans[owner])

    def on_market(self, event: MarketEvent) -> None:
        """Look at the plans of a market that moved."""
        state, instrument = self._state, event.instrument
        price = sellable_price(state.market[instrument], fresh_from(state))
        hit = False
        for plan in state.exits[instrument].values():
            if not plan.hit and price > 0:
                plan.hit = exit_hit(price, plan.best, plan.stop, plan.profit, plan.trail_distance)
                plan.best = max(plan.best, price)
            hit = hit or plan.hit != NO_EXIT
        if hit:
            self._go_on(instrument)

    def on_time(self) -> None:
        """Go on with all plans that were hit."""
        for instrument in list(self._state.exits):
            self._go_on(instrument)

    def on_fact(self, fact: Fact) -> None:
        """Keep plans in step with holdings; go on with an exit whose order has ended."""
        if isinstance(fact, Filled):
            self._protect(fact)
        elif isinstance(fact, Closed):
            request = fact.order.request
            plan = self._state.exits.get(request.instrument, {}).get(request.owner)
            if plan is not None and plan.hit:
                self._note_end(fact.order, plan)
            self._go_on(request.instrument)

    def _go_on(self, instrument: InstrumentId) -> None:
        """Go on with the exits of an instrument."""
        for owner, plan in list(self._state.exits.get(instrument, {}).items()):
            if plan.hit:
                self._try_exit(instrument, owner, plan)

    # Plans.

    def _protect(self, fact: Filled) -> None:
        """Bring the plans of an instrument in line with its holdings after a fill."""
        state = self._state
        instrument = state.instruments[fact.fill.instrument]
        owner = fact.fill.owner
        plans = state.exits.get(instrument.id, {})
        if fact.order is not None and owner in plans and plans[owner].rest_id == fact.order.request.id:
            plans[owner].hit = STOP_HIT  # the venue carried it out
        for other in [o for o in plans if not self._is_worth_a_plan(instrument, o)]:
            self._end(instrument, other)
        if fact.fill.side is Side.BUY:
            self._plan_for(instrument, owner)

    def _plan_for(self, instrument: Instrument, owner: Owner) -> None:
        """Give an owner's holding a plan around its average entry, where it is worth one and has none of its own."""
        if owner == DEPOSITS or not self._is_worth_a_plan(instrument, owner) or self._has_own(owner):
            return
        plans = self._state.exits.setdefault(instrument.id, {})
        known = plans.get(owner)
        if known is None or not (known.stop_distance or known.profit_distance or known.trail_distance):
            plans[owner] = self._make(instrument.id, owner)
            plans[owner].hit = known.hit if known else NO_EXIT
        rebase(plans[owner], self._average(instrument, owner))

    def _average(self, instrument: Instrument, owner: Owner) -> int:
        return average_entry(self._state.ledger.holding(instrument.id, owner), instrument)

    def _make(self, instrument: InstrumentId, owner: Owner) -> ExitPlan:
        """Return a plan for what an owner holds, or is about to; without levels while it holds nothing."""
        average = self._average(self._state.instruments[instrument], owner)
        if not average:
            return ExitPlan()
        return make_plan(self._state.own.exits, average, market_of(self._state, instrument).variance_per_s)

    def catch_up(self) -> None:
        """Bring plans in line with what is held, after a time in which nothing was protected."""
        for key, position in self._state.ledger.positions.items():
            instrument = self._state.instruments[key]
            for owner in [o for o in self._state.exits.get(key, {}) if not self._is_worth_a_plan(instrument, o)]:
                plan = self._state.exits[key][owner]
                stop = self._state.closed_orders.get(plan.rest_id)
                plan.hit = STOP_HIT if stop is not None and stop.filled else plan.hit
                self._end(instrument, owner)
            for owner in list(position.holdings):
                if owner not in self._state.exits.get(key, {}):
                    self._plan_for(instrument, owner)

    def _is_worth_a_plan(self, instrument: Instrument, owner: Owner) -> bool:
        """Return whether an owner holds at least the smallest order: less can never be sold."""
        return held_size(self._state, instrument, owner) >= instrument.min_size

    def _has_own(self, owner: Owner) -> bool:
        """Return whether an owner is a bracket, which sells what it bought by its own prices."""
        kind, _, name = owner.partition(":")
        parent = self._state.parents.get(ParentId(name)) if kind == "parent" else None
        return parent is not None and parent.request.algorithm is Algorithm.BRACKET

    def hand_over(self, instrument: InstrumentId, giver: Owner, taker: Owner) -> None:
        """Let a holding pass to another owner, with the protection it has."""
        self._state.ledger.hand_over(instrument, giver, taker)
        self._out.changes.positions[instrument] = self._state.ledger.position(instrument)
        plans = self._state.exits.get(instrument, {})
        given = plans.pop(giver, None)
        if given is not None and taker not in plans:
            plans[taker] = given
        if not plans:
            self._state.exits.pop(instrument, None)
        self._plan_for(self._state.instruments[instrument], taker)

    def is_leaving(self, instrument: InstrumentId, owner: Owner) -> bool:
        """Return whether an owner's holding is being sold: it changes hands only when that is over."""
        plan = self._state.exits.get(instrument, {}).get(owner)
        return is_busy(self._state, instrument, owner) or (plan is not None and plan.hit != NO_EXIT)

    def _end(self, instrument: Instrument, owner: Owner) -> None:
        """End the plan of a holding that is gone; after a stop the instrument cools down."""
        plans = self._state.exits[instrument.id]
        plan = plans.pop(owner)
        if not plans:
            del self._state.exits[instrument.id]
        if plan.hit in (STOP_HIT, TRAIL_HIT):
            until = self._state.now_ns + self._state.own.exits.cool_down_s * NS_PER_S
            self._state.risk.cool_until[instrument.id] = until

    # Leaving.

    def _try_exit(self, instrument_id: InstrumentId, owner: Owner, plan: ExitPlan) -> None:
        """Sell an owner's holding; first take back what rests on the instrument and would meet the sale, or holds its
        coins.

        Nothing is asked for on old market data: the gate would deny it, and the next fresh quote brings it at once.
        """
        state = self._state
        if state.now_ns < plan.retry_ns or not may_exit(state.stops):
            return
        if not has_fresh_mark(state, instrument_id):
            return
        instrument = state.instruments[instrument_id]
        free = free_size(state, instrument)
        stops = own_stops(state, instrument_id, owner)
        are_locked = free + sum(o.remaining for o in stops) < sellable_size(state, instrument, owner)
        waits = False
        for order in list(state.open_orders.values()):
            request = order.request
            blocks = request.side is Side.BUY or request.owner == owner or are_locked
            if request.instrument != instrument_id or not blocks:
                continue
            if request.type is not OrderType.MARKET:
                self._desk.take_back(order)
            if request.owner == owner and request.side is Side.SELL:
                waits = True  # both would sell the same coins
            elif request.side is Side.SELL or request.type is not OrderType.MARKET:
                waits = waits or is_in_the_way(state, order, instrument_id)
        if not waits:
            self._sell(instrument, owner, plan, free)
        elif any(not is_in_the_way(state, order, instrument_id) for order in stops):
            self._note_refusal(instrument_id, plan, "its stop at the venue is not taken back yet")

    def _sell(self, instrument: Instrument, owner: Owner, plan: ExitPlan, free: int) -> None:
        size = min(sellable_size(self._state, instrument, owner), instrument.max_size)
        if not size:
            self._end_as_dust(instrument, owner)
            return
        if free < size:
            size = round_down(max(0, free), instrument.lot)
            if not is_sellable(self._state, instrument, size):
                return
        smaller = shrunk(size, instrument.lot, plan.shortfalls)
        if not is_sellable(self._state, instrument, smaller):
            smaller = size
        request = market_sale(instrument, smaller, PURPOSE_OF_HIT[plan.hit], owner)
        order = self._desk.ask(request)
        if order.state is OrderState.DENIED:
            self._note_refusal(instrument.id, plan, order.reason)

    def _end_as_dust(self, instrument: Instrument, owner: Owner) -> None:
        """End the plan of a holding that no venue would take; say what is left, since nothing protects it."""
        if own_orders(self._state, instrument.id, owner):
            return
        left = self._state.ledger.holding(instrument.id, owner).quantity
        self._end(instrument, owner)
        if left > 0:
            told = f"{format_amount(left)} {instrument.base} of {owner} stays at {instrument.venue}: less than it takes"
            self._out.alert(self._state.now_ns, Severity.WARNING, "dust", told)

    def _note_end(self, order: Order, plan: ExitPlan) -> None:
        """After a sale that filled go on at once; after one that did not wait, longer each time."""
        if order.request.side is not Side.SELL:
            return
        if order.filled or rests(order.request):
            plan.refusals = plan.retry_ns = 0
            return
        plan.shortfalls += INSUFFICIENT in order.reason.lower()
        self._note_refusal(order.request.instrument, plan, order.reason)

    def _note_refusal(self, instrument: InstrumentId, plan: ExitPlan, reason: str) -> None:
        """Space out the attempts of an exit that was refused, and say so once."""
        plan.retry_ns = self._state.now_ns + retry_wait_s(plan.refusals) * NS_PER_S
        plan.refusals += 1
        if plan.refusals == 1:
            told = f"The exit of {instrument} was refused: {reason}"
            self._out.alert(self._state.now_ns, Severity.CRITICAL, "exit_refused", told)
