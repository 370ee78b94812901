"""Kraken's WebSocket v2, without the socket.

Sources: Kraken API Center, "Spot WebSocket v2" (book, trade, ticker, ohlc, status, instrument, executions, balances,
add_order, amend_order, cancel_order, cancel_all, cancel_all_orders_after) and the guide "Book checksum (WebSocket v2)",
as published in 2026. Numbers are JSON numbers with the pair's full precision; their text is what the checksum is made
of, so they are read as text and never as floats.
"""

import datetime
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from aether.domain.errors import UnsupportedError
from aether.domain.events import Bar, Quote, Trade
from aether.domain.identifiers import ClientOrderId, InstrumentId, TradeId, VenueId, VenueOrderId
from aether.domain.instruments import TradingState
from aether.domain.orders import Liquidity, OrderState, OrderType, Side, TimeInForce
from aether.venues.actions import Action, Amend, Cancel, CancelAllOrders, DeadManSwitch, Submit, SubmitBatch
from aether.venues.kraken.names import asset_code, failure_of
from aether.venues.kraken.profile import PROFILE
from aether.venues.messages import (
    Acknowledged,
    Balance,
    BookDelta,
    BookSnapshot,
    Execution,
    Heartbeat,
    InstrumentStatus,
    Message,
    OrderUpdate,
    SequenceGap,
    Subscribed,
    Unrecognized,
    VenueStatus,
)
from aether.venues.rows import progress, unread_row, unrecognized
from aether.venues.scanner import Kind
from aether.venues.shapes import Field, Scanner, Shape, Words, passed, refused, trade_id_of
from aether.venues.stream import Channel, guarded, to_json, unknown
from aether.venues.wire import Listings, MalformedError, amount_down, raw_text, time_ns

BOOK_DEPTHS = (10, 25, 100, 500, 1000)
BAR_INTERVALS_S = (60, 300, 900, 1800, 3600, 14_400, 86_400, 604_800, 1_296_000)

Raw = msgspec.Raw
EMPTY = Raw(b"")
KRAKEN = VenueId("kraken")


class _Level(msgspec.Struct, gc=False):
    price: Raw
    qty: Raw


class _Book(msgspec.Struct, gc=False):
    symbol: str
    bids: list[_Level] = []
    asks: list[_Level] = []
    checksum: int | None = None
    timestamp: str = ""


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    side: Side
    price: Raw
    qty: Raw
    trade_id: int
    timestamp: str


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    bid: Raw
    bid_qty: Raw
    ask: Raw
    ask_qty: Raw
    timestamp: str = ""


class _Bar(msgspec.Struct, gc=False):
    symbol: str
    open: Raw
    high: Raw
    low: Raw
    close: Raw
    volume: Raw
    interval_begin: str
    interval: int


class _Status(msgspec.Struct, gc=False):
    system: str


class _Fee(msgspec.Struct, gc=False):
    asset: str
    qty: Raw


class _Execution(msgspec.Struct):
    order_id: str
    exec_type: str
    timestamp: str
    symbol: str = ""
    cl_ord_id: str = ""
    order_status: str = ""
    side: Side | None = None
    order_type: str = ""
    order_qty: Raw = EMPTY
    limit_price: Raw = EMPTY
    cum_qty: Raw = EMPTY
    avg_price: Raw = EMPTY
    time_in_force: str = ""
    exec_id: str = ""
    last_qty: Raw = EMPTY
    last_price: Raw = EMPTY
    liquidity_ind: str = ""
    fees: list[_Fee] = []
    reason: str = ""


class _Wallet(msgspec.Struct):
    type: str
    balance: Raw


class _Balance(msgspec.Struct):
    asset: str
    balance: Raw
    wallets: list[_Wallet] = []
    timestamp: str = ""
    wallet_type: str = "spot"


class _Pair(msgspec.Struct):
    symbol: str
    status: str


class _Instruments(msgspec.Struct):
    pairs: list[_Pair] = []


class _Head(msgspec.Struct, gc=False):
    channel: str = ""
    type: str = ""
    data: Raw = EMPTY
    method: str = ""
    success: bool | None = None
    error: str = ""
    req_id: int = 0
    result: Raw = EMPTY
    symbol: str = ""
    sequence: int = 0
    timestamp: str = ""


PAIR_STATES = {
    "online": TradingState.ONLINE,
    "cancel_only": TradingState.CANCEL_ONLY,
    "post_only": TradingState.POST_ONLY,
    "limit_only": TradingState.LIMIT_ONLY,
    "maintenance": TradingState.MAINTENANCE,
    "work_in_progress": TradingState.MAINTENANCE,
    "reduce_only": TradingState.CANCEL_ONLY,
    "delisted": TradingState.DELISTED,
}
_ORDER_STATES = {
    "pending_new": OrderState.SUBMITTED,
    "new": OrderState.ACCEPTED,
    "partially_filled": OrderState.PARTIALLY_FILLED,
    "filled": OrderState.FILLED,
    "canceled": OrderState.CANCELED,
    "expired": OrderState.EXPIRED,
}
ORDER_TYPES = {
    OrderType.MARKET: "market",
    OrderType.LIMIT: "limit",
    OrderType.STOP_LOSS: "stop-loss",
    OrderType.STOP_LOSS_LIMIT: "stop-loss-limit",
    OrderType.TAKE_PROFIT: "take-profit",
    OrderType.TAKE_PROFIT_LIMIT: "take-profit-limit",
    OrderType.TRAILING_STOP: "trailing-stop",
}
TYPES_BACK = {name: kind for kind, name in ORDER_TYPES.items()} | {"iceberg": OrderType.LIMIT}
_TIMES_IN_FORCE = {TimeInForce.GTC: "gtc", TimeInForce.IOC: "ioc", TimeInForce.FOK: "fok", TimeInForce.GTD: "gtd"}

_TIMES_BACK = {name.upper(): tif for tif, name in _TIMES_IN_FORCE.items()}


class _TradeMessage(msgspec.Struct, gc=False):
    data: list[_Trade]


class _TickerMessage(msgspec.Struct, gc=False):
    data: list[_Ticker]


class _BookMessage(msgspec.Struct, gc=False):
    type: str
    data: list[_Book]


_head = msgspec.json.Decoder(_Head)
_rows = msgspec.json.Decoder(list[Raw])
_trade_message = msgspec.json.Decoder(_TradeMessage)
_ticker_message = msgspec.json.Decoder(_TickerMessage)
_book_message = msgspec.json.Decoder(_BookMessage)
_bars = msgspec.json.Decoder(list[_Bar])
_statuses = msgspec.json.Decoder(list[_Status])
_executions = msgspec.json.Decoder(list[_Execution])
_balances = msgspec.json.Decoder(list[_Balance])
_instruments = msgspec.json.Decoder(_Instruments)


def _message(channel: str, rows: Kind, *fields: Field) -> Shape:
    """Return the shape of a channel's message."""
    return Shape(
        Field("channel", Kind.WORD, (channel,), kept=False), Field("type", Kind.WORD, ("update", "snapshot")),
        Field("data", rows, fields=fields),
        *refused("method", "success", "error", "req_id", "result", "symbol", "sequence", "timestamp"),
    )  # fmt: skip


_PRICED = (Field("price", Kind.RAW_PRICE), Field("qty", Kind.RAW_SIZE))
_PAIR, _TIME = Field("symbol", Kind.PAIR), Field("timestamp", Kind.TIME, required=False)
TRADES = _message(
    "trade", Kind.ROWS, _PAIR, Field("side", Kind.WORD, ("buy", "sell")), *_PRICED, *passed("ord_type"),
    Field("trade_id", Kind.INT), _TIME._replace(required=True),
)  # fmt: skip
TICKERS = _message(
    "ticker", Kind.ROWS, _PAIR, Field("bid", Kind.RAW_PRICE), Field("bid_qty", Kind.RAW_SIZE),
    Field("ask", Kind.RAW_PRICE), Field("ask_qty", Kind.RAW_SIZE),
    *passed("last", "volume", "vwap", "low", "high", "change", "change_pct"), _TIME,
)  # fmt: skip
BOOKS = _message(
    "book", Kind.ONE, _PAIR, Field("bids", Kind.ROWS, fields=_PRICED), Field("asks", Kind.ROWS, fields=_PRICED),
    Field("checksum", Kind.INT), _TIME,
)  # fmt: skip


class KrakenStream:
    """One connection to Kraken's public or private WebSocket v2.

    Args:
        listings: pairs by Kraken's v2 symbol, which is ours: `BTC/USD`.
        depth: of the books, one of 10, 25, 100, 500, 1000.
        bar_s: length of bars.
    """

    tells_heartbeats = PROFILE.tells_heartbeats

    def __init__(self, listings: Listings, *, depth: int = 10, bar_s: int = 60) -> None:
        self.listings = listings
        self._depth = depth
        self._bar_s = bar_s
        self._sequences: dict[str, int] = {}
        self._next_id = 0
        self._bars: dict[InstrumentId, Bar] = {}
        """The bar of each pair that is not over yet."""
        self._channels = {
            "ohlc": self._on_bar,
            "status": self._on_status,
            "instrument": self._on_instrument,
            "executions": self._on_executions,
            "balances": self._on_balances,
        }
        self._scanner = Scanner(listings, ((BOOKS, _book), (TRADES, _trades), (TICKERS, _quotes)), lambda: listings)

    # What we send.

    def subscribe(self, channel: Channel, symbols: list[str], *, credential: str = "") -> list[str]:
        """Return the texts that subscribe; `credential` is the token of the private channels."""
        return [self._subscription("subscribe", channel, symbols, credential)]

    def unsubscribe(self, channel: Channel, symbols: list[str]) -> list[str]:
        """Return the texts that end a subscription."""
        return [self._subscription("unsubscribe", channel, symbols, "")]

    def _subscription(self, method: str, channel: Channel, symbols: list[str], token: str) -> str:
        table: dict[Channel, dict[str, Any]] = {
            Channel.TRADES: {"channel": "trade", "symbol": symbols, "snapshot": False},
            Channel.QUOTES: {"channel": "ticker", "symbol": symbols, "event_trigger": "bbo"},
            Channel.BOOK: {"channel": "book", "symbol": symbols, "depth": self._depth},
            Channel.BARS: {"channel": "ohlc", "symbol": symbols, "interval": self._bar_s // 60, "snapshot": False},
            Channel.STATUS: {"channel": "instrument"},
            Channel.ORDERS: {"channel": "executions", "token": token, "snap_orders": True, "snap_trades": True},
            Channel.BALANCES: {"channel": "balances", "token": token},
        }
        self._next_id += 1
        return to_json({"method": method, "params": table[channel], "req_id": self._next_id})

    def ping(self) -> str | None:
        """Return Kraken's application-level ping."""
        return '{"method":"ping"}'

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

    def _decode(self, payload: bytes) -> list[Message]:
        head = _head.decode(payload)
        reader = _FREQUENT.get(head.channel)
        if reader is not None:
            return reader(self, payload)
        handler = self._channels.get(head.channel)
        if handler is not None:
            found = self._whole_or_rows(handler, head)
            return self._with_gap(head, found) if head.sequence else found
        if head.channel == "heartbeat":
            return [Heartbeat()]
        if head.method:
            return self._on_response(head)
        if head.error:
            return [Acknowledged(request_id=head.req_id, failure=failure_of(head.error), reason=head.error)]
        return unknown(payload, "channel", head.channel)

    def _with_gap(self, head: _Head, found: list[Message]) -> list[Message]:
        last = self._sequences.get(head.channel)
        self._sequences[head.channel] = head.sequence
        if last is None or head.type == "snapshot" or head.sequence == last + 1:
            return found
        return [SequenceGap(expected=last + 1, received=head.sequence), *found]

    def _row_by_row(self, payload: bytes, whole: Unrecognized) -> list[Message]:
        """Return what can be read of a message of a frequent kind that cannot be read whole."""
        try:
            head = _head.decode(payload)
            reader = _FREQUENT.get(head.channel)
            rows = _rows.decode(head.data) if reader is not None and head.channel != "book" else []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = []
        if len(rows) < 2 or reader is None:
            return [whole]
        return [
            message
            for row in rows
            for message in guarded(partial(reader, self), b'{"channel":"","type":"update","data":[%b]}' % bytes(row))
        ]

    def _whole_or_rows(self, handler: Callable[[_Head], list[Message]], head: _Head) -> list[Message]:
        """Return what a message means; of one that cannot be read whole, what each row means."""
        try:
            return handler(head)
        except (MalformedError, msgspec.ValidationError):
            if bytes(head.data)[:1] != b"[":
                raise
            found: list[Message] = []
            for row in _rows.decode(head.data):
                found += self._row(handler, head, row)
            return found

    def _row(self, handler: Callable[[_Head], list[Message]], head: _Head, row: Raw) -> list[Message]:
        try:
            return handler(msgspec.structs.replace(head, data=Raw(b"[%b]" % bytes(row))))
        except (MalformedError, msgspec.ValidationError) as error:
            if head.channel == "executions":
                return [
                    unread_row(KRAKEN, self.listings, bytes(row), ("order_id", "cl_ord_id", "symbol", "side"), error)
                ]
            return [unrecognized(bytes(row), error)]

    def _on_trade(self, payload: bytes) -> list[Message]:
        found: list[Message] = []
        for row in _trade_message.decode(payload).data:
            listing = self.listings[row.symbol]
            found.append(
                Trade(
                    ts_ns=time_ns(row.timestamp),
                    instrument=listing.id,
                    price=listing.raw_price[bytes(row.price)],
                    size=listing.raw_size[bytes(row.qty)],
                    side=row.side,
                    trade_id=TradeId(str(row.trade_id)),
                )
            )
        return found

    def _on_ticker(self, payload: bytes) -> list[Message]:
        found: list[Message] = []
        for row in _ticker_message.decode(payload).data:
            listing = self.listings[row.symbol]
            price, size = listing.raw_price, listing.raw_size
            found.append(
                Quote(
                    ts_ns=time_ns(row.timestamp) if row.timestamp else 0,
                    instrument=listing.id,
                    bid=price[bytes(row.bid)],
                    ask=price[bytes(row.ask)],
                    bid_size=size[bytes(row.bid_qty)],
                    ask_size=size[bytes(row.ask_qty)],
                )
            )
        return found

    def _on_book(self, payload: bytes) -> list[Message]:
        found: list[Message] = []
        message = _book_message.decode(payload)
        for row in message.data:
            listing = self.listings[row.symbol]
            price, size = listing.raw_price, listing.raw_size
            bids = [(price[bytes(level.price)], size[bytes(level.qty)]) for level in row.bids]
            asks = [(price[bytes(level.price)], size[bytes(level.qty)]) for level in row.asks]
            ts_ns = time_ns(row.timestamp) if row.timestamp else 0
            book: Message
            if message.type == "snapshot":
                book = BookSnapshot(instrument=listing.id, ts_ns=ts_ns, bids=bids, asks=asks, checksum=row.checksum)
            else:
                book = BookDelta(instrument=listing.id, ts_ns=ts_ns, bids=bids, asks=asks, checksum=row.checksum)
            found.append(book)
        return found

    def _on_bar(self, head: _Head) -> list[Message]:
        found: list[Message] = []
        for row in _bars.decode(head.data):
            listing = self.listings[row.symbol]
            price = listing.raw_price
            bar = Bar(
                ts_ns=time_ns(row.interval_begin) + row.interval * 60_000_000_000,
                instrument=listing.id,
                interval_s=row.interval * 60,
                open=price[bytes(row.open)],
                high=price[bytes(row.high)],
                low=price[bytes(row.low)],
                close=price[bytes(row.close)],
                volume=listing.raw_size[bytes(row.volume)],
            )
            found += progress(self._bars, bar)
        return found

    def _on_status(self, head: _Head) -> list[Message]:
        rows = _statuses.decode(head.data)
        return [VenueStatus(ts_ns=0, state=_state(row.system), detail=row.system) for row in rows]

    def _on_instrument(self, head: _Head) -> list[Message]:
        found: list[Message] = []
        for pair in _instruments.decode(head.data).pairs:
            if pair.symbol not in self.listings:
                continue
            try:
                state = _state(pair.status)
            except MalformedError as error:
                found.append(unrecognized(bytes(head.data), error))
            else:
                found.append(InstrumentStatus(instrument=self.listings[pair.symbol].id, ts_ns=0, state=state))
        return found

    def _on_executions(self, head: _Head) -> list[Message]:
        found: list[Message] = []
        for row in _executions.decode(head.data):
            if not row.symbol and row.exec_type != "trade":
                found.append(self._bare_update(row))
                continue
            listing = self.listings[row.symbol]
            price, size = listing.raw_price, listing.raw_size
            if row.exec_type == "trade":
                fees = row.fees or [_Fee("", Raw(b"0"))]
                if row.side is None:
                    raise MalformedError("fields", "an execution without a side")
                found.append(
                    Execution(
                        ts_ns=time_ns(row.timestamp),
                        instrument=listing.id,
                        client_id=ClientOrderId(row.cl_ord_id),
                        venue_order_id=VenueOrderId(row.order_id),
                        trade_id=TradeId(row.exec_id),
                        side=row.side,
                        price=price[bytes(row.last_price)],
                        size=size[bytes(row.last_qty)],
                        fee=sum(_amount(fee.qty) for fee in fees),
                        fee_asset=asset_code(fees[0].asset) if fees[0].asset else listing.instrument.quote,
                        liquidity=Liquidity.MAKER if row.liquidity_ind == "m" else Liquidity.TAKER,
                    )
                )
                continue
            state = _ORDER_STATES.get(row.order_status)
            if state is None:
                raise MalformedError("order_status", row.order_status)
            found.append(
                OrderUpdate(
                    ts_ns=time_ns(row.timestamp),
                    instrument=listing.id,
                    client_id=ClientOrderId(row.cl_ord_id),
                    venue_order_id=VenueOrderId(row.order_id),
                    state=state,
                    filled=size[bytes(row.cum_qty)] if row.cum_qty != EMPTY else -1,
                    reason=row.reason,
                    side=row.side,
                    type=TYPES_BACK.get(row.order_type),
                    time_in_force=_TIMES_BACK.get(row.time_in_force),
                    size=size[bytes(row.order_qty)] if row.order_qty != EMPTY else 0,
                    limit_price=price[bytes(row.limit_price)] if row.limit_price != EMPTY else 0,
                )
            )
        return found

    def _bare_update(self, row: _Execution) -> OrderUpdate:
        """Return an update that names no pair, as Kraken sends for cancels and expiries: the session knows the
        order."""
        state = _ORDER_STATES.get(row.order_status)
        if state is None:
            raise MalformedError("order_status", row.order_status)
        return OrderUpdate(
            ts_ns=time_ns(row.timestamp),
            instrument=NO_INSTRUMENT,
            client_id=ClientOrderId(row.cl_ord_id),
            venue_order_id=VenueOrderId(row.order_id),
            state=state,
            reason=row.reason,
        )

    def _on_balances(self, head: _Head) -> list[Message]:
        found: list[Message] = []
        for row in _balances.decode(head.data):
            spot = [_amount(w.balance) for w in row.wallets if w.type == "spot"]
            if not row.wallets and row.wallet_type != "spot":
                continue
            found.append(
                Balance(
                    ts_ns=time_ns(row.timestamp) if row.timestamp else 0,
                    asset=asset_code(row.asset),
                    total=sum(spot) if row.wallets else _amount(row.balance),
                )
            )
        return found

    def _on_response(self, head: _Head) -> list[Message]:
        if head.method == "pong":
            return [Heartbeat()]
        if head.success is False or head.error:
            reason = head.error or "refused without a reason"
            return [Acknowledged(request_id=head.req_id, failure=failure_of(reason), reason=reason)]
        result = _result(head.result)
        if head.method in ("subscribe", "unsubscribe"):
            return [Subscribed(channel=str(result.get("channel", "")), symbol=str(result.get("symbol", "")))]
        return [
            Acknowledged(
                request_id=head.req_id,
                venue_order_id=VenueOrderId(str(result.get("order_id", ""))),
                client_id=ClientOrderId(str(result.get("cl_ord_id", ""))),
                result=bytes(head.result),
            )
        ]


_SIDES = (Side.BUY, Side.SELL)


def _trades(scanner: Scanner, words: Words) -> list[Message]:
    _, start, count, pair, side, price, size, number, ts_ns = words
    if count != 1:
        return [
            message
            for row in scanner.rows(start, count, TRADES.row_words)
            for message in _trades(scanner, (0, 0, 1, *row))
        ]
    return [
        Trade(
            ts_ns=ts_ns,
            instrument=scanner.ids[pair],
            price=price,
            size=size,
            side=_SIDES[side],
            trade_id=trade_id_of(number),
        )
    ]


def _quotes(scanner: Scanner, words: Words) -> list[Message]:
    _, start, count, pair, bid, bid_size, ask, ask_size, ts_ns = words
    if count != 1:
        return [
            message
            for row in scanner.rows(start, count, TICKERS.row_words)
            for message in _quotes(scanner, (0, 0, 1, *row))
        ]
    return [Quote(ts_ns=ts_ns, instrument=scanner.ids[pair], bid=bid, ask=ask, bid_size=bid_size, ask_size=ask_size)]


def _book(scanner: Scanner, words: Words) -> list[Message]:
    is_snapshot, pair, bids, bid_count, asks, ask_count, checksum, ts_ns = words[:8]
    make = BookSnapshot if is_snapshot else BookDelta
    return [
        make(
            instrument=scanner.ids[pair],
            ts_ns=ts_ns,
            bids=scanner.levels(bids, bid_count),
            asks=scanner.levels(asks, ask_count),
            checksum=checksum,
        )
    ]


_FREQUENT = {
    "book": KrakenStream._on_book,
    "trade": KrakenStream._on_trade,
    "ticker": KrakenStream._on_ticker,
}

NO_INSTRUMENT = InstrumentId("")
"""Of an update that names no pair."""


def _result(raw: Raw) -> dict[str, Any]:
    if raw == EMPTY:
        return {}
    value = msgspec.json.decode(raw)
    return value if isinstance(value, dict) else {}


def _amount(raw: Raw) -> int:
    """Return a ledger amount; Kraken keeps some assets to ten decimals."""
    return amount_down(raw_text(raw))


def _state(name: str) -> TradingState:
    state = PAIR_STATES.get(name)
    if state is None:
        raise MalformedError("status", name)
    return state


def _number(text: str) -> Raw:
    return Raw(text.encode())


def check_offered(order: Submit) -> None:
    """Refuse what Kraken lacks.

    Raises:
        UnsupportedError: for a fill-or-kill that is no plain limit order ("Add Order": for limit orders only).
    """
    if order.time_in_force is TimeInForce.FOK and order.type is not OrderType.LIMIT and order.type.has_limit:
        raise UnsupportedError(
            f"Kraken has no fill-or-kill for {order.type} orders.", remedy="Let the limit order rest, or use IOC."
        )


def order_params(order: Submit) -> dict[str, Any]:
    """Return the fields of an order as `add_order` takes them. Raises UnsupportedError."""
    check_offered(order)
    iceberg = bool(order.display_size)
    params: dict[str, Any] = {
        "order_type": "iceberg" if iceberg else ORDER_TYPES[order.type],
        "side": order.side.value,
        "order_qty": _number(order.size),
    }
    if order.price:
        params["limit_price"] = _number(order.price)
    if iceberg:
        params["display_qty"] = _number(order.display_size)
    if order.type is OrderType.TRAILING_STOP:
        params["triggers"] = {"reference": "last", "price": _number(order.trail), "price_type": "quote"}
    elif order.trigger_price:
        params["triggers"] = {"reference": "last", "price": _number(order.trigger_price), "price_type": "static"}
    if order.time_in_force and order.type.has_limit:
        params["time_in_force"] = _TIMES_IN_FORCE[order.time_in_force]
    if order.expire_s:
        params["expire_time"] = rfc3339(order.expire_s * 1_000_000_000)
    if order.post_only:
        params["post_only"] = True
    if order.client_order_id:
        params["cl_ord_id"] = order.client_order_id
    return params


def _request(action: Action) -> tuple[str, dict[str, Any]]:
    match action:
        case Submit():
            return "add_order", {**order_params(action), "symbol": action.symbol}
        case SubmitBatch():
            symbols = {order.symbol for order in action.orders}
            if len(symbols) != 1:
                raise UnsupportedError(
                    f"A Kraken batch holds orders of one pair, not of {len(symbols)}.",
                    remedy="Send one batch a pair.",
                )
            return "batch_add", {"symbol": symbols.pop(), "orders": [order_params(o) for o in action.orders]}
        case Amend():
            params: dict[str, Any] = _order_reference(action)
            if action.size:
                params["order_qty"] = _number(action.size)
            if action.price:
                params["limit_price"] = _number(action.price)
                params |= {"post_only": True} if action.post_only else {}
            return "amend_order", params
        case Cancel():
            return "cancel_order", {name: [value] for name, value in _order_reference(action).items()}
        case CancelAllOrders():
            return "cancel_all", {}
        case DeadManSwitch():
            return "cancel_all_orders_after", {"timeout": action.timeout_s}
        case _:
            raise UnsupportedError(
                f"Kraken's WebSocket does not offer {type(action).__name__}.", remedy="Ask for it over REST."
            )


def socket_request(action: Action, request_id: int, token: str, deadline: str = "") -> str:
    """Return the text that asks for a trading action.

    Args:
        deadline: RFC 3339 time after which Kraken must refuse the order; empty for none.

    Raises:
        UnsupportedError: where only REST can.
    """
    method, params = _request(action)
    if deadline and isinstance(action, Submit | SubmitBatch | Amend):
        params["deadline"] = deadline
    return to_json({"method": method, "params": {**params, "token": token}, "req_id": request_id})


def _order_reference(action: Amend | Cancel) -> dict[str, Any]:
    if action.venue_order_id:
        return {"order_id": action.venue_order_id}
    return {"cl_ord_id": action.client_order_id}


def rfc3339(ts_ns: int) -> str:
    """Return a time as Kraken writes it, to the microsecond."""
    moment = datetime.datetime.fromtimestamp(ts_ns // 1_000_000_000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{ts_ns % 1_000_000_000 // 1000:06d}Z"
