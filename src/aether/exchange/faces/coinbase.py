"""Coinbase's face: Advanced Trade REST and WebSocket as Coinbase Developer Documentation describes them (2026)."""

import datetime
import uuid
from typing import Any

import jwt
import msgspec
from aiohttp import web

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import format_amount
from aether.exchange.face import ApiKey, Face, Refused, Socket, units
from aether.exchange.venue import Account, Market, NewOrder, Order, Refusal, Status, Trade

ROOT = "/api/v3/brokerage"
REQUESTS_PER_S = 30
PUBLIC_PER_S = 10
ERRORS = {
    Refusal.UNKNOWN_MARKET: ("INVALID_PRODUCT_ID", "Invalid product_id"),
    Refusal.MARKET_CLOSED: ("INVALID_PRODUCT_STATUS", "Orderbook is in maintenance mode"),
    Refusal.BAD_PRICE: ("INVALID_PRICE_PRECISION", "Too many decimals in order price"),
    Refusal.BAD_SIZE: ("INVALID_SIZE_PRECISION", "Too many decimals in order amount"),
    Refusal.TOO_SMALL: ("UNKNOWN_FAILURE_REASON", "Order size is too small. Minimum size was not met"),
    Refusal.TOO_LARGE: ("UNKNOWN_FAILURE_REASON", "Order size is too large"),
    Refusal.NOTIONAL: ("INVALID_ORDER_CONFIG", "Order size is too small. Minimum notional was not met"),
    Refusal.FUNDS: ("INSUFFICIENT_FUND", "Insufficient balance in source account"),
    Refusal.POST_ONLY: ("INVALID_LIMIT_PRICE_POST_ONLY", "Post only limit price would match"),
    Refusal.TRIGGER: ("INVALID_ORDER_CONFIG", "Stop price is required"),
    Refusal.DUPLICATE: ("UNKNOWN_FAILURE_REASON", "Duplicate client_order_id"),
    Refusal.UNKNOWN_ORDER: ("UNKNOWN_CANCEL_ORDER", "Order not found"),
    Refusal.TOO_MANY: ("MAX_NUM_ORDERS", "Too many open orders"),
    Refusal.BAD_FIELDS: ("INVALID_ORDER_CONFIG", "Order configuration is invalid"),
    Refusal.INJECTED: ("UNKNOWN_FAILURE_REASON", "The order was rejected"),
    Refusal.AMEND: ("CANNOT_EDIT_TO_BELOW_FILLED_SIZE", "The order cannot be edited so"),
    Refusal.FOK: ("UNKNOWN_FAILURE_REASON", "Could not be filled"),
}
STATUSES = {
    Status.NEW: "OPEN",
    Status.TRIGGER_PENDING: "OPEN",
    Status.PARTIAL: "OPEN",
    Status.FILLED: "FILLED",
    Status.CANCELED: "CANCELLED",
    Status.EXPIRED: "EXPIRED",
}
GRANULARITIES = {
    "ONE_MINUTE": 60, "FIVE_MINUTE": 300, "FIFTEEN_MINUTE": 900, "THIRTY_MINUTE": 1800, "ONE_HOUR": 3600,
    "TWO_HOUR": 7200, "SIX_HOUR": 21_600, "ONE_DAY": 86_400,
}  # fmt: skip
_IN_FORCE = {
    TimeInForce.GTC: "GOOD_UNTIL_CANCELLED",
    TimeInForce.GTD: "GOOD_UNTIL_DATE_TIME",
    TimeInForce.IOC: "IMMEDIATE_OR_CANCEL",
    TimeInForce.FOK: "FILL_OR_KILL",
}


class CoinbaseError(Exception):
    """An HTTP error of Coinbase's."""

    def __init__(self, status: int, error: str, message: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.message = status, error, message


class CoinbaseFace(Face):
    """Serves `/api/v3/brokerage` and the sockets at `/` and `/ws`."""

    def start(self) -> None:
        """Set up what the face itself remembers."""
        self._ids: dict[str, int] = {}
        for order in self.venue.orders.values():
            self.order_id(order)
        self._pending: dict[int, int] = {}
        self._calls: dict[str, tuple[int, int]] = {}

    def build(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/v2/{endpoint:.*}", self._older)
        app.router.add_route("*", ROOT + "/{endpoint:.*}", self._rest)
        app.router.add_get("/", self._socket)
        app.router.add_get("/ws", self._socket)

    def market_of(self, product: str) -> Market:
        """Return the market of a product id. Raises CoinbaseError."""
        market = self.venue.markets.get(product.replace("-", "/"))
        if market is None:
            raise CoinbaseError(404, "NOT_FOUND", f"Product {product} not found")
        return market

    def order_id(self, order: Order) -> str:
        """Return Coinbase's id of an order."""
        text = str(uuid.uuid5(uuid.NAMESPACE_OID, f"order{order.number}"))
        self._ids[text] = order.number
        return text

    def order_of(self, account: Account, text: str) -> Order | None:
        """Return an account's order by Coinbase's id."""
        return account.orders.get(self._ids.get(text, 0))

    # REST.

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        body = await request.text()

        def work() -> tuple[int, Any, dict[str, str]]:
            try:
                if self.faults.happens("rate_limit"):
                    raise CoinbaseError(429, "rate_limit_exceeded", "Too many requests")
                public = endpoint.startswith("market/") or endpoint == "time"
                key = None if public else self._authenticate(request)
                self._count(key)
                if self.venue.state == "maintenance" and not public:
                    raise CoinbaseError(503, "unavailable", "Maintenance")
                query = request.query
                if key is None:
                    return 200, self._public(endpoint, query), {}
                fields = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
                return 200, self._private(request.method, endpoint, query, fields, key), {}
            except CoinbaseError as error:
                answer = {"error": error.error, "error_details": error.message, "message": error.message}
                return error.status, answer, {"Retry-After": "1"} if error.status == 429 else {}
            except (KeyError, ValueError, TypeError, AttributeError, msgspec.DecodeError, Refused) as error:
                return 400, {"error": "INVALID_ARGUMENT", "error_details": str(error), "message": str(error)}, {}

        return await self.answer(request, work, faulty=endpoint == "orders")

    async def _older(self, request: web.Request) -> web.StreamResponse:
        """Answer the parts of the older API that clients still use: currencies, time and rates."""
        endpoint = request.match_info["endpoint"]
        assets = sorted({a for m in self.venue.markets.values() for a in (m.base, m.quote)})
        data: Any = []
        if endpoint == "currencies":
            data = [{"id": a, "name": a, "min_size": "0.01"} for a in assets if a == "USD"]
        elif endpoint == "currencies/crypto":
            data = [
                {"asset_id": a, "code": a, "name": a, "color": "", "sort_index": 0, "exponent": 8, "type": "crypto"}
                for a in assets
                if a != "USD"
            ]
        elif endpoint == "time":
            data = {"epoch": self.now_ns() // 10**9, "iso": iso(self.now_ns())}
        elif endpoint == "exchange-rates":
            data = {"currency": "USD", "rates": {}}
        elif endpoint == "accounts":
            try:
                account = self.venue.account(self._authenticate(request).account)
            except CoinbaseError as error:
                return web.json_response(
                    {"errors": [{"id": "authentication_error", "message": error.error}]}, status=401
                )
            data = [_wallet(account, asset) for asset in account.total]
        pagination = {"ending_before": None, "starting_after": None, "limit": 250, "order": "desc", "next_uri": None}
        return web.json_response({"pagination": pagination, "data": data})

    def _count(self, key: ApiKey | None) -> None:
        if not self.enforce_limits:
            return
        name, most = (key.name, REQUESTS_PER_S) if key else ("public", PUBLIC_PER_S * 10)
        second = self.venue.clock() // 10**9
        seen = self._calls.get(name, (second, 0))
        count = seen[1] + 1 if seen[0] == second else 1
        self._calls[name] = (second, count)
        if count > most:
            raise CoinbaseError(429, "rate_limit_exceeded", "Too many requests")

    def _authenticate(self, request: web.Request) -> ApiKey:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        key, claims = self._token(token)
        uri = claims.get("uri") or (claims.get("uris") or [""])[0]
        method, _, target = str(uri).partition(" ")
        target = target.rpartition("://")[2]
        if method != request.method or target[target.find("/") :] != request.path:
            raise CoinbaseError(401, "Unauthorized", "the token is for another request")
        return key

    def _token(self, token: str) -> tuple[ApiKey, dict[str, Any]]:
        try:
            header = jwt.get_unverified_header(token)
            key = self.keys[str(header.get("kid", ""))]
            options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
            claims = jwt.decode(token, key.secret, algorithms=["ES256", "EdDSA"], options=options)
        except (jwt.PyJWTError, KeyError, ValueError, TypeError) as error:
            raise CoinbaseError(401, "Unauthorized", type(error).__name__) from error
        now = self.now_ns() / 1e9
        lasts = float(claims.get("exp", 0)) - float(claims.get("nbf", 0))
        if not (float(claims.get("nbf", 0)) - 5 <= now < float(claims.get("exp", 0))) or lasts > 120:
            raise CoinbaseError(401, "Unauthorized", "the token is not valid now")
        if claims.get("sub") != key.name:
            raise CoinbaseError(401, "Unauthorized", "another key's token")
        return key, claims

    def _public(self, endpoint: str, q: Any) -> Any:
        if endpoint == "time":
            now = self.now_ns()
            return {"iso": iso(now), "epochSeconds": str(now // 10**9), "epochMillis": str(now // 1_000_000)}
        if endpoint == "market/products":
            wanted = q.getall("product_ids", [])
            found = [self._product(m) for m in self.venue.markets.values() if not wanted or _id(m) in wanted]
            return {"products": found, "num_products": len(found)}
        if endpoint == "market/product_book":
            return self._book(self.market_of(q["product_id"]), int(q.get("limit", 500)))
        parts = endpoint.split("/")
        market = self.market_of(parts[2])
        if len(parts) == 3:
            return self._product(market)
        if parts[3] == "candles":
            return self._candles(market, q)
        if parts[3] == "ticker":
            return self._market_trades(market, int(q.get("limit", 100)))
        raise CoinbaseError(404, "NOT_FOUND", endpoint)

    def _product(self, market: Market) -> dict[str, Any]:
        trades = self.venue.trades[market.symbol]
        now = self.now_ns()
        volume = sum(t.size for t in trades if t.ts_ns > now - 86_400 * 10**9)
        online = self.venue.state == "online"
        return {
            "product_id": _id(market),
            "price": market.price_text(self.venue.last[market.symbol]),
            "price_percentage_change_24h": "0",
            "volume_24h": market.size_text(volume),
            "volume_percentage_change_24h": "0",
            "base_increment": market.size_text(1),
            "quote_increment": market.price_text(1),
            "price_increment": market.price_text(1),
            "quote_min_size": format_amount(market.min_notional),
            "quote_max_size": "50000000",
            "base_min_size": market.size_text(market.min_size),
            "base_max_size": market.size_text(market.max_size),
            "base_name": market.base,
            "quote_name": market.quote,
            "watched": False,
            "is_disabled": False,
            "new": False,
            "status": "online" if online else "offline",
            "cancel_only": not online,
            "limit_only": False,
            "post_only": self.venue.state == "post_only",
            "trading_disabled": not online,
            "auction_mode": False,
            "product_type": "SPOT",
            "quote_currency_id": market.quote,
            "base_currency_id": market.base,
            "base_display_symbol": market.base,
            "quote_display_symbol": market.quote,
            "alias": "",
            "view_only": False,
        }

    def _book(self, market: Market, count: int) -> dict[str, Any]:
        book = self.venue.books[market.symbol]
        sides = {
            name: [
                {"price": market.price_text(p), "size": market.size_text(s)}
                for p, s in book.levels(count, is_buy=name == "bids")
            ]
            for name in ("bids", "asks")
        }
        last = market.price_text(self.venue.last[market.symbol])
        return {"pricebook": {"product_id": _id(market), **sides, "time": iso(self.now_ns())}, "last": last}

    def _candles(self, market: Market, q: Any) -> dict[str, Any]:
        seconds = GRANULARITIES.get(q.get("granularity", ""))
        if seconds is None:
            raise CoinbaseError(400, "INVALID_ARGUMENT", "granularity")
        since, until = int(q["start"]), int(q["end"])
        if (until - since) / seconds > 350:
            raise CoinbaseError(400, "INVALID_ARGUMENT", "number of candles requested should be less than 350")
        found = [c for c in self._bars(market, seconds) if since <= int(c["start"]) <= until]
        return {"candles": found[::-1]}

    def _bars(self, market: Market, seconds: int) -> list[dict[str, str]]:
        groups: dict[int, list[Trade]] = {}
        for trade in self.venue.trades[market.symbol]:
            groups.setdefault(trade.ts_ns // 10**9 // seconds * seconds, []).append(trade)
        text = market.price_text
        return [
            {
                "start": str(start),
                "low": text(min(t.price for t in trades)),
                "high": text(max(t.price for t in trades)),
                "open": text(trades[0].price),
                "close": text(trades[-1].price),
                "volume": market.size_text(sum(t.size for t in trades)),
            }
            for start, trades in sorted(groups.items())
        ]

    def _market_trades(self, market: Market, limit: int) -> dict[str, Any]:
        book = self.venue.books[market.symbol]
        found = [{**_trade_row(t), "bid": "", "ask": ""} for t in self.venue.trades[market.symbol][-limit:]]
        best = {"best_bid": book.best(is_buy=True), "best_ask": book.best(is_buy=False)}
        return {"trades": found[::-1], **{name: market.price_text(price) for name, price in best.items()}}

    # Private.

    def _private(self, method: str, endpoint: str, q: Any, f: dict[str, Any], key: ApiKey) -> Any:
        account = self.venue.account(key.account)
        if endpoint in ("products", "product_book") or endpoint.startswith("products/"):
            return self._public("market/" + endpoint, q)
        if endpoint == "best_bid_ask":
            return {"pricebooks": [self._book(m, 1)["pricebook"] for m in self.venue.markets.values()]}
        if endpoint == "accounts":
            rows = [self._account_row(account, asset) for asset in account.total]
            return {"accounts": rows, "has_next": False, "cursor": "", "size": len(rows)}
        if endpoint == "key_permissions":
            rights = {"can_view": True, "can_trade": key.can_trade, "can_transfer": key.can_withdraw}
            return {**rights, "portfolio_uuid": "", "portfolio_type": "DEFAULT"}
        if endpoint == "transaction_summary":
            tier = self.venue.tier(account)
            rates = {"taker_fee_rate": f"{tier.taker_ppm / 1e6:.4f}", "maker_fee_rate": f"{tier.maker_ppm / 1e6:.4f}"}
            return {"total_volume": 0, "total_fees": 0, "fee_tier": {"pricing_tier": "Advanced 1", **rates}}
        if endpoint == "orders/historical/batch":
            return self._history(account, q)
        if endpoint == "orders/historical/fills":
            return self._fills(account, q)
        if endpoint.startswith("orders/historical/"):
            order = self.order_of(account, endpoint.rpartition("/")[2])
            if order is None:
                raise CoinbaseError(404, "NOT_FOUND", "order not found")
            return {"order": self._row(order)}
        if method != "POST":
            raise CoinbaseError(404, "NOT_FOUND", endpoint)
        if not key.can_trade:
            raise CoinbaseError(403, "PERMISSION_DENIED", "the key may not trade")
        if endpoint == "orders":
            return self._create(account, f)
        if endpoint == "orders/batch_cancel":
            return {"results": [self._cancel(account, text) for text in f["order_ids"]]}
        if endpoint == "orders/edit":
            return self._edit(account, f)
        raise CoinbaseError(404, "NOT_FOUND", endpoint)

    def _account_row(self, account: Account, asset: str) -> dict[str, Any]:
        held = format_amount(account.held.get(asset, 0))
        return {
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, account.name + asset)),
            "name": f"{asset} Wallet",
            "currency": asset,
            "available_balance": {"value": format_amount(account.free(asset)), "currency": asset},
            "default": False,
            "active": True,
            "created_at": iso(0),
            "updated_at": iso(0),
            "deleted_at": None,
            "type": "ACCOUNT_TYPE_FIAT" if asset in ("USD", "EUR") else "ACCOUNT_TYPE_CRYPTO",
            "ready": True,
            "hold": {"value": held, "currency": asset},
        }

    def _create(self, account: Account, f: dict[str, Any]) -> dict[str, Any]:
        configuration = f.get("order_configuration")
        try:
            if not f.get("client_order_id"):
                raise Refused(Refusal.BAD_FIELDS, "client_order_id")
            if self.faults.happens("reject"):
                raise Refused(Refusal.INJECTED)
            market = self.venue.markets.get(str(f["product_id"]).replace("-", "/"))
            if market is None:
                raise Refused(Refusal.UNKNOWN_MARKET)
            order = self.venue.place(account.name, self._new_order(market, f))
            if self.faults.happens("pending_order"):
                self._pending[order.number] = self.venue.clock() + int(self.faults.slow_s * 1e9)
        except Refused as error:
            name, text = ERRORS[error.reason]
            response = {"error": name, "message": text, "error_details": "", "preview_failure_reason": name}
            refused = {"success": False, "failure_reason": "UNKNOWN_FAILURE_REASON", "order_id": ""}
            return {**refused, "error_response": response, "order_configuration": configuration}
        done = {
            "order_id": self.order_id(order),
            "product_id": _id(order.market),
            "side": order.request.side.value.upper(),
            "client_order_id": order.request.client_id,
        }
        return {
            "success": True,
            "failure_reason": "UNKNOWN_FAILURE_REASON",
            "order_id": done["order_id"],
            "success_response": done,
            "order_configuration": configuration,
        }

    def _status(self, order: Order) -> str:
        """Return an order's state in the venue's words; pending while a fault keeps it from the book's list."""
        is_pending = self._pending.get(order.number, 0) > self.venue.clock() and order.status is Status.NEW
        return "PENDING" if is_pending else STATUSES[order.status]

    def _new_order(self, market: Market, f: dict[str, Any]) -> NewOrder:
        name, terms = next(iter(f["order_configuration"].items()))
        kinds = {
            "market_market_ioc": (OrderType.MARKET, TimeInForce.IOC),
            "market_market_fok": (OrderType.MARKET, TimeInForce.FOK),
            "limit_limit_gtc": (OrderType.LIMIT, TimeInForce.GTC),
            "limit_limit_gtd": (OrderType.LIMIT, TimeInForce.GTD),
            "limit_limit_fok": (OrderType.LIMIT, TimeInForce.FOK),
            "sor_limit_ioc": (OrderType.LIMIT, TimeInForce.IOC),
            "stop_limit_stop_limit_gtc": (OrderType.STOP_LOSS_LIMIT, TimeInForce.GTC),
            "stop_limit_stop_limit_gtd": (OrderType.STOP_LOSS_LIMIT, TimeInForce.GTD),
        }
        if name not in kinds or f.get("side") not in ("BUY", "SELL"):
            raise Refused(Refusal.BAD_FIELDS, name)
        kind, tif = kinds[name]
        side = Side(f["side"].lower())
        if kind is OrderType.STOP_LOSS_LIMIT:
            rises = terms.get("stop_direction") == "STOP_DIRECTION_STOP_UP"
            if rises != (side is Side.BUY):
                kind = OrderType.TAKE_PROFIT_LIMIT
        if "base_size" not in terms:
            raise Refused(Refusal.BAD_SIZE, "base_size")
        price, trigger = (
            units(terms[n], market.price_decimals, Refusal.BAD_PRICE) if terms.get(n) else 0
            for n in ("limit_price", "stop_price")
        )
        return NewOrder(
            market=market.symbol,
            side=side,
            type=kind,
            size=units(terms["base_size"], market.size_decimals, Refusal.BAD_SIZE),
            price=price,
            trigger=trigger,
            tif=tif,
            post_only=bool(terms.get("post_only")),
            expire_ns=_parse_iso(terms["end_time"]) if terms.get("end_time") else 0,
            client_id=str(f["client_order_id"]),
        )

    def _cancel(self, account: Account, text: str) -> dict[str, Any]:
        try:
            self.venue.cancel(account.name, self.order_of(account, text))
        except Refused:
            return {"success": False, "failure_reason": "UNKNOWN_CANCEL_ORDER", "order_id": text}
        return {"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON", "order_id": text}

    def _edit(self, account: Account, f: dict[str, Any]) -> dict[str, Any]:
        order = self.order_of(account, str(f["order_id"]))
        try:
            if order is None:
                raise Refused(Refusal.UNKNOWN_ORDER)
            if order.request.type is not OrderType.LIMIT or order.request.tif is not TimeInForce.GTC:
                raise Refused(Refusal.AMEND)
            m = order.market
            size = units(f["size"], m.size_decimals, Refusal.BAD_SIZE) if f.get("size") else 0
            price = units(f["price"], m.price_decimals, Refusal.BAD_PRICE) if f.get("price") else 0
            self.venue.amend(account.name, order, size=size, price=price)
        except Refused as error:
            return {"success": False, "errors": [{"edit_failure_reason": ERRORS[error.reason][0]}]}
        return {"success": True, "errors": []}

    def _history(self, account: Account, q: Any) -> dict[str, Any]:
        statuses, products = q.getall("order_status", []), q.getall("product_ids", [])
        products = products or q.getall("product_id", [])
        found = []
        for order in reversed(list(account.orders.values())):
            if statuses and self._status(order) not in statuses:
                continue
            if not products or _id(order.market) in products:
                found.append(self._row(order))
        limit = int(q.get("limit", 1000))
        return {"orders": found[:limit], "sequence": "0", "has_next": len(found) > limit, "cursor": ""}

    def _fills(self, account: Account, q: Any) -> dict[str, Any]:
        orders, products = q.getall("order_ids", []) or q.getall("order_id", []), q.getall("product_ids", [])
        since = _parse_iso(q["start_sequence_timestamp"]) if q.get("start_sequence_timestamp") else 0
        rows = []
        for order, trade in reversed(account.trades):
            if (orders and self.order_id(order) not in orders) or (products and _id(order.market) not in products):
                continue
            if trade.ts_ns < since:
                continue
            fee, _, is_maker = trade.of(order)
            rows.append(
                {
                    "entry_id": f"{trade.number}-{order.number}",
                    "trade_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"trade{trade.number}-{order.number}")),
                    "order_id": self.order_id(order),
                    "trade_time": iso(trade.ts_ns),
                    "trade_type": "FILL",
                    "price": order.market.price_text(trade.price),
                    "size": order.market.size_text(trade.size),
                    "commission": format_amount(fee),
                    "product_id": _id(order.market),
                    "sequence_timestamp": iso(trade.ts_ns),
                    "liquidity_indicator": "MAKER" if is_maker else "TAKER",
                    "size_in_quote": False,
                    "user_id": account.name,
                    "side": order.request.side.value.upper(),
                }
            )
        start, limit = int(q.get("cursor") or 0), int(q.get("limit", 100))
        more = start + limit if start + limit < len(rows) else 0
        return {"fills": rows[start : start + limit], "cursor": str(more) if more else ""}

    def _configuration(self, order: Order) -> dict[str, Any]:
        m, request = order.market, order.request
        size = {"base_size": m.size_text(order.size)}
        if request.type is OrderType.MARKET:
            return {"market_market_ioc": size}
        terms: dict[str, Any] = {**size, "limit_price": m.price_text(order.price)}
        if request.type.has_trigger:
            up = (request.type is OrderType.STOP_LOSS_LIMIT) == order.is_buy
            direction = "STOP_DIRECTION_STOP_UP" if up else "STOP_DIRECTION_STOP_DOWN"
            stop = {"stop_price": m.price_text(order.trigger), "stop_direction": direction}
            return {"stop_limit_stop_limit_gtc": {**terms, **stop}}
        if request.tif is TimeInForce.IOC:
            return {"sor_limit_ioc": terms}
        if request.tif is TimeInForce.FOK:
            return {"limit_limit_fok": terms}
        terms["post_only"] = request.post_only
        if request.tif is TimeInForce.GTD:
            return {"limit_limit_gtd": {**terms, "end_time": iso(request.expire_ns)}}
        return {"limit_limit_gtc": terms}

    def _row(self, order: Order) -> dict[str, Any]:
        m, request = order.market, order.request
        done = order.filled / order.size * 100 if order.size else 0
        kind = "MARKET" if request.type is OrderType.MARKET else "LIMIT"
        return {
            "order_id": self.order_id(order),
            "product_id": _id(m),
            "user_id": order.account,
            "order_configuration": self._configuration(order),
            "side": request.side.value.upper(),
            "client_order_id": request.client_id,
            "status": self._status(order),
            "time_in_force": _IN_FORCE[request.tif],
            "created_time": iso(order.created_ns),
            "completion_percentage": f"{done:.2f}",
            "filled_size": m.size_text(order.filled),
            "average_filled_price": _average(order),
            "fee": "",
            "number_of_fills": str(len(order.trades)),
            "filled_value": format_amount(order.cost),
            "pending_cancel": False,
            "size_in_quote": False,
            "total_fees": format_amount(order.fee),
            "size_inclusive_of_fees": False,
            "total_value_after_fees": format_amount(order.cost + (order.fee if order.is_buy else -order.fee)),
            "trigger_status": "STOP_PENDING" if order.status is Status.TRIGGER_PENDING else "INVALID_ORDER_TYPE",
            "order_type": "STOP_LIMIT" if request.type.has_trigger else kind,
            "reject_reason": "REJECT_REASON_UNSPECIFIED",
            "settled": order.status is Status.FILLED,
            "product_type": "SPOT",
            "reject_message": "",
            "cancel_message": order.reason,
            "last_fill_time": iso(order.trades[-1].ts_ns) if order.trades else None,
        }

    # Socket.

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        return await self.serve_socket(request, self._on_text, lambda _socket: None)

    def _send(self, socket: Socket, channel: str, events: list[dict[str, Any]]) -> None:
        socket.sequence += 1
        head = {"channel": channel, "client_id": "", "timestamp": iso(self.now_ns()), "sequence_num": socket.sequence}
        socket.send(_json({**head, "events": events}), faulty=channel in ("l2_data", "market_trades", "ticker"))

    async def _on_text(self, socket: Socket, text: str) -> None:
        try:
            message = msgspec.json.decode(text, type=dict[str, Any])
            channel, kind = str(message["channel"]), str(message["type"])
        except (msgspec.DecodeError, KeyError):
            socket.send('{"type":"error","message":"failure to parse message"}', faulty=False)
            return
        products = [p for p in message.get("product_ids") or [] if p.replace("-", "/") in self.venue.markets]
        if channel == "heartbeats":
            socket.subscriptions["heartbeats"] = kind == "subscribe"
            self._send(socket, "subscriptions", [{"subscriptions": self._listed(socket)}])
            return
        if channel == "user" and not self._let_in(socket, str(message.get("jwt", ""))):
            return
        if len(products) != len(message.get("product_ids") or []):
            socket.send('{"type":"error","message":"invalid product id"}', faulty=False)
            return
        for product in products or (["*"] if channel in ("user", "status") else []):
            if kind == "subscribe":
                socket.subscriptions[channel, product] = True
            else:
                socket.subscriptions.pop((channel, product), None)
        self._send(socket, "subscriptions", [{"subscriptions": self._listed(socket)}])
        if kind == "subscribe":
            self._snapshots(socket, channel, products)

    def _let_in(self, socket: Socket, token: str) -> bool:
        try:
            socket.key, _ = self._token(token)
        except CoinbaseError:
            socket.send('{"type":"error","message":"authentication failure"}', faulty=False)
            return False
        return True

    @staticmethod
    def _listed(socket: Socket) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key in socket.subscriptions:
            if isinstance(key, tuple):
                found.setdefault(key[0], []).append(key[1])
        return found

    def _snapshots(self, socket: Socket, channel: str, products: list[str]) -> None:
        if channel == "user" and socket.key:
            orders = [self._user_row(o) for o in self.venue.account(socket.key.account).open.values()]
            self._send(socket, "user", [{"type": "snapshot", "orders": orders, "positions": {}}])
        if channel == "status":
            rows = [{"id": _id(m), "status": "online"} for m in self.venue.markets.values()]
            self._send(socket, "status", [{"type": "snapshot", "products": rows}])
        for product in products:
            market = self.market_of(product)
            if channel == "level2":
                book = self.venue.books[market.symbol]
                levels = [(b, p, s) for b in (True, False) for p, s in book.levels(10_000, is_buy=b)]
                updates = [self._level(market, *level) for level in levels]
                self._send(socket, "l2_data", [{"type": "snapshot", "product_id": product, "updates": updates}])
            elif channel == "market_trades":
                rows = [_trade_row(t) for t in self.venue.trades[market.symbol][-50:]][::-1]
                self._send(socket, "market_trades", [{"type": "snapshot", "trades": rows}])
            elif channel in ("ticker", "ticker_batch"):
                self._send(socket, channel, [{"type": "snapshot", "tickers": [self._ticker(market)]}])
            elif channel == "candles":
                rows = [{**c, "product_id": product} for c in self._bars(market, 300)[-50:]][::-1]
                self._send(socket, "candles", [{"type": "snapshot", "candles": rows}])

    def _level(self, market: Market, is_buy: bool, price: int, size: int) -> dict[str, str]:
        return {
            "side": "bid" if is_buy else "offer",
            "event_time": iso(self.now_ns()),
            "price_level": market.price_text(price),
            "new_quantity": market.size_text(size) if size else "0",
        }

    def _ticker(self, market: Market) -> dict[str, Any]:
        book = self.venue.books[market.symbol]
        bid, ask = book.levels(1, is_buy=True), book.levels(1, is_buy=False)
        day = [t for t in self.venue.trades[market.symbol] if t.ts_ns > self.now_ns() - 86_400 * 10**9]
        prices = [t.price for t in day] or [self.venue.last[market.symbol]]
        text, size = market.price_text, market.size_text
        return {
            "type": "ticker",
            "product_id": _id(market),
            "price": text(prices[-1]),
            "volume_24_h": size(sum(t.size for t in day)),
            "low_24_h": text(min(prices)),
            "high_24_h": text(max(prices)),
            "low_52_w": text(min(prices)),
            "high_52_w": text(max(prices)),
            "price_percent_chg_24_h": "0",
            "best_bid": text(bid[0][0]) if bid else "",
            "best_bid_quantity": size(bid[0][1]) if bid else "",
            "best_ask": text(ask[0][0]) if ask else "",
            "best_ask_quantity": size(ask[0][1]) if ask else "",
        }

    def beat(self, tenth: int) -> None:
        """Send the heartbeat of each second."""
        if tenth % 10:
            return
        counter = tenth // 10
        for socket in list(self.sockets):
            if socket.subscriptions.get("heartbeats"):
                event = {"current_time": iso(self.now_ns()), "heartbeat_counter": str(counter)}
                self._send(socket, "heartbeats", [event])

    def flush(self) -> None:
        """Send book changes and what became of orders."""
        for symbol, book in self.venue.books.items():
            changes = book.take_changes()
            if not changes:
                continue
            market = self.venue.markets[symbol]
            updates = [self._level(market, *change) for change in changes]
            event = {"type": "update", "product_id": _id(market), "updates": updates}
            for socket in list(self.sockets):
                if ("level2", _id(market)) in socket.subscriptions:
                    self._send(socket, "l2_data", [event])

    def on_trade(self, trade: Trade) -> None:
        """Tell a public trade, and with it the ticker."""
        product = _id(trade.market)
        for socket in list(self.sockets):
            if ("market_trades", product) in socket.subscriptions:
                self._send(socket, "market_trades", [{"type": "update", "trades": [_trade_row(trade)]}])
            for channel in ("ticker", "ticker_batch"):
                if (channel, product) in socket.subscriptions:
                    self._send(socket, channel, [{"type": "update", "tickers": [self._ticker(trade.market)]}])
            if ("candles", product) in socket.subscriptions:
                rows = [{**c, "product_id": product} for c in self._bars(trade.market, 300)[-1:]]
                self._send(socket, "candles", [{"type": "update", "candles": rows}])

    def on_order(self, order: Order, what: str) -> None:
        """Tell the owner how an order stands."""
        for socket in list(self.sockets):
            subscribed = ("user", _id(order.market)) in socket.subscriptions or ("user", "*") in socket.subscriptions
            if socket.key and socket.key.account == order.account and subscribed:
                self._send(socket, "user", [{"type": "update", "orders": [self._user_row(order)], "positions": {}}])

    def _user_row(self, order: Order) -> dict[str, Any]:
        row, m = self._row(order), order.market
        return {
            "avg_price": row["average_filled_price"],
            "cancel_reason": order.reason if order.status is Status.CANCELED else "",
            "client_order_id": order.request.client_id,
            "completion_percentage": row["completion_percentage"],
            "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE",
            "cumulative_quantity": m.size_text(order.filled),
            "filled_value": row["filled_value"],
            "leaves_quantity": m.size_text(order.left if order.status.is_open else 0),
            "limit_price": m.price_text(order.price),
            "number_of_fills": row["number_of_fills"],
            "order_id": row["order_id"],
            "order_side": row["side"],
            "order_type": {"MARKET": "Market", "LIMIT": "Limit", "STOP_LIMIT": "Stop Limit"}[row["order_type"]],
            "outstanding_hold_amount": format_amount(order.held),
            "post_only": str(order.request.post_only).lower(),
            "product_id": row["product_id"],
            "product_type": "SPOT",
            "reject_reason": "",
            "retail_portfolio_id": "",
            "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
            "status": row["status"],
            "stop_price": m.price_text(order.trigger) if order.trigger else "",
            "time_in_force": row["time_in_force"],
            "total_fees": row["total_fees"],
            "total_value_after_fees": row["total_value_after_fees"],
            "trigger_status": row["trigger_status"],
            "creation_time": row["created_time"],
            "end_time": "0001-01-01T00:00:00Z",
            "start_time": "0001-01-01T00:00:00Z",
        }


def _wallet(account: Account, asset: str) -> dict[str, Any]:
    """Return a balance as the older API shows it."""
    return {
        "id": asset,
        "name": f"{asset} Wallet",
        "primary": False,
        "type": "fiat" if asset in ("USD", "EUR") else "wallet",
        "currency": {"code": asset, "name": asset},
        "balance": {"amount": format_amount(account.total[asset]), "currency": asset},
    }


def _id(market: Market) -> str:
    return f"{market.base}-{market.quote}"


def _trade_row(trade: Trade) -> dict[str, str]:
    return {
        "trade_id": str(trade.number),
        "product_id": _id(trade.market),
        "price": trade.market.price_text(trade.price),
        "size": trade.market.size_text(trade.size),
        "time": iso(trade.ts_ns),
        "side": trade.taker_side.value.upper(),
    }


def _average(order: Order) -> str:
    if not order.filled:
        return "0"
    return format_amount(order.cost * 10**order.market.size_decimals // order.filled)


def iso(ts_ns: int) -> str:
    """Return a time to the nanosecond, as Coinbase writes it."""
    moment = datetime.datetime.fromtimestamp(ts_ns // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{ts_ns % 10**9:09d}Z"


def _parse_iso(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text)
    return int(moment.timestamp() * 1e6) * 1000


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
