"""Binance's face: REST, market streams and WebSocket API as binance-spot-api-docs documents them (2026)."""

import base64
import binascii
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import format_amount
from aether.exchange.face import ApiKey, Face, Refused, Socket, units
from aether.exchange.venue import Account, Market, NewOrder, Order, Refusal, Status, Trade

TYPES = {
    "LIMIT": OrderType.LIMIT,
    "LIMIT_MAKER": OrderType.LIMIT,
    "MARKET": OrderType.MARKET,
    "STOP_LOSS": OrderType.STOP_LOSS,
    "STOP_LOSS_LIMIT": OrderType.STOP_LOSS_LIMIT,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT,
    "TAKE_PROFIT_LIMIT": OrderType.TAKE_PROFIT_LIMIT,
}
ERRORS = {
    Refusal.UNKNOWN_MARKET: (-1121, "Invalid symbol."),
    Refusal.MARKET_CLOSED: (-1013, "Market is closed."),
    Refusal.BAD_PRICE: (-1013, "Filter failure: PRICE_FILTER"),
    Refusal.BAD_SIZE: (-1013, "Filter failure: LOT_SIZE"),
    Refusal.TOO_SMALL: (-1013, "Filter failure: LOT_SIZE"),
    Refusal.TOO_LARGE: (-1013, "Filter failure: LOT_SIZE"),
    Refusal.NOTIONAL: (-1013, "Filter failure: NOTIONAL"),
    Refusal.FUNDS: (-2010, "Account has insufficient balance for requested action."),
    Refusal.POST_ONLY: (-2010, "Order would immediately match and take."),
    Refusal.TRIGGER: (-1102, "Mandatory parameter 'stopPrice' was not sent, was empty/null, or malformed."),
    Refusal.DUPLICATE: (-2010, "Duplicate order sent."),
    Refusal.UNKNOWN_ORDER: (-2011, "Unknown order sent."),
    Refusal.TOO_MANY: (-1013, "Filter failure: MAX_NUM_ORDERS"),
    Refusal.BAD_FIELDS: (-1102, "Mandatory parameter was not sent, was empty/null, or malformed."),
    Refusal.INJECTED: (-2010, "This symbol is not permitted for this account."),
    Refusal.AMEND: (-2038, "The requested order amendment is not permitted: newQty must be smaller."),
    Refusal.FOK: (-2010, "Order would not fill."),
}
STATUSES = {
    Status.NEW: "NEW",
    Status.TRIGGER_PENDING: "NEW",
    Status.PARTIAL: "PARTIALLY_FILLED",
    Status.FILLED: "FILLED",
    Status.CANCELED: "CANCELED",
    Status.EXPIRED: "EXPIRED",
}
INTERVALS = {"1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14_400, "1d": 86_400}
WEIGHT_LIMIT = 6_000
ORDER_LIMIT_10S = 100
DEPTH_EVERY_NS = 100_000_000


class BinanceError(Exception):
    """An error with Binance's own code."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.text, self.status = code, text, status


class BinanceFace(Face):
    """Serves `/api/v3`, `/sapi/v1`, `/ws`, `/stream` and `/ws-api/v3`."""

    def start(self) -> None:
        """Set up what the face itself remembers."""
        self._update_id: dict[str, int] = dict.fromkeys(self.venue.markets, 1_000)
        self._pending: dict[str, dict[tuple[bool, int], int]] = {s: {} for s in self.venue.markets}
        self._first: dict[str, int] = {}
        self._depth_sent_ns = 0
        self._weight = (0, 0)
        self._orders: dict[str, tuple[int, int]] = {}

    def build(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_route("*", "/api/v3/{endpoint:.*}", self._rest)
        app.router.add_route("*", "/sapi/v1/{endpoint:.*}", self._rest)
        app.router.add_get("/ws", self._streams)
        app.router.add_get("/ws/{name:.*}", self._streams)
        app.router.add_get("/stream", self._streams)
        app.router.add_get("/stream/{name:.*}", self._streams)
        app.router.add_get("/ws-api/v3", self._api_socket)

    @staticmethod
    def name_of(market: Market) -> str:
        """Return Binance's symbol of a market."""
        return market.base + market.quote

    def market_of(self, name: str) -> Market:
        """Return the market of a symbol. Raises BinanceError."""
        for market in self.venue.markets.values():
            if self.name_of(market) == name:
                return market
        raise BinanceError(*ERRORS[Refusal.UNKNOWN_MARKET])

    # REST.

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        body = await request.text()
        method = request.method
        query = request.rel_url.raw_query_string

        def work() -> tuple[int, Any, dict[str, str]]:
            headers = self._count(endpoint, method)
            try:
                if self.faults.happens("ban"):
                    raise BinanceError(-1003, "Way too much request weight used; IP banned.", 418)
                if self.faults.happens("rate_limit") or (self.enforce_limits and self._weight[1] > WEIGHT_LIMIT):
                    raise BinanceError(-1003, "Too much request weight used; current limit is 6000.", 429)
                params = dict(parse_qsl(query, keep_blank_values=True)) | dict(parse_qsl(body, keep_blank_values=True))
                key = None
                if endpoint in _SIGNED:
                    key = self._authenticate(request.headers.get("X-MBX-APIKEY", ""), query + body, params)
                return 200, self._result(method, endpoint, params, key), headers
            except Refused as error:
                code, text = ERRORS[error.reason]
                return 400, {"code": code, "msg": text}, headers
            except BinanceError as error:
                extra = {"Retry-After": "1"} if error.status in (418, 429) else {}
                return error.status, {"code": error.code, "msg": error.text}, headers | extra
            except (KeyError, ValueError, TypeError):
                return 400, {"code": -1102, "msg": ERRORS[Refusal.BAD_FIELDS][1]}, headers

        return await self.answer(request, work, faulty=endpoint == "order" and method != "GET")

    def _count(self, endpoint: str, method: str) -> dict[str, str]:
        minute = self.venue.clock() // (60 * 10**9)
        if self._weight[0] != minute:
            self._weight = (minute, 0)
        self._weight = (minute, self._weight[1] + _WEIGHTS.get(endpoint, 1))
        return {"X-MBX-USED-WEIGHT-1M": str(self._weight[1])}

    def _authenticate(self, name: str, signed: str, params: dict[str, str]) -> ApiKey:
        key = self.keys.get(name)
        if key is None:
            raise BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        payload, marker, signature = signed.rpartition("signature=")
        if not marker or not _verified(key.secret, payload.rstrip("&").encode(), params.get("signature", signature)):
            raise BinanceError(-1022, "Signature for this request is not valid.")
        self._check_time(params)
        return key

    def _check_time(self, params: dict[str, Any]) -> None:
        timestamp, window = int(params["timestamp"]), float(params.get("recvWindow", 5000))
        now_ms = self.now_ns() // 1_000_000
        if window > 60_000:
            raise BinanceError(-1131, "recvWindow must be less than 60000.")
        if timestamp >= now_ms + 1000:
            raise BinanceError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now_ms - timestamp > window:
            raise BinanceError(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _result(self, method: str, endpoint: str, p: dict[str, str], key: ApiKey | None) -> Any:
        if key is not None:
            return self._private_result(method, endpoint, p, key)
        if endpoint == "ping":
            return {}
        if endpoint == "time":
            return {"serverTime": self.now_ns() // 1_000_000}
        if endpoint == "system/status":
            down = self.venue.state == "maintenance"
            return {"status": int(down), "msg": "system_maintenance" if down else "normal"}
        if endpoint == "exchangeInfo":
            return self._exchange_info(p)
        if endpoint.startswith("ticker/"):
            return self._tickers(endpoint.removeprefix("ticker/"), p)
        market = self.market_of(p["symbol"])
        if endpoint == "depth":
            book, count = self.venue.books[market.symbol], int(p.get("limit", 100))
            sides = {n: _levels(market, book.levels(count, is_buy=n == "bids")) for n in ("bids", "asks")}
            return {"lastUpdateId": self._caught_up(market), **sides}
        if endpoint in ("trades", "historicalTrades"):
            return [self._trade_row(t) for t in self.venue.trades[market.symbol][-int(p.get("limit", 500)) :]]
        if endpoint == "aggTrades":
            return [self._agg_row(t) for t in self.venue.trades[market.symbol][-int(p.get("limit", 500)) :]]
        if endpoint == "klines":
            return self._klines(market, p)
        if endpoint == "avgPrice":
            return {"mins": 5, "price": market.price_text(self.venue.last[market.symbol]), "closeTime": 0}
        raise BinanceError(-1000, f"Unknown endpoint {endpoint}.", 404)

    def _exchange_info(self, p: dict[str, str]) -> dict[str, Any]:
        wanted = {p["symbol"]} if p.get("symbol") else None
        return {
            "timezone": "UTC",
            "serverTime": self.now_ns() // 1_000_000,
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_LIMIT},
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": ORDER_LIMIT_10S},
            ],
            "exchangeFilters": [],
            "symbols": [
                self._symbol(m) for m in self.venue.markets.values() if wanted is None or self.name_of(m) in wanted
            ],
        }

    def _symbol(self, market: Market) -> dict[str, Any]:
        tick, step = _padded(market.price_text(1)), _padded(market.size_text(1))
        lot = {
            "minQty": _padded(market.size_text(market.min_size)),
            "maxQty": _padded(market.size_text(market.max_size)),
            "stepSize": step,
        }
        limits = {"minNotional": format_amount(market.min_notional), "applyMinToMarket": True}
        return {
            "symbol": self.name_of(market),
            "status": "TRADING" if self.venue.state == "online" else "BREAK",
            "baseAsset": market.base,
            "baseAssetPrecision": 8,
            "quoteAsset": market.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(TYPES),
            "icebergAllowed": True,
            "ocoAllowed": False,
            "quoteOrderQtyMarketAllowed": False,
            "allowTrailingStop": True,
            "cancelReplaceAllowed": False,
            "amendAllowed": True,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
                {"filterType": "LOT_SIZE", **lot},
                {"filterType": "MARKET_LOT_SIZE", **lot},
                {"filterType": "NOTIONAL", **limits, "maxNotional": "9000000.00000000", "avgPriceMins": 5},
                {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": self.venue.rules.max_open},
            ],
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "EXPIRE_TAKER",
            "allowedSelfTradePreventionModes": ["EXPIRE_TAKER"],
        }

    def _tickers(self, kind: str, p: dict[str, str]) -> Any:
        names = [p["symbol"]] if p.get("symbol") else []
        if not names and p.get("symbols"):
            names = msgspec.json.decode(p["symbols"], type=list[str])
        markets = [self.market_of(n) for n in names] or list(self.venue.markets.values())
        make = {"bookTicker": self._book_ticker, "price": self._price, "24hr": self._day}.get(kind)
        if make is None:
            raise BinanceError(-1000, "Unknown endpoint.", 404)
        found = [make(market) for market in markets]
        return found[0] if p.get("symbol") else found

    def _book_ticker(self, market: Market) -> dict[str, Any]:
        (bid, bids), (ask, asks) = self._top(market)
        text, size = market.price_text, market.size_text
        prices = {"bidPrice": text(bid), "bidQty": size(bids), "askPrice": text(ask), "askQty": size(asks)}
        return {"symbol": self.name_of(market), **prices}

    def _top(self, market: Market) -> tuple[tuple[int, int], tuple[int, int]]:
        book = self.venue.books[market.symbol]
        bid, ask = book.levels(1, is_buy=True), book.levels(1, is_buy=False)
        return (bid[0] if bid else (0, 0)), (ask[0] if ask else (0, 0))

    def _price(self, market: Market) -> dict[str, Any]:
        return {"symbol": self.name_of(market), "price": market.price_text(self.venue.last[market.symbol])}

    def _day(self, market: Market) -> dict[str, Any]:
        now = self.now_ns()
        trades = [t for t in self.venue.trades[market.symbol] if t.ts_ns > now - 86_400 * 10**9]
        prices = [t.price for t in trades] or [self.venue.last[market.symbol]]
        text = market.price_text
        volume = sum(t.size for t in trades)
        quote = sum(market.notional(t.price, t.size) for t in trades)
        return {
            **self._book_ticker(market),
            "priceChange": text(prices[-1] - prices[0]) if prices[-1] >= prices[0] else "0",
            "priceChangePercent": "0.000",
            "weightedAvgPrice": text(prices[-1]),
            "prevClosePrice": text(prices[0]),
            "lastPrice": text(prices[-1]),
            "lastQty": market.size_text(trades[-1].size if trades else 0),
            "openPrice": text(prices[0]),
            "highPrice": text(max(prices)),
            "lowPrice": text(min(prices)),
            "volume": market.size_text(volume),
            "quoteVolume": format_amount(quote),
            "openTime": (now - 86_400 * 10**9) // 1_000_000,
            "closeTime": now // 1_000_000,
            "firstId": trades[0].number if trades else -1,
            "lastId": trades[-1].number if trades else -1,
            "count": len(trades),
        }

    def _trade_row(self, trade: Trade) -> dict[str, Any]:
        m = trade.market
        return {
            "id": trade.number,
            "price": m.price_text(trade.price),
            "qty": m.size_text(trade.size),
            "quoteQty": format_amount(m.notional(trade.price, trade.size)),
            "time": trade.ts_ns // 1_000_000,
            "isBuyerMaker": trade.taker_side is Side.SELL,
            "isBestMatch": True,
        }

    def _agg_row(self, trade: Trade) -> dict[str, Any]:
        m = trade.market
        return {
            "a": trade.number,
            "p": m.price_text(trade.price),
            "q": m.size_text(trade.size),
            "f": trade.number,
            "l": trade.number,
            "T": trade.ts_ns // 1_000_000,
            "m": trade.taker_side is Side.SELL,
            "M": True,
        }

    def _klines(self, market: Market, p: dict[str, str]) -> list[list[Any]]:
        seconds = INTERVALS.get(p["interval"])
        if seconds is None:
            raise BinanceError(-1120, "Invalid interval.")
        since, until = int(p.get("startTime", 0)), int(p.get("endTime", 10**15))
        bars = self._bars(market, seconds)
        return [b for b in bars if since <= b[0] <= until][-int(p.get("limit", 500)) :]

    def _bars(self, market: Market, seconds: int) -> list[list[Any]]:
        groups: dict[int, list[Trade]] = {}
        for trade in self.venue.trades[market.symbol]:
            groups.setdefault(trade.ts_ns // 10**9 // seconds * seconds, []).append(trade)
        rows = []
        for start, trades in sorted(groups.items()):
            prices = [t.price for t in trades]
            text, volume = market.price_text, market.size_text(sum(t.size for t in trades))
            quote = format_amount(sum(market.notional(t.price, t.size) for t in trades))
            ohlc = [text(prices[0]), text(max(prices)), text(min(prices)), text(prices[-1])]
            ends = (start + seconds) * 1000 - 1
            rows.append([start * 1000, *ohlc, volume, ends, quote, len(trades), volume, quote, "0"])
        return rows

    # Private.

    def _private_result(self, method: str, endpoint: str, p: dict[str, str], key: ApiKey) -> Any:
        account = self.venue.account(key.account)
        if endpoint == "account/apiRestrictions":
            return {
                "ipRestrict": False,
                "createTime": 0,
                "enableReading": True,
                "enableWithdrawals": key.can_withdraw,
                "enableSpotAndMarginTrading": key.can_trade,
            }
        if endpoint == "capital/config/getall":
            return [
                self._coin(asset)
                for asset in sorted({a for m in self.venue.markets.values() for a in (m.base, m.quote)})
            ]
        if endpoint == "account":
            return self._account(account)
        if endpoint == "account/commission":
            tier = self.venue.tier(account)
            rates = {"maker": f"{tier.maker_ppm / 1e6:.8f}", "taker": f"{tier.taker_ppm / 1e6:.8f}"}
            return {"symbol": p["symbol"], "standardCommission": {**rates, "buyer": "0.0", "seller": "0.0"}}
        market = self.market_of(p["symbol"]) if p.get("symbol") else None
        if endpoint == "openOrders" and method == "GET":
            return [self._row(o) for o in account.open.values() if market is None or o.market is market]
        if market is None:
            raise BinanceError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if endpoint == "openOrders":
            return [self._row(o) for o in self.venue.cancel_all(account.name, market.symbol)]
        if endpoint == "allOrders":
            return [self._row(o) for o in account.orders.values() if o.market is market][-int(p.get("limit", 500)) :]
        if endpoint == "myTrades":
            return self._my_trades(account, market, p)
        if endpoint == "order/amend/keepPriority":
            return self._amend(account, market, p)
        return self._order_result(method, market, p, key)

    def _order_result(self, method: str, market: Market, p: dict[str, Any], key: ApiKey) -> Any:
        account = self.venue.account(key.account)
        if method == "GET":
            found = self._order_of(account, p)
            if found is None:
                raise BinanceError(-2013, "Order does not exist.")
            return self._row(found)
        if not key.can_trade:
            raise BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        if self.venue.state == "maintenance":
            raise BinanceError(-1016, "This service is no longer available.", 503)
        if method == "DELETE":
            order = self.venue.cancel(account.name, self._order_of(account, p), "canceled")
            return {**self._row(order), "origClientOrderId": order.request.client_id}
        self._count_order(key)
        if self.faults.happens("reject"):
            raise Refused(Refusal.INJECTED)
        order = self.venue.place(account.name, self._new_order(market, p))
        return self._placed(order)

    def _count_order(self, key: ApiKey) -> None:
        if not self.enforce_limits:
            return
        window = self.venue.clock() // (10 * 10**9)
        seen = self._orders.get(key.name, (window, 0))
        count = seen[1] + 1 if seen[0] == window else 1
        self._orders[key.name] = (window, count)
        if count > ORDER_LIMIT_10S:
            raise BinanceError(-1015, "Too many new orders; current limit is 100 orders per 10 SECOND.", 429)

    def _coin(self, asset: str) -> dict[str, Any]:
        return {
            "coin": asset, "name": asset, "free": "0", "locked": "0", "trading": True, "networkList": [],
            "depositAllEnable": True, "withdrawAllEnable": True, "isLegalMoney": asset in ("USD", "EUR"),
        }  # fmt: skip

    def _account(self, account: Account) -> dict[str, Any]:
        tier = self.venue.tier(account)
        balances = [
            {
                "asset": asset,
                "free": format_amount(account.free(asset)),
                "locked": format_amount(account.held.get(asset, 0)),
            }
            for asset in account.total
        ]
        return {
            "makerCommission": tier.maker_ppm // 100,
            "takerCommission": tier.taker_ppm // 100,
            "canTrade": True,
            "canWithdraw": True,
            "canDeposit": True,
            "accountType": "SPOT",
            "updateTime": self.now_ns() // 1_000_000,
            "balances": balances,
            "permissions": ["SPOT"],
            "uid": 1,
        }

    def _my_trades(self, account: Account, market: Market, p: dict[str, str]) -> list[dict[str, Any]]:
        since, from_id = int(p.get("startTime", 0)), int(p.get("fromId", 0))
        wanted = int(p["orderId"]) if p.get("orderId") else 0
        rows = []
        for order, trade in account.trades:
            if order.market is not market or trade.ts_ns // 1_000_000 < since or trade.number < from_id:
                continue
            if wanted and order.number != wanted:
                continue
            fee, asset, is_maker = trade.of(order)
            rows.append(
                {
                    "symbol": self.name_of(market),
                    "id": trade.number,
                    "orderId": order.number,
                    "orderListId": -1,
                    "price": market.price_text(trade.price),
                    "qty": market.size_text(trade.size),
                    "quoteQty": format_amount(market.notional(trade.price, trade.size)),
                    "commission": format_amount(fee),
                    "commissionAsset": asset,
                    "time": trade.ts_ns // 1_000_000,
                    "isBuyer": order.is_buy,
                    "isMaker": is_maker,
                    "isBestMatch": True,
                }
            )
        return rows[: int(p.get("limit", 500))] if from_id or since else rows[-int(p.get("limit", 500)) :]

    def _amend(self, account: Account, market: Market, p: dict[str, str]) -> dict[str, Any]:
        order = self._order_of(account, p)
        size = units(p["newQty"], market.size_decimals, Refusal.BAD_SIZE)
        if order is not None and size >= order.size:
            raise Refused(Refusal.AMEND)
        amended = self.venue.amend(account.name, order, size=size)
        return {"transactTime": self.now_ns() // 1_000_000, "executionId": 1, "amendedOrder": self._row(amended)}

    def _order_of(self, account: Account, p: dict[str, Any]) -> Order | None:
        if p.get("orderId"):
            return account.orders.get(int(p["orderId"]))
        return account.by_client.get(str(p.get("origClientOrderId", "")))

    def _new_order(self, market: Market, p: dict[str, Any]) -> NewOrder:
        kind = TYPES.get(str(p["type"]))
        if kind is None:
            raise BinanceError(-1116, "Invalid orderType.")
        if p["side"] not in ("BUY", "SELL"):
            raise BinanceError(-1117, "Invalid side.")
        tif = str(p.get("timeInForce", "GTC"))
        if tif not in ("GTC", "IOC", "FOK"):
            raise BinanceError(-1115, "Invalid timeInForce.")
        if kind.has_limit and p["type"] != "LIMIT_MAKER" and "timeInForce" not in p:
            raise BinanceError(-1102, "Mandatory parameter 'timeInForce' was not sent, was empty/null, or malformed.")
        price = units(p["price"], market.price_decimals, Refusal.BAD_PRICE) if kind.has_limit else 0
        trigger = units(p["stopPrice"], market.price_decimals, Refusal.BAD_PRICE) if p.get("stopPrice") else 0
        trail = 0
        if p.get("trailingDelta"):
            kind = OrderType.TRAILING_STOP
            trail = max(1, self.venue.last[market.symbol] * int(p["trailingDelta"]) // 10_000)
        return NewOrder(
            market=market.symbol,
            side=Side(str(p["side"]).lower()),
            type=kind,
            size=units(p["quantity"], market.size_decimals, Refusal.BAD_SIZE),
            price=price,
            trigger=trigger,
            trail=trail,
            display=units(p["icebergQty"], market.size_decimals, Refusal.BAD_SIZE) if p.get("icebergQty") else 0,
            tif=TimeInForce(tif.lower()),
            post_only=p["type"] == "LIMIT_MAKER",
            client_id=str(p.get("newClientOrderId", "")) or f"auto{self.venue.clock()}",
        )

    def _row(self, order: Order) -> dict[str, Any]:
        m, request = order.market, order.request
        return {
            "symbol": self.name_of(m),
            "orderId": order.number,
            "orderListId": -1,
            "clientOrderId": request.client_id,
            "transactTime": order.updated_ns // 1_000_000,
            "price": m.price_text(order.price),
            "origQty": m.size_text(order.size),
            "executedQty": m.size_text(order.filled),
            "cummulativeQuoteQty": format_amount(order.cost),
            "status": STATUSES[order.status],
            "timeInForce": "GTC" if not request.type.has_limit else request.tif.value.upper(),
            "type": _type_name(order),
            "side": request.side.value.upper(),
            "stopPrice": m.price_text(order.trigger),
            "icebergQty": m.size_text(request.display),
            "time": order.created_ns // 1_000_000,
            "updateTime": order.updated_ns // 1_000_000,
            "isWorking": order.status is not Status.TRIGGER_PENDING,
            "workingTime": order.created_ns // 1_000_000,
            "origQuoteOrderQty": "0.00000000",
            "selfTradePreventionMode": "EXPIRE_TAKER",
        }

    def _placed(self, order: Order) -> dict[str, Any]:
        fills = []
        for trade in order.trades:
            fee, asset, _ = trade.of(order)
            fills.append(
                {
                    "price": order.market.price_text(trade.price),
                    "qty": order.market.size_text(trade.size),
                    "commission": format_amount(fee),
                    "commissionAsset": asset,
                    "tradeId": trade.number,
                }
            )
        return {**self._row(order), "fills": fills}

    # Market streams.

    async def _streams(self, request: web.Request) -> web.StreamResponse:
        names = [n for n in request.match_info.get("name", "").split("/") if "@" in n]
        names += [n for n in request.query.get("streams", "").split("/") if n]
        combined = request.path.startswith("/stream")

        def opened(socket: Socket) -> None:
            socket.subscriptions["combined"] = combined
            for name in names:
                socket.subscriptions[name] = True

        return await self.serve_socket(request, self._on_stream_text, opened)

    async def _on_stream_text(self, socket: Socket, text: str) -> None:
        try:
            message = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            socket.send('{"error":{"code":3,"msg":"Invalid JSON"}}', faulty=False)
            return
        method, params, number = message.get("method"), message.get("params") or [], message.get("id")
        if method == "SUBSCRIBE":
            for name in params:
                socket.subscriptions[name] = True
        elif method == "UNSUBSCRIBE":
            for name in params:
                socket.subscriptions.pop(name, None)
        elif method != "LIST_SUBSCRIPTIONS":
            error = {"code": 2, "msg": f"Invalid request: unknown method {method}"}
            socket.send(_json({"error": error, "id": number}), faulty=False)
            return
        socket.send(_json({"result": None, "id": number}), faulty=False)

    def _publish(self, stream: str, data: dict[str, Any]) -> None:
        plain = wrapped = ""
        for socket in list(self.sockets):
            if stream not in socket.subscriptions:
                continue
            if socket.subscriptions.get("combined"):
                wrapped = wrapped or _json({"stream": stream, "data": data})
                socket.send(wrapped)
            else:
                plain = plain or _json(data)
                socket.send(plain)

    def _caught_up(self, market: Market) -> int:
        """Take pending changes of a book into its numbering, so that a snapshot has a number of its own."""
        self._collect(market)
        return self._update_id[market.symbol]

    def _collect(self, market: Market) -> bool:
        symbol = market.symbol
        changes = self.venue.books[symbol].take_changes()
        for is_buy, price, size in changes:
            self._update_id[symbol] += 1
            self._first.setdefault(symbol, self._update_id[symbol])
            self._pending[symbol][is_buy, price] = size
        return bool(changes)

    def flush(self) -> None:
        """Send the top of changed books, and the changes themselves every 100 ms."""
        for market in self.venue.markets.values():
            if not self._collect(market):
                continue
            (bid, bids), (ask, asks) = self._top(market)
            name = self.name_of(market)
            text, size = market.price_text, market.size_text
            data = {"u": self._update_id[market.symbol], "s": name, "b": text(bid), "B": size(bids)}
            self._publish(f"{name.lower()}@bookTicker", {**data, "a": text(ask), "A": size(asks)})
        if self.venue.clock() - self._depth_sent_ns >= DEPTH_EVERY_NS:
            self.send_depth()

    def beat(self, tenth: int) -> None:
        """Send book changes: Binance does so every 100 ms."""
        self.send_depth()

    def send_depth(self) -> None:
        """Send what changed in each book since the last time."""
        self._depth_sent_ns = self.venue.clock()
        for market in self.venue.markets.values():
            self._collect(market)
            pending = self._pending[market.symbol]
            if not pending:
                continue
            name = self.name_of(market)
            first = self._first.pop(market.symbol)
            sides: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
            for (is_buy, price), size in pending.items():
                sides[is_buy].append((price, size))
            pending.clear()
            data = {
                "e": "depthUpdate",
                "E": self.now_ns() // 1_000_000,
                "s": name,
                "U": first,
                "u": self._update_id[market.symbol],
                "b": _levels(market, sides[True]),
                "a": _levels(market, sides[False]),
            }
            for stream in (f"{name.lower()}@depth@100ms", f"{name.lower()}@depth"):
                self._publish(stream, data)

    def on_trade(self, trade: Trade) -> None:
        """Tell a public trade, and the bar that it belongs to."""
        name, market = self.name_of(trade.market), trade.market
        now_ms, is_maker = self.now_ns() // 1_000_000, trade.taker_side is Side.SELL
        shared = {"E": now_ms, "s": name, "p": market.price_text(trade.price), "q": market.size_text(trade.size)}
        times = {"T": trade.ts_ns // 1_000_000, "m": is_maker, "M": True}
        self._publish(f"{name.lower()}@trade", {"e": "trade", **shared, "t": trade.number, **times})
        ids = {"a": trade.number, "f": trade.number, "l": trade.number}
        self._publish(f"{name.lower()}@aggTrade", {"e": "aggTrade", **shared, **ids, **times})
        wanted = {n for s in self.sockets for n in s.subscriptions if str(n).startswith(f"{name.lower()}@kline_")}
        for stream in sorted(wanted):
            interval = str(stream).rpartition("_")[2]
            if interval in INTERVALS:
                self._publish(stream, self._kline_event(market, interval))
        for suffix in ("ticker", "miniTicker"):
            if any(f"{name.lower()}@{suffix}" in s.subscriptions for s in self.sockets):
                event = self._ticker_event(market)
                if suffix == "miniTicker":
                    event = {k: event[k] for k in ("E", "s", "c", "o", "h", "l", "v", "q")} | {"e": "24hrMiniTicker"}
                self._publish(f"{name.lower()}@{suffix}", event)

    def _kline_event(self, market: Market, interval: str) -> dict[str, Any]:
        start, open_, high, low, close, volume, ends, quote, count, *_ = self._bars(market, INTERVALS[interval])[-1]
        name = self.name_of(market)
        kline = {
            "t": start, "T": ends, "s": name, "i": interval, "f": 0, "L": 0, "o": open_, "c": close, "h": high,
            "l": low, "v": volume, "n": count, "x": False, "q": quote, "V": volume, "Q": quote, "B": "0",
        }  # fmt: skip
        return {"e": "kline", "E": self.now_ns() // 1_000_000, "s": name, "k": kline}

    def _ticker_event(self, market: Market) -> dict[str, Any]:
        d = self._day(market)
        return {
            "e": "24hrTicker", "E": d["closeTime"], "s": d["symbol"], "p": d["priceChange"],
            "P": d["priceChangePercent"], "w": d["weightedAvgPrice"], "x": d["prevClosePrice"], "c": d["lastPrice"],
            "Q": d["lastQty"], "b": d["bidPrice"], "B": d["bidQty"], "a": d["askPrice"], "A": d["askQty"],
            "o": d["openPrice"], "h": d["highPrice"], "l": d["lowPrice"], "v": d["volume"], "q": d["quoteVolume"],
            "O": d["openTime"], "C": d["closeTime"], "F": d["firstId"], "L": d["lastId"], "n": d["count"],
        }  # fmt: skip

    # WebSocket API.

    async def _api_socket(self, request: web.Request) -> web.StreamResponse:
        return await self.serve_socket(request, self._on_api_text, lambda _socket: None)

    async def _on_api_text(self, socket: Socket, text: str) -> None:
        number: Any = None
        try:
            message = msgspec.json.decode(text, type=dict[str, Any])
            number, method, params = message.get("id"), str(message.get("method")), message.get("params") or {}
            trading = method in ("order.place", "order.cancel")
            if trading and self.faults.happens("lose_request"):
                socket.close()
                return
            if trading and self.faults.happens("slow_request"):
                self.hear_late(self._on_api_text(socket, text))
                return
            result = self._api_result(socket, method, params)
            answer = {"id": number, "status": 200, "result": result, "rateLimits": []}
            if trading:
                socket.answer(_json(answer))
                return
        except Refused as error:
            code, reason = ERRORS[error.reason]
            answer = {"id": number, "status": 400, "error": {"code": code, "msg": reason}}
        except BinanceError as error:
            answer = {"id": number, "status": error.status, "error": {"code": error.code, "msg": error.text}}
        except (KeyError, ValueError, TypeError, AttributeError, msgspec.DecodeError):
            text = ERRORS[Refusal.BAD_FIELDS][1]
            answer = {"id": number, "status": 400, "error": {"code": -1102, "msg": text}}
        socket.send(_json(answer), faulty=False)

    def _api_result(self, socket: Socket, method: str, p: dict[str, Any]) -> Any:
        if method == "ping":
            return {}
        if method == "time":
            return {"serverTime": self.now_ns() // 1_000_000}
        if method in ("session.logon", "userDataStream.subscribe.signature") or "signature" in p:
            key = self._authenticate_socket(p)
        elif socket.key is not None:
            key = socket.key
        else:
            raise BinanceError(-1022, "Signature for this request is not valid.", 401)
        if method == "session.logon":
            socket.key = key
            return {"apiKey": key.name, "authorizedSince": self.now_ns() // 1_000_000}
        if method in ("userDataStream.subscribe.signature", "userDataStream.subscribe"):
            socket.key = key
            socket.subscriptions["user"] = True
            return {"subscriptionId": 0}
        if method == "userDataStream.unsubscribe":
            socket.subscriptions.pop("user", None)
            return {}
        if method in _API_ORDERS:
            verb = _API_ORDERS[method]
            if self.faults.happens("rate_limit"):
                raise BinanceError(-1003, "Too much request weight used.", 429)
            return self._order_result(verb, self.market_of(str(p["symbol"])), p, key)
        endpoints = {"account.status": "account", "openOrders.status": "openOrders", "myTrades": "myTrades"}
        if method in endpoints:
            return self._private_result("GET", endpoints[method], {k: str(v) for k, v in p.items()}, key)
        if method == "openOrders.cancelAll":
            return self._private_result("DELETE", "openOrders", {k: str(v) for k, v in p.items()}, key)
        raise BinanceError(-1000, f"Unknown method {method}.")

    def _authenticate_socket(self, p: dict[str, Any]) -> ApiKey:
        key = self.keys.get(str(p.get("apiKey", "")))
        if key is None:
            raise BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        payload = "&".join(f"{name}={p[name]}" for name in sorted(p) if name != "signature")
        if not _verified(key.secret, payload.encode(), str(p.get("signature", ""))):
            raise BinanceError(-1022, "Signature for this request is not valid.")
        self._check_time(p)
        return key

    # User data.

    def _tell(self, account: str, event: dict[str, Any]) -> None:
        for socket in list(self.sockets):
            if socket.key and socket.key.account == account and "user" in socket.subscriptions:
                socket.send(_json({"subscriptionId": 0, "event": event}))

    def on_order(self, order: Order, what: str) -> None:
        """Tell the owner what became of an order."""
        if what == "triggered":
            return
        m, request = order.market, order.request
        trade = order.trades[-1] if what == "trade" else None
        fee, asset, is_maker = trade.of(order) if trade else (0, None, False)
        canceled = what == "canceled"
        self._tell(
            order.account,
            {
                "e": "executionReport",
                "E": self.now_ns() // 1_000_000,
                "s": self.name_of(m),
                "c": f"cancel{order.number}" if canceled else request.client_id,
                "S": request.side.value.upper(),
                "o": _type_name(order),
                "f": "GTC" if not request.type.has_limit else request.tif.value.upper(),
                "q": m.size_text(order.size),
                "p": m.price_text(order.price),
                "P": m.price_text(order.trigger),
                "F": m.size_text(request.display),
                "g": -1,
                "C": request.client_id if canceled else "",
                "x": {"trade": "TRADE", "new": "NEW", "canceled": "CANCELED", "expired": "EXPIRED"}.get(
                    what, "REPLACED"
                ),
                "X": STATUSES[order.status],
                "r": "NONE",
                "i": order.number,
                "l": m.size_text(trade.size if trade else 0),
                "z": m.size_text(order.filled),
                "L": m.price_text(trade.price if trade else 0),
                "n": format_amount(fee),
                "N": asset,
                "T": order.updated_ns // 1_000_000,
                "t": trade.number if trade else -1,
                "I": 1,
                "w": order.status in (Status.NEW, Status.PARTIAL),
                "m": is_maker,
                "M": False,
                "O": order.created_ns // 1_000_000,
                "Z": format_amount(order.cost),
                "Y": format_amount(m.notional(trade.price, trade.size) if trade else 0),
                "Q": "0.00000000",
                "W": order.created_ns // 1_000_000,
                "V": "EXPIRE_TAKER",
            },
        )

    def on_balance(self, account: Account, asset: str) -> None:
        """Tell the owner of a balance that changed."""
        now_ms = self.now_ns() // 1_000_000
        held = {"a": asset, "f": format_amount(account.free(asset)), "l": format_amount(account.held.get(asset, 0))}
        self._tell(account.name, {"e": "outboundAccountPosition", "E": now_ms, "u": now_ms, "B": [held]})


_SIGNED = frozenset(
    {
        "order", "openOrders", "allOrders", "myTrades", "account", "account/commission", "account/apiRestrictions",
        "capital/config/getall", "order/amend/keepPriority",
    }
)  # fmt: skip
_WEIGHTS = {
    "exchangeInfo": 20, "depth": 5, "trades": 25, "klines": 2, "ticker/bookTicker": 2, "ticker/24hr": 2,
    "account": 20, "allOrders": 20, "myTrades": 20, "openOrders": 6, "account/commission": 20, "order": 1,
}  # fmt: skip
_API_ORDERS = {"order.place": "POST", "order.cancel": "DELETE", "order.status": "GET"}


def _verified(secret: str, payload: bytes, signature: str) -> bool:
    if "PUBLIC KEY" not in secret:
        expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected, signature.lower())
    key = serialization.load_pem_public_key(secret.encode())
    try:
        given = base64.b64decode(signature, validate=True)
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(given, payload)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(given, payload, padding.PKCS1v15(), hashes.SHA256())
        else:
            return False
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _type_name(order: Order) -> str:
    request = order.request
    if request.post_only:
        return "LIMIT_MAKER"
    if request.type is OrderType.TRAILING_STOP:
        return "STOP_LOSS"
    return next(name for name, kind in TYPES.items() if kind is request.type)


def _levels(market: Market, levels: list[tuple[int, int]]) -> list[list[str]]:
    return [[market.price_text(p), market.size_text(s)] for p, s in levels]


def _padded(text: str) -> str:
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(8, '0')}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
