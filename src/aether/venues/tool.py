"""Payloads read and requests written by hand: what `aether venue decode` and `aether venue encode` do.

A payload is read without the venue's reference data: a pair that it names is listed on the spot, with the precision
that the payload itself is written in, so prices and sizes come out with the digits that came in.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from aether.domain.errors import DataFormatError, InvalidValueError, UnknownNameError
from aether.domain.events import Bar, BookUpdate, Quote, Trade
from aether.domain.identifiers import InstrumentId, Symbol, VenueId, symbol_of
from aether.domain.instruments import Instrument, make_instrument
from aether.domain.scaled import AMOUNT_DECIMALS, MAX_DECIMALS, format_amount
from aether.venues import actions as a
from aether.venues.binance.names import split_native
from aether.venues.kraken.names import asset_code
from aether.venues.messages import (
    Acknowledged,
    Balance,
    BarProgress,
    BookDelta,
    BookSnapshot,
    Execution,
    InstrumentStatus,
    OrderUpdate,
    Pair,
    Unread,
    VenueStatus,
)
from aether.venues.protocol import Credentials, Response, VenueProtocol, decoded
from aether.venues.registry import protocol_of
from aether.venues.wire import Listings, MalformedError, precision_of

_PRICES = frozenset(
    {
        "price", "bid", "ask", "open", "high", "low", "close", "limit_price", "avg_price", "last_price", "price2",
        "p", "P", "L", "o", "h", "l", "c", "bidPrice", "askPrice", "best_bid", "best_ask", "price_level", "b", "a",
    }
)  # fmt: skip
_SIZES = frozenset(
    {
        "qty", "bid_qty", "ask_qty", "volume", "order_qty", "cum_qty", "last_qty", "q", "B", "A", "v", "z", "vol",
        "vol_exec", "bidQty", "askQty", "origQty", "executedQty", "size", "new_quantity", "best_bid_quantity",
        "best_ask_quantity", "cumulative_quantity", "leaves_quantity", "filled_size", "base_size",
    }
)  # fmt: skip
_BINANCE_SIZES = frozenset({"l"})

_ENDPOINTS: dict[str, type[Any]] = {
    "AssetPairs": a.Markets, "Time": a.ServerTime, "SystemStatus": a.SystemStatus, "Ticker": a.Ticker,
    "Depth": a.Depth, "Trades": a.RecentTrades, "OHLC": a.Candles, "BalanceEx": a.Balances, "TradeVolume": a.Fees,
    "GetApiKeyInfo": a.Permissions, "OpenOrders": a.OpenOrders, "ClosedOrders": a.ClosedOrders,
    "QueryOrders": a.GetOrder, "TradesHistory": a.Fills, "AddOrder": a.Submit, "CancelOrder": a.Cancel,
    "AmendOrder": a.Amend, "exchangeInfo": a.Markets, "time": a.ServerTime, "bookTicker": a.Ticker, "depth": a.Depth,
    "trades": a.RecentTrades, "klines": a.Candles, "account": a.Balances, "commission": a.Fees,
    "apiRestrictions": a.Permissions, "openOrders": a.OpenOrders, "allOrders": a.ClosedOrders, "order": a.GetOrder,
    "myTrades": a.Fills, "products": a.Markets, "product_book": a.Depth, "candles": a.Candles,
    "accounts": a.Balances, "transaction_summary": a.Fees, "key_permissions": a.Permissions, "batch": a.OpenOrders,
    "fills": a.Fills, "batch_cancel": a.Cancel, "orders": a.Submit, "edit": a.Amend,
}  # fmt: skip


class _Guess(Listings):
    """Listings that list whatever pair is named, in a given precision."""

    def __init__(self, venue: VenueId, price_decimals: int, size_decimals: int) -> None:
        super().__init__(venue)
        self._decimals = (min(price_decimals, MAX_DECIMALS), min(size_decimals, AMOUNT_DECIMALS))

    def __contains__(self, native: object) -> bool:
        return isinstance(native, str) and symbol_named(self.venue, native) is not None

    def __missing__(self, native: str) -> Any:
        symbol = symbol_named(self.venue, native)
        if symbol is None:
            raise MalformedError("symbol", f"{native[:40]!r} is no pair that can be told apart")
        price_decimals, size_decimals = self._decimals
        try:
            instrument = make_instrument(self.venue, symbol, price_decimals=price_decimals, size_decimals=size_decimals)
        except InvalidValueError as error:
            raise MalformedError("symbol", f"{native[:40]!r}: {error.message}") from error
        self.add(native, instrument)
        return self[native]


def symbol_named(venue: str, native: str) -> Symbol | None:
    """Return our symbol of a venue's pair name, None when it cannot be told."""
    if venue == "coinbase":
        return Symbol(native.replace("-", "/")) if native.count("-") == 1 else None
    if venue == "binance":
        return Symbol(native) if "/" in native else split_native(native)
    base, slash, quote = native.partition("/")
    if slash:
        return Symbol(f"{asset_code(base)}/{asset_code(quote)}")
    for ending in ("ZUSD", "ZEUR", "ZGBP", "ZCAD", "ZJPY", "ZAUD", "USDT", "USDC", "USD", "EUR", "GBP", "XXBT", "XBT"):
        if native.endswith(ending) and len(native) > len(ending):
            return Symbol(f"{asset_code(native[: -len(ending)])}/{asset_code(ending)}")
    return None


def open_protocol(venue: str, payload: bytes, symbol: str = "") -> VenueProtocol:
    """Return a protocol that lists what a payload names.

    Args:
        symbol: of a payload that does not say which pair it is about.
    """
    protocol = protocol_of(venue)
    prices, sizes = _PRICES, _SIZES
    if venue == "binance":
        prices, sizes = _PRICES - {"l"}, _SIZES | _BINANCE_SIZES
    price_decimals, size_decimals = precision_of(payload, prices, sizes)
    protocol.listings = _Guess(VenueId(venue), price_decimals, size_decimals)
    if symbol:
        protocol.listings[protocol.native(symbol)]
    return protocol


def payloads(text: bytes) -> Iterator[bytes]:
    """Yield the payloads of an input: one JSON value, or one a line, each line with its receive time in front or not.

    Raises:
        DataFormatError: when there is nothing.
    """
    stripped = text.strip()
    if not stripped:
        raise DataFormatError("There is no payload.", remedy="Give one on standard input.")
    lines = [line for line in stripped.split(b"\n") if line.strip()]
    if len(lines) == 1 or not all(_looks_whole(line) for line in lines):
        lines = [stripped]
    for line in lines:
        time, space, rest = line.strip().partition(b" ")
        yield rest if space and time.isdigit() else line.strip()


def _looks_whole(line: bytes) -> bool:
    try:
        time, space, rest = line.strip().partition(b" ")
        msgspec.json.decode(rest if space and time.isdigit() else line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def decode_socket(venue: str, payload: bytes, symbol: str = "") -> list[dict[str, Any]]:
    """Return the events of a socket message as plain records; a payload that cannot be read is one that says so."""
    try:
        protocol = open_protocol(venue, payload, symbol)
    except MalformedError as error:
        return [_malformed(venue, error)]
    stream = protocol.stream(depth=10, bar_s=60)
    return [record for message in stream.receive(payload) for record in to_records(message, protocol.listings)]


def decode_rest(venue: str, endpoint: str, payload: bytes, symbol: str = "") -> list[dict[str, Any]]:
    """Return the result of a REST response as plain records.

    Args:
        endpoint: an action's name (`book`), or the venue's own (`Depth`, `/api/v3/depth`).

    Raises:
        UnknownNameError: when no action reads that endpoint.
        VenueError: when the payload is the venue's refusal.
    """
    name = endpoint.partition("?")[0].rstrip("/").rpartition("/")[2]
    kind: Any = a.ACTIONS.get(endpoint) or _ENDPOINTS.get(name)
    if kind is None:
        raise UnknownNameError(
            f"No action reads the endpoint {endpoint!r}.", remedy=f"Choose one of {', '.join(sorted(a.ACTIONS))}."
        )
    try:
        protocol = open_protocol(venue, payload, symbol)
        action = _blank(kind, symbol)
        result = decoded(protocol, action, Response(status=200, headers={}, body=payload))
    except MalformedError as error:
        return [_malformed(venue, error)]
    found = result if isinstance(result, list) else [result]
    return [record for item in found for record in to_records(item, protocol.listings)]


def _malformed(venue: str, error: MalformedError) -> dict[str, Any]:
    return {
        "type": "unrecognized",
        "venue": venue,
        "symbol": "",
        "ts_ns": 0,
        "kind": error.kind,
        "detail": error.detail,
    }


def _blank(kind: Any, symbol: str) -> Any:
    """Return an action of `kind` that only serves to say how a response is to be read."""
    needed: dict[str, Any] = {"symbol": symbol} if "symbol" in kind.__struct_fields__ else {}
    if kind is a.Submit:
        needed |= {"side": "buy", "type": "market", "size": "0"}
    return msgspec.convert(needed, kind)


def to_records(message: Any, listings: Listings) -> Iterator[dict[str, Any]]:
    """Yield a message as plain records: `type`, `venue`, `symbol`, `ts_ns` and what the type needs, exact text."""
    if isinstance(message, Pair):
        if message.native == message.instrument.symbol or listings.venue != "kraken":
            yield _instrument_record(message)
        return
    head: dict[str, Any] = {"type": "", "venue": listings.venue, "symbol": "", "ts_ns": getattr(message, "ts_ns", 0)}
    instrument: Instrument | None = None
    if isinstance(message, BarProgress):
        head["ts_ns"] = message.bar.ts_ns
    told_of = message.bar if isinstance(message, BarProgress) else message
    identifier = getattr(told_of, "instrument", InstrumentId(""))
    if identifier:
        instrument = listings.of(identifier).instrument if listings.has(identifier) else None
        head["symbol"] = symbol_of(identifier)
    yield {**head, **_fields(message, instrument)}


def _instrument_record(pair: Pair) -> dict[str, Any]:
    i = pair.instrument
    return {
        "type": "instrument",
        "venue": i.venue,
        "symbol": i.symbol,
        "ts_ns": 0,
        "native": pair.native,
        "state": pair.state.value,
        "price_decimals": i.price_decimals,
        "size_decimals": i.size_decimals,
        "tick": i.price_text(i.tick),
        "lot": i.size_text(i.lot),
        "min_size": i.size_text(i.min_size),
        "max_size": i.size_text(i.max_size),
        "min_notional": format_amount(i.min_notional),
    }


def _market_fields(m: Any, i: Instrument) -> dict[str, Any] | None:
    """Return the fields of market data that are its own; None for everything else."""
    match m:
        case Trade():
            side = m.side.value if m.side else None
            return {
                "type": "trade",
                "price": i.price_text(m.price),
                "size": i.size_text(m.size),
                "side": side,
                "trade_id": m.trade_id,
            }
        case Quote():
            return {
                "type": "quote",
                "bid": i.price_text(m.bid),
                "bid_size": i.size_text(m.bid_size),
                "ask": i.price_text(m.ask),
                "ask_size": i.size_text(m.ask_size),
            }
        case BarProgress():
            return {**(_market_fields(m.bar, i) or {}), "type": "bar_progress"}
        case Bar():
            prices = {name: i.price_text(getattr(m, name)) for name in ("open", "high", "low", "close")}
            return {"type": "bar", "interval_s": m.interval_s, **prices, "volume": i.size_text(m.volume)}
        case BookSnapshot():
            return {"type": "book_snapshot", **_book(m, i), "sequence": m.sequence, "checksum": m.checksum}
        case BookDelta():
            return {
                "type": "book_update",
                **_book(m, i),
                "first_sequence": m.first,
                "last_sequence": m.last,
                "checksum": m.checksum,
            }
        case BookUpdate():
            return {"type": "book", **_book(m, i)}
    return None


def _fields(m: Any, i: Instrument | None) -> dict[str, Any]:
    """Return the fields of a message that are its own."""
    if i is not None and (told := _market_fields(m, i)) is not None:
        return told
    match m:
        case Execution() if i:
            return {
                "type": "fill",
                "order_id": m.venue_order_id,
                "client_order_id": m.client_id,
                "trade_id": m.trade_id,
                "side": m.side.value,
                "price": i.price_text(m.price),
                "size": i.size_text(m.size),
                "fee": format_amount(m.fee),
                "fee_asset": m.fee_asset,
                "liquidity": m.liquidity.value,
            }
        case OrderUpdate():
            return {**_order_fields(m, i), "unread": m.unread} if m.unread else _order_fields(m, i)
        case Unread():
            return {"type": "unrecognized", "kind": m.what, "detail": m.reason, "text": m.text}
        case Balance():
            free = None if m.free < 0 else format_amount(m.free)
            return {"type": "balance", "asset": m.asset, "total": format_amount(m.total), "free": free}
        case VenueStatus() | InstrumentStatus():
            kind = "status" if isinstance(m, VenueStatus) else "instrument_status"
            return {"type": kind, "state": m.state.value, "detail": getattr(m, "detail", "")}
        case Acknowledged():
            return {
                "type": "error" if m.failure else "acknowledged",
                "request_id": m.request_id,
                "failure": m.failure.value if m.failure else None,
                "reason": m.reason,
                "order_id": m.venue_order_id,
                "client_order_id": m.client_id,
            }
    if isinstance(m, msgspec.Struct):
        plain = msgspec.to_builtins(m)
        return {**plain, "type": _snake(type(m).__name__)}
    return {"type": "result", "value": m}


def _order_fields(m: OrderUpdate, i: Instrument | None) -> dict[str, Any]:
    known = {
        "type": "order",
        "order_id": m.venue_order_id,
        "client_order_id": m.client_id,
        "state": m.state.value,
        "reason": m.reason,
        "side": m.side.value if m.side else None,
        "order_type": m.type.value if m.type else None,
        "time_in_force": m.time_in_force.value if m.time_in_force else None,
    }
    if i is None:
        return known
    filled = i.size_text(m.filled) if m.filled >= 0 else None
    return {**known, "size": i.size_text(m.size), "filled": filled, "price": i.price_text(m.limit_price)}


def _book(m: BookSnapshot | BookDelta | BookUpdate, i: Instrument) -> dict[str, list[list[str]]]:
    return {
        name: [[i.price_text(price), i.size_text(size)] for price, size in levels]
        for name, levels in (("bids", m.bids), ("asks", m.asks))
    }


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


# Requests.


def encode(
    venue: str,
    name: str,
    fields: str,
    *,
    credentials: Credentials | None,
    nonce: int,
    now_ms: int,
    base_url: str = "",
) -> list[dict[str, Any]]:
    """Return the requests that an action would send, as plain records of method, url, headers and body.

    Args:
        name: of the action, one of `ACTIONS`.
        fields: the action's fields as JSON.

    Raises:
        UnknownNameError, InvalidValueError, UnsupportedError: as their messages say.
    """
    kind: Any = a.ACTIONS.get(name)
    if kind is None:
        raise UnknownNameError(f"There is no action {name!r}.", remedy=f"Choose one of {', '.join(a.ACTIONS)}.")
    try:
        action = msgspec.json.decode(fields or "{}", type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidValueError(
            f"The fields of {name} are wrong: {error}.",
            remedy=f"Give a JSON object with {', '.join(kind.__struct_fields__) or 'no fields'}.",
        ) from error
    protocol = protocol_of(venue)
    if base_url:
        protocol.urls = msgspec.structs.replace(protocol.urls, rest=base_url.rstrip("/"))
    records = []
    for n, request in enumerate(protocol.requests(action)):
        signed = request
        if credentials is not None and isinstance(action, a.PRIVATE):
            signed = protocol.sign(request, credentials, nonce=nonce + n, now_ms=now_ms)
        url = protocol.urls.rest + signed.path
        records.append({"method": signed.method, "url": url, "headers": signed.headers, "body": signed.body})
    return records


def read_key(text: bytes) -> Credentials:
    """Return the credentials of a key file: JSON with `key` and `secret`, or as Coinbase gives it out.

    Raises:
        DataFormatError: when it is neither.
    """
    try:
        value = msgspec.json.decode(text, type=dict[str, Any])
        key = value.get("key") or value.get("apiKey") or value.get("name") or value.get("id")
        secret = value.get("secret") or value.get("privateKey")
    except (msgspec.DecodeError, RecursionError):
        key = secret = None
    if not (isinstance(key, str) and isinstance(secret, str) and key and secret):
        raise DataFormatError(
            "The key file has no key and secret.", remedy='Write {"key": "...", "secret": "..."} into it.'
        )
    return Credentials(key=key, secret=secret)
