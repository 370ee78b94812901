"""Kraken's face: REST and WebSocket v2 as Kraken's API Center documents them (2026)."""

import base64
import binascii
import datetime
import hashlib
import hmac
import secrets
from typing import Any
from urllib.parse import parse_qs
from zlib import crc32

import msgspec
from aiohttp import web

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import format_amount
from aether.exchange.face import ApiKey, Face, Refused, Socket, base36, from_base36, number, units
from aether.exchange.venue import Account, Market, NewOrder, Order, Refusal, Status, Trade

ASSETS = {
    "BTC": ("XXBT", "XBT"),
    "ETH": ("XETH", "ETH"),
    "XRP": ("XXRP", "XRP"),
    "USD": ("ZUSD", "USD"),
    "EUR": ("ZEUR", "EUR"),
    "DOGE": ("XXDG", "XDG"),
}
TYPES = {
    "market": OrderType.MARKET,
    "limit": OrderType.LIMIT,
    "iceberg": OrderType.LIMIT,
    "stop-loss": OrderType.STOP_LOSS,
    "stop-loss-limit": OrderType.STOP_LOSS_LIMIT,
    "take-profit": OrderType.TAKE_PROFIT,
    "take-profit-limit": OrderType.TAKE_PROFIT_LIMIT,
    "trailing-stop": OrderType.TRAILING_STOP,
}
TEXTS = {
    Refusal.UNKNOWN_MARKET: "EQuery:Unknown asset pair",
    Refusal.MARKET_CLOSED: "EService:Market in cancel_only mode",
    Refusal.BAD_PRICE: "EOrder:Invalid price",
    Refusal.BAD_SIZE: "EGeneral:Invalid arguments:volume",
    Refusal.TOO_SMALL: "EGeneral:Invalid arguments:volume minimum not met",
    Refusal.TOO_LARGE: "EGeneral:Invalid arguments:volume",
    Refusal.NOTIONAL: "EOrder:Cost minimum not met",
    Refusal.FUNDS: "EOrder:Insufficient funds",
    Refusal.POST_ONLY: "EOrder:Post only order",
    Refusal.TRIGGER: "EGeneral:Invalid arguments:price",
    Refusal.DUPLICATE: "EOrder:Duplicate cl_ord_id",
    Refusal.UNKNOWN_ORDER: "EOrder:Unknown order",
    Refusal.TOO_MANY: "EOrder:Orders limit exceeded",
    Refusal.BAD_FIELDS: "EGeneral:Invalid arguments",
    Refusal.INJECTED: "EOrder:Trading agreement required",
    Refusal.AMEND: "EOrder:Invalid order",
    Refusal.FOK: "EOrder:Fill or kill",
}
COUNTER_MAX = 20.0
COUNTER_DECAY_PER_S = 0.5
NONCE_ERROR = "EAPI:Invalid nonce"
DEPTHS = (10, 25, 100, 500, 1000)


class KrakenFace(Face):
    """Serves `/0/public`, `/0/private` and `/v2`."""

    def start(self) -> None:
        """Set up what the face itself remembers."""
        self.tokens: dict[str, ApiKey] = {}
        self._sent: dict[tuple[Socket, str, int], tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {}

    def build(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/0/public/{endpoint}", self._public)
        app.router.add_post("/0/public/{endpoint}", self._public)
        app.router.add_post("/0/private/{endpoint}", self._private)
        app.router.add_get("/v2", self._socket)

    def beat(self, tenth: int) -> None:
        """Send the heartbeat of each second."""
        if tenth % 10 == 0:
            for socket in self.sockets:
                socket.send('{"channel":"heartbeat"}', faulty=False)

    # Names.

    def codes(self, asset: str) -> tuple[str, str]:
        """Return an asset's code and its altname."""
        return ASSETS.get(asset, (asset, asset))

    def pair_key(self, market: Market) -> str:
        """Return the key of a pair in results: XXBTZUSD, but SOLUSD."""
        base, quote = self.codes(market.base), self.codes(market.quote)
        legacy = base[0] != base[1] or market.base in ASSETS
        return base[0] + quote[0] if legacy else base[1] + quote[1]

    def altname(self, market: Market) -> str:
        """Return a pair's altname: XBTUSD."""
        return self.codes(market.base)[1] + self.codes(market.quote)[1]

    def market_of(self, name: str) -> Market:
        """Return the market of any of its names."""
        for market in self.venue.markets.values():
            base, quote = self.codes(market.base)[1], self.codes(market.quote)[1]
            if name in (market.symbol, self.pair_key(market), self.altname(market), f"{base}/{quote}"):
                return market
        raise Refused(Refusal.UNKNOWN_MARKET, name)

    @staticmethod
    def order_id(order: Order) -> str:
        """Return Kraken's id of an order."""
        text = base36(order.number, 16)
        return f"O{text[:5]}-{text[5:10]}-{text[10:]}"

    @staticmethod
    def trade_id(trade: Trade) -> str:
        """Return Kraken's id of a trade."""
        text = base36(trade.number, 16)
        return f"T{text[:5]}-{text[5:10]}-{text[10:]}"

    def order_of(self, account: Account, txid: str = "", client_id: str = "") -> Order | None:
        """Return an account's order by either id."""
        if txid:
            return account.orders.get(from_base36(txid[1:].replace("-", "")))
        return account.by_client.get(client_id)

    # Public REST.

    async def _public(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        query = {**request.query}

        def work() -> tuple[int, Any, dict[str, str]]:
            try:
                return 200, {"error": [], "result": self._public_result(endpoint, query)}, {}
            except Refused as error:
                return 200, {"error": [TEXTS[error.reason]]}, {}

        return await self.answer(request, work, faulty=False)

    def _public_result(self, endpoint: str, query: dict[str, str]) -> Any:
        now_s = self.now_ns() // 10**9
        if endpoint == "Time":
            return {"unixtime": now_s, "rfc1123": "now"}
        if endpoint == "SystemStatus":
            return {"status": self.venue.state, "timestamp": iso(self.now_ns())}
        if endpoint == "Assets":
            assets = {a for m in self.venue.markets.values() for a in (m.base, m.quote)}
            return {self.codes(a)[0]: _asset(self.codes(a)[1], a) for a in sorted(assets)}
        if endpoint == "AssetPairs":
            return {self.pair_key(m): self._pair(m) for m in self.venue.markets.values()}
        chosen = [self.market_of(n) for n in query["pair"].split(",")] if query.get("pair") else []
        if endpoint == "Ticker":
            return {self.pair_key(m): self._ticker(m) for m in chosen or self.venue.markets.values()}
        if not chosen:
            raise Refused(Refusal.UNKNOWN_MARKET)
        market = chosen[0]
        if endpoint == "Depth":
            book, count = self.venue.books[market.symbol], int(query.get("count", 100))
            sides = {
                name: [
                    [market.price_text(p), market.size_text(s), now_s]
                    for p, s in book.levels(count, is_buy=name == "bids")
                ]
                for name in ("asks", "bids")
            }
            return {self.pair_key(market): sides}
        if endpoint == "Trades":
            trades = self.venue.trades[market.symbol][-int(query.get("count", 1000)) :]
            found = [
                [
                    market.price_text(t.price),
                    market.size_text(t.size),
                    t.ts_ns / 1e9,
                    "b" if t.taker_side is Side.BUY else "s",
                    "l",
                    "",
                    t.number,
                ]
                for t in trades
            ]
            return {self.pair_key(market): found, "last": str(self.now_ns())}
        if endpoint == "OHLC":
            interval = int(query.get("interval", 1)) * 60
            return {self.pair_key(market): self._candles(market, interval, int(query.get("since", 0))), "last": now_s}
        raise Refused(Refusal.BAD_FIELDS, endpoint)

    def _pair(self, market: Market) -> dict[str, Any]:
        base, quote = self.codes(market.base), self.codes(market.quote)
        tiers = self.venue.rules.fee_tiers
        return {
            "altname": self.altname(market),
            "wsname": f"{base[1]}/{quote[1]}",
            "aclass_base": "currency",
            "base": base[0],
            "aclass_quote": "currency",
            "quote": quote[0],
            "lot": "unit",
            "cost_decimals": 5,
            "pair_decimals": market.price_decimals,
            "lot_decimals": market.size_decimals,
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[t.volume, t.taker_ppm / 10_000] for t in tiers],
            "fees_maker": [[t.volume, t.maker_ppm / 10_000] for t in tiers],
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": market.size_text(market.min_size),
            "costmin": format_amount(market.min_notional),
            "tick_size": market.price_text(1),
            "status": "online" if self.venue.state == "online" else "cancel_only",
        }

    def _ticker(self, market: Market) -> dict[str, Any]:
        book = self.venue.books[market.symbol]
        tops = {side: book.levels(1, is_buy=side == "b") for side in ("a", "b")}
        trades = self.venue.trades[market.symbol]
        day = [t for t in trades if t.ts_ns > self.now_ns() - 86_400 * 10**9] or trades[-1:]
        prices = [t.price for t in day] or [self.venue.last[market.symbol]]
        volume = market.size_text(sum(t.size for t in day))
        text = market.price_text
        top = {s: [text(v[0][0]), "1", market.size_text(v[0][1])] if v else ["0", "0", "0"] for s, v in tops.items()}
        last = text(self.venue.last[market.symbol])
        return {
            **top,
            "c": [last, market.size_text(day[-1].size) if day else "0"],
            "v": [volume, volume],
            "p": [last, last],
            "t": [len(day), len(day)],
            "l": [text(min(prices))] * 2,
            "h": [text(max(prices))] * 2,
            "o": text(prices[0]),
        }

    def _candles(self, market: Market, interval_s: int, since_s: int) -> list[list[Any]]:
        bars: dict[int, list[Trade]] = {}
        for trade in self.venue.trades[market.symbol]:
            bars.setdefault(trade.ts_ns // 10**9 // interval_s * interval_s, []).append(trade)
        text = market.price_text
        found = []
        for start, trades in sorted(bars.items()):
            if start < since_s:
                continue
            prices = [t.price for t in trades]
            volume = market.size_text(sum(t.size for t in trades))
            row = [start, text(prices[0]), text(max(prices)), text(min(prices)), text(prices[-1])]
            found.append([*row, text(prices[-1]), volume, len(trades)])
        return found[-720:]

    # Private REST.

    async def _private(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        body = await request.text()

        def work() -> tuple[int, Any, dict[str, str]]:
            try:
                fields = {name: values[0] for name, values in parse_qs(body, keep_blank_values=True).items()}
                if request.content_type == "application/json":
                    fields = {k: v if isinstance(v, str) else str(v) for k, v in msgspec.json.decode(body).items()}
                problem, key = self._authenticate(request, body, fields)
                if key is None:
                    return 200, {"error": [problem]}, {}
                if self._over_limit(key, endpoint):
                    return 200, {"error": ["EAPI:Rate limit exceeded"]}, {}
                return 200, {"error": [], "result": self._private_result(endpoint, fields, key)}, {}
            except Refused as error:
                return 200, {"error": [TEXTS[error.reason]]}, {}
            except (KeyError, ValueError, TypeError, AttributeError, msgspec.DecodeError):
                return 200, {"error": ["EGeneral:Invalid arguments"]}, {}
            except _KrakenError as error:
                return 200, {"error": [str(error)]}, {}

        return await self.answer(request, work, faulty=endpoint in _TRADING)

    def _authenticate(self, request: web.Request, body: str, fields: dict[str, str]) -> tuple[str, ApiKey | None]:
        key = self.keys.get(request.headers.get("API-Key", ""))
        if key is None:
            return "EAPI:Invalid key", None
        nonce = fields.get("nonce", "")
        inner = hashlib.sha256((nonce + body).encode()).digest()
        secret = base64.b64decode(key.secret)
        expected = hmac.new(secret, request.path.encode() + inner, hashlib.sha512).digest()
        try:
            given = base64.b64decode(request.headers.get("API-Sign", ""), validate=True)
        except (ValueError, binascii.Error):
            given = b""
        if not hmac.compare_digest(expected, given):
            return "EAPI:Invalid signature", None
        if not nonce.isdigit() or int(nonce) <= key.nonce:
            return NONCE_ERROR, None
        key.nonce = int(nonce)
        return "", key

    def _over_limit(self, key: ApiKey, endpoint: str) -> bool:
        if self.faults.happens("rate_limit"):
            return True
        if not self.enforce_limits or endpoint in _TRADING:
            return False
        now = self.venue.clock() / 1e9
        key.counter = max(0.0, key.counter - (now - key.counter_s) * COUNTER_DECAY_PER_S)
        key.counter_s = now
        cost = 4 if endpoint in ("TradesHistory", "ClosedOrders", "Ledgers") else 1
        if key.counter + cost > COUNTER_MAX:
            return True
        key.counter += cost
        return False

    def _private_result(self, endpoint: str, f: dict[str, str], key: ApiKey) -> Any:
        account = self.venue.account(key.account)
        if endpoint in _TRADING and not key.can_trade:
            raise _KrakenError("EGeneral:Permission denied")
        if self.venue.state == "maintenance":
            raise _KrakenError("EService:Unavailable")
        if endpoint in ("Balance", "BalanceEx"):
            rows = {}
            for asset, total in account.total.items():
                held = format_amount(account.held.get(asset, 0))
                extended = {"balance": format_amount(total), "hold_trade": held}
                rows[self.codes(asset)[0]] = extended if endpoint == "BalanceEx" else format_amount(total)
            return rows
        if endpoint == "GetWebSocketsToken":
            token = secrets.token_urlsafe(32)
            self.tokens[token] = key
            return {"token": token, "expires": 900}
        if endpoint == "GetApiKeyInfo":
            rights = ["query-funds", "query-open-trades", "query-closed-trades"]
            rights += ["modify-trades", "close-trades"] if key.can_trade else []
            return {"api_key_name": key.name, "permissions": rights + (["withdraw-funds"] if key.can_withdraw else [])}
        if endpoint == "TradeVolume":
            tier = self.venue.tier(account)
            markets = [self.market_of(n) for n in f.get("pair", "").split(",") if n]
            taker = {self.pair_key(m): {"fee": f"{tier.taker_ppm / 10_000:.4f}"} for m in markets}
            maker = {self.pair_key(m): {"fee": f"{tier.maker_ppm / 10_000:.4f}"} for m in markets}
            volume = format_amount(sum(account.day_volume.values()))
            return {"currency": "ZUSD", "volume": volume, "fees": taker, "fees_maker": maker}
        if endpoint == "OpenOrders":
            found = [o for o in account.open.values() if f.get("cl_ord_id", o.request.client_id) == o.request.client_id]
            return {"open": {self.order_id(o): self._order_row(o) for o in found}}
        if endpoint == "ClosedOrders":
            done = [o for o in account.orders.values() if not o.status.is_open]
            done = [o for o in done if f.get("cl_ord_id", o.request.client_id) == o.request.client_id]
            return {"closed": {self.order_id(o): self._order_row(o) for o in done[-50:]}, "count": len(done)}
        if endpoint == "QueryOrders":
            orders = [self.order_of(account, txid) for txid in f["txid"].split(",")]
            if None in orders:
                raise _KrakenError("EOrder:Unknown order")
            return {self.order_id(o): self._order_row(o) for o in orders if o}
        if endpoint in ("TradesHistory", "QueryTrades"):
            return self._trades_history(account, f)
        return self._trading_result(endpoint, f, account)

    def _trading_result(self, endpoint: str, f: dict[str, str], account: Account) -> Any:
        if endpoint == "AddOrder":
            self._check_deadline(f.get("deadline", ""))
            order = self._place(account, rest_order(self.market_of(f["pair"]), f))
            return {"txid": [self.order_id(order)], "descr": {"order": self._describe(order)}}
        if endpoint == "AddOrderBatch":
            market = self.market_of(f["pair"])
            count = 1 + max(int(name[7:].partition("]")[0]) for name in f if name.startswith("orders["))
            rows = []
            for n in range(count):
                prefix = f"orders[{n}]["
                fields = {name[len(prefix) : -1]: v for name, v in f.items() if name.startswith(prefix)}
                try:
                    rows.append({"txid": self.order_id(self._place(account, rest_order(market, fields)))})
                except Refused as error:
                    rows.append({"error": TEXTS[error.reason]})
            return {"orders": rows}
        if endpoint == "CancelOrder":
            chosen = self.order_of(account, f.get("txid", ""), f.get("cl_ord_id", ""))
            self.venue.cancel(account.name, chosen)
            return {"count": 1}
        if endpoint in ("CancelAll", "CancelOrderBatch"):
            return {"count": len(self.venue.cancel_all(account.name))}
        if endpoint == "CancelAllOrdersAfter":
            return self._dead_man(account, int(f["timeout"]))
        if endpoint == "AmendOrder":
            found = self.order_of(account, f.get("txid", ""), f.get("cl_ord_id", ""))
            self._amend(account, found, f.get("order_qty", ""), f.get("limit_price", ""))
            return {"amend_id": "TAMEND-00000-000001"}
        raise _KrakenError("EGeneral:Unknown method")

    def _dead_man(self, account: Account, timeout_s: int) -> dict[str, str]:
        now = self.venue.clock()
        account.dead_man_ns = now + timeout_s * 10**9 if timeout_s else 0
        return {"currentTime": iso(now), "triggerTime": iso(account.dead_man_ns) if timeout_s else "0"}

    def _amend(self, account: Account, order: Order | None, size: str, price: str) -> None:
        if order is None:
            raise Refused(Refusal.UNKNOWN_ORDER)
        market = order.market
        self.venue.amend(
            account.name,
            order,
            size=units(size, market.size_decimals, Refusal.BAD_SIZE) if size else 0,
            price=units(price, market.price_decimals, Refusal.BAD_PRICE) if price else 0,
        )

    def _place(self, account: Account, request: NewOrder) -> Order:
        if self.faults.happens("reject"):
            raise Refused(Refusal.INJECTED)
        return self.venue.place(account.name, request)

    def _check_deadline(self, deadline: str) -> None:
        if deadline and _parse_iso(deadline) < self.now_ns():
            raise _KrakenError("EService:Deadline elapsed")

    def _trades_history(self, account: Account, f: dict[str, str]) -> dict[str, Any]:
        start = float(f.get("start", 0) or 0)
        found = [(o, t) for o, t in account.trades if t.ts_ns / 1e9 >= start]
        found.reverse()
        offset = int(f.get("ofs", 0))
        rows = {}
        for order, trade in found[offset : offset + 50]:
            fee, _, is_maker = trade.of(order)
            key = self.trade_id(trade)
            rows[key] = {
                "ordertxid": self.order_id(order),
                "postxid": "TKH2SE-M7IF5-CFI7LT",
                "pair": self.pair_key(order.market),
                "time": trade.ts_ns / 1e9,
                "type": order.request.side.value,
                "ordertype": _type_name(order),
                "price": order.market.price_text(trade.price),
                "cost": format_amount(order.market.notional(trade.price, trade.size)),
                "fee": format_amount(fee),
                "vol": order.market.size_text(trade.size),
                "margin": "0.00000",
                "leverage": "0",
                "misc": "",
                "trade_id": trade.number,
                "maker": is_maker,
            }
        return {"trades": rows, "count": len(found)}

    def _describe(self, order: Order) -> str:
        m = order.market
        return f"{order.request.side.value} {m.size_text(order.size)} {self.altname(m)} @ {_type_name(order)}"

    def _order_row(self, order: Order) -> dict[str, Any]:
        m, request = order.market, order.request
        price, price2 = m.price_text(order.price), "0"
        if request.type.has_trigger:
            price, price2 = m.price_text(order.trigger), m.price_text(order.price)
        average = _average(order)
        row = {
            "refid": None,
            "userref": 0,
            "cl_ord_id": request.client_id or None,
            "status": _REST_STATUS[order.status],
            "opentm": order.created_ns / 1e9,
            "starttm": 0,
            "expiretm": request.expire_ns // 10**9,
            "descr": {
                "pair": self.altname(m),
                "type": request.side.value,
                "ordertype": _type_name(order),
                "price": price,
                "price2": price2,
                "leverage": "none",
                "order": self._describe(order),
                "close": "",
            },
            "vol": m.size_text(order.size),
            "vol_exec": m.size_text(order.filled),
            "cost": format_amount(order.cost),
            "fee": format_amount(order.fee),
            "price": average,
            "stopprice": m.price_text(order.trigger),
            "limitprice": m.price_text(order.price),
            "misc": "",
            "oflags": "post,fciq" if request.post_only else "fciq",
            "trades": [self.trade_id(t) for t in order.trades],
        }
        if not order.status.is_open:
            row |= {"closetm": order.updated_ns / 1e9, "reason": order.reason or None}
        return row

    # Socket.

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        return await self.serve_socket(request, self._on_text, self._opened)

    def _opened(self, socket: Socket) -> None:
        data = [{"version": "2.0.0", "system": self.venue.state, "api_version": "v2", "connection_id": 1}]
        socket.send(_json({"channel": "status", "type": "update", "data": data}), faulty=False)

    async def _on_text(self, socket: Socket, text: str) -> None:
        received = iso(self.now_ns())
        try:
            message = _exact.decode(text)
            method, params = str(message.get("method", "")), message.get("params") or {}
        except msgspec.DecodeError:
            socket.send(_json({"error": "Malformed request", "success": False}), faulty=False)
            return
        head: dict[str, Any] = {"method": method}
        if "req_id" in message:
            head["req_id"] = message["req_id"]
        if method == "ping":
            socket.send(_json({**head, "method": "pong", "time_in": received, "time_out": received}), faulty=False)
            return
        lose = method in _SOCKET_TRADING and self.faults.happens("lose_request")
        if lose:
            socket.close()
            return
        if method in _SOCKET_TRADING and self.faults.happens("slow_request"):
            self.hear_late(self._on_text(socket, text))
            return
        try:
            if method in ("subscribe", "unsubscribe"):
                self._subscription(socket, head, params, received)
                return
            result = self._trading(method, params)
            answer = {**head, "result": result, "success": True}
        except Refused as error:
            answer = {**head, "error": TEXTS[error.reason], "success": False}
        except _KrakenError as error:
            answer = {**head, "error": str(error), "success": False}
        except (KeyError, ValueError, TypeError, AttributeError):
            answer = {**head, "error": "EGeneral:Invalid arguments", "success": False}
        full = _json({**answer, "time_in": received, "time_out": iso(self.now_ns())})
        if method in _SOCKET_TRADING:
            socket.answer(full)
        else:
            socket.send(full, faulty=False)

    def _key_of(self, params: dict[str, Any]) -> ApiKey:
        key = self.tokens.get(str(params.get("token", "")))
        if key is None:
            raise _KrakenError("ESession:Invalid session")
        return key

    def _trading(self, method: str, params: dict[str, Any]) -> Any:
        key = self._key_of(params)
        account = self.venue.account(key.account)
        if not key.can_trade:
            raise _KrakenError("EGeneral:Permission denied")
        if self.faults.happens("rate_limit"):
            raise _KrakenError("EOrder:Rate limit exceeded")
        if method in ("add_order", "batch_add", "amend_order"):
            self._check_deadline(str(params.get("deadline", "")))
        if method == "add_order":
            order = self._place(account, socket_order(self.market_of(params["symbol"]), params))
            result = {"order_id": self.order_id(order)}
            return result | ({"cl_ord_id": order.request.client_id} if order.request.client_id else {})
        if method == "batch_add":
            market = self.market_of(params["symbol"])
            placed = [self._place(account, socket_order(market, o)) for o in params["orders"]]
            return [{"order_id": self.order_id(o), "cl_ord_id": o.request.client_id} for o in placed]
        if method == "amend_order":
            found = self.order_of(account, params.get("order_id", ""), params.get("cl_ord_id", ""))
            self._amend(account, found, _text(params, "order_qty"), _text(params, "limit_price"))
            return {"amend_id": "TAMEND-00000-000001", "order_id": params.get("order_id", "")}
        if method == "cancel_order":
            ids = [("order_id", i) for i in params.get("order_id", [])]
            ids += [("cl_ord_id", i) for i in params.get("cl_ord_id", [])]
            for name, value in ids:
                found = self.order_of(account, value if name == "order_id" else "", value)
                self.venue.cancel(account.name, found)
            return dict(ids[:1])
        if method == "cancel_all":
            return {"count": len(self.venue.cancel_all(account.name))}
        if method == "cancel_all_orders_after":
            return self._dead_man(account, int(params["timeout"]))
        raise _KrakenError("EGeneral:Unknown method")

    def _subscription(self, socket: Socket, head: dict[str, Any], params: dict[str, Any], received: str) -> None:
        channel = params["channel"]
        times = {"time_in": received, "time_out": iso(self.now_ns())}
        if channel in ("executions", "balances"):
            key = self._key_of(params)
            socket.key = key
            socket.subscriptions[channel] = params
            socket.send(_json({**head, "result": {"channel": channel}, "success": True, **times}), faulty=False)
            if head["method"] == "subscribe":
                self._private_snapshot(socket, channel, key, params)
            return
        if channel == "instrument":
            socket.send(_json({**head, "result": {"channel": channel}, "success": True, **times}), faulty=False)
            pairs = [self._ws_pair(m) for m in self.venue.markets.values()]
            data = {"assets": [], "pairs": pairs}
            socket.send(_json({"channel": "instrument", "type": "snapshot", "data": data}), faulty=False)
            return
        for symbol in params.get("symbol", []):
            if symbol not in self.venue.markets:
                error = {"error": f"Currency pair not supported {symbol}", "success": False, "symbol": symbol}
                socket.send(_json({**head, **error, **times}), faulty=False)
                continue
            result = {"channel": channel, "symbol": symbol, "snapshot": True}
            depth = int(params.get("depth", 10)) if channel == "book" else 0
            if depth:
                result["depth"] = depth
            if channel == "ohlc":
                result["interval"] = params.get("interval", 1)
            socket.send(_json({**head, "result": result, "success": True, **times}), faulty=False)
            if head["method"] == "unsubscribe":
                socket.subscriptions.pop((channel, symbol), None)
                continue
            socket.subscriptions[channel, symbol] = depth or params.get("interval", 1)
            self._snapshot(socket, channel, self.venue.markets[symbol], depth, params)

    def _ws_pair(self, market: Market) -> dict[str, Any]:
        return {
            "symbol": market.symbol,
            "base": market.base,
            "quote": market.quote,
            "status": "online" if self.venue.state == "online" else "cancel_only",
            "qty_precision": market.size_decimals,
            "price_precision": market.price_decimals,
        }

    def _snapshot(self, socket: Socket, channel: str, market: Market, depth: int, params: dict[str, Any]) -> None:
        if channel == "book":
            book = self.venue.books[market.symbol]
            bids, asks = book.levels(depth, is_buy=True), book.levels(depth, is_buy=False)
            self._sent[socket, market.symbol, depth] = (bids, asks)
            socket.send(self._book_message(market, "snapshot", bids, asks, bids, asks), faulty=False)
        elif channel == "ticker":
            socket.send(_json({"channel": "ticker", "type": "snapshot", "data": [self._ws_ticker(market)]}))
        elif channel == "trade" and params.get("snapshot", True):
            data = [self._ws_trade(t) for t in self.venue.trades[market.symbol][-50:]]
            socket.send(_json({"channel": "trade", "type": "snapshot", "data": data}))

    def _ws_ticker(self, market: Market) -> dict[str, Any]:
        row = self._ticker(market)
        return {
            "symbol": market.symbol,
            "bid": number(row["b"][0]),
            "bid_qty": number(row["b"][2]),
            "ask": number(row["a"][0]),
            "ask_qty": number(row["a"][2]),
            "last": number(row["c"][0]),
            "volume": number(row["v"][1]),
            "vwap": number(row["p"][1]),
            "low": number(row["l"][1]),
            "high": number(row["h"][1]),
            "change": 0,
            "change_pct": 0,
            "timestamp": iso(self.now_ns()),
        }

    def _ws_trade(self, trade: Trade) -> dict[str, Any]:
        return {
            "symbol": trade.market.symbol,
            "side": trade.taker_side.value,
            "price": number(trade.market.price_text(trade.price)),
            "qty": number(trade.market.size_text(trade.size)),
            "ord_type": "limit",
            "trade_id": trade.number,
            "timestamp": iso(trade.ts_ns),
        }

    def _book_message(
        self,
        market: Market,
        kind: str,
        bids: list[tuple[int, int]],
        asks: list[tuple[int, int]],
        all_bids: list[tuple[int, int]],
        all_asks: list[tuple[int, int]],
    ) -> str:
        digits = "".join(f"{p}{s}" for p, s in all_asks[:10]) + "".join(f"{p}{s}" for p, s in all_bids[:10])
        value = crc32(digits.encode())
        if kind == "update" and self.faults.happens("wrong_checksum"):
            value ^= 1
        rows = {
            name: [{"price": number(market.price_text(p)), "qty": number(market.size_text(s))} for p, s in levels]
            for name, levels in (("bids", bids), ("asks", asks))
        }
        data = {"symbol": market.symbol, **rows, "checksum": value, "timestamp": iso(self.now_ns())}
        return _json({"channel": "book", "type": kind, "data": [data]})

    def flush(self) -> None:
        """Send book and ticker changes to everyone subscribed."""
        changed = {s for s, book in self.venue.books.items() if book.take_changes()}
        for socket in list(self.sockets):
            for key, depth in list(socket.subscriptions.items()):
                if not isinstance(key, tuple) or key[1] not in changed:
                    continue
                market = self.venue.markets[key[1]]
                if key[0] == "book":
                    self._send_book(socket, market, depth)
                elif key[0] == "ticker":
                    socket.send(_json({"channel": "ticker", "type": "update", "data": [self._ws_ticker(market)]}))
        for sent in [k for k in self._sent if k[0] not in self.sockets]:
            del self._sent[sent]

    def _send_book(self, socket: Socket, market: Market, depth: int) -> None:
        book = self.venue.books[market.symbol]
        now = (book.levels(depth, is_buy=True), book.levels(depth, is_buy=False))
        before = self._sent.get((socket, market.symbol, depth), ([], []))
        self._sent[socket, market.symbol, depth] = now
        changes = []
        for n, is_buy in ((0, True), (1, False)):
            old, new = dict(before[n]), dict(now[n])
            gone = [(p, 0) for p in old if p not in new and book.shown_at(p, is_buy=is_buy) == 0]
            changes.append(gone + [(p, s) for p, s in now[n] if old.get(p) != s])
        if changes[0] or changes[1]:
            socket.send(self._book_message(market, "update", changes[0], changes[1], *now))

    def on_trade(self, trade: Trade) -> None:
        """Tell a public trade, and the bar that it belongs to."""
        text = _json({"channel": "trade", "type": "update", "data": [self._ws_trade(trade)]})
        for socket in list(self.sockets):
            if ("trade", trade.market.symbol) in socket.subscriptions:
                socket.send(text)
            interval = socket.subscriptions.get(("ohlc", trade.market.symbol))
            if interval:
                self._send_bar(socket, trade.market, int(interval))

    def _send_bar(self, socket: Socket, market: Market, minutes: int) -> None:
        bars = self._candles(market, minutes * 60, 0)
        if not bars:
            return
        start, open_, high, low, close, vwap, volume, count = bars[-1]
        data = {
            "symbol": market.symbol,
            "open": number(open_),
            "high": number(high),
            "low": number(low),
            "close": number(close),
            "trades": count,
            "volume": number(volume),
            "vwap": number(vwap),
            "interval_begin": iso(start * 10**9),
            "interval": minutes,
            "timestamp": iso((start + minutes * 60) * 10**9),
        }
        socket.send(_json({"channel": "ohlc", "type": "update", "timestamp": iso(self.now_ns()), "data": [data]}))

    # Private channels.

    def _private_snapshot(self, socket: Socket, channel: str, key: ApiKey, params: dict[str, Any]) -> None:
        account = self.venue.account(key.account)
        data: list[Any]
        if channel == "balances":
            data = [self._ws_balance(account, asset) for asset in account.total]
        else:
            data = [self._ws_order(o, "new") for o in account.open.values()] if params.get("snap_orders", True) else []
            if params.get("snap_trades"):
                data += [self._ws_execution(o, t) for o, t in account.trades[-50:]]
        self._send_private(socket, channel, "snapshot", data)

    def _send_private(self, socket: Socket, channel: str, kind: str, data: list[Any]) -> None:
        sequence = socket.private_sequence.get(channel, 0) + 1
        socket.private_sequence[channel] = sequence
        socket.send(_json({"channel": channel, "type": kind, "data": data, "sequence": sequence}))

    def _ws_balance(self, account: Account, asset: str) -> dict[str, Any]:
        total = number(format_amount(account.total.get(asset, 0)))
        wallet = {"type": "spot", "id": "main", "balance": total}
        return {"asset": asset, "asset_class": "currency", "balance": total, "wallets": [wallet]}

    def _ws_order(self, order: Order, what: str) -> dict[str, Any]:
        m, request = order.market, order.request
        row: dict[str, Any] = {
            "order_id": self.order_id(order),
            "symbol": m.symbol,
            "exec_type": {"trade": "filled", "triggered": "status"}.get(what, what),
            "order_status": _WS_STATUS[order.status],
            "side": request.side.value,
            "order_type": _type_name(order),
            "order_qty": number(m.size_text(order.size)),
            "cum_qty": number(m.size_text(order.filled)),
            "cum_cost": number(format_amount(order.cost)),
            "avg_price": number(_average(order)),
            "time_in_force": request.tif.value.upper(),
            "timestamp": iso(order.updated_ns),
        }
        if order.price:
            row["limit_price"] = number(m.price_text(order.price))
        if request.client_id:
            row["cl_ord_id"] = request.client_id
        if order.reason:
            row["reason"] = order.reason
        return row

    def _ws_execution(self, order: Order, trade: Trade) -> dict[str, Any]:
        fee, asset, is_maker = trade.of(order)
        m = order.market
        return {
            **self._ws_order(order, "trade"),
            "exec_type": "trade",
            "order_status": "partially_filled" if order.left else "filled",
            "exec_id": self.trade_id(trade),
            "trade_id": trade.number,
            "last_qty": number(m.size_text(trade.size)),
            "last_price": number(m.price_text(trade.price)),
            "cost": number(format_amount(m.notional(trade.price, trade.size))),
            "liquidity_ind": "m" if is_maker else "t",
            "fees": [{"asset": asset, "qty": number(format_amount(fee))}],
            "timestamp": iso(trade.ts_ns),
        }

    def on_order(self, order: Order, what: str) -> None:
        """Tell the owner what became of an order."""
        for socket in list(self.sockets):
            if socket.key is None or socket.key.account != order.account or "executions" not in socket.subscriptions:
                continue
            if what == "trade":
                self._send_private(socket, "executions", "update", [self._ws_execution(order, order.trades[-1])])
                if order.status is not Status.FILLED:
                    continue
            if what == "new":
                pending = {**self._ws_order(order, "pending_new"), "order_status": "pending_new"}
                self._send_private(socket, "executions", "update", [pending])
            self._send_private(socket, "executions", "update", [self._ws_order(order, what)])

    def on_balance(self, account: Account, asset: str) -> None:
        """Tell the owner of a balance that changed."""
        for socket in list(self.sockets):
            if socket.key and socket.key.account == account.name and "balances" in socket.subscriptions:
                total = number(format_amount(account.total.get(asset, 0)))
                row = {"asset": asset, "asset_class": "currency", "amount": 0, "balance": total, "fee": 0}
                row |= {"ledger_id": "L", "ref_id": "R", "type": "trade", "wallet_type": "spot", "wallet_id": "main"}
                row["timestamp"] = iso(self.now_ns())
                self._send_private(socket, "balances", "update", [row])


class _KrakenError(Exception):
    """An error that is Kraken's own text."""


_exact = msgspec.json.Decoder(dict[str, Any], float_hook=str)
_TRADING = frozenset(
    {"AddOrder", "AddOrderBatch", "CancelOrder", "CancelAll", "CancelAllOrdersAfter", "AmendOrder", "CancelOrderBatch"}
)
_SOCKET_TRADING = frozenset(
    {"add_order", "batch_add", "amend_order", "cancel_order", "cancel_all", "cancel_all_orders_after"}
)
_REST_STATUS = {
    Status.NEW: "open",
    Status.PARTIAL: "open",
    Status.TRIGGER_PENDING: "open",
    Status.FILLED: "closed",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "expired",
}
_WS_STATUS = {
    Status.NEW: "new",
    Status.TRIGGER_PENDING: "new",
    Status.PARTIAL: "partially_filled",
    Status.FILLED: "filled",
    Status.CANCELED: "canceled",
    Status.EXPIRED: "expired",
}


def rest_order(market: Market, f: dict[str, str]) -> NewOrder:
    """Return the order of AddOrder's fields. Raises Refused."""
    kind = TYPES.get(f["ordertype"])
    if kind is None or f["type"] not in ("buy", "sell"):
        raise Refused(Refusal.BAD_FIELDS, f["ordertype"])
    prices = [f.get("price", ""), f.get("price2", "")]
    trail = units(prices[0].lstrip("+"), market.price_decimals, Refusal.BAD_PRICE) if prices[0].startswith("+") else 0
    first, second = (
        units(p, market.price_decimals, Refusal.BAD_PRICE) if p and not p.startswith("+") else 0 for p in prices
    )
    expiry = f.get("expiretm", "0")
    return NewOrder(
        market=market.symbol,
        side=Side(f["type"]),
        type=kind,
        size=units(f["volume"], market.size_decimals, Refusal.BAD_SIZE),
        price=second if kind.has_trigger else first,
        trigger=first if kind.has_trigger else 0,
        trail=trail,
        display=units(f["displayvol"], market.size_decimals, Refusal.BAD_SIZE) if f.get("displayvol") else 0,
        tif=TimeInForce(f.get("timeinforce", "GTC").lower()),
        post_only="post" in f.get("oflags", ""),
        expire_ns=int(float(expiry)) * 10**9,
        client_id=f.get("cl_ord_id", ""),
    )


def socket_order(market: Market, p: dict[str, Any]) -> NewOrder:
    """Return the order of add_order's parameters. Raises Refused."""
    kind = TYPES.get(p["order_type"])
    if kind is None or p["side"] not in ("buy", "sell"):
        raise Refused(Refusal.BAD_FIELDS, str(p["order_type"]))
    triggers = p.get("triggers") or {}
    at = units(triggers["price"], market.price_decimals, Refusal.BAD_PRICE) if triggers else 0
    trails = kind is OrderType.TRAILING_STOP
    return NewOrder(
        market=market.symbol,
        side=Side(p["side"]),
        type=kind,
        size=units(p["order_qty"], market.size_decimals, Refusal.BAD_SIZE),
        price=units(p["limit_price"], market.price_decimals, Refusal.BAD_PRICE) if "limit_price" in p else 0,
        trigger=0 if trails else at,
        trail=at if trails else 0,
        display=units(p["display_qty"], market.size_decimals, Refusal.BAD_SIZE) if "display_qty" in p else 0,
        tif=TimeInForce(str(p.get("time_in_force", "gtc")).lower()),
        post_only=bool(p.get("post_only")),
        expire_ns=_parse_iso(p["expire_time"]) if p.get("expire_time") else 0,
        client_id=str(p.get("cl_ord_id", "")),
    )


def _asset(altname: str, asset: str) -> dict[str, Any]:
    fiat = asset in ("USD", "EUR")
    return {
        "aclass": "currency",
        "altname": altname,
        "decimals": 4 if fiat else 10,
        "display_decimals": 2 if fiat else 5,
        "status": "enabled",
    }


def _average(order: Order) -> str:
    if not order.filled:
        return "0.00000"
    scale = 10**order.market.size_decimals
    return format_amount(order.cost * scale // order.filled)


def _type_name(order: Order) -> str:
    if order.request.display:
        return "iceberg"
    return next(name for name, kind in TYPES.items() if kind is order.request.type)


def _text(params: dict[str, Any], name: str) -> str:
    return str(params[name]) if name in params else ""


def iso(ts_ns: int) -> str:
    """Return a time to the microsecond, as Kraken writes it."""
    moment = datetime.datetime.fromtimestamp(ts_ns // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{ts_ns % 10**9 // 1000:06d}Z"


def _parse_iso(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text)
    return int(moment.timestamp() * 1e6) * 1000


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
