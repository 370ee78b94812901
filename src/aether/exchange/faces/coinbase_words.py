"""Coinbase's words: products, errors, states, ids, times, numbers and pages as Advanced Trade writes them."""

import datetime
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from aether.domain.orders import Side, TimeInForce
from aether.domain.scaled import format_scaled
from aether.exchange.face import units
from aether.exchange.venue import Account, Market, Order, Refusal, Status, Trade

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
    "TWO_HOUR": 7200, "FOUR_HOUR": 14_400, "SIX_HOUR": 21_600, "ONE_DAY": 86_400,
}  # fmt: skip
TIMES_IN_FORCE = {
    TimeInForce.GTC: "GOOD_UNTIL_CANCELLED",
    TimeInForce.GTD: "GOOD_UNTIL_DATE_TIME",
    TimeInForce.IOC: "IMMEDIATE_OR_CANCEL",
    TimeInForce.FOK: "FILL_OR_KILL",
}
REASONS = {
    Refusal.UNKNOWN_MARKET: ("PREVIEW_INVALID_PRODUCT_ID", "Invalid product_id"),
    Refusal.MARKET_CLOSED: ("PREVIEW_NOT_ALLOWED_BY_MARKET_STATE", "Orderbook is in maintenance mode"),
    Refusal.BAD_PRICE: ("PREVIEW_INVALID_PRICE_PRECISION", "Too many decimals in order price"),
    Refusal.BAD_SIZE: ("PREVIEW_INVALID_SIZE_PRECISION", "Too many decimals in order amount"),
    Refusal.TOO_SMALL: ("PREVIEW_INVALID_BASE_SIZE_TOO_SMALL", "Order size is too small. Minimum size was not met"),
    Refusal.TOO_LARGE: ("PREVIEW_INVALID_BASE_SIZE_TOO_LARGE", "Order size is too large"),
    Refusal.NOTIONAL: ("PREVIEW_INVALID_BASE_SIZE_TOO_SMALL", "Order size is too small. Minimum size was not met"),
    Refusal.FUNDS: ("PREVIEW_INSUFFICIENT_FUND", "Insufficient balance in source account"),
    Refusal.POST_ONLY: ("PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY", "Post only limit price would match"),
    Refusal.TRIGGER: ("PREVIEW_INVALID_STOP_PRICE", "Invalid stop price"),
    Refusal.TOO_MANY: ("COMMANDER_REJECTED_NEW_ORDER", "Too many open orders"),
    Refusal.BAD_FIELDS: ("PREVIEW_INVALID_ORDER_CONFIG", "The order configuration was invalid"),
    Refusal.DUPLICATE: ("DUPLICATE_CLIENT_ORDER_ID", "Duplicate client_order_id"),
    Refusal.INJECTED: ("UNKNOWN_PREVIEW_FAILURE_REASON", "The order was rejected"),
}
"""What the matching core refuses, in the names of Coinbase's preview."""
NEW_ORDER_REASONS = frozenset(
    [
        "ATTACHED_ORDERS_ONLY_ALLOWED_ON_MARKET_LIMIT",
        "ATTACHED_ORDER_SIZE_MUST_BE_NIL",
        "BRACKET_ORDER_NOT_SUPPORTED",
        "CANNOT_CLOSE_ZERO_POSITION",
        "COMMANDER_REJECTED_NEW_ORDER",
        "DUPLICATE_CLIENT_ORDER_ID",
        "END_TIME_IS_IN_THE_PAST",
        "GTD_ORDERS_MUST_HAVE_END_TIME",
        "INSUFFICIENT_FUND",
        "INVALID_BRACKET_LIMIT_PRICE",
        "INVALID_BRACKET_PRICES",
        "INVALID_BRACKET_STOP_TRIGGER_PRICE",
        "INVALID_LEVERAGE",
        "INVALID_LIMIT_PRICE",
        "INVALID_LIMIT_PRICE_POST_ONLY",
        "INVALID_MARGIN_TYPE",
        "INVALID_NO_LIQUIDITY",
        "INVALID_ORDER_SIDE_FOR_ATTACHED_TPSL",
        "INVALID_PRICE_PRECISION",
        "INVALID_PRODUCT_ID",
        "INVALID_REQUEST",
        "INVALID_SIDE",
        "INVALID_SIZE_PRECISION",
        "ORDER_ENTRY_DISABLED",
        "QUOTE_SIZE_NOT_ALLOWED_FOR_BRACKET",
        "REDUCE_ONLY_NOT_ALLOWED_ON_SPOT_PRODUCTS",
        "UNSUPPORTED_ORDER_CONFIGURATION",
    ]
)
"""The preview's names that the answer to a new order has too, without their first word."""
_COUNTERPARTS = {
    "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE": "ORDER_ENTRY_DISABLED",
    "PREVIEW_INVALID_ORDER_CONFIG": "UNSUPPORTED_ORDER_CONFIGURATION",
}


_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)


class CoinbaseError(Exception):
    """An HTTP error of Coinbase's."""

    def __init__(self, status: int, error: str, message: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.message = status, error, message


class Rejection(Exception):  # noqa: N818  the venue's word for it
    """An order that is not taken: the preview's name of the reason, and what it says beside it."""

    def __init__(self, reason: str, message: str = "", details: str = "") -> None:
        super().__init__(reason)
        self.reason, self.message, self.details = reason, message, details

    @property
    def new_order_reason(self) -> str:
        """The name that the answer to a new order gives to it."""
        name = _COUNTERPARTS.get(self.reason, self.reason.removeprefix("PREVIEW_"))
        return name if name in NEW_ORDER_REASONS else "UNKNOWN_FAILURE_REASON"

    @property
    def preview_reason(self) -> str:
        """The name that the answer to a preview gives to it."""
        is_known = self.reason.startswith(("PREVIEW_", "UNKNOWN_PREVIEW"))
        return self.reason if is_known else "UNKNOWN_PREVIEW_FAILURE_REASON"


@dataclass(frozen=True)
class Product:
    """What is traded under a name of its own: a market, and what is paid in it. BTC-USDC shares the book of BTC-USD."""

    market: Market
    quote: str

    @property
    def id(self) -> str:
        """Coinbase's name of it."""
        return f"{self.market.base}-{self.quote}"

    @property
    def is_alias(self) -> bool:
        """Whether its book goes by another product's name."""
        return self.quote != self.market.quote


def id_of(market: Market) -> str:
    """Return the name that a market's book goes by."""
    return f"{market.base}-{market.quote}"


def product_id(order: Order) -> str:
    """Return the product that an order was placed in."""
    return f"{order.market.base}-{order.quote}"


def uuid_of(*parts: object) -> str:
    """Return the id of something, always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "".join(str(part) for part in parts)))


def user_id(account: str) -> str:
    """Return the id of an account's owner."""
    return uuid_of("user", account)


def portfolio_id(account: str) -> str:
    """Return the id of an account's one portfolio."""
    return uuid_of("portfolio", account)


def plain(value: int, decimals: int = 8) -> str:
    """Return a number as Coinbase writes it, without zeros at its end."""
    text = format_scaled(value, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def price_text(market: Market, price: int) -> str:
    """Return a price."""
    return plain(price, market.price_decimals)


def size_text(market: Market, size: int) -> str:
    """Return a size."""
    return plain(size, market.size_decimals)


def percent(now: int, before: int) -> str:
    """Return by how many percent something has changed."""
    return plain((now - before) * 100 * 10**12 // before, 12) if before else "0"


def iso(ts_ns: int) -> str:
    """Return a time to the nanosecond, as Coinbase writes it."""
    moment = datetime.datetime.fromtimestamp(ts_ns // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{ts_ns % 10**9:09d}Z"


def parse_iso(text: object) -> int:
    """Return a time of RFC 3339 in nanoseconds since 1970. Raises CoinbaseError."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    try:
        moment = datetime.datetime.fromisoformat(found[1] + found[3]) if found else None
    except ValueError:
        moment = None
    if moment is None or found is None:
        raise CoinbaseError(400, "INVALID_ARGUMENT", f"{text!r} is not a time")
    return int(moment.timestamp()) * 10**9 + int((found[2] or "").ljust(9, "0")[:9])


def time_of(query: Any, name: str, default: int) -> int:
    """Return a time of a query, the default when it is not asked for."""
    return parse_iso(query[name]) if query.get(name) else default


def values(query: Any, *names: str) -> list[str]:
    """Return all values of a query field, whatever of its names it goes by, one by one or joined by commas."""
    return [part for name in names for text in query.getall(name, []) for part in text.split(",") if part]


def whole(query: Any, name: str, default: int, most: int) -> int:
    """Return a number of a query, at most so much. Raises CoinbaseError."""
    text = query.get(name) or str(default)
    if not (text.isascii() and text.lstrip("-").isdigit()) or int(text) < 0:
        raise CoinbaseError(400, "INVALID_ARGUMENT", f"type mismatch, parameter: {name}, error: {text!r}")
    return min(int(text) or default, most)


def page(rows: list[dict[str, Any]], key: str, query: Any, limit: int) -> tuple[list[dict[str, Any]], str]:
    """Return the part of a list that a query asks for, and the cursor of the next part, empty at its end.

    The cursor is the last row's key, so rows that come in between shift nothing.
    """
    start, cursor = 0, query.get("cursor") or ""
    if cursor:
        start = next((n + 1 for n, row in enumerate(rows) if row[key] == cursor), -1)
        if start < 0:
            raise CoinbaseError(400, "INVALID_ARGUMENT", "invalid cursor")
    found = rows[start : start + limit]
    return found, str(found[-1][key]) if found and start + limit < len(rows) else ""


def refuse_unknown(body: str, found: Mapping[str, Any], known: Callable[[str], bool]) -> None:
    """Refuse fields that a message does not have, as Coinbase does. Raises CoinbaseError."""
    for name in found:
        if not known(name):
            column = max(body.find(f'"{name}"'), 0) + 1
            raise CoinbaseError(400, "unknown", f'proto: (line 1:{column}): unknown field "{name}"')


def amount(text: object, decimals: int, reason: Refusal) -> int:
    """Return decimal text of an order in units. Raises Refused, CoinbaseError."""
    if not isinstance(text, str):
        raise CoinbaseError(400, "unknown", f"proto: invalid value for string type: {json(text)}")
    return units(text, decimals, reason)


def trade_row(trade: Trade) -> dict[str, str]:
    """Return a public trade. Its side is the maker's."""
    maker_side = Side.SELL if trade.taker_side is Side.BUY else Side.BUY
    return {
        "product_id": id_of(trade.market),
        "trade_id": str(trade.number),
        "price": price_text(trade.market, trade.price),
        "size": size_text(trade.market, trade.size),
        "time": iso(trade.ts_ns),
        "side": maker_side.value.upper(),
    }


def bars(market: Market, trades: list[Trade], seconds: int) -> list[dict[str, str]]:
    """Return the candles of trades, the oldest first."""
    groups: dict[int, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(trade.ts_ns // 10**9 // seconds * seconds, []).append(trade)
    return [
        {
            "start": str(start),
            "low": price_text(market, min(t.price for t in group)),
            "high": price_text(market, max(t.price for t in group)),
            "open": price_text(market, group[0].price),
            "close": price_text(market, group[-1].price),
            "volume": size_text(market, sum(t.size for t in group)),
        }
        for start, group in sorted(groups.items())
    ]


def split_vault(asset: str) -> tuple[str, bool]:
    """Return the currency of an asset and whether it lies in a vault, where it cannot be traded: `BTC:vault`."""
    currency, _, place = asset.partition(":")
    return currency, bool(place)


def wallet_id(account: Account, asset: str) -> str:
    """Return the id of the place where an account keeps an asset."""
    return uuid_of(account.name, asset)


def json(value: object) -> str:
    """Return JSON text."""
    return msgspec.json.encode(value).decode()
