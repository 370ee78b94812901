"""An unmodified ccxt client at Binance's face: every spot method that ccxt declares for the venue works there, or fails
as it does at the venue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import ccxt.pro
import pytest

from aether.exchange.server import LocalExchange, build, serve
from tests.contract.test_ccxt import PATIENCE_S, client_of

PAIR = "BTC/USD"
Check = Callable[[Any], Any]


def is_order(status: str, filled: float | None = None) -> Check:
    return lambda o: o["status"] == status and (filled is None or o["filled"] == pytest.approx(filled))


def has_rows(rows: Any) -> bool:
    return len(rows) > 0


def is_fee(fee: Any) -> bool:
    return (fee["maker"], fee["taker"]) == (0.001, 0.001)


METHODS: dict[str, tuple[tuple[Any, ...], Check]] = {
    # method: (called with, what its answer has to be)
    "fetchMarkets": ((), lambda r: {"BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"} <= {m["symbol"] for m in r}),
    "fetchCurrencies": ((), lambda r: {"BTC", "USD"} <= set(r)),
    "fetchStatus": ((), lambda r: r["status"] == "ok"),
    "fetchTime": ((), lambda r: r > 1_600_000_000_000),
    "fetchTicker": ((PAIR,), lambda r: r["bid"] < r["ask"] and r["low"] <= r["last"] <= r["high"]),
    "fetchTickers": (([PAIR, "ETH/USD"],), lambda r: set(r) == {PAIR, "ETH/USD"}),
    "fetchBidsAsks": (([PAIR],), lambda r: r[PAIR]["bid"] < r[PAIR]["ask"]),
    "fetchLastPrices": (([PAIR],), lambda r: r[PAIR]["price"] > 0),
    "fetchOrderBook": ((PAIR, 5), lambda r: len(r["bids"]) == 5 and r["bids"][0][0] < r["asks"][0][0]),
    "fetchL2OrderBook": ((PAIR, 5), lambda r: len(r["asks"]) == 5),
    "fetchTrades": ((PAIR, None, 10), lambda r: len(r) == 10 and {"buy", "sell"} >= {t["side"] for t in r}),
    "fetchTradesWs": ((PAIR, None, 10), lambda r: len(r) == 10),
    "fetchOHLCV": ((PAIR, "1m", None, 2), lambda r: len(r) == 2 and r[1][0] - r[0][0] == 60_000),
    "fetchOHLCVWs": ((PAIR, "1m", None, 2), lambda r: len(r) == 2),
    "fetchTradingFee": ((PAIR,), is_fee),
    "fetchTradingFees": ((), lambda r: is_fee(r[PAIR])),
    "fetchTransactionFee": (("BTC",), lambda r: "withdraw" in r),
    "fetchTransactionFees": ((), lambda r: "withdraw" in r),
    "fetchDepositWithdrawFee": (("BTC",), lambda r: "withdraw" in r),
    "fetchDepositWithdrawFees": ((), lambda r: "BTC" in r),
    "fetchTradingLimits": (([PAIR],), lambda r: r[PAIR]["min"] > 0),
    "fetchDeposits": ((), lambda r: r == []),
    "fetchWithdrawals": ((), lambda r: r == []),
    "fetchBalance": ((), lambda r: r["BTC"]["total"] > 9),
    "fetchBalanceWs": ((), lambda r: "BTC" in {b["asset"] for b in r["info"]["balances"]}),
    "fetchOrder": (("resting", PAIR), is_order("open", 0)),
    "fetchOrderWs": (("resting", PAIR), is_order("open", 0)),
    "fetchOrders": ((PAIR,), has_rows),
    "fetchOrdersWs": ((PAIR,), has_rows),
    "fetchOpenOrders": ((PAIR,), has_rows),
    "fetchOpenOrdersWs": ((PAIR,), has_rows),
    "fetchClosedOrders": ((PAIR,), lambda r: [o["status"] for o in r] == ["closed"]),
    "fetchCanceledOrders": ((PAIR,), lambda r: [o["status"] for o in r] == ["canceled"]),
    "fetchCanceledAndClosedOrders": ((PAIR,), lambda r: {o["status"] for o in r} == {"closed", "canceled"}),
    "fetchOrderTrades": (("filled", PAIR), lambda r: sum(t["amount"] for t in r) == pytest.approx(0.01)),
    "fetchMyTrades": ((PAIR,), lambda r: all(t["fee"]["cost"] > 0 for t in r) and len(r) > 0),
    "fetchMyTradesWs": ((PAIR,), has_rows),
    "createOrder": ((PAIR, "limit", "buy", 0.01, 50_000), is_order("open", 0)),
    "createOrderWs": ((PAIR, "limit", "buy", 0.01, 50_000), is_order("open", 0)),
    "createLimitOrder": ((PAIR, "buy", 0.01, 50_000), is_order("open", 0)),
    "createLimitOrderWs": ((PAIR, "buy", 0.01, 50_000), is_order("open", 0)),
    "createLimitBuyOrder": ((PAIR, 0.01, 50_000), is_order("open", 0)),
    "createLimitSellOrder": ((PAIR, 0.01, 90_000), is_order("open", 0)),
    "createMarketOrder": ((PAIR, "sell", 0.01), is_order("closed", 0.01)),
    "createMarketOrderWs": ((PAIR, "sell", 0.01), is_order("closed", 0.01)),
    "createMarketBuyOrder": ((PAIR, 0.01), is_order("closed", 0.01)),
    "createMarketSellOrder": ((PAIR, 0.01), is_order("closed", 0.01)),
    "createMarketOrderWithCost": ((PAIR, "buy", 1_000), lambda o: 999 < o["cost"] <= 1_000),
    "createMarketBuyOrderWithCost": ((PAIR, 1_000), lambda o: 999 < o["cost"] <= 1_000),
    "createMarketSellOrderWithCost": ((PAIR, 1_000), lambda o: 999 < o["cost"] <= 1_000),
    "createPostOnlyOrder": ((PAIR, "limit", "buy", 0.01, 50_000), is_order("open", 0)),
    "createStopOrder": ((PAIR, "market", "sell", 0.01, None, 50_000), is_order("open", 0)),
    "createStopLimitOrder": ((PAIR, "sell", 0.01, 49_000, 50_000), is_order("open", 0)),
    "createStopLossOrder": ((PAIR, "market", "sell", 0.01, None, 50_000), is_order("open", 0)),
    "createTakeProfitOrder": ((PAIR, "market", "sell", 0.01, None, 90_000), is_order("open", 0)),
    "createTriggerOrder": ((PAIR, "limit", "sell", 0.01, 49_000, 50_000), is_order("open", 0)),
    "createTrailingPercentOrder": (
        (PAIR, "market", "sell", 0.01, None, 1, None, {"stopLossOrTakeProfit": "stopLoss"}),
        is_order("open", 0),
    ),
    "cancelOrder": (("resting", PAIR), is_order("canceled", 0)),
    "cancelOrderWs": (("resting", PAIR), is_order("canceled", 0)),
    "cancelAllOrders": ((PAIR,), has_rows),
    "cancelAllOrdersWs": ((PAIR,), has_rows),
    "editOrder": (("resting", PAIR, "limit", "buy", 0.02, 51_000), is_order("open", 0)),
    "editOrderWs": (("resting", PAIR, "limit", "buy", 0.02, 51_000), is_order("open", 0)),
    "watchTicker": ((PAIR,), lambda r: r["last"] > 0),
    "watchTickers": (([PAIR],), lambda r: r[PAIR]["last"] > 0),
    "watchBidsAsks": (([PAIR],), lambda r: r[PAIR]["bid"] < r[PAIR]["ask"]),
    "watchOrderBook": ((PAIR,), lambda r: r["bids"][0][0] < r["asks"][0][0]),
    "watchOrderBookForSymbols": (([PAIR, "ETH/USD"],), lambda r: r["bids"][0][0] < r["asks"][0][0]),
    "watchTrades": ((PAIR,), has_rows),
    "watchTradesForSymbols": (([PAIR, "ETH/USD"],), has_rows),
    "watchOHLCV": ((PAIR, "1m"), has_rows),
    "watchOHLCVForSymbols": (([[PAIR, "1m"]],), has_rows),
}
AFTER = {
    "unWatchTicker": "watchTicker",
    "unWatchTickers": "watchTickers",
    "unWatchBidsAsks": "watchBidsAsks",
    "unWatchOrderBook": "watchOrderBook",
    "unWatchOrderBookForSymbols": "watchOrderBookForSymbols",
    "unWatchTrades": "watchTrades",
    "unWatchTradesForSymbols": "watchTradesForSymbols",
    "unWatchOHLCV": "watchOHLCV",
    "unWatchOHLCVForSymbols": "watchOHLCVForSymbols",
}
"""What ends a subscription, by what begins it."""
USER_STREAMS = ("watchOrders", "watchMyTrades", "watchBalance")
_FUTURES = "the venue has it for futures and swaps only"
_MARGIN = "it is of margin accounts, which the local exchange does not keep"
_OPTIONS = "it is of options, which the local exchange does not trade"
_CONVERT = "it is of Convert, a desk with prices of its own beside the order book"
NOT_OFFERED = {
    "cancelOrders": "the venue has batches of cancels for futures only",
    **dict.fromkeys(
        ("editOrders", "createOrders", "fetchOpenOrder", "fetchTickerWs", "fetchOrderBookWs"), f"ccxt: {_FUTURES}"
    ),
    **dict.fromkeys(("fetchCurrenciesWs", "watchOrdersForSymbols"), "ccxt declares it and has not written it"),
    "createReduceOnlyOrder": _FUTURES,
    **dict.fromkeys(
        (
            "borrowCrossMargin", "borrowIsolatedMargin", "repayCrossMargin", "repayIsolatedMargin",
            "fetchBorrowInterest",
            "fetchBorrowRateHistory", "fetchCrossBorrowRate", "fetchIsolatedBorrowRate", "fetchIsolatedBorrowRates",
            "fetchMarginModes", "fetchMarginMode", "setMarginMode",
        ),
        _MARGIN,
    ),
    **dict.fromkeys(
        (
            "addMargin", "reduceMargin", "fetchADLRank", "fetchPositionADLRank", "fetchPositionsADLRank",
            "fetchFundingHistory", "fetchFundingInterval", "fetchFundingIntervals", "fetchFundingRate",
            "fetchFundingRateHistory", "fetchFundingRates", "fetchIndexOHLCV", "fetchLeverage", "fetchLeverageTiers",
            "fetchLeverages", "fetchLongShortRatioHistory", "fetchMarginAdjustmentHistory", "fetchMarkOHLCV",
            "fetchMarkPrice", "fetchMarkPrices", "fetchMarketLeverageTiers", "fetchMyLiquidations", "fetchOpenInterest",
            "fetchOpenInterestHistory", "fetchPosition", "fetchPositionForSymbolWs", "fetchPositionMode",
            "fetchPositionWs", "fetchPositions", "fetchPositionsRisk", "fetchPositionsWs", "fetchPremiumIndexOHLCV",
            "setLeverage", "setPositionMode", "unWatchMarkPrice", "unWatchMarkPrices", "watchLiquidations",
            "watchLiquidationsForSymbols", "watchMarkPrice", "watchMarkPrices", "watchMyLiquidations",
            "watchMyLiquidationsForSymbols", "watchPositions", "fetchLedger", "fetchLedgerEntry",
        ),
        _FUTURES,
    ),
    **dict.fromkeys(
        (
            "fetchAllGreeks", "fetchGreeks", "fetchOption", "fetchSettlementHistory", "fetchMySettlementHistory",
        ),
        _OPTIONS,
    ),
    **dict.fromkeys(
        (
            "createConvertTrade", "fetchConvertCurrencies", "fetchConvertQuote", "fetchConvertTrade",
            "fetchConvertTradeHistory",
        ),
        _CONVERT,
    ),
    "fetchDepositAddress": "nothing is deposited over a network, so there are no addresses",
    "withdraw": "nothing leaves the local exchange",
    "transfer": "an account has one wallet, there is none to transfer to",
    "fetchTransfers": "an account has one wallet, there is none to transfer to",
}  # fmt: skip
NO_METHODS = {"publicAPI", "privateAPI", "ws", "sandbox", "CORS", "spot", "margin", "swap", "future", "option"}


@pytest.fixture(scope="module")
def declared() -> set[str]:
    return {name for name, has in ccxt.pro.binance().has.items() if has} - NO_METHODS


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with serve(build(seed=3, enforce_limits=False, warm_steps=150, warm_step_s=1.0)) as exchange:
        yield exchange


@pytest.fixture
async def client(local: LocalExchange) -> AsyncIterator[Any]:
    found = client_of(local, "binance")
    await found.load_markets()
    yield found
    await found.close()


def called(client: Any, name: str) -> Any:
    return getattr(client, name)


async def history(client: Any) -> dict[str, str]:
    """One order of each fate, by what became of it."""
    filled = await client.create_order(PAIR, "market", "sell", 0.01)
    canceled = await client.create_order(PAIR, "limit", "buy", 0.01, 40_000)
    await client.cancel_order(canceled["id"], PAIR)
    resting = await client.create_order(PAIR, "limit", "buy", 0.01, 45_000)
    return {"filled": filled["id"], "canceled": canceled["id"], "resting": resting["id"]}


def test_every_method_that_ccxt_declares_is_here(declared: set[str]) -> None:
    listed = [*METHODS, *AFTER, *USER_STREAMS, *NOT_OFFERED]
    assert sorted(listed) == sorted(declared)


@pytest.mark.parametrize("method", METHODS)
async def test_the_method_answers_as_the_venue_does(client: Any, method: str) -> None:
    arguments, check = METHODS[method]
    ids = await history(client)
    given = [ids.get(one, one) if isinstance(one, str) else one for one in arguments]
    async with asyncio.timeout(PATIENCE_S):
        answer = await called(client, method)(*given)
    assert check(answer), answer


@pytest.mark.parametrize("method", AFTER)
async def test_a_subscription_ends(client: Any, method: str) -> None:
    arguments, _ = METHODS[AFTER[method]]
    async with asyncio.timeout(PATIENCE_S):
        await called(client, AFTER[method])(*arguments)
        await called(client, method)(*arguments)


@pytest.mark.parametrize("method", USER_STREAMS)
async def test_a_stream_of_ones_own_tells_a_trade(client: Any, local: LocalExchange, method: str) -> None:
    arguments = () if method == "watchBalance" else (PAIR,)
    seen: list[Any] = []

    async def watch() -> None:
        while True:
            seen.append(await called(client, method)(*arguments))

    task = asyncio.create_task(watch())
    face = local.exchanges["binance"].face
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not any(socket.key for socket in face.sockets):
                await asyncio.sleep(0.02)
            seen.clear()
            await client.create_order(PAIR, "market", "sell", 0.01)
            while not seen:
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_conditional_orders_of_the_wrong_direction_are_refused(client: Any) -> None:
    for side, stop in (("sell", 90_000), ("buy", 40_000)):
        with pytest.raises(ccxt.pro.OrderImmediatelyFillable, match="trigger immediately"):
            await client.create_order(PAIR, "market", side, 0.01, None, {"stopLossPrice": stop})
    with pytest.raises(ccxt.pro.OrderImmediatelyFillable, match="trigger immediately"):
        await client.create_order(PAIR, "limit", "sell", 0.01, 39_000, {"takeProfitPrice": 40_000})


async def test_a_test_order_places_nothing(client: Any, local: LocalExchange) -> None:
    await client.create_order(PAIR, "limit", "buy", 0.01, 50_000, {"test": True})
    assert not local.exchanges["binance"].venue.account("ccxt").orders
    with pytest.raises(ccxt.pro.InvalidOrder):
        await client.create_order(PAIR, "limit", "buy", 0.01, 1_000_000, {"test": True})


async def test_the_venue_says_what_is_wrong_in_its_own_classes(client: Any) -> None:
    with pytest.raises(ccxt.pro.InsufficientFunds):
        await client.create_order(PAIR, "limit", "buy", 100, 50_000)
    with pytest.raises(ccxt.pro.OrderNotFound):
        await client.fetch_order("999999999", PAIR)
    with pytest.raises(ccxt.pro.OrderNotFound):
        await client.cancel_order("999999999", PAIR)
    with pytest.raises(ccxt.pro.OrderImmediatelyFillable):
        await client.create_order(PAIR, "limit", "buy", 0.01, 90_000, {"postOnly": True})
    with pytest.raises(ccxt.pro.BadRequest):
        await client.create_order(PAIR, "limit", "buy", 0.01, 50_000, {"reduceOnly": True})
