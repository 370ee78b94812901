"""Reading the venues' messages, keeping a book, and the local exchange's speed.

Decoding is compared, message by message and in the same run, with bare msgspec decoding into typed structs (numbers
left as text) and with what ccxt.pro does to the same messages. The messages walk like a market: prices move by a few
ticks, sizes are drawn anew, so that remembered numbers help no more than they do in life.
"""

import asyncio
import gc
import json
import random
from collections.abc import Callable
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import aiohttp
import ccxt.pro
import msgspec

from aether.domain.identifiers import InstrumentId, VenueId
from aether.domain.instruments import make_instrument
from aether.domain.orders import OrderType, Side
from aether.exchange.server import MARKETS, RULES, build, serve
from aether.exchange.venue import NewOrder, Venue
from aether.venues.actions import Submit
from aether.venues.book import OrderBook
from aether.venues.client import VenueClient, with_urls
from aether.venues.limits import NoLimits
from aether.venues.messages import BookDelta, BookSnapshot
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of
from aether.venues.wire import Listings

MESSAGES = 3_000
LEVELS_A_SIDE = 6
ROUNDS = 7
ORDERS = 20_000
REST_ORDERS = 3_000
AT_ONCE = 16
T = "2026-01-02T03:04:05.678901Z"


class _Level(msgspec.Struct):
    price: msgspec.Raw
    qty: msgspec.Raw


class _KrakenRow(msgspec.Struct):
    symbol: str
    price: msgspec.Raw = msgspec.Raw()
    qty: msgspec.Raw = msgspec.Raw()
    side: str = ""
    trade_id: int = 0
    timestamp: str = ""
    bid: msgspec.Raw = msgspec.Raw()
    bid_qty: msgspec.Raw = msgspec.Raw()
    ask: msgspec.Raw = msgspec.Raw()
    ask_qty: msgspec.Raw = msgspec.Raw()
    bids: list[_Level] = []
    asks: list[_Level] = []
    checksum: int = 0


class _Kraken(msgspec.Struct):
    channel: str
    type: str
    data: list[_KrakenRow]


class _BinanceData(msgspec.Struct):
    s: str
    e: str = ""
    E: int = 0
    t: int = 0
    T: int = 0
    p: str = ""
    q: str = ""
    m: bool = False
    u: int = 0
    U: int = 0
    b: str | list[tuple[str, str]] = ""
    a: str | list[tuple[str, str]] = ""
    B: str = ""
    A: str = ""


class _Binance(msgspec.Struct):
    stream: str
    data: _BinanceData


class _CoinbaseTrade(msgspec.Struct):
    trade_id: str
    product_id: str
    price: str
    size: str
    side: str
    time: str


class _CoinbaseTicker(msgspec.Struct):
    product_id: str
    best_bid: str
    best_bid_quantity: str
    best_ask: str
    best_ask_quantity: str


class _CoinbaseLevel(msgspec.Struct):
    side: str
    price_level: str
    new_quantity: str


class _CoinbaseEvent(msgspec.Struct):
    type: str
    product_id: str = ""
    trades: list[_CoinbaseTrade] = []
    tickers: list[_CoinbaseTicker] = []
    updates: list[_CoinbaseLevel] = []


class _Coinbase(msgspec.Struct):
    channel: str
    timestamp: str
    sequence_num: int
    events: list[_CoinbaseEvent]


_BARE: dict[str, Any] = {
    "kraken": msgspec.json.Decoder(_Kraken),
    "binance": msgspec.json.Decoder(_Binance),
    "coinbase": msgspec.json.Decoder(_Coinbase),
}


def walk(seed: int) -> list[tuple[str, str, str, str]]:
    """Return bid, ask and two sizes, message by message."""
    draw = random.Random(seed)
    price = 640_000
    found = []
    for _ in range(MESSAGES):
        price += draw.choice((-3, -1, 0, 0, 0, 1, 3))
        sizes = [f"{draw.expovariate(2):.8f}" for _ in range(2)]
        found.append((f"{price / 10:.1f}", f"{(price + 1) / 10:.1f}", sizes[0], sizes[1]))
    return found


def messages(venue: str, kind: str) -> list[bytes]:
    """Return messages of one kind, each as the venue writes it."""
    found = []
    for n, (bid, ask, size, other) in enumerate(walk(3)):
        found.append(_WRITERS[venue, kind](n, bid, ask, size, other).encode())
    return found


def _rows(n: int, price: str, step: int, row: str) -> str:
    """Return so many levels of a side as a recorded Binance message has at the median."""
    draw = random.Random(n)
    first = round(float(price) * 10)
    found = [(first + step * level, draw.expovariate(2)) for level in range(LEVELS_A_SIDE)]
    return ",".join(row % (f"{price / 10:.1f}", f"{size:.8f}") for price, size in found)


_WRITERS: dict[tuple[str, str], Callable[[int, str, str, str, str], str]] = {
    ("kraken", "trade"): lambda n, bid, ask, size, other: (
        '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":%s,"qty":%s,'
        '"ord_type":"market","trade_id":%d,"timestamp":"%s"}]}' % (bid, size, n, T)
    ),
    ("kraken", "top of book"): lambda n, bid, ask, size, other: (
        '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":%s,"bid_qty":%s,"ask":%s,"ask_qty":%s,'
        '"last":%s,"volume":997.1,"vwap":1.1,"low":1.0,"high":2.0,"change":0.1,"change_pct":0.2,"timestamp":"%s"}]}'
        % (bid, size, ask, other, bid, T)
    ),
    ("kraken", "book"): lambda n, bid, ask, size, other: (
        '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":%s,"qty":%s}],'
        '"asks":[{"price":%s,"qty":%s}],"checksum":2114181697,"timestamp":"%s"}]}' % (bid, size, ask, other, T)
    ),
    ("binance", "trade"): lambda n, bid, ask, size, other: (
        '{"stream":"btcusd@trade","data":{"e":"trade","E":1723161255308,"s":"BTCUSD","t":%d,"p":"%s0000000","q":"%s",'
        '"T":1723161255307,"m":true,"M":true}}' % (n, bid, size)
    ),
    ("binance", "top of book"): lambda n, bid, ask, size, other: (
        '{"stream":"btcusd@bookTicker","data":{"u":%d,"s":"BTCUSD","b":"%s0000000","B":"%s","a":"%s0000000","A":"%s"}}'
        % (n, bid, size, ask, other)
    ),
    ("binance", "book"): lambda n, bid, ask, size, other: (
        '{"stream":"btcusd@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSD","U":%d,"u":%d,'
        '"b":[%s],"a":[%s]}}' % (n, n, _rows(n, bid, -1, '["%s0000000","%s"]'), _rows(n, ask, 1, '["%s0000000","%s"]'))
    ),
    ("coinbase", "trade"): lambda n, bid, ask, size, other: (
        '{"channel":"market_trades","client_id":"","timestamp":"%s","sequence_num":%d,"events":[{"type":"update",'
        '"trades":[{"trade_id":"%d","product_id":"BTC-USD","price":"%s","size":"%s","side":"BUY","time":"%s"}]}]}'
        % (T, n, n, bid, size, T)
    ),
    ("coinbase", "top of book"): lambda n, bid, ask, size, other: (
        '{"channel":"ticker","client_id":"","timestamp":"%s","sequence_num":%d,"events":[{"type":"update","tickers":['
        '{"type":"ticker","product_id":"BTC-USD","price":"%s","volume_24_h":"1","low_24_h":"1","high_24_h":"1",'
        '"best_bid":"%s","best_bid_quantity":"%s","best_ask":"%s","best_ask_quantity":"%s"}]}]}'
        % (T, n, bid, bid, size, ask, other)
    ),
    ("coinbase", "book"): lambda n, bid, ask, size, other: (
        '{"channel":"l2_data","client_id":"","timestamp":"%s","sequence_num":%d,"events":[{"type":"update",'
        '"product_id":"BTC-USD","updates":[%s,%s]}]}'
        % (
            T,
            n,
            _rows(n, bid, -1, '{"side":"bid","event_time":"' + T + '","price_level":"%s","new_quantity":"%s"}'),
            _rows(n, ask, 1, '{"side":"offer","event_time":"' + T + '","price_level":"%s","new_quantity":"%s"}'),
        )
    ),
}


def ours(venue: str) -> Callable[[bytes], Any]:
    """Return our decoder, to exact scaled integers."""
    protocol = protocol_of(venue)
    instrument = make_instrument(VenueId(venue), "BTC/USD", price_decimals=1, size_decimals=8)
    native = {"kraken": "BTC/USD", "binance": "BTCUSD", "coinbase": "BTC-USD"}[venue]
    protocol.listings = Listings(VenueId(venue), [(native, instrument)])
    return protocol.stream(depth=10, bar_s=60).receive


def theirs(venue: str, kind: str) -> Callable[[bytes], Any]:
    """Return what ccxt.pro does with a message, into its own caches and with nobody waiting."""
    exchange = getattr(ccxt.pro, venue)()
    market = exchange.safe_market_structure(
        {
            "id": {"kraken": "XBTUSD", "binance": "BTCUSD", "coinbase": "BTC-USD"}[venue],
            "symbol": "BTC/USD",
            "base": "BTC",
            "quote": "USD",
            "baseId": "BTC",
            "quoteId": "USD",
            "type": "spot",
            "spot": True,
            "wsId": "BTC/USD",
            "info": {"wsname": "BTC/USD"},
            "precision": {"price": 0.1, "amount": 1e-8},
        }
    )
    exchange.set_markets([market])
    client = SimpleNamespace(resolve=lambda *_: None, reject=lambda *_: None, subscriptions={}, futures={}, url="")
    book = exchange.order_book({}, 1000)
    exchange.orderbooks["BTC/USD"] = book
    if kind == "trade":
        if venue == "binance":
            return lambda m: exchange.parse_ws_trade(json.loads(m)["data"], market)
        handle = exchange.handle_trades if venue == "kraken" else exchange.handle_trade
        return lambda m: handle(client, json.loads(m))
    if kind == "top of book":
        if venue == "binance":
            return lambda m: exchange.parse_ws_ticker(json.loads(m)["data"], "spot")
        handle = exchange.handle_ticker if venue == "kraken" else exchange.handle_tickers
        return lambda m: handle(client, json.loads(m))
    if venue == "binance":
        return lambda m: exchange.handle_order_book_message(client, json.loads(m)["data"], book)
    if venue == "coinbase":
        return lambda m: exchange.handle_order_book_helper(book, json.loads(m)["events"][0]["updates"])
    exchange.options["checksum"] = False
    return lambda m: exchange.handle_order_book(client, json.loads(m))


def each_us(work: Callable[[bytes], Any], found: list[bytes]) -> float:
    """Return microseconds a message."""
    started = perf_counter()
    for message in found:
        work(message)
    return (perf_counter() - started) / len(found) * 1e6


def decoding() -> list[tuple[str, str]]:
    """Return decoding times and their ratios, medians of several rounds."""
    figures = []
    for venue, kind in _WRITERS:
        found = messages(venue, kind)
        bare = _BARE[venue].decode
        ccxt_decode = theirs(venue, kind)
        rounds = []
        for _ in range(ROUNDS):
            decode = ours(venue)
            gc.collect()
            rounds.append((each_us(decode, found), each_us(bare, found), each_us(ccxt_decode, found[:500])))
        ours_us = median(r[0] for r in rounds)
        over_bare = median(r[0] / r[1] for r in rounds)
        under_ccxt = median(r[2] / r[0] for r in rounds)
        figures.append(
            (
                f"{venue} {kind}: decoding to exact integers",
                f"{ours_us:.2f} µs, {over_bare:.1f} x bare msgspec, {under_ccxt:.1f} x faster than ccxt.pro",
            )
        )
    return figures


def book_updates() -> list[tuple[str, str]]:
    """Return the time of a book update at depth 10, with and without Kraken's checksum."""
    instrument = InstrumentId("kraken:BTC/USD")
    draw = random.Random(4)
    updates = []
    for _ in range(20_000):
        bid: list[tuple[int, int]] = []
        ask: list[tuple[int, int]] = []
        (bid if draw.random() < 0.5 else ask).append((640_000 + draw.randint(0, 9), draw.randint(0, 3) * 10**7))
        bid = [(price - 10, size) for price, size in bid]
        updates.append((bid, ask))
    figures = []
    for proven in (False, True):
        times = []
        for _ in range(ROUNDS):
            book = OrderBook(instrument, 10)
            start = [(640_000 - 1 - n, 10**8) for n in range(10)], [(640_000 + n, 10**8) for n in range(10)]
            book.load(BookSnapshot(instrument=instrument, ts_ns=0, bids=start[0], asks=start[1]))
            book._proven = proven
            if proven:
                for half in (book._bids, book._asks):
                    half.texts = [b"%d%d" % (k * half.sign, s) for k, s in zip(half.keys, half.sizes, strict=True)]
            deltas = [BookDelta(instrument=instrument, ts_ns=1, bids=b, asks=a) for b, a in updates]
            started = perf_counter()
            for delta in deltas:
                book.apply(delta)
                if proven:
                    book.checksum()
            times.append((perf_counter() - started) / len(deltas) * 1e6)
        name = "with checksum" if proven else "without checksum"
        figures.append((f"book update at depth 10, {name}", f"{median(times):.2f} µs"))
    return figures


def matching() -> list[tuple[str, str]]:
    """Return how many orders a second the exchange matches in this process."""
    draw = random.Random(5)
    rates = []
    for _ in range(3):
        venue = Venue("kraken", MARKETS, RULES["kraken"], lambda: 1_700_000_000_000_000_000)
        for account in ("a", "b"):
            for asset in ("BTC", "USD"):
                venue.deposit(account, asset, 10**16)
        orders = [
            ("ab"[n % 2], NewOrder("BTC/USD", draw.choice(tuple(Side)), OrderType.LIMIT, draw.randint(10_000, 10**7),
                                   price=640_000 + draw.randint(-20, 20)))
            for n in range(ORDERS)
        ]  # fmt: skip
        started = perf_counter()
        for account, order in orders:
            venue.place(account, order)
        rates.append(ORDERS / (perf_counter() - started))
    return [("local exchange: orders matched in-process", f"{median(rates):,.0f} a second")]


async def _through_rest(venue: str) -> float:
    local = build(background=False, enforce_limits=False)
    async with serve(local, moving=False), aiohttp.ClientSession() as http:
        exchange = local.exchanges[venue]
        key, secret = local.open_account(venue, "bench", {"USD": "100000000", "BTC": "100000"})
        credentials = Credentials(key=key, secret=secret)
        client = VenueClient(
            with_urls(protocol_of(venue), exchange.url, exchange.ws_url),
            http,
            credentials=credentials,
            limits=NoLimits(),
        )
        await client.load_markets()
        queue = list(range(REST_ORDERS))

        async def work() -> None:
            while queue:
                number = queue.pop()
                side = Side.BUY if number % 2 else Side.SELL
                await client.call(
                    Submit(symbol="BTC/USD", side=side, type=OrderType.LIMIT, size="0.01", price=f"{64_000 + number % 7}.0",
                           client_order_id=f"bench-{number}")  # type: ignore[arg-type]
                )  # fmt: skip

        started = perf_counter()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return REST_ORDERS / (perf_counter() - started)


def faces() -> list[tuple[str, str]]:
    """Return how many orders a second go through a REST face, client and signatures included, in one process."""
    return [
        (
            f"local exchange: orders through {venue}'s REST face, signed and checked",
            f"{asyncio.run(_through_rest(venue)):,.0f} a second",
        )
        for venue in ("binance", "kraken", "coinbase")
    ]


def run() -> list[tuple[str, str]]:
    """Return the figures by name."""
    return decoding() + book_updates() + matching() + faces()
