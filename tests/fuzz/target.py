"""What is fuzzed: one input goes to the decoder that its first byte names, and nothing but a documented refusal may
come out."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from aether.domain.errors import AetherError
from aether.domain.identifiers import VenueId
from aether.domain.instruments import make_instrument
from aether.domain.orders import OrderType, Side
from aether.venues import actions as a
from aether.venues.book import OrderBook
from aether.venues.messages import BookDelta, BookSnapshot
from aether.venues.protocol import Response, VenueProtocol, decoded
from aether.venues.registry import PROTOCOLS, protocol_of
from aether.venues.tool import decode_socket
from aether.venues.wire import Listings, MalformedError

PAYLOADS = Path(__file__).parent.parent / "contract" / "payloads"
NATIVE = {
    "kraken": ("BTC/USD", "XXBTZUSD", "XBTUSD", "MATIC/USD"),
    "binance": ("BNBBTC", "ETHUSDT", "ETHBTC", "LTCBTC"),
    "coinbase": ("BTC-USD", "ETH-USD"),
}
REST = (
    a.Markets(),
    a.ServerTime(),
    a.SystemStatus(),
    a.Ticker(symbol="BTC/USD"),
    a.Depth(symbol="BNB/BTC"),
    a.RecentTrades(symbol="BNB/BTC"),
    a.Candles(symbol="BNB/BTC"),
    a.Balances(),
    a.Fees(symbol="BTC/USD"),
    a.Permissions(),
    a.StreamToken(),
    a.OpenOrders(),
    a.ClosedOrders(),
    a.GetOrder(symbol="BTC/USD"),
    a.Fills(symbol="BTC/USD"),
    a.Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.MARKET, size="1"),
    a.Amend(symbol="BTC/USD"),
    a.Cancel(symbol="BTC/USD"),
    a.CancelAllOrders(),
)
STATUSES = (200, 200, 200, 400, 429, 500, 503)


def _open(venue: str) -> VenueProtocol:
    protocol = protocol_of(venue)
    instrument = make_instrument(VenueId(venue), "BTC/USD", price_decimals=5, size_decimals=8)
    protocol.listings = Listings(VenueId(venue), [(name, instrument) for name in NATIVE[venue]])
    return protocol


_protocols = [_open(venue) for venue in PROTOCOLS]
_streams = [protocol.stream(depth=10, bar_s=60) for protocol in _protocols]
_books = [OrderBook(next(iter(p.listings.values())).id, 10) for p in _protocols]


def one_input(data: bytes) -> None:
    """Decode one input; raises whatever a decoder should not have raised."""
    if len(data) < 2:
        return
    which, how, payload = data[0] % 3, data[1], data[2:]
    if how < 160:
        _socket(which, payload)
    elif how < 240:
        action = REST[how % len(REST)]
        response = Response(status=STATUSES[how % len(STATUSES)], headers={}, body=payload)
        with suppress(MalformedError, AetherError):
            decoded(_protocols[which], action, response)
    else:
        decode_socket(tuple(PROTOCOLS)[which], payload)


def _socket(which: int, payload: bytes) -> None:
    for message in _streams[which].receive(payload):
        if isinstance(message, BookSnapshot):
            _books[which].load(message)
        elif isinstance(message, BookDelta):
            _books[which].apply(message)


def corpus() -> list[bytes]:
    """Return the documented payloads as inputs, each for the decoder that it belongs to."""
    found = []
    for which, venue in enumerate(PROTOCOLS):
        cases: list[dict[str, Any]] = json.loads((PAYLOADS / f"{venue}.json").read_text())["cases"]
        for number, case in enumerate(cases):
            how = 0 if case["channel"] == "ws" else 160 + number % 80
            found.append(bytes([which, how]) + case["payload"].encode())
    return found
