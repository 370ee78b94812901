"""Binance's face: REST, market streams and WebSocket API as binance-spot-api-docs documents them (2026)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from aether.domain.scaled import format_amount
from aether.exchange.face import ApiKey, Face, Refused, Socket
from aether.exchange.faces.binance_accounts import Accounts, Params
from aether.exchange.faces.binance_endpoints import ENDPOINTS, METHODS, ORDER_LIMITS, WEIGHT_LIMIT, Endpoint, weight_of
from aether.exchange.faces.binance_fields import ERRORS, BinanceError, check, error_of, limit, missing, names_in, whole
from aether.exchange.faces.binance_market import (
    INTERVALS,
    NS_PER_MS,
    Aggregates,
    average_row,
    bar_at,
    bar_bounds,
    bar_event,
    bar_row,
    bars_of,
    book_ticker,
    day_ticker,
    mini_event,
    price_ticker,
    statistics,
    status_of,
    symbol_row,
    ticker_event,
    timezone_of,
    top,
    trade_row,
    window_of,
)
from aether.exchange.faces.binance_orders import (
    add_prevented,
    execution_report,
    list_status,
    price_text,
    size_text,
    symbol_of,
)
from aether.exchange.venue import SELF_TRADE, Account, Market, Order, OrderList, Refusal, Status, Trade

DEPTH_EVERY_NS = 100_000_000
PARTIAL_DEPTHS = (5, 10, 20)
_SESSION = ("session",)
"""Under this a socket of the WebSocket API keeps what it is; no stream can be named so."""


@dataclass
class Session:
    """One socket of the WebSocket API.

    Attributes:
        key: that it logged on with, and when.
        heard: the accounts that it hears of, by subscription.
    """

    connected_ms: int
    key: ApiKey | None = None
    since_ms: int = 0
    heard: dict[int, str] = field(default_factory=dict)
    subscribed: int = 0


class BinanceFace(Face):
    """Serves `/api/v3`, `/sapi/v1`, `/ws`, `/stream` and `/ws-api/v3`."""

    def start(self) -> None:
        """Set up what the face itself remembers."""
        self._update_id: dict[str, int] = dict.fromkeys(self.venue.markets, 1_000)
        self._pending: dict[str, dict[tuple[bool, int], int]] = {s: {} for s in self.venue.markets}
        self._first: dict[str, int] = {}
        self._depth_sent_ns = 0
        self._weight = (0, 0)
        self._accounts = Accounts(self)
        self._aggregates = {s: Aggregates(trades) for s, trades in self.venue.trades.items()}
        self._public: dict[str, Callable[[Params], Any]] = {
            "ping": lambda _p: {},
            "time": lambda _p: {"serverTime": self.now_ns() // NS_PER_MS},
            "status": self._status,
            "exchange_info": self._exchange_info,
            "depth": self._depth,
            "trades": lambda p: [trade_row(t) for t in self._trades(p)[-limit(p) :]],
            "old_trades": self._old_trades,
            "aggregates": self._aggregate_rows,
            "bars": self._bars,
            "average": lambda p: average_row(self.venue, self.market_of(p["symbol"])),
            "day_ticker": lambda p: self._tickers(p, self._day),
            "trading_day": lambda p: self._tickers(p, self._trading_day, must_name=True),
            "rolling": lambda p: self._tickers(p, self._rolling, must_name=True),
            "price_ticker": lambda p: self._tickers(p, lambda m, _p: price_ticker(self.venue, m)),
            "book_ticker": lambda p: self._tickers(p, lambda m, _p: book_ticker(self.venue, m)),
        }

    def build(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_route("*", "/api/v3/{endpoint:.*}", self._rest)
        app.router.add_route("*", "/sapi/v1/{endpoint:.*}", self._rest)
        app.router.add_get("/ws", self._streams)
        app.router.add_get("/ws/{name:.*}", self._streams)
        app.router.add_get("/stream", self._streams)
        app.router.add_get("/stream/{name:.*}", self._streams)
        app.router.add_get("/ws-api/v3", self._api_socket)

    def market_of(self, name: str) -> Market:
        """Return the market of a symbol. Raises BinanceError."""
        return self._accounts.market_of(name)

    # REST.

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["endpoint"]
        body = await request.text()
        query = request.rel_url.raw_query_string
        endpoint = ENDPOINTS.get((request.method, name))

        def work() -> tuple[int, Any, dict[str, str]]:
            headers: dict[str, str] = {}
            try:
                params = _params(query) | {n: v for n, v in _params(body).items() if n not in _params(query)}
                headers |= self._count(weight_of(endpoint, params) if endpoint else 1)
                self._check_limits()
                if endpoint is None:
                    raise BinanceError(
                        -1000, f"Unknown endpoint {request.method} {name}.", 410 if name in _GONE else 404
                    )
                key = None
                if endpoint.is_signed:
                    signed = _unsigned(query) + _unsigned(body)
                    key = self._authenticate(request.headers.get("X-MBX-APIKEY", ""), signed, params)
                answer = self._result(endpoint, params, key)
                if key is not None and endpoint.is_trading and request.method == "POST":
                    headers |= self._order_headers(key)
                return 200, answer, headers
            except (Refused, BinanceError, *_MALFORMED) as error:
                said = _said(error)
                extra = {"Retry-After": "1"} if said.status in (418, 429) else {}
                return said.status, said.body(), headers | extra

        return await self.answer(request, work, faulty=endpoint is not None and endpoint.is_trading)

    def _count(self, weight: int) -> dict[str, str]:
        minute = self.venue.clock() // (60 * 10**9)
        if self._weight[0] != minute:
            self._weight = (minute, 0)
        self._weight = (minute, self._weight[1] + weight)
        return {"X-MBX-USED-WEIGHT-1M": str(self._weight[1])}

    def _check_limits(self) -> None:
        if self.faults.happens("ban"):
            raise BinanceError(-1003, "Way too much request weight used; IP banned.", 418)
        if self.faults.happens("rate_limit") or (self.enforce_limits and self._weight[1] > WEIGHT_LIMIT):
            raise BinanceError(-1003, "Too much request weight used; current limit is 6000.", 429)

    def _order_headers(self, key: ApiKey) -> dict[str, str]:
        counts = self._accounts.order_counts(key.account)
        return {f"X-MBX-ORDER-COUNT-{c['intervalNum']}{c['interval'][0]}": str(c["count"]) for c in counts}

    def _authenticate(self, name: str, signed: str, params: Params) -> ApiKey:
        """Return the key that signed a request.

        Args:
            signed: what its signature is over.

        Raises:
            BinanceError: when it did not.
        """
        if not name:
            raise BinanceError(-2014, "API-key format invalid.", 401)
        key = self.keys.get(name)
        if key is None:
            raise BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        for name_of_one in ("timestamp", "signature"):
            if not params.get(name_of_one):
                raise missing(name_of_one)
        if not _verified(key.secret, signed.encode(), params["signature"]):
            raise BinanceError(-1022, "Signature for this request is not valid.")
        self._check_time(params)
        return key

    def _check_time(self, params: Params) -> None:
        if not params.get("timestamp"):
            raise missing("timestamp")
        timestamp, window = int(params["timestamp"]), float(params.get("recvWindow", 5000))
        now_ms = self.now_ns() // NS_PER_MS
        if window > 60_000:
            raise BinanceError(-1131, "recvWindow must be less than 60000.")
        if timestamp >= now_ms + 1000:
            raise BinanceError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now_ms - timestamp > window:
            raise BinanceError(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _result(self, endpoint: Endpoint, p: Params, key: ApiKey | None) -> Any:
        check(p, endpoint.mandatory, endpoint.optional)
        if key is None:
            return self._public[endpoint.handler](p)
        return self._accounts.handlers[endpoint.handler](p, key)

    # Public answers.

    def _status(self, _p: Params) -> Any:
        down = self.venue.state == "maintenance"
        return {"status": int(down), "msg": "system_maintenance" if down else "normal"}

    def _exchange_info(self, p: Params) -> Any:
        if "permissions" in p and ("symbol" in p or "symbols" in p):
            raise BinanceError(-1128, "Combination of optional parameters invalid.")
        markets = self._with_status(p, self._accounts.markets_of(p) or self.venue.listed())
        if "permissions" in p and "SPOT" not in names_in(p, "permissions"):
            markets = []
        rows = [symbol_row(self.venue, market) for market in markets]
        if p.get("showPermissionSets") == "false":
            rows = [row | {"permissionSets": []} for row in rows]
        weights = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_LIMIT}
        orders = [
            {"rateLimitType": "ORDERS", "interval": interval, "intervalNum": number, "limit": most}
            for (interval, number), most in ORDER_LIMITS.items()
        ]
        return {
            "timezone": "UTC",
            "serverTime": self.now_ns() // NS_PER_MS,
            "rateLimits": [weights, *orders],
            "exchangeFilters": [],
            "symbols": rows,
        }

    def _with_status(self, p: Params, markets: list[Market], *, must: bool = False) -> list[Market]:
        """Return the markets that have the status that is wanted. Raises BinanceError."""
        if p.get("symbolStatus", "TRADING") not in ("TRADING", "HALT", "BREAK"):
            raise BinanceError(-1122, "Invalid symbolStatus.")
        found = [m for m in markets if p.get("symbolStatus") in (None, status_of(self.venue, m))]
        if must and not found:
            raise BinanceError(-1220, "The symbol's status does not match the requested symbolStatus.")
        return found

    def _depth(self, p: Params) -> Any:
        (market,), count = self._with_status(p, [self.market_of(p["symbol"])], must=True), limit(p, 100, 5000)
        return {"lastUpdateId": self._caught_up(market), **self._sides(market, count)}

    def _sides(self, market: Market, count: int) -> dict[str, Any]:
        book = self.venue.books[market.symbol]
        return {name: _levels(market, book.levels(count, is_buy=name == "bids")) for name in ("bids", "asks")}

    def _trades(self, p: Params) -> list[Trade]:
        return self.venue.trades[self.market_of(p["symbol"]).symbol]

    def _old_trades(self, p: Params) -> Any:
        trades = self._trades(p)
        if "fromId" in p:
            return [trade_row(t) for t in trades if t.number >= whole(p, "fromId")][: limit(p)]
        return [trade_row(t) for t in trades[-limit(p) :]]

    def _aggregate_rows(self, p: Params) -> Any:
        found = self._aggregates[self.market_of(p["symbol"]).symbol].found
        since, until, from_id = whole(p, "startTime"), whole(p, "endTime", 10**16), whole(p, "fromId")
        chosen = [a for a in found if a.number >= from_id and since <= a.first.ts_ns // NS_PER_MS <= until]
        forward = "fromId" in p or "startTime" in p
        return [a.row() for a in (chosen[: limit(p)] if forward else chosen[-limit(p) :])]

    def _bars(self, p: Params) -> Any:
        market = self.market_of(p["symbol"])
        bars = bars_of(
            self.venue,
            market,
            p["interval"],
            since_ms=whole(p, "startTime"),
            until_ms=whole(p, "endTime"),
            count=limit(p),
            zone_s=timezone_of(p.get("timeZone", "0")),
        )
        return [bar_row(market, bar) for bar in bars]

    def _tickers(self, p: Params, make: Callable[[Market, Params], Any], *, must_name: bool = False) -> Any:
        if must_name and "symbol" not in p and "symbols" not in p:
            raise BinanceError(-1128, "Combination of optional parameters invalid.")
        if p.get("type", "FULL") not in ("FULL", "MINI"):
            raise BinanceError(-1139, "Invalid ticker type.")
        markets = self._with_status(p, self._accounts.markets_of(p) or self.venue.listed(), must="symbol" in p)
        found = [make(market, p) for market in markets]
        return found[0] if "symbol" in p else found

    def _day(self, market: Market, p: Params) -> Any:
        return day_ticker(self.venue, market, self.now_ns(), is_mini=p.get("type") == "MINI")

    def _trading_day(self, market: Market, p: Params) -> Any:
        now_ns = self.now_ns()
        start, end = bar_bounds(now_ns // 10**9, "1d", timezone_of(p.get("timeZone", "0")))
        found = statistics(self.venue, market, start * 10**9, now_ns, is_mini=p.get("type") == "MINI")
        return {**found, "closeTime": end * 1000 - 1}

    def _rolling(self, market: Market, p: Params) -> Any:
        now_ns = self.now_ns()
        since_s = (now_ns // 10**9 - window_of(p.get("windowSize", "1d"))) // 60 * 60
        return statistics(self.venue, market, since_s * 10**9, now_ns, is_mini=p.get("type") == "MINI")

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
        result: Any = None
        names = method in ("SUBSCRIBE", "UNSUBSCRIBE")
        if not isinstance(params, list) or (names and not all(isinstance(name, str) for name in params)):
            error = {"code": 2, "msg": "Invalid request: params must be an array of strings"}
            socket.send(_json({"error": error, "id": number}), faulty=False)
            return
        if method == "SUBSCRIBE":
            for name in params:
                socket.subscriptions[name] = True
        elif method == "UNSUBSCRIBE":
            for name in params:
                socket.subscriptions.pop(name, None)
        elif method == "LIST_SUBSCRIPTIONS":
            result = [name for name in socket.subscriptions if name != "combined"]
        elif method == "SET_PROPERTY" and params[:1] == ["combined"]:
            socket.subscriptions["combined"] = bool(params[1:] == [True])
        elif method == "GET_PROPERTY" and params[:1] == ["combined"]:
            result = bool(socket.subscriptions.get("combined"))
        else:
            error = {"code": 2, "msg": f"Invalid request: unknown method {method}"}
            socket.send(_json({"error": error, "id": number}), faulty=False)
            return
        socket.send(_json({"result": result, "id": number}), faulty=False)

    def _publish(self, stream: str, data: object) -> None:
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

    def _is_wanted(self, stream: str) -> bool:
        return any(stream in socket.subscriptions for socket in self.sockets)

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
        """Send aggregate trades, the top of changed books, and the changes themselves every 100 ms."""
        for market in self.venue.markets.values():
            self._send_aggregates(market)
            if not self._collect(market):
                continue
            (bid, bids), (ask, asks) = top(self.venue, market)
            name = symbol_of(market)
            data = {"u": self._update_id[market.symbol], "s": name, "b": price_text(market, bid)}
            data |= {"B": size_text(market, bids), "a": price_text(market, ask), "A": size_text(market, asks)}
            self._publish(f"{name.lower()}@bookTicker", data)
        if self.venue.clock() - self._depth_sent_ns >= DEPTH_EVERY_NS:
            self.send_depth()

    def beat(self, tenth: int) -> None:
        """Send book changes, which Binance does every 100 ms, and each second what it sends at that pace."""
        self.send_depth()
        for market in self.venue.markets.values():
            self._send_aggregates(market)
        if tenth % 10 == 0:
            self._send_closed_bars()
            self._send_all_tickers()

    def _send_aggregates(self, market: Market) -> None:
        for one in self._aggregates[market.symbol].untold():
            name = symbol_of(market)
            data = {"e": "aggTrade", "E": self.now_ns() // NS_PER_MS, "s": name, **one.row()}
            self._publish(f"{name.lower()}@aggTrade", data)

    def send_depth(self) -> None:
        """Send what changed in each book since the last time."""
        self._depth_sent_ns = self.venue.clock()
        for market in self.venue.markets.values():
            self._collect(market)
            pending = self._pending[market.symbol]
            if not pending:
                continue
            name = symbol_of(market)
            first = self._first.pop(market.symbol)
            sides: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
            for (is_buy, price), size in pending.items():
                sides[is_buy].append((price, size))
            pending.clear()
            data = {
                "e": "depthUpdate",
                "E": self.now_ns() // NS_PER_MS,
                "s": name,
                "U": first,
                "u": self._update_id[market.symbol],
                "b": _levels(market, sides[True]),
                "a": _levels(market, sides[False]),
            }
            for stream in (f"{name.lower()}@depth@100ms", f"{name.lower()}@depth"):
                self._publish(stream, data)
            for depth in PARTIAL_DEPTHS:
                for stream in (f"{name.lower()}@depth{depth}@100ms", f"{name.lower()}@depth{depth}"):
                    if self._is_wanted(stream):
                        book = {"lastUpdateId": self._update_id[market.symbol], **self._sides(market, depth)}
                        self._publish(stream, book)

    def on_retick(self, market: Market, factor: int) -> None:
        """Send what has changed so far, also before its time: it is kept by prices of the old steps."""
        self.send_depth()

    def on_trade(self, trade: Trade) -> None:
        """Tell a public trade, and the bar that it belongs to."""
        name, market = symbol_of(trade.market), trade.market
        self._aggregates[market.symbol].add(trade)
        row = trade_row(trade)
        data = {"e": "trade", "E": self.now_ns() // NS_PER_MS, "s": name, "t": row["id"], "p": row["price"]}
        data |= {"q": row["qty"], "T": row["time"], "m": row["isBuyerMaker"], "M": True}
        self._publish(f"{name.lower()}@trade", data)
        for stream, interval in self._bar_streams(market):
            self._publish(stream, self._bar_event(market, interval, trade.ts_ns // NS_PER_MS, is_closed=False))
        ticker = mini = f"{name.lower()}@"
        ticker, mini = ticker + "ticker", mini + "miniTicker"
        if self._is_wanted(ticker) or self._is_wanted(mini):
            event = ticker_event(day_ticker(self.venue, market, self.now_ns()))
            self._publish(ticker, event)
            self._publish(mini, mini_event(event))

    def _bar_streams(self, market: Market) -> list[tuple[str, str]]:
        start = f"{symbol_of(market).lower()}@kline_"
        wanted = {str(n) for s in self.sockets for n in s.subscriptions if str(n).startswith(start)}
        named = [(stream, stream.removeprefix(start)) for stream in sorted(wanted)]
        return [(stream, interval) for stream, interval in named if interval in INTERVALS]

    def _bar_event(self, market: Market, interval: str, at_ms: int, *, is_closed: bool) -> dict[str, Any]:
        bar = bar_at(self.venue, market, interval, at_ms)
        return bar_event(market, interval, bar, self.now_ns() // NS_PER_MS, is_closed=is_closed)

    def _send_closed_bars(self) -> None:
        """Tell the bars that ended within the last second."""
        now_s = self.venue.clock() // 10**9
        for market in self.venue.markets.values():
            for stream, interval in self._bar_streams(market):
                if bar_bounds(now_s, interval)[0] > now_s - 1:
                    self._publish(stream, self._bar_event(market, interval, (now_s - 1) * 1000, is_closed=True))

    def _send_all_tickers(self) -> None:
        streams = ("!ticker@arr", "!miniTicker@arr")
        if not any(self._is_wanted(stream) for stream in streams):
            return
        events = [ticker_event(day_ticker(self.venue, m, self.now_ns())) for m in self.venue.markets.values()]
        self._publish(streams[0], events)
        self._publish(streams[1], [mini_event(event) for event in events])

    # WebSocket API.

    async def _api_socket(self, request: web.Request) -> web.StreamResponse:
        def opened(socket: Socket) -> None:
            socket.subscriptions[_SESSION] = Session(self.now_ns() // NS_PER_MS)

        return await self.serve_socket(request, self._on_api_text, opened)

    async def _on_api_text(self, socket: Socket, text: str) -> None:
        number: Any = None
        answer: dict[str, Any]
        params: Params = {}
        try:
            message = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            number = msgspec.json.decode(message.get("id", msgspec.Raw(b"null")))
            method = str(msgspec.json.decode(message.get("method", msgspec.Raw(b"null"))))
            params = _sent(message.get("params", msgspec.Raw(b"null")))
            endpoint = ENDPOINTS.get(METHODS.get(method, ("", "")))
            is_trading = endpoint is not None and endpoint.is_trading
            if is_trading and self.faults.happens("lose_request"):
                socket.close()
                return
            if is_trading and self.faults.happens("slow_request"):
                self.hear_late(self._on_api_text(socket, text))
                return
            result = self._api_result(socket, method, endpoint, dict(params))
            answer = {"id": number, "status": 200, "result": result, **self._rate_limits(params)}
            if is_trading:
                socket.answer(_json(answer))
                return
        except (Refused, BinanceError, msgspec.DecodeError, *_MALFORMED) as error:
            said = _said(error)
            answer = {"id": number, "status": said.status, "error": said.body(), **self._rate_limits(params)}
        socket.send(_json(answer), faulty=False)

    def _rate_limits(self, p: Params) -> dict[str, Any]:
        if p.get("returnRateLimits") == "false":
            return {}
        row = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT_LIMIT}
        return {"rateLimits": [{**row, "count": self._weight[1]}]}

    def _api_result(self, socket: Socket, method: str, endpoint: Endpoint | None, p: Params) -> Any:
        key: ApiKey | None
        self._count(weight_of(endpoint, p) if endpoint else 2)
        if method in _SESSION_METHODS:
            return _SESSION_METHODS[method](self, socket, socket.subscriptions[_SESSION], p)
        if endpoint is None:
            raise BinanceError(-1000, f"Unknown method {method}.")
        if endpoint.is_trading and self.faults.happens("rate_limit"):
            raise BinanceError(-1003, "Too much request weight used.", 429)
        key = socket.subscriptions[_SESSION].key
        if not endpoint.is_signed:
            key = None
        elif key is None or "signature" in p:
            key = self._authenticate_socket(p)
        else:
            self._check_time(p)
        return self._result(endpoint, {n: v for n, v in p.items() if n not in _OF_THE_CALL}, key)

    def _authenticate_socket(self, p: Params) -> ApiKey:
        payload = "&".join(f"{name}={p[name]}" for name in sorted(p) if name != "signature")
        return self._authenticate(p.get("apiKey", ""), payload, p)

    def _log_on(self, socket: Socket, session: Session, p: Params) -> Any:
        key = self._authenticate_socket(p)
        if not _is_ed25519(key.secret):
            raise BinanceError(-4056, "HMAC_SHA256 API key is not supported.")
        socket.key = session.key = key
        session.since_ms = self.now_ns() // NS_PER_MS
        return self._session(socket, session, p)

    def _session(self, _socket: Socket, session: Session, _p: Params) -> Any:
        return {
            "apiKey": session.key.name if session.key else None,
            "authorizedSince": session.since_ms if session.key else None,
            "connectedSince": session.connected_ms,
            "returnRateLimits": True,
            "serverTime": self.now_ns() // NS_PER_MS,
            "userDataStream": bool(session.heard),
        }

    def _log_out(self, socket: Socket, session: Session, p: Params) -> Any:
        account, session.key = session.key.account if session.key else "", None
        for number in [number for number, heard in session.heard.items() if heard == account]:
            self._end_subscription(socket, session, number)
        return self._session(socket, session, p)

    def _subscribe_user(self, socket: Socket, session: Session, _p: Params) -> Any:
        if session.key is None:
            raise BinanceError(-1022, "Signature for this request is not valid.", 401)
        return self._hear(socket, session, session.key)

    def _subscribe_signed(self, socket: Socket, session: Session, p: Params) -> Any:
        return self._hear(socket, session, self._authenticate_socket(p))

    @staticmethod
    def _hear(socket: Socket, session: Session, key: ApiKey) -> Any:
        if key.account in session.heard.values():
            raise BinanceError(-2035, "User Data Stream subscription already active.")
        number, session.subscribed = session.subscribed, session.subscribed + 1
        session.heard[number] = key.account
        socket.key = key
        return {"subscriptionId": number}

    def _unsubscribe_user(self, socket: Socket, session: Session, p: Params) -> Any:
        numbers = [whole(p, "subscriptionId")] if "subscriptionId" in p else list(session.heard)
        if not numbers or any(number not in session.heard for number in numbers):
            raise BinanceError(-2036, "User Data Stream subscription not active.")
        for number in numbers:
            self._end_subscription(socket, session, number)
        return {}

    def _end_subscription(self, socket: Socket, session: Session, number: int) -> None:
        del session.heard[number]
        event = {"e": "eventStreamTerminated", "E": self.now_ns() // NS_PER_MS}
        socket.send(_json({"subscriptionId": number, "event": event}), faulty=False)

    @staticmethod
    def _subscriptions(_socket: Socket, session: Session, _p: Params) -> Any:
        return [{"subscriptionId": number} for number in session.heard]

    # User data.

    def _tell(self, account: str, event: dict[str, Any]) -> None:
        for socket in list(self.sockets):
            session = socket.subscriptions.get(_SESSION)
            for number, heard in session.heard.items() if session else ():
                if heard == account:
                    socket.send(_json({"subscriptionId": number, "event": event}))

    def on_order(self, order: Order, what: str) -> None:
        """Tell the owner what became of an order, and what it set aside."""
        accounts, now_ms = self._accounts, self.now_ns() // NS_PER_MS
        before = accounts.amended if what == "amended" else ""
        event = execution_report(order, what, now_ms, cancel_id=self._cancel_name(order), before=before)
        if what == "prevented" or order.reason == SELF_TRADE:
            add_prevented(event, order, self.venue.prevented[-1])
        self._tell(order.account, event)
        if what == "trade" and len(order.trades) == 1:
            accounts.count_fill(order.account, is_maker=order.trades[0].of(order)[2])
        if what in ("new", "amended") and order.status is not Status.WAITING:
            self.on_balance(self.venue.account(order.account), order.held_asset)
        if what == "amended" and order.group and before != order.request.client_id:
            self._tell(order.account, list_status(order.group, "updated", now_ms))

    def _cancel_name(self, order: Order) -> str:
        return self._accounts.cancel_id or f"cancel{order.number}"

    def on_list(self, orders: OrderList, what: str) -> None:
        """Tell the owner what became of a list of orders."""
        self._tell(orders.account, list_status(orders, what, self.now_ns() // NS_PER_MS))

    def on_balance(self, account: Account, asset: str) -> None:
        """Tell the owner of a balance that changed."""
        now_ms = self.now_ns() // NS_PER_MS
        held = {"a": asset, "f": format_amount(account.free(asset)), "l": format_amount(account.held.get(asset, 0))}
        self._tell(account.name, {"e": "outboundAccountPosition", "E": now_ms, "u": now_ms, "B": [held]})


_GONE = frozenset({"userDataStream"})
"""Endpoints that the venue has taken away."""
_OF_THE_CALL = frozenset({"apiKey", "returnRateLimits"})
"""What any call of the WebSocket API may carry beside its own parameters."""
_MALFORMED = (KeyError, ValueError, TypeError, AttributeError)
_SESSION_METHODS: dict[str, Callable[[BinanceFace, Socket, Session, Params], Any]] = {
    "session.logon": BinanceFace._log_on,
    "session.status": BinanceFace._session,
    "session.logout": BinanceFace._log_out,
    "session.subscriptions": lambda face, socket, session, p: face._subscriptions(socket, session, p),
    "userDataStream.subscribe": BinanceFace._subscribe_user,
    "userDataStream.subscribe.signature": BinanceFace._subscribe_signed,
    "userDataStream.unsubscribe": BinanceFace._unsubscribe_user,
}


def _said(error: Exception) -> BinanceError:
    """Return what the venue says to something that went wrong."""
    if isinstance(error, BinanceError):
        return error
    return error_of(error) if isinstance(error, Refused) else BinanceError(*ERRORS[Refusal.BAD_FIELDS])


def _params(text: str) -> Params:
    """Return the parameters of a query or body. Raises BinanceError for one that comes twice."""
    pairs = parse_qsl(text, keep_blank_values=True)
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BinanceError(-1101, "Duplicate values for a parameter detected.")
    return found


def _unsigned(text: str) -> str:
    """Return a query or body without its signature, which is what the signature is over."""
    return "&".join(part for part in text.split("&") if not part.startswith("signature="))


def _sent(raw: msgspec.Raw) -> Params:
    """Return the parameters of a WebSocket API request as they were sent: what is no text, as its JSON."""
    fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw] | None) or {}
    texts = {name: bytes(value).decode() for name, value in fields.items()}
    texts = {name: "" if text == "null" else text for name, text in texts.items()}
    return {name: msgspec.json.decode(text) if text.startswith('"') else text for name, text in texts.items()}


def _verified(secret: str, payload: bytes, signature: str) -> bool:
    if "PUBLIC KEY" not in secret:
        expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), signature.lower().encode())
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


def _is_ed25519(secret: str) -> bool:
    return "PUBLIC KEY" in secret and isinstance(
        serialization.load_pem_public_key(secret.encode()), ed25519.Ed25519PublicKey
    )


def _levels(market: Market, levels: list[tuple[int, int]]) -> list[list[str]]:
    return [[price_text(market, price), size_text(market, size)] for price, size in levels]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
