"""Coinbase Advanced Trade's REST API and the tokens of its requests, without the socket.

Source: Coinbase Developer Documentation, "Advanced Trade REST API" and "API key authentication", as published in 2026.
Each request carries a JSON Web Token of its own, signed with the key (ES256 or EdDSA), valid for two minutes and for
one method and path.
"""

import base64
import datetime
import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from aether.domain.errors import Failure, InvalidValueError, UnsupportedError
from aether.domain.events import Bar, Quote, Trade
from aether.domain.identifiers import AssetCode, ClientOrderId, Symbol, TradeId, VenueOrderId, instrument_id
from aether.domain.instruments import Instrument, TradingState
from aether.domain.orders import Liquidity, OrderState, OrderType, Side, TimeInForce
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
    Ticker,
)
from aether.venues.coinbase.profile import PROFILE
from aether.venues.coinbase.stream import COINBASE, ORDER_STATES, ORDER_TYPES, TIMES_IN_FORCE, CoinbaseStream, taker_of
from aether.venues.messages import Balance, BookSnapshot, Execution, OrderUpdate, Pair, Unread
from aether.venues.protocol import (
    Credentials,
    Response,
    Urls,
    field,
    hashed_id,
    http_failure,
    parsed_body,
    refuse,
    retry_after,
    rows,
)
from aether.venues.rows import each_order, each_row, each_tradable, time_of
from aether.venues.stream import Channel, Stream, to_json
from aether.venues.wire import (
    NS_PER_MS,
    NS_PER_S,
    Listing,
    Listings,
    MalformedError,
    amount_down,
    amount_near,
    decimals_of,
    rate_ppm,
    scaled,
    time_ns,
)

ROOT = "/api/v3/brokerage"
_GRANULARITIES = {
    60: "ONE_MINUTE",
    300: "FIVE_MINUTE",
    900: "FIFTEEN_MINUTE",
    1800: "THIRTY_MINUTE",
    3600: "ONE_HOUR",
    7200: "TWO_HOUR",
    21_600: "SIX_HOUR",
    86_400: "ONE_DAY",
}
_ON_THE_WAY = "order_status=PENDING&order_status=QUEUED&order_status=CANCEL_QUEUED&order_status=EDIT_QUEUED"
"""Open orders that Coinbase does not list with `OPEN`, which is asked for alone. An order passes through the lists as
they are read, so one that moves on meanwhile is on the next."""
_FLAGS = {
    "is_disabled": TradingState.DELISTED,
    "trading_disabled": TradingState.MAINTENANCE,
    "view_only": TradingState.MAINTENANCE,
    "cancel_only": TradingState.CANCEL_ONLY,
    "auction_mode": TradingState.CANCEL_ONLY,
    "post_only": TradingState.POST_ONLY,
    "limit_only": TradingState.LIMIT_ONLY,
}
"""A product's flags, the one that allows least first."""
_OVER = ("UNKNOWN_CANCEL_ORDER", "ORDER_IS_FULLY_FILLED", "DUPLICATE_CANCEL_REQUEST")
"""Why an order is not canceled that has ended, or is being canceled."""
_ENDED = "order_status=FILLED&order_status=CANCELLED&order_status=EXPIRED&order_status=FAILED"


class CoinbaseProtocol:
    """Requests and responses of Coinbase Advanced Trade."""

    venue = COINBASE
    profile = PROFILE

    def __init__(self, listings: Listings | None = None) -> None:
        self.listings = listings if listings is not None else Listings(COINBASE)
        self.urls = Urls(
            rest="https://api.coinbase.com",
            public="wss://advanced-trade-ws.coinbase.com",
            private="wss://advanced-trade-ws-user.coinbase.com",
        )

    # Requests.

    def requests(self, action: Action) -> list[Request]:
        """Return the requests that carry out `action`. Raises UnsupportedError."""
        match action:
            case Markets(symbols=symbols):
                chosen = "".join(f"&product_ids={_product(symbol)}" for symbol in symbols)
                return [_get_raw(f"market/products?product_type=SPOT{chosen}")]
            case ServerTime():
                return [_get("time")]
            case Ticker():
                return [_get("market/product_book", product_id=_product(action.symbol), limit=1)]
            case Depth():
                return [_get("market/product_book", product_id=_product(action.symbol), limit=action.levels)]
            case RecentTrades():
                return [_get(f"market/products/{_product(action.symbol)}/ticker", limit=min(action.limit, 1000))]
            case Candles():
                return [self._candles(action)]
            case Balances():
                return [_get("accounts", limit=250)]
            case Fees():
                return [_get("transaction_summary", product_type="SPOT")]
            case Permissions():
                return [_get("key_permissions")]
            case OpenOrders():
                product = f"&product_ids={_product(action.symbol)}" if action.symbol else ""
                asked = (_ON_THE_WAY, "order_status=OPEN")
                return [_get_raw(f"orders/historical/batch?{status}{product}&limit=1000") for status in asked]
            case ClosedOrders():
                product = f"&product_ids={_product(action.symbol)}" if action.symbol else ""
                since = f"&start_date={_iso(action.since_s)}" if action.since_s else ""
                return [_get_raw(f"orders/historical/batch?{_ENDED}{product}{since}&limit=1000")]
            case GetOrder():
                if action.venue_order_id:
                    return [_get_raw(f"orders/historical/{action.venue_order_id}")]
                product = f"product_ids={_product(action.symbol)}&limit=1000"
                return [
                    _get_raw(f"orders/historical/batch?{status}&{product}")
                    for status in (_ON_THE_WAY, "order_status=OPEN", f"{_ON_THE_WAY}&{_ENDED}")
                ]
            case Fills():
                return [self._fills_request(action)]
            case Submit():
                return [msgspec.structs.replace(_post("orders", self._order(action)), deadline_ms=action.deadline_ms)]
            case Amend():
                if not action.venue_order_id or not (action.size and action.price):
                    raise UnsupportedError(
                        "Coinbase edits an order by its own id, with size and price together.",
                        remedy="Give venue_order_id, size and price.",
                    )
                fields = {"order_id": action.venue_order_id, "price": action.price, "size": action.size}
                return [_post("orders/edit", fields)]
            case Cancel():
                if not action.venue_order_id:
                    raise UnsupportedError(
                        "Coinbase cancels an order by its own id only.", remedy="Ask for the order first: its id tells."
                    )
                return [_post("orders/batch_cancel", {"order_ids": [action.venue_order_id]})]
            case CancelAllOrders():
                if not action.venue_order_ids:
                    raise UnsupportedError(
                        "Coinbase cancels orders by their ids only.", remedy="List the open orders first."
                    )
                return [_post("orders/batch_cancel", {"order_ids": list(action.venue_order_ids)})]
        raise UnsupportedError(
            f"Coinbase does not offer {type(action).__name__}.", remedy="Use another way or venue for it."
        )

    def _candles(self, action: Candles) -> Request:
        granularity = _GRANULARITIES.get(action.interval_s)
        if granularity is None:
            raise UnsupportedError(
                f"Coinbase has no bars of {action.interval_s} s.",
                remedy=f"Choose one of {', '.join(str(s) for s in _GRANULARITIES)} s.",
            )
        bounds = {"start": action.since_s, "end": action.until_s or action.since_s + 300 * action.interval_s}
        return _get(f"market/products/{_product(action.symbol)}/candles", **bounds, granularity=granularity)

    def _fills_request(self, action: Fills) -> Request:
        params: dict[str, object] = {"limit": 100}
        if action.symbol:
            params["product_ids"] = _product(action.symbol)
        if action.venue_order_id:
            params["order_ids"] = action.venue_order_id
        elif action.since_s:
            params["start_sequence_timestamp"] = _iso(action.since_s)
        return _get("orders/historical/fills", **params)

    def _order(self, order: Submit) -> dict[str, Any]:
        if order.display_size:
            raise UnsupportedError(
                "Coinbase Advanced Trade has no iceberg orders.", remedy="Use the iceberg algorithm, which slices it."
            )
        return {
            "client_order_id": self.wire_id(order.client_order_id),
            "product_id": _product(order.symbol),
            "side": order.side.value.upper(),
            "order_configuration": _configuration(order),
        }

    def sign(self, request: Request, credentials: Credentials, *, nonce: int, now_ms: int) -> Request:
        """Return the request with its token."""
        path = request.path.partition("?")[0]
        uri = f"{request.method} {urlsplit(self.urls.rest).netloc}{path}"
        token = make_token(credentials, uri=uri, nonce=nonce, now_ms=now_ms, life_ms=request.deadline_ms)
        return msgspec.structs.replace(request, headers={**request.headers, "Authorization": f"Bearer {token}"})

    # Responses.

    def decode(self, action: Action, response: Response) -> Any:
        """Return the action's result. Raises VenueError, MalformedError."""
        result = self._result(response)
        match action:
            case Markets():
                return each_tradable(rows(field(result, "products")), _pair)
            case ServerTime():
                return int(field(result, "epochMillis")) * NS_PER_MS
            case Ticker():
                book = self._book(result, action.symbol)
                bid, ask = book.bids[0] if book.bids else (0, 0), book.asks[0] if book.asks else (0, 0)
                return Quote(
                    ts_ns=book.ts_ns,
                    instrument=book.instrument,
                    bid=bid[0],
                    ask=ask[0],
                    bid_size=bid[1],
                    ask_size=ask[1],
                )
            case Depth():
                return self._book(result, action.symbol)
            case RecentTrades():
                return each_row("trade", rows(field(result, "trades")), lambda row: self._trade(row, action.symbol))
            case Candles():
                bars = each_row("bar", rows(field(result, "candles")), lambda row: self._bar(row, action))
                return sorted(bars, key=time_of)
            case Balances():
                return each_row("balance", rows(field(result, "accounts")), _balance)
            case Fees():
                tier = field(result, "fee_tier")
                return FeeRates(
                    maker_ppm=rate_ppm(field(tier, "maker_fee_rate")),
                    taker_ppm=rate_ppm(field(tier, "taker_fee_rate")),
                    volume_30d=str(result.get("advanced_trade_only_volume", result.get("total_volume", ""))),
                )
            case Permissions():
                return KeyPermissions(
                    can_trade=bool(field(result, "can_trade")), can_withdraw=bool(field(result, "can_transfer"))
                )
            case OpenOrders() | ClosedOrders():
                return self._orders(rows(field(result, "orders")))
            case GetOrder():
                found = [result["order"]] if "order" in result else rows(field(result, "orders"))
                wanted = self.wire_id(action.client_order_id)
                is_told = bool(action.venue_order_id) or not action.client_order_id
                chosen = [row for row in found if is_told or row.get("client_order_id") == wanted]
                return self._orders(chosen)
            case Fills():
                fills = each_row("execution", rows(field(result, "fills")), self._fill)
                fills.reverse()
                return sorted(fills, key=time_of)
            case Submit():
                return self._submitted(result)
            case Amend():
                if not field(result, "success"):
                    reasons = [str(e.get("edit_failure_reason", e)) for e in result.get("errors") or []]
                    raise refuse(COINBASE, Failure.REJECTED, ", ".join(reasons) or "the edit was refused")
                return action.venue_order_id
            case Cancel() | CancelAllOrders():
                return self._canceled(result)
        raise MalformedError("action", type(action).__name__)

    def _submitted(self, result: Any) -> VenueOrderId:
        if field(result, "success"):
            return VenueOrderId(str(field(field(result, "success_response"), "order_id")))
        error = result.get("error_response") or {}
        name = str(error.get("error") or result.get("failure_reason") or "refused")
        detail = str(error.get("message") or error.get("preview_failure_reason") or "")
        raise refuse(COINBASE, Failure.REJECTED, f"{name}: {detail}" if detail else name)

    def _canceled(self, result: Any) -> VenueOrderId:
        """Return nothing; when no order was canceled, raise why: the first reason that is not that one is over."""
        results = rows(field(result, "results"))
        refused = [str(row.get("failure_reason")) for row in results if not row.get("success")]
        if refused and len(refused) == len(results):
            standing = [reason for reason in refused if reason not in _OVER]
            failure = Failure.REJECTED if standing else Failure.NOT_FOUND
            raise refuse(COINBASE, failure, (standing or refused)[0])
        return VenueOrderId("")

    def _result(self, response: Response) -> Any:
        failure = http_failure(response.status)
        parsed = parsed_body(COINBASE, response, failure, quoted=True)
        if failure is not None:
            detail = parsed if isinstance(parsed, dict) else {}
            text = " ".join(str(detail[k]) for k in ("error", "message", "error_details") if detail.get(k))
            raise refuse(COINBASE, failure, f"HTTP {response.status} {text}", retry_after(response))
        if not isinstance(parsed, dict):
            raise MalformedError("fields", f"result is {str(parsed)[:80]}")
        return parsed

    def next_page(self, action: Action, request: Request, response: Response) -> Request | None:
        """Return what asks for the rest of a list that came with a cursor."""
        listed = {Fills: "fills", Balances: "accounts", OpenOrders: "orders", ClosedOrders: "orders"}.get(type(action))
        if listed is None:
            return None
        result = self._result(response)
        cursor = str(result.get("cursor") or "")
        if not cursor or not result.get(listed) or result.get("has_next") is False:
            return None
        head = re.sub(r"&cursor=[^&]*", "", request.path)  # statuses are named several times: no dictionary holds them
        return msgspec.structs.replace(request, path=f"{head}&{urlencode({'cursor': cursor})}")

    def _orders(self, found: list[Any]) -> list[OrderUpdate | Unread]:
        return each_order(
            COINBASE,
            self.listings,
            found,
            lambda row: (row["order_id"], row.get("client_order_id"), row["product_id"], row.get("side")),
            lambda row: [self._order_update(row)],
        )

    def _asked(self, symbol: str, told: str) -> Listing:
        """Return the pair that was asked about: the answer may have the name of another, in whose book it is traded."""
        return self.listings[_product(symbol) if symbol else told]

    def _book(self, result: Any, symbol: str) -> BookSnapshot:
        book = field(result, "pricebook")
        listing = self._asked(symbol, field(book, "product_id"))
        bids, asks = (
            [(listing.price[row["price"]], listing.size[row["size"]]) for row in rows(field(book, side))]
            for side in ("bids", "asks")
        )
        return BookSnapshot(instrument=listing.id, ts_ns=time_ns(field(book, "time")), bids=bids, asks=asks)

    def _trade(self, row: Any, symbol: str) -> list[Trade]:
        listing = self._asked(symbol, field(row, "product_id"))
        trade = Trade(
            ts_ns=time_ns(row["time"]),
            instrument=listing.id,
            price=listing.price[row["price"]],
            size=listing.size[row["size"]],
            side=taker_of(row["side"]),
            trade_id=TradeId(str(row["trade_id"])),
        )
        return [trade]

    def _bar(self, row: Any, action: Candles) -> list[Bar]:
        listing = self.listings[_product(action.symbol)]
        price = listing.price
        bar = Bar(
            ts_ns=(int(row["start"]) + action.interval_s) * NS_PER_S,
            instrument=listing.id,
            interval_s=action.interval_s,
            open=price[row["open"]],
            high=price[row["high"]],
            low=price[row["low"]],
            close=price[row["close"]],
            volume=listing.size[row["volume"]],
        )
        return [bar]

    def _order_update(self, row: Any) -> OrderUpdate:
        state = ORDER_STATES.get(field(row, "status"))
        if state is None:
            raise MalformedError("status", str(row["status"]))
        listing = self.listings[field(row, "product_id")]
        filled = listing.size[row.get("filled_size") or "0"]
        if state is OrderState.ACCEPTED and filled:
            state = OrderState.PARTIALLY_FILLED
        terms: dict[str, Any] = next(iter((row.get("order_configuration") or {}).values()), {})
        size, price = terms.get("base_size") or "0", terms.get("limit_price") or "0"
        last = row.get("last_fill_time") or row.get("created_time")
        return OrderUpdate(
            ts_ns=time_ns(last) if last else 0,
            instrument=listing.id,
            client_id=ClientOrderId(str(row.get("client_order_id") or "")),
            venue_order_id=VenueOrderId(str(row["order_id"])),
            state=state,
            filled=filled,
            reason=str(row.get("reject_message") or row.get("cancel_message") or ""),
            side=Side(row["side"].lower()),
            type=ORDER_TYPES.get(str(row.get("order_type"))),
            time_in_force=TIMES_IN_FORCE.get(str(row.get("time_in_force"))),
            size=listing.size[size],
            limit_price=listing.price[price],
            created_ns=time_ns(row["created_time"]) if row.get("created_time") else 0,
        )

    def _fill(self, row: Any) -> list[Execution]:
        listing = self.listings[field(row, "product_id")]
        instrument = listing.instrument
        price = listing.price[row["price"]]
        size = row["size"]
        if row.get("size_in_quote"):
            exact = Decimal(size) / Decimal(row["price"])
            size = str(exact.quantize(Decimal(1).scaleb(-instrument.size_decimals)))
        execution = Execution(
            ts_ns=time_ns(row["trade_time"]),
            instrument=listing.id,
            client_id=ClientOrderId(""),
            venue_order_id=VenueOrderId(row["order_id"]),
            trade_id=TradeId(row["trade_id"]),
            side=Side(row["side"].lower()),
            price=price,
            size=listing.size[size],
            fee=amount_near(row["commission"]),
            fee_asset=instrument.quote,
            liquidity=Liquidity.MAKER if row.get("liquidity_indicator") == "MAKER" else Liquidity.TAKER,
        )
        return [execution]

    # Sockets.

    def native(self, symbol: str) -> str:
        """Return the socket's name of a pair: BTC-USD."""
        return _product(symbol)

    def stream(self, *, depth: int = 10, bar_s: int = 60) -> Stream:
        """Return the state machine of a new connection; level2 is the whole book, candles are five minutes long."""
        return CoinbaseStream(self.listings)

    def stream_credential(self, channel: Channel, credentials: Credentials, token: str, *, now_ms: int) -> str:
        """Return a token for one subscription: it names no method or path."""
        return make_token(credentials, uri="", nonce=now_ms, now_ms=now_ms)

    def socket_request(
        self, action: Action, request_id: int, credentials: Credentials, token: str, *, now_ms: int
    ) -> str:
        """Raise UnsupportedError: Coinbase takes orders over REST only."""
        raise UnsupportedError("Coinbase takes no orders on its socket.", remedy="Ask for it over REST.")

    def wire_id(self, client_id: ClientOrderId) -> ClientOrderId:
        """Return a UUID made of the id, as Coinbase recommends."""
        return hashed_id(client_id)


def make_token(credentials: Credentials, *, uri: str, nonce: int, now_ms: int, life_ms: int = 0) -> str:
    """Return a JSON Web Token of the key: ES256 for elliptic-curve keys, EdDSA for Ed25519.

    Args:
        uri: method, host and path that it is good for; empty for a socket.
        life_ms: how long it is good, to the next full second; 0 for as long as Coinbase allows. An order's deadline:
            there is no field for one.

    Raises:
        InvalidValueError: when the secret is no key that Coinbase gives out.
    """
    key = _load_key(credentials.secret)
    now_s, until_s = now_ms // 1000, -(-(now_ms + life_ms) // 1000)
    latest_s = now_s + PROFILE.longest_deadline_ms // 1000
    ends_s = min(until_s, latest_s) if life_ms else latest_s
    claims: dict[str, Any] = {"sub": credentials.key, "iss": "cdp", "nbf": now_s, "exp": ends_s}
    if uri:
        claims["uri"] = uri
    algorithm = "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "ES256"
    headers = {"kid": credentials.key, "nonce": f"{nonce:032x}"}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def _load_key(secret: str) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    try:
        if "PRIVATE KEY" not in secret:
            raw = base64.b64decode(secret, validate=True)
            return ed25519.Ed25519PrivateKey.from_private_bytes(raw[:32])
        key = serialization.load_pem_private_key(secret.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidValueError(
            f"The private key of this Coinbase account cannot be read: {error}.",
            remedy="Store it as Coinbase gave it: a PEM text, or 64 bytes in base64 for Ed25519.",
        ) from error
    if isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise InvalidValueError(
        f"Coinbase takes ES256 and Ed25519 keys, not {type(key).__name__}.", remedy="Make a new key on Coinbase."
    )


def _configuration(order: Submit) -> dict[str, dict[str, Any]]:
    """Return the order configuration that Coinbase names after type and time in force."""
    tif = order.time_in_force or (TimeInForce.IOC if order.type is OrderType.MARKET else TimeInForce.GTC)
    size: dict[str, Any] = {"base_size": order.size}
    limit = {**size, "limit_price": order.price}
    end = {"end_time": _iso(order.expire_s)}
    if order.type is OrderType.MARKET:
        return {"market_market_fok" if tif is TimeInForce.FOK else "market_market_ioc": size}
    if order.type is OrderType.LIMIT:
        post = {"post_only": order.post_only}
        return {
            TimeInForce.GTC: {"limit_limit_gtc": {**limit, **post}},
            TimeInForce.GTD: {"limit_limit_gtd": {**limit, **end, **post}},
            TimeInForce.IOC: {"sor_limit_ioc": limit},
            TimeInForce.FOK: {"limit_limit_fok": limit},
        }[tif]
    if order.type in (OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT):
        is_stop = order.type is OrderType.STOP_LOSS_LIMIT
        up = is_stop == (order.side is Side.BUY)
        direction = "STOP_DIRECTION_STOP_UP" if up else "STOP_DIRECTION_STOP_DOWN"
        stop = {**limit, "stop_price": order.trigger_price, "stop_direction": direction}
        if tif is TimeInForce.GTD:
            return {"stop_limit_stop_limit_gtd": {**stop, **end}}
        return {"stop_limit_stop_limit_gtc": stop}
    raise UnsupportedError(
        f"Coinbase Advanced Trade has no {order.type} orders.",
        remedy="Give the order a limit (stop_loss_limit, take_profit_limit), or let the engine watch the price.",
    )


def _product(symbol: str) -> str:
    return symbol.replace("/", "-")


def _iso(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _get(endpoint: str, **params: object) -> Request:
    query = f"?{urlencode(params)}" if params else ""
    return _get_raw(f"{endpoint}{query}")


def _get_raw(endpoint: str) -> Request:
    return Request(method="GET", path=f"{ROOT}/{endpoint}")


def _post(endpoint: str, fields: dict[str, Any]) -> Request:
    headers = {"Content-Type": "application/json"}
    return Request(method="POST", path=f"{ROOT}/{endpoint}", headers=headers, body=to_json(fields))


def _pair(row: Any) -> list[Pair]:
    if row.get("product_type", "SPOT") != "SPOT" or row.get("is_disabled") or row.get("status") == "delisted":
        return []
    tick, lot = row.get("price_increment") or field(row, "quote_increment"), field(row, "base_increment")
    price_decimals, size_decimals = decimals_of(tick), min(decimals_of(lot), AMOUNT_DECIMALS)
    base, quote = AssetCode(row["base_currency_id"]), AssetCode(row["quote_currency_id"])
    symbol = Symbol(f"{base}/{quote}")
    instrument = Instrument(
        id=instrument_id(COINBASE, symbol),
        venue=COINBASE,
        symbol=symbol,
        base=base,
        quote=quote,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=scaled(tick, price_decimals),
        lot=max(1, scaled(lot, size_decimals)),
        min_size=max(1, scaled(row["base_min_size"], size_decimals)),
        max_size=scaled(row["base_max_size"], size_decimals),
        min_notional=scaled(row.get("quote_min_size") or "0", AMOUNT_DECIMALS),
        fee_tiers=PROFILE.fee_tiers,
    )
    state, told = _state(row)
    return [Pair(row["product_id"], instrument, state, told, str(row.get("alias") or ""))]


def _state(row: Any) -> tuple[TradingState, str]:
    """Return what a product's flags allow, and which flag says so."""
    for flag, state in _FLAGS.items():
        if row.get(flag):
            return state, flag
    told = str(row.get("status") or "online")
    return (TradingState.ONLINE if told == "online" else TradingState.MAINTENANCE), told


def _balance(row: Any) -> list[Balance]:
    """Return what an account holds; nothing of a vault, from which nothing is traded."""
    if row.get("type") == "ACCOUNT_TYPE_VAULT":
        return []
    free, hold = (
        amount_down(row["available_balance"]["value"]),
        amount_down((row.get("hold") or {}).get("value", "0")),
    )
    return [Balance(ts_ns=0, asset=AssetCode(row["currency"]), total=free + hold, free=free)]
