"""Orders as Kraken's requests describe them: REST fields and socket parameters become one order, or its own refusal.

The socket's parameters are first turned into the fields of REST, which say the same in other words.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import format_scaled
from aether.exchange.face import units
from aether.exchange.faces.kraken_names import KrakenError, invalid, parse_iso
from aether.exchange.venue import Market, NewOrder, Offset, Order, Refusal


@dataclass(frozen=True)
class Kind:
    """An order type of Kraken's: what it is at the exchange, and which field holds its trigger and its limit price."""

    type: OrderType
    trigger: str = ""
    limit: str = ""

    @property
    def trails(self) -> bool:
        """Whether its trigger follows the price."""
        return self.type is OrderType.TRAILING_STOP


KINDS = {
    "market": Kind(OrderType.MARKET),
    "limit": Kind(OrderType.LIMIT, limit="price"),
    "iceberg": Kind(OrderType.LIMIT, limit="price"),
    "stop-loss": Kind(OrderType.STOP_LOSS, trigger="price"),
    "stop-loss-limit": Kind(OrderType.STOP_LOSS_LIMIT, trigger="price", limit="price2"),
    "take-profit": Kind(OrderType.TAKE_PROFIT, trigger="price"),
    "take-profit-limit": Kind(OrderType.TAKE_PROFIT_LIMIT, trigger="price", limit="price2"),
    "trailing-stop": Kind(OrderType.TRAILING_STOP, trigger="price"),
    "trailing-stop-limit": Kind(OrderType.TRAILING_STOP, trigger="price", limit="price2"),
}
FLAGS = frozenset({"post", "fcib", "fciq", "nompp", "viqc"})
SELF_TRADE = {"cancel-newest": "cancel_newest", "cancel-oldest": "cancel_oldest", "cancel-both": "cancel_both"}
TIMES = {t.value.upper(): t for t in TimeInForce}
FREE_TEXT = 18
UUID_LENGTHS = {32: "", 36: "-"}
ICEBERG_PART = 15
"""An iceberg shows at least a fifteenth of its volume."""

LEAST_EXPIRY_S = 5
LONGEST_EXPIRY_NS = 31 * 86_400 * 10**9
INT32 = 2**31
_SECONDS = re.compile(r"\+?\d{1,12}(\.\d{1,9})?")
DIGITS = 20
"""No number that means anything has more of them on either side of the point."""

CLOSE_FIELDS = frozenset({"close[ordertype]", "close[price]", "close[price2]"})
ORDER_FIELDS = CLOSE_FIELDS | {
    *("ordertype", "type", "volume", "displayvol", "price", "price2", "trigger", "leverage", "reduce_only", "stptype"),
    *("oflags", "timeinforce", "starttm", "expiretm", "userref", "cl_ord_id"),
}
"""The fields of one order; of a batch each order has them."""

SOCKET_ORDER_FIELDS = frozenset(
    {
        *("order_type", "side", "order_qty", "limit_price", "limit_price_type", "triggers", "time_in_force", "margin"),
        *("post_only", "reduce_only", "effective_time", "expire_time", "cl_ord_id", "order_userref", "conditional"),
        *("display_qty", "fee_preference", "no_mpp", "stp_type", "cash_order_qty", "stop_price", "trigger"),
    }
)
TRIGGER_FIELDS = frozenset({"reference", "price", "price_type"})
CONDITIONAL_FIELDS = frozenset(
    {"order_type", "limit_price", "limit_price_type", "trigger_price", "trigger_price_type", "stop_price"}
)


@dataclass(frozen=True)
class Price:
    """A price as asked for: absolute when it has no sign, else so far from the last price (or from the trigger).

    Attributes:
        amount: in price units, or in parts per million.
        sign: `+`, `-`, or `#` for whichever suits the order.
    """

    amount: int
    sign: str = ""
    is_ppm: bool = False

    def text(self, market: Market) -> str:
        """Return it as Kraken words it: 25000.1, +100.0, -2.5000%."""
        return self.sign + (f"{format_scaled(self.amount, 4)}%" if self.is_ppm else market.price_text(self.amount))

    def offset(self, suits: int) -> Offset | None:
        """Return the distance, None for an absolute price.

        Args:
            suits: 1 or -1, the direction of `#`.
        """
        if not self.sign:
            return None
        return Offset({"+": 1, "-": -1, "#": suits}[self.sign] * self.amount, self.is_ppm)


def read_price(text: str, market: Market, field: str) -> Price:
    """Return a price field. Raises KrakenError, Refused."""
    sign = text[0] if text[:1] in ("+", "-", "#") else ""
    is_ppm = text.endswith("%")
    body = text[len(sign) :].removesuffix("%")
    if (not body[:1].isdigit() and body[:1] != ".") or (is_ppm and not sign):
        raise invalid(field)
    return Price(units(body, 4 if is_ppm else market.price_decimals, Refusal.BAD_PRICE), sign, is_ppm)


def order_of_fields(market: Market, f: Mapping[str, str], now_ns: int) -> NewOrder:
    """Return the order that AddOrder's fields describe.

    Raises:
        KrakenError, Refused: what Kraken refuses about the fields themselves.
    """
    name, side = f["ordertype"], _side(f["type"])
    kind = _kind(name)
    _refuse_margin(f)
    flags = _flags(f.get("oflags", ""), name, side)
    request = NewOrder(
        market=market.symbol,
        side=side,
        type=kind.type,
        size=0 if "viqc" in flags else units(f["volume"], market.size_decimals, Refusal.BAD_SIZE),
        cost=units(f["volume"], 8, Refusal.BAD_SIZE) if "viqc" in flags else 0,
        post_only="post" in flags,
        fee_in_base="fcib" in flags,
        client_id=_client_id(f),
        self_trade=_choice(SELF_TRADE, f, "stptype", "cancel-newest"),
        start_ns=_moment(f.get("starttm", ""), "starttm", now_ns),
        notes={"kind": name, "trigger": _choice({"last": "last", "index": "index"}, f, "trigger", "last")},
    )
    _price(request, kind, market, {n: f.get(n, "") for n in ("price", "price2")})
    _live_until(request, f, now_ns)
    if f.get("displayvol") or name == "iceberg":
        request.display = _display(market, name, request.size, f.get("displayvol", ""))
    if f.get("userref", "0") != "0":
        request.notes["userref"] = _reference(f["userref"])
    if flags & {"viqc"}:
        request.notes["viqc"] = "true"
    if f.get("close[ordertype]"):
        request.close = _close(market, request, f)
    elif any(f.get(n) for n in CLOSE_FIELDS):
        raise invalid("close[ordertype]")
    return request


def _side(text: str) -> Side:
    if text not in ("buy", "sell"):
        raise invalid("type")
    return Side(text)


def _kind(name: str) -> Kind:
    if name == "settle-position":
        raise KrakenError("EOrder:Unknown position")
    if name not in KINDS:
        raise invalid("ordertype")
    return KINDS[name]


def _refuse_margin(f: Mapping[str, str]) -> None:
    """Refuse what only a margin account can do: the exchange lists no pair with leverage."""
    if f.get("leverage", "none") not in ("", "none"):
        raise invalid("leverage")
    if is_true(f.get("reduce_only", "")):
        raise KrakenError("EOrder:Reduce only:No position exists")


def _flags(text: str, kind: str, side: Side) -> frozenset[str]:
    flags = frozenset(part.strip() for part in text.split(",") if part.strip())
    if flags - FLAGS or flags >= {"fcib", "fciq"} or ("post" in flags and kind not in ("limit", "iceberg")):
        raise invalid("oflags")
    if "viqc" in flags and (kind != "market" or side is not Side.BUY):
        raise invalid("viqc")
    return flags


def _choice(table: Mapping[str, str], f: Mapping[str, str], field: str, default: str) -> str:
    if f.get(field, default) not in table:
        raise invalid(field)
    return table[f.get(field, default)]


def _client_id(f: Mapping[str, str]) -> str:
    text = f.get("cl_ord_id", "")
    if not text:
        return ""
    if f.get("userref", "0") != "0":
        raise KrakenError("EGeneral:Invalid arguments")
    plain = text.replace(UUID_LENGTHS.get(len(text)) or "\0", "")
    is_uuid = len(plain) == 32 and all(c in "0123456789abcdefABCDEF" for c in plain)
    if not is_uuid and not (len(text) <= FREE_TEXT and text.isascii() and text.isprintable()):
        raise invalid("cl_ord_id")
    return text


def _reference(text: str) -> str:
    if not text.removeprefix("-").isdigit() or not -INT32 <= int(text) < INT32:
        raise invalid("userref")
    return str(int(text))


def _price(request: NewOrder, kind: Kind, market: Market, texts: Mapping[str, str]) -> None:
    """Set an order's prices from its fields `price` and `price2`."""
    for field, text in texts.items():
        is_used = field in (kind.trigger, kind.limit)
        if not is_used and text.strip("+-#%0."):
            raise invalid(field)
        if not is_used:
            continue
        if not text:
            raise invalid(field)
        asked = read_price(text, market, field)
        request.notes[field] = asked.text(market)
        if kind.trails:
            _trail(request, asked, field, is_trigger=field == kind.trigger)
        elif field == kind.trigger:
            request.trigger, request.trigger_offset = _settled(asked, towards(kind.type, request.side))
        else:
            request.price, request.price_offset = _settled(asked, towards(kind.type, request.side))


def _trail(request: NewOrder, asked: Price, field: str, *, is_trigger: bool) -> None:
    if not asked.sign or (not is_trigger and asked.sign == "#"):
        raise invalid(field)
    if is_trigger:
        request.trail, request.trail_ppm = (0, asked.amount) if asked.is_ppm else (asked.amount, 0)
    else:
        request.price_offset = asked.offset(1)


def _settled(asked: Price, suits: int) -> tuple[int, Offset | None]:
    return (0 if asked.sign else asked.amount), asked.offset(suits)


def towards(kind: OrderType, side: Side) -> int:
    """Return in which direction from the last price an order of a type lies that does not act at once."""
    is_above = (side is Side.BUY) == (kind in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT))
    return 1 if is_above else -1


def _live_until(request: NewOrder, f: Mapping[str, str], now_ns: int) -> None:
    """Set the time in force and the expiry."""
    name = f.get("timeinforce", "") or "GTC"
    if name not in TIMES:
        raise invalid("timeinforce")
    request.tif = TIMES[name]
    if request.tif is TimeInForce.FOK and f["ordertype"] != "limit":
        raise invalid("timeinforce")
    text = f.get("expiretm", "")
    request.expire_ns = _moment(text, "expiretm", now_ns)
    if text.startswith("+") and request.expire_ns < now_ns + LEAST_EXPIRY_S * 10**9:
        raise invalid("expiretm")
    if request.expire_ns:
        if request.tif in (TimeInForce.IOC, TimeInForce.FOK):
            raise invalid("expiretm")
        if not now_ns < request.expire_ns <= now_ns + LONGEST_EXPIRY_NS:
            raise invalid("expiretm")
        request.tif = TimeInForce.GTD
    elif request.tif is TimeInForce.GTD:
        raise invalid("expiretm")


def _moment(text: str, field: str, now_ns: int) -> int:
    """Return a time given in seconds since 1970, or `+` in seconds from now; 0 for none."""
    if not text:
        return 0
    if not _SECONDS.fullmatch(text):
        raise invalid(field)
    nanoseconds = int(Decimal(text) * 10**9)
    return now_ns + nanoseconds if text.startswith("+") else nanoseconds


def _display(market: Market, kind: str, size: int, text: str) -> int:
    if kind != "iceberg" or not text:
        raise invalid("displayvol")
    display = units(text, market.size_decimals, Refusal.BAD_SIZE)
    if display * ICEBERG_PART < size or not 0 < display < size:
        raise invalid("displayvol")
    return display


def _close(market: Market, primary: NewOrder, f: Mapping[str, str]) -> NewOrder:
    """Return what each execution of an order is to place on the other side."""
    name = f["close[ordertype]"]
    if name in ("market", "iceberg") or name not in KINDS:
        raise invalid("close[ordertype]")
    side = Side.SELL if primary.side is Side.BUY else Side.BUY
    notes = {"kind": name, "trigger": primary.notes["trigger"]}
    close = NewOrder(market=market.symbol, side=side, type=KINDS[name].type, size=0, notes=notes)
    _price(close, KINDS[name], market, {n: f.get(f"close[{n}]", "") for n in ("price", "price2")})
    return close


def describe(kind: str, prices: tuple[str, str]) -> str:
    """Return how Kraken words a type and its prices: stop loss 22000.0 -> limit 21000.0."""
    words = kind.removesuffix("-limit").replace("-", " ")
    shape = KINDS[kind]
    if not shape.trigger:
        return f"{words} {prices[0]}".rstrip() if shape.limit else words
    return f"{words} {prices[0]}" + (f" -> limit {prices[1]}" if shape.limit else "")


def describe_close(request: NewOrder) -> str:
    """Return how Kraken words what an order's executions are to place, empty for nothing."""
    if request.close is None:
        return ""
    notes = request.close.notes
    return f"close position @ {describe(notes['kind'], (notes.get('price', ''), notes.get('price2', '')))}"


def kind_of(request: NewOrder) -> str:
    """Return Kraken's name of an order's type."""
    if request.display:
        return "iceberg"
    if request.trails and request.price_offset is not None:
        return "trailing-stop-limit"
    return next(name for name, kind in KINDS.items() if kind.type is request.type)


def prices_of(order: Order) -> tuple[str, str]:
    """Return an order's primary and secondary price as its rows give them: a trailing stop's are distances."""
    kind, notes, m = KINDS[kind_of(order.request)], order.request.notes, order.market
    if kind.trails:
        trail = Price(order.request.trail or order.request.trail_ppm, "+", is_ppm=not order.request.trail)
        return notes.get("price", trail.text(m)), notes.get("price2", "0")
    found = {kind.trigger: m.price_text(order.trigger), kind.limit: m.price_text(order.price)}
    return found.get("price", "0"), found.get("price2", "0")


def is_true(text: str) -> bool:
    """Whether a field says yes."""
    return text.lower() in ("true", "1")


def socket_fields(p: Mapping[str, Any]) -> dict[str, str]:
    """Return the REST fields that say what add_order's parameters say.

    Raises:
        KrakenError: for parameters that the socket does not know, or that contradict each other.
    """
    kind = _kind(str(p["order_type"]))
    f = {"ordertype": str(p["order_type"]), "type": str(p["side"])}
    same = {"display_qty": "displayvol", "cl_ord_id": "cl_ord_id", "order_userref": "userref", "trigger": "trigger"}
    f |= {theirs: plain(p[ours]) for ours, theirs in same.items() if ours in p}
    flags = [flag for name, flag in (("post_only", "post"), ("no_mpp", "nompp")) if p.get(name)]
    if "fee_preference" in p:
        flags.append({"base": "fcib", "quote": "fciq"}.get(str(p["fee_preference"]), "fee_preference"))
    if "cash_order_qty" in p:
        if "order_qty" in p:
            raise KrakenError("EGeneral:Invalid arguments")
        flags.append("viqc")
    f["volume"] = plain(p["cash_order_qty"] if "cash_order_qty" in p else p["order_qty"])
    f["oflags"] = ",".join(flags)
    if p.get("margin"):
        raise KrakenError("EOrder:Cannot open position")
    f["reduce_only"] = plain(p.get("reduce_only", False))
    f["timeinforce"] = str(p.get("time_in_force", "")).upper()
    f["stptype"] = str(p.get("stp_type", "cancel_newest")).replace("_", "-")
    f |= {
        theirs: str(parse_iso(str(p[ours])) // 10**9)
        for ours, theirs in (("effective_time", "starttm"), ("expire_time", "expiretm"))
        if p.get(ours)
    }
    triggers = known(p.get("triggers") or {}, TRIGGER_FIELDS, "add order")
    if "reference" in triggers:
        f["trigger"] = str(triggers["reference"])
    at = triggers.get("price", p.get("stop_price"))
    f |= _socket_prices(kind, (at, str(triggers.get("price_type", "static"))), p)
    if p.get("conditional"):
        f |= _socket_close(p["conditional"])
    return f


def _socket_prices(kind: Kind, trigger: tuple[Any, str], p: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields `price` and `price2` of a trigger and a limit price in the socket's words."""
    f = {}
    at, units_of = trigger
    if at is not None:
        if not kind.trigger:
            raise invalid("triggers")
        f[kind.trigger] = socket_price(at, units_of, is_distance=kind.trails)
    if "limit_price" in p:
        if not kind.limit:
            raise invalid("limit_price")
        default = "quote" if kind.trails else "static"
        chosen = str(p.get("limit_price_type", default))
        if chosen != "static" and not kind.trails:
            raise invalid("limit_price_type")
        f[kind.limit] = socket_price(p["limit_price"], chosen)
    return f


def _socket_close(conditional: Mapping[str, Any]) -> dict[str, str]:
    c = known(conditional, CONDITIONAL_FIELDS, "add order")
    kind = _kind(str(c["order_type"]))
    trigger = (c.get("trigger_price", c.get("stop_price")), str(c.get("trigger_price_type", "static")))
    prices = _socket_prices(kind, trigger, c)
    return {"close[ordertype]": str(c["order_type"]), **{f"close[{n}]": v for n, v in prices.items()}}


def socket_price(value: object, units_of: str, *, is_distance: bool = False) -> str:
    """Return a price of the socket as REST writes it: -2 in `pct` is -2%.

    Args:
        is_distance: of a trailing stop, which is always positive.
    """
    text = plain(value)
    if units_of == "static":
        return text
    if units_of not in ("pct", "quote"):
        raise invalid("price_type")
    signed = "+" + text.removeprefix("-") if is_distance or not text.startswith("-") else text
    return signed + ("%" if units_of == "pct" else "")


def plain(value: object) -> str:
    """Return a JSON value as a form has it: without exponents, and `true` for a truth."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text[:1] in tuple("+-.0123456789") and "e" in text.lower():
        with suppress(InvalidOperation):
            found = Decimal(text)
            return format(found, "f") if abs(found.adjusted()) <= DIGITS else text
    return text


def known(params: Mapping[str, Any], fields: frozenset[str], message: str) -> Mapping[str, Any]:
    """Return parameters that are all known. Raises KrakenError with the socket's own words otherwise."""
    for name in params:
        if name not in fields:
            raise KrakenError(f"Unsupported field: '{name}' for the given msg type: {message}")
    return params


def form_fields(value: Any, prefix: str = "") -> dict[str, str]:
    """Return a JSON body as the flat fields that a form would have: `orders[0][close][price]`, `close[price]`."""
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for name, inner in value.items():
            inside = str(name).removesuffix("]").replace("[", "][")
            found |= form_fields(inner, f"{prefix}[{inside}]" if prefix else str(name))
        return found
    if isinstance(value, list):
        found = {}
        for n, inner in enumerate(value):
            found |= form_fields(inner, f"{prefix}[{n}]")
        return found
    return {} if value is None else {prefix: plain(value)}
