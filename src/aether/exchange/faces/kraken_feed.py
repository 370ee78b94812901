"""Kraken's channels of WebSocket v2: the market's, and those of an account."""

from typing import Any
from zlib import crc32

from aether.domain.scaled import format_amount
from aether.exchange.face import ApiKey, Socket, number
from aether.exchange.faces.kraken_account import (
    average_text,
    balance_text,
    order_flags,
    posting_kind,
    posting_reference,
    quote_fee,
)
from aether.exchange.faces.kraken_markets import BAR_MINUTES, COST_DECIMALS
from aether.exchange.faces.kraken_names import FIAT, SOCKET_STATUS, KrakenError, as_json, iso, long_id
from aether.exchange.faces.kraken_orders import KINDS, kind_of, known, read_price
from aether.exchange.faces.kraken_trading import KrakenTrading
from aether.exchange.venue import Account, Market, NewOrder, Order, Posting, Status, Trade

DEPTHS = (10, 25, 100, 500, 1000)
RATE_COUNT = 125
SNAPSHOT_TRADES = 50
_MARKET = frozenset({"channel", "symbol", "snapshot"})
_OWN = frozenset({"channel", "token", "snapshot", "rebased", "users"})
CHANNELS: dict[str, frozenset[str]] = {
    "ticker": _MARKET | {"event_trigger"},
    "book": _MARKET | {"depth"},
    "ohlc": _MARKET | {"interval"},
    "trade": _MARKET,
    "instrument": frozenset({"channel", "snapshot", "include_tokenized_assets", "execution_venue"}),
    "executions": _OWN | {"snap_orders", "snap_trades", "order_status", "ratecounter", "snapshot_trades"},
    "balances": _OWN,
}
"""The channels, and what each may be subscribed with."""

EXEC_TYPES = {"trade": "filled", "triggered": "status", "scheduled": "pending_new", "refill": "iceberg_refill"}
OPEN_AND_CLOSE = frozenset({"new", "filled", "canceled", "expired", "trade"})
"""What is told to those who want no other changes of an order's status."""


class KrakenFeed(KrakenTrading):
    """Tells subscribers what happens."""

    def start(self) -> None:
        """Set up what the face itself remembers."""
        super().start()
        self._sent: dict[tuple[Socket, str, int], tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {}
        self._tops: dict[str, tuple[Any, Any]] = {}
        self._told: dict[tuple[str, str], int] = {}

    def subscription(self, socket: Socket, head: dict[str, Any], params: dict[str, Any], received: str) -> None:
        """Begin or end a subscription, and answer. Raises KrakenError."""
        channel, is_new = str(params["channel"]), head["method"] == "subscribe"
        if channel not in CHANNELS:
            raise KrakenError("Subscription name invalid")
        known(params, CHANNELS[channel], head["method"])
        if channel in ("executions", "balances"):
            key = self.key_of(params)
            result: dict[str, Any] = {"channel": channel}
            if channel == "executions" and is_new:
                result |= {"maxratecount": RATE_COUNT, "snap_orders": params.get("snap_orders", True)}
                result |= {"snap_trades": params.get("snap_trades", False)}
            self._acknowledge(socket, head, result, received)
            if not is_new:
                socket.subscriptions.pop(channel, None)
                return
            socket.key = key
            socket.subscriptions[channel] = params
            self._private_snapshot(socket, channel, key, params)
            return
        if channel == "instrument":
            self._acknowledge(socket, head, {"channel": channel, "snapshot": True}, received)
            if is_new and params.get("snapshot", True):
                socket.send(self._instruments(), faulty=False)
            return
        self._market_subscription(socket, head, params, received)

    def key_of(self, params: dict[str, Any]) -> ApiKey:
        """Return the key of a token. Raises KrakenError."""
        key = self.tokens.get(str(params.get("token", "")))
        if key is None:
            raise KrakenError("ESession:Invalid session")
        return key

    def _acknowledge(self, socket: Socket, head: dict[str, Any], result: dict[str, Any], received: str) -> None:
        times = {"time_in": received, "time_out": iso(self.now_ns())}
        socket.send(as_json({**head, "result": result, "success": True, **times}), faulty=False)

    def _market_subscription(self, socket: Socket, head: dict[str, Any], params: dict[str, Any], received: str) -> None:
        channel = params["channel"]
        depth, minutes = int(params.get("depth", 10)), int(params.get("interval", 1))
        if depth not in DEPTHS:
            raise KrakenError("Subscription depth not supported")
        if minutes not in BAR_MINUTES:
            raise KrakenError("Subscription ohlc interval not supported")
        what = {"book": depth, "ohlc": minutes, "ticker": params.get("event_trigger", "trades")}.get(channel, True)
        if channel == "ticker" and what not in ("trades", "bbo"):
            raise KrakenError("Subscription object unsupported field")
        listed = {market.symbol: market for market in self.venue.listed()}
        for symbol in params.get("symbol", []):
            if symbol not in listed:
                error = {"error": f"Currency pair not supported {symbol}", "success": False, "symbol": symbol}
                times = {"time_in": received, "time_out": iso(self.now_ns())}
                socket.send(as_json({**head, **error, **times}), faulty=False)
                continue
            result = {"channel": channel, "symbol": symbol, "snapshot": params.get("snapshot", True)}
            result |= {"book": {"depth": depth}, "ohlc": {"interval": minutes}}.get(channel, {})
            result |= {"event_trigger": what} if channel == "ticker" else {}
            self._acknowledge(socket, head, result, received)
            if head["method"] == "unsubscribe":
                socket.subscriptions.pop((channel, symbol), None)
                continue
            socket.subscriptions[channel, symbol] = what
            self._snapshot(socket, channel, listed[symbol], what, params)

    # The market.

    def _instruments(self) -> str:
        assets = [
            {
                "id": asset,
                "status": "enabled",
                "precision": 4 if asset in FIAT else 10,
                "precision_display": 2 if asset in FIAT else 5,
                "borrowable": False,
                "collateral_value": 0,
                "margin_rate": 0,
                "multiplier": 1,
            }
            for asset in self.assets()
        ]
        pairs = [self._instrument(m) for m in self.venue.listed()]
        data = {"assets": assets, "pairs": pairs}
        return as_json({"channel": "instrument", "type": "snapshot", "data": data})

    def _instrument(self, market: Market) -> dict[str, Any]:
        return {
            "symbol": market.symbol,
            "base": market.base,
            "quote": market.quote,
            "status": self.pair_status(market),
            "qty_precision": market.size_decimals,
            "qty_increment": number(market.size_text(1)),
            "qty_min": number(market.size_text(market.min_size)),
            "price_precision": market.price_decimals,
            "price_increment": number(market.price_text(1)),
            "cost_precision": COST_DECIMALS,
            "cost_min": number(format_amount(market.min_notional)),
            "marginable": False,
            "has_index": True,
        }

    def _snapshot(self, socket: Socket, channel: str, market: Market, what: Any, params: dict[str, Any]) -> None:
        if channel == "book":
            book = self.venue.books[market.symbol]
            bids, asks = book.levels(what, is_buy=True), book.levels(what, is_buy=False)
            self._sent[socket, market.symbol, what] = (bids, asks)
            socket.send(self._book_message(market, "snapshot", bids, asks, bids, asks), faulty=False)
        elif not params.get("snapshot", True):
            return
        elif channel == "ticker":
            socket.send(self._ticker_message(market, "snapshot"))
        elif channel == "trade":
            data = [self._ws_trade(t) for t in self.venue.trades[market.symbol][-SNAPSHOT_TRADES:]]
            socket.send(as_json({"channel": "trade", "type": "snapshot", "data": data}))
        elif bars := self.candles(market, what * 60, 0):
            socket.send(self._bar_message(market, what, "snapshot", bars))

    def _ticker_message(self, market: Market, kind: str) -> str:
        row = self.ticker(market)
        last = self.venue.last[market.symbol]
        day_ns = self.now_ns() - 86_400 * 10**9
        first = next((t.price for t in self.venue.trades[market.symbol] if t.ts_ns > day_ns), last)
        data = {
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
            "change": number(market.price_text(last - first)),
            "change_pct": round(100 * (last - first) / first, 2) if first else 0,
            "timestamp": iso(self.now_ns()),
        }
        return as_json({"channel": "ticker", "type": kind, "data": [data]})

    def _ws_trade(self, trade: Trade) -> dict[str, Any]:
        return {
            "symbol": trade.market.symbol,
            "side": trade.taker_side.value,
            "price": number(trade.market.price_text(trade.price)),
            "qty": number(trade.market.size_text(trade.size)),
            "ord_type": "limit" if trade.taker.request.type.has_limit else "market",
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
        return as_json({"channel": "book", "type": kind, "data": [data]})

    def flush(self) -> None:
        """Send book and ticker changes to everyone subscribed."""
        changed = {s for s, book in self.venue.books.items() if book.take_changes()}
        moved = set()
        for symbol in changed:
            book = self.venue.books[symbol]
            top = (book.levels(1, is_buy=True), book.levels(1, is_buy=False))
            if self._tops.get(symbol) != top:
                self._tops[symbol] = top
                moved.add(symbol)
                self.note_spread(self.venue.markets[symbol])
        tickers: dict[str, str] = {}
        for socket in list(self.sockets):
            for key, what in list(socket.subscriptions.items()):
                if not isinstance(key, tuple) or key[1] not in changed:
                    continue
                market = self.venue.markets[key[1]]
                if key[0] == "book":
                    self._send_book(socket, market, what)
                elif key[0] == "ticker" and what == "bbo" and key[1] in moved:
                    if key[1] not in tickers:
                        tickers[key[1]] = self._ticker_message(market, "update")
                    socket.send(tickers[key[1]])
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

    def on_retick(self, market: Market, factor: int) -> None:
        """Send what has changed so far, and know what was sent by prices of the new steps."""
        self.flush()
        for key, sides in self._sent.items():
            if key[1] == market.symbol:
                bids, asks = ([(price * factor, size) for price, size in side] for side in sides)
                self._sent[key] = (bids, asks)

    def on_trade(self, trade: Trade) -> None:
        """Tell a public trade, and the ticker and the bar that it belongs to."""
        market = trade.market
        text, ticker = as_json({"channel": "trade", "type": "update", "data": [self._ws_trade(trade)]}), ""
        for socket in list(self.sockets):
            if ("trade", market.symbol) in socket.subscriptions:
                socket.send(text)
            if socket.subscriptions.get(("ticker", market.symbol)) == "trades":
                ticker = ticker or self._ticker_message(market, "update")
                socket.send(ticker)
            minutes = socket.subscriptions.get(("ohlc", market.symbol))
            if minutes and (bars := self.candles(market, int(minutes) * 60, 0)):
                socket.send(self._bar_message(market, int(minutes), "update", bars[-1:]))

    def _bar_message(self, market: Market, minutes: int, kind: str, bars: list[list[Any]]) -> str:
        rows = [
            {
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
            for start, open_, high, low, close, vwap, volume, count in bars
        ]
        return as_json({"channel": "ohlc", "type": kind, "timestamp": iso(self.now_ns()), "data": rows})

    # The account.

    def _private_snapshot(self, socket: Socket, channel: str, key: ApiKey, params: dict[str, Any]) -> None:
        account = self.venue.account(key.account)
        if channel == "balances":
            if params.get("snapshot", True):
                data = [self._ws_balance(account, asset) for asset in account.total]
                self._send_private(socket, channel, "snapshot", data)
            return
        rows: list[Any] = []
        if params.get("snap_orders", True):
            rows = [{**self._ws_order(o, "new"), "amended": o.number in self.amends} for o in account.open.values()]
        if params.get("snap_trades"):
            rows += [self._ws_execution(o, t) for o, t in account.trades[-SNAPSHOT_TRADES:]]
        self._send_private(socket, channel, "snapshot", rows)

    def _send_private(self, socket: Socket, channel: str, kind: str, data: list[Any]) -> None:
        sequence = socket.private_sequence.get(channel, 0) + 1
        socket.private_sequence[channel] = sequence
        socket.send(as_json({"channel": channel, "type": kind, "data": data, "sequence": sequence}))

    def _ws_balance(self, account: Account, asset: str) -> dict[str, Any]:
        total = number(balance_text(asset, account.total.get(asset, 0)))
        wallet = {"type": "spot", "id": "main", "balance": total}
        return {"asset": asset, "asset_class": "currency", "balance": total, "wallets": [wallet]}

    def _ws_order(self, order: Order, what: str) -> dict[str, Any]:
        m, request = order.market, order.request
        row: dict[str, Any] = {
            "order_id": self.order_id(order),
            "symbol": m.symbol,
            "exec_type": EXEC_TYPES.get(what, what),
            "order_status": SOCKET_STATUS[order.status],
            "side": request.side.value,
            "order_type": kind_of(request),
            "order_qty": number(m.size_text(order.size)),
            "cum_qty": number(m.size_text(order.filled)),
            "cum_cost": number(format_amount(order.cost)),
            "avg_price": number(average_text(order)),
            "time_in_force": request.tif.value.upper(),
            "order_userref": int(request.notes.get("userref", "0")),
            "fee_ccy_pref": order_flags(order)[-1],
            "fee_usd_equiv": number(format_amount(sum(quote_fee(order, t) for t in order.trades))),
            "post_only": request.post_only,
            "margin": False,
            "timestamp": iso(order.updated_ns),
        }
        if order.price:
            row |= {"limit_price": number(m.price_text(order.price)), "limit_price_type": "static"}
        if request.client_id:
            row["cl_ord_id"] = request.client_id
        if order.reason:
            row |= {"reason": order.reason, "cancel_reason": order.reason}
        return row | self._ws_conditions(order)

    def _ws_conditions(self, order: Order) -> dict[str, Any]:
        """Return what only some orders have: a trigger, a part shown, times, a sum to spend, orders to follow."""
        m, request = order.market, order.request
        row: dict[str, Any] = {}
        if request.type.has_trigger:
            row |= {"triggers": self._ws_triggers(order), "stop_price": number(m.price_text(order.trigger))}
        if request.display:
            row["display_qty"] = number(m.size_text(request.display))
        if request.expire_ns:
            row["expire_time"] = iso(request.expire_ns)
        if request.start_ns:
            row["effective_time"] = iso(request.start_ns)
        if request.cost:
            row["cash_order_qty"] = number(format_amount(request.cost))
        if request.parent:
            row["ord_ref_id"] = long_id("O", request.parent)
        if request.close is not None:
            row["contingent"] = self._ws_contingent(m, request.close)
        return row

    def _ws_triggers(self, order: Order) -> dict[str, Any]:
        m, request = order.market, order.request
        price, kind = m.price_text(order.trigger), "static"
        if request.trails:
            kind = "quote" if request.trail else "pct"
            price = m.price_text(request.trail) if request.trail else format_amount(request.trail_ppm * 10_000)
        row = {
            "reference": request.notes.get("trigger", "last"),
            "price": number(price),
            "price_type": kind,
            "actual_price": number(m.price_text(order.trigger)),
            "status": "triggered" if order.triggered_ns else "untriggered",
        }
        if order.triggered_ns:
            row |= {"last_price": number(m.price_text(self.venue.last[m.symbol])), "timestamp": iso(order.triggered_ns)}
        return row

    def _ws_contingent(self, market: Market, close: NewOrder) -> dict[str, Any]:
        """Return what an order's executions are to place: each price with its units."""
        kind = KINDS[close.notes["kind"]]
        row: dict[str, Any] = {"order_type": close.notes["kind"]}
        for name, field in (("trigger_price", kind.trigger), ("limit_price", kind.limit)):
            text = close.notes.get(field)
            if text:
                asked = read_price(text, market, field)
                units_of = "pct" if asked.is_ppm else "quote" if asked.sign else "static"
                row |= {name: number(text.strip("+#%")), f"{name}_type": units_of}
        return row

    def _ws_execution(self, order: Order, trade: Trade) -> dict[str, Any]:
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
            "liquidity_ind": "m" if trade.of(order)[2] else "t",
            "fees": [{"asset": m.quote, "qty": number(format_amount(quote_fee(order, trade)))}],
            "timestamp": iso(trade.ts_ns),
        }

    def on_order(self, order: Order, what: str) -> None:
        """Tell the owner what became of an order."""
        for socket in list(self.sockets):
            params = socket.subscriptions.get("executions")
            if params is None or socket.key is None or socket.key.account != order.account:
                continue
            if not params.get("order_status", True) and what not in OPEN_AND_CLOSE:
                continue
            if what == "trade":
                self._send_private(socket, "executions", "update", [self._ws_execution(order, order.trades[-1])])
                if order.status is not Status.FILLED:
                    continue
            if what == "new" and not order.request.start_ns and params.get("order_status", True):
                pending = {**self._ws_order(order, "pending_new"), "order_status": "pending_new"}
                self._send_private(socket, "executions", "update", [pending])
            row = self._ws_order(order, what)
            if what == "amended":
                row["amended"] = True
            self._send_private(socket, "executions", "update", [row])

    def on_balance(self, account: Account, asset: str) -> None:
        """Tell the owner of what the ledger has of a balance; what is only held or freed is not in it."""
        posting = next((p for p in reversed(account.postings) if p.asset == asset), None)
        if posting is None or self._told.get((account.name, asset)) == posting.number:
            return
        self._told[account.name, asset] = posting.number
        for socket in list(self.sockets):
            if socket.key and socket.key.account == account.name and "balances" in socket.subscriptions:
                self._send_private(socket, "balances", "update", [self._ws_posting(posting)])

    def _ws_posting(self, posting: Posting) -> dict[str, Any]:
        kind = posting_kind(posting)
        return {
            "asset": posting.asset,
            "asset_class": "currency",
            "amount": number(balance_text(posting.asset, posting.amount)),
            "balance": number(balance_text(posting.asset, posting.balance)),
            "fee": number(balance_text(posting.asset, posting.fee)),
            "ledger_id": long_id("L", posting.number),
            "ref_id": posting_reference(posting),
            "timestamp": iso(posting.ts_ns),
            "type": kind,
            "subtype": "",
            "category": "trade" if kind == "trade" else kind,
            "wallet_type": "spot",
            "wallet_id": "main",
        }
