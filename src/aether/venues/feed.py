"""A venue's live market data as domain events, from books that are proven or not used at all.

Every break (a failed checksum, missing changes, a lost message, a lost socket) takes the books concerned out of use,
says so, and fetches them anew. Quotes come from the books where books are subscribed to, so a quote is never older or
newer than the depth behind it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from aether.clock import wall_ns
from aether.domain.errors import VenueError
from aether.domain.events import MarketEvent, Quote, Trade
from aether.domain.identifiers import InstrumentId, TradeId
from aether.telemetry import logger
from aether.venues.book import OrderBook, written_units
from aether.venues.client import VenueClient
from aether.venues.connection import Connected, Connection, Disconnected
from aether.venues.messages import BookDelta, BookSnapshot, InstrumentStatus, Message, VenueState, VenueStatus
from aether.venues.stream import Channel, Stream

_log = logger("feed")

BOOK_LEVELS = 10
SNAPSHOT_RETRY_S = 1.0
TRADES_REMEMBERED = 1_000
OLDEST_TRADE_NS = 5_000_000_000
"""Trades so much older than the feed itself are history."""


class FeedTrouble(msgspec.Struct):
    """A book, or the whole connection, cannot be relied on for now; `instrument` is empty for all of them."""

    instrument: str
    reason: str


FeedEvent = MarketEvent | VenueStatus | InstrumentStatus | FeedTrouble | Connected


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
        self._book_from_rest = client.protocol.book_from_rest
        depth = levels if client.protocol.cuts_book else 0
        self.books: dict[InstrumentId, OrderBook] = {}
        self._symbol_of: dict[InstrumentId, str] = {}
        for listing in client.protocol.listings.values():
            if listing.instrument.symbol in symbols:
                self.books[listing.id] = OrderBook(listing.id, depth, written_units(listing))
                self._symbol_of[listing.id] = listing.instrument.symbol
        self.state = VenueState.ONLINE
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
        return [text for channel in self._channels for text in stream.subscribe(channel, self._symbols)]

    async def events(self) -> AsyncIterator[FeedEvent]:
        """Yield market data for ever; the timestamps are the venue's, or the time of receipt where it gives none."""
        try:
            async for message in self.connection.messages():
                for event in self._take(message):
                    yield event
                while not self._fetched.empty():
                    for event in self._loaded(self._fetched.get_nowait()):
                        yield event
        finally:
            for task in self._tasks:
                task.cancel()

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
            return [message]
        return [message] if isinstance(message, InstrumentStatus) else []

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
                self._fetch(instrument)
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
            return [FeedTrouble(instrument=book.instrument, reason="the book is crossed or has one side only")]
        return [book.update(self._levels, book.ts_ns or wall_ns())]

    def _resynchronise(self, book: OrderBook) -> list[FeedEvent]:
        _log.warning("book_broken", instrument=book.instrument, reason=book.broken)
        symbol = self._symbol_of[book.instrument]
        if self._book_from_rest:
            self._fetch(book.instrument)
        else:
            self._start(self._resubscribe(symbol))
        return [FeedTrouble(instrument=book.instrument, reason=book.broken)]

    async def _resubscribe(self, symbol: str) -> None:
        stream = self.client.protocol.stream(depth=self._levels, bar_s=60)
        await self.connection.send(stream.unsubscribe(Channel.BOOK, [symbol]))
        await self.connection.send(stream.subscribe(Channel.BOOK, [symbol]))

    def _fetch(self, instrument: InstrumentId) -> None:
        self._start(self._fetch_snapshot(self._symbol_of[instrument]))

    async def _fetch_snapshot(self, symbol: str) -> None:
        while True:
            try:
                self._fetched.put_nowait(await self.client.depth(symbol))
                return
            except VenueError as error:
                _log.warning("snapshot_failed", symbol=symbol, reason=error.message)
                await asyncio.sleep(SNAPSHOT_RETRY_S)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))


def _stamped(quote: Quote) -> Quote:
    return quote if quote.ts_ns else msgspec.structs.replace(quote, ts_ns=wall_ns())
