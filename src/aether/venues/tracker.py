"""What an account wants of its orders at one venue, and how the venue is brought to it: no sockets, no clock.

Answers, updates, executions and the time go in; reports for the account and requests for the venue come out. Nothing
here is sent once and hoped for. Each order has a phase (what we know of the venue) and a wish (work, or be gone), and
`due` returns what has to be asked next until both agree: an order whose outcome is unknown is looked up, one that is
not wanted is canceled, looked up and canceled again, executions that a total tells of are fetched. A stop wants the
venue's own list empty: cancel, list, cancel what is listed, until a list that was asked for after the last order left
has nothing on it.

An order id is handed out for sending once. Whether it may still go is asked again at the moment of sending (`permit`):
an order from before a stop dies in every queue, and one deadline, counted from the decision, covers limiter, network
and venue. An order that the venue does not know is called rejected only after that deadline and a margin. Should it
turn up after all, it is not wanted and is canceled.

Executions are reported once, by the venue's trade id, whichever way they come.
"""

from collections.abc import Callable, Iterable
from math import inf

import msgspec

from aether.domain.commands import Severity
from aether.domain.errors import Failure
from aether.domain.events import (
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderRejected,
    RejectedBy,
    VenueNoted,
    VenueReport,
)
from aether.domain.identifiers import ClientOrderId, InstrumentId, TradeId, VenueOrderId, foreign_id
from aether.domain.orders import Order, OrderRequest, OrderState, Side, TimeInForce
from aether.venues.messages import Execution, OrderUpdate, fill_report
from aether.venues.tracked import (
    Ask,
    ListOpen,
    LookUp,
    NotSentError,
    Pause,
    Phase,
    ReadFills,
    Send,
    Sweep,
    Tracked,
    Withdraw,
)
from aether.venues.wire import plain_text

DEADLINE_S = 5.0
"""How long after it was decided an order may still be sent, and accepted where the venue takes a deadline."""
LACKS_S = 120.0
"""An order that is over ends with the executions that are told when others lack for so long: people are told."""
SETTLE_MARGIN_S = 2.0
"""How long after its deadline an order that the venue does not know is taken for never arrived."""
CONFIRM_AFTER_S = 1.0
"""A cancel that the venue took shows within this time on the stream; after it we ask."""
SWEEPS_FAILED = 3
"""When the cancel of everything has failed so often in a row, orders are canceled one by one besides."""
CLOSED_KEPT = 4_096
EARLY_KEPT = 4_096
"""What the stream may say of orders before the answer to their request tells that they are ours; of more, the oldest is
taken for a stranger's."""
STOPPED = "it was stopped before it was sent"
_FINAL = (OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED)


class Tracker:
    """The orders of one account at one venue.

    Args:
        wire_id: returns the id under which the venue knows an order of ours.
        report: takes what the account is told.
        cancels_by_client_id: whether the venue cancels by our id; otherwise an order is looked up for its number first.
    """

    def __init__(
        self,
        wire_id: Callable[[ClientOrderId], ClientOrderId],
        report: Callable[[VenueReport], None],
        *,
        cancels_by_client_id: bool = True,
        deadline_s: float = DEADLINE_S,
        settle_margin_s: float = SETTLE_MARGIN_S,
    ) -> None:
        self.orders: dict[ClientOrderId, Tracked] = {}
        self.foreign: dict[VenueOrderId, OrderUpdate] = {}
        """Open orders at the venue that are not ours."""
        self.may_send = False
        """Set once the venue has been compared; orders wait until then, or until their deadline."""
        self.owned_s: Callable[[], float] = lambda: inf
        """Asked at the moment of sending: for how long no other node can own the account."""
        self.unknown_outcomes = 0
        self.deadline_s = deadline_s
        self.settle_margin_s = settle_margin_s
        self.stopped_s = 0.0
        """Since when the venue's list should be empty and has not been seen to be; 0 while nothing is asked."""
        self._wire_id = wire_id
        self._report = report
        self._cancels_by_client_id = cancels_by_client_id
        self._by_wire: dict[ClientOrderId, Tracked] = {}
        self._by_venue: dict[VenueOrderId, Tracked] = {}
        self._active: dict[ClientOrderId, Tracked] = {}
        self._early: dict[VenueOrderId, list[Execution | OrderUpdate]] = {}
        self._early_count = 0
        self._foreign_fills: list[Execution] = []
        self._foreign_trades: dict[tuple[InstrumentId, TradeId], Execution] = {}
        self._sweep_asked = self._needs_cancel = False
        self._sweep_pause = Pause()
        self._sweep_failures = 0

    # What the account wants.

    def submit(self, request: OrderRequest, decided_s: float) -> None:
        """Have an order placed; one that is known already was sent once, or told to be over."""
        if request.id in self.orders:
            return
        tracked = self._track(request, decided_s)
        self._active[request.id] = tracked

    def restore(self, order: Order, now_s: float) -> None:
        """Take up an order of an earlier session; what had been reported of it is not reported again.

        One that may have been sent is looked up; one that was to be canceled is to be canceled. Books that a clock
        ahead of this one has written count as written now.
        """
        tracked = self._track(order.request, min(now_s, order.created_ns / 1e9))
        tracked.is_adopted = order.request.id == foreign_id(order.venue_order_id)
        tracked.filled = tracked.told_filled = order.filled
        tracked.trades = set(order.trade_ids)
        is_told = order.state in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)
        tracked.is_accepted = is_told or bool(order.venue_order_id or order.filled)
        if order.venue_order_id:
            tracked.venue_order_id = order.venue_order_id
            self._by_venue[order.venue_order_id] = tracked
        if not order.state.is_open:
            tracked.phase = Phase.CLOSED
            return
        tracked.phase = Phase.OPEN if tracked.is_accepted else Phase.SENT
        tracked.is_doubted = True
        if order.state is OrderState.PENDING_CANCEL:
            tracked.unwanted_s = min(now_s, max(order.updated_ns, 1) / 1e9)
        self._active[order.request.id] = tracked

    def cancel(self, order_id: ClientOrderId, now_s: float) -> None:
        """Want an order gone; one that is over already is told as such."""
        tracked = self.orders.get(order_id)
        if tracked is None or tracked.phase is Phase.CLOSED:
            self._report(CancelRejected(ts_ns=_ns(now_s), order_id=order_id, reason="no such open order"))
        else:
            self._unwant(tracked, now_s)

    def stop(self, now_s: float) -> None:
        """Want every order gone, ours or not, until the venue's own list is empty. What has not left never leaves."""
        self.stopped_s = self.stopped_s or now_s
        self._needs_cancel = True
        self._sweep_pause.hurry()
        for tracked in self._waiting():
            self._reject(tracked, STOPPED, now_s, RejectedBy.US)
        for tracked in self.orders.values():
            if tracked.phase is not Phase.CLOSED:
                self._unwant(tracked, now_s)
                tracked.next_s = max(tracked.next_s, now_s + CONFIRM_AFTER_S)

    def drop_entries(self, now_s: float) -> None:
        """Never send the entries that still wait."""
        for tracked in self._waiting():
            if tracked.request.side is Side.BUY:
                self._reject(tracked, "entries were stopped before it was sent", now_s, RejectedBy.US)

    def _waiting(self) -> list[Tracked]:
        """Return the orders that nobody has been asked to send."""
        return [t for t in self._active.values() if t.phase is Phase.QUEUED and not t.is_asked]

    def check(self, tracked: Tracked, now_s: float) -> float:
        """Return how many seconds an order has left before it may not be sent any more.

        Raises:
            NotSentError: it must not leave any more.
        """
        left_s, owned_s = tracked.decided_s + self.deadline_s - now_s, self.owned_s()
        if tracked.unwanted_s:
            raise NotSentError(STOPPED)
        if owned_s <= 0:
            raise NotSentError("this node's lease on the account ran out before it was sent")
        if left_s <= 0:
            raise NotSentError(f"it could not be sent within {self.deadline_s:g} s", by=RejectedBy.FAILURE)
        return min(left_s, owned_s)

    def permit(self, tracked: Tracked, now_s: float) -> float:
        """The same at the moment at which it is sent: from here on it may be at the venue."""
        left_s = self.check(tracked, now_s)
        tracked.phase = Phase.SENT
        return left_s

    def _unwant(self, tracked: Tracked, now_s: float) -> None:
        if not tracked.unwanted_s:
            tracked.unwanted_s = now_s
            tracked.hurry()
        self._active[tracked.request.id] = tracked

    def _track(self, request: OrderRequest, decided_s: float) -> Tracked:
        tracked = Tracked(request=request, wire_id=self._wire_id(request.id), decided_s=decided_s)
        self.orders[request.id] = self._by_wire[tracked.wire_id] = tracked
        if len(self.orders) > CLOSED_KEPT:
            self._forget_closed()
        return tracked

    def _forget_closed(self) -> None:
        for order_id, tracked in list(self.orders.items()):
            if len(self.orders) <= CLOSED_KEPT:
                return
            if tracked.phase is Phase.CLOSED and order_id not in self._active:
                del self.orders[order_id], self._by_wire[tracked.wire_id]
                self._by_venue.pop(tracked.venue_order_id, None)

    # What is to be asked of the venue.

    def due(self, now_s: float) -> list[Ask]:
        """Return what has to be asked now; each is under way until it is answered."""
        asks: list[Ask] = []
        for tracked in list(self._active.values()):
            if tracked.is_asked or tracked.next_s > now_s:
                continue
            ask = self._next(tracked, now_s)
            if ask is not None:
                tracked.is_asked = True
                asks.append(ask)
        if self.stopped_s and not self._sweep_asked and self._sweep_pause.next_s <= now_s:
            self._sweep_asked = True
            asks.append(self._sweep() if self._needs_cancel else ListOpen())
        return sorted(asks, key=_urgency)

    def next_s(self) -> float | None:
        """Return when `due` has something again if nothing happens, None for never."""
        times = [t.next_s for t in self._active.values() if not t.is_asked and self._is_moving(t)]
        times += [t.decided_s + self.deadline_s for t in self._waiting()]
        if self.stopped_s and not self._sweep_asked:
            times.append(self._sweep_pause.next_s)
        return min(times, default=None)

    def _is_moving(self, tracked: Tracked) -> bool:
        if tracked.phase is Phase.OPEN and tracked.unwanted_s and not tracked.is_doubted and self._is_swept():
            return False
        return tracked.phase is not Phase.QUEUED or self._may_go()

    def _is_swept(self) -> bool:
        """Return whether a stop takes back everything at once: single cancels would only stand in its way."""
        return bool(self.stopped_s) and self._sweep_failures < SWEEPS_FAILED

    def _may_go(self) -> bool:
        """Return whether orders may be sent now: not while the cancel of everything is on its way, which may meet
        them."""
        return self.may_send and not (self.stopped_s and self._needs_cancel)

    def overdue(self, now_s: float) -> float:
        """Return for how many seconds the longest wish has not been reached, 0 when all are."""
        since = [t.unwanted_s for t in self.unwanted()]
        if self.stopped_s:
            since.append(self.stopped_s)
        return max(0.0, now_s - min(since)) if since else 0.0

    def unwanted(self) -> list[Tracked]:
        """Return the orders that should be gone and are not known to be."""
        return [t for t in self._active.values() if t.unwanted_s and t.phase is not Phase.CLOSED]

    def _next(self, tracked: Tracked, now_s: float) -> Ask | None:
        """Return what brings an order nearer to what is wanted; one that is there leaves the active ones."""
        if tracked.told_filled > tracked.filled or tracked.ending is not None:
            return ReadFills(tracked)
        if tracked.phase is Phase.QUEUED:
            try:
                self.check(tracked, now_s)
            except NotSentError as error:
                self._reject(tracked, str(error), now_s, error.by)
                return None
            return Send(tracked) if self._may_go() else None
        if tracked.phase is Phase.SENT or (tracked.phase is Phase.OPEN and tracked.is_doubted):
            return LookUp(tracked)
        if tracked.phase is Phase.OPEN and tracked.unwanted_s:
            if self._is_swept():
                return None
            if not tracked.venue_order_id and not self._cancels_by_client_id:
                return LookUp(tracked)
            return Withdraw(tracked)
        del self._active[tracked.request.id]
        return None

    def _sweep(self) -> Sweep:
        ours = tuple(t for t in self.orders.values() if t.phase in (Phase.SENT, Phase.OPEN))
        return Sweep(ours, tuple(self.foreign.values()))

    # What the venue answers.

    def accepted(self, tracked: Tracked, venue_order_id: VenueOrderId, now_s: float) -> None:
        """The venue took an order."""
        tracked.is_asked = False
        self._accept(tracked, venue_order_id, now_s)

    def refused(self, tracked: Tracked, reason: str, now_s: float, by: RejectedBy) -> None:
        """The venue did not take an order, or it was never sent."""
        tracked.is_asked = False
        self._reject(tracked, reason, now_s, by)

    def lost(self, tracked: Tracked, now_s: float) -> None:
        """No answer says what became of an order: the venue is asked until it tells."""
        self.unknown_outcomes += 1
        tracked.is_lost = True
        self.failed(tracked, now_s)

    def failed(self, tracked: Tracked, now_s: float) -> None:
        """A request about an order brought no answer; it is repeated later."""
        tracked.is_asked = False
        tracked.back_off(now_s)

    def withdrawn(self, tracked: Tracked, now_s: float) -> None:
        """The venue took a cancel; its own word on the order follows, or is asked for."""
        tracked.is_asked = False
        tracked.is_doubted = True
        tracked.next_s = now_s + CONFIRM_AFTER_S

    def cancel_failed(self, tracked: Tracked, failure: Failure, now_s: float) -> None:
        """The venue did not take a cancel: unless it cannot be reached, the order may have ended."""
        self.failed(tracked, now_s)
        if failure in (Failure.NOT_FOUND, Failure.REJECTED, Failure.UNKNOWN_OUTCOME):
            tracked.is_doubted = True

    def found(self, tracked: Tracked, update: OrderUpdate, now_s: float) -> None:
        """The venue told how an order stands."""
        if update.unread:
            self._found_unread(tracked, update, now_s)
            return
        tracked.is_asked = tracked.is_doubted = False
        tracked.missed_s = 0.0
        self._apply(tracked, update, now_s)
        if update.state is OrderState.SUBMITTED:
            self._learn(tracked, update.venue_order_id, now_s)
            tracked.is_doubted = True
            tracked.back_off(now_s)
        elif tracked.unwanted_s and tracked.phase is Phase.OPEN:
            tracked.next_s = now_s if update.state is not OrderState.PENDING_CANCEL else now_s + CONFIRM_AFTER_S

    def _found_unread(self, tracked: Tracked, update: OrderUpdate, now_s: float) -> None:
        """The venue knows an order, and says of it what is not understood: it is open while the list of open orders has
        it, and over when that has not for a while."""
        self.failed(tracked, now_s)
        self._accept(tracked, update.venue_order_id, now_s)
        if tracked.missed_s and now_s - tracked.missed_s >= self.settle_margin_s:
            self._end(tracked, now_s)
        elif not tracked.missed_s:
            tracked.is_doubted = False

    def not_found(self, tracked: Tracked, asked_s: float, now_s: float) -> None:
        """The venue does not know an order, by a question asked at `asked_s`.

        One that no answer ever told of has never arrived, once its deadline and a margin are over. One that the venue
        worked has vanished, when it is still missing a margin later: its executions are read, then it is over.
        """
        self.failed(tracked, now_s)
        tracked.missed_s = tracked.missed_s or asked_s
        if not tracked.is_accepted and not tracked.venue_order_id:
            if asked_s > tracked.decided_s + self.deadline_s + self.settle_margin_s:
                by = RejectedBy.FAILURE if tracked.is_lost else RejectedBy.US
                self._reject(tracked, "it never reached the venue", now_s, by)
        elif asked_s - tracked.missed_s >= self.settle_margin_s:
            self._end(tracked, now_s)

    def fills_read(self, tracked: Tracked, executions: Iterable[Execution], now_s: float) -> None:
        """The executions of an order, as the venue has them now."""
        tracked.is_asked = False
        for execution in executions:
            self._fill(tracked, execution, now_s)
        is_short = tracked.told_filled > tracked.filled
        tracked.short_s = (tracked.short_s or now_s) if is_short else 0.0
        if is_short and tracked.ending is not None and now_s - tracked.short_s > LACKS_S:
            told = f"{tracked.told_filled} of order {tracked.request.id} have traded, the venue tells {tracked.filled}"
            note = VenueNoted(ts_ns=_ns(now_s), severity=Severity.CRITICAL, code="executions_lack", text=told)
            self._report(note)
            tracked.told_filled, is_short = tracked.filled, False
        if is_short:
            tracked.back_off(now_s)
        elif tracked.ending is not None:
            self._close(tracked, tracked.ending, now_s)
        else:
            tracked.hurry()

    def fills_unreadable(self, tracked: Tracked, now_s: float) -> None:
        """Nobody can tell an order's executions any more, its pair is gone: it ends with those that are known."""
        tracked.told_filled = tracked.filled
        self.fills_read(tracked, (), now_s)

    def swept(self, now_s: float) -> None:
        """The venue took the cancel of everything; its list says whether all is gone."""
        self._sweep_asked = self._needs_cancel = False
        self._sweep_pause.next_s, self._sweep_failures = now_s, 0

    def sweep_failed(self, now_s: float) -> None:
        """A cancel of everything, or a list, brought no answer; it is repeated later."""
        self._sweep_asked = False
        self._sweep_failures += 1
        self._sweep_pause.back_off(now_s)

    def listed(self, updates: list[OrderUpdate], asked_s: float, now_s: float, *, is_of_stop: bool = False) -> None:
        """Bring every order to the venue's list of open ones, asked for at `asked_s`."""
        self.foreign = {}
        seen, is_wanted = set(), 0
        for update in updates:
            tracked = self._find(update.client_id, update.venue_order_id, now_s)
            if tracked is None:
                if update.state not in _FINAL:
                    self.foreign[update.venue_order_id] = update
                continue
            seen.add(tracked.request.id)
            is_wanted += update.state not in _FINAL and not tracked.unwanted_s
            tracked.missed_s = 0.0
            if tracked.phase is Phase.CLOSED and tracked.closed_s + self.settle_margin_s < asked_s:
                self._reopen(tracked, now_s)
            if update.unread:  # it is open, whatever else is said of it
                self._accept(tracked, update.venue_order_id, now_s)
            else:
                self._apply(tracked, update, now_s)
        for tracked in self.orders.values():
            is_known = tracked.phase is Phase.OPEN and tracked.opened_s < asked_s
            if is_known and tracked.request.id not in seen:
                tracked.is_doubted = True
                tracked.missed_s = tracked.missed_s or asked_s
                tracked.next_s = min(tracked.next_s, now_s)
                self._active[tracked.request.id] = tracked
        if is_of_stop and self.stopped_s:
            is_open = sum(1 for update in updates if update.state not in _FINAL)
            self._judge_stop(is_open > is_wanted, now_s)

    def _judge_stop(self, is_something_left: bool, now_s: float) -> None:
        """End a stop when nothing is left and nothing is on its way; go on with it otherwise."""
        self._sweep_asked = False
        if not is_something_left and not self.unwanted():
            self.stopped_s = 0.0
            return
        self._needs_cancel = is_something_left
        self._sweep_pause.back_off(now_s)

    # What the venue tells by itself.

    def updated(self, update: OrderUpdate, now_s: float) -> None:
        """The venue tells how an order stands."""
        tracked = self._find(update.client_id, update.venue_order_id, now_s)
        if tracked is not None:
            self._apply(tracked, update, now_s)
        elif not self._keep_early(update):
            self._note_foreign(update)

    def executed(self, execution: Execution, now_s: float) -> None:
        """The venue tells of an execution."""
        tracked = self._find(execution.client_id, execution.venue_order_id, now_s)
        if tracked is not None:
            self._fill(tracked, execution, now_s)
        elif not self._keep_early(execution):
            self._note_foreign_fill(execution)

    def take_foreign_fills(self) -> list[Execution]:
        """Return the executions of orders that are not ours since the last call."""
        taken, self._foreign_fills = self._foreign_fills, []
        return taken

    def adopt(
        self, request: OrderRequest, number: VenueOrderId, executions: Iterable[Execution], now_s: float
    ) -> list[Execution]:
        """Take a foreign order up as one of the account's; nothing of what it executed so far is reported again.

        Args:
            executions: that the venue tells of it; those that were told as a stranger's are known besides.

        Returns:
            All of them.
        """
        told = [e for e in self._foreign_trades.values() if e.venue_order_id == number]
        known = {e.trade_id: e for e in (*told, *executions)}
        tracked = self._track(request, now_s)
        tracked.phase, tracked.opened_s, tracked.is_accepted, tracked.is_doubted = Phase.OPEN, now_s, True, True
        tracked.is_adopted = True
        tracked.trades = set(known)
        tracked.filled = tracked.told_filled = sum(e.size for e in known.values())
        tracked.venue_order_id = number
        self._by_venue[number] = tracked
        self._active[request.id] = tracked
        self.foreign.pop(number, None)
        return list(known.values())

    def _note_foreign_fill(self, execution: Execution) -> None:
        key = (execution.instrument, execution.trade_id)
        if key not in self._foreign_trades:
            self._foreign_trades[key] = execution
            if len(self._foreign_trades) > CLOSED_KEPT:
                del self._foreign_trades[next(iter(self._foreign_trades))]
            self._foreign_fills.append(execution)

    def _note_foreign(self, update: OrderUpdate) -> None:
        if update.state in _FINAL:
            self.foreign.pop(update.venue_order_id, None)
        else:
            self.foreign[update.venue_order_id] = update

    def _find(self, client_id: ClientOrderId, venue_order_id: VenueOrderId, now_s: float) -> Tracked | None:
        tracked = self._by_venue.get(venue_order_id) or self._by_wire.get(client_id)
        if tracked is not None:
            self._learn(tracked, venue_order_id, now_s)
        return tracked

    def _keep_early(self, message: Execution | OrderUpdate) -> bool:
        """Keep what is said of an order whose number the venue has not told us yet; return whether it may be ours."""
        may_be_ours = self._awaits_number()
        if may_be_ours:
            self._early.setdefault(message.venue_order_id, []).append(message)
            self._early_count += 1
            while self._early_count > EARLY_KEPT:
                self._give_away(self._early.pop(next(iter(self._early))))
        return may_be_ours

    def _give_away(self, messages: list[Execution | OrderUpdate]) -> None:
        """Take what was said under a number for a stranger's, rather than forget it."""
        self._early_count -= len(messages)
        for message in messages:
            if isinstance(message, Execution):
                self._note_foreign_fill(message)
            else:
                self._note_foreign(message)

    def _awaits_number(self) -> bool:
        """Return whether an order may be at the venue under a number that it has not told."""
        return any(t.phase is Phase.SENT and not t.venue_order_id for t in self._active.values())

    def _learn(self, tracked: Tracked, venue_order_id: VenueOrderId, now_s: float) -> None:
        """Note the venue's number of an order, and hear what was said under it."""
        if not venue_order_id or tracked.venue_order_id:
            return
        tracked.venue_order_id = venue_order_id
        self._by_venue[venue_order_id] = tracked
        self.foreign.pop(venue_order_id, None)
        early = self._early.pop(venue_order_id, [])
        self._early_count -= len(early)
        self._hear(early, now_s)

    def _hear(self, messages: list[Execution | OrderUpdate], now_s: float) -> None:
        for message in messages:
            if isinstance(message, Execution):
                self.executed(message, now_s)
            else:
                self.updated(message, now_s)

    def _apply(self, tracked: Tracked, update: OrderUpdate, now_s: float) -> None:
        """Bring an order to what the venue says of it; what is not understood is asked for again."""
        self._learn(tracked, update.venue_order_id, now_s)
        if update.unread:
            if tracked.phase is not Phase.CLOSED:
                tracked.is_doubted = True
                tracked.hurry()
                self._active[tracked.request.id] = tracked
            return
        if tracked.is_adopted and update.size > tracked.request.size:
            tracked.request = msgspec.structs.replace(tracked.request, size=update.size)
        if update.state is OrderState.REJECTED and not tracked.is_accepted:
            self._reject(tracked, update.reason or "rejected by the venue", now_s, RejectedBy.ANSWER)
            return
        if update.state not in (OrderState.SUBMITTED, OrderState.REJECTED):
            self._accept(tracked, update.venue_order_id, now_s, update.ts_ns)
        told = tracked.request.size if update.state is OrderState.FILLED and update.filled < 0 else update.filled
        if told > tracked.told_filled:
            tracked.told_filled = told
            self._active[tracked.request.id] = tracked
            tracked.hurry()
        if update.state in _FINAL:
            self._close(tracked, update, now_s)

    def _accept(self, tracked: Tracked, venue_order_id: VenueOrderId, now_s: float, ts_ns: int = 0) -> None:
        self._learn(tracked, venue_order_id, now_s)
        if tracked.phase is Phase.CLOSED:
            if not tracked.is_accepted:
                self._reopen(tracked, now_s)
            return
        if tracked.phase is not Phase.OPEN:
            tracked.phase, tracked.opened_s = Phase.OPEN, now_s
            tracked.hurry()
        if not tracked.is_accepted:
            tracked.is_accepted = True
            self._report(
                OrderAccepted(
                    ts_ns=ts_ns or _ns(now_s), order_id=tracked.request.id, venue_order_id=tracked.venue_order_id
                )
            )
        self._release_early(now_s)

    def _reopen(self, tracked: Tracked, now_s: float) -> None:
        """Take an order that was over for us and works at the venue: nobody counts on it, so it is canceled."""
        tracked.phase, tracked.is_accepted = Phase.OPEN, True
        self._unwant(tracked, now_s)

    def _reject(self, tracked: Tracked, reason: str, now_s: float, by: RejectedBy) -> None:
        if tracked.phase is not Phase.CLOSED and not tracked.is_accepted:
            tracked.phase, tracked.closed_s = Phase.CLOSED, now_s
            self._active.pop(tracked.request.id, None)
            told = plain_text(reason)
            self._report(OrderRejected(ts_ns=_ns(now_s), order_id=tracked.request.id, reason=told, by=by))
        self._release_early(now_s)

    def _release_early(self, now_s: float) -> None:
        """Once no order waits for its number, what is left of the early messages is not ours."""
        if self._early and not self._awaits_number():
            early, self._early, self._early_count = self._early, {}, 0
            for messages in early.values():
                self._hear(messages, now_s)

    def _fill(self, tracked: Tracked, execution: Execution, now_s: float) -> None:
        if execution.trade_id in tracked.trades:
            return
        tracked.trades.add(execution.trade_id)
        tracked.filled += execution.size
        self._accept(tracked, execution.venue_order_id, now_s, execution.ts_ns)
        request = tracked.request
        self._report(fill_report(execution, request.id, request.instrument, request.side))
        if tracked.filled >= tracked.request.size and not tracked.is_adopted:
            tracked.phase, tracked.ending, tracked.closed_s = Phase.CLOSED, None, now_s
            tracked.hurry()

    def _end(self, tracked: Tracked, now_s: float) -> None:
        """Take an order for ended that has vanished: what it executed is read first."""
        tracked.is_asked = False
        tracked.ending = OrderUpdate(
            ts_ns=_ns(now_s),
            instrument=tracked.request.instrument,
            client_id=tracked.wire_id,
            venue_order_id=tracked.venue_order_id,
            state=OrderState.CANCELED,
            reason="the venue does not know it any more",
        )
        tracked.hurry()

    def _close(self, tracked: Tracked, update: OrderUpdate, now_s: float) -> None:
        """End an order as the venue says, once all that it executed is known."""
        if tracked.phase is Phase.CLOSED:
            return
        if tracked.told_filled > tracked.filled:
            tracked.ending = update
            self._active[tracked.request.id] = tracked
            return
        tracked.phase, tracked.ending, tracked.closed_s = Phase.CLOSED, None, now_s
        self._active.pop(tracked.request.id, None)
        if update.state is OrderState.FILLED:
            return
        immediate = tracked.request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        kind = OrderExpired if update.state is OrderState.EXPIRED or immediate else OrderCanceled
        self._report(
            kind(ts_ns=update.ts_ns or _ns(now_s), order_id=tracked.request.id, reason=plain_text(update.reason))
        )


def _urgency(ask: Ask) -> int:
    """What stops something goes first, then what asks, then exits, then entries."""
    if isinstance(ask, Send):
        return 3 if ask.order.request.side is Side.BUY else 2
    return 0 if isinstance(ask, Sweep | Withdraw) else 1


def _ns(now_s: float) -> int:
    return int(now_s * 1_000_000_000)
