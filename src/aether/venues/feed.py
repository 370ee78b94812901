"""A venue's live market data as domain events, from books that are proven or not used at all.

Every break (a failed checksum, missing changes, a lost message, a lost socket) takes the books concerned out of use,
says so, and fetches them anew. Quotes come from the books where books are subscribed to, so a quote is never older or
newer than the depth behind it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from aether.clock import monotonic_s, wall_ns
from aether.domain.errors import words_of
from aether.domain.events import MarketEvent, PairTold, Quote, Trade
from aether.domain.identifiers import InstrumentId, TradeId
from aether.domain.instruments import TradingState
from aether.telemetry import logger
from aether.venues.actions import SystemStatus
from aether.venues.book import OrderBook, written_units
from aether.venues.client import VenueClient
from aether.venues.connection import Connected, Connection, Disconnected
from aether.venues.messages import BookDelta, BookSnapshot, InstrumentStatus, Message, Pair, Unrecognized, VenueStatus
from aether.venues.stream import Channel, Stream

_log = logger("feed")

BOOK_LEVELS = 10
SNAPSHOT_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
UNUSABLE_S = 5.0
"""A book that is crossed or has one side only for so long is asked for anew: something of it was lost."""
PAIRS_EVERY_S, PAIRS_AGAIN_S = 60.0, 5.0
"""How often the venue is asked how it lists the pairs, and how soon again at most."""
GONE = (TradingState.DELISTED, "the venue does not list it under this name")
TRADES_REMEMBERED = 1_000
OLDEST_TRADE_NS = 5_000_000_000
"""Trades so much older than the feed itself are history."""


class FeedTrouble(msgspec.Struct):
    """A book, or the whole connection, cannot be relied on for now; `instrument` is empty for all of them."""

    instrument: str
    reason: str


FeedEvent = MarketEvent | VenueStatus | FeedTrouble | Connected


class MarketFeed:
    """The market data of some pairs of one venue.

    Args:
        symbols: ours, such as BTC/USD; the client has loaded the venue's markets.
        levels: of the books; the venue's own depths are asked for.
    """

    def __init__(
        self,
        client: VenueClient,
        symbols: list[str],
        *,
        channels: tuple[Channel, ...] = (Channel.TRADES, Channel.BOOK),
        levels: int = BOOK_LEVELS,
        on_raw: Callable[[bytes], None] | None = None,
        silence_s: float = 30.0,
    ) -> None:
        self.client = client
        self._symbols = symbols
        self._channels = channels
        self._levels = levels
        self._book_from_rest = client.protocol.profile.book_from_rest
        self._depth = levels if client.protocol.profile.cuts_book else 0
        self.books: dict[InstrumentId, OrderBook] = {}
        self._symbol_of: dict[InstrumentId, str] = {}
        for listing in client.protocol.listings.values():
            if listing.instrument.symbol in symbols:
                self.books[listing.id] = OrderBook(listing.id, self._depth, written_units(listing))
                self._symbol_of[listing.id] = listing.instrument.symbol
        self.state = TradingState.ONLINE
        """What the venue itself allows."""
        self._pairs: dict[InstrumentId, tuple[TradingState, str]] = {}
        """As the venue listed them last; nothing before the first look."""
        self._asked_anew: dict[InstrumentId, int] = {}
        """How often in a row, of books that were not usable since."""
        self._unusable_since_s: dict[InstrumentId, float] = {}
        self._told: dict[InstrumentId, PairTold] = {}
        self._looks = asyncio.Event()
        self._found: asyncio.Queue[FeedEvent] = asyncio.Queue()
        self._since_ns = wall_ns() - OLDEST_TRADE_NS
        self._seen: dict[InstrumentId, dict[TradeId, None]] = {}
        self._fetched: asyncio.Queue[BookSnapshot] = asyncio.Queue()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self.connection = Connection(
            client.protocol,
            client.http,
            client.protocol.urls.public,
            make_stream=lambda: client.protocol.stream(depth=levels, bar_s=60),
            opening=self._opening,
            on_raw=on_raw,
            silence_s=silence_s,
            random_source=client.random,
        )

    async def _opening(self, stream: Stream) -> list[str]:
        gone = {self._symbol_of[i] for i, told in self._pairs.items() if told == GONE}
        symbols = [s for s in self._symbols if s not in gone]  # a venue may refuse them all for the sake of one
        if not symbols:
            return []  # none named would be all of them, at some
        return [text for channel in self._channels for text in stream.subscribe(channel, symbols)]

    async def events(self) -> AsyncIterator[FeedEvent]:
        """Yield market data for ever; the timestamps are the venue's, or the time of receipt where it gives none."""
        self._start(self._look_at_pairs())
        try:
            async for message in self.connection.messages():
                for event in self._take(message):
                    yield event
                while not self._fetched.empty():
                    for event in self._loaded(self._fetched.get_nowait()):
                        yield event
                for event in self.take_found():
                    yield event
        finally:
            for task in self._tasks:
                task.cancel()

    def take_found(self) -> list[FeedEvent]:
        """Return what was found of the pairs since the last call, also while the socket says nothing."""
        return [self._found.get_nowait() for _ in range(self._found.qsize())]

    def _take(self, message: Message | Connected | Disconnected) -> list[FeedEvent]:
        if isinstance(message, Trade):
            return [message] if self._is_news(message) else []
        if isinstance(message, BookDelta):
            return self._changed(message)
        if isinstance(message, BookSnapshot):
            return self._loaded(message)
        if isinstance(message, Quote):
            return [] if Channel.BOOK in self._channels else [_stamped(message)]
        if isinstance(message, Connected):
            return self._connected(message)
        if isinstance(message, Disconnected):
            for book in self.books.values():
                book.invalidate("disconnected")
            return [FeedTrouble(instrument="", reason=message.reason)]
        if isinstance(message, VenueStatus):
            self.state = message.state
            return [message, *self._all_pairs()]
        if isinstance(message, InstrumentStatus):
            self._looks.set()
        elif isinstance(message, Unrecognized) and message.kind == "precision":
            self._looks.set()  # a finer step, perhaps
        return []

    # Pairs.

    async def _look_at_pairs(self) -> None:
        """Ask how the pairs are listed now and then, and when something hints at a change."""
        while True:
            try:
                listed = {pair.instrument.id: pair for pair in await self.client.pairs(self._symbols)}
                self._note_pairs(listed)
                await self._look_at_venue()
            except Exception as error:  # noqa: BLE001  the next look may succeed, and a halt must be heard of
                _log.warning("pairs_not_read", venue=self.client.protocol.venue, reason=words_of(error))
            self._looks.clear()
            await asyncio.sleep(PAIRS_AGAIN_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAIRS_EVERY_S - PAIRS_AGAIN_S):
                    await self._looks.wait()

    async def _look_at_venue(self) -> None:
        """Ask whether the venue itself is open, where no socket tells."""
        if not self.client.protocol.profile.status_from_rest:
            return
        status: VenueStatus = await self.client.call(SystemStatus())
        if status.state is not self.state:
            for event in self._take(status):
                self._found.put_nowait(event)

    def _note_pairs(self, listed: Mapping[InstrumentId, Pair]) -> None:
        for instrument in self.books:
            pair, before = listed.get(instrument), self._pairs.get(instrument)
            self._pairs[instrument] = (pair.state, pair.detail) if pair else GONE
            if before is not None and (before == GONE) != (pair is None):
                self._start(self.connection.close())
            for event in self._renew_book(instrument):
                self._found.put_nowait(event)
        for told in self._all_pairs():
            self._found.put_nowait(told)

    def _all_pairs(self) -> list[PairTold]:
        """Return what is new of the pairs; that one is open only once the venue has said so of it."""
        news = []
        for instrument in self.books:
            if instrument not in self._pairs and self.state is TradingState.ONLINE:
                continue
            own, words = self._pairs.get(instrument, (TradingState.ONLINE, ""))
            state, detail = (own, words) if self.state is TradingState.ONLINE else (self.state, "the venue itself")
            definition = self.client.protocol.listings.of(instrument).instrument
            told = PairTold(ts_ns=wall_ns(), instrument=instrument, definition=definition, state=state, detail=detail)
            before = self._told.get(instrument)
            if before is None or msgspec.structs.replace(before, ts_ns=told.ts_ns) != told:
                self._told[instrument] = told
                news.append(told)
        return news

    def _renew_book(self, instrument: InstrumentId) -> list[FeedEvent]:
        """Begin a book anew whose numbers are written with other decimals now: its checksum is over those."""
        units = written_units(self.client.protocol.listings.of(instrument))
        if self.books[instrument].units == units:
            return []
        self.books[instrument] = book = OrderBook(instrument, self._depth, units)
        book.invalidate("its steps have changed")
        return self._resynchronise(book)

    def _is_news(self, trade: Trade) -> bool:
        """Whether a trade was not told before: venues repeat the latest ones on every connection."""
        if trade.ts_ns < self._since_ns:
            return False
        if not trade.trade_id:
            return True
        seen = self._seen.setdefault(trade.instrument, {})
        if trade.trade_id in seen:
            return False
        seen[trade.trade_id] = None
        if len(seen) > TRADES_REMEMBERED:
            del seen[next(iter(seen))]
        return True

    def _connected(self, message: Connected) -> list[FeedEvent]:
        for book in self.books.values():
            book.invalidate("no snapshot yet")
        if self._book_from_rest and Channel.BOOK in self._channels:
            for instrument in self.books:
                self._start(self._fetch_snapshot(self._symbol_of[instrument], 0.0))
        self._looks.set()  # much may have changed meanwhile
        return [message]

    def _changed(self, delta: BookDelta) -> list[FeedEvent]:
        book = self.books.get(delta.instrument)
        if book is None:
            return []
        was_broken = bool(book.broken)
        if book.apply(delta):
            return self._shown(book)
        return [] if was_broken else self._resynchronise(book)

    def _loaded(self, snapshot: BookSnapshot) -> list[FeedEvent]:
        book = self.books.get(snapshot.instrument)
        if book is None:
            return []
        return self._shown(book) if book.load(snapshot) else self._resynchronise(book)

    def _shown(self, book: OrderBook) -> list[FeedEvent]:
        if not book.usable:
            return self._unusable(book)
        self._asked_anew.pop(book.instrument, None)
        self._unusable_since_s.pop(book.instrument, None)
        return [book.update(self._levels, book.ts_ns or wall_ns())]

    def _unusable(self, book: OrderBook) -> list[FeedEvent]:
        now_s = monotonic_s()
        if now_s - self._unusable_since_s.setdefault(book.instrument, now_s) < UNUSABLE_S:
            return [FeedTrouble(instrument=book.instrument, reason="the book is crossed or has one side only")]
        del self._unusable_since_s[book.instrument]
        book.invalidate(f"crossed, or with one side only, for {UNUSABLE_S:g} s")
        return self._resynchronise(book)

    def _resynchronise(self, book: OrderBook) -> list[FeedEvent]:
        _log.warning("book_broken", instrument=book.instrument, reason=book.broken)
        self._looks.set()
        times = self._asked_anew.get(book.instrument, 0)
        self._asked_anew[book.instrument] = min(times + 1, 16)
        wait_s = min(SNAPSHOT_RETRY_S * 2 ** (times - 1), LONGEST_RETRY_S) if times else 0.0
        symbol = self._symbol_of[book.instrument]
        self._start((self._fetch_snapshot if self._book_from_rest else self._resubscribe)(symbol, wait_s))
        return [FeedTrouble(instrument=book.instrument, reason=book.broken)]

    async def _resubscribe(self, symbol: str, wait_s: float) -> None:
        """Subscribe to a book anew; one that never holds is asked for less and less."""
        await asyncio.sleep(wait_s)
        stream = self.client.protocol.stream(depth=self._levels, bar_s=60)
        await self.connection.send(stream.unsubscribe(Channel.BOOK, [symbol]))
        await self.connection.send(stream.subscribe(Channel.BOOK, [symbol]))

    async def _fetch_snapshot(self, symbol: str, wait_s: float) -> None:
        while True:
            await asyncio.sleep(wait_s)
            try:
                self._fetched.put_nowait(await self.client.depth(symbol))
                return
            except Exception as error:  # noqa: BLE001  the book stays broken until a snapshot is read
                _log.warning("snapshot_failed", symbol=symbol, reason=words_of(error))
                wait_s = min(max(2 * wait_s, SNAPSHOT_RETRY_S), LONGEST_RETRY_S)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))


def _stamped(quote: Quote) -> Quote:
    return quote if quote.ts_ns else msgspec.structs.replace(quote, ts_ns=wall_ns())
