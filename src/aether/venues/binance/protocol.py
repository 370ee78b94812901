"""Binance's spot REST API and the signing of its requests, without the socket.

Sources: binance-spot-api-docs, rest-api.md, web-socket-api.md, filters.md, errors.md and faqs/api_key_types.md; for key
permissions the wallet API's `apiRestrictions`; as published in 2026.
"""

import base64
import hmac
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from aether.domain.errors import Failure, InvalidValueError, UnsupportedError
from aether.domain.events import Bar, Quote, Trade
from aether.domain.identifiers import AssetCode, ClientOrderId, Symbol, TradeId, VenueOrderId, instrument_id
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import Liquidity, OrderType, Side, TimeInForce
from aether.domain.scaled import AMOUNT_DECIMALS
from aether.venues.actions import (
    Action,
    Amend,
    Balances,
    Cancel,
    CancelAllOrders,
    Candles,
    ClosedOrders,
    Depth,
    FeeRates,
    Fees,
    Fills,
    GetOrder,
    KeyPermissions,
    Markets,
    OpenOrders,
    Permissions,
    RecentTrades,
    Request,
    ServerTime,
    Submit,
    SystemStatus,
    Ticker,
)
from aether.venues.binance.names import binance_symbol, failure_of
from aether.venues.binance.profile import PROFILE
from aether.venues.binance.stream import (
    BINANCE,
    INTERVALS,
    ORDER_STATES,
    ORDER_TYPES,
    TIMES_IN_FORCE,
    BinanceStream,
    refuse_socket,
    socket_request,
)
from aether.venues.messages import (
    Balance,
    BookSnapshot,
    Execution,
    OrderUpdate,
    Pair,
    Unread,
    VenueStatus,
)
from aether.venues.protocol import (
    Credentials,
    Response,
    Urls,
    field,
    http_failure,
    parsed_body,
    refuse,
    retry_after,
    rows,
    short_id,
    with_query,
)
from aether.venues.rows import each_order, each_row, each_tradable
from aether.venues.stream import Channel, Stream, to_json
from aether.venues.wire import (
    NS_PER_MS,
    NS_PER_S,
    Listings,
    MalformedError,
    amount_down,
    amount_near,
    decimals_of,
    rate_ppm,
    scaled,
)

RECV_WINDOW_MS = 5_000
PAGE = 1_000
"""Rows of orders and executions that are given at once."""
_TYPES = {
    OrderType.MARKET: "MARKET",
    OrderType.LIMIT: "LIMIT",
    OrderType.STOP_LOSS: "STOP_LOSS",
    OrderType.STOP_LOSS_LIMIT: "STOP_LOSS_LIMIT",
    OrderType.TAKE_PROFIT: "TAKE_PROFIT",
    OrderType.TAKE_PROFIT_LIMIT: "TAKE_PROFIT_LIMIT",
    OrderType.TRAILING_STOP: "STOP_LOSS",
}


class BinanceProtocol:
    """Requests and responses of Binance's spot API."""

    venue = BINANCE
    profile = PROFILE

    def __init__(self, listings: Listings | None = None) -> None:
        self.listings = listings if listings is not None else Listings(BINANCE)
        self.urls = Urls(
            rest="https://api.binance.com",
            public="wss://stream.binance.com:9443/stream",
            private="wss://ws-api.binance.com:443/ws-api/v3",
        )

    # Requests.

    def requests(self, action: Action) -> list[Request]:
        """Return the requests that carry out `action`. Raises UnsupportedError."""
        match action:
            case Markets(symbols=()):
                return [_get("exchangeInfo", 20, permissions="SPOT")]
            case Markets(symbols=symbols):
                return [_get("exchangeInfo", 20, symbols=to_json([binance_symbol(s) for s in symbols]))]
            case ServerTime():
                return [_get("time", 1)]
            case SystemStatus():
                return [Request(method="GET", path="/sapi/v1/system/status")]
            case Ticker():
                return [_get("ticker/bookTicker", 2, symbol=binance_symbol(action.symbol))]
            case Depth():
                weight = 5 if action.levels <= 100 else 25 if action.levels <= 500 else 50
                weight = 250 if action.levels > 1000 else weight
                return [
                    _get("depth", weight, symbol=binance_symbol(action.symbol), limit=min(action.levels, 5000)),
                ]
            case RecentTrades():
                return [_get("trades", 25, symbol=binance_symbol(action.symbol), limit=min(action.limit, 1000))]
            case Candles():
                return [self._candles(action)]
            case Balances():
                return [_signed("GET", "account", {"omitZeroBalances": "true"}, 20)]
            case Fees():
                return [_signed("GET", "account/commission", {"symbol": binance_symbol(action.symbol)}, 20)]
            case Permissions():
                return [Request(method="GET", path="/sapi/v1/account/apiRestrictions", headers=_FORM)]
            case OpenOrders():
                params = {"symbol": binance_symbol(action.symbol)} if action.symbol else {}
                return [_signed("GET", "openOrders", params, 6 if action.symbol else 80)]
            case ClosedOrders():
                if not action.symbol:
                    raise _wants_symbol("closed orders")
                params = {"symbol": binance_symbol(action.symbol), "limit": str(PAGE)}
                if action.since_s:
                    params["startTime"] = str(action.since_s * 1000)
                return [_signed("GET", "allOrders", params, 20)]
            case GetOrder():
                return [_signed("GET", "order", self._reference(action), 4)]
            case Fills():
                return [self._fills_request(action)]
            case Submit():
                return [_signed("POST", "order", self._order(action), 1, action.deadline_ms)]
            case Amend():
                if action.price or not action.size:
                    raise UnsupportedError(
                        "Binance amends an order's size downwards only, not its price.",
                        remedy="Cancel the order and place another.",
                    )
                params = {**self._reference(action), "newQty": action.size}
                if action.client_order_id:
                    params["newClientOrderId"] = self.wire_id(action.client_order_id)  # otherwise one is made up
                return [_signed("PUT", "order/amend/keepPriority", params, 4)]
            case Cancel():
                return [_signed("DELETE", "order", self._reference(action), 1)]
            case CancelAllOrders():
                if not action.symbol:
                    raise _wants_symbol("cancelling all orders")
                return [_signed("DELETE", "openOrders", {"symbol": binance_symbol(action.symbol)}, 1)]
        raise UnsupportedError(
            f"Binance does not offer {type(action).__name__}.", remedy="Use another way or venue for it."
        )

    def _candles(self, action: Candles) -> Request:
        interval = INTERVALS.get(action.interval_s)
        if interval is None:
            raise UnsupportedError(
                f"Binance has no bars of {action.interval_s} s.",
                remedy=f"Choose one of {', '.join(str(s) for s in INTERVALS)} s.",
            )
        bounds = {"startTime": action.since_s * 1000, "endTime": action.until_s * 1000}
        given = {name: value for name, value in bounds.items() if value}
        return _get("klines", 2, symbol=binance_symbol(action.symbol), interval=interval, limit=1000, **given)

    def _fills_request(self, action: Fills) -> Request:
        if not action.symbol:
            raise _wants_symbol("fills")
        params = {"symbol": binance_symbol(action.symbol)}
        if action.venue_order_id:
            params["orderId"] = action.venue_order_id
        elif action.since_s:
            params["startTime"] = str(action.since_s * 1000)
        return _signed("GET", "myTrades", {**params, "limit": str(PAGE)}, 20)

    def _reference(self, action: GetOrder | Amend | Cancel) -> dict[str, str]:
        params = {"symbol": binance_symbol(action.symbol)}
        if action.venue_order_id:
            params["orderId"] = action.venue_order_id
        else:
            params["origClientOrderId"] = self.wire_id(action.client_order_id)
        return params

    def _order(self, order: Submit) -> dict[str, str]:
        kind = _TYPES[order.type]
        if order.post_only:
            kind = "LIMIT_MAKER"
        params = {"symbol": binance_symbol(order.symbol), "side": order.side.value.upper(), "type": kind}
        if order.time_in_force is TimeInForce.GTD:
            raise UnsupportedError(
                "Binance has no good-till-date orders.", remedy="Send it good till canceled and cancel it at its date."
            )
        if order.type.has_limit and kind != "LIMIT_MAKER":
            params["timeInForce"] = (order.time_in_force or TimeInForce.GTC).value.upper()
        params["quantity"] = order.size
        if order.price:
            params["price"] = order.price
        if order.type is OrderType.TRAILING_STOP:
            params["trailingDelta"] = str(self._trailing_bps(order))
        elif order.trigger_price:
            params["stopPrice"] = order.trigger_price
        if order.display_size:
            params["icebergQty"] = order.display_size
        if order.client_order_id:
            params["newClientOrderId"] = self.wire_id(order.client_order_id)
        return params

    @staticmethod
    def _trailing_bps(order: Submit) -> int:
        """Return the distance in basis points of the price it starts from: Binance trails by a share of the price."""
        if not order.trigger_price:
            raise UnsupportedError(
                "Binance trails by a share of the price, and this order does not say from which price.",
                remedy="Give the price that the trail is measured at as trigger_price.",
            )
        return max(1, round(Decimal(order.trail) / Decimal(order.trigger_price) * 10_000))

    def sign(self, request: Request, credentials: Credentials, *, nonce: int, now_ms: int) -> Request:
        """Return the request with time and signature over all its parameters."""
        path, _, query = request.path.partition("?")
        window = min(request.deadline_ms or RECV_WINDOW_MS, PROFILE.longest_deadline_ms)
        params = "&".join(p for p in (query, request.body, f"recvWindow={window}&timestamp={now_ms}") if p)
        params += "&signature=" + quote(signature_of(params, credentials.secret), safe="")
        in_body = request.method in ("POST", "PUT")
        return msgspec.structs.replace(
            request,
            path=path if in_body else f"{path}?{params}",
            headers={**(request.headers if in_body else {}), "X-MBX-APIKEY": credentials.key},
            body=params if in_body else "",
        )

    def socket_request(
        self, action: Action, request_id: int, credentials: Credentials, token: str, *, now_ms: int
    ) -> str:
        """Return the WebSocket API text that asks for a trading action. Raises UnsupportedError."""
        deadline_ms = 0
        match action:
            case Submit():
                method, params, deadline_ms = "order.place", self._order(action), action.deadline_ms
            case Cancel():
                method, params = "order.cancel", self._reference(action)
            case GetOrder():
                method, params = "order.status", self._reference(action)
            case _:
                raise refuse_socket(action)
        return socket_request(method, request_id, self._signed_params(params, credentials, now_ms, deadline_ms))

    @staticmethod
    def _signed_params(
        params: dict[str, str], credentials: Credentials, now_ms: int, deadline_ms: int = 0
    ) -> dict[str, str | int]:
        """Return WebSocket API parameters with their signature: over all of them in the order of their names."""
        window = min(deadline_ms or RECV_WINDOW_MS, PROFILE.longest_deadline_ms)
        full: dict[str, str | int] = {
            **params,
            "apiKey": credentials.key,
            "recvWindow": window,
            "timestamp": now_ms,
        }
        payload = "&".join(f"{name}={full[name]}" for name in sorted(full))
        return {**full, "signature": signature_of(payload, credentials.secret)}

    # Responses.

    def decode(self, action: Action, response: Response) -> Any:
        """Return the action's result. Raises VenueError, MalformedError."""
        result = self._result(response)
        match action:
            case Markets():
                return each_tradable(rows(field(result, "symbols")), _pair)
            case ServerTime():
                return int(field(result, "serverTime")) * NS_PER_MS
            case SystemStatus():
                down = int(field(result, "status")) != 0
                state = TradingState.MAINTENANCE if down else TradingState.ONLINE
                return VenueStatus(ts_ns=0, state=state, detail=str(result.get("msg", "")))
            case Ticker():
                listing = self.listings[field(result, "symbol")]
                return Quote(
                    ts_ns=0,
                    instrument=listing.id,
                    bid=listing.price[result["bidPrice"]],
                    ask=listing.price[result["askPrice"]],
                    bid_size=listing.size[result["bidQty"]],
                    ask_size=listing.size[result["askQty"]],
                )
            case Depth():
                listing = self.listings[binance_symbol(action.symbol)]
                bids, asks = (
                    [(listing.price[p], listing.size[s]) for p, s in rows(field(result, side))]
                    for side in ("bids", "asks")
                )
                sequence = int(field(result, "lastUpdateId"))
                return BookSnapshot(instrument=listing.id, ts_ns=0, bids=bids, asks=asks, sequence=sequence)
            case RecentTrades():
                return self._trades(rows(result), action.symbol)
            case Candles():
                return self._bars(rows(result), action)
            case Balances():
                return each_row("balance", rows(field(result, "balances")), _balance)
            case Fees():
                rates = field(result, "standardCommission")
                return FeeRates(maker_ppm=rate_ppm(field(rates, "maker")), taker_ppm=rate_ppm(field(rates, "taker")))
            case Permissions():
                return KeyPermissions(
                    can_trade=bool(field(result, "enableSpotAndMarginTrading")),
                    can_withdraw=bool(field(result, "enableWithdrawals")),
                )
            case OpenOrders() | ClosedOrders():
                return self._orders(rows(result))
            case GetOrder():
                return self._orders([result])
            case Fills():
                return each_row("execution", rows(result), self._fill)
            case Submit() | Cancel():
                return VenueOrderId(str(field(result, "orderId")))
            case Amend():
                return VenueOrderId(str(field(field(result, "amendedOrder"), "orderId")))
            case CancelAllOrders():
                return VenueOrderId("")
        raise MalformedError("action", type(action).__name__)

    def _result(self, response: Response) -> Any:
        failure = http_failure(response.status)
        parsed = parsed_body(BINANCE, response, failure)
        if isinstance(parsed, dict) and isinstance(parsed.get("code"), int) and parsed["code"] < 0:
            code = parsed["code"]
            known = failure if failure in (Failure.RATE_LIMIT, Failure.UNKNOWN_OUTCOME) else failure_of(code)
            raise refuse(BINANCE, known, f"{code}: {parsed.get('msg', '')}", retry_after(response))
        if failure is not None:
            raise refuse(BINANCE, failure, f"HTTP {response.status}", retry_after(response))
        return parsed

    def next_page(self, action: Action, request: Request, response: Response) -> Request | None:
        """Return what asks for the executions or orders after those that fill a page."""
        if not isinstance(action, Fills | ClosedOrders) or (isinstance(action, Fills) and action.venue_order_id):
            return None
        found = rows(self._result(response))
        if len(found) < PAGE:
            return None
        name, own = ("fromId", "id") if isinstance(action, Fills) else ("orderId", "orderId")
        following = {name: int(found[-1][own]) + 1, "startTime": None}
        return msgspec.structs.replace(request, path=with_query(request.path, **following))

    def _orders(self, found: list[Any]) -> list[OrderUpdate | Unread]:
        return each_order(
            BINANCE,
            self.listings,
            found,
            lambda row: (row["orderId"], row.get("clientOrderId"), row["symbol"], row.get("side")),
            lambda row: [self._order_update(row)],
        )

    def _trades(self, found: list[Any], symbol: str) -> list[Trade | Unread]:
        listing = self.listings[binance_symbol(symbol)]

        def read(row: Any) -> list[Trade]:
            trade = Trade(
                ts_ns=int(row["time"]) * NS_PER_MS,
                instrument=listing.id,
                price=listing.price[row["price"]],
                size=listing.size[row["qty"]],
                side=Side.SELL if row["isBuyerMaker"] else Side.BUY,
                trade_id=TradeId(str(row["id"])),
            )
            return [trade]

        return each_row("trade", found, read)

    def _bars(self, found: list[Any], action: Candles) -> list[Bar | Unread]:
        listing = self.listings[binance_symbol(action.symbol)]
        price = listing.price

        def read(row: Any) -> list[Bar]:
            bar = Bar(
                ts_ns=int(row[0]) * NS_PER_MS + action.interval_s * NS_PER_S,
                instrument=listing.id,
                interval_s=action.interval_s,
                open=price[row[1]],
                high=price[row[2]],
                low=price[row[3]],
                close=price[row[4]],
                volume=listing.size[row[5]],
            )
            return [bar]

        return each_row("bar", found, read)

    def _order_update(self, row: Any) -> OrderUpdate:
        state = ORDER_STATES.get(field(row, "status"))
        if state is None:
            raise MalformedError("status", str(row["status"]))
        listing = self.listings[field(row, "symbol")]
        return OrderUpdate(
            ts_ns=int(row.get("updateTime") or row.get("time") or 0) * NS_PER_MS,
            instrument=listing.id,
            client_id=ClientOrderId(str(row["clientOrderId"])),
            venue_order_id=VenueOrderId(str(row["orderId"])),
            state=state,
            filled=listing.size[row["executedQty"]],
            side=Side(row["side"].lower()),
            type=ORDER_TYPES.get(row["type"]),
            time_in_force=TIMES_IN_FORCE.get(row["timeInForce"]),
            size=listing.size[row["origQty"]],
            limit_price=listing.price[row["price"]],
            created_ns=int(row.get("time") or 0) * NS_PER_MS,
        )

    def _fill(self, row: Any) -> list[Execution]:
        listing = self.listings[field(row, "symbol")]
        execution = Execution(
            ts_ns=int(row["time"]) * NS_PER_MS,
            instrument=listing.id,
            client_id=ClientOrderId(""),
            venue_order_id=VenueOrderId(str(row["orderId"])),
            trade_id=TradeId(str(row["id"])),
            side=Side.BUY if row["isBuyer"] else Side.SELL,
            price=listing.price[row["price"]],
            size=listing.size[row["qty"]],
            fee=amount_near(row["commission"]),
            fee_asset=AssetCode(row["commissionAsset"]),
            liquidity=Liquidity.MAKER if row["isMaker"] else Liquidity.TAKER,
        )
        return [execution]

    # Sockets.

    def native(self, symbol: str) -> str:
        """Return the socket's name of a pair: BTCUSDT."""
        return binance_symbol(symbol)

    def stream(self, *, depth: int = 10, bar_s: int = 60) -> Stream:
        """Return the state machine of a new connection; Binance's book diffs have no depth of their own."""
        return BinanceStream(self.listings, bar_s=bar_s)

    def stream_credential(self, channel: Channel, credentials: Credentials, token: str, *, now_ms: int) -> str:
        """Return the signed request that subscribes to the user data stream on the WebSocket API."""
        params = {"apiKey": credentials.key, "timestamp": str(now_ms)}
        payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
        signature = signature_of(payload, credentials.secret)
        fields = {"apiKey": credentials.key, "timestamp": now_ms, "signature": signature}
        return to_json({"id": "user", "method": "userDataStream.subscribe.signature", "params": fields})

    def wire_id(self, client_id: ClientOrderId) -> ClientOrderId:
        """Return the id itself up to 36 characters, a UUID made of it beyond."""
        return short_id(client_id, PROFILE.longest_client_id)


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def signature_of(payload: str, secret: str) -> str:
    """Return the signature of a payload: HMAC-SHA256 in hex, or Ed25519 or RSA (PKCS#1 v1.5, SHA-256) in base64.

    Raises:
        InvalidValueError: when the secret looks like a private key and is none that Binance takes.
    """
    if "PRIVATE KEY" not in secret:
        return hmac.digest(secret.encode(), payload.encode(), "sha256").hex()
    try:
        key = serialization.load_pem_private_key(secret.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidValueError(
            f"The private key of this Binance account cannot be read: {error}.",
            remedy="Store it as an unencrypted PEM file.",
        ) from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return base64.b64encode(key.sign(payload.encode())).decode()
    if isinstance(key, rsa.RSAPrivateKey):
        return base64.b64encode(key.sign(payload.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    raise InvalidValueError(
        f"Binance takes Ed25519 and RSA keys, not {type(key).__name__}.", remedy="Make a new key of one of these kinds."
    )


def _wants_symbol(what: str) -> UnsupportedError:
    return UnsupportedError(f"Binance wants a pair for {what}.", remedy="Name the pair.")


def _get(endpoint: str, weight: int, **params: object) -> Request:
    query = f"?{urlencode(params)}" if params else ""
    return Request(method="GET", path=f"/api/v3/{endpoint}{query}", weight=weight)


def _signed(method: str, endpoint: str, params: dict[str, str], weight: int, deadline_ms: int = 0) -> Request:
    text = urlencode(params)
    if method in ("POST", "PUT"):
        return Request(
            method=method,
            path=f"/api/v3/{endpoint}",
            headers=dict(_FORM),
            body=text,
            weight=weight,
            deadline_ms=deadline_ms,
        )
    return Request(method=method, path=f"/api/v3/{endpoint}?{text}", weight=weight)


def _pair(row: Any) -> list[Pair]:
    """Return a pair, whatever its status: who starts in a maintenance still has orders and executions in it."""
    if not row.get("isSpotTradingAllowed", True):
        return []
    filters = {f["filterType"]: f for f in rows(field(row, "filters"))}
    price, lot = field(filters, "PRICE_FILTER"), field(filters, "LOT_SIZE")
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    price_decimals, size_decimals = decimals_of(price["tickSize"]), decimals_of(lot["stepSize"])
    symbol = Symbol(f"{row['baseAsset']}/{row['quoteAsset']}")
    instrument = Instrument(
        id=instrument_id(BINANCE, symbol),
        venue=BINANCE,
        symbol=symbol,
        base=AssetCode(row["baseAsset"]),
        quote=AssetCode(row["quoteAsset"]),
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=scaled(price["tickSize"], price_decimals),
        lot=scaled(lot["stepSize"], size_decimals),
        min_size=max(1, scaled(lot["minQty"], size_decimals)),
        max_size=scaled(lot["maxQty"], size_decimals),
        min_notional=scaled(notional.get("minNotional", "0"), AMOUNT_DECIMALS),
        fee_tiers=PROFILE.fee_tiers,
        base_decimals=int(row.get("baseAssetPrecision", AMOUNT_DECIMALS)),
        quote_decimals=int(row.get("quoteAssetPrecision", AMOUNT_DECIMALS)),
    )
    told = str(row.get("status", "TRADING"))
    state = TradingState.ONLINE if told == "TRADING" else TradingState.MAINTENANCE
    return [Pair(row["symbol"], instrument, state, told)]


def _balance(row: Any) -> list[Balance]:
    free, locked = amount_down(row["free"]), amount_down(row["locked"])
    return [Balance(ts_ns=0, asset=AssetCode(row["asset"]), total=free + locked, free=free)]
