"""Coinbase's face: Advanced Trade REST and WebSocket as Coinbase Developer Documentation describes them (2026)."""

from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from aiohttp import web

from aether.exchange.face import ApiKey, Refused, number
from aether.exchange.faces.coinbase_older import FIAT, OlderApi
from aether.exchange.faces.coinbase_orders import OrderDesk
from aether.exchange.faces.coinbase_socket import CoinbaseSockets
from aether.exchange.faces.coinbase_words import (
    GRANULARITIES,
    CoinbaseError,
    Product,
    bars,
    id_of,
    iso,
    page,
    percent,
    plain,
    portfolio_id,
    price_text,
    size_text,
    split_vault,
    trade_row,
    values,
    wallet_id,
    whole,
)
from aether.exchange.venue import Account, Market, Order

ROOT = "/api/v3/brokerage"
REQUESTS_PER_S = 30
PUBLIC_PER_S = 10
MOST_CANDLES = 350
MOST_TRADES = 1000
ACCOUNTS, MOST_ACCOUNTS = 49, 250
BOOK_LEVELS = 500
NS_PER_DAY = 86_400 * 10**9
SHARED_BOOKS = {"USD": ("USD", "USDC")}
"""What is paid in the products of one book, by the quote asset that the book is named after."""

_Work = Callable[[Account, dict[str, Any], str], dict[str, Any]]


class CoinbaseFace(CoinbaseSockets):
    """Serves `/api/v3/brokerage`, what is left of `/v2`, and the sockets at `/` and `/ws`."""

    def start(self) -> None:
        """Set up what the face itself remembers."""
        super().start()
        self.products: dict[str, Product] = {}
        self.on_listed()
        self.desk = OrderDesk(self.venue, self.faults, self.products)
        self._older = OlderApi(self.venue, self._account_of, self.desk.order_id)
        self._calls: dict[str, tuple[int, int]] = {}
        self._posts: dict[str, _Work] = {
            "orders": self.desk.create,
            "orders/preview": self.desk.preview,
            "orders/edit": self.desk.edit,
            "orders/edit_preview": self.desk.edit_preview,
            "orders/batch_cancel": self.desk.cancel,
            "orders/close_position": lambda _, fields, body: self.desk.close_position(fields, body),
        }
        self._gets: dict[str, Callable[[Account, Any], dict[str, Any]]] = {
            "accounts": self._accounts,
            "best_bid_ask": self._best_bid_ask,
            "orders/historical/batch": self.desk.history,
            "orders/historical/fills": self.desk.fills,
            "transaction_summary": self._summary,
            "portfolios": self._portfolios,
            "payment_methods": lambda _account, _query: {"payment_methods": []},
        }

    def on_listed(self) -> None:
        """List anew what is there."""
        found = [
            Product(market, quote)
            for market in self.venue.listed()
            for quote in SHARED_BOOKS.get(market.quote, (market.quote,))
        ]
        self.products.clear()
        self.products |= {product.id: product for product in found}

    def build(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/v2/{endpoint:.*}", self._older.answer)
        app.router.add_route("*", ROOT + "/{endpoint:.*}", self._rest)
        app.router.add_get("/", self.serve_client)
        app.router.add_get("/ws", self.serve_client)

    def product_of(self, name: str) -> Product:
        """Return a product. Raises CoinbaseError."""
        product = self.products.get(name)
        if product is None:
            raise CoinbaseError(404, "NOT_FOUND", f"Product {name} not found")
        return product

    def order_id(self, order: Order) -> str:
        """Return Coinbase's id of an order."""
        return self.desk.order_id(order)

    # REST.

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        body = await request.text()

        def work() -> tuple[int, Any, dict[str, str]]:
            try:
                return 200, self._carry_out(request, endpoint, body), {}
            except CoinbaseError as error:
                if error.status == 429:
                    limited = {"id": "rate_limit_exceeded", "message": "Too many requests"}
                    return 429, {"errors": [limited]}, {"Retry-After": "1"}
                answer = {"error": error.error, "error_details": error.message, "message": error.message}
                return error.status, answer, {}
            except (KeyError, ValueError, TypeError, AttributeError, msgspec.DecodeError, Refused) as error:
                return 400, {"error": "INVALID_ARGUMENT", "error_details": str(error), "message": str(error)}, {}

        return await self.answer(request, work, faulty=endpoint == "orders")

    def _carry_out(self, request: web.Request, endpoint: str, body: str) -> Any:
        if self.faults.happens("rate_limit"):
            raise CoinbaseError(429, "rate_limit_exceeded")
        is_public = endpoint.startswith("market/") or endpoint == "time"
        key = None if is_public else self._authenticate(request)
        self._count(key)
        if self.venue.state == "maintenance" and not is_public:
            raise CoinbaseError(503, "unavailable", "Maintenance")
        if request.method not in ("GET", "POST"):
            raise CoinbaseError(405, "METHOD_NOT_ALLOWED", "Method Not Allowed")
        if key is None:
            return self._public(endpoint, request.query)
        if request.method == "POST":
            return self._post(endpoint, body, key)
        return self._get(endpoint, request.query, key)

    def _count(self, key: ApiKey | None) -> None:
        if not self.enforce_limits:
            return
        name, most = (key.name, REQUESTS_PER_S) if key else ("public", PUBLIC_PER_S * 10)
        second = self.venue.clock() // 10**9
        seen = self._calls.get(name, (second, 0))
        count = seen[1] + 1 if seen[0] == second else 1
        self._calls[name] = (second, count)
        if count > most:
            raise CoinbaseError(429, "rate_limit_exceeded")

    def _account_of(self, request: web.Request) -> Account:
        return self.venue.account(self._authenticate(request).account)

    def _authenticate(self, request: web.Request) -> ApiKey:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        key, claims = self._token(token)
        uri = claims.get("uri") or (claims.get("uris") or [""])[0]
        method, _, target = str(uri).partition(" ")
        target = target.rpartition("://")[2]
        if method != request.method or target[target.find("/") :] != request.path:
            raise CoinbaseError(401, "Unauthorized", "the token is for another request")
        return key

    def signer_of(self, token: str) -> ApiKey:
        """Return the key that signed a token. Raises CoinbaseError."""
        return self._token(token)[0]

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

    # Market data.

    def _public(self, endpoint: str, q: Any) -> Any:
        if endpoint == "time":
            now = self.now_ns()
            return {"iso": iso(now), "epochSeconds": str(now // 10**9), "epochMillis": str(now // 1_000_000)}
        if endpoint == "market/products":
            return self._products(q)
        if endpoint == "market/product_book":
            return self._book_of(self.product_of(q["product_id"]).market, q)
        parts = endpoint.split("/")
        product = self.product_of(parts[2] if len(parts) > 2 else "")
        if len(parts) == 3:
            return self._product(product)
        if parts[3:] == ["candles"]:
            return self._candles(product.market, q)
        if parts[3:] == ["ticker"]:
            return self._market_trades(product.market, q)
        raise CoinbaseError(404, "NOT_FOUND", endpoint)

    def _products(self, q: Any) -> dict[str, Any]:
        wanted = values(q, "product_ids")
        kinds = set(values(q, "product_type")) - {"UNKNOWN_PRODUCT_TYPE"}
        found = [p for p in self.products.values() if (not wanted or p.id in wanted) and kinds <= {"SPOT"}]
        start = whole(q, "offset", 0, 10**9)
        limit = len(found) if q.get("get_all_products") == "true" else whole(q, "limit", len(found), 10**9)
        return {"products": [self._product(p) for p in found[start : start + limit]], "num_products": len(found)}

    def _product(self, product: Product) -> dict[str, Any]:
        market, now = product.market, self.now_ns()
        trades = self.venue.trades[market.symbol]
        day = [t for t in trades if t.ts_ns > now - NS_PER_DAY]
        before = [t for t in trades if now - 2 * NS_PER_DAY < t.ts_ns <= now - NS_PER_DAY]
        last, volume = self.venue.last[market.symbol], sum(t.size for t in day)
        is_online = self.venue.takes_orders(market)
        others = SHARED_BOOKS.get(market.quote, ())
        return {
            "product_id": product.id,
            "price": price_text(market, last),
            "price_percentage_change_24h": percent(last, day[0].price) if day else "0",
            "volume_24h": size_text(market, volume),
            "volume_percentage_change_24h": percent(volume, sum(t.size for t in before)),
            "base_increment": size_text(market, 1),
            "quote_increment": "0.01",
            "quote_min_size": plain(market.min_notional),
            "quote_max_size": "150000000",
            "base_min_size": size_text(market, market.min_size),
            "base_max_size": size_text(market, market.max_size),
            "base_name": market.base,
            "quote_name": product.quote,
            "watched": False,
            "is_disabled": False,
            "new": False,
            "status": "online" if is_online else "offline",
            "cancel_only": not is_online,
            "limit_only": False,
            "post_only": self.venue.state_of(market) == "post_only",
            "trading_disabled": not is_online,
            "auction_mode": False,
            "product_type": "SPOT",
            "quote_currency_id": product.quote,
            "base_currency_id": market.base,
            "fcm_trading_session_details": None,
            "mid_market_price": self._middle(market),
            "alias": id_of(market) if product.is_alias else "",
            "alias_to": [] if product.is_alias else [f"{market.base}-{q}" for q in others if q != market.quote],
            "base_display_symbol": market.base,
            "quote_display_symbol": market.quote,
            "view_only": False,
            "price_increment": price_text(market, 1),
            "display_name": f"{market.base}-{product.quote}",
            "product_venue": "CBE",
            "approximate_quote_24h_volume": plain(sum(market.notional(t.price, t.size) for t in day)),
        }

    def _middle(self, market: Market) -> str:
        book = self.venue.books[market.symbol]
        bid, ask = book.best(is_buy=True), book.best(is_buy=False)
        return plain((bid + ask) * 5, market.price_decimals + 1) if bid and ask else ""

    def _levels(self, market: Market, count: int, step: int) -> dict[str, list[dict[str, str]]]:
        """Return both sides of a book, prices put together to multiples of `step`, away from the middle."""
        book = self.venue.books[market.symbol]
        sides: dict[str, list[dict[str, str]]] = {}
        for name, is_buy in (("bids", True), ("asks", False)):
            sums: dict[int, int] = {}
            for price, size in book.levels(10_000 if step > 1 else count, is_buy=is_buy):
                whole_price = price // step * step if is_buy else -(-price // step) * step
                sums[whole_price] = sums.get(whole_price, 0) + size
            found = list(sums.items())[:count]
            sides[name] = [{"price": price_text(market, p), "size": size_text(market, s)} for p, s in found]
        return sides

    def _pricebook(self, market: Market, count: int, step: int = 1) -> dict[str, Any]:
        return {"product_id": id_of(market), **self._levels(market, count, step), "time": iso(self.now_ns())}

    def _book_of(self, market: Market, q: Any) -> dict[str, Any]:
        step = 1
        if q.get("aggregation_price_increment"):
            asked, decimals = q["aggregation_price_increment"], market.price_decimals
            digits, _, rest = asked.partition(".")
            rest = rest.rstrip("0")
            if not (digits + rest).isdigit() or len(rest) > decimals or not int(digits + rest):
                raise CoinbaseError(400, "INVALID_ARGUMENT", "invalid aggregation_price_increment")
            step = int(digits + rest.ljust(decimals, "0"))
        book = self.venue.books[market.symbol]
        bid, ask = book.best(is_buy=True), book.best(is_buy=False)
        has_both = bool(bid and ask)
        return {
            "pricebook": self._pricebook(market, whole(q, "limit", BOOK_LEVELS, 10_000), step),
            "last": price_text(market, self.venue.last[market.symbol]),
            "mid_market": self._middle(market),
            "spread_bps": plain((ask - bid) * 2 * 10**12 // (ask + bid), 8) if has_both else "",
            "spread_absolute": price_text(market, ask - bid) if has_both else "",
        }

    def _candles(self, market: Market, q: Any) -> dict[str, Any]:
        seconds = GRANULARITIES.get(q.get("granularity", ""))
        if seconds is None:
            raise CoinbaseError(400, "INVALID_ARGUMENT", "granularity is not valid")
        for name in ("start", "end"):
            if not q.get(name, "").isdigit():
                raise CoinbaseError(400, "INVALID_ARGUMENT", f"{name} is required")
        since, until = int(q["start"]), int(q["end"])
        if until < since:
            raise CoinbaseError(400, "INVALID_ARGUMENT", "start must be before end")
        if (until - since) / seconds > MOST_CANDLES:
            text = f"number of candles requested should be less than {MOST_CANDLES}"
            raise CoinbaseError(400, "INVALID_ARGUMENT", text)
        trades = self.venue.trades[market.symbol]
        found = [c for c in bars(market, trades, seconds) if since <= int(c["start"]) <= until]
        return {"candles": found[::-1][: whole(q, "limit", MOST_CANDLES, MOST_CANDLES)]}

    def _market_trades(self, market: Market, q: Any) -> dict[str, Any]:
        since = whole(q, "start", 0, 1 << 40) * 10**9
        until = whole(q, "end", 1 << 33, 1 << 40) * 10**9
        found = [t for t in self.venue.trades[market.symbol] if since <= t.ts_ns <= until]
        limit = whole(q, "limit", 100, MOST_TRADES)
        rows = [{**trade_row(t), "bid": "", "ask": "", "exchange": "COINBASE"} for t in found[-limit:]]
        book = self.venue.books[market.symbol]
        best = {"best_bid": book.best(is_buy=True), "best_ask": book.best(is_buy=False)}
        return {"trades": rows[::-1], **{name: price_text(market, price) for name, price in best.items()}}

    # Private.

    def _get(self, endpoint: str, q: Any, key: ApiKey) -> Any:
        account = self.venue.account(key.account)
        if endpoint in ("products", "product_book") or endpoint.startswith("products/"):
            return self._public("market/" + endpoint, q)
        if endpoint in self._gets:
            return self._gets[endpoint](account, q)
        name, _, last = endpoint.rpartition("/")
        if endpoint == "key_permissions":
            rights = {"can_view": True, "can_trade": key.can_trade, "can_transfer": key.can_withdraw}
            return {**rights, "portfolio_uuid": portfolio_id(account.name), "portfolio_type": "DEFAULT"}
        if name == "orders/historical":
            order = self.desk.find(account, last)
            if order is None:
                raise CoinbaseError(404, "unknown", "order with this orderID was not found")
            return {"order": self.desk.row(order)}
        if name == "accounts":
            rows = {row["uuid"]: row for row in self._account_rows(account)}
            if last not in rows:
                raise CoinbaseError(404, "NOT_FOUND", "account not found")
            return {"account": rows[last]}
        if name == "portfolios" and last == portfolio_id(account.name):
            return {"breakdown": self._breakdown(account)}
        if name == "payment_methods":
            raise CoinbaseError(404, "NOT_FOUND", "payment method not found")
        raise CoinbaseError(404, "NOT_FOUND", endpoint)

    def _post(self, endpoint: str, body: str, key: ApiKey) -> Any:
        if endpoint not in self._posts:
            raise CoinbaseError(404, "NOT_FOUND", endpoint)
        if not key.can_trade:
            raise CoinbaseError(403, "PERMISSION_DENIED", "Missing required scopes")
        fields = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
        return self._posts[endpoint](self.venue.account(key.account), fields, body)

    def _best_bid_ask(self, _account: Account, q: Any) -> dict[str, Any]:
        wanted = values(q, "product_ids")
        markets = [self.product_of(name).market for name in wanted] or list(self.venue.markets.values())
        return {"pricebooks": [self._pricebook(market, 1) for market in markets]}

    def _accounts(self, account: Account, q: Any) -> dict[str, Any]:
        rows, cursor = page(self._account_rows(account), "uuid", q, whole(q, "limit", ACCOUNTS, MOST_ACCOUNTS))
        return {"accounts": rows, "has_next": bool(cursor), "cursor": cursor, "size": len(rows)}

    def _account_rows(self, account: Account) -> list[dict[str, Any]]:
        rows = []
        for asset in account.total:
            currency, is_vault = split_vault(asset)
            kind = "FIAT" if currency in FIAT else "CRYPTO"
            rows.append(
                {
                    "uuid": wallet_id(account, asset),
                    "name": f"{currency} {'Vault' if is_vault else 'Wallet'}",
                    "currency": currency,
                    "available_balance": {"value": plain(account.free(asset)), "currency": currency},
                    "default": not is_vault,
                    "active": True,
                    "created_at": iso(0),
                    "updated_at": iso(0),
                    "deleted_at": None,
                    "type": f"ACCOUNT_TYPE_{'VAULT' if is_vault else kind}",
                    "ready": True,
                    "hold": {"value": plain(account.held.get(asset, 0)), "currency": currency},
                    "retail_portfolio_id": portfolio_id(account.name),
                    "platform": "ACCOUNT_PLATFORM_CONSUMER",
                }
            )
        return rows

    def _portfolios(self, account: Account, q: Any) -> dict[str, Any]:
        kinds = set(values(q, "portfolio_type")) - {"UNDEFINED"}
        return {"portfolios": [_portfolio(account)] if not kinds or "DEFAULT" in kinds else []}

    def _breakdown(self, account: Account) -> dict[str, Any]:
        positions, cash, crypto = [], 0, 0
        for asset, total in account.total.items():
            currency, is_vault = split_vault(asset)
            worth, free = self._worth(currency, total), account.free(asset)
            cash, crypto = (cash + worth, crypto) if currency in FIAT else (cash, crypto + worth)
            positions.append(
                {
                    "asset": currency,
                    "account_uuid": wallet_id(account, asset),
                    "total_balance_fiat": number(plain(worth)),
                    "total_balance_crypto": number(plain(total)),
                    "available_to_trade_fiat": number("0" if is_vault else plain(self._worth(currency, free))),
                    "available_to_trade_crypto": number("0" if is_vault else plain(free)),
                    "is_cash": currency in FIAT,
                    "account_type": "ACCOUNT_TYPE_VAULT" if is_vault else "ACCOUNT_TYPE_CRYPTO",
                }
            )
        balances = {"total_balance": cash + crypto, "total_cash_equivalent_balance": cash}
        balances["total_crypto_balance"] = crypto
        return {
            "portfolio": _portfolio(account),
            "portfolio_balances": {n: {"value": plain(v), "currency": "USD"} for n, v in balances.items()},
            "spot_positions": positions,
            "perp_positions": [],
            "futures_positions": [],
        }

    def _worth(self, currency: str, held: int) -> int:
        """Return what an amount is worth in dollars, 0 when it has no price."""
        if currency in ("USD", "USDC"):
            return held
        market = self.venue.markets.get(f"{currency}/USD")
        return held * self.venue.last[market.symbol] // 10**market.price_decimals if market else 0

    def _summary(self, account: Account, q: Any) -> dict[str, Any]:
        """Return what an account has traded and paid in thirty days, and its rates."""
        kinds = set(values(q, "product_type")) - {"UNKNOWN_PRODUCT_TYPE"}
        tiers, tier = self.venue.rules.fee_tiers, self.venue.tier(account)
        place, since = tiers.index(tier), self.venue.clock() - 30 * NS_PER_DAY
        recent = [(order, t) for order, t in account.trades if t.ts_ns >= since and kinds <= {"SPOT"}]
        volume = number(plain(sum(t.market.notional(t.price, t.size) for _, t in recent)))
        fees = number(plain(sum(t.of(order)[0] for order, t in recent)))
        to = str(tiers[place + 1].volume) if place + 1 < len(tiers) else ""
        spot = {"volume_types": ["VOLUME_TYPE_SPOT"], "vol_from": str(tier.volume), "vol_to": to}
        return {
            "total_volume": volume,
            "total_fees": fees,
            "fee_tier": {
                "pricing_tier": f"Intro {place + 1}",
                "usd_from": "",
                "usd_to": "",
                "taker_fee_rate": plain(tier.taker_ppm, 6),
                "maker_fee_rate": plain(tier.maker_ppm, 6),
                "aop_from": "0",
                "aop_to": "1000000",
                "volume_types_and_range": [spot],
            },
            "margin_rate": None,
            "goods_and_services_tax": None,
            "advanced_trade_only_volume": volume,
            "advanced_trade_only_fees": fees,
            "coinbase_pro_volume": 0,
            "coinbase_pro_fees": 0,
            "total_balance": plain(sum(self._worth(split_vault(a)[0], v) for a, v in account.total.items())),
            "has_promo_fee": False,
            "volume_breakdown": [{"volume_type": "VOLUME_TYPE_SPOT", "volume": volume}],
            "has_cost_plus_commission": False,
        }


def _portfolio(account: Account) -> dict[str, Any]:
    return {"name": "Default", "uuid": portfolio_id(account.name), "type": "DEFAULT", "deleted": False}
