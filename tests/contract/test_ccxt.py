"""An unmodified ccxt client, REST and streams, at each face of the local exchange: a third party cannot tell it from
the venue in what a spot trader uses (T2)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import ccxt.pro
import pytest

from aether.domain.orders import Side
from aether.exchange.server import LocalExchange, build, serve
from tests.contract.venue_desk import VENUES

PATIENCE_S = 15.0


def client_of(local: LocalExchange, venue: str) -> Any:
    """A ccxt client whose addresses, and nothing else, are the local exchange's."""
    exchange = local.exchanges[venue]
    key, secret = local.open_account(venue, "ccxt", {"USD": "1000000", "BTC": "10"})
    host = exchange.url.removeprefix("http://")
    client = getattr(ccxt.pro, venue)({"apiKey": key, "secret": secret, "enableRateLimit": False})
    if venue == "kraken":
        client.urls["api"].update({"public": exchange.url, "private": exchange.url})
        for name in ("publicV2", "privateV2"):
            client.urls["api"]["ws"][name] = f"ws://{host}/v2"
    elif venue == "binance":
        for name in ("public", "private"):
            client.urls["api"][name] = f"{exchange.url}/api/v3"
        client.urls["api"]["sapi"] = f"{exchange.url}/sapi/v1"
        client.urls["api"]["ws"]["spot"] = f"ws://{host}/ws"
        client.urls["api"]["ws"]["ws-api"]["spot"] = f"ws://{host}/ws-api/v3"
        client.options["fetchMarkets"] = {"types": ["spot"]}
        client.options["fetchMargins"] = False
    else:
        client.urls["api"]["rest"] = exchange.url
        client.urls["api"]["ws"] = f"ws://{host}/"
    return client


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with serve(build(seed=3, enforce_limits=False)) as exchange:
        yield exchange


@pytest.fixture(params=VENUES)
async def client(local: LocalExchange, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    ccxt_client = client_of(local, request.param)
    await ccxt_client.load_markets()
    yield ccxt_client
    await ccxt_client.close()


async def test_public_data(client: Any, local: LocalExchange) -> None:
    market = client.market("BTC/USD")
    assert market["spot"]
    assert market["active"]
    assert market["precision"]["price"] == pytest.approx(0.1)
    ticker = await client.fetch_ticker("BTC/USD")
    assert ticker["last"] == pytest.approx(64_000, rel=0.1)
    book = await client.fetch_order_book("BTC/USD")
    assert 0 < book["bids"][0][0] < book["asks"][0][0]
    trades = await client.fetch_trades("BTC/USD")
    assert trades
    assert {t["side"] for t in trades} == {"buy", "sell"}
    bars = await client.fetch_ohlcv("BTC/USD", "1m")
    assert bars
    assert all(bar[3] <= bar[1] <= bar[2] and bar[3] <= bar[4] <= bar[2] for bar in bars)


async def test_orders_over_rest(client: Any, local: LocalExchange) -> None:
    balance = await client.fetch_balance()
    assert balance["BTC"]["total"] == 10
    assert balance["USD"]["free"] == 1_000_000
    resting = await client.create_order("BTC/USD", "limit", "buy", 0.01, 50_000)
    assert [o["id"] for o in await client.fetch_open_orders("BTC/USD")] == [resting["id"]]
    fetched = await client.fetch_order(resting["id"], "BTC/USD")
    assert (fetched["status"], fetched["price"], fetched["amount"], fetched["filled"]) == ("open", 50_000, 0.01, 0)
    await client.cancel_order(resting["id"], "BTC/USD")
    assert (await client.fetch_order(resting["id"], "BTC/USD"))["status"] == "canceled"
    taken = await client.create_order("BTC/USD", "market", "sell", 0.02)
    done = await client.fetch_order(taken["id"], "BTC/USD")
    assert (done["status"], done["filled"]) == ("closed", 0.02)
    fills = await client.fetch_my_trades("BTC/USD")
    assert sum(f["amount"] for f in fills) == pytest.approx(0.02)
    assert all(f["fee"]["cost"] > 0 and f["order"] == taken["id"] for f in fills)
    assert await client.fetch_closed_orders("BTC/USD")
    balance = await client.fetch_balance()
    venue = local.exchanges[client.id].venue
    assert balance["BTC"]["total"] == pytest.approx(9.98)
    assert balance["USD"]["total"] == pytest.approx(venue.account("ccxt").total["USD"] / 1e8)


async def test_refusals_are_the_venues_own(client: Any) -> None:
    with pytest.raises(ccxt.pro.InsufficientFunds):
        await client.create_order("BTC/USD", "limit", "buy", 100, 50_000)
    with pytest.raises(ccxt.pro.BaseError):
        await client.fetch_order("0" if client.id == "binance" else "OAAAAA-AAAAA-AAAAAA", "BTC/USD")


async def test_a_wrong_secret_is_refused(local: LocalExchange) -> None:
    for venue in ("kraken", "binance"):
        wrong = client_of(local, venue)
        wrong.secret = "A" * 88 if venue == "kraken" else "wrong"
        with pytest.raises(ccxt.pro.ExchangeError, match=r"(?i)signature"):
            await wrong.fetch_balance()
        await wrong.close()


async def test_market_streams(client: Any) -> None:
    book = await asyncio.wait_for(client.watch_order_book("BTC/USD"), PATIENCE_S)
    assert 0 < book["bids"][0][0] < book["asks"][0][0]
    for _ in range(5):
        book = await asyncio.wait_for(client.watch_order_book("BTC/USD"), PATIENCE_S)
    assert 0 < book["bids"][0][0] < book["asks"][0][0]
    trades = await asyncio.wait_for(client.watch_trades("BTC/USD"), PATIENCE_S)
    assert trades[0]["price"] == pytest.approx(64_000, rel=0.1)
    ticker = await asyncio.wait_for(client.watch_ticker("BTC/USD"), PATIENCE_S)
    assert ticker["last"] or ticker["bid"]


async def test_own_streams(client: Any, local: LocalExchange) -> None:
    venue = local.exchanges[client.id].venue
    seen: list[Any] = []

    async def watch() -> None:
        while True:
            seen.extend(await client.watch_orders("BTC/USD"))

    task = asyncio.create_task(watch())
    balances: list[Any] = []

    async def watch_balance() -> None:
        while True:
            balances.append(await client.watch_balance())

    balance_task = asyncio.create_task(watch_balance()) if client.has["watchBalance"] else None
    try:
        await until(lambda: any(s.key and s.subscriptions for s in local.exchanges[client.id].face.sockets))
        order = await client.create_order("BTC/USD", "limit", "sell", 0.01, 90_000)
        await until(lambda: any(o["id"] == order["id"] and o["status"] == "open" for o in seen))
        await client.cancel_order(order["id"], "BTC/USD")
        await until(lambda: any(o["id"] == order["id"] and o["status"] == "canceled" for o in seen))
        if balance_task:
            await client.create_order("BTC/USD", "market", "sell", 0.01)
            await until(lambda: bool(balances) and balances[-1]["BTC"]["total"] == pytest.approx(9.99))
    finally:
        for one in (task, balance_task):
            if one:
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one
    assert {o.request.side for o in venue.account("ccxt").orders.values()} == {Side.SELL}


async def until(met: Any) -> None:
    async def wait() -> None:
        while not met():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(wait(), PATIENCE_S)
