"""What Kraken tells of an account over REST: balances, orders, executions, the ledger, the key itself."""

import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from aether.domain.scaled import format_amount, format_scaled, mul_div_round, value_of
from aether.exchange.face import ApiKey
from aether.exchange.faces.kraken_markets import COST_DECIMALS, KrakenMarkets
from aether.exchange.faces.kraken_names import (
    FIAT,
    REST_STATUS,
    KrakenError,
    invalid,
    long_id,
    number_of,
)
from aether.exchange.faces.kraken_orders import describe, describe_close, is_true, kind_of, prices_of
from aether.exchange.venue import Account, FeeTier, Order, Posting, Trade

Row = TypeVar("Row")
PAGE = 50
"""Rows that histories give at once."""

ORDERS_AT_ONCE = 50
TRADES_AT_ONCE = 20
LEDGERS_AT_ONCE = 20
TOKEN_LIVES_S = 900
_PAGED = frozenset({"start", "end", "ofs", "without_count", "rebase_multiplier"})
_ORDERS = frozenset({"trades", "userref", "cl_ord_id", "rebase_multiplier"})
ACCOUNT_FIELDS: dict[str, frozenset[str]] = {
    "Balance": frozenset({"rebase_multiplier"}),
    "BalanceEx": frozenset({"rebase_multiplier"}),
    "TradeBalance": frozenset({"asset", "rebase_multiplier"}),
    "OpenOrders": _ORDERS,
    "ClosedOrders": _ORDERS | _PAGED | {"closetime", "consolidate_taker"},
    "QueryOrders": frozenset({"txid", "trades", "userref", "consolidate_taker", "rebase_multiplier"}),
    "OrderAmends": frozenset({"order_id", "rebase_multiplier"}),
    "TradesHistory": _PAGED | {"type", "trades", "consolidate_taker", "ledgers"},
    "QueryTrades": frozenset({"txid", "trades", "rebase_multiplier"}),
    "OpenPositions": frozenset({"txid", "docalcs", "consolidation", "rebase_multiplier"}),
    "Ledgers": _PAGED | {"asset", "aclass", "type"},
    "QueryLedgers": frozenset({"id", "trades", "rebase_multiplier"}),
    "TradeVolume": frozenset({"pair", "fee-info", "rebase_multiplier"}),
    "GetWebSocketsToken": frozenset(),
    "GetApiKeyInfo": frozenset(),
}
"""What each question about the account may be asked with."""

WITHOUT_RIGHT = frozenset(
    {
        *("DepositMethods", "DepositAddresses", "DepositStatus", "WithdrawMethods", "WithdrawAddresses"),
        *("WithdrawInfo", "Withdraw", "WithdrawStatus", "WithdrawCancel", "WalletTransfer", "CreateSubaccount"),
        *("AccountTransfer", "ListWalletAccounts", "CreditLines", "AddExport", "ExportStatus", "RetrieveExport"),
        *("RemoveExport", "Earn/Allocate", "Earn/Deallocate", "Earn/AllocateStatus", "Earn/DeallocateStatus"),
        *("Earn/Strategies", "Earn/Allocations"),
    }
)
"""What keys of this exchange have no right to: moving funds, exports, earning, accounts below the account."""

TRADE_TYPES = ("all", "any position", "closed position", "closing position", "no position")
CLOSE_TIMES = ("open", "close", "both")
LEDGER_TYPES = frozenset(
    {
        *("all", "deposit", "withdrawal", "trade", "margin", "rollover", "credit", "transfer", "settled", "staking"),
        *("sale", "dividend", "adjustment", "reward", "conversion", "nfttrade", "receive", "spend"),
    }
)
_LONG_ID = re.compile(r"[OTL][0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{6}")


class KrakenAccount(KrakenMarkets):
    """Answers what a key may ask about its account."""

    def start(self) -> None:
        """Set up what the face itself remembers."""
        super().start()
        self.tokens: dict[str, ApiKey] = {}
        self.amends: dict[int, list[dict[str, Any]]] = {}

    def account_result(self, endpoint: str, f: dict[str, str], key: ApiKey) -> Any:
        """Return the result of a question about the account. Raises KrakenError, Refused."""
        account = self.venue.account(key.account)
        if endpoint in ("Balance", "BalanceEx"):
            return self._balances(account, is_extended=endpoint == "BalanceEx")
        if endpoint == "TradeBalance":
            return self._trade_balance(account, self.asset_of(f.get("asset") or "ZUSD"))
        if endpoint == "GetWebSocketsToken":
            token = secrets.token_urlsafe(32)
            self.tokens[token] = key
            return {"token": token, "expires": TOKEN_LIVES_S}
        if endpoint == "GetApiKeyInfo":
            return _key_info(key)
        if endpoint == "TradeVolume":
            return self._volume(account, f)
        if endpoint == "OpenPositions":
            return [] if f.get("consolidation") == "market" else {}
        if endpoint in ("Ledgers", "QueryLedgers"):
            return self._ledgers(account, f) if endpoint == "Ledgers" else self._ledgers_by_id(account, f)
        if endpoint in ("TradesHistory", "QueryTrades"):
            return self._trades_of(account, f) if endpoint == "TradesHistory" else self._trades_by_id(account, f)
        return self._orders_result(endpoint, f, account)

    # Balances.

    def _balances(self, account: Account, *, is_extended: bool) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for asset, total in account.total.items():
            text = balance_text(asset, total)
            held = balance_text(asset, account.held.get(asset, 0))
            rows[self.codes(asset)[0]] = {"balance": text, "hold_trade": held} if is_extended else text
        return rows

    def _trade_balance(self, account: Account, asset: str) -> dict[str, str]:
        """Return what all balances are worth in one asset; without margin the rest is nothing."""
        worth = sum(self._in_dollars(a, total) for a, total in account.total.items())
        if asset != "USD":
            one = self._in_dollars(asset, 10**8)
            worth = mul_div_round(worth, 10**8, one) if one else 0
        text = format_scaled((worth + 5_000) // 10_000, 4)
        return {"eb": text, "tb": text, **dict.fromkeys(("m", "uv", "n", "c", "v"), "0.0000"), "e": text, "mf": text}

    def _in_dollars(self, asset: str, amount: int) -> int:
        market = self.venue.markets.get(f"{asset}/USD")
        if market is None:
            return amount if asset == "USD" else 0
        return value_of(amount, self.venue.last[market.symbol], market.price_decimals)

    def _volume(self, account: Account, f: dict[str, str]) -> dict[str, Any]:
        markets = [self.market_of(n.strip()) for n in f.get("pair", "").split(",") if n.strip()]
        result: dict[str, Any] = {
            "currency": "ZUSD",
            "volume": format_scaled(self.venue.traded(account) // 10_000, 4),
        }
        if markets:
            tiers, tier = self.venue.rules.fee_tiers, self.venue.tier(account)
            result["fees"] = {self.pair_key(m): _fee_row(tiers, tier, "taker_ppm") for m in markets}
            result["fees_maker"] = {self.pair_key(m): _fee_row(tiers, tier, "maker_ppm") for m in markets}
        return result

    # Orders.

    def _orders_result(self, endpoint: str, f: dict[str, str], account: Account) -> Any:
        trades = is_true(f.get("trades", ""))
        if endpoint == "OpenOrders":
            found = _of_client(account.open.values(), f)
            return {"open": {self.order_id(o): self.order_row(o, trades=trades) for o in found}}
        if endpoint == "ClosedOrders":
            done = [o for o in _of_client(account.orders.values(), f) if not o.status.is_open]
            chosen = sorted(self._between(account, done, f), key=lambda o: (-o.updated_ns, -o.number))
            rows = {self.order_id(o): self.order_row(o, trades=trades) for o in _page(chosen, f)}
            return _counted({"closed": rows}, len(chosen), f)
        if endpoint == "QueryOrders":
            orders = [self.order_of(account, txid) for txid in _ids(f.get("txid", ""), "txid", ORDERS_AT_ONCE)]
            known = [o for o in orders if o is not None]
            if len(known) < len(orders):
                raise KrakenError("EOrder:Unknown order")
            return {self.order_id(o): self.order_row(o, trades=trades) for o in _of_client(known, f)}
        order = self.order_of(account, f.get("order_id", ""))
        if order is None:
            raise KrakenError("EOrder:Unknown order")
        amends = self.amends.get(order.number) or [self.amend_row(order, "original", 0)]
        return {"amends": amends, "count": len(amends)}

    def _between(self, account: Account, orders: list[Order], f: dict[str, str]) -> Iterator[Order]:
        """Yield the orders opened or closed (as `closetime` says) after `start` and not after `end`."""
        which = f.get("closetime", "both")
        if which not in CLOSE_TIMES:
            raise invalid("closetime")
        start = self._time(account, f.get("start", ""), "start")
        end = self._time(account, f.get("end", ""), "end")
        for order in orders:
            times = {"open": [order.created_ns], "close": [order.updated_ns]}.get(
                which, [order.created_ns, order.updated_ns]
            )
            if any(at > start and (not end or at <= end) for at in times):
                yield order

    def _time(self, account: Account, text: str, field: str) -> int:
        """Return the nanoseconds of a bound, which is a time in seconds or the id of an order, trade or posting."""
        if not text:
            return 0
        if _LONG_ID.fullmatch(text):
            return self._time_of(account, text[0], number_of(text))
        whole, _, part = text.partition(".")
        if not whole.isdigit() or not (part or "0").isdigit():
            raise invalid(field)
        return int(whole) * 10**9 + int(part[:9].ljust(9, "0") or "0")

    @staticmethod
    def _time_of(account: Account, kind: str, number: int) -> int:
        if kind == "O":
            order = account.orders.get(number)
            return order.created_ns if order else 0
        if kind == "T":
            return next((t.ts_ns for _, t in account.trades if t.number == number), 0)
        return next((p.ts_ns for p in account.postings if p.number == number), 0)

    def describe_order(self, order: Order) -> str:
        """Return how Kraken words an order."""
        m, request = order.market, order.request
        volume = format_amount(request.cost) if request.cost else m.size_text(order.size)
        return f"{request.side.value} {volume} {self.altname(m)} @ {describe(kind_of(request), prices_of(order))}"

    def order_row(self, order: Order, *, trades: bool) -> dict[str, Any]:
        """Return an order as OpenOrders, ClosedOrders and QueryOrders give it."""
        m, request = order.market, order.request
        price, price2 = prices_of(order)
        reference = request.notes.get("userref")
        row: dict[str, Any] = {
            "refid": long_id("O", request.parent) if request.parent else None,
            "userref": int(reference) if reference else 0,
            "cl_ord_id": request.client_id or None,
            "status": REST_STATUS[order.status],
            "opentm": order.created_ns / 1e9,
            "starttm": request.start_ns // 10**9,
            "expiretm": request.expire_ns // 10**9,
            "descr": {
                "pair": self.altname(m),
                "type": request.side.value,
                "ordertype": kind_of(request),
                "price": price,
                "price2": price2,
                "leverage": "none",
                "order": self.describe_order(order),
                "close": describe_close(request),
            },
            "vol": m.size_text(order.size),
            "vol_exec": m.size_text(order.filled),
            "cost": cost_text(order.cost),
            "fee": cost_text(sum(quote_fee(order, t) for t in order.trades)),
            "price": average_text(order),
            "stopprice": m.price_text(order.trigger) if request.type.has_trigger else "0.00000",
            "limitprice": m.price_text(order.price) if order.triggered_ns and order.price else "0.00000",
            "misc": self._misc(order),
            "oflags": ",".join(order_flags(order)),
        }
        if request.type.has_trigger:
            row["trigger"] = request.notes.get("trigger", "last")
        if trades:
            row["trades"] = [self.trade_id(t) for t in order.trades]
        if not order.status.is_open:
            row |= {"closetm": order.updated_ns / 1e9, "reason": order.reason or None}
        return row

    def _misc(self, order: Order) -> str:
        is_profit = order.request.type.takes_profit
        is_partial = 0 < order.filled < order.size and not order.status.is_open
        words = {
            "touched" if is_profit else "stopped": bool(order.triggered_ns),
            "partial": is_partial,
            "amended": order.number in self.amends,
        }
        return ",".join(word for word, holds in words.items() if holds)

    def amend_row(self, order: Order, kind: str, number: int) -> dict[str, Any]:
        """Return an order's present terms as OrderAmends gives them; `number` counts its amendments."""
        m, request = order.market, order.request
        row: dict[str, Any] = {
            "amend_id": long_id("T", order.number * 1000 + number),
            "amend_type": kind,
            "order_qty": m.size_text(order.size),
            "remaining_qty": m.size_text(order.left),
            "timestamp": (order.updated_ns if number else order.created_ns) // 10**6,
            "post_only": request.post_only,
            "reason": "" if kind == "original" else "User requested",
        }
        if request.display:
            row["display_qty"] = m.size_text(request.display)
        if order.price:
            row["limit_price"] = m.price_text(order.price)
        if order.trigger:
            row["trigger_price"] = m.price_text(order.trigger)
        return row

    # Executions and the ledger.

    def _trades_of(self, account: Account, f: dict[str, str]) -> dict[str, Any]:
        kind = f.get("type", "all")
        if kind not in TRADE_TYPES:
            raise invalid("type")
        start = self._time(account, f.get("start", ""), "start")
        end = self._time(account, f.get("end", ""), "end")
        found = [
            (o, t)
            for o, t in reversed(account.trades)
            if t.ts_ns > start and (not end or t.ts_ns <= end) and kind in ("all", "no position")
        ]
        ledgers = is_true(f.get("ledgers", ""))
        rows = {self.trade_id(t): self._trade_row(account, o, t, ledgers=ledgers) for o, t in _page(found, f)}
        return _counted({"trades": rows}, len(found), f)

    def _trades_by_id(self, account: Account, f: dict[str, str]) -> dict[str, Any]:
        by_id = {self.trade_id(t): (o, t) for o, t in account.trades}
        ids = _ids(f.get("txid", ""), "txid", TRADES_AT_ONCE)
        if any(i not in by_id for i in ids):
            raise invalid("txid")
        return {i: self._trade_row(account, *by_id[i], ledgers=False) for i in ids}

    def _trade_row(self, account: Account, order: Order, trade: Trade, *, ledgers: bool) -> dict[str, Any]:
        m = order.market
        row: dict[str, Any] = {
            "ordertxid": self.order_id(order),
            "postxid": "TKH2SE-M7IF5-CFI7LT",
            "pair": self.pair_key(m),
            "time": trade.ts_ns / 1e9,
            "type": order.request.side.value,
            "ordertype": kind_of(order.request),
            "price": m.price_text(trade.price),
            "cost": cost_text(m.notional(trade.price, trade.size)),
            "fee": cost_text(quote_fee(order, trade)),
            "vol": m.size_text(trade.size),
            "margin": "0.00000",
            "leverage": "0",
            "misc": "",
            "trade_id": trade.number,
            "maker": trade.of(order)[2],
        }
        if ledgers:
            row["ledgers"] = [long_id("L", p.number) for p in account.postings if p.trade == trade.number]
        return row

    def _ledgers(self, account: Account, f: dict[str, str]) -> dict[str, Any]:
        kind = f.get("type", "all")
        if kind not in LEDGER_TYPES:
            raise invalid("type")
        names = f.get("asset", "all")
        assets = None if names == "all" else {self.asset_of(n) for n in names.split(",")}
        start = self._time(account, f.get("start", ""), "start")
        end = self._time(account, f.get("end", ""), "end")
        found = [
            p
            for p in reversed(account.postings)
            if p.ts_ns > start
            and (not end or p.ts_ns <= end)
            and (assets is None or p.asset in assets)
            and kind in ("all", posting_kind(p))
        ]
        rows = {long_id("L", p.number): self._ledger_row(p) for p in _page(found, f)}
        return _counted({"ledger": rows}, len(found), f)

    def _ledgers_by_id(self, account: Account, f: dict[str, str]) -> dict[str, Any]:
        by_id = {long_id("L", p.number): p for p in account.postings}
        ids = _ids(f.get("id", ""), "id", LEDGERS_AT_ONCE)
        if any(i not in by_id for i in ids):
            raise KrakenError("EQuery:Unknown ledger")
        return {i: self._ledger_row(by_id[i]) for i in ids}

    def _ledger_row(self, posting: Posting) -> dict[str, Any]:
        return {
            "refid": posting_reference(posting),
            "time": posting.ts_ns / 1e9,
            "type": posting_kind(posting),
            "subtype": "",
            "aclass": "currency",
            "asset": self.codes(posting.asset)[0],
            "amount": balance_text(posting.asset, posting.amount),
            "fee": balance_text(posting.asset, posting.fee),
            "balance": balance_text(posting.asset, posting.balance),
        }


def balance_text(asset: str, amount: int) -> str:
    """Return an amount with the decimals in which Kraken keeps the asset: 4 of a currency, 10 of a coin."""
    return format_scaled(amount // 10_000, 4) if asset in FIAT else format_scaled(amount * 100, 10)


def cost_text(amount: int) -> str:
    """Return a cost with the pair's cost decimals, rounded half up."""
    unit = 10 ** (8 - COST_DECIMALS)
    return format_scaled((amount + unit // 2) // unit, COST_DECIMALS)


def average_text(order: Order) -> str:
    """Return an order's average price, with the decimals that costs have."""
    scale = 10**order.market.size_decimals
    return cost_text(mul_div_round(order.cost, scale, order.filled) if order.filled else 0)


def quote_fee(order: Order, trade: Trade) -> int:
    """Return an order's fee on a trade in the quote asset, in which Kraken tells every fee."""
    fee, asset, _ = trade.of(order)
    m = order.market
    return value_of(fee, trade.price, m.price_decimals) if asset == m.base else fee


def order_flags(order: Order) -> list[str]:
    """Return the flags of an order."""
    request = order.request
    flags = {"post": request.post_only, "viqc": bool(request.cost)}
    return [*(f for f, holds in flags.items() if holds), "fcib" if request.fee_in_base else "fciq"]


def posting_kind(posting: Posting) -> str:
    """Return the ledger's type of a posting."""
    if posting.trade:
        return "trade"
    return "withdrawal" if posting.amount < 0 else "deposit"


def posting_reference(posting: Posting) -> str:
    """Return what a posting came of: the trade, or a deposit of its own."""
    return long_id("T", posting.trade) if posting.trade else long_id("Q", posting.number)


def _key_info(key: ApiKey) -> dict[str, Any]:
    rights = ["query-funds", "query-open-trades", "query-closed-trades", "query-ledger", "create-ws-token"]
    rights += ["modify-trades", "close-trades"] if key.can_trade else []
    return {
        "apiKeyName": key.name,
        "apiKey": key.name,
        "nonce": str(key.nonce),
        "nonceWindow": 0,
        "permissions": rights + (["withdraw-funds"] if key.can_withdraw else []),
        "iban": "AA00 N84G LOCA LEXC",
        **dict.fromkeys(("validUntil", "queryFrom", "queryTo", "createdTime", "modifiedTime"), "0"),
        "ipAllowlist": [],
        "lastUsed": None,
    }


def _fee_row(tiers: tuple[FeeTier, ...], tier: FeeTier, rate: str) -> dict[str, Any]:
    """Return a fee in percent beside the least, the most and the next one."""
    rates = [getattr(t, rate) for t in tiers]
    following = next((t for t in tiers if t.volume > tier.volume), None)
    return {
        "fee": format_scaled(getattr(tier, rate), 4),
        "minfee": format_scaled(min(rates), 4),
        "maxfee": format_scaled(max(rates), 4),
        "nextfee": format_scaled(getattr(following, rate), 4) if following else None,
        "nextvolume": f"{following.volume}.0000" if following else None,
        "tiervolume": f"{tier.volume}.0000",
    }


def _of_client(orders: Iterable[Order], f: dict[str, str]) -> list[Order]:
    """Return the orders that a request asks for by client id or user reference."""
    client_id, reference = f.get("cl_ord_id"), f.get("userref")
    return [
        o
        for o in orders
        if (client_id is None or o.request.client_id == client_id)
        and (reference is None or o.request.notes.get("userref", "0") == reference)
    ]


def _page(rows: list[Row], f: dict[str, str]) -> list[Row]:
    offset = f.get("ofs", "0") or "0"
    if not offset.isdigit():
        raise invalid("ofs")
    return rows[int(offset) : int(offset) + PAGE]


def _counted(result: dict[str, Any], count: int, f: dict[str, str]) -> dict[str, Any]:
    return result if is_true(f.get("without_count", "")) else {**result, "count": count}


def _ids(text: str, field: str, most: int) -> list[str]:
    ids = [i.strip() for i in text.split(",") if i.strip()]
    if not ids or len(ids) > most:
        raise invalid(field)
    return ids
