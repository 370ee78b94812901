"""The compiled reader of frequent messages is never of another opinion than the readable codec (decision 0040).

Messages of all three venues are written with random values, among them those at the edges of what a number may be, with
their fields in any order and some that nobody knows; then they are damaged. Whatever the compiled reader says, the
readable path says too.
"""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aether.domain.identifiers import VenueId
from aether.domain.instruments import make_instrument
from aether.venues import scanner, shapes
from aether.venues.messages import BookDelta, Message, Unrecognized
from aether.venues.registry import protocol_of
from aether.venues.stream import Channel, guarded
from aether.venues.wire import Listings
from tests.fuzz.__main__ import _damage

VENUES = ("kraken", "binance", "coinbase")
NAMES = {
    "kraken": ("BTC/USD", "ETH/USD", "A-VERY-LONG-BASE-ASSET/USD"),
    "binance": ("BTCUSD", "ETHUSD", "AVERYLONGBASEASSETOFMANYUSD"),
    "coinbase": ("BTC-USD", "ETH-USD", "A-VERY-LONG-BASE-ASSET-USD"),
}
KINDS = ("trade", "quote", "book")
TIMES = (
    "2026-01-02T03:04:05.678901Z",
    "2024-02-29T23:59:59.999999999Z",
    "2023-06-23T20:31:26Z",
    "2199-12-31T00:00:00.5Z",
)
ODD_TIMES = (
    "2023-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05.Z", "",
    "2026-01-02T03:04:05.1234567890Z", "2026-01-02T24:00:00Z", "1969-12-31T23:59:59Z", "2026-01-02T03:04:05+00:00",
)  # fmt: skip
NUMBERS = ("64000.1", "0.0", "0", "64000.10000000", "12345678.9", "1", "99999999.9", "0.5")
ODD_NUMBERS = (
    "64000.123456789", "-1.0", "1e-8", "00.5", "5.", ".5", "", "123456789012345678901.5", "99999999999999999.9",
    "9" * 18, "1" + "0" * 17, "0." + "0" * 45, "abc", "1.0x", "\u0661",
)  # fmt: skip


def stream_of(venue: str) -> Any:
    """Return a connection that knows three pairs, of different steps."""
    protocol = protocol_of(venue)
    made = [
        make_instrument(VenueId(venue), symbol, price_decimals=p, size_decimals=s)
        for symbol, p, s in (("BTC/USD", 1, 8), ("ETH/USD", 2, 4), ("AVERYLONG/USD", 0, 3))
    ]
    protocol.listings = Listings(VenueId(venue), list(zip(NAMES[venue], made, strict=True)))
    return protocol.stream(depth=10, bar_s=60)


def scanned(stream: Any, payload: bytes) -> list[Message] | None:
    """Return what the compiled reader makes of a payload."""
    found: list[Message] | None = stream._scanner.read(payload)
    return found


class Writer:
    """Writes messages as a venue might."""

    def __init__(self, venue: str, draw: random.Random, odd: float) -> None:
        self.venue, self.draw, self.odd = venue, draw, odd
        self.raw: list[str] = []
        self.pairs = NAMES[venue] if odd else NAMES[venue][:2]

    def _one_of(self, usual: tuple[str, ...], odd: tuple[str, ...]) -> str:
        return self.draw.choice(odd if self.draw.random() < self.odd else usual)

    def number(self) -> Any:
        """A number: of Kraken's a JSON number, whose text is put in at the end."""
        text = self._one_of(NUMBERS, ODD_NUMBERS)
        if self.venue != "kraken":
            return text
        self.raw.append(text)
        return f"@{len(self.raw) - 1}@"

    def time(self) -> str:
        return self._one_of(TIMES, ODD_TIMES)

    def pair(self) -> str:
        return self._one_of(self.pairs, ("DOGE/XYZ", "", "BTC\\u002fUSD"))

    def whole(self) -> int:
        odd = self.draw.random() < self.odd
        return self.draw.choice((10**17, 10**18, 10**19, -3) if odd else (0, 1, 1723161255308))

    def fields(self, **known: Any) -> dict[str, Any]:
        """Fields in some order, among them unknown ones; now and then one is missing or of another type."""
        items = list(known.items())
        if self.draw.random() < self.odd:
            extra = self.draw.choice((None, True, -1.5, "text", 3, [1], {"a": 1}, "\u00e9", "a\\b"))
            items.append((self.draw.choice(("x", "a_name_that_is_longer_than_any", "M")), extra))
        if self.draw.random() < self.odd:
            self.draw.shuffle(items)
        if self.draw.random() < self.odd / 2:
            items.pop(self.draw.randrange(len(items)))
        if self.draw.random() < self.odd / 2 and items:
            at = self.draw.randrange(len(items))
            items[at] = (items[at][0], self.draw.choice((None, 1, "", [], {})))
        return dict(items)

    def rows(self, make: Callable[[], Any]) -> list[Any]:
        return [make() for _ in range(self.draw.choice((1, 1, 1, 0, 2, 5)))]

    def write(self, kind: str) -> bytes:
        """Return a message."""
        text = json.dumps(getattr(self, f"{self.venue}_{kind}")(), separators=(",", ":"))
        for n, number in enumerate(self.raw):
            text = text.replace(f'"@{n}@"', number)
        self.raw.clear()
        if self.odd and self.draw.random() < 0.02:
            text = text.replace(":", ": ")
        return text.encode()

    # Kraken

    def _kraken(self, channel: str, rows: list[Any]) -> dict[str, Any]:
        kind = self._one_of(("update", "snapshot"), ("subscribe",))
        return self.fields(channel=channel, type=kind, data=rows)

    def kraken_trade(self) -> dict[str, Any]:
        return self._kraken("trade", self.rows(lambda: self.fields(
            symbol=self.pair(), side=self._one_of(("buy", "sell"), ("BUY",)), price=self.number(), qty=self.number(),
            ord_type="market", trade_id=self.whole(), timestamp=self.time(),
        )))  # fmt: skip

    def kraken_quote(self) -> dict[str, Any]:
        return self._kraken("ticker", self.rows(lambda: self.fields(
            symbol=self.pair(), bid=self.number(), bid_qty=self.number(), ask=self.number(), ask_qty=self.number(),
            last=self.number(), timestamp=self.time(),
        )))  # fmt: skip

    def kraken_book(self) -> dict[str, Any]:
        def side() -> list[Any]:
            return self.rows(lambda: self.fields(price=self.number(), qty=self.number()))

        row = self.fields(symbol=self.pair(), bids=side(), asks=side(), checksum=self.whole(), timestamp=self.time())
        return self._kraken("book", [row] if self.draw.random() > self.odd / 4 else [row, row])

    # Binance

    def _binance(self, stream: str, data: dict[str, Any]) -> dict[str, Any]:
        return self.fields(stream=f"btcusd@{stream}", data=data)

    def binance_trade(self) -> dict[str, Any]:
        return self._binance("trade", self.fields(
            e=self._one_of(("trade",), ("depthUpdate", "aggTrade")), E=self.whole(), s=self.pair(), t=self.whole(),
            p=self.number(), q=self.number(), T=self.whole(), m=self.draw.random() < 0.5, M=True,
        ))  # fmt: skip

    def binance_quote(self) -> dict[str, Any]:
        return self._binance("bookTicker", self.fields(
            u=self.whole(), s=self.pair(), b=self.number(), B=self.number(), a=self.number(), A=self.number(),
        ))  # fmt: skip

    def binance_book(self) -> dict[str, Any]:
        def side() -> list[Any]:
            return self.rows(lambda: [self.number(), self.number()])

        return self._binance("depth@100ms", self.fields(
            e="depthUpdate", E=self.whole(), s=self.pair(), U=self.whole(), u=self.whole(), b=side(), a=side(),
        ))  # fmt: skip

    # Coinbase

    def _coinbase(self, channel: str, event: dict[str, Any]) -> dict[str, Any]:
        events = [event] if self.draw.random() > self.odd / 4 else [event, event]
        return self.fields(
            channel=channel, client_id="", timestamp=self.time(), sequence_num=self.draw.randrange(5), events=events
        )

    def coinbase_trade(self) -> dict[str, Any]:
        return self._coinbase("market_trades", self.fields(
            type=self._one_of(("update", "snapshot"), ("other",)), trades=self.rows(lambda: self.fields(
                trade_id=self._one_of(("1", "987654"), ("abc", "007", "")), product_id=self.pair(),
                price=self.number(), size=self.number(), side=self._one_of(("BUY", "SELL"), ("buy",)), time=self.time(),
            )),
        ))  # fmt: skip

    def coinbase_quote(self) -> dict[str, Any]:
        return self._coinbase("ticker", self.fields(type="update", tickers=self.rows(lambda: self.fields(
            type="ticker", product_id=self.pair(), price=self.number(), best_bid=self.number(),
            best_bid_quantity=self.number(), best_ask=self.number(), best_ask_quantity=self.number(),
        ))))  # fmt: skip

    def coinbase_book(self) -> dict[str, Any]:
        return self._coinbase("l2_data", self.fields(
            type=self._one_of(("update", "snapshot"), ("other",)), product_id=self.pair(),
            updates=self.rows(lambda: self.fields(
                side=self._one_of(("bid", "offer", "ask"), ("buy",)), event_time=self.time(), price_level=self.number(),
                new_quantity=self.number(),
            )),
        ))  # fmt: skip


def differ(fast: Any, readable: Any, payload: bytes, seen: Counter[str], kind: str) -> None:
    """Hold what both make of a payload against each other."""
    before = getattr(fast, "_sequence", None)
    found = scanned(fast, payload)
    if found is None:
        seen[kind, "left"] += 1  # type: ignore[index]
        return
    if before is not None:
        readable._sequence = before
    assert guarded(readable._decode, payload) == found, payload
    assert fast.__dict__.get("_sequence") == readable.__dict__.get("_sequence"), payload
    seen[kind] += 1


@pytest.mark.parametrize("venue", VENUES)
def test_it_reads_every_usual_message(venue: str) -> None:
    """What a venue sends all day takes the quick way, row for row as the readable path has it."""
    fast, readable, seen = stream_of(venue), stream_of(venue), Counter[str]()
    writer = Writer(venue, random.Random(1), odd=0.0)
    for _ in range(600):
        for kind in KINDS:
            differ(fast, readable, writer.write(kind), seen, kind)
    assert seen == dict.fromkeys(KINDS, 600)


@pytest.mark.parametrize("venue", VENUES)
def test_odd_and_damaged_messages_mean_what_the_readable_path_says(venue: str) -> None:
    fast, readable, seen = stream_of(venue), stream_of(venue), Counter[str]()
    draw = random.Random(7)
    writer, usual = Writer(venue, draw, odd=0.05), Writer(venue, draw, odd=0.0)
    others: list[bytes] = [writer.write(kind) for kind in KINDS for _ in range(50)]
    for _ in range(4_000):
        for kind in KINDS:
            differ(fast, readable, writer.write(kind), seen, kind)
            data = bytearray(b"##" + usual.write(kind))
            _damage(data, draw, others)
            differ(fast, readable, bytes(data[2:]), seen, kind)
    assert all(seen[kind] > 500 and seen[kind, "left"] > 500 for kind in KINDS), seen  # type: ignore[index]


class Guarded:
    """Memory that says so when it is read or written outside."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __getitem__(self, at: int) -> int:
        assert 0 <= at < len(self.content), f"read at {at} of {len(self.content)}"
        return int(self.content[at])

    def __setitem__(self, at: int, value: int) -> None:
        assert 0 <= at < len(self.content), f"written at {at} of {len(self.content)}"
        self.content[at] = value


def _word(memory: Guarded, at: int) -> int:
    return int.from_bytes(bytes(memory[at + k] for k in range(8)), "little", signed=True)


def interpreted(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, Any], int]:
    """Return the reader as plain Python, whose memory is guarded."""
    shapes.prepare()
    functions = {name: value for name, value in vars(scanner).items() if hasattr(value, "py_func")}
    for name, function in functions.items():
        monkeypatch.setattr(scanner, name, function.py_func)
    monkeypatch.setattr(scanner, "memory_of", Guarded)
    monkeypatch.setattr(scanner, "word_at", _word)
    return functions["scan"].py_func  # type: ignore[no-any-return]


@pytest.mark.parametrize("venue", VENUES)
def test_it_looks_at_nothing_outside(venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut anywhere, damaged anyhow: neither the payload nor the room for words is left, and both ways agree."""
    stream = stream_of(venue)
    scanned(stream, b"{}")
    quick, frame = shapes.prepare(), stream._scanner._frame()
    plain = interpreted(monkeypatch)
    draw = random.Random(3)
    writer = Writer(venue, draw, odd=0.05)
    inputs = []
    for kind in KINDS:
        whole = writer.write(kind)
        inputs += [whole[:at] for at in range(len(whole))]
        for _ in range(60):
            data = bytearray(b"##" + writer.write(kind))
            _damage(data, draw, [whole])
            inputs.append(bytes(data[2:]))
    for payload in inputs:
        slowly = frame.copy()
        kind_found = plain(payload, slowly)
        assert kind_found == quick(payload, frame), payload
        if kind_found >= 0:
            assert np.array_equal(slowly[scanner.READ :], frame[scanner.READ :])


def test_more_rows_than_there_is_room_for_are_left() -> None:
    stream = stream_of("binance")
    levels = ",".join('["1.0","0.5"]' for _ in range(scanner.ROOM))
    payload = b'{"stream":"btcusd@depth","data":{"e":"depthUpdate","E":1,"s":"BTCUSD","U":1,"u":2,"b":[%b],"a":[]}}'
    assert scanned(stream, payload % levels.encode()) is None
    (delta,) = stream.receive(payload % levels.encode())
    assert isinstance(delta, BookDelta)
    assert len(delta.bids) == scanner.ROOM


@pytest.mark.parametrize("venue", VENUES)
def test_finer_steps_hold_from_the_next_message_on(venue: str) -> None:
    """A pair listed anew is read in its new steps: a price is never told in those that were."""
    stream = stream_of(venue)
    payload = b""
    writer = Writer(venue, random.Random(5), odd=0.0)
    found: list[Message] = []
    while len(found) != 1 or getattr(found[0], "instrument", "") != f"{venue}:BTC/USD":
        payload = writer.write("trade")
        stream._sequence = -1
        found = scanned(stream, payload) or []
    before = found[0].price  # type: ignore[union-attr]
    finer = make_instrument(VenueId(venue), "BTC/USD", price_decimals=3, size_decimals=8)
    stream.listings.add(NAMES[venue][0], finer)
    stream._sequence = -1
    after = scanned(stream, payload)
    assert after is not None
    assert after[0].price == before * 100  # type: ignore[union-attr]


def test_a_product_that_two_pairs_are_traded_in_is_told_to_both() -> None:
    """Coinbase: data that come under one name for two pairs take the readable path."""
    stream = stream_of("coinbase")
    payload = (
        b'{"channel":"market_trades","timestamp":"2026-01-02T03:04:05Z","sequence_num":0,"events":[{"type":"update",'
        b'"trades":[{"trade_id":"1","product_id":"BTC-USD","price":"1.5","size":"2","side":"BUY",'
        b'"time":"2026-01-02T03:04:05Z"}]}]}'
    )
    stream.listings.told_as["ETH-USD"] = "BTC-USD"
    stream.subscribe(Channel.TRADES, ["BTC/USD"])
    assert scanned(stream, payload) is not None
    stream.subscribe(Channel.TRADES, ["ETH/USD"])
    stream._sequence = -1
    assert scanned(stream, payload) is None
    assert [trade.instrument for trade in stream.receive(payload)] == ["coinbase:BTC/USD", "coinbase:ETH/USD"]


def test_what_is_finer_than_the_steps_is_left_and_told() -> None:
    stream = stream_of("kraken")
    payload = (
        b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":1.05,"bid_qty":1,"ask":2.0,"ask_qty":1}'
        b"]}"
    )
    assert scanned(stream, payload) is None
    assert isinstance(stream.receive(payload)[0], Unrecognized)
    assert scanned(stream, payload.replace(b"1.05", b"1.50")) is not None


def test_without_the_compiler_every_message_takes_the_readable_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_module: object) -> None:
        raise ImportError("no LLVM here")

    monkeypatch.setattr(shapes, "build", broken)
    monkeypatch.setattr(shapes, "prepare", shapes.prepare.__wrapped__)
    stream = stream_of("binance")
    payload = Writer("binance", random.Random(4), odd=0.0).write("trade")
    assert scanned(stream, payload) is None
    assert stream.receive(payload) == stream_of("binance").receive(payload)


def test_threads_that_read_their_first_message_at_once_both_do() -> None:
    """Found by attack: the second compiled what was being compiled."""
    code = (
        "import threading, tests.property.test_scanner as t\n"
        "found, start = [], threading.Barrier(2)\n"
        "def read():\n"
        "    stream = t.stream_of('kraken'); start.wait()\n"
        "    found.append(t.scanned(stream, t.Writer('kraken', t.random.Random(4), odd=0.0).write('trade')))\n"
        "threads = [threading.Thread(target=read) for _ in range(2)]\n"
        "[x.start() for x in threads]; [x.join() for x in threads]\n"
        "assert len(found) == 2 and found[0] == found[1] is not None, found\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, timeout=120)


@pytest.mark.parametrize("venue", VENUES)
def test_what_is_too_long_or_means_something_else_is_left(venue: str) -> None:
    """Found by attack: the limit of a message's length, and fields beside the ones that are known."""
    stream = stream_of(venue)
    payload = Writer(venue, random.Random(4), odd=0.0).write("trade")
    long = payload.replace(b"{", b'{"x":"%b",' % (b"a" * scanner.LONGEST), 1)
    assert scanned(stream, long) is None
    if venue == "binance":
        stray = payload.replace(b"{", b'{"e":"executionReport",', 1)
        assert scanned(stream, stray) is None
        assert isinstance(stream.receive(stray)[0], Unrecognized)


def test_a_pair_that_shares_a_book_and_is_not_listed_is_told_by_the_readable_path() -> None:
    stream = stream_of("coinbase")
    stream.listings.told_as["FOO-USD"] = "BTC-USD"
    stream.subscribe(Channel.BOOK, ["BTC/USD", "FOO/USD"])
    payload = (
        b'{"channel":"l2_data","timestamp":"2026-01-02T03:04:05Z","sequence_num":0,"events":[{"type":"update",'
        b'"product_id":"BTC-USD","updates":[{"side":"bid","price_level":"1.5","new_quantity":"2"}]}]}'
    )
    assert scanned(stream, payload) is None


@pytest.mark.parametrize(
    "fields",
    [
        [shapes.Field(f"f{n}", scanner.Kind.INT) for n in range(61)],
        [shapes.Field("rows", scanner.Kind.ROWS, fields=(shapes.Field("b", scanner.Kind.LEVELS),))],
        [
            shapes.Field(
                "rows", scanner.Kind.ROWS, fields=tuple(shapes.Field(f"f{n}", scanner.Kind.INT) for n in range(10))
            )
        ],
    ],
)
def test_a_shape_that_the_scanner_cannot_hold_is_refused(fields: list[shapes.Field]) -> None:
    with pytest.raises(ValueError, match="at most"):
        shapes.Shape(*fields)


def test_a_name_that_a_shape_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 24 bytes"):
        shapes.Shape(shapes.Field("a_name_that_is_longer_than_any", scanner.Kind.INT))
