"""Binance's market-data streams, WebSocket API and user data stream, without the socket.

Sources: binance-spot-api-docs, web-socket-streams.md, web-socket-api.md and user-data-stream.md, as published in 2026.
Combined streams wrap each message in `{"stream": ..., "data": ...}`, single ones do not; the WebSocket API wraps user
data in `{"subscriptionId": ..., "event": ...}`. All are read.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from aether.domain.errors import UnsupportedError
from aether.domain.events import Bar, Quote, Trade
from aether.domain.identifiers import AssetCode, ClientOrderId, TradeId, VenueId, VenueOrderId
from aether.domain.instruments import TradingState
from aether.domain.orders import Liquidity, OrderState, OrderType, Side, TimeInForce
from aether.venues.binance.names import failure_of
from aether.venues.binance.profile import PROFILE
from aether.venues.messages import (
    Acknowledged,
    Balance,
    BarProgress,
    BookDelta,
    BookSnapshot,
    Execution,
    Heartbeat,
    Level,
    Message,
    OrderUpdate,
    Subscribed,
    VenueStatus,
)
from aether.venues.rows import unread_row, unrecognized
from aether.venues.scanner import Kind
from aether.venues.shapes import Field, Scanner, Shape, Words, passed, refused, trade_id_of
from aether.venues.stream import Channel, guarded, to_json, unknown
from aether.venues.wire import NS_PER_MS, Listing, Listings, MalformedError, amount_down, amount_near, parse

INTERVALS = {60: "1m", 180: "3m", 300: "5m", 900: "15m", 1800: "30m", 3600: "1h", 14_400: "4h", 86_400: "1d"}
_SECONDS = {name: seconds for seconds, name in INTERVALS.items()} | {"1s": 1, "2h": 7200, "6h": 21_600}
_SECONDS |= {"8h": 28_800, "12h": 43_200, "3d": 259_200, "1w": 604_800}
BINANCE = VenueId("binance")

Texts = list[tuple[str, str]]
EMPTY = msgspec.Raw(b"")


class _Data(msgspec.Struct, gc=False):
    """The fields of every public message at once: one decoding, then a look at `e`."""

    e: str = ""
    E: int = 0
    s: str = ""
    u: int = 0
    U: int = 0
    t: int = 0
    T: int = 0
    p: str = ""
    q: str = ""
    m: bool = False
    b: str | Texts = ""
    a: str | Texts | int = ""
    B: str = ""
    A: str = ""
    k: msgspec.Raw = EMPTY
    lastUpdateId: int = 0  # noqa: N815
    bids: Texts | None = None
    asks: Texts | None = None


class _Envelope(msgspec.Struct, gc=False):
    stream: str = ""
    data: _Data | None = None


class _Kline(msgspec.Struct, gc=False):
    t: int
    s: str
    i: str
    o: str
    c: str
    h: str
    l: str  # noqa: E741
    v: str
    x: bool = True


class _Error(msgspec.Struct, gc=False):
    code: int
    msg: str


class _Response(msgspec.Struct):
    id: int | str | None = None
    status: int = 200
    result: msgspec.Raw = EMPTY
    error: _Error | None = None
    event: msgspec.Raw = EMPTY
    code: int = 0
    msg: str = ""


class _Kind(msgspec.Struct):
    e: str = ""


class _Report(msgspec.Struct):
    E: int
    s: str
    c: str
    S: str
    o: str
    f: str
    q: str
    p: str
    C: str
    x: str
    X: str
    r: str
    i: int
    l: str  # noqa: E741
    z: str
    L: str
    n: str | None
    N: str | None
    T: int
    t: int
    m: bool
    O: int = 0  # noqa: E741


class _Held(msgspec.Struct):
    a: str
    f: str
    l: str  # noqa: E741


class _Position(msgspec.Struct):
    E: int
    B: list[msgspec.Raw]


ORDER_STATES = {
    "NEW": OrderState.ACCEPTED,
    "PENDING_NEW": OrderState.SUBMITTED,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELED,
    "PENDING_CANCEL": OrderState.PENDING_CANCEL,
    "REJECTED": OrderState.REJECTED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.CANCELED,
}
ORDER_TYPES = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "LIMIT_MAKER": OrderType.LIMIT,
    "STOP_LOSS": OrderType.STOP_LOSS,
    "STOP_LOSS_LIMIT": OrderType.STOP_LOSS_LIMIT,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT,
    "TAKE_PROFIT_LIMIT": OrderType.TAKE_PROFIT_LIMIT,
}
TIMES_IN_FORCE = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}

_envelope = msgspec.json.Decoder(_Envelope)
_data = msgspec.json.Decoder(_Data)
_kline = msgspec.json.Decoder(_Kline)
_response = msgspec.json.Decoder(_Response)
_kind = msgspec.json.Decoder(_Kind)
_report = msgspec.json.Decoder(_Report)
_position = msgspec.json.Decoder(_Position)
_held = msgspec.json.Decoder(_Held)


def _enveloped(kind: str, *fields: Field) -> Shape:
    """Return the shape of a combined stream's message; what else a public message may say makes it another one."""
    others = set(_Data.__struct_fields__) - {field.name for field in fields} - {"e"}
    event = Field("e", Kind.WORD, (kind,), kept=False) if kind else refused("e")[0]
    by_first = sorted(others, key=lambda name: (name != "u", name))  # with which a quote begins
    told = (event, *refused(*by_first[:1]), *fields, *refused(*by_first[1:]))
    data = Field("data", Kind.OBJECT, fields=told)
    return Shape(Field("stream", Kind.TEXT, kept=False), data, *refused("e"))


_E = Field("E", Kind.MILLISECONDS, kept=False, required=False)
TRADE = _enveloped(
    "trade", _E, Field("s", Kind.PAIR), Field("t", Kind.INT), Field("p", Kind.PRICE), Field("q", Kind.SIZE),
    Field("T", Kind.MILLISECONDS), Field("m", Kind.BOOL), *passed("M"),
)  # fmt: skip
QUOTE = _enveloped(
    "", Field("u", Kind.INT, kept=False, required=False), Field("s", Kind.PAIR), Field("b", Kind.PRICE),
    Field("B", Kind.SIZE), Field("a", Kind.PRICE), Field("A", Kind.SIZE), _E._replace(kept=True),
)  # fmt: skip
DELTA = _enveloped(
    "depthUpdate", _E._replace(kept=True), Field("s", Kind.PAIR), Field("U", Kind.INT), Field("u", Kind.INT),
    Field("b", Kind.LEVELS), Field("a", Kind.LEVELS),
)  # fmt: skip


class BinanceStream:
    """One connection to Binance's streams or WebSocket API.

    Args:
        listings: pairs by Binance's symbol: `ETHUSDT`.
        book_speed_ms: pace of book updates, 100 or 1000.
    """

    tells_heartbeats = PROFILE.tells_heartbeats

    def __init__(self, listings: Listings, *, bar_s: int = 60, book_speed_ms: int = 100) -> None:
        self.listings = listings
        self._bar_s = bar_s
        self._book_speed_ms = book_speed_ms
        self._next_id = 0
        self._scanner = Scanner(listings, _KINDS, lambda: listings)
        self._kinds: dict[str, Callable[[_Data, Listing], Message]] = {
            "trade": self._trade,
            "depthUpdate": self._delta,
            "kline": self._bar,
        }

    # What we send.

    def subscribe(self, channel: Channel, symbols: list[str], *, credential: str = "") -> list[str]:
        """Return the texts that subscribe; `credential` is the signed request of the user data stream."""
        if channel in (Channel.ORDERS, Channel.BALANCES):
            return [credential] if channel is Channel.ORDERS else []
        return self._subscription("SUBSCRIBE", channel, symbols)

    def unsubscribe(self, channel: Channel, symbols: list[str]) -> list[str]:
        """Return the texts that end a subscription."""
        return self._subscription("UNSUBSCRIBE", channel, symbols)

    def _subscription(self, method: str, channel: Channel, symbols: list[str]) -> list[str]:
        suffix = {
            Channel.TRADES: "trade",
            Channel.QUOTES: "bookTicker",
            Channel.BOOK: f"depth@{self._book_speed_ms}ms",
            Channel.BARS: f"kline_{INTERVALS.get(self._bar_s, '1m')}",
        }.get(channel)
        if suffix is None or not symbols:
            return []
        self._next_id += 1
        streams = [f"{symbol.replace('/', '').lower()}@{suffix}" for symbol in symbols]
        return [to_json({"method": method, "params": streams, "id": self._next_id})]

    def ping(self) -> str | None:
        """Return nothing: Binance pings by the WebSocket protocol, and the socket answers."""
        return None

    # What we are told.

    def receive(self, payload: bytes) -> list[Message]:
        """Return what a message means; never raises."""
        found = self._scanner.read(payload)
        return guarded(self._decode, payload) if found is None else found

    def _decode(self, payload: bytes) -> list[Message]:
        if payload.startswith((b'{"e":"executionReport"', b'{"e":"outbound')):
            return self._private(payload)
        envelope = _envelope.decode(payload)
        if envelope.data is not None:
            return self._public(envelope.data, payload, envelope.stream)
        if envelope.stream:
            raise MalformedError("fields", "an envelope without data")
        response = _response.decode(payload)
        if response.event != EMPTY:
            return self._private(bytes(response.event))
        if response.id is not None or response.error is not None or response.code:
            return self._answer(response)
        kind = _kind.decode(payload).e
        if kind in _PRIVATE_KINDS:
            return self._private(payload)
        return self._public(_data.decode(payload), payload, "")

    def _public(self, data: _Data, payload: bytes, stream: str) -> list[Message]:
        if data.e:
            make = self._kinds.get(data.e)
            if make is not None:
                return [make(data, self.listings[data.s])]
            if data.e == "aggTrade":
                return [self._aggregate(payload, data)]
            return unknown(payload, "event", data.e)
        if data.s and data.B:
            return [self._quote(data, self.listings[data.s])]
        if data.bids is not None and data.asks is not None:
            name = stream.partition("@")[0].upper()
            return [self._snapshot(data, self._snapshot_listing(name))]
        return unknown(payload, "event", "neither an event type nor a quote")

    def _snapshot_listing(self, name: str) -> Listing:
        """Return whose book a snapshot is: a REST snapshot names no pair, which only one listed pair can mean."""
        if name:
            return self.listings[name]
        if len(self.listings) != 1:
            raise MalformedError("symbol", "a book snapshot that names no pair")
        return next(iter(self.listings.values()))

    def _trade(self, data: _Data, listing: Listing) -> Message:
        return Trade(
            ts_ns=data.T * NS_PER_MS,
            instrument=listing.id,
            price=listing.price[data.p],
            size=listing.size[data.q],
            side=Side.SELL if data.m else Side.BUY,
            trade_id=TradeId(str(data.t)),
        )

    def _aggregate(self, payload: bytes, data: _Data) -> Message:
        if not isinstance(data.a, int):
            raise MalformedError("fields", "an aggregate trade without its id")
        listing = self.listings[data.s]
        return Trade(
            ts_ns=data.T * NS_PER_MS,
            instrument=listing.id,
            price=listing.price[data.p],
            size=listing.size[data.q],
            side=Side.SELL if data.m else Side.BUY,
            trade_id=TradeId(f"a{data.a}"),
        )

    def _quote(self, data: _Data, listing: Listing) -> Message:
        if not isinstance(data.b, str) or not isinstance(data.a, str):
            raise MalformedError("fields", "a quote with levels")
        return Quote(
            ts_ns=data.E * NS_PER_MS,
            instrument=listing.id,
            bid=listing.price[data.b],
            ask=listing.price[data.a],
            bid_size=listing.size[data.B],
            ask_size=listing.size[data.A],
        )

    def _delta(self, data: _Data, listing: Listing) -> Message:
        return BookDelta(
            instrument=listing.id,
            ts_ns=data.E * NS_PER_MS,
            bids=_levels(data.b, listing),
            asks=_levels(data.a, listing),
            first=data.U,
            last=data.u,
        )

    def _snapshot(self, data: _Data, listing: Listing) -> Message:
        return BookSnapshot(
            instrument=listing.id,
            ts_ns=data.E * NS_PER_MS,
            bids=_levels(data.bids, listing),
            asks=_levels(data.asks, listing),
            sequence=data.lastUpdateId,
        )

    def _bar(self, data: _Data, listing: Listing) -> Message:
        if data.k == EMPTY:
            raise MalformedError("fields", "a kline event without its kline")
        kline = _kline.decode(data.k)
        seconds = _SECONDS.get(kline.i)
        if seconds is None:
            raise MalformedError("interval", kline.i)
        price = listing.price
        bar = Bar(
            ts_ns=(kline.t + seconds * 1000) * NS_PER_MS,
            instrument=listing.id,
            interval_s=seconds,
            open=price[kline.o],
            high=price[kline.h],
            low=price[kline.l],
            close=price[kline.c],
            volume=listing.size[kline.v],
        )
        return bar if kline.x else BarProgress(bar=bar)

    def _private(self, payload: bytes) -> list[Message]:
        kind = _kind.decode(payload).e
        if kind == "executionReport":
            return self._report_or_ids(payload)
        if kind == "outboundAccountPosition":
            return self._position(_position.decode(payload))
        if kind in ("balanceUpdate", "listStatus", "externalLockUpdate"):
            return [Heartbeat()]
        if kind in ("eventStreamTerminated", "serverShutdown"):
            return [VenueStatus(ts_ns=0, state=TradingState.MAINTENANCE, detail=kind)]
        return unknown(payload, "event", kind)

    @staticmethod
    def _position(position: _Position) -> list[Message]:
        found: list[Message] = []
        for row in position.B:
            try:
                held = _held.decode(row)
                free, locked = amount_down(held.f), amount_down(held.l)
            except (MalformedError, msgspec.ValidationError) as error:
                found.append(unrecognized(bytes(row), error))
            else:
                ts_ns = position.E * NS_PER_MS
                found.append(Balance(ts_ns=ts_ns, asset=AssetCode(held.a), total=free + locked, free=free))
        return found

    def _report_or_ids(self, payload: bytes) -> list[Message]:
        """Return what a report says; of one that is not understood which order it is about, so that it is asked for."""
        try:
            return self._report(_report.decode(payload))
        except (MalformedError, msgspec.ValidationError) as error:
            row: Any = parse(payload)
            renamed = {"i": row.get("i"), "c": row.get("C") or row.get("c"), "s": row.get("s"), "S": row.get("S")}
            return [unread_row(BINANCE, self.listings, msgspec.json.encode(renamed), ("i", "c", "s", "S"), error)]

    def _report(self, report: _Report) -> list[Message]:
        listing = self.listings[report.s]
        price, size = listing.price, listing.size
        state = ORDER_STATES.get(report.X)
        if state is None:
            raise MalformedError("status", report.X)
        client_id = ClientOrderId(report.C or report.c)
        if report.S not in ("BUY", "SELL"):
            raise MalformedError("side", report.S)
        side = Side(report.S.lower())
        ts_ns = report.T * NS_PER_MS
        found: list[Message] = []
        if report.x == "TRADE":
            found.append(
                Execution(
                    ts_ns=ts_ns,
                    instrument=listing.id,
                    client_id=client_id,
                    venue_order_id=VenueOrderId(str(report.i)),
                    trade_id=TradeId(str(report.t)),
                    side=side,
                    price=price[report.L],
                    size=size[report.l],
                    fee=amount_near(report.n or "0"),
                    fee_asset=AssetCode(report.N or listing.instrument.quote),
                    liquidity=Liquidity.MAKER if report.m else Liquidity.TAKER,
                )
            )
        found.append(
            OrderUpdate(
                ts_ns=ts_ns,
                instrument=listing.id,
                client_id=client_id,
                venue_order_id=VenueOrderId(str(report.i)),
                state=state,
                filled=size[report.z],
                reason="" if report.r == "NONE" else report.r,
                side=side,
                type=ORDER_TYPES.get(report.o),
                time_in_force=TIMES_IN_FORCE.get(report.f),
                size=size[report.q],
                limit_price=price[report.p],
                created_ns=report.O * NS_PER_MS,
            )
        )
        return found

    def _answer(self, response: _Response) -> list[Message]:
        request_id = response.id if isinstance(response.id, int) else 0
        error = response.error or (_Error(response.code, response.msg) if response.code else None)
        if error is not None:
            return [
                Acknowledged(request_id=request_id, failure=failure_of(error.code), reason=f"{error.code}: {error.msg}")
            ]
        result: Any = msgspec.json.decode(response.result) if response.result != EMPTY else None
        if not isinstance(result, dict):
            return [Subscribed(channel="")]
        if "subscriptionId" in result:
            return [Subscribed(channel="user_data")]
        return [
            Acknowledged(
                request_id=request_id,
                venue_order_id=VenueOrderId(str(result.get("orderId", ""))),
                client_id=ClientOrderId(str(result.get("clientOrderId", ""))),
                result=bytes(response.result),
            )
        ]


_PRIVATE_KINDS = frozenset(
    {
        "executionReport",
        "outboundAccountPosition",
        "balanceUpdate",
        "listStatus",
        "externalLockUpdate",
        "eventStreamTerminated",
        "serverShutdown",
    }
)


def _scanned_trade(scanner: Scanner, words: Words) -> list[Message]:
    pair, number, price, size, ts_ns, sells = words
    return [
        Trade(
            ts_ns=ts_ns,
            instrument=scanner.ids[pair],
            price=price,
            size=size,
            side=Side.SELL if sells else Side.BUY,
            trade_id=trade_id_of(number),
        )
    ]


def _scanned_quote(scanner: Scanner, words: Words) -> list[Message]:
    pair, bid, bid_size, ask, ask_size, ts_ns = words
    return [Quote(ts_ns=ts_ns, instrument=scanner.ids[pair], bid=bid, ask=ask, bid_size=bid_size, ask_size=ask_size)]


def _scanned_delta(scanner: Scanner, words: Words) -> list[Message]:
    ts_ns, pair, first, last, bids, bid_count, asks, ask_count = words
    return [
        BookDelta(
            instrument=scanner.ids[pair],
            ts_ns=ts_ns,
            bids=scanner.levels(bids, bid_count),
            asks=scanner.levels(asks, ask_count),
            first=first,
            last=last,
        )
    ]


_KINDS = ((TRADE, _scanned_trade), (QUOTE, _scanned_quote), (DELTA, _scanned_delta))


def _levels(texts: object, listing: Listing) -> list[Level]:
    if not isinstance(texts, list):
        raise MalformedError("fields", "a book without levels")
    price, size = listing.price, listing.size
    return [(price[p], size[s]) for p, s in texts]


def socket_request(method: str, request_id: int, params: dict[str, str | int]) -> str:
    """Return a WebSocket API request."""
    return to_json({"id": request_id, "method": method, "params": params})


def refuse_socket(action: object) -> UnsupportedError:
    """Return the error for what only REST can do."""
    return UnsupportedError(
        f"Binance's WebSocket API is not used for {type(action).__name__}.", remedy="Ask for it over REST."
    )
