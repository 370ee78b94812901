"""The only writer of orders and ledger: asks, cancels, books, and tells the rooms above what came of it.

What a venue reports is a fact: it is booked whole, then judged. The desk works out all that a report changes before it
changes anything, so that no report is booked in part; what does not fit our books comes back as a `Questioned` fact and
is nobody's reason to deny what happened. The desk decides nothing: what to ask for is the business of the rooms above,
which hear of fills, ends and questions through `Outbox.facts` and are never called from here.
"""

import msgspec

from aether.domain.accounts import ForeignOrders
from aether.domain.commands import CancelAll, CancelOrder, Severity, SubmitOrder
from aether.domain.events import (
    VENUE_REPORTS,
    BalanceBooked,
    BalanceReported,
    CancelRejected,
    CapitalMoved,
    EngineFaulted,
    OrderAccepted,
    OrderAdopted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    RejectedBy,
    VenueNoted,
    VenueReport,
    as_given,
)
from aether.domain.identifiers import (
    DEPOSITS,
    OPERATOR,
    AssetCode,
    BalanceKey,
    ClientOrderId,
    InstrumentId,
    Owner,
    StrategyName,
    balance_key,
    client_order_id,
    foreign_id,
)
from aether.domain.instruments import Instrument
from aether.domain.orders import Order, OrderRequest, OrderState, Purpose, Side
from aether.domain.records import BreakKind, Fill, Flow
from aether.domain.scaled import amount_of_size, format_amount, mul_div
from aether.engine.changes import Agreed, Answered, Closed, Filled, Moved, Outbox, Questioned
from aether.engine.exits import rests
from aether.engine.ledger import Charge
from aether.engine.orders import Trigger, cancel_refused_trigger, fill_trigger, judge, overfill
from aether.engine.risk import Candidate, Gate, make_candidate, repeat_key
from aether.engine.state import (
    CLOSED_ORDERS_KEPT,
    DENIED_ORDERS_KEPT,
    NS_PER_DAY,
    NS_PER_S,
    TRADES_REMEMBERED,
    AccountState,
)
from aether.engine.stops import keep_orders
from aether.engine.valuation import FEE_WINDOW_DAYS, charge_of, instrument_of, net_asset_value, tolerance, worth_of

CANCEL_AGAIN_NS = NS_PER_S // 2
"""A venue that refuses to cancel is asked again, not at every event."""
_report_decoder: msgspec.json.Decoder[VenueReport] = msgspec.json.Decoder(VenueReport)


class Desk:
    """Writes the orders and the books of one account."""

    def __init__(self, state: AccountState, out: Outbox) -> None:
        self._state = state
        self._out = out
        self._gate = Gate()

    # Orders going out.

    def ask(self, unnamed: OrderRequest, *, decision_price: int = 0, arrival_price: int = 0) -> Order:
        """Put an order before the risk gate; when it passes, lock its funds and have it sent. Return its record.

        Args:
            unnamed: the order without an id, which it is given here.
            decision_price, arrival_price: the mids when it was decided on and taken on; now unless given.
        """
        state = self._state
        request = msgspec.structs.replace(unnamed, id=client_order_id(state.own.id, state.next_order))
        candidate = make_candidate(state, request)
        verdict, approved = self._gate.judge(candidate)
        if self._out.on_judged is not None:
            self._out.on_judged(candidate, verdict)
        order = self._record(request, candidate, decision_price, arrival_price)
        state.next_order += 1
        self._out.changes.verdicts.append(verdict)
        if approved is None:
            self._enter(order, judge(order, Trigger.DENY)[0], verdict.reason)
            state.denied_orders[request.id] = order
            if len(state.denied_orders) > DENIED_ORDERS_KEPT:
                del state.denied_orders[next(iter(state.denied_orders))]
            return order
        state.ledger.reserve(candidate.reserve_key, candidate.reserve)
        order.reserved = candidate.reserve
        self._out.changes.balances.add(candidate.reserve_key)
        state.open_orders[request.id] = order
        self._enter(order, judge(order, Trigger.APPROVE)[0], "")
        self._count_order(request)
        self._out.commands.append(SubmitOrder(state.now_ns, approved))
        return order

    def _record(self, request: OrderRequest, candidate: Candidate, decision_price: int, arrival_price: int) -> Order:
        now, price = self._state.now_ns, candidate.mark.price
        return Order(
            request=request,
            state=OrderState.INITIALIZED,
            created_ns=now,
            updated_ns=now,
            decision_price=decision_price or price,
            arrival_price=arrival_price or price,
            send_price=price,
            half_spread=candidate.market.half_spread,
        )

    def _count_order(self, request: OrderRequest) -> None:
        """Remember an approved order for the rate limits and the repeated-order throttle; stops that rest keep nobody
        from entering.
        """
        if rests(request):
            return
        state = self._state
        risk, limits, now = state.risk, state.own.limits, state.now_ns
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
            self.alert(
                Severity.CRITICAL,
                "repeated_orders",
                f"{key} sent {len(recent)} entries within {limits.repeated_order_window_s} s and is stopped",
            )

    def cancel(self, order: Order) -> None:
        """Ask for an open order to be canceled, unless that was asked already."""
        if order.state is not OrderState.PENDING_CANCEL:
            order.asked_ns = self._state.now_ns
            self._enter(order, judge(order, Trigger.REQUEST_CANCEL)[0], "")
            self._ask_cancel(order)

    def take_back(self, order: Order) -> None:
        """`cancel` for whoever looks at every event: not at each of them while the venue refuses."""
        if self._state.now_ns - order.asked_ns >= CANCEL_AGAIN_NS:
            self.cancel(order)

    def _ask_cancel(self, order: Order) -> None:
        """Have the venue cancel an order; once more when it takes the order after the cancel has passed it."""
        self._out.commands.append(CancelOrder(self._state.now_ns, order.request.id, order.request.instrument))

    def cancel_open(self, instrument: InstrumentId, side: Side, owner: Owner | None = None) -> None:
        """Ask for the open orders of one side to be canceled, of one owner or all."""
        for order in self._state.open_orders.values():
            request = order.request
            if request.instrument == instrument and request.side is side and owner in (None, request.owner):
                self.cancel(order)

    def cancel_all(self) -> None:
        """Ask for everything to be canceled, at every venue, also what this account does not know of."""
        for order in self._state.open_orders.values():
            self._enter(order, judge(order, Trigger.REQUEST_CANCEL)[0], "")
        self._out.commands.append(CancelAll(self._state.now_ns))

    def alert(self, severity: Severity, code: str, message: str) -> None:
        """Tell a person."""
        self._out.alert(self._state.now_ns, severity, code, message)

    # What venues report.

    def book(self, report: VenueReport) -> None:
        """Book what a venue reports."""
        match report:
            case OrderFilled():
                self._fill(report)
            case BalanceReported():
                self._compare(report)
            case OrderAccepted():
                self._note_answer(report.order_id)
                order = self._move(report.order_id, Trigger.ACCEPT)
                if order is not None:
                    order.venue_order_id = report.venue_order_id
                    if order.state is OrderState.PENDING_CANCEL:
                        self._ask_cancel(order)
            case OrderRejected():
                if report.by is not RejectedBy.US:
                    failed = report.by is RejectedBy.FAILURE
                    self._note_answer(report.order_id, failed=failed, reason=report.reason)
                self._move(report.order_id, Trigger.REJECT, report.reason)
            case OrderCanceled():
                self._move(report.order_id, Trigger.CANCEL, report.reason)
            case OrderExpired():
                self._move(report.order_id, Trigger.EXPIRE, report.reason)
            case OrderAdopted():
                self._adopt(report)
            case VenueNoted():
                self._note(report)
            case CancelRejected():
                order = self._known(report.order_id)
                self._move(report.order_id, cancel_refused_trigger(order) if order else Trigger.CANCEL_REFUSED)

    def _note_answer(self, order_id: ClientOrderId, *, failed: bool = False, reason: str = "") -> None:
        """Say what an order that waits for its answer was answered."""
        order = self._state.open_orders.get(order_id)
        if order is None or order.venue_order_id:
            return
        if order.state in (OrderState.SUBMITTED, OrderState.PENDING_CANCEL):
            self._out.facts.append(Answered(order, failed, reason))

    def _adopt(self, event: OrderAdopted) -> None:
        """Take up an order that the account did not place, with as much of its funds locked as there is."""
        state, request = self._state, event.request
        if self._known(request.id) is not None:
            return
        instrument = state.instruments.get(request.instrument)
        if instrument is None:
            text = f"the venue works order {event.venue_order_id} of {request.instrument}, no pair of this account"
            self._question(BreakKind.STRANGER, request.id, text)
            return
        if event.filled >= request.size:
            return
        candidate = make_candidate(state, msgspec.structs.replace(request, size=request.size - event.filled))
        order = self._record(request, candidate, 0, 0)
        order.venue_order_id, order.number = event.venue_order_id, state.next_order
        order.filled, order.filled_notional = event.filled, event.filled_notional
        order.trade_ids = list(event.trade_ids)
        order.reserved = max(0, min(candidate.reserve, candidate.free))
        state.next_order += 1
        state.ledger.reserve(candidate.reserve_key, order.reserved)
        self._out.changes.balances.add(candidate.reserve_key)
        state.open_orders[request.id] = order
        self._enter(order, OrderState.PARTIALLY_FILLED if order.filled else OrderState.ACCEPTED, "")
        size = format_amount(amount_of_size(request.size, instrument.size_decimals))
        is_unwanted = state.own.reconciliation.foreign_orders is ForeignOrders.CANCEL
        is_stopped = not keep_orders(state.stops)
        told = (
            f"{instrument.venue} works order {event.venue_order_id} ({request.side} {size} of {instrument.id}), which "
            f"this account did not place; it is {'canceled' if is_unwanted or is_stopped else 'adopted'}"
        )
        self.alert(Severity.WARNING, "foreign_order", told)
        if is_unwanted or is_stopped:
            self.cancel(order)

    def _note(self, note: VenueNoted) -> None:
        """Tell people what the venue's side found; order numbers go on above those that the venue knows."""
        self.alert(note.severity, note.code, note.text)
        if note.next_order > self._state.next_order:
            self._state.next_order = note.next_order
            self._question(BreakKind.STRANGER, f"order {note.next_order - 1}", note.text)

    def keep(self, event: EngineFaulted) -> None:
        """Keep a report of an order that could not be applied, until a person resumes. A balance comes again anyway."""
        given = as_given(event)
        if isinstance(given, VENUE_REPORTS) and not isinstance(given, BalanceReported):
            self._state.unbooked.append(event.event)

    def book_late(self) -> None:
        """Book what was kept; when that fails still, the account stays stopped and nothing is lost."""
        state = self._state
        if not state.unbooked:
            return
        for payload in state.unbooked:
            self.book(_report_decoder.decode(payload))
        told = f"Booked {len(state.unbooked)} reports of the venue that the engine could not apply before"
        state.unbooked = []
        self.alert(Severity.WARNING, "booked_late", told)

    def _known(self, order_id: ClientOrderId) -> Order | None:
        state = self._state
        return state.open_orders.get(order_id) or state.closed_orders.get(order_id) or state.denied_orders.get(order_id)

    def _move(self, order_id: ClientOrderId, trigger: Trigger, reason: str = "") -> Order | None:
        order = self._known(order_id)
        if order is None:
            if trigger is not Trigger.CANCEL_REFUSED and not self._is_old(order_id):
                text = f"the venue reports {trigger.name.lower()} of order {order_id}, which this account does not know"
                self._question(BreakKind.STRANGER, order_id, text)
            return None
        state, oddity = judge(order, trigger)
        self._enter(order, state, reason)
        if oddity:
            self._question(BreakKind.IMPOSSIBLE, order_id, oddity)
        return order

    def _is_old(self, order_id: ClientOrderId) -> bool:
        """Return whether an order was this account's and has long been over: late words about it are no news."""
        account, _, number = order_id.rpartition("-")
        return account == self._state.own.id and number.isdecimal() and int(number) < self._state.next_order

    def _question(self, kind: BreakKind, subject: str, evidence: str, amount: int = 0) -> None:
        self._out.facts.append(Questioned(kind, subject, evidence, amount))

    def _fill(self, event: OrderFilled) -> None:
        """Book an execution once: of an order that is known, or of any other by what the report itself says."""
        state = self._state
        self._note_answer(event.order_id)
        order = self._known(event.order_id)
        memory = f"{event.order_id}|{event.trade_id}"
        if memory in state.trades or (order is not None and event.trade_id in order.trade_ids):
            return
        instrument = state.instruments.get(order.request.instrument if order else event.instrument)
        side = order.request.side if order else event.side
        if instrument is None or side is None or event.size <= 0 or event.price <= 0:
            text = (
                f"an execution {event.trade_id} of order {event.order_id} cannot be booked: {event.size} size units of "
                f"{event.instrument or 'an unknown instrument'} at {event.price}"
            )
            self._question(BreakKind.STRANGER if order is None else BreakKind.IMPOSSIBLE, event.order_id, text)
            return
        if order is not None and f"{foreign_id(event.venue_order_id)}|{event.trade_id}" in state.trades:
            self._release(order, max(0, order.remaining - event.size))
            self._advance(order, event, instrument.notional(event.price, event.size), 0)
            return
        notional = instrument.notional(event.price, event.size)
        quantity = amount_of_size(event.size, instrument.size_decimals)
        fee_key = balance_key(instrument.venue, event.fee_asset)
        charge = charge_of(state, instrument, event.fee, fee_key, event.price, notional, event.liquidity)
        owner = order.request.owner if order else OPERATOR
        if order is not None:
            self._release(order, max(0, order.remaining - event.size))
        book = state.ledger.book_buy if side is Side.BUY else state.ledger.book_sale
        realized = book(instrument, owner, quantity, notional, charge)
        self._count_fill(instrument, notional, charge)
        fill = self._note_fill(event, instrument, side, order, notional, charge, realized)
        self._out.facts.append(Filled(fill, quantity, order))
        if order is None:
            self._remember(memory)
            if not self._is_old(event.order_id):
                text = f"the venue executed order {event.order_id}, which this account does not know; it is booked"
                if state.own.reconciliation.foreign_orders is ForeignOrders.ADOPT:
                    self.alert(Severity.WARNING, "foreign_fill", text)
                else:
                    self._question(BreakKind.STRANGER, event.order_id, text)
        else:
            self._advance(order, event, notional, charge.worth)
        for key in dict.fromkeys((instrument.base_key, instrument.quote_key, charge.key)):
            self._judge_free(key)
        state.ledger.assert_balanced()

    def _advance(self, order: Order, event: OrderFilled, notional: int, fee: int) -> None:
        """Bring an order forward by an execution that is booked: with it, or as a stranger's before it was known."""
        extra = overfill(order, event.size)
        state_after, oddity = judge(order, fill_trigger(order, event.size))
        order.trade_ids.append(event.trade_id)
        order.filled += event.size
        order.filled_notional += notional
        order.fees += fee
        if event.venue_order_id:
            order.venue_order_id = event.venue_order_id
        self._enter(order, state_after, order.reason)
        if extra or oddity:
            self._question(BreakKind.IMPOSSIBLE, order.request.id, extra or oddity)

    def _count_fill(self, instrument: Instrument, notional: int, charge: Charge) -> None:
        """Count an execution for the fee budget and the fee tier."""
        risk = self._state.risk
        risk.fees_today += charge.worth
        day = self._state.now_ns // NS_PER_DAY
        risk.day_volume[day] = risk.day_volume.get(day, 0) + notional
        if len(risk.day_volume) > FEE_WINDOW_DAYS + 1:
            risk.day_volume = {d: v for d, v in risk.day_volume.items() if d > day - FEE_WINDOW_DAYS}
        changes = self._out.changes
        changes.positions[instrument.id] = self._state.ledger.position(instrument.id)
        changes.balances |= {instrument.base_key, instrument.quote_key, charge.key}
        if charge.held_as is not None and charge.held_as.id != instrument.id:
            changes.positions[charge.held_as.id] = self._state.ledger.position(charge.held_as.id)
            changes.balances.add(charge.held_as.quote_key)

    def _note_fill(
        self,
        event: OrderFilled,
        instrument: Instrument,
        side: Side,
        order: Order | None,
        notional: int,
        charge: Charge,
        realized: int,
    ) -> Fill:
        purpose = Purpose.ENTRY if side is Side.BUY else Purpose.EXIT
        fill = Fill(
            ts_ns=event.ts_ns,
            order_id=event.order_id,
            trade_id=event.trade_id,
            instrument=instrument.id,
            side=side,
            price=event.price,
            size=event.size,
            notional=notional,
            fee=charge.worth,
            realized=realized,
            liquidity=event.liquidity,
            purpose=order.request.purpose if order else purpose,
            strategy=order.request.strategy if order else StrategyName(""),
            venue_ns=event.venue_ns,
            fee_asset=event.fee_asset,
            fee_amount=event.fee,
            owner=order.request.owner if order else OPERATOR,
        )
        self._out.changes.fills.append(fill)
        return fill

    def _enter(self, order: Order, state: OrderState, reason: str) -> None:
        """Put `order` into `state`; when it is over, give back what was locked and file it."""
        was_asked, order.state = order.state is OrderState.PENDING_CANCEL, state
        order.updated_ns = self._state.now_ns
        order_id = order.request.id
        if reason and not state.is_open:
            order.reason = reason
        if not state.is_open:
            self._release(order, 0)
            if self._state.open_orders.pop(order_id, None) is not None:
                self._file(order)
                self._out.facts.append(Closed(order, was_asked))
        self._out.changes.orders[order_id] = order

    def _file(self, order: Order) -> None:
        closed = self._state.closed_orders
        closed[order.request.id] = order
        if len(closed) > CLOSED_ORDERS_KEPT:
            oldest = closed.pop(next(iter(closed)))
            for trade_id in oldest.trade_ids:
                self._remember(f"{oldest.request.id}|{trade_id}")

    def _remember(self, execution: str) -> None:
        trades = self._state.trades
        trades[execution] = None
        if len(trades) > TRADES_REMEMBERED:
            del trades[next(iter(trades))]

    def _release(self, order: Order, remaining: int) -> None:
        """Unlock what `remaining` size no longer needs."""
        if order.reserved == 0:
            return
        keep = mul_div(order.reserved, remaining, order.remaining) if order.remaining else 0
        instrument = self._state.instruments[order.request.instrument]
        key = instrument.quote_key if order.request.side is Side.BUY else instrument.base_key
        self._state.ledger.release(key, order.reserved - keep)
        order.reserved = keep
        self._out.changes.balances.add(key)

    # Balances and flows.

    def _judge_free(self, key: BalanceKey) -> None:
        """Question a balance of which more was spent than the books held."""
        free = self._state.ledger.balance(key).free
        if free < -tolerance(self._state, key):
            text = f"{format_amount(-free)} of {key} more was spent than the books held"
            self._question(BreakKind.OVERDRAFT, key, text, -free)

    def _compare(self, event: BalanceReported) -> None:
        """Hold a venue's balance against the books; what can be rounding is booked as that."""
        key, balance = event.key, self._state.ledger.balance(event.key)
        difference = event.total - balance.total
        if abs(difference) > tolerance(self._state, key):
            text = (
                f"the venue holds {format_amount(event.total)} of {key}, the books say {format_amount(balance.total)}"
            )
            self._question(BreakKind.BALANCE, key, text, difference)
            return
        if difference:
            self._post(key, difference, 0, "rounding")
        balance.postings = 0
        self._out.facts.append(Agreed(key))

    def _post(self, key: BalanceKey, amount: int, value: int, account: str) -> None:
        """Book an amount in or out against an account of the books."""
        held_as = instrument_of(self._state, key)
        if held_as is None:
            self._state.ledger.move_cash(key, amount, account)
        else:
            owner = DEPOSITS
            if account == "rounding":
                holdings = self._state.ledger.position(held_as.id).holdings
                owner = max(holdings, key=lambda o: holdings[o].quantity, default=DEPOSITS)
            self._state.ledger.move_coins(held_as, owner, amount, value, account)
            self._out.changes.positions[held_as.id] = self._state.ledger.position(held_as.id)
            self._out.changes.balances.add(held_as.quote_key)
        self._out.changes.balances.add(key)
        self._state.ledger.assert_balanced()
        self._judge_free(key)

    def move_capital(self, event: CapitalMoved) -> None:
        """Book money or coins that came in or went out: no profit, no loss.

        A stated value is what the coins cost; the flow says by how much NAV moved, so that flows add up to capital, or
        the stated value where nothing has a price for the asset. What performance is measured against, the day's
        start and the peak, moves in proportion to NAV: a loss of 2 % stays one of 2 %.
        """
        state, risk = self._state, self._state.risk
        key = balance_key(event.venue, event.asset)
        worth = self._worth(event.asset, event.amount) if event.value is None else event.value
        before = net_asset_value(state)
        self._post(key, event.amount, abs(worth), "capital")
        after = net_asset_value(state)
        risk.capital += after - before
        if before > 0 and after > 0:
            risk.day_start_nav = mul_div(risk.day_start_nav, after, before)
            risk.peak_nav = mul_div(risk.peak_nav, after, before)
        else:
            risk.day_start_nav += after - before
            risk.peak_nav += after - before
        self._note_flow("capital", event, after - before or worth)
        self._out.facts.append(Moved(key, event.amount))

    def book_balance(self, event: BalanceBooked) -> None:
        """Book what an operator says the venue did: profit or loss, unlike capital."""
        key = balance_key(event.venue, event.asset)
        worth = self._worth(event.asset, event.amount)
        self._post(key, event.amount, abs(worth), "adjusted")
        self._note_flow("booking", event, worth)
        told = f"{event.actor} booked {format_amount(event.amount)} of {key}: {event.reason}"
        self.alert(Severity.WARNING, "booked", told)
        self._out.facts.append(Moved(key, event.amount))

    def _worth(self, asset: AssetCode, amount: int) -> int:
        worth = worth_of(self._state, asset, amount)
        if worth is None:
            text = f"{format_amount(amount)} {asset} is booked at no worth: no pair of the account has a price for it"
            self.alert(Severity.WARNING, "unvalued", text)
        return worth or 0

    def _note_flow(self, kind: str, event: CapitalMoved | BalanceBooked, worth: int) -> None:
        self._out.changes.flows.append(
            Flow(
                ts_ns=self._state.now_ns,
                kind=kind,
                venue=event.venue,
                asset=event.asset,
                amount=event.amount,
                value=worth,
                reference=event.reference,
                reason=event.reason,
                actor=event.actor,
            )
        )
