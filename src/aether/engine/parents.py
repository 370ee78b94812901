"""Parent orders at work: looks at each one as time and market move on, and asks for the child orders that are due.

Children pass the risk gate like every other order. What a child did not trade goes back to its parent; a child that is
refused makes its parent wait, longer each time, and after `MAX_REFUSALS` give up with the gate's own reason, unless a
venue fails every order and there is another one. What a parent buys is its own while it works, protected like any
holding, and passes to the account's operators when it ends.
"""

from aether.domain.commands import Severity
from aether.domain.events import Event, KillSwitchEngaged, ParentOrderCanceled, ParentOrderRequested, Trade
from aether.domain.identifiers import DEPOSITS, OPERATOR, ClientOrderId, Owner, parent_owner
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import Order, OrderRequest, OrderState, OrderType, Purpose, Side, TimeInForce
from aether.domain.parents import Algorithm, Parent, ParentId, ParentRequest, ParentState, missing_fields
from aether.domain.scaled import (
    AMOUNT_DECIMALS,
    POW10,
    amount_of_size,
    format_amount,
    mul_div,
    mul_div_ceil,
    price_e8,
    round_down,
    round_up,
    size_of_amount,
)
from aether.engine.breakers import holds_back
from aether.engine.changes import Closed, Fact, Filled, Halting, Outbox
from aether.engine.desk import Desk
from aether.engine.protection import Protection
from aether.engine.resting import Resting
from aether.engine.risk import own_orders
from aether.engine.routing import Depth, Slice, payable, route
from aether.engine.state import NS_PER_MS, NS_PER_S, AccountState, MarketState
from aether.engine.valuation import fee_tier, has_fresh_book, is_sellable, mid_e8
from aether.kernel.schedules import oco_hit, pov_target, twap_target, vwap_target

CLOSED_PARENTS_KEPT = 64
MAX_CHILDREN_KEPT = 1_000
MAX_WORKING = 32
CHILD_EVERY_NS = 3 * NS_PER_S
"""Least time between two children of a scheduled parent, so that the repeated-order throttle never sees a flood."""
REPEG_EVERY_NS = NS_PER_S
REFUSAL_WAIT_NS = NS_PER_S
STALE_BOOK_WAIT_NS = 500 * NS_PER_MS
MAX_REFUSALS = 5
PROFIT_REACHED, STOP_REACHED = "profit price reached", "stop price reached"


PARENT_EVENTS = (ParentOrderRequested, ParentOrderCanceled)
"""What concerns parent orders also while none is at work."""


class Parents:
    """Works the parent orders of one account."""

    def __init__(self, state: AccountState, out: Outbox, desk: Desk, protection: Protection, resting: Resting) -> None:
        self._state = state
        self._out = out
        self._desk = desk
        self._protection = protection
        self._resting = resting

    def on_event(self, event: Event) -> None:
        """Take and cancel parents as people ask, count what others trade, and do what is due."""
        match event:
            case ParentOrderRequested():
                reason = self.begin(event.request)
                if reason:
                    self._out.refused = reason
                    told = f"Parent order {event.request.id} not taken: {reason}"
                    self._out.alert(self._state.now_ns, Severity.WARNING, "parent_refused", told)
            case ParentOrderCanceled():
                if not self.cancel(event.parent_id, event.reason or f"canceled by {event.actor}"):
                    told = f"No parent order {event.parent_id} is at work"
                    self._out.alert(self._state.now_ns, Severity.WARNING, "parent_unknown", told)
            case KillSwitchEngaged():
                return
            case Trade():
                self._count_volume(event)
        if self._state.parents:
            self.work()

    def on_fact(self, fact: Fact) -> None:
        """Count executions and ends of children; end with everything else when the account halts."""
        match fact:
            case Filled() if fact.order is not None:
                if fact.order.request.parent:
                    self._on_fill(fact.order, fact.quantity, fact.fill.notional, fact.fill.fee)
                self._settle(fact.order.request.owner)
            case Closed():
                if fact.order.request.parent:
                    self._on_closed(fact.order)
                self._settle(fact.order.request.owner)
            case Halting():
                self._halt(fact)

    # Life of a parent.

    def begin(self, request: ParentRequest) -> str:
        """Take a parent order; return why it cannot be, empty when it is taken."""
        state = self._state
        if request.id in state.parents or request.id in state.closed_parents:
            return f"there was a parent order {request.id} before"
        instruments = self._instruments(request)
        if not instruments:
            return f"the account may not trade {request.symbol}"
        if len(state.parents) >= MAX_WORKING:
            return f"{MAX_WORKING} parent orders are at work"
        if all(i.venue in state.stopped_venues for i in instruments):
            return f"every venue of {request.symbol} is stopped"
        reason = missing_fields(request) or _below_a_tick(request, instruments)
        if not reason:
            mid = mid_e8(state, instruments)
            parent = Parent(request=request, started_ns=state.now_ns, decision_mid=mid)
            state.parents[request.id] = parent
            self._note(parent)
        return reason

    def cancel(self, parent_id: ParentId, reason: str) -> bool:
        """Cancel a parent and its children; return whether it was at work."""
        parent = self._state.parents.get(parent_id)
        if parent is None:
            return False
        self._cancel_children(parent)
        self._end(parent, ParentState.CANCELED, reason)
        return True

    def _halt(self, fact: Halting) -> None:
        """End every parent; their children are canceled by whoever asks for this.

        While exits go on, what only protects stays: an OCO, and a bracket for what it has bought.
        """
        for parent in list(self._state.parents.values()):
            protects = parent.request.algorithm is Algorithm.OCO or parent.bought > 0
            if fact.keeps_exits and protects:
                parent.sent = max(parent.sent, parent.request.amount)
            else:
                self._end(parent, ParentState.CANCELED, fact.reason)

    def _on_fill(self, order: Order, quantity: int, notional: int, fee: int) -> None:
        """Count an execution of a child, also one that is told after the child's end."""
        parent = self._of(order)
        if parent is None:
            return
        parent.fees += fee
        parent.refusals = 0
        if order.request.id not in parent.working:
            parent.sent += quantity
        self._note(parent)
        is_bracket = parent.request.algorithm is Algorithm.BRACKET
        if is_bracket and order.request.side is Side.SELL:
            parent.bought = max(0, parent.bought - quantity)
            return
        parent.filled += quantity
        parent.notional += notional
        if is_bracket:
            parent.bought += quantity

    def _of(self, order: Order) -> Parent | None:
        parent_id = ParentId(order.request.parent)
        return self._state.parents.get(parent_id) or self._state.closed_parents.get(parent_id)

    def _on_closed(self, order: Order) -> None:
        """Take back what a child that has ended did not trade."""
        order_id = order.request.id
        parent = self._of(order)
        if parent is None:
            return
        counted = parent.working.pop(order_id, 0)
        instrument = self._state.instruments[order.request.instrument]
        missed = counted - min(counted, amount_of_size(order.filled, instrument.size_decimals))
        parent.sent -= missed
        if missed and order.request.time_in_force is TimeInForce.IOC:
            # The book was older than the market: the next child waits for a newer one.
            parent.retry_ns = max(parent.retry_ns, self._state.now_ns + STALE_BOOK_WAIT_NS)
        if order.state is OrderState.REJECTED:
            if self._goes_elsewhere(parent, instrument):
                parent.refusals = 0
            self._refused(parent, order.reason)

    def _goes_elsewhere(self, parent: Parent, failing: Instrument) -> bool:
        """Return whether a venue fails everybody's orders, and another one of the parent's does not."""
        is_buy = self._side(parent) is Side.BUY
        return is_buy and self._is_barred(failing) and any(not self._is_barred(i) for i, _ in self._markets(parent))

    def _count_volume(self, event: Trade) -> None:
        """Count what others traded."""
        instrument = self._state.instruments.get(event.instrument)
        if instrument is None:
            return
        quantity = amount_of_size(event.size, instrument.size_decimals)
        for parent in self._state.parents.values():
            if parent.request.symbol == instrument.symbol:
                parent.seen_volume += quantity

    def work(self) -> None:
        """Do what is due for every parent at work."""
        for parent in list(self._state.parents.values()):
            if not self._is_done(parent) and self._state.now_ns >= parent.retry_ns:
                self._work(parent)

    def _is_done(self, parent: Parent) -> bool:
        """End a parent that has traded all of its amount; return whether it did."""
        if parent.working or parent.bought or self._rest(parent) > 0:
            return False
        self._end(parent, ParentState.DONE, "")
        return True

    # One parent.

    def _work(self, parent: Parent) -> None:
        request, now = parent.request, self._state.now_ns
        elapsed = now - parent.started_ns
        scheduled = request.algorithm in (Algorithm.TWAP, Algorithm.VWAP)
        if request.duration_s and elapsed > request.duration_s * NS_PER_S + scheduled * 60 * NS_PER_S:
            self._cancel_children(parent)
            if not parent.working:
                self._end(parent, ParentState.DONE, f"its {request.duration_s} s are over")
            return
        match request.algorithm:
            case Algorithm.ROUTE:
                self._take(parent, request.amount - parent.sent)
            case Algorithm.TWAP | Algorithm.VWAP | Algorithm.POV:
                self._follow_schedule(parent, elapsed)
            case Algorithm.PEGGED:
                self._peg(parent)
            case Algorithm.ICEBERG:
                self._show_tip(parent)
            case Algorithm.OCO | Algorithm.BRACKET:
                self._bracket(parent)

    def _rest(self, parent: Parent) -> int:
        """Return the amount still to be traded, nothing when it is less than any venue takes."""
        rest = parent.request.amount - parent.filled
        least = min((amount_of_size(i.min_size, i.size_decimals) for i in self._instruments(parent.request)), default=0)
        return rest if rest >= least else 0

    def _follow_schedule(self, parent: Parent, elapsed_ns: int) -> None:
        request = parent.request
        duration_ns = request.duration_s * NS_PER_S
        if request.algorithm is Algorithm.TWAP:
            target = twap_target(request.amount, elapsed_ns, duration_ns, request.slices)
        elif request.algorithm is Algorithm.VWAP:
            target = vwap_target(request.amount, elapsed_ns, duration_ns, request.profile)
        else:
            target = pov_target(request.amount, parent.seen_volume, request.participation_bps)
        due = target - parent.sent
        if due > 0 and self._take(parent, due):
            parent.retry_ns = self._state.now_ns + CHILD_EVERY_NS

    def _take(self, parent: Parent, amount: int) -> bool:
        """Send children that take `amount` from the venues' books; return whether any was sent."""
        if amount <= 0 or len(parent.working) >= MAX_WORKING:
            return False
        is_buy = self._side(parent) is Side.BUY
        plan = route(is_buy=is_buy, amount=amount, depths=self._depths(parent), limit_e8=self._limit(parent))
        sent = [self._child(parent, part, TimeInForce.IOC) for part in plan]
        return any(sent)

    def _limit(self, parent: Parent) -> int:
        return 0 if parent.is_selling else parent.request.limit_price

    @staticmethod
    def _side(parent: Parent) -> Side:
        return Side.SELL if parent.is_selling else parent.request.side

    def _depths(self, parent: Parent) -> list[Depth]:
        """Return the books that can be relied on: fresh, not crossed, of venues that take what is to be sent."""
        state = self._state
        is_buy = self._side(parent) is Side.BUY
        found = []
        for instrument, market in self._markets(parent):
            key = instrument.quote_key if is_buy else instrument.base_key
            levels = market.asks if is_buy else market.bids
            taker_ppm = fee_tier(state, instrument).taker_ppm
            found.append(Depth(instrument, tuple(levels), taker_ppm, state.ledger.balance(key).free))
        return found

    def _markets(self, parent: Parent) -> list[tuple[Instrument, MarketState]]:
        """Return where a parent's children may go now.

        For buys not where the venue fails every order or does not have the pair open, while there is money at another
        one; when there is none the gate says why not.
        """
        found = self._tradable(parent.request)
        if self._side(parent) is Side.SELL:
            return found
        free = [(i, m) for i, m in found if not self._is_barred(i)]
        if len(free) == len(found):
            return found
        return free if any(m.ask and self._can_rest(parent, i, m.ask) for i, m in free) else found

    def _tradable(self, request: ParentRequest) -> list[tuple[Instrument, MarketState]]:
        """Return the markets of a parent's pair where orders may go now."""
        markets = self._state.market
        found = [(i, markets[i.id]) for i in self._instruments(request) if i.id in markets]
        return [(i, m) for i, m in found if self._can_trade(i, m)]

    def _is_barred(self, instrument: Instrument) -> bool:
        """Return whether entries of an instrument are held back by its venue."""
        market = self._state.market.get(instrument.id)
        is_open = market is None or market.allows is TradingState.ONLINE
        return not is_open or bool(holds_back(self._state, instrument.venue))

    def _can_trade(self, instrument: Instrument, market: MarketState) -> bool:
        """Return whether an order may go to an instrument's market now: its venue is not stopped, its book is good."""
        is_open = instrument.venue not in self._state.stopped_venues
        return is_open and has_fresh_book(self._state, market) and not market.trouble

    def _child(self, parent: Parent, part: Slice, tif: TimeInForce, *, post_only: bool = False) -> bool:
        instrument, owner = self._state.instruments[part.instrument], self._owner(parent)
        if self._side(parent) is Side.SELL and self._resting.gives_way(instrument, owner, part.size):
            return False
        arrival = _from_e8(parent.decision_mid, instrument, step=1)
        order = self._desk.ask(
            OrderRequest(
                id=ClientOrderId(""),
                instrument=part.instrument,
                side=self._side(parent),
                type=OrderType.LIMIT if part.limit_price else OrderType.MARKET,
                size=part.size,
                limit_price=part.limit_price,
                time_in_force=tif,
                post_only=post_only,
                purpose=self._purpose(parent),
                parent=parent.request.id,
                owner=owner,
            ),
            decision_price=arrival,
            arrival_price=arrival,
        )
        if order.state is OrderState.DENIED:
            self._refused(parent, order.reason)
            return False
        quantity = amount_of_size(part.size, instrument.size_decimals)
        parent.children.append(order.request.id)
        del parent.children[:-MAX_CHILDREN_KEPT]
        parent.working[order.request.id] = quantity
        parent.sent += quantity
        return True

    def _peg(self, parent: Parent) -> None:
        """Keep one post-only order at the best price of our own side, at the venue where that is best."""
        is_buy = parent.request.side is Side.BUY
        best: tuple[int, Instrument, int] | None = None
        for instrument, market in self._markets(parent):
            own = round_down(market.bid, instrument.tick) if is_buy else round_up(market.ask, instrument.tick)
            if not own or not self._can_rest(parent, instrument, own):
                continue
            if best is None or (price_e8(own, instrument.price_decimals) > best[0]) == is_buy:
                best = (price_e8(own, instrument.price_decimals), instrument, own)
        if best is None:
            return
        price = self._within_limit(parent, best[2], best[1])
        for order_id in list(parent.working):
            order = self._state.open_orders.get(order_id)
            if order is None:
                continue
            at_best = order.request.instrument == best[1].id and order.request.limit_price == price
            if not at_best and self._state.now_ns - order.created_ns >= REPEG_EVERY_NS:
                self._desk.cancel(order)
        if not parent.working:
            self._rest_at(parent, best[1], price, self._rest(parent))

    def _can_rest(self, parent: Parent, instrument: Instrument, price: int) -> bool:
        """Whether the account has something to trade with at a venue, or a child of the parent there already."""
        orders = (self._state.open_orders.get(order_id) for order_id in parent.working)
        if any(order is not None and order.request.instrument == instrument.id for order in orders):
            return True
        return self._payable(instrument, parent, price) >= instrument.min_size

    def _within_limit(self, parent: Parent, price: int, instrument: Instrument) -> int:
        limit = parent.request.limit_price
        if not limit:
            return price
        scale, unit = POW10[instrument.price_decimals], POW10[AMOUNT_DECIMALS]
        if parent.request.side is Side.BUY:
            return min(price, round_down(mul_div(limit, scale, unit), instrument.tick))
        ticks = mul_div_ceil(limit, scale, unit * instrument.tick)
        return max(price, ticks * instrument.tick)

    def _rest_at(
        self, parent: Parent, instrument: Instrument, price: int, amount: int, *, post_only: bool = True
    ) -> None:
        size = min(size_of_amount(amount, instrument.size_decimals), self._payable(instrument, parent, price))
        size = min(round_down(size, instrument.lot), instrument.max_size)
        if size >= instrument.min_size:
            self._child(parent, Slice(instrument.id, size, price, 0), TimeInForce.GTC, post_only=post_only)

    def _payable(self, instrument: Instrument, parent: Parent, price: int) -> int:
        is_buy = self._side(parent) is Side.BUY
        free = self._state.ledger.balance(instrument.quote_key if is_buy else instrument.base_key).free
        return payable(instrument, price, free, instrument.fee_tiers[0].taker_ppm, is_buy=is_buy)

    def _show_tip(self, parent: Parent) -> None:
        """Keep one limit order of the shown size in the book of the first venue where there is money for it."""
        if parent.working:
            return
        for instrument, _ in self._markets(parent):
            price = _from_e8(parent.request.limit_price, instrument, instrument.tick)
            if price and self._can_rest(parent, instrument, price):
                tip = min(parent.request.display, self._rest(parent))
                self._rest_at(parent, instrument, price, tip, post_only=False)
                return

    def _bracket(self, parent: Parent) -> None:
        """Buy first if it is a bracket; then sell when the profit or the stop price is reached."""
        request = parent.request
        if request.algorithm is Algorithm.BRACKET and parent.sent < request.amount and not parent.is_selling:
            self._take(parent, request.amount - parent.sent)
        price = max(
            (price_e8(m.bid, i.price_decimals) for i, m in self._tradable(request) if m.bid),
            default=0,
        )
        if not parent.is_selling:
            hit = oco_hit(price, request.profit_price, request.stop_price) if price else 0
            holds = request.algorithm is Algorithm.OCO or parent.bought > 0
            if not hit or not holds or parent.working:
                return
            parent.is_selling = True
            parent.reason = PROFIT_REACHED if hit > 0 else STOP_REACHED
        if not parent.working:
            self._leave(parent)

    def _leave(self, parent: Parent) -> None:
        """Sell at the market what the parent protects, where it lies: the stop of a bracket or OCO is an exit.

        It sells its own coins (an OCO the operators' and deposits), never a strategy's, and ends when there are none.
        """
        is_bracket = parent.request.algorithm is Algorithm.BRACKET
        left = parent.bought if is_bracket else parent.request.amount - parent.filled
        held_any = False
        for instrument in self._instruments(parent.request):
            held = min(self._own_quantity(parent, instrument), left)
            size = min(size_of_amount(held, instrument.size_decimals), instrument.max_size)
            size = round_down(size, instrument.lot)
            if not is_sellable(self._state, instrument, size):
                continue
            held_any = True
            if instrument.venue in self._state.stopped_venues:
                continue
            self._desk.cancel_open(instrument.id, Side.BUY)
            if self._resting.gives_way(instrument, self._owner(parent), size):
                continue
            if self._state.ledger.balance(instrument.base_key).free < amount_of_size(size, instrument.size_decimals):
                self._free_own(instrument, self._owner(parent))
            elif self._child(parent, Slice(instrument.id, size, 0, 0), TimeInForce.IOC):
                left -= amount_of_size(size, instrument.size_decimals)
        if not held_any:
            parent.bought = 0
            self._end(parent, ParentState.DONE, parent.reason)

    def _free_own(self, instrument: Instrument, owner: Owner) -> None:
        """Take back what locks an owner's coins; a sale at the market is on its way, and others' orders lock theirs."""
        for order in own_orders(self._state, instrument.id, owner):
            if order.request.side is Side.SELL and order.request.type is not OrderType.MARKET:
                self._desk.take_back(order)

    def _own_quantity(self, parent: Parent, instrument: Instrument) -> int:
        """Return what a parent may sell of an instrument as its own, a ledger amount."""
        owner = self._owner(parent)
        owners = (owner, DEPOSITS) if owner == OPERATOR else (owner,)
        return sum(max(0, self._state.ledger.holding(instrument.id, o).quantity) for o in owners)

    # Shared.

    def _instruments(self, request: ParentRequest) -> list[Instrument]:
        """Return the account's instruments of the symbol that it may trade, in a fixed order."""
        state = self._state
        assert state.config is not None
        approved = state.config.approved
        return [i for i in state.instruments.values() if i.symbol == request.symbol and i.id in approved]

    def _refused(self, parent: Parent, reason: str) -> None:
        parent.refusals += 1
        parent.retry_ns = self._state.now_ns + (REFUSAL_WAIT_NS << min(parent.refusals, 6))
        if parent.refusals >= MAX_REFUSALS and parent.state is ParentState.WORKING and not self._protects(parent):
            self._cancel_children(parent)
            self._end(parent, ParentState.FAILED, reason)

    @staticmethod
    def _protects(parent: Parent) -> bool:
        """Return whether a parent has something to protect: such a one never gives up."""
        return parent.request.algorithm is Algorithm.OCO or parent.bought > 0

    def _cancel_children(self, parent: Parent) -> None:
        for order_id in list(parent.working):
            order = self._state.open_orders.get(order_id)
            if order is not None:
                self._desk.cancel(order)

    @staticmethod
    def _purpose(parent: Parent) -> Purpose:
        """Return what a child is for: the sale of a bracket or OCO is a protective exit, and judged as one."""
        if not parent.is_selling:
            return Purpose.ALGORITHM
        return Purpose.STOP if parent.reason == STOP_REACHED else Purpose.TAKE_PROFIT

    def _owner(self, parent: Parent) -> Owner:
        """Return whose coins a parent's children trade: what it buys is its own, what it sells the operators'."""
        is_own = parent.request.side is Side.BUY
        return parent_owner(parent.request.id) if is_own else OPERATOR

    def _settle(self, owner: Owner) -> None:
        """Let the operators have what a parent bought once it is over, with late executions; not while it is sold."""
        kind, _, name = owner.partition(":")
        if kind != "parent" or ParentId(name) in self._state.parents:
            return
        for instrument, position in self._state.ledger.positions.items():
            if owner in position.holdings and not self._protection.is_leaving(instrument, owner):
                self._protection.hand_over(instrument, owner, OPERATOR)

    def _note(self, parent: Parent) -> None:
        self._out.changes.parents[parent.request.id] = parent

    def _end(self, parent: Parent, state: ParentState, reason: str) -> None:
        parent.state, parent.reason = state, reason or parent.reason
        parent.ended_ns = self._state.now_ns
        parent.end_mid = mid_e8(self._state, self._instruments(parent.request))
        self._note(parent)
        del self._state.parents[parent.request.id]
        closed = self._state.closed_parents
        closed[parent.request.id] = parent
        if len(closed) > CLOSED_PARENTS_KEPT:
            del closed[next(iter(closed))]
        self._settle(parent_owner(parent.request.id))


def _from_e8(price: int, instrument: Instrument, step: int) -> int:
    """Return a price of 10^-8 in the instrument's units, rounded down to a multiple of `step`."""
    return round_down(mul_div(price, POW10[instrument.price_decimals], POW10[AMOUNT_DECIMALS]), step)


def _below_a_tick(request: ParentRequest, instruments: list[Instrument]) -> str:
    """Return which price of a request is below the smallest price of every venue, empty when none is."""
    for name in ("limit_price", "profit_price", "stop_price"):
        price = getattr(request, name)
        if price and not any(_from_e8(price, i, i.tick) for i in instruments):
            least = min(price_e8(i.tick, i.price_decimals) for i in instruments)
            return f"{name} {format_amount(price)} is below the smallest price, {format_amount(least)}"
    return ""
