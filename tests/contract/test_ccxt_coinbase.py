"""Every method that an unmodified ccxt declares for spot trading at Coinbase, called on the face of the local exchange:
each works, or fails as it does at the venue."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import ccxt.pro
import pytest

from aether.domain.orders import OrderType, Side
from aether.exchange.server import LocalExchange, build, serve
from aether.exchange.venue import NewOrder
from tests.contract.test_ccxt import client_of

PATIENCE_S = 20.0
PAIR = "BTC/USD"
ONE = 10**8

NOT_METHODS = {"publicAPI", "privateAPI", "CORS", "spot", "swap", "future", "ws"}
NO_TRANSFERS = "money neither comes in from elsewhere nor leaves: the exchange has no networks and no banks"
NO_CONTRACTS = "positions belong to derivatives, and the exchange lists spot markets only"
NO_CONVERSION = "Coinbase converts between one's own wallets at a price of its own, without an order in a market"
NOT_OFFERED = {
    "createDepositAddress": NO_TRANSFERS,
    "deposit": NO_TRANSFERS,
    "fetchDeposit": NO_TRANSFERS,
    "fetchDepositAddress": NO_TRANSFERS,
    "fetchDepositAddressesByNetwork": NO_TRANSFERS,
    "fetchDepositMethodId": NO_TRANSFERS,
    "withdraw": NO_TRANSFERS,
    "transfer": "a key of Coinbase's trades in one portfolio, and the exchange keeps no other to move money to",
    "fetchPosition": NO_CONTRACTS,
    "fetchPositions": NO_CONTRACTS,
    "fetchConvertQuote": NO_CONVERSION,
    "fetchConvertTrade": NO_CONVERSION,
    "createConvertTrade": NO_CONVERSION,
    "fetchCurrenciesWs": "ccxt emulates it, and Coinbase has no such channel",
}


class Placed:
    """What was done in the account before the method is called."""

    def __init__(self, client: Any, resting: str, filled: str, wallet: str) -> None:
        self.client = client
        self.resting = resting
        self.filled = filled
        self.wallet = wallet


Called = Callable[[Placed], tuple[Any, ...]]
Expected = Callable[[Any, Placed], object] | type[Exception]


def nothing(_placed: Placed) -> tuple[Any, ...]:
    return ()


def pair(_placed: Placed) -> tuple[Any, ...]:
    return (PAIR,)


def pairs(_placed: Placed) -> tuple[Any, ...]:
    return ([PAIR, "ETH/USD"],)


def wallet(placed: Placed) -> tuple[Any, ...]:
    return (None, None, None, {"account_id": placed.wallet})


def has_id(answer: Any, _placed: Placed) -> object:
    return answer["id"] and answer["symbol"] == PAIR


def is_resting(answer: Any, placed: Placed) -> object:
    return [order["id"] for order in answer] == [placed.resting]


def is_filled(answer: Any, placed: Placed) -> object:
    return [order["id"] for order in answer] == [placed.filled]


def is_ticker(answer: Any, _placed: Placed) -> object:
    return answer["symbol"] == PAIR and answer["last"] == pytest.approx(60_000, rel=0.001)


def is_empty(answer: Any, _placed: Placed) -> object:
    return answer == []


def is_book(answer: Any, _placed: Placed) -> object:
    return answer["bids"][0][:2] == [59_990, 2] and answer["asks"][0][0] == 60_010


def are_trades(answer: Any, _placed: Placed) -> object:
    return answer[-1]["symbol"] == PAIR and answer[-1]["price"] > 0 and answer[-1]["amount"] > 0


async def filled_cost(answer: Any, placed: Placed) -> object:
    order = await placed.client.fetch_order(answer["id"], PAIR)
    return order["status"] == "closed" and order["cost"] + float(order["fee"]["cost"]) == pytest.approx(600, abs=0.01)


async def is_canceled(answer: Any, placed: Placed) -> object:
    found = answer[0] if isinstance(answer, list) else answer
    order = await placed.client.fetch_order(placed.resting, PAIR)
    return found["id"] == placed.resting and order["status"] == "canceled"


async def is_edited(_answer: Any, placed: Placed) -> object:
    order = await placed.client.fetch_order(placed.resting, PAIR)
    return (order["price"], order["amount"]) == (51_000, 0.02)


async def waits_as_a_stop(answer: Any, placed: Placed) -> object:
    order = await placed.client.fetch_order(answer["id"], PAIR)
    return (order["status"], order["triggerPrice"]) == ("open", 55_000)


async def is_post_only(answer: Any, placed: Placed) -> object:
    order = await placed.client.fetch_order(answer["id"], PAIR)
    return order["postOnly"] is True


STOP = {"triggerPrice": 55_000, "stop_direction": "STOP_DIRECTION_STOP_DOWN"}
METHODS: dict[str, tuple[Called, Expected]] = {
    # Orders.
    "createOrder": (lambda _: (PAIR, "limit", "buy", 0.01, 50_000), has_id),
    "createLimitOrder": (lambda _: (PAIR, "buy", 0.01, 50_000), has_id),
    "createLimitBuyOrder": (lambda _: (PAIR, 0.01, 50_000), has_id),
    "createLimitSellOrder": (lambda _: (PAIR, 0.01, 70_000), has_id),
    "createMarketOrder": (lambda _: (PAIR, "sell", 0.01), has_id),
    "createMarketBuyOrder": (lambda _: (PAIR, 600, {"createMarketBuyOrderRequiresPrice": False}), filled_cost),
    "createMarketBuyOrderWithCost": (lambda _: (PAIR, 600), filled_cost),
    "createMarketSellOrder": (lambda _: (PAIR, 0.01), has_id),
    "createPostOnlyOrder": (lambda _: (PAIR, "limit", "buy", 0.01, 50_000), is_post_only),
    "createStopOrder": (lambda _: (PAIR, "limit", "sell", 0.01, 54_000, 55_000, STOP), waits_as_a_stop),
    "createStopLimitOrder": (lambda _: (PAIR, "sell", 0.01, 54_000, 55_000, STOP), waits_as_a_stop),
    "editOrder": (lambda p: (p.resting, PAIR, "limit", "buy", 0.02, 51_000), is_edited),
    "cancelOrder": (lambda p: (p.resting, PAIR), is_canceled),
    "cancelOrders": (lambda p: ([p.resting], PAIR), is_canceled),
    "closePosition": (lambda _: (PAIR, None, {"clientOrderId": "close"}), ccxt.pro.ExchangeError),
    "fetchOrder": (lambda p: (p.resting, PAIR), lambda a, p: (a["id"], a["status"]) == (p.resting, "open")),
    "fetchOrders": (pair, lambda a, p: [o["id"] for o in a] == [p.filled, p.resting]),
    "fetchOrdersByStatus": (lambda _: ("OPEN", PAIR), is_resting),
    "fetchOpenOrders": (pair, is_resting),
    "fetchClosedOrders": (pair, is_filled),
    "fetchCanceledOrders": (pair, is_empty),
    "fetchMyTrades": (pair, lambda a, p: [(t["order"], t["takerOrMaker"]) for t in a] == [(p.filled, "taker")]),
    # The account.
    "fetchAccounts": (nothing, lambda a, _: {x["code"] for x in a} == {"USD", "BTC"}),
    "fetchBalance": (nothing, lambda a, _: a["BTC"]["total"] == 9.9 and a["USD"]["total"] > 1_000_000),
    "fetchLedger": (
        lambda _: ("BTC",),
        lambda a, _: [(x["type"], x["direction"], x["amount"]) for x in a] == [("advanced_trade_fill", "out", 0.1)],
    ),
    "fetchTradingFees": (nothing, lambda a, _: (a[PAIR]["maker"], a[PAIR]["taker"]) == (0.006, 0.012)),
    "fetchTradingFee": (pair, lambda a, _: (a["maker"], a["taker"]) == (0.006, 0.012)),
    "fetchMyBuys": (wallet, is_empty),
    "fetchMySells": (wallet, is_empty),
    "fetchDeposits": (lambda _: ("BTC",), is_empty),
    "fetchWithdrawals": (lambda _: ("BTC",), is_empty),
    "fetchDepositsWithdrawals": (
        lambda _: ("BTC",),
        lambda a, _: [x["info"]["type"] for x in a] == ["advanced_trade_fill"],
    ),
    "fetchDepositAddresses": (lambda p: (None, {"account_id": p.wallet}), is_empty),
    "fetchDepositMethodIds": (nothing, is_empty),
    # The market.
    "fetchTime": (nothing, lambda a, _: a == pytest.approx(time.time() * 1000, abs=5_000)),
    "fetchMarkets": (nothing, lambda a, _: {m["symbol"] for m in a} >= {PAIR, "BTC/USDC", "ETH/USD"}),
    "fetchCurrencies": (nothing, lambda a, _: a.keys() >= {"BTC", "USD", "USDC"}),
    "fetchTicker": (pair, is_ticker),
    "fetchTickers": (pairs, lambda a, p: is_ticker(a[PAIR], p)),
    "fetchBidsAsks": (pairs, lambda a, _: (a[PAIR]["bid"], a[PAIR]["ask"]) == (59_990, 60_010)),
    "fetchOrderBook": (pair, is_book),
    "fetchTrades": (pair, are_trades),
    "fetchOHLCV": (pair, lambda a, _: a[-1][4] == 59_990),
    # Streams.
    "watchTicker": (pair, is_ticker),
    "watchTickers": (pairs, lambda a, _: a.keys() <= {PAIR, "ETH/USD"} and a),
    "watchTrades": (pair, are_trades),
    "watchTradesForSymbols": (pairs, are_trades),
    "watchOrderBook": (pair, is_book),
    "watchOrderBookForSymbols": (pairs, lambda a, _: a["symbol"] in (PAIR, "ETH/USD")),
    "watchOrders": (pair, lambda a, p: p.resting in [o["id"] for o in a]),
    "unWatchTicker": (pair, lambda *_: True),
    "unWatchTickers": (pairs, lambda *_: True),
    "unWatchTrades": (pair, lambda *_: True),
    "unWatchTradesForSymbols": (pairs, lambda *_: True),
    "unWatchOrders": (pair, lambda *_: True),
}


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    made = build(background=False, enforce_limits=False)
    async with serve(made, moving=False):
        venue = made.exchanges["coinbase"].venue
        for asset in ("BTC", "ETH", "USD"):
            venue.deposit("other", asset, 10**6 * ONE)
        for symbol, middle in ((PAIR, 600_000), ("ETH/USD", 300_000)):
            for side, price in ((Side.BUY, middle - 100), (Side.SELL, middle + 100)):
                venue.place("other", NewOrder(symbol, side, OrderType.LIMIT, 2 * ONE + ONE // 10, price=price))
        yield made


@pytest.fixture
async def placed(local: LocalExchange) -> AsyncIterator[Placed]:
    client = client_of(local, "coinbase")
    try:
        await client.load_markets()
        filled = await client.create_order(PAIR, "market", "sell", 0.1)
        resting = await client.create_order(PAIR, "limit", "buy", 0.01, 50_000)
        wallets = {account["code"]: account["id"] for account in await client.fetch_accounts()}
        yield Placed(client, resting["id"], filled["id"], wallets["BTC"])
    finally:
        await client.close()


async def call(placed: Placed, name: str, called: Called) -> Any:
    """Call a method; one that gives up a stream is called once there is one."""
    client = placed.client
    if not name.startswith("unWatch"):
        return await getattr(client, name)(*called(placed))
    watch = asyncio.create_task(getattr(client, "w" + name[3:])(*called(placed)))
    await asyncio.wait_for(watch, PATIENCE_S)
    return await getattr(client, name)(*called(placed))


@pytest.mark.parametrize("name", METHODS)
async def test_each_method_does_what_it_does_at_the_venue(placed: Placed, name: str) -> None:
    called, expected = METHODS[name]
    if isinstance(expected, type):
        with pytest.raises(expected):
            await asyncio.wait_for(call(placed, name, called), PATIENCE_S)
        return
    answer = await asyncio.wait_for(call(placed, name, called), PATIENCE_S)
    met = expected(answer, placed)
    if inspect.isawaitable(met):
        met = await met
    assert met, answer


def test_every_method_that_ccxt_declares_is_called_or_has_its_reason() -> None:
    has = ccxt.pro.coinbase().has
    declared = {name for name, state in has.items() if state} - NOT_METHODS
    assert METHODS.keys() | NOT_OFFERED.keys() == declared
    assert not METHODS.keys() & NOT_OFFERED.keys()


FAILURES: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    ((PAIR, "limit", "buy", 100, 50_000), ccxt.pro.InsufficientFunds, "Insufficient balance in source account"),
    ((PAIR, "market", "buy", 1, None, {"cost": 10_000_000}), ccxt.pro.InsufficientFunds, "Insufficient balance"),
    (
        (PAIR, "limit", "sell", 0.01, 59_000, {"stopLossPrice": 61_000}),
        ccxt.pro.InvalidOrder,
        "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE",
    ),
    ((PAIR, "limit", "buy", 0.01, 50_000, {"max_floor": "1"}), ccxt.pro.ExchangeError, "unknown field"),
    ((PAIR, "limit", "buy", 0.01, 50_000, {"marginMode": "isolated"}), ccxt.pro.ExchangeError, "INVALID_MARGIN_TYPE"),
    ((PAIR, "limit", "buy", 0.01, 60_020, {"postOnly": True}), ccxt.pro.ExchangeError, "POST_ONLY"),
]


@pytest.mark.parametrize(("order", "error", "text"), FAILURES)
async def test_an_order_fails_as_at_the_venue(
    placed: Placed, order: tuple[Any, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await placed.client.create_order(*order)


async def test_executions_of_an_order_by_cost_are_read_in_base_currency(placed: Placed) -> None:
    order = await placed.client.create_market_buy_order_with_cost(PAIR, 600)
    fills = await placed.client.fetch_my_trades(PAIR)
    [fill] = [f for f in fills if f["order"] == order["id"]]
    assert fill["info"]["size_in_quote"] is True
    assert fill["amount"] * fill["price"] == pytest.approx(fill["cost"])
    assert fill["amount"] == pytest.approx(600 / 1.012 / 60_010, rel=1e-5)


async def test_a_preview_places_nothing(placed: Placed, local: LocalExchange) -> None:
    account = local.exchanges["coinbase"].venue.account("ccxt")
    before = len(account.orders)
    await placed.client.create_order(PAIR, "limit", "buy", 0.01, 50_000, {"preview": True})
    await placed.client.edit_order(placed.resting, PAIR, "limit", "buy", 0.02, 51_000, {"preview": True})
    assert len(account.orders) == before
    assert (await placed.client.fetch_order(placed.resting, PAIR))["price"] == 50_000


@pytest.mark.parametrize("method", ["fetch_accounts", "fetch_orders", "fetch_my_trades"])
async def test_long_lists_are_fetched_page_by_page(placed: Placed, method: str) -> None:
    found = await getattr(placed.client, method)(params={"paginate": True})
    assert found
    assert len({row["id"] for row in found}) == len(found)


async def test_the_other_product_is_watched_in_the_book_that_it_shares(placed: Placed) -> None:
    book = await asyncio.wait_for(placed.client.watch_order_book("BTC/USDC"), PATIENCE_S)
    assert book["bids"][0][0] == 59_990


async def test_the_public_trades_side_is_the_makers(placed: Placed) -> None:
    trades = await placed.client.fetch_trades(PAIR)
    assert (trades[-1]["side"], trades[-1]["price"]) == ("buy", 59_990)
