"""A simulated venue for one account's orders.

It keeps what a venue keeps: balances, resting orders, the market as it was last seen, and messages on their way. Orders
take `latency` to arrive and reports take it to come back; in between the market moves on. Nothing happens by itself:
`next_report` is asked with the time, and answers in order.

The models, which every report of a run states:

* *latency*: fixed plus a seeded uniform jitter, each way;
* *spread*: quotes and books as given; where only trades are known, half a spread around the last one;
* *depth*: the book as given; behind a quote's touch, levels of the quoted size at a fixed step; where only trades are
  known, levels of a share of the typical trade. Each level is one fill; what one order takes is gone until the market
  moves;
* *queue*: a resting order waits behind what was shown at its price; trades there eat the queue first, trades through it
  reach us;
* *fees*: maker and taker by the tier of the account's own 30-day volume, in the quote asset;
* *rejects*: at a seeded rate, besides those that rules demand (funds, minimums, post-only).
"""

import heapq
from typing import Annotated

import msgspec
from msgspec import Meta

from aether.domain.commands import CancelAll, CancelOrder, Command, SubmitOrder
from aether.domain.events import (
    BookUpdate,
    CancelRejected,
    MarketEvent,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    PairTold,
    Quote,
    Trade,
    VenueReport,
)
from aether.domain.identifiers import BalanceKey, ClientOrderId, InstrumentId, TradeId, VenueOrderId
from aether.domain.instruments import Instrument, fee_tier_at
from aether.domain.orders import Liquidity, OrderRequest, OrderType, Side, TimeInForce
from aether.domain.scaled import (
    PPM,
    amount_of_size,
    before_fee,
    fee_of,
    mul_div,
    round_down,
    size_for_notional,
    size_of_amount,
)
from aether.matching.noise import draw_below, next_state
from aether.matching.pricing import (
    is_marketable,
    is_triggered,
    ladder_price,
    passive_fill,
    touch_from_trade,
    trailing_trigger,
)

NS_PER_MS = 1_000_000
NS_PER_DAY = 86_400_000_000_000
MAX_LEVELS = 20
"""Levels that one order may walk; what is left after them finds no market."""


class FillModel(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of the simulation.

    Attributes:
        latency_ms, jitter_ms: each way.
        half_spread_centibps: half the spread where only trades are known, hundredths of a basis point.
        step_centibps: distance of assumed book levels, hundredths of a basis point.
        level_share_ppm: size of an assumed level as a share of the typical trade, where only trades are known.
        reject_ppm: share of orders that the venue rejects for no reason of ours.
    """

    latency_ms: Annotated[int, Meta(ge=0, le=60_000)] = 40
    jitter_ms: Annotated[int, Meta(ge=0, le=60_000)] = 20
    half_spread_centibps: Annotated[int, Meta(ge=0, le=100_000)] = 100
    step_centibps: Annotated[int, Meta(ge=0, le=100_000)] = 50
    level_share_ppm: Annotated[int, Meta(ge=1, le=1_000_000)] = 250_000
    reject_ppm: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Book(msgspec.Struct):
    """The market as last seen. `bids` and `asks` are best first; empty where only trades are known."""

    bids: tuple[tuple[int, int], ...] = ()
    asks: tuple[tuple[int, int], ...] = ()
    last: int = 0
    typical_size: int = 0
    taken_bid: int = 0
    taken_ask: int = 0


class Resting(msgspec.Struct):
    """An order at the venue."""

    request: OrderRequest
    venue_order_id: VenueOrderId
    filled: int = 0
    ahead: int = 0
    armed: bool = False
    """Waits for its trigger price."""
    trigger: int = 0
    """The price it waits for now; a trailing stop's moves."""


class Arrival(msgspec.Struct, frozen=True):
    """A message on its way to the venue: an order, or a cancel of one or (with an empty id) of all orders."""

    request: OrderRequest | None = None
    cancel: ClientOrderId = ClientOrderId("")


class SimulatorState(msgspec.Struct):
    """All that the simulator knows; a snapshot of it continues exactly."""

    rng: int
    instruments: dict[InstrumentId, Instrument] = msgspec.field(default_factory=dict)
    balances: dict[BalanceKey, int] = msgspec.field(default_factory=dict)
    books: dict[InstrumentId, Book] = msgspec.field(default_factory=dict)
    orders: dict[ClientOrderId, Resting] = msgspec.field(default_factory=dict)
    arrivals: list[tuple[int, int, Arrival]] = msgspec.field(default_factory=list)
    reports: list[tuple[int, int, VenueReport]] = msgspec.field(default_factory=list)
    day_volume: dict[int, int] = msgspec.field(default_factory=dict)
    messages: int = 0
    order_number: int = 0
    trade_number: int = 0
    unreported: dict[TradeId, OrderRequest] = msgspec.field(default_factory=dict)


class Simulator:
    """A venue for the orders of one account.

    Args:
        model: how fills are made.
        seed: of its random numbers.
        snapshot: what `snapshot()` returned earlier; None starts empty.
    """

    def __init__(self, model: FillModel, seed: int, snapshot: bytes | None = None) -> None:
        self.model = model
        if snapshot:
            self.state = msgspec.json.decode(snapshot, type=SimulatorState)
        else:
            self.state = SimulatorState(rng=seed & ((1 << 64) - 1))

    def snapshot(self) -> bytes:
        """Return the whole state, as JSON: its whole numbers have no bound."""
        return msgspec.json.encode(self.state)

    def list_instrument(self, instrument: Instrument) -> None:
        """Take orders for `instrument` from now on, by its rules."""
        self.state.instruments[instrument.id] = instrument

    def move_capital(self, key: BalanceKey, amount: int) -> None:
        """Credit or debit a balance."""
        self.state.balances[key] = self.state.balances.get(key, 0) + amount

    def send(self, command: Command) -> None:
        """Take a command; it reaches the venue after the latency."""
        if isinstance(command, SubmitOrder):
            arrival = Arrival(request=command.order.request)
        elif isinstance(command, CancelOrder):
            arrival = Arrival(cancel=command.order_id)
        elif isinstance(command, CancelAll):
            arrival = Arrival()
        else:
            return
        heapq.heappush(self.state.arrivals, (command.ts_ns + self._latency_ns(), self._number(), arrival))

    def next_report(self, now_ns: int) -> VenueReport | None:
        """Return the next report that has come back by `now_ns`, None when there is none.

        Commands that a report gives rise to should be sent before the next call: they may arrive before `now_ns` too.
        """
        state = self.state
        while True:
            arrival_ns = state.arrivals[0][0] if state.arrivals else now_ns + 1
            report_ns = state.reports[0][0] if state.reports else now_ns + 1
            if min(arrival_ns, report_ns) > now_ns:
                return None
            if report_ns < arrival_ns:
                report = heapq.heappop(state.reports)[2]
                if isinstance(report, OrderFilled):
                    del state.unreported[report.trade_id]
                return report
            due_ns, _, arrival = heapq.heappop(state.arrivals)
            self._arrive(due_ns, arrival)

    def unreported_fills(self) -> list[tuple[OrderFilled, OrderRequest]]:
        """Return the fills whose reports are on their way, with their orders."""
        fills = [report for _, _, report in self.state.reports if isinstance(report, OrderFilled)]
        return [(fill, self.state.unreported[fill.trade_id]) for fill in fills]

    def on_market(self, event: MarketEvent) -> None:
        """Let the market move and resting orders trade."""
        if event.instrument not in self.state.instruments:
            return
        if isinstance(event, PairTold):
            self.list_instrument(event.definition)
            return
        book = self._book(event.instrument)
        if isinstance(event, Trade):
            book.last = event.price
            book.typical_size = event.size if not book.typical_size else (7 * book.typical_size + event.size) // 8
            if not book.bids and not book.asks:
                book.taken_bid = book.taken_ask = 0
        elif isinstance(event, Quote):
            book.bids = ((event.bid, event.bid_size),) if event.bid else ()
            book.asks = ((event.ask, event.ask_size),) if event.ask else ()
            book.taken_bid = book.taken_ask = 0
        elif isinstance(event, BookUpdate):
            book.bids, book.asks = event.bids, event.asks
            book.taken_bid = book.taken_ask = 0
        else:
            return
        if self.state.orders:
            self._match_resting(event)

    # Messages.

    def _number(self) -> int:
        self.state.messages += 1
        return self.state.messages

    def _draw(self, bound: int) -> int:
        self.state.rng = next_state(self.state.rng)
        return draw_below(self.state.rng, bound)

    def _latency_ns(self) -> int:
        model = self.model
        return (model.latency_ms + self._draw(model.jitter_ms + 1)) * NS_PER_MS

    def _report(self, report: VenueReport) -> None:
        due_ns = report.ts_ns + self.model.latency_ms * NS_PER_MS
        late = msgspec.structs.replace(report, ts_ns=due_ns, venue_ns=report.ts_ns)
        heapq.heappush(self.state.reports, (due_ns, self._number(), late))

    # Arrivals.

    def _arrive(self, now_ns: int, arrival: Arrival) -> None:
        if arrival.request is not None:
            self._arrive_order(now_ns, arrival.request)
        elif arrival.cancel:
            self._arrive_cancel(now_ns, arrival.cancel)
        else:
            for order_id in list(self.state.orders):
                self._arrive_cancel(now_ns, order_id)

    def _arrive_cancel(self, now_ns: int, order_id: ClientOrderId) -> None:
        if self.state.orders.pop(order_id, None) is None:
            self._report(CancelRejected(ts_ns=now_ns, order_id=order_id, reason="no such open order"))
        else:
            self._report(OrderCanceled(ts_ns=now_ns, order_id=order_id, reason="canceled on request"))

    def _arrive_order(self, now_ns: int, request: OrderRequest) -> None:
        reason = self._refusal(request)
        if reason:
            self._report(OrderRejected(ts_ns=now_ns, order_id=request.id, reason=reason))
            return
        self.state.order_number += 1
        resting = Resting(
            request=request,
            venue_order_id=VenueOrderId(f"S{self.state.order_number}"),
            armed=request.type.has_trigger,
            trigger=request.trigger_price,
        )
        self._report(OrderAccepted(ts_ns=now_ns, order_id=request.id, venue_order_id=resting.venue_order_id))
        self.state.orders[request.id] = resting
        if resting.armed:
            self._try_trigger(now_ns, resting)
        else:
            self._work(now_ns, resting)

    def _refusal(self, request: OrderRequest) -> str:
        """Return why the venue will not have this order, empty when it will."""
        instrument = self.state.instruments.get(request.instrument)
        if instrument is None:
            return f"unknown instrument {request.instrument}"
        book = self._book(instrument.id)
        if not self._levels(instrument, book, request.side):
            return "no market"
        if self.model.reject_ppm and self._draw(PPM) < self.model.reject_ppm:
            return "rejected by the venue (simulated)"
        if not instrument.min_size <= request.size <= instrument.max_size:
            return f"size {instrument.size_text(request.size)} out of bounds"
        touch = self._levels(instrument, book, request.side)[0][0]
        price = request.limit_price or touch
        if instrument.notional(price, request.size) < instrument.min_notional:
            return "below the minimum notional"
        if request.post_only and is_marketable(touch, request.limit_price, request.side is Side.BUY):
            return "post-only order would take"
        if self._affordable(request, instrument, price) < (
            request.size if request.limit_price else instrument.min_size
        ):
            return "insufficient funds"
        return ""

    # Funds.

    def _available(self, key: BalanceKey, without: ClientOrderId) -> int:
        """Return a balance less what other resting orders need of it."""
        needed = 0
        for order_id, order in self.state.orders.items():
            if order_id == without:
                continue
            request = order.request
            instrument = self.state.instruments[request.instrument]
            left = request.size - order.filled
            if request.side is Side.SELL and instrument.base_key == key:
                needed += amount_of_size(left, instrument.size_decimals)
            elif request.side is Side.BUY and instrument.quote_key == key and request.limit_price:
                notional = instrument.notional(request.limit_price, left)
                needed += notional + fee_of(notional, self._fee_tier_ppm(instrument, Liquidity.TAKER))
        return self.state.balances.get(key, 0) - needed

    def _affordable(self, request: OrderRequest, instrument: Instrument, price: int) -> int:
        """Return the size of `request` that the account can pay for at `price`, fee included."""
        if request.side is Side.SELL:
            held = self._available(instrument.base_key, request.id)
            return size_of_amount(max(0, held), instrument.size_decimals)
        cash = max(0, self._available(instrument.quote_key, request.id))
        rate = self._fee_tier_ppm(instrument, Liquidity.TAKER)
        budget = before_fee(cash, rate)
        return size_for_notional(budget, price, instrument.price_decimals, instrument.size_decimals)

    def _fee_tier_ppm(self, instrument: Instrument, liquidity: Liquidity, now_ns: int | None = None) -> int:
        volume = self.state.day_volume
        last = max(volume, default=0) if now_ns is None else now_ns // NS_PER_DAY
        tier = fee_tier_at(instrument.fee_tiers, sum(v for d, v in volume.items() if d > last - 30))
        return tier.maker_ppm if liquidity is Liquidity.MAKER else tier.taker_ppm

    # Matching.

    def _book(self, instrument: InstrumentId) -> Book:
        book = self.state.books.get(instrument)
        if book is None:
            book = self.state.books[instrument] = Book()
        return book

    def _levels(self, instrument: Instrument, book: Book, side: Side) -> list[tuple[int, int]]:
        """Return what an order of `side` could take, best first, less what was taken since the market moved."""
        is_buy = side is Side.BUY
        shown = book.asks if is_buy else book.bids
        model = self.model
        if len(shown) > 1:
            levels = list(shown)
        elif shown or (book.last and not book.bids and not book.asks):
            if shown:
                touch, size = shown[0]
            else:
                touch = touch_from_trade(book.last, model.half_spread_centibps, is_buy, instrument.tick)
                size = max(instrument.lot, mul_div(book.typical_size, model.level_share_ppm, PPM))
            levels = [
                (ladder_price(touch, n, model.step_centibps, is_buy, instrument.tick), size) for n in range(MAX_LEVELS)
            ]
        else:
            return []
        taken = book.taken_ask if is_buy else book.taken_bid
        left = []
        for price, told in levels[:MAX_LEVELS]:
            size = round_down(told, instrument.lot)
            eaten = min(taken, size)
            taken -= eaten
            if size > eaten:
                left.append((price, size - eaten))
        return left

    def _work(self, now_ns: int, order: Resting) -> None:
        """Let an order take what it can, then rest, expire or be canceled by its time in force."""
        request = order.request
        instrument = self.state.instruments[request.instrument]
        book = self._book(instrument.id)
        is_buy = request.side is Side.BUY
        levels = [
            (price, size)
            for price, size in self._levels(instrument, book, request.side)
            if is_marketable(price, request.limit_price, is_buy)
        ]
        left = request.size - order.filled
        if request.time_in_force is TimeInForce.FOK and sum(size for _, size in levels) < left:
            self._close(now_ns, order, OrderExpired, "could not be filled whole at once")
            return
        for price, size in levels:
            left = request.size - order.filled
            take = min(left, size)
            affordable = round_down(self._affordable(request, instrument, price), instrument.lot)
            if affordable < take:
                if affordable:
                    self._fill(now_ns, order, price, affordable, Liquidity.TAKER)
                self._close(now_ns, order, OrderCanceled, "insufficient funds for the rest")
                return
            self._fill(now_ns, order, price, take, Liquidity.TAKER)
            if is_buy:
                book.taken_ask += take
            else:
                book.taken_bid += take
            if order.filled == request.size:
                return
        if not request.limit_price:
            self._close(now_ns, order, OrderCanceled, "no more depth")
        elif request.time_in_force not in (TimeInForce.GTC, TimeInForce.GTD):
            self._close(now_ns, order, OrderExpired, "could not be filled at once")
        else:
            order.ahead = self._queue_at(instrument, book, request)

    def _queue_at(self, instrument: Instrument, book: Book, request: OrderRequest) -> int:
        """Return the size that stands before a new order at its price."""
        own = book.bids if request.side is Side.BUY else book.asks
        for price, size in own:
            if price == request.limit_price:
                return size
        if own:
            return 0
        return max(instrument.lot, mul_div(book.typical_size, self.model.level_share_ppm, PPM))

    def _close(
        self, now_ns: int, order: Resting, report: type[OrderCanceled] | type[OrderExpired], reason: str
    ) -> None:
        del self.state.orders[order.request.id]
        self._report(report(ts_ns=now_ns, order_id=order.request.id, reason=reason))

    def _fill(self, now_ns: int, order: Resting, price: int, size: int, liquidity: Liquidity) -> None:
        state, request = self.state, order.request
        instrument = state.instruments[request.instrument]
        notional = instrument.notional(price, size)
        fee = fee_of(notional, self._fee_tier_ppm(instrument, liquidity, now_ns))
        quantity = amount_of_size(size, instrument.size_decimals)
        sign = 1 if request.side is Side.BUY else -1
        self.move_capital(instrument.base_key, sign * quantity)
        self.move_capital(instrument.quote_key, -sign * notional - fee)
        day = now_ns // NS_PER_DAY
        state.day_volume[day] = state.day_volume.get(day, 0) + notional
        if len(state.day_volume) > 40:
            state.day_volume = {d: v for d, v in state.day_volume.items() if d > day - 31}
        state.trade_number += 1
        trade_id = TradeId(f"T{state.trade_number}")
        state.unreported[trade_id] = request
        order.filled += size
        self._report(
            OrderFilled(
                ts_ns=now_ns,
                order_id=request.id,
                venue_order_id=order.venue_order_id,
                trade_id=trade_id,
                price=price,
                size=size,
                fee=fee,
                fee_asset=instrument.quote,
                liquidity=liquidity,
                instrument=request.instrument,
                side=request.side,
            )
        )
        if order.filled == request.size:
            del state.orders[request.id]

    def _match_resting(self, event: MarketEvent) -> None:
        now_ns = event.taken_ns or event.ts_ns
        own = [o for o in self.state.orders.values() if o.request.instrument == event.instrument]
        left = event.size if isinstance(event, Trade) else 0
        for order in own:
            if 0 < order.request.expire_ns <= now_ns:
                self._close(now_ns, order, OrderExpired, "its date has passed")
            elif order.armed:
                self._try_trigger(now_ns, order)
            elif isinstance(event, Trade):
                left -= self._fill_from_trade(now_ns, event, order, left)
            else:
                self._fill_from_touch(now_ns, order)

    def _fill_from_trade(self, now_ns: int, trade: Trade, order: Resting, size: int) -> int:
        request = order.request
        is_buy = request.side is Side.BUY
        if trade.side is request.side and trade.price == request.limit_price:
            return 0
        reach, order.ahead = passive_fill(trade.price, size, request.limit_price, order.ahead, is_buy)
        take = self._whole_lots(order, reach)
        if take > 0:
            self._fill(now_ns, order, request.limit_price, take, Liquidity.MAKER)
        return take

    def _fill_from_touch(self, now_ns: int, order: Resting) -> None:
        """The other side of the book has come to our price: we are the maker, at our price."""
        request = order.request
        instrument = self.state.instruments[request.instrument]
        book = self._book(instrument.id)
        is_buy = request.side is Side.BUY
        for price, size in book.asks if is_buy else book.bids:
            if order.filled == request.size or not is_marketable(price, request.limit_price, is_buy):
                return
            take = self._whole_lots(order, size)
            if take:
                self._fill(now_ns, order, request.limit_price, take, Liquidity.MAKER)

    def _whole_lots(self, order: Resting, size: int) -> int:
        """Return how much of a size an order takes: its rest, or whole lots of it."""
        left = order.request.size - order.filled
        return left if size >= left else round_down(size, self.state.instruments[order.request.instrument].lot)

    def _try_trigger(self, now_ns: int, order: Resting) -> None:
        request = order.request
        book = self._book(request.instrument)
        last = book.last or (book.bids[0][0] if book.bids else 0)
        if not last:
            return
        is_buy = request.side is Side.BUY
        is_stop = not request.type.takes_profit
        if request.type is OrderType.TRAILING_STOP:
            order.trigger = trailing_trigger(last, request.trail, order.trigger, is_buy)
        if is_triggered(last, order.trigger, is_stop, is_buy):
            order.armed = False
            self._work(now_ns, order)
