"""Raw market data on disk, as received: written by the recorder, read back through the codec into proven books.

A line is the time of receipt in nanoseconds, a space, and the payload as one line of JSON; files are gzipped and
rotated by size. Nothing is interpreted while recording, so a recording is also evidence of what a venue really sent.
"""

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from aether.domain.errors import DataFormatError
from aether.domain.events import Quote, Trade
from aether.domain.identifiers import VenueId
from aether.domain.instruments import make_instrument
from aether.venues.book import OrderBook
from aether.venues.messages import BookDelta, BookSnapshot, SequenceGap, Unrecognized
from aether.venues.protocol import VenueProtocol
from aether.venues.registry import protocol_of
from aether.venues.wire import Listings, precision_of

ROTATE_BYTES = 256 * 2**20
MAX_LINE_BYTES = 32 * 2**20
FLUSH_EVERY = 1_000
DEPTH = 10
"""Of recorded books, where the venue keeps to one."""


class Recorder:
    """Writes payloads into `folder/VENUE-TIME-NUMBER.jsonl.gz`.

    Args:
        started_ns: names the files.
        rotate_bytes: uncompressed size after which a new file begins.
    """

    def __init__(self, folder: Path, venue: str, started_ns: int, rotate_bytes: int = ROTATE_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.messages = 0
        self.files: list[Path] = []
        self._folder = folder
        self._stem = f"{venue}-{started_ns // 1_000_000_000}"
        self._rotate_bytes = rotate_bytes
        self._written = 0
        self._file: IO[bytes] | gzip.GzipFile | None = None

    def write(self, ts_ns: int, payload: bytes) -> None:
        """Write one payload with its time of receipt."""
        if self._file is None or self._written >= self._rotate_bytes:
            self._rotate()
        assert self._file is not None
        line = b"%d %s\n" % (ts_ns, payload.replace(b"\n", b" "))
        self._file.write(line)
        self._written += len(line)
        self.messages += 1
        if self.messages % FLUSH_EVERY == 0:
            self._file.flush()

    def close(self) -> None:
        """Finish the present file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rotate(self) -> None:
        self.close()
        path = self._folder / f"{self._stem}-{len(self.files):04}.jsonl.gz"
        self.files.append(path)
        self._file = gzip.open(path, "wb", compresslevel=6)  # noqa: SIM115  closed when rotated
        self._written = 0


@dataclass
class Replayed:
    """What a recording holds, and how its books held.

    Attributes:
        compared, differed: top-of-book messages whose sequence number is exactly the book's, and those of them whose
            prices or sizes were not the book's.
        breaks: times a book could not be proven any more.
    """

    venue: str
    symbol: str
    messages: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    differed: int = 0
    breaks: list[str] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    price_decimals: int = 0
    size_decimals: int = 0


class _Numbered(msgspec.Struct, frozen=True):
    u: int = 0


class _NumberedEnvelope(msgspec.Struct):
    data: _Numbered = _Numbered()
    u: int = 0


_numbered = msgspec.json.Decoder(_NumberedEnvelope)


def is_recording(path: Path) -> bool:
    """Whether a file looks like a raw recording: a time of receipt, then JSON."""
    try:
        with _open(path) as file:
            time, space, rest = file.readline(4096).partition(b" ")
    except (OSError, EOFError):
        return False
    return bool(space) and time.isdigit() and len(time) >= 16 and rest.lstrip().startswith((b"{", b"["))


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield time of receipt and payload of every line.

    Raises:
        DataFormatError: naming the line that is neither, or the damage of the file.
    """
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                time, space, payload = line.partition(b" ")
                if not (space and time.isdigit()) or len(line) > MAX_LINE_BYTES:
                    raise DataFormatError(
                        f"{path}, line {number}: not a time of receipt and a payload.",
                        remedy="Use a recording made by: aether data record.",
                    )
                yield int(time), payload.strip()
    except (OSError, EOFError) as error:
        raise DataFormatError(
            f"{path} is damaged after line {number}: {error}.", remedy="Use the part before it, or record again."
        ) from error


def venue_of(path: Path) -> str:
    """Return which venue a recording is from, told by the shape of its first messages.

    Raises:
        DataFormatError: when it cannot be told.
    """
    for _, payload in read_lines(path):
        for mark, venue in ((b'"stream"', "binance"), (b'"sequence_num"', "coinbase"), (b'"channel"', "kraken")):
            if mark in payload:
                return venue
    raise DataFormatError(f"{path} is no venue's recording.", remedy="Name the venue with --venue.")


def replay(path: Path, symbol: str, venue: str = "") -> Replayed:
    """Return the trades of a recording's pair in time order, each once, and how exactly its book was rebuilt.

    Args:
        symbol: ours, such as ETH/USDT.
        venue: told from the file when empty.

    Raises:
        DataFormatError, UnknownNameError: as their messages say.
    """
    name = venue or venue_of(path)
    protocol = protocol_of(name)
    price_decimals, size_decimals = _precision(path, symbol) if protocol.profile.cuts_book else (8, 8)
    instrument = make_instrument(VenueId(name), symbol, price_decimals=price_decimals, size_decimals=size_decimals)
    protocol.listings = Listings(VenueId(name), [(protocol.native(symbol), instrument)])
    found = Replayed(venue=name, symbol=symbol, price_decimals=price_decimals, size_decimals=size_decimals)
    _Replay(protocol, OrderBook(instrument.id, DEPTH if protocol.profile.cuts_book else 0), found).run(path)
    unique = {trade.trade_id or f"#{n}": trade for n, trade in enumerate(found.trades)}
    found.trades = sorted(unique.values(), key=lambda trade: trade.ts_ns)
    return found


def _precision(path: Path, symbol: str) -> tuple[int, int]:
    """Return the decimals that a recorded book of `symbol` is written with: Kraken's checksum is over just these."""
    marks = (b'"book"', b'"snapshot"', b'"bids"', f'"{symbol}"'.encode())
    for _, payload in read_lines(path):
        if all(mark in payload for mark in marks):
            return precision_of(payload, frozenset({"price"}), frozenset({"qty"}))
    return 8, 8


class _Replay:
    """One run through a recording."""

    def __init__(self, protocol: VenueProtocol, book: OrderBook, found: Replayed) -> None:
        self._stream = protocol.stream(depth=DEPTH, bar_s=60)
        self._book = book
        self._found = found
        self._waiting: dict[int, Quote] = {}

    def run(self, path: Path) -> None:
        for _, payload in read_lines(path):
            self._found.messages += 1
            for message in self._stream.receive(payload):
                self._found.kinds[type(message).__name__] += 1
                if isinstance(message, Trade):
                    self._found.trades.append(message)
                elif isinstance(message, BookSnapshot):
                    if not self._book.load(message):
                        self._found.breaks.append(self._book.broken)
                elif isinstance(message, BookDelta):
                    self._apply(message)
                elif isinstance(message, Quote):
                    self._quote(message, payload)
                elif isinstance(message, SequenceGap):
                    self._book.invalidate("messages were lost")
                    self._found.breaks.append("messages were lost")
                elif isinstance(message, Unrecognized):
                    self._found.unreadable[message.kind] += 1

    def _apply(self, delta: BookDelta) -> None:
        was_broken = self._book.broken
        self._book.apply(delta)
        if self._book.broken:
            if not was_broken:
                self._found.breaks.append(self._book.broken)
            return
        quote = self._waiting.pop(self._book.sequence, None)
        if quote is not None:
            self._compare(quote)

    def _quote(self, quote: Quote, payload: bytes) -> None:
        if self._found.venue != "binance":
            return
        numbered = _numbered.decode(payload)
        sequence = numbered.data.u or numbered.u
        if self._book.broken or sequence > self._book.sequence:
            self._waiting[sequence] = quote
            if len(self._waiting) > 10_000:
                del self._waiting[next(iter(self._waiting))]
        elif sequence == self._book.sequence:
            self._compare(quote)

    def _compare(self, quote: Quote) -> None:
        top = self._book.quote()
        self._found.compared += 1
        same = (top.bid, top.ask, top.bid_size, top.ask_size) == (quote.bid, quote.ask, quote.bid_size, quote.ask_size)
        self._found.differed += not same


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")
