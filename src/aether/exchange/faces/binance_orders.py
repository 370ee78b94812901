"""Orders as Binance takes them in and tells them: mandatory fields by type, filters, rows and user events.

Sources: rest-api.md, filters.md, user-data-stream.md and the FAQs on self-trade prevention and trailing stops of
binance-spot-api-docs (2026).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import BPS, PPM, format_amount, size_for_notional
from aether.exchange.faces.binance_fields import BinanceError, missing, not_required, one_of, units_of, whole
from aether.exchange.venue import (
    PAIR,
    REJECTED,
    SELF_TRADE,
    Account,
    Market,
    NewOrder,
    Order,
    OrderList,
    Prevented,
    Refusal,
    Refused,
    Status,
    Trade,
    Venue,
)

TYPES = {
    "LIMIT": OrderType.LIMIT,
    "LIMIT_MAKER": OrderType.LIMIT,
    "MARKET": OrderType.MARKET,
    "STOP_LOSS": OrderType.STOP_LOSS,
    "STOP_LOSS_LIMIT": OrderType.STOP_LOSS_LIMIT,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT,
    "TAKE_PROFIT_LIMIT": OrderType.TAKE_PROFIT_LIMIT,
}
STATUSES = {
    Status.NEW: "NEW",
    Status.WAITING: "PENDING_NEW",
    Status.TRIGGER_PENDING: "NEW",
    Status.PARTIAL: "PARTIALLY_FILLED",
    Status.FILLED: "FILLED",
    Status.CANCELED: "CANCELED",
    Status.EXPIRED: "EXPIRED",
}
SELF_TRADE_MODES = {
    "NONE": "allow",
    "EXPIRE_TAKER": "cancel_newest",
    "EXPIRE_MAKER": "cancel_oldest",
    "EXPIRE_BOTH": "cancel_both",
    "DECREMENT": "decrement",
    "TRANSFER": "decrement",
}
"""Between orders of one account, and the local exchange has no groups of accounts, a transfer is a decrement."""
MAX_PRICE = 1_000_000
MAX_NOTIONAL = 9_000_000
PRICE_TIMES = 5
"""A limit price is at most this many times the average price, and at least that share of it."""
AVERAGE_MINUTES = 5
ICEBERG_PARTS = 10
MAX_ALGO_ORDERS = 5
MAX_ORDER_LISTS = 20
MAX_AMENDS = 10
TRAILING_BPS = (10, 2000)
_EXPIRY = {
    "could not be filled whole": "UNFILLED_FOK_ORDER_EXPIRED",
    "immediate or cancel": "UNFILLED_IOC_QUANTITY_EXPIRED",
    "no more depth": "INSUFFICIENT_LIQUIDITY",
    PAIR: "OCO_TRIGGER",
    REJECTED: "REJECTED",
}
_PEGS = ("pegPriceType", "pegOffsetType", "pegOffsetValue")


@dataclass(frozen=True)
class Shape:
    """Which fields an order of a type has.

    Attributes:
        needs: that it must have.
        either: two of which it must have one.
        may: that it may have beside these.
    """

    needs: tuple[str, ...]
    either: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


_TRIGGER = ("stopPrice", "trailingDelta")
SHAPES = {
    "LIMIT": Shape(("timeInForce", "quantity", "price"), may=("icebergQty",)),
    "LIMIT_MAKER": Shape(("quantity", "price"), may=("icebergQty",)),
    "MARKET": Shape((), either=("quantity", "quoteOrderQty")),
    "STOP_LOSS": Shape(("quantity",), either=_TRIGGER),
    "STOP_LOSS_LIMIT": Shape(("timeInForce", "quantity", "price"), either=_TRIGGER, may=("icebergQty",)),
    "TAKE_PROFIT": Shape(("quantity",), either=_TRIGGER),
    "TAKE_PROFIT_LIMIT": Shape(("timeInForce", "quantity", "price"), either=_TRIGGER, may=("icebergQty",)),
}
_SHAPED = ("timeInForce", "quantity", "quoteOrderQty", "price", "stopPrice", "trailingDelta", "icebergQty")


class Leg:
    """The parameters of one order of a request.

    Args:
        word: that stands before its own parameters' names, such as `above`.
        shared: parameters that all orders of the request have in common, without that word.
        client_id: the parameter that names the order.
    """

    def __init__(
        self,
        given: Mapping[str, str],
        word: str = "",
        shared: tuple[str, ...] = (),
        client_id: str = "newClientOrderId",
    ) -> None:
        self._given = given
        self._word = word
        self._shared = shared
        self._client_id = client_id

    def name(self, plain: str) -> str:
        """Return a parameter's name in the request."""
        if plain == "newClientOrderId":
            return self._client_id
        if not self._word or plain in self._shared:
            return plain
        return self._word + plain[0].upper() + plain[1:]

    def get(self, plain: str) -> str:
        """Return a parameter's text, empty when it is not there."""
        return self._given.get(self.name(plain), "")

    def units(self, plain: str, decimals: int, reason: Refusal) -> int:
        """Return a decimal parameter in units of 10^-`decimals`, 0 when it is not there; see `units_of`."""
        return units_of(self._given, self.name(plain), decimals, reason) if self.get(plain) else 0


def symbol_of(market: Market) -> str:
    """Return Binance's symbol of a market."""
    return market.base + market.quote


def price_text(market: Market, price: int) -> str:
    """Return a price as the venue writes it, with 8 decimals."""
    return padded(market.price_text(price))


def size_text(market: Market, size: int) -> str:
    """Return a size as the venue writes it, with 8 decimals."""
    return padded(market.size_text(size))


def padded(text: str) -> str:
    """Return decimal text with 8 decimals."""
    whole_part, _, fraction = text.partition(".")
    return f"{whole_part}.{fraction.ljust(8, '0')}"


# Taking orders in.


def read_order(venue: Venue, market: Market, leg: Leg, made_id: str) -> NewOrder:
    """Return the order that is asked for.

    Args:
        made_id: the id that it gets when it has none.

    Raises:
        BinanceError: when fields lack, do not belong to its type, or do not go together.
        Refused: when a price or size is finer than the market's steps.
    """
    kind = leg.get("type")
    _check_shape(leg, SHAPES[kind])
    is_buy = leg.get("side") == "BUY"
    price = leg.units("price", market.price_decimals, Refusal.BAD_PRICE)
    quote = leg.units("quoteOrderQty", 8, Refusal.NOTIONAL)
    size = leg.units("quantity", market.size_decimals, Refusal.BAD_SIZE)
    if quote:
        size = size_for_quote(venue, market, quote, is_buy=is_buy)
    trigger = leg.units("stopPrice", market.price_decimals, Refusal.BAD_PRICE)
    if leg.get("stopPrice") and not trigger:
        raise Refused(Refusal.BAD_PRICE, "stopPrice")
    display = leg.units("icebergQty", market.size_decimals, Refusal.BAD_SIZE)
    tif = leg.get("timeInForce") or "GTC"
    if display and tif != "GTC":
        raise BinanceError(-1014, "Unsupported order combination")
    if display > size:
        raise BinanceError(-2010, "IcebergQty exceeds QTY.")
    mode = leg.get("selfTradePreventionMode")
    notes = {name: leg.get(name) for name in ("strategyId", "strategyType", "trailingDelta", "icebergQty")}
    notes |= {"selfTradePreventionMode": mode, "quoteOrderQty": format_amount(quote) if quote else ""}
    if notes["strategyType"] and int(notes["strategyType"]) < 1_000_000:
        raise BinanceError(-1134, f"{leg.name('strategyType')} was less than 1000000.")
    return NewOrder(
        market=market.symbol,
        side=Side.BUY if is_buy else Side.SELL,
        type=TYPES[kind],
        size=size,
        price=price,
        trigger=trigger,
        trail_ppm=int(leg.get("trailingDelta") or 0) * PPM // BPS,
        display=display if display < size else 0,
        tif=TimeInForce(tif.lower()),
        post_only=kind == "LIMIT_MAKER",
        self_trade=SELF_TRADE_MODES.get(mode, ""),
        notes={name: value for name, value in notes.items() if value},
        client_id=leg.get("newClientOrderId") or made_id,
    )


def _check_shape(leg: Leg, shape: Shape) -> None:
    if any(leg.get(name) for name in _PEGS):
        raise BinanceError(-2010, "Pegged orders are not supported for this symbol.")
    for name in shape.needs:
        if not leg.get(name):
            raise missing(leg.name(name))
    if shape.either and not any(leg.get(name) for name in shape.either):
        first, second = shape.either
        raise one_of(leg.name(first), leg.name(second))
    if all(leg.get(name) for name in ("quantity", "quoteOrderQty")):
        raise not_required(leg.name("quoteOrderQty"))
    for name in _SHAPED:
        if leg.get(name) and name not in (*shape.needs, *shape.either, *shape.may):
            raise not_required(leg.name(name))


def size_for_quote(venue: Venue, market: Market, quote: int, *, is_buy: bool) -> int:
    """Return the size, in the market's steps, that the book now gives for an amount of the quote asset.

    Args:
        quote: to spend or to receive, in 10^-8.

    Raises:
        BinanceError: when the book holds nothing, or too little.
    """
    step, size = venue.steps[market.symbol], 0
    for resting in venue.books[market.symbol].resting(is_buy=not is_buy):
        part = min(resting.left, size_for_notional(quote, resting.price, market.price_decimals, market.size_decimals))
        size += part
        quote -= market.notional(resting.price, part)
        if part < resting.left:
            return size // step * step
    if not size:
        raise BinanceError(-2010, "Order book liquidity is less than symbol minimum quantity.")
    if size < market.min_size:
        raise BinanceError(-2010, "Order book liquidity is less than LOT_SIZE filter minimum quantity.")
    return size // step * step


def average_price(venue: Venue, market: Market) -> int:
    """Return the average price of the last minutes, weighted by size; the last price where there was no trade."""
    since = venue.clock() - AVERAGE_MINUTES * 60 * 10**9
    trades = []
    for trade in reversed(venue.trades[market.symbol]):
        if trade.ts_ns < since:
            break
        trades.append(trade)
    size = sum(trade.size for trade in trades)
    return sum(t.price * t.size for t in trades) // size if size else venue.last[market.symbol]


def check_filters(venue: Venue, market: Market, account: Account, order: NewOrder, ahead: int = 0) -> None:
    """Refuse an order that a filter of its symbol does not let pass.

    Args:
        ahead: how many orders of the same request stand before it.

    Raises:
        BinanceError: -1013 with the filter's name.
    """
    average = average_price(venue, market)
    is_priced = order.type.has_limit
    for price, is_there in ((order.price, is_priced), (order.trigger, order.trigger)):
        if is_there and not 0 < price <= MAX_PRICE * 10**market.price_decimals:
            raise _filter("PRICE_FILTER")
    for size in (order.size, order.display or order.size):
        if not market.min_size <= size <= market.max_size or size % venue.steps[market.symbol]:
            raise _filter("LOT_SIZE")
    if is_priced and average and not average <= order.price * PRICE_TIMES <= average * PRICE_TIMES**2:
        raise _filter("PERCENT_PRICE_BY_SIDE")
    notional = market.notional(order.price or order.trigger or average, order.size)
    if order.type is OrderType.MARKET and "quoteOrderQty" not in order.notes and not average:
        notional = market.min_notional
    too_much = order.type is not OrderType.MARKET and notional > MAX_NOTIONAL * 10**8
    if notional < market.min_notional or too_much:
        raise _filter("NOTIONAL")
    if order.display and -(-order.size // order.display) > ICEBERG_PARTS:
        raise _filter("ICEBERG_PARTS")
    if order.trail_ppm and not TRAILING_BPS[0] <= order.trail_ppm * BPS // PPM <= TRAILING_BPS[1]:
        raise _filter("TRAILING_DELTA")
    resting = [o for o in account.open.values() if o.market is market]
    if len(resting) + ahead >= venue.rules.max_open:
        raise _filter("MAX_NUM_ORDERS")
    armed = sum(1 for o in resting if o.request.type.has_trigger)
    if order.type.has_trigger and armed >= MAX_ALGO_ORDERS:
        raise _filter("MAX_NUM_ALGO_ORDERS")


def _filter(name: str) -> BinanceError:
    return BinanceError(-1013, f"Filter failure: {name}")


def filters_of(venue: Venue, market: Market) -> list[dict[str, object]]:
    """Return a symbol's filters as `exchangeInfo` lists them."""
    tick, step = price_text(market, 1), size_text(market, venue.steps[market.symbol])
    lot = {"minQty": size_text(market, market.min_size), "maxQty": size_text(market, market.max_size), "stepSize": step}
    times, share = str(PRICE_TIMES), str(1 / PRICE_TIMES)
    sides = {"bidMultiplierUp": times, "bidMultiplierDown": share, "askMultiplierUp": times, "askMultiplierDown": share}
    least, most = TRAILING_BPS
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": f"{MAX_PRICE}.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", **lot},
        {"filterType": "ICEBERG_PARTS", "limit": ICEBERG_PARTS},
        {"filterType": "MARKET_LOT_SIZE", **lot},
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": least,
            "maxTrailingAboveDelta": most,
            "minTrailingBelowDelta": least,
            "maxTrailingBelowDelta": most,
        },
        {"filterType": "PERCENT_PRICE_BY_SIDE", **sides, "avgPriceMins": AVERAGE_MINUTES},
        {
            "filterType": "NOTIONAL",
            "minNotional": format_amount(market.min_notional),
            "applyMinToMarket": True,
            "maxNotional": f"{MAX_NOTIONAL}.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": AVERAGE_MINUTES,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": venue.rules.max_open},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": MAX_ORDER_LISTS},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": MAX_ALGO_ORDERS},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": MAX_AMENDS},
    ]


def find_order(account: Account, market: Market, p: Mapping[str, str], number: str, client_id: str) -> Order | None:
    """Return the order that a request names, None when there is none.

    Args:
        number, client_id: the parameters that name it.

    Raises:
        BinanceError: when neither is there, or both are and do not belong together.
    """
    if number not in p and client_id not in p:
        raise one_of(client_id, number)
    if number in p:
        found = account.orders.get(whole(p, number))
        if found is not None and client_id in p and found.request.client_id != p[client_id]:
            raise BinanceError(-2039, "Client order ID is not correct for this order ID.")
    else:
        found = account.by_client.get(p[client_id])
        if found is not None and found.request.client_id != p[client_id]:
            found = None
    return found if found is not None and found.market is market else None


# Telling what became of them.


def type_name(order: Order) -> str:
    """Return an order's type in the venue's word."""
    if order.request.post_only:
        return "LIMIT_MAKER"
    return next(name for name, kind in TYPES.items() if kind is order.request.type)


def status_of(order: Order) -> str:
    """Return an order's status in the venue's word."""
    if order.status is Status.CANCELED and order.reason == SELF_TRADE:
        return "EXPIRED_IN_MATCH"
    return STATUSES[order.status]


def expiry_of(order: Order) -> str:
    """Return why an order expired in the venue's word, empty for one that did not."""
    if order.status is not Status.EXPIRED:
        return ""
    reason = _EXPIRY.get(order.reason, "EXCHANGE_CANCELED")
    group = order.group
    if group is not None and not order.working_ns and order.reason not in (PAIR, REJECTED):
        waited = group.working is not None and group.working.status is not Status.FILLED
        return "OTO_PHASE_ONE_EXPIRED" if waited else "OCO_TRIGGER"
    return reason


def self_trade_mode(order: Order) -> str:
    """Return the self-trade prevention mode that an order has."""
    return order.request.notes.get("selfTradePreventionMode", "EXPIRE_TAKER")


def _conditional(order: Order) -> dict[str, Any]:
    """Return the fields that only some orders have."""
    m, notes = order.market, order.request.notes
    found: dict[str, Any] = {name: int(notes[name]) for name in ("strategyId", "strategyType") if name in notes}
    if "trailingDelta" in notes:
        found |= {"trailingDelta": int(notes["trailingDelta"])}
        found |= {"trailingTime": order.updated_ns // 1_000_000 if order.tracking else -1}
    if order.prevented:
        found["preventedQuantity"] = size_text(m, order.prevented)
    return found


def brief(order: Order) -> dict[str, Any]:
    """Return the short answer to a new order (ACK)."""
    return {
        "symbol": symbol_of(order.market),
        "orderId": order.number,
        "orderListId": order.group.number if order.group else -1,
        "clientOrderId": order.request.client_id,
        "transactTime": order.updated_ns // 1_000_000,
    }


def result(order: Order) -> dict[str, Any]:
    """Return the answer to a new order without its executions (RESULT)."""
    m, request = order.market, order.request
    found = {
        **brief(order),
        "price": price_text(m, order.price),
        "origQty": size_text(m, order.size),
        "executedQty": size_text(m, order.filled),
        "origQuoteOrderQty": request.notes.get("quoteOrderQty", "0.00000000"),
        "cummulativeQuoteQty": format_amount(order.cost),
        "status": status_of(order),
        "timeInForce": request.tif.value.upper() if request.type.has_limit else "GTC",
        "type": type_name(order),
        "side": request.side.value.upper(),
    }
    if request.type.has_trigger:
        found["stopPrice"] = price_text(m, order.trigger)
    if request.notes.get("icebergQty"):
        found["icebergQty"] = padded(request.notes["icebergQty"])
    found |= {"workingTime": order.working_ns // 1_000_000 or -1}
    found |= {"selfTradePreventionMode": self_trade_mode(order), **_conditional(order)}
    if expiry_of(order):
        found["expiryReason"] = expiry_of(order)
    return found


def placed(order: Order, wanted: str, prevented: list[Prevented]) -> dict[str, Any]:
    """Return the answer to a new order.

    Args:
        wanted: `ACK`, `RESULT`, `FULL`, or empty for the type's own: full for limit and market orders.
        prevented: the trades with its own account that it was kept from.
    """
    kind = wanted or ("FULL" if type_name(order) in ("LIMIT", "MARKET") else "ACK")
    if kind == "ACK":
        return brief(order)
    found = result(order)
    if kind == "FULL":
        found["fills"] = [_fill(order, trade) for trade in order.trades]
    if prevented:
        found["preventedMatches"] = [
            {
                "preventedMatchId": one.number,
                "makerOrderId": one.maker.number,
                "price": price_text(order.market, one.price),
                **_prevented_sizes(one),
            }
            for one in prevented
        ]
    return found


def _fill(order: Order, trade: Trade) -> dict[str, Any]:
    fee, asset, _ = trade.of(order)
    return {
        "price": price_text(order.market, trade.price),
        "qty": size_text(order.market, trade.size),
        "commission": format_amount(fee),
        "commissionAsset": asset,
        "tradeId": trade.number,
    }


def _prevented_sizes(one: Prevented) -> dict[str, str]:
    sizes = {"takerPreventedQuantity": one.taker_size, "makerPreventedQuantity": one.maker_size}
    return {name: size_text(one.taker.market, size) for name, size in sizes.items() if size}


def prevented_row(one: Prevented) -> dict[str, Any]:
    """Return a trade that did not happen as `myPreventedMatches` lists it."""
    return {
        "symbol": symbol_of(one.taker.market),
        "preventedMatchId": one.number,
        "takerOrderId": one.taker.number,
        "makerOrderId": one.maker.number,
        "tradeGroupId": -1,
        "selfTradePreventionMode": self_trade_mode(one.taker),
        "price": price_text(one.taker.market, one.price),
        **_prevented_sizes(one),
        "transactTime": one.ts_ns // 1_000_000,
    }


def query_row(order: Order) -> dict[str, Any]:
    """Return an order as it is looked up."""
    m = order.market
    found = result(order)
    del found["transactTime"]
    return {
        **found,
        "stopPrice": price_text(m, order.trigger),
        "icebergQty": padded(order.request.notes.get("icebergQty", "0")),
        "time": order.created_ns // 1_000_000,
        "updateTime": order.updated_ns // 1_000_000,
        "isWorking": order.status not in (Status.TRIGGER_PENDING, Status.WAITING),
    }


def canceled_row(order: Order, cancel_id: str) -> dict[str, Any]:
    """Return the answer to a cancel.

    Args:
        cancel_id: under which the cancel itself goes.
    """
    found = result(order)
    found.pop("workingTime")
    return {**found, "origClientOrderId": order.request.client_id, "clientOrderId": cancel_id}


def amended_row(order: Order, before: str) -> dict[str, Any]:
    """Return the order of an answer to an amendment.

    Args:
        before: its client id until now.
    """
    row = result(order)
    kept = ("symbol", "orderId", "orderListId", "clientOrderId", "price", "executedQty", "status", "timeInForce")
    return {
        **{name: row[name] for name in kept},
        "origClientOrderId": before,
        "qty": row["origQty"],
        "preventedQty": size_text(order.market, order.prevented),
        "quoteOrderQty": row["origQuoteOrderQty"],
        "cumulativeQuoteQty": row["cummulativeQuoteQty"],
        **{name: row[name] for name in ("type", "side", "selfTradePreventionMode", "workingTime")},
    }


def list_row(group: OrderList, now_ms: int = 0) -> dict[str, Any]:
    """Return a list of orders as it is looked up."""
    return {
        "orderListId": group.number,
        "contingencyType": "OCO" if group.kind == "oco" else "OTO",
        "listStatusType": "ALL_DONE" if group.is_done else "EXEC_STARTED",
        "listOrderStatus": "ALL_DONE" if group.is_done else "EXECUTING",
        "listClientOrderId": group.client_id,
        "transactionTime": now_ms or group.created_ns // 1_000_000,
        "symbol": symbol_of(group.market),
        "orders": [
            {"symbol": symbol_of(group.market), "orderId": o.number, "clientOrderId": o.request.client_id}
            for o in group.orders
        ],
    }


def placed_list(group: OrderList, wanted: str) -> dict[str, Any]:
    """Return the answer to a new list: those that wait are told as waiting, whatever became of them since."""
    reports = []
    for order in group.orders:
        report = placed(order, wanted or "RESULT", [])
        if group.kind != "oco" and order is not group.working and "status" in report:
            report |= {"status": "PENDING_NEW", "workingTime": -1}
            report |= {"executedQty": "0.00000000", "cummulativeQuoteQty": "0.00000000"}
        reports.append(report)
    return {
        **list_row(group),
        "listStatusType": "EXEC_STARTED",
        "listOrderStatus": "EXECUTING",
        "orderReports": reports,
    }


def execution_report(order: Order, what: str, now_ms: int, *, cancel_id: str, before: str) -> dict[str, Any]:
    """Return the user event that tells a change of an order.

    Args:
        what: as `Listener.on_order` has it.
        cancel_id: of the cancel that ended it, empty when nobody asked for it.
        before: its client id before an amendment.
    """
    m, request, notes = order.market, order.request, order.request.notes
    trade = order.trades[-1] if what == "trade" else None
    fee, asset, is_maker = trade.of(order) if trade else (0, None, False)
    canceled = what == "canceled" and order.reason != SELF_TRADE
    kind = "TRADE_PREVENTION" if what == "prevented" or (what == "canceled" and not canceled) else _KINDS[what]
    event: dict[str, Any] = {
        "e": "executionReport",
        "E": now_ms,
        "s": symbol_of(m),
        "c": cancel_id if canceled else request.client_id,
        "S": request.side.value.upper(),
        "o": type_name(order),
        "f": request.tif.value.upper() if request.type.has_limit else "GTC",
        "q": size_text(m, order.size),
        "p": price_text(m, order.price),
        "P": price_text(m, order.trigger),
        "F": padded(notes.get("icebergQty", "0")),
        "g": order.group.number if order.group else -1,
        "C": request.client_id if canceled else before,
        "x": kind,
        "X": status_of(order),
        "r": "NONE",
        "i": order.number,
        "l": size_text(m, trade.size if trade else 0),
        "z": size_text(m, order.filled),
        "L": price_text(m, trade.price if trade else 0),
        "n": format_amount(fee) if trade else "0",
        "N": asset,
        "T": order.updated_ns // 1_000_000,
        "t": trade.number if trade else -1,
        "I": order.number * 1000 + len(order.trades),
        "w": order.status in (Status.NEW, Status.PARTIAL),
        "m": is_maker,
        "M": False,
        "O": order.created_ns // 1_000_000,
        "Z": format_amount(order.cost),
        "Y": format_amount(m.notional(trade.price, trade.size) if trade else 0),
        "Q": notes.get("quoteOrderQty", "0.00000000"),
        "V": self_trade_mode(order),
    }
    if order.working_ns:
        event["W"] = order.working_ns // 1_000_000
    event |= {short: int(notes[name]) for name, short in _SHORT.items() if name in notes}
    if order.tracking:
        event["D"] = order.updated_ns // 1_000_000
    if expiry_of(order):
        event["eR"] = expiry_of(order)
    return event


def add_prevented(event: dict[str, Any], order: Order, one: Prevented) -> None:
    """Write into a user event the trade that was prevented."""
    m, is_maker = order.market, order is one.maker
    other = one.taker if is_maker else one.maker
    size = one.maker_size if is_maker else one.taker_size
    event |= {"v": one.number, "A": size_text(m, order.prevented), "B": size_text(m, size), "u": -1}
    event |= {"U": other.number, "pl": size_text(m, one.size), "pL": price_text(m, one.price)}
    event |= {"pY": format_amount(m.notional(one.price, one.size))}


def list_status(group: OrderList, what: str, now_ms: int) -> dict[str, Any]:
    """Return the user event that tells a change of a list."""
    row = list_row(group)
    done = what == "done"
    return {
        "e": "listStatus",
        "E": now_ms,
        "s": row["symbol"],
        "g": group.number,
        "c": row["contingencyType"],
        "l": {"done": "ALL_DONE", "updated": "UPDATED"}.get(what, "EXEC_STARTED"),
        "L": "ALL_DONE" if done else "EXECUTING",
        "r": "NONE",
        "C": group.client_id,
        "T": now_ms,
        "O": [{"s": o["symbol"], "i": o["orderId"], "c": o["clientOrderId"]} for o in row["orders"]],
    }


_KINDS = {
    "new": "NEW",
    "triggered": "NEW",
    "trade": "TRADE",
    "canceled": "CANCELED",
    "expired": "EXPIRED",
    "amended": "REPLACED",
    "refill": "REPLACED",
}
_SHORT = {"trailingDelta": "d", "strategyId": "j", "strategyType": "J"}


# Lists.

_LEG_SHARED = ("side", "quantity", "selfTradePreventionMode")
_LIMITS = ("LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_STOPS = ("STOP_LOSS", "STOP_LOSS_LIMIT")


def read_list(venue: Venue, market: Market, kind: str, p: Mapping[str, str], made_ids: list[str]) -> list[NewOrder]:
    """Return the orders of a list that is asked for.

    Args:
        kind: `oco`, `oto`, `otoco`.
        made_ids: for those that have no client id.

    Raises:
        BinanceError, Refused: as `read_order` does; and when the two of a pair do not fit each other.
    """
    words = {"oco": ("above", "below"), "oto": ("working", "pending"), "otoco": ("working", *_PENDING_PAIR)}[kind]
    given, orders = dict(p), []
    if kind == "otoco":
        for word in _PENDING_PAIR:
            given |= {f"{word}Side": p["pendingSide"], f"{word}Quantity": p["pendingQuantity"]}
    shared = _LEG_SHARED if kind == "oco" else ("selfTradePreventionMode",)
    for word, made_id in zip(words, made_ids, strict=False):
        leg = Leg(given, word, shared, f"{word}ClientOrderId")
        if word == "working" and leg.get("type") not in ("LIMIT", "LIMIT_MAKER"):
            raise BinanceError(-1130, "Data sent for parameter 'workingType' is not valid.")
        if word == "pending" and leg.get("type") == "MARKET" and leg.get("quoteOrderQty"):
            raise not_required("pendingQuoteOrderQty")
        orders.append(read_order(venue, market, leg, made_id))
    if kind != "oto":
        _check_pair(venue, market, orders[-2:], is_now=kind == "oco")
    return orders


_PENDING_PAIR = ("pendingAbove", "pendingBelow")


def read_old_oco(p: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a deprecated `order/oco` as `orderList/oco` has them.

    Raises:
        BinanceError: when the stop's limit price comes without its time in force.
    """
    is_sell = p["side"] == "SELL"
    limit, stop = ("above", "below") if is_sell else ("below", "above")
    found = {n: v for n, v in p.items() if n in ("symbol", "side", "quantity", "listClientOrderId")}
    found |= {n: v for n, v in p.items() if n in ("newOrderRespType", "selfTradePreventionMode")}
    found[f"{limit}Type"] = "LIMIT_MAKER"
    found[f"{stop}Type"] = "STOP_LOSS_LIMIT" if p.get("stopLimitPrice") else "STOP_LOSS"
    if p.get("stopLimitPrice") and not p.get("stopLimitTimeInForce"):
        raise missing("stopLimitTimeInForce")
    renamed = {
        "price": f"{limit}Price", "limitClientOrderId": f"{limit}ClientOrderId",
        "limitIcebergQty": f"{limit}IcebergQty",
        "limitStrategyId": f"{limit}StrategyId", "limitStrategyType": f"{limit}StrategyType",
        "stopPrice": f"{stop}StopPrice", "stopClientOrderId": f"{stop}ClientOrderId",
        "stopLimitPrice": f"{stop}Price", "stopLimitTimeInForce": f"{stop}TimeInForce",
        "stopIcebergQty": f"{stop}IcebergQty", "stopStrategyId": f"{stop}StrategyId",
        "stopStrategyType": f"{stop}StrategyType", "trailingDelta": f"{stop}TrailingDelta",
    }  # fmt: skip
    return found | {renamed[name]: value for name, value in p.items() if name in renamed}


def _check_pair(venue: Venue, market: Market, pair: list[NewOrder], *, is_now: bool) -> None:
    """Refuse a pair of which both are of one kind, or that do not stand on both sides of the last price."""
    above, below = (_kind(order) for order in pair)
    is_buy = pair[0].side is Side.BUY
    if any(kind not in (*_LIMITS, *_STOPS) for kind in (above, below)):
        raise BinanceError(-1158, "Order type not supported in OCO.")
    if above in _LIMITS and below in _LIMITS:
        raise BinanceError(-1168, "At least one OCO order must be contingent.")
    if above in _STOPS and below in _STOPS:
        both = -1196 if is_buy else -1197
        raise BinanceError(both, _SIDES[both])
    code = _wrong_side(above, below, is_buy=is_buy)
    if code:
        raise BinanceError(code, _SIDES[code])
    last = venue.last[market.symbol] or venue.books[market.symbol].best(is_buy=not is_buy)
    high, low = (_level(order) for order in pair)
    if is_now and ((high and last and high <= last) or (low and last and low >= last)):
        raise BinanceError(-2010, "The relationship of the prices for the orders is not correct.")
    if high and low and high <= low:
        raise BinanceError(-2010, "The relationship of the prices for the orders is not correct.")


def _wrong_side(above: str, below: str, *, is_buy: bool) -> int:
    """Return the error's code when the two of a pair are the wrong way round, else 0."""
    if is_buy and above in _LIMITS:
        return -1165 if above == "LIMIT_MAKER" else -1198
    if not is_buy and below in _LIMITS:
        return -1166 if below == "LIMIT_MAKER" else -1199
    return 0


_SIDES = {
    -1196: "A stop loss order in a buy OCO must be above.",
    -1165: "A limit order in a buy OCO must be below.",
    -1166: "A limit order in a sell OCO must be above.",
    -1197: "A stop loss order in a sell OCO must be below.",
    -1198: "A take profit order in a buy OCO must be below.",
    -1199: "A take profit order in a sell OCO must be above.",
}


def _kind(order: NewOrder) -> str:
    if order.post_only:
        return "LIMIT_MAKER"
    return next(name for name, kind in TYPES.items() if kind is order.type)


def _level(order: NewOrder) -> int:
    """Return the price that decides on which side of the market an order of a pair stands, 0 for a trailing one."""
    return order.price if order.post_only else order.trigger


def check_restrictions(order: Order | None, wanted: str) -> None:
    """Refuse to cancel an order that is not in the state that the cancel is for. Raises BinanceError."""
    states = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}
    if order is not None and wanted and order.status.is_open and status_of(order) != states[wanted]:
        raise BinanceError(-2011, "Order was not canceled due to cancel restrictions.")


def check_amend(order: Order | None, size: int, amends: int) -> Order:
    """Return the order that may be made smaller.

    Raises:
        BinanceError: -2038, or -1013 where a filter does not let the new size pass.
        Refused: when there is no such open order.
    """
    if order is None or not order.status.is_open:
        raise BinanceError(-2038, "Unknown order sent.")
    if amends >= MAX_AMENDS:
        raise BinanceError(-2038, "Filter failure: MAX_NUM_ORDER_AMENDS")
    if size == order.size:
        raise BinanceError(-2038, "The requested action would change no state; rejecting")
    if size > order.size:
        raise BinanceError(-2038, "Order amend (quantity increase) is not supported.")
    if size < order.market.min_size or size <= order.filled + order.prevented:
        raise Refused(Refusal.BAD_SIZE, "newQty")
    return order
