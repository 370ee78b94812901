"""Every spot method that an unmodified ccxt declares for Kraken, at the local exchange: it works, or it is refused as
Kraken refuses it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import ccxt.pro
import pytest

from aether.exchange.server import LocalExchange, build, serve
from aether.exchange.venue import Order, Status

PATIENCE_S = 15.0
PAIR = "BTC/USD"
LOW, HIGH = 50_000, 80_000
CAPABILITIES = {"CORS", "publicAPI", "privateAPI", "spot", "margin", "ws"}
"""What ccxt declares that is no method."""

NOT_OFFERED = {
    "fetchCurrenciesWs": "ccxt marks it as emulated by itself; Kraken's socket has no such request",
}


class Desk:
    """A ccxt client with a resting and an executed order of its own."""

    def __init__(self, client: Any, local: LocalExchange) -> None:
        self.client = client
        self.venue = local.exchanges["kraken"].venue
        self.face: Any = local.exchanges["kraken"].face
        self.resting: dict[str, Any] = {}
        self.taken: dict[str, Any] = {}
        self.fill = ""
        self.posting = ""

    async def open(self) -> None:
        """Place the two orders."""
        await self.client.load_markets()
        self.resting = await self.client.create_order(PAIR, "limit", "buy", 0.01, LOW)
        self.taken = await self.client.create_order(PAIR, "market", "sell", 0.02)
        self.fill = (await self.client.fetch_my_trades(PAIR))[0]["id"]
        self.posting = (await self.client.fetch_ledger())[-1]["id"]

    def order(self, found: dict[str, Any]) -> Order:
        """Return an order as the exchange holds it."""
        return next(o for o in self.venue.account("ccxt").orders.values() if self.face.order_id(o) == found["id"])

    async def call(self, method: str, *args: Any) -> Any:
        return await asyncio.wait_for(getattr(self.client, method)(*args), PATIENCE_S)


Args = Callable[[Desk], tuple[Any, ...]]
Check = Callable[[Desk, Any], object]


def given(*args: Any) -> Args:
    """Return arguments that need nothing of the desk."""
    return lambda desk: args


def placed(kind: str, **fields: Any) -> Check:
    """Return a check that an order came to the exchange as it was meant; fields are of the exchange's order."""

    def check(desk: Desk, found: dict[str, Any]) -> None:
        order = desk.order(found)
        row = desk.face.order_row(order, trades=False)
        assert row["descr"]["ordertype"] == kind
        for name, value in fields.items():
            holder = order if hasattr(order, name) else order.request
            assert getattr(holder, name) == value, name

    return check


def closes_at(trigger: int) -> Check:
    """Return a check that each execution of an order places one that triggers there."""

    def check(desk: Desk, found: dict[str, Any]) -> bool:
        close = desk.order(found).request.close
        return close is not None and close.trigger == trigger

    return check


def canceled(desk: Desk, found: Any) -> bool:
    return desk.order(desk.resting).status is Status.CANCELED


def amended(desk: Desk, found: Any) -> bool:
    order = desk.order(desk.resting)
    return (order.price, order.size) == (510_000, 2_000_000)


def same_order(desk: Desk, found: Any) -> bool:
    return bool(found["id"] == desk.resting["id"] and (found["status"], found["price"]) == ("open", LOW))


def of_taken(desk: Desk, found: Any) -> bool:
    return [t["order"] for t in found] == [desk.taken["id"]] and [t["amount"] for t in found] == [0.02]


def filled(found: Any) -> bool:
    """Whether a ticker, a book or a list of anything has something in it."""
    return bool(found)


FUNDS = ccxt.pro.PermissionDenied
IOC, FOK = {"timeInForce": "IOC"}, {"timeInForce": "FOK"}
METHODS: list[tuple[str, Args, Check | type[Exception] | str]] = [
    # The market.
    ("fetchTime", given(), lambda d, r: abs(r - d.venue.clock() // 10**6) < 2_000),
    ("fetchStatus", given(), lambda d, r: r["status"] == "ok"),
    ("fetchCurrencies", given(), lambda d, r: {"BTC", "USD"} <= set(r)),
    ("fetchMarkets", given(), lambda d, r: {m["symbol"] for m in r} == set(d.venue.markets)),
    ("fetchTicker", given(PAIR), lambda d, r: r["low"] <= r["vwap"] <= r["high"] and r["bid"] < r["ask"]),
    ("fetchTickers", given(), lambda d, r: set(r) == set(d.venue.markets)),
    ("fetchTickers", given([PAIR, "ETH/USD"]), lambda d, r: set(r) == {PAIR, "ETH/USD"}),
    ("fetchOrderBook", given(PAIR, 5), lambda d, r: len(r["bids"]) == 5 and r["bids"][0][0] < r["asks"][0][0]),
    ("fetchL2OrderBook", given(PAIR), lambda d, r: r["bids"][0][0] < r["asks"][0][0]),
    ("fetchTrades", given(PAIR), lambda d, r: filled(r) and {t["side"] for t in r} <= {"buy", "sell"}),
    ("fetchTrades", lambda d: (PAIR, d.venue.clock() // 10**6 - 5_000, 3), lambda d, r: 0 < len(r) <= 3),
    ("fetchOHLCV", given(PAIR, "1m"), lambda d, r: all(b[3] <= b[4] <= b[2] for b in r) and filled(r)),
    ("fetchOHLCV", lambda d: (PAIR, "5m", d.venue.clock() // 10**6 - 600_000), lambda d, r: filled(r)),
    # Orders.
    ("createOrder", given(PAIR, "limit", "buy", 0.01, LOW), placed("limit", price=500_000, size=1_000_000)),
    ("createOrder", given(PAIR, "limit", "buy", 0.01, LOW, {"postOnly": True}), placed("limit", post_only=True)),
    ("createOrder", given(PAIR, "limit", "buy", 0.01, LOW, {"clientOrderId": "x"}), placed("limit", client_id="x")),
    ("createOrder", given(PAIR, "limit", "buy", 0.01, LOW, IOC), placed("limit", status=Status.CANCELED)),
    ("createOrder", given(PAIR, "limit", "buy", 0.01, HIGH, FOK), placed("limit", status=Status.FILLED)),
    ("createOrder", given(PAIR, "limit", "buy", 100, LOW), ccxt.pro.InsufficientFunds),
    ("createOrder", given(PAIR, "limit", "buy", 0.00001, LOW), ccxt.pro.InvalidOrder),
    ("createOrder", given(PAIR, "limit", "buy", 0.01, LOW, {"leverage": 2}), "EGeneral:Invalid arguments:leverage"),
    (
        "createOrder",
        given(PAIR, "limit", "buy", 0.01, LOW, {"reduceOnly": True}),
        "EOrder:Reduce only:No position exists",
    ),
    ("createOrder", given(PAIR, "limit", "buy", 0.01, LOW, {"nonsense": 1}), "EGeneral:Invalid arguments:nonsense"),
    (
        "createOrder",
        given(PAIR, "market", "sell", 0.01, None, {"stopLossPrice": LOW}),
        placed("stop-loss", trigger=500_000, status=Status.TRIGGER_PENDING),
    ),
    (
        "createOrder",
        given(PAIR, "limit", "sell", 0.01, 49_000, {"stopLossPrice": LOW}),
        placed("stop-loss-limit", trigger=500_000, price=490_000),
    ),
    (
        "createOrder",
        given(PAIR, "market", "sell", 0.01, None, {"takeProfitPrice": HIGH}),
        placed("take-profit", trigger=800_000),
    ),
    (
        "createOrder",
        given(PAIR, "limit", "sell", 0.01, 79_000, {"takeProfitPrice": HIGH}),
        placed("take-profit-limit", trigger=800_000, price=790_000),
    ),
    (
        "createOrder",
        given(PAIR, "limit", "sell", 0.01, None, {"trailingPercent": "5", "trailingLimitPercent": "1"}),
        placed("trailing-stop-limit", trail_ppm=50_000, price=0),
    ),
    (
        "createOrder",
        given(PAIR, "limit", "buy", 0.01, LOW, {"close": {"ordertype": "take-profit", "price": HIGH}}),
        closes_at(800_000),
    ),
    (
        "createOrder",
        given(PAIR, "iceberg", "buy", 0.02, None, {"price": LOW, "displayvol": 0.01}),
        placed("iceberg", display=1_000_000, price=500_000),
    ),
    ("createLimitOrder", given(PAIR, "buy", 0.01, LOW), placed("limit", price=500_000)),
    ("createMarketOrder", given(PAIR, "buy", 0.01), placed("market", status=Status.FILLED)),
    ("createMarketOrderWithCost", given(PAIR, "buy", 100), lambda d, r: 99 <= d.order(r).cost / 10**8 <= 100),
    ("createMarketOrderWithCost", given(PAIR, "sell", 100), ccxt.pro.InvalidOrder),
    ("createMarketBuyOrderWithCost", given(PAIR, 100), lambda d, r: 99 <= d.order(r).cost / 10**8 <= 100),
    # ccxt hands these a field of its own (`stopPrice`), which Kraken does not have: an order that would act otherwise
    # than it was meant is refused.
    ("createStopOrder", given(PAIR, "limit", "sell", 0.01, LOW, LOW), "EGeneral:Invalid arguments:stopPrice"),
    ("createStopLimitOrder", given(PAIR, "sell", 0.01, LOW, LOW), "EGeneral:Invalid arguments:stopPrice"),
    ("createStopMarketOrder", given(PAIR, "sell", 0.01, LOW), "EGeneral:Invalid arguments:stopPrice"),
    ("createTrailingAmountOrder", given(PAIR, "market", "sell", 0.01, None, 500), placed("trailing-stop", trail=5_000)),
    ("createTrailingPercentOrder", given(PAIR, "market", "sell", 0.01, None, 5), placed("trailing-stop", trail=0)),
    (
        "createOrders",
        given([{"symbol": PAIR, "type": "limit", "side": "buy", "amount": 0.01, "price": p} for p in (LOW, 51_000)]),
        lambda d, r: [d.order(o).price for o in r] == [500_000, 510_000],
    ),
    (
        "createOrders",
        given([{"symbol": PAIR, "type": "limit", "side": "buy", "amount": a, "price": LOW} for a in (0.01, 0.00001)]),
        ccxt.pro.InvalidOrder,
    ),
    ("editOrder", lambda d: (d.resting["id"], PAIR, "limit", "buy", 0.02, 51_000), amended),
    ("cancelOrder", lambda d: (d.resting["id"], PAIR), canceled),
    ("cancelOrder", given("OAAAAA-AAAAA-AAAAAA", PAIR), ccxt.pro.OrderNotFound),
    ("cancelOrders", lambda d: ([d.resting["id"]],), canceled),
    ("cancelAllOrders", given(), canceled),
    ("cancelAllOrdersAfter", given(60_000), lambda d, r: d.venue.account("ccxt").dead_man_ns > d.venue.clock()),
    ("fetchOrder", lambda d: (d.resting["id"],), same_order),
    ("fetchOrder", given("OAAAAA-AAAAA-AAAAAA"), ccxt.pro.InvalidOrder),
    ("fetchOpenOrders", given(PAIR), lambda d, r: same_order(d, r[0])),
    ("fetchOpenOrders", given(PAIR, None, None, {"userref": 9}), lambda d, r: r == []),
    ("fetchClosedOrders", given(PAIR), lambda d, r: [o["id"] for o in r] == [d.taken["id"]]),
    ("fetchMyTrades", given(PAIR), of_taken),
    ("fetchOrderTrades", lambda d: (d.taken["id"], PAIR, None, None, {"trades": [d.fill]}), of_taken),
    # The account.
    ("fetchBalance", given(), lambda d, r: r["BTC"]["total"] == 9.98 and r["USD"]["used"] == 502),
    ("fetchLedger", given("BTC"), lambda d, r: [(e["type"], e["amount"]) for e in r][-1] == ("trade", 0.02)),
    ("fetchLedgerEntry", lambda d: (d.posting,), lambda d, r: r["id"] == d.posting),
    ("fetchTradingFee", given(PAIR), lambda d, r: (r["maker"], r["taker"]) == (0.0025, 0.004)),
    ("fetchPositions", given(), lambda d, r: r == []),
    # What a key without rights over funds is refused.
    ("fetchDeposits", given("BTC"), FUNDS),
    ("fetchWithdrawals", given("BTC"), FUNDS),
    ("fetchDepositAddress", given("BTC"), FUNDS),
    ("createDepositAddress", given("BTC"), FUNDS),
    ("transfer", given("BTC", 0.1, "spot", "swap"), FUNDS),
    ("withdraw", given("BTC", 0.1, "bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh", {"key": "mine"}), FUNDS),
    # Streams.
    ("watchTicker", given(PAIR), lambda d, r: r["bid"] < r["ask"]),
    ("watchTickers", given([PAIR]), lambda d, r: set(r) == {PAIR}),
    ("watchBidsAsks", given([PAIR]), lambda d, r: filled(r)),
    ("watchTrades", given(PAIR), lambda d, r: filled(r)),
    ("watchTradesForSymbols", given([PAIR, "ETH/USD"]), lambda d, r: filled(r)),
    ("watchOrderBook", given(PAIR, 25), lambda d, r: r["bids"][0][0] < r["asks"][0][0]),
    ("watchOrderBookForSymbols", given([PAIR, "ETH/USD"]), lambda d, r: r["bids"][0][0] < r["asks"][0][0]),
    ("watchOHLCV", given(PAIR, "1m"), lambda d, r: filled(r)),
    ("watchBalance", given(), lambda d, r: r["BTC"]["total"] == 9.98),
    ("watchOrders", given(PAIR), lambda d, r: same_order(d, r[0])),
    ("watchMyTrades", given(PAIR, None, None, {"snap_orders": False}), of_taken),
    ("createOrderWs", given(PAIR, "limit", "buy", 0.01, LOW, {"postOnly": True}), placed("limit", post_only=True)),
    (
        "createOrderWs",
        given(PAIR, "limit", "buy", 0.01, LOW, {"reduceOnly": True}),
        "EOrder:Reduce only:No position exists",
    ),
    (
        "createOrderWs",
        given(PAIR, "market", "sell", 0.01, None, {"stopLossPrice": LOW}),
        placed("stop-loss", trigger=500_000),
    ),
    (
        "createOrderWs",
        given(PAIR, "limit", "sell", 0.01, 79_000, {"takeProfitPrice": HIGH}),
        placed("take-profit-limit", trigger=800_000, price=790_000),
    ),
    (
        "createOrderWs",
        given(PAIR, "market", "sell", 0.01, None, {"trailingPercent": 5}),
        placed("trailing-stop", trail_ppm=50_000),
    ),
    (
        "createOrderWs",
        given(PAIR, "limit", "buy", 0.01, LOW, {"stopLoss": {"triggerPrice": 48_000}}),
        closes_at(480_000),
    ),
    ("createLimitOrderWs", given(PAIR, "buy", 0.01, LOW), placed("limit", price=500_000)),
    ("createMarketOrderWs", given(PAIR, "buy", 0.01), placed("market", status=Status.FILLED)),
    ("editOrderWs", lambda d: (d.resting["id"], PAIR, "limit", "buy", 0.02, 51_000), amended),
    ("cancelOrderWs", lambda d: (d.resting["id"],), canceled),
    ("cancelOrderWs", given("OAAAAA-AAAAA-AAAAAA"), ccxt.pro.OrderNotFound),
    ("cancelOrdersWs", lambda d: ([d.resting["id"]],), canceled),
    ("cancelAllOrdersWs", given(), canceled),
]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with serve(build(seed=3, enforce_limits=False, warm_steps=60)) as local:
        exchange = local.exchanges["kraken"]
        key, secret = local.open_account("kraken", "ccxt", {"USD": "1000000", "BTC": "10"})
        client = ccxt.pro.kraken({"apiKey": key, "secret": secret, "enableRateLimit": False})
        client.urls["api"].update({"public": exchange.url, "private": exchange.url})
        for name in ("publicV2", "privateV2"):
            client.urls["api"]["ws"][name] = exchange.ws_url
        found = Desk(client, local)
        try:
            await found.open()
            yield found
        finally:
            await client.close()


def test_every_method_that_ccxt_declares_is_tried_or_named() -> None:
    declared = {name for name, offered in ccxt.pro.kraken().has.items() if offered} - CAPABILITIES
    tried = {method for method, _, _ in METHODS}
    assert declared == tried | set(NOT_OFFERED)
    assert not tried & set(NOT_OFFERED)


@pytest.mark.parametrize(
    ("method", "args", "expected"),
    [pytest.param(*row, id=f"{n}-{row[0]}") for n, row in enumerate(METHODS)],
)
async def test_a_method_works_or_is_refused_as_at_kraken(
    desk: Desk, method: str, args: Args, expected: Check | type[Exception] | str
) -> None:
    if isinstance(expected, type | str):
        error, text = (ccxt.pro.ExchangeError, expected) if isinstance(expected, str) else (expected, "")
        with pytest.raises(error, match=re.escape(text) or "."):
            await desk.call(method, *args(desk))
    else:
        assert expected(desk, await desk.call(method, *args(desk))) in (None, True)
