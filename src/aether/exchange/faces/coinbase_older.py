"""The older API of Coinbase (`/v2`) as far as clients of Advanced Trade still use it: currencies, prices, wallets and
what has come into and gone out of them."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from aether.exchange.faces.coinbase_words import (
    CoinbaseError,
    id_of,
    iso,
    plain,
    price_text,
    product_id,
    split_vault,
    uuid_of,
    wallet_id,
)
from aether.exchange.venue import Account, Market, Order, Trade, Venue

FIAT = ("USD", "EUR", "GBP")
MOST_ROWS = 300


class OlderApi:
    """Answers what is asked of `/v2`.

    Args:
        account_of: returns whose request it is. Raises CoinbaseError.
        order_id: returns Coinbase's id of an order.
    """

    def __init__(
        self, venue: Venue, account_of: Callable[[web.Request], Account], order_id: Callable[[Order], str]
    ) -> None:
        self._venue = venue
        self._account_of = account_of
        self._order_id = order_id

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        parts = request.match_info["endpoint"].strip("/").split("/")
        try:
            if parts[0] == "accounts":
                rows = self._of_account(self._account_of(request), parts[1:])
                return web.json_response(_page(rows, request))
            return web.json_response({"data": self._public(parts)})
        except CoinbaseError as error:
            name = "authentication_error" if error.status == 401 else "not_found"
            errors = [{"id": name, "message": error.message or error.error}]
            return web.json_response({"errors": errors}, status=error.status)

    def _public(self, parts: list[str]) -> Any:
        assets = sorted({a for m in self._venue.markets.values() for a in (m.base, m.quote)})
        now = self._venue.clock()
        if parts == ["currencies"]:
            return [{"id": a, "name": a, "min_size": "0.01"} for a in assets if a in FIAT]
        if parts == ["currencies", "crypto"]:
            kept = {"color": "", "sort_index": 0, "exponent": 8, "type": "crypto"}
            crypto = [a for a in [*assets, "USDC"] if a not in FIAT]
            return [{"asset_id": uuid_of("asset", a), "code": a, "name": a, **kept} for a in crypto]
        if parts == ["time"]:
            return {"epoch": now // 10**9, "iso": iso(now)}
        if parts == ["exchange-rates"]:
            rates = {m.base: _inverse(m, self._venue.last[m.symbol]) for m in self._venue.markets.values()}
            return {"currency": "USD", "rates": {"USD": "1", "USDC": "1", **rates}}
        if parts[0] == "prices" and len(parts) == 3 and parts[2] in ("spot", "buy", "sell"):
            market = next((m for m in self._venue.markets.values() if id_of(m) == parts[1]), None)
            if market is not None:
                book, last = self._venue.books[market.symbol], self._venue.last[market.symbol]
                price = {"spot": 0, "buy": book.best(is_buy=False), "sell": book.best(is_buy=True)}[parts[2]] or last
                return {"amount": price_text(market, price), "base": market.base, "currency": market.quote}
        raise CoinbaseError(404, "not_found", "Not found")

    def _of_account(self, account: Account, parts: list[str]) -> list[dict[str, Any]]:
        if not parts:
            return [_wallet(account, asset) for asset in account.total]
        asset = next((a for a in account.total if parts[0] in (wallet_id(account, a), a)), None)
        if asset is None:
            raise CoinbaseError(404, "not_found", "Not found")
        if parts[1:] == ["transactions"]:
            found = [self._transaction(account, asset, *fill) for fill in reversed(account.trades)]
            return [row for row in found if row]
        if parts[1:] in (["deposits"], ["withdrawals"], ["buys"], ["sells"], ["addresses"]):
            return []
        raise CoinbaseError(404, "not_found", "Not found")

    def _transaction(self, account: Account, asset: str, order: Order, trade: Trade) -> dict[str, Any]:
        """Return what a trade moved in a wallet, nothing when it moved nothing there."""
        market = order.market
        fee, _, _ = trade.of(order)
        value, sign = market.notional(trade.price, trade.size), 1 if order.is_buy else -1
        moved = {
            market.base: sign * trade.size * 10 ** (8 - market.size_decimals),
            order.quote: -sign * value - fee,
        }
        if asset not in moved:
            return {}
        wallet = wallet_id(account, asset)
        row = uuid_of("transaction", trade.number, "-", order.number, asset)
        return {
            "id": row,
            "type": "advanced_trade_fill",
            "status": "completed",
            "amount": {"amount": plain(moved[asset]), "currency": asset},
            "native_amount": {"amount": plain(moved[order.quote]), "currency": order.quote},
            "description": None,
            "created_at": iso(trade.ts_ns),
            "updated_at": iso(trade.ts_ns),
            "resource": "transaction",
            "resource_path": f"/v2/accounts/{wallet}/transactions/{row}",
            "advanced_trade_fill": {
                "fill_price": price_text(market, trade.price),
                "product_id": product_id(order),
                "order_id": self._order_id(order),
                "commission": plain(fee),
                "order_side": order.request.side.value,
            },
        }


def _inverse(market: Market, price: int) -> str:
    """Return how much of the base asset one unit of the quote asset is worth."""
    return plain(10 ** (16 + market.price_decimals) // price, 16) if price else "0"


def _wallet(account: Account, asset: str) -> dict[str, Any]:
    """Return a balance as the older API shows it."""
    currency, is_vault = split_vault(asset)
    kind = "fiat" if currency in FIAT else "wallet"
    return {
        "id": wallet_id(account, asset),
        "name": f"{currency} {'Vault' if is_vault else 'Wallet'}",
        "primary": False,
        "type": "vault" if is_vault else kind,
        "currency": {"code": currency, "name": currency, "exponent": 2 if currency in FIAT else 8, "type": kind},
        "balance": {"amount": plain(account.total[asset]), "currency": currency},
        "created_at": None,
        "updated_at": None,
        "resource": "account",
        "resource_path": f"/v2/accounts/{wallet_id(account, asset)}",
        "allow_deposits": True,
        "allow_withdrawals": not is_vault,
    }


def _page(rows: list[dict[str, Any]], request: web.Request) -> dict[str, Any]:
    """Return the part of a list that follows `starting_after`, and where the next one begins."""
    query = request.query
    text, after = query.get("limit", "25"), query.get("starting_after", "")
    limit = min(max(int(text), 1), MOST_ROWS) if text.isascii() and text.isdigit() else 25
    start = next((n + 1 for n, row in enumerate(rows) if row["id"] == after), 0) if after else 0
    found = rows[start : start + limit]
    more = str(found[-1]["id"]) if found and start + limit < len(rows) else None
    pagination = {
        "ending_before": None,
        "starting_after": after or None,
        "previous_ending_before": None,
        "next_starting_after": more,
        "limit": limit,
        "order": "desc",
        "previous_uri": None,
        "next_uri": f"{request.path}?limit={limit}&starting_after={more}" if more else None,
    }
    return {"pagination": pagination, "data": found}
