"""Coinbase Advanced Trade's WebSocket, without the socket.

Source: Coinbase Developer Documentation, "Advanced Trade WebSocket channels" (heartbeats, candles, status, ticker,
level2, user, market_trades) and "WebSocket authentication", as published in 2026. Every message of a connection carries
`sequence_num`, one higher than the last: a step that is larger means a loss, one that is not higher a repetition.

The user channel tells sums (executed size, average price, fees), not single executions; those are fetched over REST.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from aether.domain.errors import Failure
from aether.domain.events import Bar, Quote, Trade
from aether.domain.identifiers import ClientOrderId, InstrumentId, TradeId, VenueId, VenueOrderId
from aether.domain.instruments import TradingState
from aether.domain.orders import OrderState, OrderType, Side, TimeInForce
from aether.venues.coinbase.profile import PROFILE
from aether.venues.messages import (
    Acknowledged,
    BookDelta,
    BookSnapshot,
    Heartbeat,
    InstrumentStatus,
    Level,
    Message,
    OrderUpdate,
    SequenceGap,
    Subscribed,
    Unrecognized,
)
from aether.venues.rows import progress, unread_row, unrecognized
from aether.venues.scanner import Kind
from aether.venues.shapes import Field, Scanner, Shape, Words, passed, refused, trade_id_of
from aether.venues.stream import Channel, guarded, to_json, unknown
from aether.venues.wire import NS_PER_S, Listing, Listings, MalformedError, time_ns

CANDLE_S = 300
"""The only length of bars on the candles channel."""

CHANNELS = {
    Channel.TRADES: "market_trades",
    Channel.QUOTES: "ticker",
    Channel.BOOK: "level2",
    Channel.BARS: "candles",
    Channel.STATUS: "status",
    Channel.ORDERS: "user",
}


EMPTY = msgspec.Raw(b"")
COINBASE = VenueId("coinbase")


class _Head(msgspec.Struct, gc=False):
    channel: str = ""
    timestamp: str = ""
    sequence_num: int = -1
    events: msgspec.Raw = EMPTY
    type: str = ""
    message: str = ""


class _Sequence(msgspec.Struct, gc=False):
    """What every message of a connection carries."""

    timestamp: str
    sequence_num: int


class _Level(msgspec.Struct, gc=False):
    side: str
    price_level: str
    new_quantity: str


class _Book(msgspec.Struct, gc=False):
    type: str
    product_id: str
    updates: list[_Level] = []


class _Trade(msgspec.Struct, gc=False):
    trade_id: str
    product_id: str
    price: str
    size: str
    side: str
    time: str


class _Trades(msgspec.Struct, gc=False):
    trades: list[_Trade] = []


class _Ticker(msgspec.Struct, gc=False):
    product_id: str
    best_bid: str = ""
    best_bid_quantity: str = ""
    best_ask: str = ""
    best_ask_quantity: str = ""


class _Tickers(msgspec.Struct, gc=False):
    tickers: list[_Ticker] = []


class _Candle(msgspec.Struct, gc=False):
    start: str
    high: str
    low: str
    open: str
    close: str
    volume: str
    product_id: str


class _Candles(msgspec.Struct, gc=False):
    candles: list[_Candle] = []


class _Product(msgspec.Struct):
    id: str
    status: str


class _Products(msgspec.Struct):
    products: list[_Product] = []


class _Order(msgspec.Struct):
    order_id: str
    product_id: str
    status: str
    client_order_id: str = ""
    order_side: str = ""
    order_type: str = ""
    cumulative_quantity: str = "0"
    leaves_quantity: str = "0"
    avg_price: str = "0"
    limit_price: str = ""
    cancel_reason: str = ""
    reject_reason: str = ""
    reject_Reason: str = ""  # noqa: N815  the documented sample spells it so
    time_in_force: str = ""
    creation_time: str = ""


class _BookMessage(_Sequence, gc=False):
    events: list[_Book]


class _TradesMessage(_Sequence, gc=False):
    events: list[_Trades]


class _TickersMessage(_Sequence, gc=False):
    events: list[_Tickers]


class _User(msgspec.Struct):
    orders: list[_Order] = []


ORDER_STATES = {
    "PENDING": OrderState.SUBMITTED,
    "QUEUED": OrderState.SUBMITTED,
    "OPEN": OrderState.ACCEPTED,
    "EDIT_QUEUED": OrderState.ACCEPTED,
    "CANCEL_QUEUED": OrderState.PENDING_CANCEL,
    "FILLED": OrderState.FILLED,
    "CANCELLED": OrderState.CANCELED,
    "EXPIRED": OrderState.EXPIRED,
    "FAILED": OrderState.REJECTED,
}
ORDER_TYPES = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "STOP_LIMIT": OrderType.STOP_LOSS_LIMIT,
    "BRACKET": OrderType.TAKE_PROFIT_LIMIT,
    "Market": OrderType.MARKET,
    "Limit": OrderType.LIMIT,
    "Stop Limit": OrderType.STOP_LOSS_LIMIT,
    "Stop_Limit": OrderType.STOP_LOSS_LIMIT,
}
TIMES_IN_FORCE = {
    "GOOD_UNTIL_CANCELLED": TimeInForce.GTC,
    "GOOD_UNTIL_DATE_TIME": TimeInForce.GTD,
    "IMMEDIATE_OR_CANCEL": TimeInForce.IOC,
    "FILL_OR_KILL": TimeInForce.FOK,
}

_head = msgspec.json.Decoder(_Head)
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_book_message = msgspec.json.Decoder(_BookMessage)
_trades_message = msgspec.json.Decoder(_TradesMessage)
_tickers_message = msgspec.json.Decoder(_TickersMessage)
_books = msgspec.json.Decoder(list[_Book])
_trades = msgspec.json.Decoder(list[_Trades])
_tickers = msgspec.json.Decoder(list[_Tickers])
_events = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_candles = msgspec.json.Decoder(list[_Candles])
_products = msgspec.json.Decoder(list[_Products])
_users = msgspec.json.Decoder(list[_User])


def _message(channels: tuple[str, ...], *, event: tuple[Field, ...], kept: bool) -> Shape:
    """Return the shape of a message; `kept`: whether its time is part of what it says."""
    return Shape(
        Field("channel", Kind.WORD, channels, kept=False), *passed("client_id"),
        Field("timestamp", Kind.TIME, kept=kept), Field("sequence_num", Kind.INT),
        Field("events", Kind.ONE, fields=event), *refused("type", "message"),
    )  # fmt: skip


_EVENT = Field("type", Kind.WORD, ("update", "snapshot"))
_PASSED = passed("type", "price", "volume_24_h", "low_24_h", "high_24_h", "low_52_w", "high_52_w")
TRADES = _message(
    ("market_trades",), kept=False,
    event=(_EVENT, Field("trades", Kind.ROWS, fields=(
        Field("trade_id", Kind.INT_TEXT), Field("product_id", Kind.PAIR), Field("price", Kind.PRICE),
        Field("size", Kind.SIZE), Field("side", Kind.WORD, ("BUY", "SELL")), Field("time", Kind.TIME),
    ))),
)  # fmt: skip
TICKERS = _message(
    ("ticker", "ticker_batch"), kept=True,
    event=(_EVENT, Field("tickers", Kind.ROWS, fields=(
        *_PASSED[:1], Field("product_id", Kind.PAIR), *_PASSED[1:], *passed("price_percent_chg_24_h"),
        Field("best_bid", Kind.PRICE), Field("best_bid_quantity", Kind.SIZE),
        Field("best_ask", Kind.PRICE), Field("best_ask_quantity", Kind.SIZE),
    ))),
)  # fmt: skip
LEVELS = _message(
    ("l2_data",), kept=True,
    event=(_EVENT, Field("product_id", Kind.PAIR), Field("updates", Kind.ROWS, fields=(
        Field("side", Kind.WORD, ("bid", "offer", "ask")), *passed("event_time"), Field("price_level", Kind.PRICE),
        Field("new_quantity", Kind.SIZE),
    ))),
)  # fmt: skip


_Handler = Callable[[_Head, msgspec.Raw], list[Message]]
BOOKS = ("l2_data",)
_IDS = ("order_id", "client_order_id", "product_id", "order_side")
_CHANNELS = {"ticker_batch": "ticker"}
"""Channels that are read as another."""


class CoinbaseStream:
    """One connection to Coinbase's market-data or user socket.

    Args:
        listings: pairs by Coinbase's product id: `BTC-USD`.
    """

    tells_heartbeats = PROFILE.tells_heartbeats

    def __init__(self, listings: Listings) -> None:
        self.listings = listings
        self._sequence = -1
        self._handlers: dict[str, _Handler] = {
            "l2_data": self._on_levels,
            "market_trades": self._on_public_trades,
            "ticker": self._on_tickers,
            "candles": self._on_candles,
            "status": self._on_status,
            "user": self._on_user,
        }
        self._subscribed: dict[str, list[str]] = {}
        """By the name under which market data come, the pairs that they are of."""
        self._bars: dict[InstrumentId, Bar] = {}
        """The bar of each pair that is not over yet."""
        kinds = ((LEVELS, self._scanned_book), (TRADES, self._scanned_trades), (TICKERS, self._scanned_quotes))
        self._scanner = Scanner(listings, kinds, self._scanned_pairs)

    # What we send.

    def subscribe(self, channel: Channel, symbols: list[str], *, credential: str = "") -> list[str]:
        """Return the texts that subscribe, with the heartbeats that keep a quiet connection open."""
        if channel is Channel.BALANCES:
            return []
        for product in [symbol.replace("/", "-") for symbol in symbols]:
            told_as = self.listings.told_as.get(product, product)
            if product not in self._subscribed.setdefault(told_as, []):
                self._subscribed[told_as].append(product)
                self._scanner.renew()
        texts = [self._subscription("subscribe", CHANNELS[channel], symbols, credential)]
        return [*texts, self._subscription("subscribe", "heartbeats", [], credential)]

    def unsubscribe(self, channel: Channel, symbols: list[str]) -> list[str]:
        """Return the texts that end a subscription."""
        return [self._subscription("unsubscribe", CHANNELS[channel], symbols, "")]

    @staticmethod
    def _subscription(kind: str, channel: str, symbols: list[str], jwt: str) -> str:
        message: dict[str, Any] = {"type": kind, "channel": channel}
        if symbols:
            message["product_ids"] = [symbol.replace("/", "-") for symbol in symbols]
        if jwt:
            message["jwt"] = jwt
        return to_json(message)

    def ping(self) -> str | None:
        """Return nothing: heartbeats come by themselves."""
        return None

    # What we are told.

    def receive(self, payload: bytes) -> list[Message]:
        """Return what a message means; never raises."""
        scanned = self._scanner.read(payload)
        if scanned is not None:
            return scanned
        found = guarded(self._decode, payload)
        if len(found) == 1 and isinstance(found[0], Unrecognized):
            return self._row_by_row(payload, found[0])
        return found

    def _row_by_row(self, payload: bytes, whole: Unrecognized) -> list[Message]:
        """Return what can be read of a message that cannot be read whole; a book is not whole without a row."""
        try:
            head = _head.decode(payload)
            found = (self._step(head.sequence_num) or []) if head.sequence_num > self._sequence else []
            handler = self._handlers.get(_CHANNELS.get(head.channel, head.channel))
            if handler is None or head.events == EMPTY:
                return [*found, whole]
            if head.channel in BOOKS:
                return [*found, whole, SequenceGap(expected=head.sequence_num, received=head.sequence_num)]
            for event in _events.decode(head.events):
                for name, rows in event.items():
                    for row in _parts(rows):
                        found += self._row(handler, head, name, row)
        except (MalformedError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return [whole]
        return found

    def _row(self, handler: "_Handler", head: _Head, name: str, row: msgspec.Raw) -> list[Message]:
        try:
            return handler(head, msgspec.Raw(b'[{"%b":[%b]}]' % (name.encode(), bytes(row))))
        except (MalformedError, msgspec.ValidationError) as error:
            if head.channel == "user":
                return [unread_row(COINBASE, self.listings, bytes(row), _IDS, error)]
            return [unrecognized(bytes(row), error)]

    def _named(self, product: str) -> list[Listing]:
        """Return the pairs that market data under a name are of: the pair itself, and those traded in its book."""
        return [self.listings[name] for name in self._subscribed.get(product) or (product,)]

    def _scanned_pairs(self) -> dict[str, Listing]:
        """Return the names under which the data of exactly one pair come; those of several take the readable path."""
        found: dict[str, Listing] = {}
        for name in {*self.listings, *self._subscribed}:
            pairs = self._subscribed.get(name) or [name]
            if len(pairs) == 1 and pairs[0] in self.listings:
                found[name] = self.listings[pairs[0]]
        return found

    def _scanned_trades(self, scanner: Scanner, words: Words) -> list[Message]:
        gap = self._step(words[0])
        if gap is None:
            return []
        found = _trades_of(scanner, words[2:])
        return [*gap, *found] if gap else found

    def _scanned_quotes(self, scanner: Scanner, words: Words) -> list[Message]:
        gap = self._step(words[1])
        if gap is None:
            return []
        found = _quotes_of(scanner, words[0], words[3:])
        return [*gap, *found] if gap else found

    def _scanned_book(self, scanner: Scanner, words: Words) -> list[Message]:
        ts_ns, sequence, is_snapshot, pair, start, count = words[:6]
        found = self._step(sequence)
        if found is None:
            return []
        bids: list[Level] = []
        asks: list[Level] = []
        sides = (bids, asks, asks)
        for side, price, size in scanner.rows(start, count, LEVELS.row_words):
            sides[side].append((price, size))
        instrument = scanner.ids[pair]
        found.append(
            BookSnapshot(instrument=instrument, ts_ns=ts_ns, bids=bids, asks=asks, sequence=sequence)
            if is_snapshot
            else BookDelta(instrument=instrument, ts_ns=ts_ns, bids=bids, asks=asks, last=sequence)
        )
        return found

    def _step(self, sequence: int) -> list[Message] | None:
        """Take note of a message's number; return the gap before it, None when it is a repetition."""
        expected = self._sequence + 1
        if sequence < expected:
            return None
        gap: list[Message] = []
        if sequence != expected and self._sequence >= 0:
            gap.append(SequenceGap(expected=expected, received=sequence))
        self._sequence = sequence
        return gap

    def _decode(self, payload: bytes) -> list[Message]:
        head = _head.decode(payload)
        reader = _FREQUENT.get(head.channel)
        if reader is not None:
            return reader(self, payload)
        gap: list[Message] = []
        if head.sequence_num >= 0:
            step = self._step(head.sequence_num)
            if step is None:
                return []
            gap = step
        handler = self._handlers.get(head.channel)
        if handler is not None and head.events != EMPTY:
            found = handler(head, head.events)
            return [*gap, *found] if gap else found
        if head.channel == "heartbeats":
            return [*gap, Heartbeat(ts_ns=time_ns(head.timestamp) if head.timestamp else 0)]
        if head.channel == "subscriptions":
            return [*gap, Subscribed(channel="")]
        if head.type == "error":
            failure = Failure.AUTH if "auth" in head.message.lower() else Failure.REJECTED
            return [*gap, Acknowledged(request_id=0, failure=failure, reason=head.message)]
        return [*gap, *unknown(payload, "channel", head.channel or head.type)]

    def _on_book(self, payload: bytes) -> list[Message]:
        update = _book_message.decode(payload)
        found = self._step(update.sequence_num)
        if found is None:
            return []
        found += self._books(update.events, time_ns(update.timestamp), update.sequence_num)
        return found

    def _on_levels(self, head: _Head, events: msgspec.Raw) -> list[Message]:
        return self._books(_books.decode(events), time_ns(head.timestamp), head.sequence_num)

    def _books(self, events: "list[_Book]", ts_ns: int, sequence: int) -> list[Message]:
        found: list[Message] = []
        for book in events:
            for listing in self._named(book.product_id):
                bids, asks = _sides(book.updates, listing)
                message: Message
                if book.type == "snapshot":
                    message = BookSnapshot(instrument=listing.id, ts_ns=ts_ns, bids=bids, asks=asks, sequence=sequence)
                else:
                    message = BookDelta(instrument=listing.id, ts_ns=ts_ns, bids=bids, asks=asks, last=sequence)
                found.append(message)
        return found

    def _on_trades(self, payload: bytes) -> list[Message]:
        update = _trades_message.decode(payload)
        found = self._step(update.sequence_num)
        if found is None:
            return []
        found += self._trades(update.events)
        return found

    def _on_public_trades(self, _head_: _Head, events: msgspec.Raw) -> list[Message]:
        return self._trades(_trades.decode(events))

    def _trades(self, events: "list[_Trades]") -> list[Message]:
        found: list[Message] = []
        for event in events:
            for row in event.trades:
                found += [
                    Trade(
                        ts_ns=time_ns(row.time),
                        instrument=listing.id,
                        price=listing.price[row.price],
                        size=listing.size[row.size],
                        side=taker_of(row.side),
                        trade_id=TradeId(row.trade_id),
                    )
                    for listing in self._named(row.product_id)
                ]
        return found

    def _on_ticker(self, payload: bytes) -> list[Message]:
        update = _tickers_message.decode(payload)
        found = self._step(update.sequence_num)
        if found is None:
            return []
        found += self._quotes(update.events, time_ns(update.timestamp))
        return found

    def _on_tickers(self, head: _Head, events: msgspec.Raw) -> list[Message]:
        return self._quotes(_tickers.decode(events), time_ns(head.timestamp))

    def _quotes(self, events: "list[_Tickers]", ts_ns: int) -> list[Message]:
        found: list[Message] = []
        for event in events:
            for row in event.tickers:
                found += [
                    Quote(
                        ts_ns=ts_ns,
                        instrument=listing.id,
                        bid=listing.price[row.best_bid or "0"],
                        ask=listing.price[row.best_ask or "0"],
                        bid_size=listing.size[row.best_bid_quantity or "0"],
                        ask_size=listing.size[row.best_ask_quantity or "0"],
                    )
                    for listing in self._named(row.product_id)
                ]
        return found

    def _on_candles(self, _head_: _Head, events: msgspec.Raw) -> list[Message]:
        found: list[Message] = []
        for event in _candles.decode(events):
            for row in event.candles:
                listing = self.listings[row.product_id]
                price = listing.price
                if not (row.start.isascii() and row.start.isdigit()):
                    raise MalformedError("time", row.start)
                bar = Bar(
                    ts_ns=(int(row.start) + CANDLE_S) * NS_PER_S,
                    instrument=listing.id,
                    interval_s=CANDLE_S,
                    open=price[row.open],
                    high=price[row.high],
                    low=price[row.low],
                    close=price[row.close],
                    volume=listing.size[row.volume],
                )
                found += progress(self._bars, bar)
        return found

    def _on_status(self, head: _Head, events: msgspec.Raw) -> list[Message]:
        found: list[Message] = []
        for event in _products.decode(events):
            for row in event.products:
                if row.id in self.listings:
                    state = TradingState.ONLINE if row.status == "online" else TradingState.MAINTENANCE
                    ts_ns = time_ns(head.timestamp)
                    found.append(InstrumentStatus(instrument=self.listings[row.id].id, ts_ns=ts_ns, state=state))
        return found

    def _on_user(self, head: _Head, events: msgspec.Raw) -> list[Message]:
        ts_ns = time_ns(head.timestamp)
        found: list[Message] = []
        for event in _users.decode(events):
            for row in event.orders:
                found.append(self._order(row, ts_ns))
        return found

    def _order(self, row: _Order, ts_ns: int) -> OrderUpdate:
        listing = self.listings[row.product_id]
        state = ORDER_STATES.get(row.status)
        if state is None:
            raise MalformedError("status", row.status)
        filled = listing.size[row.cumulative_quantity or "0"]
        if state is OrderState.ACCEPTED and filled:
            state = OrderState.PARTIALLY_FILLED
        return OrderUpdate(
            ts_ns=ts_ns,
            instrument=listing.id,
            client_id=ClientOrderId(row.client_order_id),
            venue_order_id=VenueOrderId(row.order_id),
            state=state,
            filled=filled,
            reason=row.reject_reason or row.reject_Reason or row.cancel_reason,
            side=_side(row.order_side) if row.order_side else None,
            type=ORDER_TYPES.get(row.order_type),
            time_in_force=TIMES_IN_FORCE.get(row.time_in_force),
            size=filled + listing.size[row.leaves_quantity or "0"],
            limit_price=listing.price[row.limit_price] if row.limit_price else 0,
            created_ns=time_ns(row.creation_time) if row.creation_time else 0,
        )


_FREQUENT = {
    "l2_data": CoinbaseStream._on_book,
    "market_trades": CoinbaseStream._on_trades,
    "ticker": CoinbaseStream._on_ticker,
    "ticker_batch": CoinbaseStream._on_ticker,
}


def taker_of(told: str) -> Side:
    """Return who took: Coinbase names the side of the maker with a public trade.

    Source: its captures print SELL at the best ask; its "Market Trades" page says the side of the maker.
    """
    side = _side(told)
    if not PROFILE.makers_side:
        return side
    return Side.SELL if side is Side.BUY else Side.BUY


def _trades_of(scanner: Scanner, words: Words) -> list[Message]:
    start, count, number, pair, price, size, side, ts_ns = words
    if count != 1:
        return [
            message
            for row in scanner.rows(start, count, TRADES.row_words)
            for message in _trades_of(scanner, (0, 1, *row))
        ]
    return [
        Trade(
            ts_ns=ts_ns,
            instrument=scanner.ids[pair],
            price=price,
            size=size,
            side=_TAKERS[side],
            trade_id=trade_id_of(number),
        )
    ]


def _quotes_of(scanner: Scanner, ts_ns: int, words: Words) -> list[Message]:
    start, count, pair, bid, bid_size, ask, ask_size = words
    if count != 1:
        return [
            m for row in scanner.rows(start, count, TICKERS.row_words) for m in _quotes_of(scanner, ts_ns, (0, 1, *row))
        ]
    return [Quote(ts_ns=ts_ns, instrument=scanner.ids[pair], bid=bid, ask=ask, bid_size=bid_size, ask_size=ask_size)]


def _parts(rows: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the rows of a list; none of what is no list."""
    return _rows.decode(rows) if bytes(rows)[:1] == b"[" else []


def _side(text: str) -> Side:
    if text == "BUY":
        return Side.BUY
    if text == "SELL":
        return Side.SELL
    raise MalformedError("side", text)


_TAKERS = (taker_of("BUY"), taker_of("SELL"))
"""By the side of the maker, see `taker_of`."""


def _sides(updates: list[_Level], listing: Listing) -> tuple[list[Level], list[Level]]:
    price, size = listing.price, listing.size
    bids: list[Level] = []
    asks: list[Level] = []
    for row in updates:
        level = (price[row.price_level], size[row.new_quantity])
        if row.side == "bid":
            bids.append(level)
        elif row.side in ("offer", "ask"):
            asks.append(level)
        else:
            raise MalformedError("side", row.side)
    return bids, asks
