"""Live market data over real sockets: books that are proven, and what happens when they cannot be (T2)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aether.domain.events import BookUpdate, PairTold, Trade
from aether.domain.identifiers import InstrumentId
from aether.domain.instruments import TradingState
from aether.domain.orders import OrderType, Side
from aether.exchange.server import LocalExchange, build, serve
from aether.exchange.venue import NewOrder
from aether.matching.orderbook import LimitOrderBook
from aether.venues import feed as feeds
from aether.venues.client import VenueClient, with_urls
from aether.venues.connection import Connected
from aether.venues.feed import FeedEvent, FeedTrouble, MarketFeed
from aether.venues.messages import VenueStatus
from aether.venues.recording import Recorder, replay
from aether.venues.registry import protocol_of
from aether.venues.stream import Channel
from tests.contract.venue_desk import UNIT, VENUES

PATIENCE_S = 15.0
SYMBOL = "BTC/USD"


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with serve(build(seed=5, enforce_limits=False, warm_steps=60), moving=False) as exchange:
        yield exchange


@asynccontextmanager
async def feed_of(
    local: LocalExchange, venue: str, *, symbols: Sequence[str] = (SYMBOL,), **options: Any
) -> AsyncIterator[MarketFeed]:
    exchange = local.exchanges[venue]
    async with aiohttp.ClientSession() as http:
        client = VenueClient(with_urls(protocol_of(venue), exchange.url, exchange.ws_url), http)
        await client.load_markets()
        yield MarketFeed(client, list(symbols), **options)


async def collect(feed: MarketFeed, local: LocalExchange, enough: Callable[[list[FeedEvent]], bool]) -> list[FeedEvent]:
    """Let the market move and collect what the feed gives until it is enough."""
    found: list[FeedEvent] = []

    async def move() -> None:
        while True:
            local.step()
            await asyncio.sleep(0.02)

    async def read() -> None:
        async for event in feed.events():
            found.append(event)
            if enough(found):
                return

    mover = asyncio.create_task(move())
    try:
        await asyncio.wait_for(read(), PATIENCE_S)
    finally:
        mover.cancel()
    return found


def books(found: list[FeedEvent]) -> list[BookUpdate]:
    return [e for e in found if isinstance(e, BookUpdate)]


def troubles(found: list[FeedEvent]) -> list[FeedTrouble]:
    return [e for e in found if isinstance(e, FeedTrouble)]


@pytest.mark.parametrize("venue", VENUES)
async def test_trades_and_books_arrive_and_agree_with_the_exchange(local: LocalExchange, venue: str) -> None:
    async with feed_of(local, venue) as feed:
        found = await collect(feed, local, lambda f: len(books(f)) > 30 and any(isinstance(e, Trade) for e in f))
        assert not troubles(found)
        assert all(b.bids[0][0] < b.asks[0][0] for b in books(found))
        held = local.exchanges[venue].venue
        shown = {(t.price * UNIT, t.size) for t in held.trades[SYMBOL]}
        assert {(e.price, e.size) for e in found if isinstance(e, Trade)} <= shown


@pytest.mark.parametrize("venue", VENUES)
async def test_a_pair_is_open_only_once_the_venue_has_said_so_of_it(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R6: the venue's own word that it is online, as a socket opens, says nothing of a pair that was halted before."""
    async with feed_of(local, venue) as feed:
        assert feed._take(VenueStatus(ts_ns=1, state=TradingState.ONLINE)) == [
            VenueStatus(ts_ns=1, state=TradingState.ONLINE)
        ]
        down = feed._take(VenueStatus(ts_ns=1, state=TradingState.MAINTENANCE))
        assert [e.state for e in down if isinstance(e, PairTold)] == [TradingState.MAINTENANCE] * len(feed.books)

        async def broken(_symbols: object) -> None:
            raise ValueError("boom")

        whole = feed.client.pairs
        monkeypatch.setattr(feed.client, "pairs", broken)
        monkeypatch.setattr(feeds, "PAIRS_AGAIN_S", 0.05)
        monkeypatch.setattr(feeds, "PAIRS_EVERY_S", 0.1)
        feed.state = TradingState.ONLINE
        looks = asyncio.ensure_future(feed._look_at_pairs())
        await asyncio.sleep(0.2)
        assert feed._found.empty()
        monkeypatch.setattr(feed.client, "pairs", whole)
        told = await asyncio.wait_for(feed._found.get(), PATIENCE_S)
        looks.cancel()
        assert isinstance(told, PairTold)
        assert told.state is TradingState.ONLINE


async def test_a_venue_that_closes_as_a_whole_is_told_where_only_rest_tells(
    local: LocalExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R6: Binance's system status; a status that is not to be had keeps nothing else from being told."""
    monkeypatch.setattr(feeds, "PAIRS_AGAIN_S", 0.05)
    monkeypatch.setattr(feeds, "PAIRS_EVERY_S", 0.1)
    core = local.exchanges["binance"].venue
    async with feed_of(local, "binance") as feed:
        told: list[PairTold] = []
        looks = asyncio.ensure_future(feed._look_at_pairs())

        async def hear(state: TradingState) -> None:
            while not told or told[-1].state is not state:
                told.extend(e for e in feed.take_found() if isinstance(e, PairTold))
                await asyncio.sleep(0.02)

        await asyncio.wait_for(hear(TradingState.ONLINE), PATIENCE_S)
        core.state = "maintenance"
        await asyncio.wait_for(hear(TradingState.MAINTENANCE), PATIENCE_S)
        while told[-1].detail != "the venue itself":
            told.extend(e for e in feed.take_found() if isinstance(e, PairTold))
            await asyncio.sleep(0.02)
        assert feed.state is TradingState.MAINTENANCE
        core.state = "online"
        await asyncio.wait_for(hear(TradingState.ONLINE), PATIENCE_S)

        async def silent() -> None:
            raise ValueError("no such endpoint")

        monkeypatch.setattr(feed, "_look_at_venue", silent)
        core.state = "post_only"
        await asyncio.wait_for(hear(TradingState.MAINTENANCE), PATIENCE_S)
        looks.cancel()


@pytest.mark.parametrize(
    ("venue", "state"),
    [
        ("kraken", TradingState.POST_ONLY),
        ("binance", TradingState.MAINTENANCE),
        ("coinbase", TradingState.POST_ONLY),
    ],
)
async def test_a_pair_that_is_closed_and_opened_again_is_told(
    local: LocalExchange, venue: str, state: TradingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R6: Binance tells no more of a pair than that it is not traded now."""
    monkeypatch.setattr(feeds, "PAIRS_AGAIN_S", 0.05)
    monkeypatch.setattr(feeds, "PAIRS_EVERY_S", 0.1)
    async with feed_of(local, venue) as feed:
        core = local.exchanges[venue].venue

        told: list[TradingState] = []
        looks = asyncio.ensure_future(feed._look_at_pairs())

        async def hear(count: int) -> None:
            while len(told) < count:
                told.extend(e.state for e in feed.take_found() if isinstance(e, PairTold))
                await asyncio.sleep(0.02)

        for n, said in enumerate(("online", "post_only", "online"), 1):
            core.state = said
            await asyncio.wait_for(hear(n), PATIENCE_S)
        looks.cancel()
        assert told == [TradingState.ONLINE, state, TradingState.ONLINE], "also while the socket says nothing"


@pytest.mark.parametrize("venue", ["kraken", "binance"])
async def test_a_pair_that_gets_finer_steps_is_told_and_goes_on(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T6: while it is traded, without a restart; Kraken's checksum is over the new digits from then on.

    A bid that is taken back in the moment of the change is gone from our book too.
    """
    core = local.exchanges[venue].venue
    local.open_account(venue, "passing", {"USD": "100000"})
    monkeypatch.setattr(feeds, "PAIRS_AGAIN_S", 0.05)
    monkeypatch.setattr(feeds, "PAIRS_EVERY_S", 0.3)
    async with feed_of(local, venue) as feed:
        done = 0

        def enough(found: list[FeedEvent]) -> bool:
            nonlocal done
            if len(books(found)) in (3, 7) and isinstance(found[-1], BookUpdate) and not done:
                core.cancel_all("passing")
                price = core.books[SYMBOL].best(is_buy=False) - 1
                core.place("passing", NewOrder(SYMBOL, Side.BUY, OrderType.LIMIT, UNIT // 100, price=price))
            if len(books(found)) == 10 and not done:
                core.cancel_all("passing")
                core.retick(SYMBOL, 3)
                done = len(found)
            told = [e for e in found if isinstance(e, PairTold)]
            later = [e for e in found[done:] if isinstance(e, BookUpdate)]
            return (
                bool(done)
                and told[-1].definition.tick == 10**5
                and len(later) > 20
                and isinstance(found[-1], BookUpdate)
            )

        found = await collect(feed, local, enough)
        told = [e for e in found if isinstance(e, PairTold)]
        assert [e.definition.price_text(e.definition.tick) for e in told] == ["0.1", "0.001"]
        book = feed.books[told[-1].instrument]
        assert book.usable
        assert any(price % 10**7 for price, _ in (*book.bids(10), *book.asks(10))), "finer than it was"
        before = next(b for b in books(found) if b.instrument == told[-1].instrument)
        after = books(found)[-1]
        assert abs(after.bids[0][0] / before.bids[0][0] - 1) < 0.05, "the same market"
        assert not [e for e in troubles(found) if "crossed" in e.reason]


@pytest.mark.parametrize("venue", ["binance", "coinbase"])
async def test_a_book_that_stays_crossed_is_asked_for_anew(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T2: a level that is there no more, of whose end nothing came, would keep the book from use for ever."""
    monkeypatch.setattr(feeds, "UNUSABLE_S", 0.3)
    async with feed_of(local, venue) as feed:
        held, is_due = local.exchanges[venue].venue.books[SYMBOL], False
        taken = LimitOrderBook.take_changes

        def take(book: LimitOrderBook) -> list[tuple[bool, int, int]]:
            nonlocal is_due
            ghosts = [(True, book.best(is_buy=False) * 2, UNIT)] if is_due and book is held else []
            is_due = is_due and not ghosts
            return taken(book) + ghosts

        monkeypatch.setattr(LimitOrderBook, "take_changes", take)

        def enough(found: list[FeedEvent]) -> bool:
            nonlocal is_due
            if len(books(found)) == 5 and isinstance(found[-1], BookUpdate):
                is_due = True
            return len(books(found)) > 15 and isinstance(found[-1], BookUpdate)

        found = await collect(feed, local, enough)
        told = [e.reason for e in troubles(found)]
        assert "the book is crossed or has one side only" in told
        assert told[-1] == "crossed, or with one side only, for 0.3 s"


@pytest.mark.parametrize("venue", VENUES)
async def test_a_pair_that_is_gone_takes_no_other_with_it_and_comes_back(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R6: a venue that refuses a subscription for the sake of one pair would leave all the others without data."""
    monkeypatch.setattr(feeds, "PAIRS_AGAIN_S", 0.05)
    monkeypatch.setattr(feeds, "PAIRS_EVERY_S", 0.3)
    exchange, other = local.exchanges[venue], "ETH/USD"
    here, there = (InstrumentId(f"{venue}:{symbol}") for symbol in (SYMBOL, other))
    at: list[int] = []
    async with feed_of(local, venue, symbols=[SYMBOL, other]) as feed:

        def fresh(found: list[FeedEvent], instrument: InstrumentId) -> bool:
            since = found[at[-1] if at else 0 :]
            connected = [n for n, e in enumerate(since) if isinstance(e, Connected)] if len(at) < 2 else [0]
            return any(e.instrument == instrument for e in books(since[connected[-1] :])) if connected else False

        def states(found: list[FeedEvent]) -> list[TradingState]:
            return [e.state for e in found if isinstance(e, PairTold) and e.instrument == here]

        def enough(found: list[FeedEvent]) -> bool:
            if not at and fresh(found, here) and fresh(found, there) and states(found):
                exchange.venue.set_market(SYMBOL, "delisted")
                exchange.face.disconnect_all()
                at.append(len(found))
            elif len(at) == 1 and TradingState.DELISTED in states(found) and fresh(found, there):
                exchange.venue.set_market(SYMBOL, "online")
                at.append(len(found))
            return len(at) == 2 and states(found)[-1] is TradingState.ONLINE and fresh(found, here)

        found = await collect(feed, local, enough)
        assert states(found) == [TradingState.ONLINE, TradingState.DELISTED, TradingState.ONLINE]


async def test_a_feed_whose_only_pair_is_gone_subscribes_to_nothing(
    local: LocalExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coinbase takes a subscription that names no product for one to all of them."""
    monkeypatch.setattr(feeds, "PAIRS_AGAIN_S", 0.05)
    monkeypatch.setattr(feeds, "PAIRS_EVERY_S", 0.3)
    exchange = local.exchanges["coinbase"]
    async with feed_of(local, "coinbase") as feed:
        heard: list[FeedEvent] = []

        async def read() -> None:
            async for event in feed.events():
                heard.append(event)

        reading = asyncio.create_task(read())
        async with asyncio.timeout(PATIENCE_S):
            while not feed.connection.connects:
                await asyncio.sleep(0.01)
            exchange.venue.set_market(SYMBOL, "delisted")
            while TradingState.DELISTED not in [e.state for e in heard if isinstance(e, PairTold)]:
                heard += feed.take_found()
                await asyncio.sleep(0.01)
            while feed.connection.connects < 2:
                await asyncio.sleep(0.01)
        assert all(not socket.subscriptions for socket in exchange.face.sockets)
        assert await feed._opening(feed.client.protocol.stream(depth=10, bar_s=60)) == []
        reading.cancel()


async def test_a_wrong_checksum_resubscribes_and_says_so(local: LocalExchange) -> None:
    async with feed_of(local, "kraken") as feed:
        local.exchanges["kraken"].faults.pending["wrong_checksum"] = 1
        found = await collect(
            feed, local, lambda f: bool(troubles(f)) and isinstance(f[-1], BookUpdate) and len(books(f)) > 20
        )
        assert "checksum" in troubles(found)[0].reason
        assert all(b.usable for b in feed.books.values())


@pytest.mark.parametrize("venue", VENUES)
async def test_a_lost_message_is_noticed_and_healed(local: LocalExchange, venue: str) -> None:
    async with feed_of(local, venue, channels=(Channel.BOOK,)) as feed:
        faults = local.exchanges[venue].faults

        def enough(found: list[FeedEvent]) -> bool:
            if len(books(found)) == 5 and "skip_message" not in faults.pending:
                faults.pending["skip_message"] = 1
            after = found[found.index(troubles(found)[0]) :] if troubles(found) else []
            return len(books(after)) > 5

        found = await collect(feed, local, enough)
        assert troubles(found)
        assert all(b.usable for b in feed.books.values())


@pytest.mark.parametrize("fault", ["duplicate_message", "reorder_message"])
@pytest.mark.parametrize("venue", VENUES)
async def test_doubled_and_reordered_messages_never_make_a_wrong_book(
    local: LocalExchange, venue: str, fault: str
) -> None:
    async with feed_of(local, venue, channels=(Channel.BOOK,)) as feed:
        local.exchanges[venue].faults.pending[fault] = 3

        def enough(found: list[FeedEvent]) -> bool:
            return len(books(found)) > 40 and isinstance(found[-1], BookUpdate)

        found = await collect(feed, local, enough)
        assert all(b.bids[0][0] < b.asks[0][0] for b in books(found))
        book = next(iter(feed.books.values()))
        held = local.exchanges[venue].venue.books[SYMBOL]
        last = books(found)[-1]
        assert book.bids(1)[0][0] == last.bids[0][0]
        assert held.best(is_buy=True) > 0


@pytest.mark.parametrize("venue", VENUES)
async def test_a_lost_connection_comes_back_by_itself(local: LocalExchange, venue: str) -> None:
    async with feed_of(local, venue) as feed:
        dropped: list[bool] = []

        def enough(found: list[FeedEvent]) -> bool:
            if len(books(found)) == 5 and not dropped:
                dropped.append(True)
                local.exchanges[venue].face.disconnect_all()
            return sum(isinstance(e, Connected) for e in found) == 2 and isinstance(found[-1], BookUpdate)

        found = await collect(feed, local, enough)
        assert any(t.instrument == "" for t in troubles(found))
        assert feed.connection.connects == 2


@pytest.mark.parametrize("venue", VENUES)
async def test_a_recording_replays_into_the_same_trades_and_an_exact_book(
    local: LocalExchange, venue: str, tmp_path: Path
) -> None:
    recorder = Recorder(tmp_path, venue, 1_700_000_000_000_000_000, rotate_bytes=2**20)
    clock = iter(range(1_700_000_000_000_000_000, 2_000_000_000_000_000_000, 1_000))
    channels = (Channel.TRADES, Channel.QUOTES, Channel.BOOK)
    async with feed_of(
        local, venue, channels=channels, on_raw=lambda payload: recorder.write(next(clock), payload)
    ) as feed:
        feed.client.on_depth = lambda payload: recorder.write(next(clock), payload)
        found = await collect(feed, local, lambda f: sum(isinstance(e, Trade) for e in f) > 5 and len(books(f)) > 20)
    recorder.close()
    replayed = replay(recorder.files[0], SYMBOL)
    assert replayed.venue == venue
    assert not replayed.unreadable
    assert not replayed.breaks
    ids = [e.trade_id for e in found if isinstance(e, Trade)]
    read = [t.trade_id for t in replayed.trades]
    assert set(ids) <= set(read)
    assert len(read) == len(set(read))
    assert replayed.differed == 0
    assert replayed.compared > 0 or venue != "binance"


async def test_recordings_rotate_by_size(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "kraken", 1_700_000_000_000_000_000, rotate_bytes=200)
    for number in range(20):
        recorder.write(number, b'{"channel":"heartbeat"}')
    recorder.close()
    assert len(recorder.files) > 1
    assert recorder.messages == 20


async def test_an_unreachable_venue_says_so_and_names_the_local_exchange() -> None:
    async with aiohttp.ClientSession() as http:
        client = VenueClient(with_urls(protocol_of("kraken"), "http://127.0.0.1:9"), http)
        with pytest.raises(Exception, match=r"cannot be reached at 127\.0\.0\.1:9.*aether up --market exchange"):
            await client.load_markets()
