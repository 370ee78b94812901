"""A paper account routed over the three faces at once: never worse than the best single venue, and better where it can
be (T5)."""

import asyncio
import random
from contextlib import AsyncExitStack

import aiohttp
import pytest

from aether.domain.accounts import AccountConfig, AccountKind, Limits, Mode
from aether.domain.events import BookUpdate, Event, ParentOrderRequested, Timer, opening_events
from aether.domain.identifiers import AccountId, AssetCode, FeedId, InstrumentId, Symbol
from aether.domain.instruments import Instrument
from aether.domain.orders import OrderType, Side
from aether.domain.parents import Algorithm, Parent, ParentId, ParentRequest, ParentState
from aether.engine.core import Engine
from aether.engine.step import step
from aether.exchange.server import LocalExchange, build, serve
from aether.exchange.venue import NewOrder
from aether.matching.simulator import FillModel
from aether.venues.client import VenueClient, with_urls
from aether.venues.feed import MarketFeed
from aether.venues.paper import PaperVenue
from aether.venues.registry import protocol_of
from aether.venues.stream import Channel
from tests.contract.venue_desk import ONE, VENUES

SYMBOL = Symbol("BTC/USD")
SECOND = 1_000_000_000


def stock(local: LocalExchange, ladders: dict[str, list[tuple[str, float, float]]]) -> None:
    for venue, ladder in ladders.items():
        exchange = local.exchanges[venue].venue
        for asset in ("BTC", "USD"):
            exchange.deposit("maker", asset, 10**7 * ONE)
        for side, price, size in ladder:
            order = NewOrder("BTC/USD", Side(side), OrderType.LIMIT, round(size * ONE), price=round(price * 10))
            exchange.place("maker", order)


async def live_books(local: LocalExchange) -> tuple[list[Instrument], list[BookUpdate]]:
    """The books of all three venues as the adapters see them over their sockets."""
    instruments, books = [], []
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        for venue in VENUES:
            exchange = local.exchanges[venue]
            client = VenueClient(with_urls(protocol_of(venue), exchange.url, exchange.ws_url), http)
            await client.load_markets()
            feed = MarketFeed(client, [SYMBOL], channels=(Channel.BOOK,))
            books.append(await asyncio.wait_for(first_book(feed, local), 10))
            instruments.append(client.protocol.listings.of(InstrumentId(f"{venue}:{SYMBOL}")).instrument)
    return instruments, books


async def first_book(feed: MarketFeed, local: LocalExchange) -> BookUpdate:
    nudge = asyncio.create_task(keep_changing(local))
    try:
        async for event in feed.events():
            if isinstance(event, BookUpdate):
                return event
    finally:
        nudge.cancel()
    raise AssertionError("no book")


async def keep_changing(local: LocalExchange) -> None:
    """Let something far from the touch change, so that every venue has news to tell."""
    number = 0
    while True:
        number += 1
        for exchange in local.exchanges.values():
            order = NewOrder("BTC/USD", Side.BUY, OrderType.LIMIT, 10**6, price=100_000 + number)
            exchange.venue.place("maker", order)
        await asyncio.sleep(0.02)


def trade(instruments: list[Instrument], books: list[BookUpdate], side: str, size: float, venues: set[str]) -> Parent:
    """Trade through engine, gate and paper venue, at the venues given; return the parent as it ended."""
    chosen = tuple(i.id for i in instruments if i.venue in venues)
    config = AccountConfig(
        id=AccountId("company"),
        name="Company",
        kind=AccountKind.COMPANY,
        mode=Mode.PAPER,
        feed=FeedId("exchange"),
        currency=AssetCode("USD"),
        strategies=(),
        limits=Limits(max_position_bps=10_000, max_order_notional_bps=10_000, max_daily_fees_bps=10_000),
        tradable=chosen,
    )
    engine = Engine({})
    paper = PaperVenue(FillModel(latency_ms=1, jitter_ms=0), 1)
    now = 1_700_000_000 * SECOND

    def tell(event: Event) -> None:
        for _ in step(paper, engine, event):
            pass

    for event in opening_events(config, instruments, 6_000_000 * ONE, now):
        tell(event)
    request = ParentRequest(
        id=ParentId("p"),
        symbol=SYMBOL,
        side=Side(side),
        amount=round(size * ONE),
        algorithm=Algorithm.ROUTE,
        duration_s=30,
    )
    for second in range(4):
        now += SECOND
        for book in books:
            tell(BookUpdate(ts_ns=now, instrument=book.instrument, bids=book.bids, asks=book.asks))
        if second == 0:
            tell(ParentOrderRequested(ts_ns=now, request=request, actor="test"))
        tell(Timer(ts_ns=now + SECOND // 2))
    found = engine.state.closed_parents.get(ParentId("p")) or engine.state.parents[ParentId("p")]
    assert not engine.state.stops
    return found


def all_in(parent: Parent) -> float:
    """Average price paid, fees included."""
    return (parent.notional + parent.fees) / parent.filled


@pytest.fixture
def scenario() -> dict[str, list[tuple[str, float, float]]]:
    """Kraken is cheap but thin, Binance a little dearer, Coinbase far cheaper for a moment, enough to pay its fee."""
    return {
        "kraken": [("sell", 59_850, 0.4), ("sell", 60_400, 3), ("buy", 59_700, 1)],
        "binance": [("sell", 60_000, 0.5), ("sell", 60_250, 3), ("buy", 59_900, 1)],
        "coinbase": [("sell", 59_300, 0.3), ("sell", 60_500, 3), ("buy", 59_200, 1)],
    }


async def test_routing_beats_the_best_single_venue_net_of_fees(
    scenario: dict[str, list[tuple[str, float, float]]],
) -> None:
    async with serve(build(background=False, enforce_limits=False), moving=False) as local:
        stock(local, scenario)
        instruments, books = await live_books(local)
    routed = trade(instruments, books, "buy", 1.2, set(VENUES))
    singles = {venue: trade(instruments, books, "buy", 1.2, {venue}) for venue in VENUES}
    assert routed.state is ParentState.DONE
    assert routed.filled == round(1.2 * ONE)
    best = min(all_in(single) for single in singles.values() if single.filled == routed.filled)
    assert all_in(routed) < best * 0.9995
    assert len(routed.children) == 3


async def test_routing_is_never_worse_in_random_markets() -> None:
    draw = random.Random(17)
    for _ in range(6):
        ladders = {
            venue: [
                ("sell", 60_000.0 + draw.randint(-400, 400) + 40 * level, draw.uniform(0.05, 0.8)) for level in range(4)
            ]
            + [("buy", 59_000.0 - draw.randint(0, 100), 5.0)]
            for venue in VENUES
        }
        async with serve(build(background=False, enforce_limits=False), moving=False) as local:
            stock(local, ladders)
            instruments, books = await live_books(local)
        routed = trade(instruments, books, "buy", 1.0, set(VENUES))
        for venue in VENUES:
            single = trade(instruments, books, "buy", 1.0, {venue})
            assert routed.filled >= single.filled
            if single.filled == routed.filled:
                assert all_in(routed) <= all_in(single)
