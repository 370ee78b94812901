"""Coinbase's sockets: market data and the user channel, as the production feed sends them."""

from typing import Any

import msgspec
from aiohttp import web

from aether.exchange.face import ApiKey, Face, Socket
from aether.exchange.faces.coinbase_orders import OrderDesk
from aether.exchange.faces.coinbase_words import (
    CoinbaseError,
    Product,
    bars,
    id_of,
    iso,
    json,
    percent,
    plain,
    price_text,
    product_id,
    size_text,
    trade_row,
    user_id,
)
from aether.exchange.venue import Account, Market, Order, Trade

OF_PRODUCTS = ("level2", "market_trades", "ticker", "ticker_batch", "candles")
CHANNELS = (*OF_PRODUCTS, "heartbeats", "status", "user", "futures_balance_summary")
OF_USERS = ("user", "futures_balance_summary")
LOSABLE = ("l2_data", "market_trades", "ticker")
"""Channels whose messages a fault may lose, double or turn around."""
CANDLE_S = 300
SNAPSHOT_ORDERS = 50
"""Open orders in one message; one with fewer is the last."""
MUST_SUBSCRIBE_NS = 5 * 10**9
BATCH_TENTHS = 50
STATUS_TENTHS = 600
NOT_BEFORE = "0001-01-01T00:00:00Z"
_ORDER_TYPES = {"MARKET": "Market", "LIMIT": "Limit", "STOP_LIMIT": "Stop Limit", "BRACKET": "Bracket"}


class CoinbaseSockets(Face):
    """The sockets of Coinbase's face."""

    desk: OrderDesk
    products: dict[str, Product]

    def start(self) -> None:
        """Set up what the face itself remembers."""
        self._silent: dict[Socket, int] = {}
        self._told_state = (self.venue.state, dict(self.venue.states))
        self._batched: dict[str, int] = {}
        self._told_candles: dict[str, int] = {}

    def signer_of(self, token: str) -> ApiKey:
        """Return the key that signed a token. Raises CoinbaseError."""
        raise NotImplementedError

    async def serve_client(self, request: web.Request) -> web.StreamResponse:
        """Serve one client's socket."""

        def opened(socket: Socket) -> None:
            self._silent[socket] = self.venue.clock()

        return await self.serve_socket(request, self._on_text, opened)

    def _send(self, socket: Socket, channel: str, events: list[dict[str, Any]]) -> None:
        socket.sequence += 1
        head = {"channel": channel, "timestamp": iso(self.now_ns()), "sequence_num": socket.sequence}
        socket.send(json({**head, "events": events}), faulty=channel in LOSABLE)

    @staticmethod
    def _fail(socket: Socket, text: str) -> None:
        socket.send(json({"type": "error", "message": text}), faulty=False)

    async def _on_text(self, socket: Socket, text: str) -> None:
        try:
            message = msgspec.json.decode(text, type=dict[str, Any])
            channel, kind = str(message["channel"]), str(message["type"])
            wanted = [str(product) for product in message.get("product_ids") or []]
        except (msgspec.DecodeError, KeyError, TypeError):
            self._fail(socket, "failure to parse message")
            return
        if kind not in ("subscribe", "unsubscribe"):
            self._fail(socket, "unexpected message type")
            return
        token = str(message.get("jwt") or "")
        needs_token = bool(token) or channel in OF_USERS
        if channel not in CHANNELS or (needs_token and not self._let_in(socket, token)):
            self._fail(socket, "authentication failure")
            return
        if any(product not in self.products for product in wanted):
            self._fail(socket, "invalid product id")
            return
        self._silent.pop(socket, None)
        if kind == "unsubscribe":
            self._unsubscribe(socket, channel, wanted)
            self._send(socket, "subscriptions", [{"subscriptions": self._listed(socket)}])
            return
        chosen = self._names(channel, wanted)
        for name in chosen:
            socket.subscriptions[channel, name] = True
        self._send(socket, "subscriptions", [{"subscriptions": self._listed(socket)}])
        self._snapshots(socket, channel, chosen)

    def _names(self, channel: str, wanted: list[str]) -> list[str]:
        """Return what a subscription is kept under: the products whose books they are; `*` for all of a user's."""
        if channel == "user":
            return wanted or ["*"]
        if channel not in OF_PRODUCTS:
            return ["*"]
        markets = [self.products[name].market for name in wanted] or list(self.venue.markets.values())
        return list(dict.fromkeys(id_of(market) for market in markets))

    def _unsubscribe(self, socket: Socket, channel: str, wanted: list[str]) -> None:
        names = set(self._names(channel, wanted))
        for key in [key for key in socket.subscriptions if key[0] == channel]:
            if not wanted or key[1] in names:
                del socket.subscriptions[key]

    def _let_in(self, socket: Socket, token: str) -> bool:
        try:
            socket.key = self.signer_of(token)
        except CoinbaseError:
            return False
        return True

    @staticmethod
    def _listed(socket: Socket) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        owner = user_id(socket.key.account) if socket.key else ""
        for channel, name in socket.subscriptions:
            told = owner if channel in OF_USERS else channel if name == "*" else name
            listed = found.setdefault(channel, [])
            if told not in listed:
                listed.append(told)
        return found

    def _snapshots(self, socket: Socket, channel: str, names: list[str]) -> None:
        if channel == "user" and socket.key:
            self._send_open_orders(socket, self.venue.account(socket.key.account), names)
        if channel == "status":
            self._send(socket, "status", [{"type": "snapshot", "products": self._product_rows()}])
        for name in names if channel in OF_PRODUCTS else ():
            market = self.products[name].market
            trades = self.venue.trades[market.symbol]
            if channel == "level2":
                book = self.venue.books[market.symbol]
                levels = [(b, p, s) for b in (True, False) for p, s in book.levels(10_000, is_buy=b)]
                updates = [_level(market, "1970-01-01T00:00:00Z", *level) for level in levels]
                self._send(socket, "l2_data", [{"type": "snapshot", "product_id": name, "updates": updates}])
            elif channel == "market_trades" and trades:
                rows = [trade_row(trade) for trade in trades[-SNAPSHOT_ORDERS:]][::-1]
                self._send(socket, "market_trades", [{"type": "snapshot", "trades": rows}])
            elif channel in ("ticker", "ticker_batch"):
                self._send(socket, channel, [{"type": "snapshot", "tickers": [self._ticker(market, channel)]}])
            elif channel == "candles":
                rows = [{**c, "product_id": name} for c in bars(market, trades, CANDLE_S)[-100:]][::-1]
                self._send(socket, "candles", [{"type": "snapshot", "candles": rows}])

    def _send_open_orders(self, socket: Socket, account: Account, names: list[str]) -> None:
        """Send the open orders in messages of fifty, until one has fewer."""
        rows = [self._user_row(o) for o in account.open.values() if "*" in names or product_id(o) in names]
        for start in range(0, len(rows) + 1, SNAPSHOT_ORDERS):
            part = rows[start : start + SNAPSHOT_ORDERS]
            self._send(socket, "user", [{"type": "snapshot", "orders": part, "positions": _POSITIONS}])

    def _product_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "product_type": "SPOT",
                "id": product.id,
                "base_currency": product.market.base,
                "quote_currency": product.quote,
                "base_increment": size_text(product.market, 1),
                "quote_increment": price_text(product.market, 1),
                "display_name": f"{product.market.base}/{product.quote}",
                "status": "online" if self.venue.takes_orders(product.market) else "offline",
                "status_message": "",
                "min_market_funds": plain(product.market.min_notional),
            }
            for product in self.products.values()
        ]

    def _ticker(self, market: Market, channel: str) -> dict[str, Any]:
        book = self.venue.books[market.symbol]
        bid, ask = book.levels(1, is_buy=True), book.levels(1, is_buy=False)
        trades = self.venue.trades[market.symbol]
        day = [t for t in trades if t.ts_ns > self.now_ns() - 86_400 * 10**9]
        prices = [t.price for t in day] or [self.venue.last[market.symbol]]
        year = [t.price for t in trades] or prices
        row = {
            "type": "ticker",
            "product_id": id_of(market),
            "price": price_text(market, prices[-1]),
            "volume_24_h": size_text(market, sum(t.size for t in day)),
            "low_24_h": price_text(market, min(prices)),
            "high_24_h": price_text(market, max(prices)),
            "low_52_w": price_text(market, min(year)),
            "high_52_w": price_text(market, max(year)),
            "price_percent_chg_24_h": percent(prices[-1], prices[0]),
        }
        if channel == "ticker_batch":
            return row
        return row | {
            "best_bid": price_text(market, bid[0][0]) if bid else "",
            "best_bid_quantity": size_text(market, bid[0][1]) if bid else "",
            "best_ask": price_text(market, ask[0][0]) if ask else "",
            "best_ask_quantity": size_text(market, ask[0][1]) if ask else "",
        }

    # What is sent at a pace of its own.

    def beat(self, tenth: int) -> None:
        """Send the heartbeat of each second, the candles with it, and the tickers of each five seconds."""
        now = self.venue.clock()
        for socket, opened_ns in list(self._silent.items()):
            if socket not in self.sockets:
                del self._silent[socket]
            elif now - opened_ns > MUST_SUBSCRIBE_NS:
                del self._silent[socket]
                socket.close()
        state = (self.venue.state, dict(self.venue.states))
        if state != self._told_state or tenth % STATUS_TENTHS == 0:
            self._told_state = state
            self._tell("status", "*", [{"type": "update", "products": self._product_rows()}])
        if tenth % 10 == 0:
            event = {"current_time": _moment(self.now_ns()), "heartbeat_counter": tenth // 10}
            self._tell("heartbeats", "*", [event])
            self._beat_candles()
        if tenth % BATCH_TENTHS == 0:
            self._beat_tickers()

    def _beat_candles(self) -> None:
        for symbol, market in self.venue.markets.items():
            name, trades = id_of(market), self.venue.trades[symbol]
            if not trades or not self._is_heard("candles", name):
                continue
            if self._told_candles.get(symbol) == trades[-1].number:
                continue
            self._told_candles[symbol] = trades[-1].number
            rows = [{**c, "product_id": name} for c in bars(market, trades, CANDLE_S)[-1:]]
            self._tell("candles", name, [{"type": "update", "candles": rows}])

    def _beat_tickers(self) -> None:
        for symbol, market in self.venue.markets.items():
            name, last = id_of(market), self.venue.last[symbol]
            if self._is_heard("ticker_batch", name) and self._batched.get(symbol) != last:
                self._batched[symbol] = last
                self._tell(
                    "ticker_batch", name, [{"type": "update", "tickers": [self._ticker(market, "ticker_batch")]}]
                )

    def _is_heard(self, channel: str, name: str) -> bool:
        """Whether anyone has subscribed to it."""
        return any((channel, name) in socket.subscriptions for socket in self.sockets)

    def _tell(self, channel: str, name: str, events: list[dict[str, Any]]) -> None:
        """Send a message to all who subscribed to it."""
        for socket in list(self.sockets):
            if (channel, name) in socket.subscriptions:
                self._send(socket, "l2_data" if channel == "level2" else channel, events)

    # What is sent when it happens.

    def flush(self) -> None:
        """Send book changes."""
        for symbol, book in self.venue.books.items():
            changes = book.take_changes()
            if not changes:
                continue
            market = self.venue.markets[symbol]
            now = iso(self.now_ns())
            updates = [_level(market, now, *change) for change in changes]
            self._tell("level2", id_of(market), [{"type": "update", "product_id": id_of(market), "updates": updates}])

    def on_trade(self, trade: Trade) -> None:
        """Tell a public trade, and with it the ticker."""
        name = id_of(trade.market)
        self._tell("market_trades", name, [{"type": "update", "trades": [trade_row(trade)]}])
        if self._is_heard("ticker", name):
            event = {"type": "update", "tickers": [self._ticker(trade.market, "ticker")]}
            self._tell("ticker", name, [event])

    def on_order(self, order: Order, what: str) -> None:
        """Tell the owner how an order stands."""
        if what == "triggered":
            self.desk.saw_triggered(order)
        for socket in list(self.sockets):
            subscribed = any(("user", name) in socket.subscriptions for name in ("*", product_id(order)))
            if socket.key and socket.key.account == order.account and subscribed:
                event = {"type": "update", "orders": [self._user_row(order)], "positions": _POSITIONS}
                self._send(socket, "user", [event])

    def _user_row(self, order: Order) -> dict[str, Any]:
        row, m = self.desk.row(order), order.market
        return {
            "avg_price": row["average_filled_price"],
            "cancel_reason": order.reason if row["status"] == "CANCELLED" else "",
            "client_order_id": order.request.client_id,
            "completion_percentage": row["completion_percentage"],
            "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE",
            "cumulative_quantity": row["filled_size"],
            "filled_value": row["filled_value"],
            "leaves_quantity": size_text(m, order.left if order.status.is_open else 0),
            "limit_price": price_text(m, order.price),
            "number_of_fills": row["number_of_fills"],
            "order_id": row["order_id"],
            "order_side": row["side"],
            "order_type": _ORDER_TYPES[row["order_type"]],
            "outstanding_hold_amount": row["outstanding_hold_amount"],
            "post_only": str(order.request.post_only).lower(),
            "product_id": row["product_id"],
            "product_type": "SPOT",
            "reject_reason": "",
            "retail_portfolio_id": row["retail_portfolio_id"],
            "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
            "status": row["status"],
            "stop_price": price_text(m, order.request.stop or order.trigger) if _has_stop(order) else "",
            "time_in_force": row["time_in_force"],
            "total_fees": row["total_fees"],
            "total_value_after_fees": row["total_value_after_fees"],
            "trigger_status": row["trigger_status"],
            "creation_time": row["created_time"],
            "end_time": iso(order.request.expire_ns) if order.request.expire_ns else NOT_BEFORE,
            "start_time": NOT_BEFORE,
        }


_POSITIONS: dict[str, list[Any]] = {"perpetual_futures_positions": [], "expiring_futures_positions": []}


def _has_stop(order: Order) -> bool:
    return bool(order.trigger or order.request.stop)


def _level(market: Market, time: str, is_buy: bool, price: int, size: int) -> dict[str, str]:
    return {
        "side": "bid" if is_buy else "offer",
        "event_time": time,
        "price_level": price_text(market, price),
        "new_quantity": size_text(market, size),
    }


def _moment(ts_ns: int) -> str:
    """Return a time as heartbeats write it."""
    return iso(ts_ns).replace("T", " ").replace("Z", " +0000 UTC")
