"""Orders at Coinbase's face: what a configuration asks for, what is refused, how orders and fills are told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aether.domain.orders import OrderType, Side, TimeInForce
from aether.domain.scaled import before_fee, fee_of, size_for_notional
from aether.exchange.face import Refused
from aether.exchange.faces.coinbase_words import (
    REASONS,
    STATUSES,
    TIMES_IN_FORCE,
    CoinbaseError,
    Product,
    Rejection,
    amount,
    iso,
    json,
    page,
    parse_iso,
    plain,
    portfolio_id,
    price_text,
    product_id,
    refuse_unknown,
    size_text,
    time_of,
    user_id,
    uuid_of,
    values,
    whole,
)
from aether.exchange.faults import Faults
from aether.exchange.venue import Account, Market, NewOrder, Order, Refusal, Status, Trade, Venue

ROUNDING = 32
"""What the roundings of single executions may come to beside a sum, in 10^-8."""
BEYOND_PERCENT = 5
"""How far beyond its stop a triggered bracket sells at the worst."""
HISTORY_LIMIT = 1000
_SIZES = ("quote_size", "base_size")
_LIMIT = (*_SIZES, "limit_price", "rfq_disabled")
_STOP = ("quote_size", "base_size", "limit_price", "stop_price", "stop_direction")
_BRACKET = ("quote_size", "base_size", "limit_price", "stop_trigger_price")


@dataclass(frozen=True)
class Kind:
    """What an order configuration is: type, time in force, and the fields that it has."""

    type: OrderType
    tif: TimeInForce
    fields: tuple[str, ...]
    is_bracket: bool = False


KINDS = {
    "market_market_ioc": Kind(
        OrderType.MARKET, TimeInForce.IOC, (*_SIZES, "rfq_enabled", "rfq_disabled", "reduce_only")
    ),
    "market_market_fok": Kind(
        OrderType.MARKET, TimeInForce.FOK, (*_SIZES, "rfq_enabled", "rfq_disabled", "reduce_only")
    ),
    "sor_limit_ioc": Kind(OrderType.LIMIT, TimeInForce.IOC, _LIMIT),
    "limit_limit_gtc": Kind(OrderType.LIMIT, TimeInForce.GTC, (*_LIMIT, "post_only")),
    "limit_limit_gtd": Kind(OrderType.LIMIT, TimeInForce.GTD, (*_LIMIT, "post_only", "end_time")),
    "limit_limit_fok": Kind(OrderType.LIMIT, TimeInForce.FOK, _LIMIT),
    "stop_limit_stop_limit_gtc": Kind(OrderType.STOP_LOSS_LIMIT, TimeInForce.GTC, _STOP),
    "stop_limit_stop_limit_gtd": Kind(OrderType.STOP_LOSS_LIMIT, TimeInForce.GTD, (*_STOP, "end_time")),
    "trigger_bracket_gtc": Kind(OrderType.LIMIT, TimeInForce.GTC, _BRACKET, is_bracket=True),
    "trigger_bracket_gtd": Kind(OrderType.LIMIT, TimeInForce.GTD, (*_BRACKET, "end_time"), is_bracket=True),
}
NOT_CARRIED_OUT = frozenset({"twap_limit_gtd", "scaled_limit_gtc"})
"""Configurations that Coinbase knows and this exchange does not carry out: it slices no orders."""
ORDER_FIELDS = frozenset(
    [
        "client_order_id",
        "product_id",
        "side",
        "order_configuration",
        "leverage",
        "margin_type",
        "preview_id",
        "attached_order_configuration",
        "self_trade_prevention_id",
        "retail_portfolio_id",
        "sor_preference",
        "cost_basis_method",
        "prediction_metadata",
        "equity_order_metadata",
    ]
)
PREVIEW_FIELDS = ORDER_FIELDS - {"client_order_id", "preview_id", "self_trade_prevention_id"}
EDIT_FIELDS = frozenset(
    [
        "order_id",
        "price",
        "size",
        "attached_order_configuration",
        "cancel_attached_order",
        "stop_price",
        "average_entry_price",
    ]
)
_WITHOUT_EFFECT = {
    "leverage": ("", "1", "1.0"),
    "margin_type": ("", "UNKNOWN_MARGIN_TYPE"),
    "sor_preference": ("", "SOR_PREFERENCE_UNSPECIFIED"),
    "cost_basis_method": (
        "", "COST_BASIS_METHOD_UNSPECIFIED", "COST_BASIS_METHOD_HIFO", "COST_BASIS_METHOD_LIFO",
        "COST_BASIS_METHOD_FIFO",
    ),
    "prediction_metadata": (None,),
    "equity_order_metadata": (None,),
}  # fmt: skip
"""Values that ask for nothing on a spot market; any other is refused."""
_NOT_THIS = {
    "leverage": "PREVIEW_INVALID_LEVERAGE",
    "margin_type": "PREVIEW_INVALID_MARGIN_TYPE",
}
_STOPPED = "STOP_DIRECTION_STOP_DOWN", "STOP_DIRECTION_STOP_UP"
FLAGS = ("post_only", "reduce_only", "rfq_enabled", "rfq_disabled")
SORTS = ("UNKNOWN_SORT_BY", "LIMIT_PRICE", "LAST_FILL_TIME", "LAST_UPDATE_TIME")
FILL_SORTS = ("UNKNOWN_SORT_BY", "PRICE", "TRADE_TIME")


class OrderDesk:
    """Takes, previews, edits, cancels and lists the orders of accounts, in Coinbase's words.

    Args:
        products: by Coinbase's name.
        clock: returns the exchange's time in nanoseconds.
    """

    def __init__(self, venue: Venue, faults: Faults, products: Mapping[str, Product]) -> None:
        self._venue = venue
        self._faults = faults
        self._products = products
        self._ids: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._pending: dict[int, int] = {}
        self._triggered: set[int] = set()
        self._edits: dict[int, list[dict[str, str]]] = {}
        self._previews: set[str] = set()
        for order in venue.orders.values():
            self.order_id(order)

    def order_id(self, order: Order) -> str:
        """Return Coinbase's id of an order."""
        text = self._ids.get(order.number)
        if text is None:
            text = self._ids[order.number] = uuid_of("order", order.number)
            self._numbers[text] = order.number
        return text

    def find(self, account: Account, text: object) -> Order | None:
        """Return an account's order by Coinbase's id."""
        return account.orders.get(self._numbers.get(str(text), 0))

    def saw_triggered(self, order: Order) -> None:
        """Remember that an order's stop has been reached."""
        self._triggered.add(order.number)

    # New orders.

    def create(self, account: Account, f: dict[str, Any], body: str) -> dict[str, Any]:
        """Place an order and return the answer. Raises CoinbaseError."""
        echoed = {"order_configuration": f["order_configuration"]} if f.get("order_configuration") else {}
        refuse_unknown(body, f, ORDER_FIELDS.__contains__)
        client_id = f.get("client_order_id")
        try:
            if not isinstance(client_id, str) or not client_id:
                raise Rejection("INVALID_REQUEST", "client_order_id is required")
            if f.get("preview_id") and f["preview_id"] not in self._previews:
                raise Rejection("INVALID_REQUEST", "preview_id is not known")
            if self._faults.happens("reject"):
                raise Refused(Refusal.INJECTED)
            order = account.by_client.get(client_id) or self._place(account, f, body)
            if self._faults.happens("pending_order"):
                self._pending[order.number] = self._venue.clock() + int(self._faults.slow_s * 1e9)
        except (Refused, Rejection) as error:
            return {**_refused(error), **echoed}
        done = {
            "order_id": self.order_id(order),
            "product_id": product_id(order),
            "side": order.request.side.value.upper(),
            "client_order_id": order.request.client_id,
            "attached_order_id": "",
        }
        return {"success": True, "success_response": done, **echoed}

    def _place(self, account: Account, f: dict[str, Any], body: str) -> Order:
        request = self._read(account, f, body)
        self._check_stops(request)
        return self._venue.place(account.name, request)

    def close_position(self, f: dict[str, Any], body: str) -> dict[str, Any]:
        """Refuse to close a position: spot markets have none. Raises CoinbaseError."""
        refuse_unknown(body, f, {"client_order_id", "product_id", "size"}.__contains__)
        reason = "CANNOT_CLOSE_ZERO_POSITION"
        error = Rejection(reason if f.get("product_id") in self._products else "PREVIEW_INVALID_PRODUCT_ID")
        return _refused(error)

    def preview(self, account: Account, f: dict[str, Any], body: str) -> dict[str, Any]:
        """Return what an order would come to, without placing it. Raises CoinbaseError."""
        refuse_unknown(body, f, PREVIEW_FIELDS.__contains__)
        product = self._products.get(str(f.get("product_id")))
        errors: list[str] = []
        request = None
        try:
            request = self._read(account, {**f, "client_order_id": ""}, body)
            self._check_stops(request)
            self._venue.check(account.name, request)
        except (Refused, Rejection) as error:
            errors.append(_rejection(error).preview_reason)
        preview_id = "" if errors else uuid_of("preview", account.name, self._venue.clock(), len(self._previews))
        if preview_id:
            self._previews.add(preview_id)
        return {
            **self._estimate(account, product, request),
            "errs": errors,
            "warning": [],
            "is_max": False,
            "order_margin_total": "0",
            "leverage": "",
            "long_leverage": "",
            "short_leverage": "",
            "preview_id": preview_id,
            "current_liquidation_buffer": "",
            "projected_liquidation_buffer": "",
            "max_leverage": "",
            "pnl_configuration": None,
        }

    def _estimate(self, account: Account, product: Product | None, request: NewOrder | None) -> dict[str, Any]:
        """Return what an order would cost at the prices of now, zeros when it cannot be told."""
        if product is None or request is None:
            names = ["order_total", "commission_total", "quote_size", "base_size", "best_bid", "best_ask", "slippage"]
            return {**dict.fromkeys(names, "0"), "est_average_filled_price": "0", "commission_detail_total": None}
        market, book = product.market, self._venue.books[request.market]
        is_buy = request.side is Side.BUY
        value, size = 0, 0
        for resting in book.resting(is_buy=not is_buy) if request.type is OrderType.MARKET else ():
            take = min(request.size - size, resting.left)
            value, size = value + market.notional(resting.price, take), size + take
            if size == request.size:
                break
        if request.price:
            value, size = market.notional(request.price, request.size), request.size
        tier = self._venue.tier(account)
        fee = fee_of(value, tier.maker_ppm if request.post_only else tier.taker_ppm)
        average = _average(market, value, size)
        best = book.best(is_buy=not is_buy)
        best_value = market.notional(best, size)
        slippage = abs(value - best_value) * 10**8 // best_value if best_value and not request.price else 0
        return {
            "order_total": plain(value + fee if is_buy else value - fee),
            "commission_total": plain(fee),
            "quote_size": plain(value),
            "base_size": size_text(market, request.size),
            "best_bid": price_text(market, book.best(is_buy=True)),
            "best_ask": price_text(market, book.best(is_buy=False)),
            "slippage": plain(slippage),
            "est_average_filled_price": average,
            "commission_detail_total": _commission(fee),
        }

    def _read(self, account: Account, f: dict[str, Any], body: str) -> NewOrder:
        """Return the order that is asked for. Raises Refused, Rejection, CoinbaseError."""
        product = self._products.get(str(f.get("product_id")))
        if product is None:
            raise Refused(Refusal.UNKNOWN_MARKET)
        if f.get("side") not in ("BUY", "SELL"):
            raise Rejection("PREVIEW_INVALID_SIDE", "Invalid side")
        self._check_fields(account, f)
        name, terms = _one_configuration(f.get("order_configuration"), body)
        kind = KINDS[name]
        refuse_unknown(body, terms, kind.fields.__contains__)
        for flag in FLAGS:
            if not isinstance(terms.get(flag, False), bool):
                raise CoinbaseError(400, "unknown", f"proto: invalid value for bool type: {json(terms[flag])}")
        if terms.get("reduce_only"):
            raise Rejection("PREVIEW_REDUCE_ONLY_NOT_ALLOWED_ON_SPOT_PRODUCTS")
        if terms.get("rfq_enabled"):
            raise Rejection("PREVIEW_INVALID_ORDER_CONFIG", "RFQ is not enabled for this product")
        side = Side(f["side"].lower())
        request = NewOrder(
            market=product.market.symbol,
            side=side,
            type=kind.type,
            size=0,
            tif=kind.tif,
            post_only=terms.get("post_only", False),
            expire_ns=_end_time(kind, terms, self._venue.clock()),
            client_id=str(f.get("client_order_id") or ""),
            paid_in=product.quote if product.is_alias else "",
            notes={"kind": name, **_quote_note(terms)},
        )
        request = _priced(product.market, kind, terms, request)
        return replace(request, size=self._size(account, product, kind, terms, request))

    def _check_fields(self, account: Account, f: dict[str, Any]) -> None:
        for name, harmless in _WITHOUT_EFFECT.items():
            if f.get(name) is not None and f[name] not in harmless:
                raise Rejection(_NOT_THIS.get(name, "PREVIEW_INVALID_ORDER_CONFIG"), f"{name} is not supported")
        wanted = f.get("retail_portfolio_id")
        if wanted and wanted != portfolio_id(account.name):
            raise CoinbaseError(403, "PERMISSION_DENIED", "the key has no permission for this portfolio")
        if f.get("attached_order_configuration"):
            kind = next(iter(f.get("order_configuration") or {"": None}))
            if not kind.startswith(("market_", "limit_")):
                raise Rejection("PREVIEW_ATTACHED_ORDERS_ONLY_ALLOWED_ON_MARKET_LIMIT")
            if f["side"] == "SELL":
                raise Rejection("PREVIEW_INVALID_ORDER_SIDE_FOR_ATTACHED_TPSL")
            raise Rejection("PREVIEW_BRACKET_ORDER_NOT_SUPPORTED", "attached orders are not supported")

    def _size(self, account: Account, product: Product, kind: Kind, terms: dict[str, Any], request: NewOrder) -> int:
        base, quote = terms.get("base_size"), terms.get("quote_size")
        if not base and not quote:
            raise Rejection(
                "UNKNOWN_PREVIEW_FAILURE_REASON",
                "The order configuration was invalid",
                f"{kind.type.value.capitalize()} orders cannot be placed with empty order sizes",
            )
        if base and quote:
            raise Rejection("PREVIEW_INVALID_ORDER_CONFIG", "Only one of base_size and quote_size can be set")
        if base:
            if kind.type is OrderType.MARKET and not self._best(request):
                raise Rejection("PREVIEW_INVALID_NO_LIQUIDITY", "No liquidity")
            return amount(base, product.market.size_decimals, Refusal.BAD_SIZE)
        if kind.is_bracket:
            raise Rejection("PREVIEW_QUOTE_SIZE_NOT_ALLOWED_FOR_BRACKET")
        if kind.type is not OrderType.MARKET or request.side is not Side.BUY:
            raise Rejection("PREVIEW_INVALID_ORDER_CONFIG", "Only market orders that buy are sized in quote currency")
        return self._size_for(account, product, _quote_size(str(quote)))

    def _size_for(self, account: Account, product: Product, spent: int) -> int:
        """Return what a sum buys now, its fees included. Raises Refused, Rejection."""
        market = product.market
        if spent < market.min_notional or spent <= 0:
            raise Rejection("PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL", "Order size is too small. Minimum size was not met")
        if account.free(product.quote) < spent:
            raise Refused(Refusal.FUNDS, product.quote)
        rate = self._venue.tier(account).taker_ppm
        left, size, price = before_fee(spent - ROUNDING, rate), 0, 0
        for resting in self._venue.books[market.symbol].resting(is_buy=False):
            price = resting.price
            affordable = size_for_notional(left, price, market.price_decimals, market.size_decimals)
            take = min(resting.left, affordable)
            size, left = size + take, left - market.notional(price, take)
            if take < resting.left:
                return size
        if not price:
            raise Rejection("PREVIEW_INVALID_NO_LIQUIDITY", "No liquidity")
        return size + size_for_notional(left, price, market.price_decimals, market.size_decimals)

    def _best(self, request: NewOrder) -> int:
        return self._venue.books[request.market].best(is_buy=request.side is not Side.BUY)

    def _check_stops(self, request: NewOrder) -> None:
        """Refuse stops that would be reached at once, or that do not fit their limit. Raises Rejection."""
        last, is_buy = self._venue.last[request.market], request.side is Side.BUY
        if request.type.has_trigger:
            if is_buy and request.trigger > request.price:
                raise Rejection("PREVIEW_STOP_PRICE_ABOVE_LIMIT_PRICE", "Stop price must not be above the limit price")
            if not is_buy and request.trigger < request.price:
                raise Rejection("PREVIEW_STOP_PRICE_BELOW_LIMIT_PRICE", "Stop price must not be below the limit price")
            rises = (request.type is OrderType.STOP_LOSS_LIMIT) == is_buy
            if last and rises and request.trigger <= last:
                raise Rejection("PREVIEW_STOP_PRICE_BELOW_LAST_TRADE_PRICE")
            if last and not rises and request.trigger >= last:
                raise Rejection("PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE")
        if request.stop:
            if is_buy:
                raise Rejection("PREVIEW_INVALID_BRACKET_ORDER_SIDE")
            if request.stop >= request.price:
                raise Rejection("PREVIEW_INVALID_BRACKET_PRICES")
            if last and request.price <= last:
                raise Rejection("PREVIEW_INVALID_BRACKET_LIMIT_PRICE")
            if last and request.stop >= last:
                raise Rejection("PREVIEW_INVALID_BRACKET_STOP_TRIGGER_PRICE")

    # Cancels and edits.

    def cancel(self, account: Account, f: dict[str, Any], body: str) -> dict[str, Any]:
        """Cancel orders, each for itself. Raises CoinbaseError."""
        refuse_unknown(body, f, {"order_ids"}.__contains__)
        wanted = f.get("order_ids")
        if not isinstance(wanted, list) or not wanted or not all(isinstance(text, str) for text in wanted):
            raise CoinbaseError(400, "INVALID_ARGUMENT", "order_ids is required")
        return {"results": [self._cancel(account, text) for text in wanted]}

    def _cancel(self, account: Account, text: str) -> dict[str, Any]:
        order = self.find(account, text)
        reason = "UNKNOWN_CANCEL_ORDER"
        if order is not None:
            ended = {Status.FILLED: "ORDER_IS_FULLY_FILLED", Status.CANCELED: "DUPLICATE_CANCEL_REQUEST"}
            reason = ended.get(order.status, "INVALID_CANCEL_REQUEST")
        try:
            self._venue.cancel(account.name, order)
        except Refused:
            return {"success": False, "failure_reason": reason, "order_id": text}
        return {"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON", "order_id": text}

    def edit(self, account: Account, f: dict[str, Any], body: str) -> dict[str, Any]:
        """Change an order's price and size. Raises CoinbaseError."""
        errors, order, price, size = self._read_edit(account, f, body)
        if errors or order is None:
            return {"success": False, "errors": errors}
        try:
            self._venue.amend(account.name, order, size=size, price=price)
        except Refused as error:
            return {"success": False, "errors": [_edit_error(error)]}
        accepted = {
            "price": price_text(order.market, price),
            "size": size_text(order.market, size),
            "replace_accept_timestamp": iso(order.updated_ns),
        }
        self._edits.setdefault(order.number, []).append(accepted)
        return {"success": True, "errors": []}

    def edit_preview(self, account: Account, f: dict[str, Any], body: str) -> dict[str, Any]:
        """Return what an edit would come to. Raises CoinbaseError."""
        errors, order, price, size = self._read_edit(account, f, body)
        if order is None or errors:
            estimate = self._estimate(account, None, None)
        else:
            product = self._products[product_id(order)]
            estimate = self._estimate(account, product, replace(order.request, price=price, size=size))
        del estimate["est_average_filled_price"]
        average = _average(order.market, order.cost, order.filled) if order else "0"
        return {
            **estimate,
            "errors": errors,
            "average_filled_price": average,
            "order_margin_total": "0",
            "pnl_configuration": None,
        }

    def _read_edit(
        self, account: Account, f: dict[str, Any], body: str
    ) -> tuple[list[dict[str, str]], Order | None, int, int]:
        """Return what is wrong with an edit, its order, and the new price and size."""
        refuse_unknown(body, f, EDIT_FIELDS.__contains__)
        order = self.find(account, f.get("order_id"))
        if order is None:
            return [_edit_reason("ORDER_NOT_FOUND")], None, 0, 0
        market = order.market
        try:
            price = amount(f.get("price") or "0", market.price_decimals, Refusal.BAD_PRICE)
            size = amount(f.get("size") or "0", market.size_decimals, Refusal.BAD_SIZE)
        except Refused as error:
            return [_edit_error(error)], order, 0, 0
        reason = self._why_not_edit(order, f, price, size)
        errors = [_edit_reason(reason)] if reason else []
        if not errors and order.request.post_only and order.status is not Status.TRIGGER_PENDING:
            best = self._best(order.request)
            if best and (price >= best if order.is_buy else price <= best):
                errors = [_edit_error(Refused(Refusal.POST_ONLY))]
        return errors, order, price, size

    def _why_not_edit(self, order: Order, f: dict[str, Any], price: int, size: int) -> str:
        request = order.request
        found = (
            (not order.status.is_open, "ONLY_OPEN_ORDERS_CAN_BE_EDITED"),
            (not request.type.has_limit, "ONLY_LIMIT_ORDER_EDITS_SUPPORTED"),
            (request.tif is not TimeInForce.GTC, "ORDER_EDIT_ORDER_TYPE_NOT_SUPPORTED"),
            (self._has_triggered(order), "CANNOT_EDIT_TRIGGERED_ORDER"),
            (bool(f.get("stop_price")), "FIELD_STOPPRICE_NOT_SUPPORTED"),
            (
                bool(f.get("attached_order_configuration") or f.get("cancel_attached_order")),
                "CANNOT_ADD_ATTACHED_ORDER_TO_ORDER_TYPE",
            ),
            (size <= 0 or size < order.market.min_size, "INVALID_EDITED_SIZE"),
            (price <= 0, "INVALID_EDITED_PRICE"),
            (size <= order.filled, "CANNOT_EDIT_TO_BELOW_FILLED_SIZE"),
            ((price, size) == (order.price, order.size), "EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST"),
            (not _fits(order, price), "INVALID_EDITED_PRICE"),
        )
        return next((reason for is_wrong, reason in found if is_wrong), "")

    def _has_triggered(self, order: Order) -> bool:
        """Whether an order's stop has been reached."""
        if order.request.stop:
            return order.price != order.request.price
        is_on = order.status in (Status.NEW, Status.PARTIAL, Status.FILLED)
        return order.request.type.has_trigger and (is_on or order.number in self._triggered)

    # Lists.

    def status(self, order: Order) -> str:
        """Return an order's state in the venue's words; pending, then queued, while a fault keeps it from the book."""
        now, until = self._venue.clock(), self._pending.get(order.number, 0)
        if order.status is Status.NEW and until > now:
            return "PENDING" if (now - order.created_ns) * 2 < until - order.created_ns else "QUEUED"
        if order.status is Status.EXPIRED and order.request.tif is not TimeInForce.GTD:
            return "CANCELLED"
        return STATUSES[order.status]

    def history(self, account: Account, q: Any) -> dict[str, Any]:
        """Return an account's orders, the newest first. Raises CoinbaseError."""
        statuses = values(q, "order_status")
        _known(statuses, "order_status", {*STATUSES.values(), "PENDING", "QUEUED", "FAILED", "CANCEL_QUEUED",
                                          "EDIT_QUEUED", "UNKNOWN_ORDER_STATUS"})  # fmt: skip
        if "OPEN" in statuses and set(statuses) != {"OPEN"}:
            raise CoinbaseError(400, "INVALID_ARGUMENT", "cannot pair open orders with other order types")
        _known(values(q, "sort_by"), "sort_by", set(SORTS))
        wanted = self._wanted(q, {"OPEN"} == set(statuses))
        found = [order for order in reversed(account.orders.values()) if wanted(order)]
        keys: dict[str, Callable[[Order], int]] = {
            "LIMIT_PRICE": lambda order: order.price,
            "LAST_FILL_TIME": lambda order: order.trades[-1].ts_ns if order.trades else 0,
            "LAST_UPDATE_TIME": lambda order: order.updated_ns,
        }
        if q.get("sort_by") in keys:
            found.sort(key=keys[q["sort_by"]], reverse=True)
        rows, cursor = page(
            [{"order_id": self.order_id(order), "order": order} for order in found],
            "order_id",
            q,
            whole(q, "limit", HISTORY_LIMIT, HISTORY_LIMIT),
        )
        orders = [self.row(row["order"]) for row in rows]
        return {"orders": orders, "sequence": "0", "has_next": bool(cursor), "cursor": cursor}

    def _wanted(self, q: Any, are_open: bool) -> Callable[[Order], bool]:
        """Return whether a list is to hold an order. Dates do not apply to open orders."""
        end = 1 << 62
        since, until = (0, end) if are_open else (time_of(q, "start_date", 0), time_of(q, "end_date", end))
        chosen: list[tuple[set[str], Callable[[Order], str]]] = [
            (set(values(q, "order_status")), self.status),
            (set(values(q, "product_ids", "product_id")), product_id),
            (set(values(q, "order_ids")), self.order_id),
            (set(values(q, "order_side")), lambda order: order.request.side.value.upper()),
            (set(values(q, "order_types", "order_type")), order_type),
            (set(values(q, "time_in_forces")), lambda order: TIMES_IN_FORCE[order.request.tif]),
            (set(values(q, "product_type")) - {"UNKNOWN_PRODUCT_TYPE"}, lambda _: "SPOT"),
        ]
        return lambda order: (
            since <= order.created_ns < until and all(not allowed or tell(order) in allowed for allowed, tell in chosen)
        )

    def fills(self, account: Account, q: Any) -> dict[str, Any]:
        """Return an account's executions, the newest first. Raises CoinbaseError."""
        _known(values(q, "sort_by"), "sort_by", set(FILL_SORTS))
        orders, trades = set(values(q, "order_ids", "order_id")), set(values(q, "trade_ids"))
        products = set(values(q, "product_ids", "product_id"))
        since = time_of(q, "start_sequence_timestamp", 0)
        until = time_of(q, "end_sequence_timestamp", 1 << 62)
        found = [
            (order, trade)
            for order, trade in reversed(account.trades)
            if since <= trade.ts_ns <= until
            and (not orders or self.order_id(order) in orders)
            and (not products or product_id(order) in products)
            and (not trades or trade_id(order, trade) in trades)
        ]
        if q.get("sort_by") == "PRICE":
            found.sort(key=lambda fill: fill[1].price, reverse=True)
        keyed = [{"entry_id": f"{trade.number}-{order.number}", "fill": (order, trade)} for order, trade in found]
        rows, cursor = page(keyed, "entry_id", q, whole(q, "limit", 100, 3000))
        return {"fills": [{"entry_id": row["entry_id"], **self._fill(*row["fill"])} for row in rows], "cursor": cursor}

    def _fill(self, order: Order, trade: Trade) -> dict[str, Any]:
        fee, _, is_maker = trade.of(order)
        market, in_quote = order.market, _is_in_quote(order)
        value = market.notional(trade.price, trade.size)
        return {
            "trade_id": trade_id(order, trade),
            "order_id": self.order_id(order),
            "trade_time": iso(trade.ts_ns),
            "trade_type": "FILL",
            "price": price_text(market, trade.price),
            "size": plain(value) if in_quote else size_text(market, trade.size),
            "commission": plain(fee),
            "product_id": product_id(order),
            "sequence_timestamp": iso(trade.ts_ns),
            "liquidity_indicator": "MAKER" if is_maker else "TAKER",
            "size_in_quote": in_quote,
            "user_id": user_id(order.account),
            "side": order.request.side.value.upper(),
            "retail_portfolio_id": portfolio_id(order.account),
            "fillSource": "FILL_SOURCE_CLOB",
            "commission_detail_total": _commission(fee),
        }

    def row(self, order: Order) -> dict[str, Any]:
        """Return an order as Coinbase tells it."""
        m, request = order.market, order.request
        in_quote = _is_in_quote(order)
        return {
            "order_id": self.order_id(order),
            "product_id": product_id(order),
            "user_id": user_id(order.account),
            "order_configuration": configuration(order),
            "side": request.side.value.upper(),
            "client_order_id": request.client_id,
            "status": self.status(order),
            "time_in_force": TIMES_IN_FORCE[request.tif],
            "created_time": iso(order.created_ns),
            "completion_percentage": plain(order.filled * 10**4 // order.size, 2),
            "filled_size": size_text(m, order.filled),
            "average_filled_price": _average(m, order.cost, order.filled),
            "fee": "",
            "number_of_fills": str(len(order.trades)),
            "filled_value": plain(order.cost),
            "pending_cancel": False,
            "size_in_quote": in_quote,
            "total_fees": plain(order.fee),
            "size_inclusive_of_fees": in_quote,
            "total_value_after_fees": plain(order.cost + (order.fee if order.is_buy else -order.fee)),
            "trigger_status": self.trigger_status(order),
            "order_type": order_type(order),
            "reject_reason": "REJECT_REASON_UNSPECIFIED",
            "settled": order.status is Status.FILLED,
            "product_type": "SPOT",
            "reject_message": "",
            "cancel_message": order.reason,
            "order_placement_source": "RETAIL_ADVANCED",
            "outstanding_hold_amount": plain(order.held),
            "is_liquidation": False,
            "last_fill_time": iso(order.trades[-1].ts_ns) if order.trades else None,
            "edit_history": self._edits.get(order.number, []),
            "leverage": "",
            "margin_type": "UNKNOWN_MARGIN_TYPE",
            "retail_portfolio_id": portfolio_id(order.account),
            "originating_order_id": "",
            "attached_order_id": "",
            "attached_order_configuration": None,
        }

    def trigger_status(self, order: Order) -> str:
        """Return whether an order's stop has been reached, in the venue's words."""
        if not (order.request.type.has_trigger or order.request.stop):
            return "INVALID_ORDER_TYPE"
        return "STOP_TRIGGERED" if self._has_triggered(order) else "STOP_PENDING"


def order_type(order: Order) -> str:
    """Return an order's type in the venue's words."""
    if order.request.stop:
        return "BRACKET"
    if order.request.type.has_trigger:
        return "STOP_LIMIT"
    return "MARKET" if order.request.type is OrderType.MARKET else "LIMIT"


def trade_id(order: Order, trade: Trade) -> str:
    """Return the id of an order's side of a trade."""
    return uuid_of("trade", trade.number, "-", order.number)


def configuration(order: Order) -> dict[str, dict[str, Any]]:
    """Return the configuration that an order was asked for with, as it has been edited since."""
    m, request = order.market, order.request
    name = str(order.request.notes.get("kind") or _kind_of(request))
    terms: dict[str, Any] = {"base_size": size_text(m, order.size)}
    if _is_in_quote(order):
        terms = {"quote_size": order.request.notes["quote_size"]}
    if request.type.has_limit:
        terms["limit_price"] = price_text(m, request.price)
    if request.type.has_trigger:
        rises = (request.type is OrderType.STOP_LOSS_LIMIT) == order.is_buy
        terms |= {"stop_price": price_text(m, order.trigger), "stop_direction": _STOPPED[rises]}
    if request.stop:
        terms["stop_trigger_price"] = price_text(m, request.stop)
    if request.tif is TimeInForce.GTD:
        terms["end_time"] = iso(request.expire_ns)
    if name in ("limit_limit_gtc", "limit_limit_gtd"):
        terms["post_only"] = request.post_only
    return {name: terms}


def _kind_of(request: NewOrder) -> str:
    """Return the configuration of an order that came in another way."""
    kind = OrderType.STOP_LOSS_LIMIT if request.type.has_trigger else request.type
    is_bracket = bool(request.stop)
    found = (n for n, k in KINDS.items() if (k.type, k.tif, k.is_bracket) == (kind, request.tif, is_bracket))
    return next(found, "market_market_ioc")


def _is_in_quote(order: Order) -> bool:
    return "quote_size" in order.request.notes


def _quote_note(terms: dict[str, Any]) -> dict[str, str]:
    return {"quote_size": str(terms["quote_size"])} if terms.get("quote_size") else {}


def _quote_size(text: str) -> int:
    """Return a sum of quote currency. Raises Rejection."""
    try:
        found = amount(text, 2, Refusal.BAD_SIZE)
    except Refused as error:
        raise Rejection("PREVIEW_INVALID_QUOTE_SIZE_PRECISION", "Too many decimals in order amount") from error
    return found * 10**6


def _one_configuration(found: Any, body: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the terms of the one configuration of an order. Raises Rejection, CoinbaseError."""
    if not isinstance(found, dict) or not found:
        raise Rejection("PREVIEW_INVALID_ORDER_CONFIG", "The order configuration was invalid")
    refuse_unknown(body, found, lambda name: name in KINDS or name in NOT_CARRIED_OUT)
    if len(found) > 1:
        second = list(found)[1]
        column = max(body.find(f'"{second}"'), 0) + 1
        text = f'proto: (line 1:{column}): error parsing "{second}", oneof order_configuration is already set'
        raise CoinbaseError(400, "unknown", text)
    name, terms = next(iter(found.items()))
    if not isinstance(terms, dict):
        raise CoinbaseError(400, "unknown", f"proto: unexpected token {terms!r}")
    if name in NOT_CARRIED_OUT:
        raise Rejection("PREVIEW_INVALID_ORDER_CONFIG", f"{name} is not supported for this product")
    return name, terms


def _end_time(kind: Kind, terms: dict[str, Any], now: int) -> int:
    if kind.tif is not TimeInForce.GTD:
        return 0
    if not terms.get("end_time"):
        raise Rejection("PREVIEW_GTD_ORDERS_MUST_HAVE_END_TIME")
    found = parse_iso(terms["end_time"])
    if found <= now:
        raise Rejection("PREVIEW_END_TIME_IS_IN_THE_PAST")
    return found


def _priced(market: Market, kind: Kind, terms: dict[str, Any], request: NewOrder) -> NewOrder:
    """Return the request with its limit and its stops. Raises Refused, Rejection, CoinbaseError."""
    if kind.type is OrderType.MARKET:
        return request
    price = amount(terms.get("limit_price") or "0", market.price_decimals, Refusal.BAD_PRICE)
    if price <= 0:
        raise Rejection("PREVIEW_INVALID_LIMIT_PRICE", "Invalid limit price")
    request = replace(request, price=price)
    if kind.is_bracket:
        stop = amount(terms.get("stop_trigger_price") or "0", market.price_decimals, Refusal.BAD_PRICE)
        if stop <= 0:
            raise Rejection("PREVIEW_INVALID_BRACKET_STOP_TRIGGER_PRICE", "Invalid stop trigger price")
        return replace(request, stop=stop, stop_limit=max(1, stop * (100 - BEYOND_PERCENT) // 100))
    if kind.type is not OrderType.STOP_LOSS_LIMIT:
        return request
    try:
        trigger = amount(terms.get("stop_price") or "0", market.price_decimals, Refusal.BAD_PRICE)
    except Refused as error:
        raise Rejection("PREVIEW_INVALID_STOP_PRICE_PRECISION", "Too many decimals in stop price") from error
    if trigger <= 0:
        raise Rejection("PREVIEW_INVALID_STOP_PRICE", "Invalid stop price")
    direction = terms.get("stop_direction")
    if direction not in _STOPPED:
        raise Rejection("PREVIEW_INVALID_ORDER_CONFIG", "Invalid stop direction")
    is_stop = (direction == _STOPPED[1]) == (request.side is Side.BUY)
    return replace(request, trigger=trigger, type=OrderType.STOP_LOSS_LIMIT if is_stop else OrderType.TAKE_PROFIT_LIMIT)


def _fits(order: Order, price: int) -> bool:
    """Whether a new limit price still fits the stop of its order."""
    request = order.request
    if request.type.has_trigger:
        return price >= order.trigger if order.is_buy else price <= order.trigger
    return not request.stop or price > request.stop


def _rejection(error: Refused | Rejection) -> Rejection:
    """Return the venue's words for what the face or the matching core refuses."""
    if isinstance(error, Rejection):
        return error
    return Rejection(*REASONS.get(error.reason, REASONS[Refusal.INJECTED]))


def _refused(error: Refused | Rejection) -> dict[str, Any]:
    """Return the answer to an order that is not taken."""
    found = _rejection(error)
    response = {
        "error": found.new_order_reason,
        "message": found.message,
        "error_details": found.details,
        "preview_failure_reason": found.preview_reason,
        "new_order_failure_reason": found.new_order_reason,
    }
    return {"success": False, "error_response": response}


def _edit_reason(name: str) -> dict[str, str]:
    return {"edit_failure_reason": name, "preview_failure_reason": "UNKNOWN_PREVIEW_FAILURE_REASON"}


def _edit_error(error: Refused) -> dict[str, str]:
    names = {Refusal.BAD_PRICE: "INVALID_EDITED_PRICE", Refusal.BAD_SIZE: "INVALID_EDITED_SIZE"}
    names |= {Refusal.AMEND: "CANNOT_EDIT_TO_BELOW_FILLED_SIZE", Refusal.UNKNOWN_ORDER: "ORDER_NOT_FOUND"}
    preview = _rejection(error).preview_reason
    edit = names.get(error.reason, "COMMANDER_REJECTED_EDIT_ORDER")
    return {"edit_failure_reason": edit, "preview_failure_reason": preview}


def _known(found: list[str], name: str, allowed: set[str]) -> None:
    for text in found:
        if text not in allowed:
            raise CoinbaseError(
                400, "INVALID_ARGUMENT", f"type mismatch, parameter: {name}, error: {text} is not valid"
            )


def _average(market: Market, value: int, size: int) -> str:
    """Return the price at which a size is worth a value."""
    if not size:
        return "0"
    return plain((value * 10 ** (8 + market.size_decimals) + size // 2) // size, 16)


def _commission(fee: int) -> dict[str, str]:
    parts = [
        "gst_commission",
        "withholding_commission",
        "client_commission",
        "venue_commission",
        "regulatory_commission",
    ]
    return {"total_commission": plain(fee), **dict.fromkeys([*parts, "clearing_commission"], "0")}
