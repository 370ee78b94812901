"""The ccxt bridge: the same actions and results as a native adapter's, and a clear word about what it lacks (T2)."""

import pytest

from aether.domain.errors import Failure, UnknownNameError, UnsupportedError, VenueError
from aether.domain.orders import OrderState, OrderType, Side
from aether.exchange.server import build, serve
from aether.venues import actions as a
from aether.venues.ccxt_bridge import CcxtClient
from aether.venues.protocol import Credentials
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
