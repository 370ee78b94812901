"""The market in one order: positions, blocks, what is kept when too much waits, what slow accounts get (O5, O7)."""

import asyncio
import random
from typing import Any

from aether.domain.events import Bar, BookUpdate, FeedInterrupted, LogEvent, MarketDelayed, Quote, Timer, Trade
from aether.domain.identifiers import FeedId
from aether.node.appetite import conflated
from aether.node.inbox import INBOX_LIMIT, Inbox
from aether.node.sequencer import BLOCK_LIMIT, WAITING_LIMIT, Sequencer
from aether.store.market_log import BEGINNING, Head, LogChecker, Logged
from tests.desk import BTC, ETH, account


class Account:
    """Takes everything of BTC."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.config = account()


def quote(n: int, instrument: Any = BTC) -> Quote:
    return Quote(ts_ns=n, instrument=instrument.id, bid=100 + n, ask=101 + n, bid_size=1, ask_size=1)


def trade(n: int) -> Trade:
    return Trade(ts_ns=n, instrument=BTC.id, price=100, size=1)


def bar(n: int) -> Bar:
    return Bar(ts_ns=n, instrument=BTC.id, interval_s=60, open=1, high=1, low=1, close=1, volume=1)


def logged(events: list[LogEvent]) -> list[Logged]:
    return [Logged(n, event, b"") for n, event in enumerate(events, 1)]


async def taken(inbox: Inbox) -> list[Any]:
    return [one.event for one in await inbox.take(1_000_000)]


def test_blocks_hold_everything_once_in_order_and_prove() -> None:
    market = Sequencer(FeedId("m"), None)
    for n in range(2 * BLOCK_LIMIT + 5):
        market.offer(quote(n))
    blocks = market.blocks()
    assert [b.events for b in blocks] == [BLOCK_LIMIT, BLOCK_LIMIT, 5]
    checker = LogChecker("m")
    found = [one.event for b in blocks for one in checker.check(b)]
    assert found == [quote(n) for n in range(2 * BLOCK_LIMIT + 5)]
    assert (checker.pos, checker.hash) == (market.pos, market.hash)


def test_what_is_written_no_longer_waits() -> None:
    market = Sequencer(FeedId("m"), None)
    for n in range(10):
        market.offer(quote(n))
    market.wrote(4)
    assert (market.written, [b.first for b in market.blocks()]) == (4, [5])
    market.wrote(10)
    assert not market.has_waiting
    assert market.written == market.pos == 10


def test_a_commit_in_doubt_is_found_by_its_hash_and_a_stranger_s_is_not() -> None:
    market = Sequencer(FeedId("m"), None)
    for n in range(10):
        market.offer(quote(n))
    sixth = market.waiting()[5]
    market.found(Head(6, b"of somebody else"))
    assert market.written == 0
    market.found(Head(99, sixth.hash))
    assert market.written == 0
    market.found(Head(6, sixth.hash))
    assert market.written == 6


def test_while_nothing_can_be_written_the_latest_books_are_kept_and_nothing_grows() -> None:
    market = Sequencer(FeedId("m"), None)
    for n in range(WAITING_LIMIT):
        market.offer(trade(n))
    for n in range(50_000):
        market.offer(quote(n))
        market.offer(trade(n))
    market.offer(quote(7, ETH))
    assert len(market.waiting()) == WAITING_LIMIT
    market.wrote(WAITING_LIMIT)
    assert [one.event for one in market.waiting()] == [quote(49_999), quote(7, ETH)]
    assert market.take_shed() == 99_999


async def test_a_recording_waits_for_whoever_is_slow() -> None:
    market, slow = Sequencer(FeedId("m"), None), Account()
    market.begin(BEGINNING)
    assert market.follow(slow) == BEGINNING
    for n in range(INBOX_LIMIT):
        await market.put(trade(n))
        if n % 1_000 == 0:
            market.wrote(market.pos)
    waiting = asyncio.create_task(market.put(trade(-1)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    await slow.inbox.take(1)
    await waiting
    assert slow.inbox.take_shed() == 0


def test_conflated_twice_is_as_conflated_once() -> None:
    """What a second flood finds waiting was conflated before: the journal names only the positions (O5)."""
    random_ = random.Random(1)
    make = (
        quote,
        lambda n: quote(n, ETH),
        trade,
        bar,
        lambda n: BookUpdate(ts_ns=n, instrument=BTC.id, bids=((1, n),), asks=()),
        lambda n: FeedInterrupted(ts_ns=n, instrument=ETH.id, reason="gone"),
        lambda n: Timer(ts_ns=n),
    )
    for _ in range(200):
        events = logged([random_.choice(make)(n) for n in range(random_.randrange(60))])
        cut = random_.randrange(len(events) + 1)
        assert conflated(conflated(events[:cut]) + events[cut:]) == conflated(events)


def test_conflated_keeps_bars_interruptions_and_the_last_of_each_book() -> None:
    events = logged(
        [quote(1), bar(2), trade(3), FeedInterrupted(ts_ns=4, instrument=BTC.id, reason="x"), quote(5), Timer(ts_ns=6)]
    )
    assert [one.pos for one in conflated(events)] == [2, 4, 5]


async def test_an_account_behind_is_told_up_to_where_before_it_takes_what_is_left() -> None:
    market, slow = Sequencer(FeedId("m"), None), Account()
    market.follow(slow)
    for n in range(10 * INBOX_LIMIT):
        market.offer(quote(n))
        market.wrote(market.pos)
    delayed, *rest = await taken(slow.inbox)
    assert isinstance(delayed, MarketDelayed)
    assert 0 < len(rest) <= INBOX_LIMIT
    assert rest[-1] == quote(10 * INBOX_LIMIT - 1)
    assert delayed.through + len(rest) - 1 == 10 * INBOX_LIMIT, "all that came after is there"
    assert slow.inbox.take_shed() + len(rest) == 10 * INBOX_LIMIT


async def test_bars_alone_never_make_an_inbox_conflate_at_each_of_them() -> None:
    market, slow = Sequencer(FeedId("m"), None), Account()
    market.follow(slow)
    for n in range(3 * INBOX_LIMIT):
        slow.inbox.put_market(Logged(n + 1, bar(n), b""), 0.0, is_live=True)
    _, *rest = await taken(slow.inbox)
    assert len(rest) == 3 * INBOX_LIMIT, "no bar is left out"
