"""Binance's REST endpoints and WebSocket API methods: which parameters each takes, who may ask, what it weighs.

Source: rest-api.md and web-socket-api.md of binance-spot-api-docs, and the wallet API for `/sapi` (2026).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoint:
    """One thing that can be asked for.

    Attributes:
        handler: what answers it.
        mandatory, optional: its parameters.
        is_signed: it needs a key and a signature.
        is_trading: faults of trading requests may hit it.
    """

    handler: str
    mandatory: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    weight: int = 1
    is_signed: bool = False
    is_trading: bool = False


_SIGNING = ("recvWindow", "signature")
_NEW_ORDER = ("symbol", "side", "type")
_ORDER = (
    "timeInForce", "quantity", "quoteOrderQty", "price", "newClientOrderId", "strategyId", "strategyType", "stopPrice",
    "trailingDelta", "icebergQty", "newOrderRespType", "selfTradePreventionMode", "pegPriceType", "pegOffsetType",
    "pegOffsetValue",
)  # fmt: skip
_LEG = (
    "ClientOrderId", "IcebergQty", "Price", "StopPrice", "TrailingDelta", "TimeInForce", "StrategyId", "StrategyType",
    "PegPriceType", "PegOffsetType", "PegOffsetValue",
)  # fmt: skip
_LIST = ("listClientOrderId", "newOrderRespType", "selfTradePreventionMode")
_OLD_OCO = (
    "limitClientOrderId", "limitIcebergQty", "limitStrategyId", "limitStrategyType", "trailingDelta",
    "stopClientOrderId", "stopStrategyId", "stopStrategyType", "stopLimitPrice", "stopIcebergQty",
    "stopLimitTimeInForce",
)  # fmt: skip
_BY_ORDER = ("orderId", "origClientOrderId")
_TIMES = ("startTime", "endTime", "limit")


def _legs(*words: str) -> tuple[str, ...]:
    return tuple(word + name for word in words for name in _LEG)


def _open(handler: str, mandatory: tuple[str, ...] = (), optional: tuple[str, ...] = (), weight: int = 1) -> Endpoint:
    return Endpoint(handler, mandatory, frozenset(optional), weight)


def _signed(
    handler: str,
    mandatory: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    weight: int = 1,
    *,
    is_trading: bool = False,
) -> Endpoint:
    everything = frozenset((*optional, *_SIGNING))
    return Endpoint(handler, (*mandatory, "timestamp"), everything, weight, is_signed=True, is_trading=is_trading)


_OCO = _signed(
    "list_oco", ("symbol", "side", "quantity", "aboveType", "belowType"), (*_LIST, *_legs("above", "below")),
    is_trading=True,
)  # fmt: skip
_OLD = _signed(
    "list_old_oco", ("symbol", "side", "quantity", "price", "stopPrice"), (*_LIST, *_OLD_OCO), is_trading=True
)
_WORKING = ("symbol", "workingType", "workingSide", "workingPrice", "workingQuantity")

ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "ping"): _open("ping"),
    ("GET", "time"): _open("time"),
    ("GET", "system/status"): _open("status"),
    ("GET", "exchangeInfo"): _open(
        "exchange_info", (), ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"), 20
    ),
    ("GET", "depth"): _open("depth", ("symbol",), ("limit", "symbolStatus"), 5),
    ("GET", "trades"): _open("trades", ("symbol",), ("limit",), 25),
    ("GET", "historicalTrades"): _open("old_trades", ("symbol",), ("limit", "fromId"), 25),
    ("GET", "aggTrades"): _open("aggregates", ("symbol",), ("fromId", *_TIMES), 4),
    ("GET", "klines"): _open("bars", ("symbol", "interval"), ("timeZone", *_TIMES), 2),
    ("GET", "uiKlines"): _open("bars", ("symbol", "interval"), ("timeZone", *_TIMES), 2),
    ("GET", "avgPrice"): _open("average", ("symbol",), (), 2),
    ("GET", "ticker/24hr"): _open("day_ticker", (), ("symbol", "symbols", "type", "symbolStatus"), 2),
    ("GET", "ticker/tradingDay"): _open(
        "trading_day", (), ("symbol", "symbols", "timeZone", "type", "symbolStatus"), 4
    ),
    ("GET", "ticker"): _open("rolling", (), ("symbol", "symbols", "windowSize", "type", "symbolStatus"), 4),
    ("GET", "ticker/price"): _open("price_ticker", (), ("symbol", "symbols", "symbolStatus"), 2),
    ("GET", "ticker/bookTicker"): _open("book_ticker", (), ("symbol", "symbols", "symbolStatus"), 2),
    ("POST", "order"): _signed("order_new", _NEW_ORDER, _ORDER, is_trading=True),
    ("POST", "order/test"): _signed("order_test", _NEW_ORDER, (*_ORDER, "computeCommissionRates")),
    ("GET", "order"): _signed("order_query", ("symbol",), _BY_ORDER, 4),
    ("DELETE", "order"): _signed(
        "order_cancel", ("symbol",), (*_BY_ORDER, "newClientOrderId", "cancelRestrictions"), is_trading=True
    ),
    ("POST", "order/cancelReplace"): _signed(
        "order_replace",
        (*_NEW_ORDER, "cancelReplaceMode"),
        (
            *_ORDER, "cancelNewClientOrderId", "cancelOrigClientOrderId", "cancelOrderId", "cancelRestrictions",
            "orderRateLimitExceededMode",
        ),
        is_trading=True,
    ),
    ("PUT", "order/amend/keepPriority"): _signed(
        "order_amend", ("symbol", "newQty"), (*_BY_ORDER, "newClientOrderId"), 4, is_trading=True
    ),
    ("GET", "order/amendments"): _signed("amendments", ("symbol", "orderId"), ("fromExecutionId", "limit"), 4),
    ("GET", "openOrders"): _signed("open_orders", (), ("symbol",), 6),
    ("DELETE", "openOrders"): _signed("cancel_all", ("symbol",)),
    ("GET", "allOrders"): _signed("all_orders", ("symbol",), ("orderId", *_TIMES), 20),
    ("POST", "order/oco"): _OLD,
    ("POST", "orderList/oco"): _OCO,
    ("POST", "orderList/oto"): _signed(
        "list_oto",
        (*_WORKING, "pendingType", "pendingSide", "pendingQuantity"),
        (*_LIST, *_legs("working", "pending")),
        is_trading=True,
    ),
    ("POST", "orderList/otoco"): _signed(
        "list_otoco",
        (*_WORKING, "pendingSide", "pendingQuantity", "pendingAboveType", "pendingBelowType"),
        (*_LIST, *_legs("working", "pendingAbove", "pendingBelow")),
        is_trading=True,
    ),
    ("POST", "orderList/opo"): _signed(
        "no_opo", (*_WORKING, "pendingType", "pendingSide"), (*_LIST, *_legs("working", "pending"))
    ),
    ("POST", "orderList/opoco"): _signed(
        "no_opo",
        (*_WORKING, "pendingSide", "pendingAboveType"),
        (*_LIST, "pendingBelowType", *_legs("working", "pendingAbove", "pendingBelow")),
    ),
    ("GET", "orderList"): _signed("list_query", (), ("orderListId", "origClientOrderId"), 4),
    ("DELETE", "orderList"): _signed(
        "list_cancel", ("symbol",), ("orderListId", "listClientOrderId", "newClientOrderId"), is_trading=True
    ),
    ("GET", "allOrderList"): _signed("all_lists", (), ("fromId", *_TIMES), 20),
    ("GET", "openOrderList"): _signed("open_lists", (), (), 6),
    ("GET", "account"): _signed("account", (), ("omitZeroBalances",), 20),
    ("GET", "account/commission"): _signed("commission", ("symbol",), (), 20),
    ("GET", "myTrades"): _signed("my_trades", ("symbol",), ("orderId", "fromId", *_TIMES), 20),
    ("GET", "myPreventedMatches"): _signed(
        "prevented", ("symbol",), ("preventedMatchId", "orderId", "fromPreventedMatchId", "limit"), 10
    ),
    ("GET", "myAllocations"): _signed(
        "nothing", ("symbol",), ("fromAllocationId", "orderId", *_TIMES), 20
    ),
    ("GET", "rateLimit/order"): _signed("order_counts", (), (), 40),
    ("GET", "account/apiRestrictions"): _signed("restrictions"),
    ("GET", "capital/config/getall"): _signed("coins", (), (), 10),
    ("GET", "capital/deposit/hisrec"): _signed(
        "nothing", (), ("coin", "status", "startTime", "endTime", "offset", "limit", "txId", "includeSource")
    ),
    ("GET", "capital/withdraw/history"): _signed(
        "nothing",
        (),
        ("coin", "withdrawOrderId", "status", "offset", "limit", "idList", "startTime", "endTime", "includeSource"),
    ),
    ("GET", "asset/tradeFee"): _signed("trade_fee", (), ("symbol",)),
    ("GET", "bnbBurn"): _signed("burn_query"),
    ("POST", "bnbBurn"): _signed("burn_set", (), ("spotBNBBurn", "interestBNBBurn")),
}  # fmt: skip

METHODS: dict[str, tuple[str, str]] = {
    "ping": ("GET", "ping"),
    "time": ("GET", "time"),
    "exchangeInfo": ("GET", "exchangeInfo"),
    "depth": ("GET", "depth"),
    "trades.recent": ("GET", "trades"),
    "trades.historical": ("GET", "historicalTrades"),
    "trades.aggregate": ("GET", "aggTrades"),
    "klines": ("GET", "klines"),
    "uiKlines": ("GET", "uiKlines"),
    "avgPrice": ("GET", "avgPrice"),
    "ticker.24hr": ("GET", "ticker/24hr"),
    "ticker.tradingDay": ("GET", "ticker/tradingDay"),
    "ticker": ("GET", "ticker"),
    "ticker.price": ("GET", "ticker/price"),
    "ticker.book": ("GET", "ticker/bookTicker"),
    "order.place": ("POST", "order"),
    "order.test": ("POST", "order/test"),
    "order.status": ("GET", "order"),
    "order.cancel": ("DELETE", "order"),
    "order.cancelReplace": ("POST", "order/cancelReplace"),
    "order.amend.keepPriority": ("PUT", "order/amend/keepPriority"),
    "order.amendments": ("GET", "order/amendments"),
    "openOrders.status": ("GET", "openOrders"),
    "openOrders.cancelAll": ("DELETE", "openOrders"),
    "allOrders": ("GET", "allOrders"),
    "orderList.place": ("POST", "order/oco"),
    "orderList.place.oco": ("POST", "orderList/oco"),
    "orderList.place.oto": ("POST", "orderList/oto"),
    "orderList.place.otoco": ("POST", "orderList/otoco"),
    "orderList.place.opo": ("POST", "orderList/opo"),
    "orderList.place.opoco": ("POST", "orderList/opoco"),
    "orderList.status": ("GET", "orderList"),
    "orderList.cancel": ("DELETE", "orderList"),
    "openOrderLists.status": ("GET", "openOrderList"),
    "allOrderLists": ("GET", "allOrderList"),
    "account.status": ("GET", "account"),
    "account.commission": ("GET", "account/commission"),
    "account.rateLimits.orders": ("GET", "rateLimit/order"),
    "myTrades": ("GET", "myTrades"),
    "myPreventedMatches": ("GET", "myPreventedMatches"),
    "myAllocations": ("GET", "myAllocations"),
}

WEIGHT_LIMIT = 6_000
ORDER_LIMITS = {("SECOND", 10): 100, ("DAY", 1): 200_000}
"""New orders of one account, by interval."""
INTERVAL_NS = {"SECOND": 10**9, "DAY": 86_400 * 10**9}


def weight_of(endpoint: Endpoint, given: dict[str, str]) -> int:
    """Return what a request weighs: some by how much they ask for."""
    if endpoint.handler == "depth" and given.get("limit", "").isdigit():
        count = int(given["limit"])
        return 5 if count <= 100 else 25 if count <= 500 else 50 if count <= 1000 else 250
    if endpoint.handler == "open_orders" and "symbol" not in given:
        return 80
    return endpoint.weight
