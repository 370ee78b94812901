"""The ccxt bridge: the same actions and results as a native adapter's, and a clear word about what it lacks (T2)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ccxt
import pytest

from aether.domain.errors import Failure, InvalidValueError, UnknownNameError, UnsupportedError, VenueError
from aether.domain.identifiers import ClientOrderId
from aether.domain.orders import OrderState, OrderType, Side
from aether.exchange.server import Exchange, build, serve
from aether.venues import actions as a
from aether.venues.ccxt_bridge import CcxtClient
from aether.venues.ccxt_bridge import _fee as bridge_fee
from aether.venues.messages import OrderUpdate, Pair
from aether.venues.protocol import Credentials
from aether.venues.wire import MalformedError
from tests.contract.venue_desk import in_house


async def test_an_exchange_through_the_bridge_does_what_a_native_client_does() -> None:
    async with serve(build(seed=9, enforce_limits=False, warm_steps=80), moving=False) as local:
        exchange = local.exchanges["kraken"]
        key, secret = local.open_account("kraken", "bridge", {"USD": "100000", "BTC": "1"})
        client = CcxtClient(
            "kraken",
            credentials=Credentials(key=key, secret=secret),
            urls={"public": exchange.url, "private": exchange.url},
        )
        client._exchange.enableRateLimit = False
        try:
            await client.load_markets()
            book = await client.call(a.Depth(symbol="BTC/USD", levels=10))
            held = exchange.venue.books["BTC/USD"]
            listing = client.listings["BTC/USD"]
            assert listing.written == (1, 8)
            assert book.bids == in_house(held.levels(10, is_buy=True))
            assert book.asks == in_house(held.levels(10, is_buy=False))
            quote = await client.call(a.Ticker(symbol="BTC/USD"))
            assert (quote.bid, quote.ask) == (book.bids[0][0], book.asks[0][0])
            assert await client.call(a.RecentTrades(symbol="BTC/USD"))
            assert await client.call(a.Candles(symbol="BTC/USD"))
            balances = {b.asset: b.total for b in await client.call(a.Balances())}
            assert balances["BTC"] == 10**8
            order_id = await client.call(
                a.Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.LIMIT, size="0.01", price="50000")
            )
            order = await client.call(a.GetOrder(symbol="BTC/USD", venue_order_id=order_id))
            assert (order.state, order.size, order.limit_price) == (OrderState.ACCEPTED, 10**6, 50_000 * 10**8)
            await client.call(a.Cancel(symbol="BTC/USD", venue_order_id=order_id))
            await client.call(a.Submit(symbol="BTC/USD", side=Side.SELL, type=OrderType.MARKET, size="0.01"))
            fills = await client.call(a.Fills(symbol="BTC/USD"))
            assert sum(f.size for f in fills) == 10**6
            assert all(f.fee > 0 for f in fills)
            with pytest.raises(VenueError) as refused:
                await client.call(
                    a.Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.LIMIT, size="900", price="50000")
                )
            assert refused.value.failure is Failure.REJECTED
        finally:
            await client.close()


async def test_what_the_bridge_lacks_is_said_before_and_refused_after() -> None:
    client = CcxtClient("bitstamp")
    try:
        missing = client.missing()
        assert {"permissions", "dead_man_switch"} <= set(missing)
        assert "ticker" not in missing
        with pytest.raises(UnsupportedError, match="permissions"):
            await client.call(a.Permissions())
        with pytest.raises(UnsupportedError, match="stop_loss"):
            await client.call(
                a.Submit(symbol="BTC/USD", side=Side.SELL, type=OrderType.STOP_LOSS, size="1", trigger_price="1")
            )
    finally:
        await client.close()


def test_an_exchange_that_ccxt_does_not_know_is_told_so() -> None:
    with pytest.raises(UnknownNameError, match="no exchange 'mtgox'"):
        CcxtClient("mtgox")


@asynccontextmanager
async def bridged(venue: str, **options: Any) -> AsyncIterator[tuple[CcxtClient, Exchange]]:
    """A bridge to one of the local exchanges, with a funded account."""
    async with serve(build(seed=9, enforce_limits=False, warm_steps=80), moving=False) as local:
        exchange = local.exchanges[venue]
        key, secret = local.open_account(venue, "bridge", {"USD": "1000000", "BTC": "1"})
        urls = {
            "kraken": {"public": exchange.url, "private": exchange.url},
            "binance": {"public": f"{exchange.url}/api/v3", "private": f"{exchange.url}/api/v3"},
            "coinbase": {"rest": exchange.url},
        }[venue]
        client = CcxtClient(venue, credentials=Credentials(key=key, secret=secret), urls=urls)
        client._exchange.enableRateLimit = False
        client._exchange.has["fetchCurrencies"] = False
        client._exchange.options |= {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False}
        for name, value in options.items():
            setattr(client._exchange, name, value)
        try:
            yield client, exchange
        finally:
            await client.close()


def listed(client: CcxtClient, **changes: Any) -> list[Pair]:
    """What the bridge makes of a market of ccxt's."""
    market = {
        "symbol": "BTC/USD", "base": "BTC", "quote": "USD", "spot": True, "active": True,
        "precision": {"price": "0.1", "amount": "0.00000001"}, "limits": {}, "maker": "0.001", "taker": "0.002",
    }  # fmt: skip
    return client._instrument({**market, **changes})


@pytest.mark.parametrize(
    ("mode", "precision", "tick", "lot"),
    [
        (ccxt.TICK_SIZE, {"price": "0.05", "amount": "0.001"}, "0.05", "0.001"),
        (ccxt.DECIMAL_PLACES, {"price": "2", "amount": "3"}, "0.01", "0.001"),
        (ccxt.DECIMAL_PLACES, {"price": 0, "amount": 8}, "1", "0.00000001"),
        (ccxt.SIGNIFICANT_DIGITS, {"price": "5", "amount": "8"}, "0.00000001", "0.00000001"),
        (ccxt.TICK_SIZE, {"price": None, "amount": "1e-18"}, "0.00000001", "0.00000001"),
        (ccxt.TICK_SIZE, {}, "0.00000001", "0.00000001"),
    ],
)
async def test_steps_are_read_in_each_of_ccxts_ways(mode: int, precision: Any, tick: str, lot: str) -> None:
    client = CcxtClient("kraken")
    client._exchange.precisionMode = mode
    try:
        (pair,) = listed(client, precision=precision)
        assert pair.instrument.price_text(pair.instrument.tick) == tick
        assert pair.instrument.size_text(pair.instrument.lot) == lot
        assert pair.instrument.with_room().price_decimals >= 8
    finally:
        await client.close()


async def test_one_market_that_nobody_understands_hides_no_other() -> None:
    async with bridged("kraken") as (client, _exchange):
        await client._exchange.load_markets()
        odd = {**client._exchange.markets["BTC/USD"], "symbol": "ODD/USD", "base": None}
        client._exchange.markets["ODD/USD"] = odd
        client._exchange.load_markets = lambda: asyncio.sleep(0, client._exchange.markets)  # as ccxt keeps them
        found = {pair.native for pair in await client.call(a.Markets())}
        assert "BTC/USD" in found
        assert "ODD/USD" not in found


@pytest.mark.parametrize(("active", "state"), [(None, "online"), (True, "online"), (False, "maintenance")])
async def test_a_market_is_closed_only_when_ccxt_says_so(active: bool | None, state: str) -> None:
    client = CcxtClient("kraken")
    try:
        (pair,) = listed(client, active=active)
        assert pair.state == state
    finally:
        await client.close()


async def test_a_price_that_ccxt_would_round_is_refused_before_it_is_sent() -> None:
    """Steps of significant digits depend on the price: no listing has them."""
    async with bridged("kraken") as (client, exchange):
        await client.load_markets()
        client._exchange.precisionMode = ccxt.SIGNIFICANT_DIGITS
        client._exchange.markets["BTC/USD"]["precision"] = {"price": 5, "amount": 8}
        order = a.Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.LIMIT, size="0.01", price="50000.5")
        with pytest.raises(InvalidValueError, match=r"takes the price 50000\.5 of BTC/USD as 5000"):
            await client.call(order)
        assert not exchange.venue.account("bridge").open


@pytest.mark.parametrize("venue", ["kraken", "binance", "coinbase"])
async def test_an_order_through_the_bridge_has_our_id_at_every_venue(venue: str) -> None:
    async with bridged(venue) as (client, exchange):
        await client.load_markets()
        ours = ClientOrderId("8f14e45f-ceea-467f-a83d-0a6d43a8d5c1")
        number = await client.call(
            a.Submit(
                symbol="BTC/USD", side=Side.BUY, type=OrderType.LIMIT, size="0.01", price="50000", client_order_id=ours
            )
        )
        assert ours in exchange.venue.account("bridge").by_client
        order = await client.call(a.GetOrder(symbol="BTC/USD", venue_order_id=number))
        assert (order.client_id, order.state) == (ours, OrderState.ACCEPTED)


@pytest.mark.parametrize("venue", ["kraken", "binance", "coinbase"])
async def test_an_order_whose_answer_is_lost_is_not_called_rejected(venue: str) -> None:
    async with bridged(venue) as (client, exchange):
        await client.load_markets()
        exchange.faults.pending["lose_response"] = 1
        with pytest.raises(VenueError) as told:
            await client.call(
                a.Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.LIMIT, size="0.01", price="50000")
            )
        assert told.value.failure is Failure.UNKNOWN_OUTCOME
        assert len(exchange.venue.account("bridge").open) == 1, "it is there"


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ccxt.OperationFailed("-1006"), Failure.UNKNOWN_OUTCOME),
        (ccxt.BadResponse("half of an answer"), Failure.UNKNOWN_OUTCOME),
        (ccxt.ExchangeError("something"), Failure.UNKNOWN_OUTCOME),
        (ccxt.RequestTimeout("late"), Failure.UNKNOWN_OUTCOME),
        (ccxt.InsufficientFunds("none"), Failure.REJECTED),
        (ccxt.OrderNotFound("gone"), Failure.NOT_FOUND),
        (ccxt.InvalidNonce("old"), Failure.RETRYABLE),
    ],
)
async def test_only_what_surely_did_not_happen_to_an_order_is_a_refusal(error: Exception, failure: Failure) -> None:
    client = CcxtClient("binance")
    order = a.Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.LIMIT, size="1", price="1")
    try:
        assert client._class_of(error, order) is failure
    finally:
        await client.close()


def test_what_is_told_of_fees_is_read_wherever_it_stands() -> None:
    assert bridge_fee({"fee": {"cost": "0.1", "currency": "USD"}}) == (10**7, "USD")
    assert bridge_fee({"fee": {"cost": None}, "fees": [{"cost": "0.1", "currency": "BNB"}] * 2}) == (2 * 10**7, "BNB")
    assert bridge_fee({"fee": None}) == (0, "")
    with pytest.raises(MalformedError, match="BNB, USD"):
        bridge_fee({"fees": [{"cost": "1", "currency": "BNB"}, {"cost": "1", "currency": "USD"}]})


async def test_closed_with_half_filled_is_not_filled() -> None:
    async with bridged("kraken") as (client, _exchange):
        await client.load_markets()
        row = {"id": "1", "symbol": "BTC/USD", "status": "closed", "filled": "0.5", "amount": "1", "side": "buy"}
        (half, odd) = client._orders([row, {**row, "status": None}])
        assert isinstance(half, OrderUpdate)
        assert half.state is OrderState.CANCELED
        assert isinstance(odd, OrderUpdate)
        assert "status" in odd.unread
