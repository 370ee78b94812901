"""The wire formats: documented payloads (golden files), signing vectors, checksums, and everything that is not one."""

import base64
import json
import random
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from aether.domain.errors import Failure, InvalidValueError, UnsupportedError, VenueError
from aether.domain.events import Trade
from aether.domain.identifiers import ClientOrderId, VenueId, VenueOrderId
from aether.domain.instruments import TradingState, make_instrument
from aether.domain.orders import OrderType, Side, TimeInForce
from aether.venues.actions import Action, Amend, Balances, Cancel, Depth, Fills, Markets, OpenOrders, Submit
from aether.venues.binance.protocol import BinanceProtocol, signature_of
from aether.venues.book import OrderBook
from aether.venues.coinbase.protocol import CoinbaseProtocol, make_token
from aether.venues.kraken.names import failure_of
from aether.venues.kraken.protocol import KrakenProtocol
from aether.venues.kraken.stream import KrakenStream
from aether.venues.messages import BookDelta, BookSnapshot, SequenceGap, Unread, Unrecognized
from aether.venues.protocol import Credentials, Response, VenueProtocol, decoded
from aether.venues.registry import protocol_of
from aether.venues.stream import Channel
from aether.venues.tool import decode_rest, decode_socket, encode
from aether.venues.wire import Listings, MalformedError, scaled, time_ns
from tests.fuzz.__main__ import damaged
from tests.fuzz.target import corpus, one_input

PAYLOADS = Path(__file__).parent / "payloads"
VENUES = ("kraken", "binance", "coinbase")
CASES = [(venue, case) for venue in VENUES for case in json.loads((PAYLOADS / f"{venue}.json").read_text())["cases"]]


@pytest.mark.parametrize(("venue", "case"), CASES, ids=[f"{v}: {c['name']}" for v, c in CASES])
def test_documented_payloads_mean_what_the_golden_file_says(venue: str, case: dict[str, Any]) -> None:
    kind, _, endpoint = case["channel"].partition(":")
    payload = case["payload"].encode()
    found = (
        decode_socket(venue, payload, case["symbol"])
        if kind == "ws"
        else decode_rest(venue, endpoint, payload, case["symbol"])
    )
    assert json.loads(json.dumps(found)) == case["events"]
    assert all(e["type"] != "unrecognized" for e in found)


# Signatures.

KRAKEN_KEY = Credentials(
    key="key", secret="kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
)
BINANCE_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"


def test_krakens_documented_signature() -> None:
    order = '{"symbol": "BTC/USD", "side": "buy", "type": "limit", "size": "1.25", "price": "37500"}'
    request = encode("kraken", "submit", order, credentials=KRAKEN_KEY, nonce=1616492376594, now_ms=0)[0]
    assert request["url"] == "https://api.kraken.com/0/private/AddOrder"
    assert request["body"] == "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    expected = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    assert request["headers"]["API-Sign"] == expected


def test_binances_documented_hmac_signature() -> None:
    order = '{"symbol": "LTC/BTC", "side": "buy", "type": "limit", "size": "1", "price": "0.1"}'
    key = Credentials(key="vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A", secret=BINANCE_SECRET)
    request = encode("binance", "submit", order, credentials=key, nonce=0, now_ms=1499827319559)[0]
    signature = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    assert request["body"] == (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
        f"&timestamp=1499827319559&signature={signature}"
    )
    assert request["headers"]["X-MBX-APIKEY"] == key.key


def test_binances_documented_hmac_signature_of_a_mixed_request() -> None:
    query = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
    body = "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
    expected = "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"
    assert signature_of(query + body, BINANCE_SECRET) == expected


def test_binances_documented_hmac_signature_beyond_ascii() -> None:
    order = '{"symbol": "１２３４５６", "side": "buy", "type": "limit", "size": "1", "price": "0.1"}'
    key = Credentials(key="key", secret=BINANCE_SECRET)
    request = encode("binance", "submit", order, credentials=key, nonce=0, now_ms=1499827319559)[0]
    assert request["body"].startswith("symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY")
    assert request["body"].endswith("e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3")


def test_binances_documented_websocket_signature() -> None:
    key = Credentials(key="vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A", secret=BINANCE_SECRET)
    order = Submit(
        symbol="BTC/USDT", side=Side.SELL, type=OrderType.LIMIT, size="0.01000000", price="52000.00", deadline_ms=100
    )
    request = json.loads(BinanceProtocol().socket_request(order, 1, key, "", now_ms=1645423376532))
    assert request["method"] == "order.place"
    expected = "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24"
    assert request["params"]["signature"] == expected


def pem(key: Any) -> str:
    encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text: bytes = key.private_bytes(encoding, shape, serialization.NoEncryption())
    return text.decode()


def test_binance_takes_ed25519_and_rsa_keys() -> None:
    payload = "symbol=BTCUSDT&timestamp=1668481559918&recvWindow=5000"
    edwards = ed25519.Ed25519PrivateKey.generate()
    edwards.public_key().verify(base64.b64decode(signature_of(payload, pem(edwards))), payload.encode())
    rivest = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    given = base64.b64decode(signature_of(payload, pem(rivest)))
    rivest.public_key().verify(given, payload.encode(), padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidValueError, match="Ed25519 and RSA"):
        signature_of(payload, pem(ec.generate_private_key(ec.SECP256R1())))


@pytest.mark.parametrize("kind", ["ES256", "EdDSA", "EdDSA raw"])
def test_coinbases_token_is_for_one_request_and_two_minutes(kind: str) -> None:
    private: Any = ec.generate_private_key(ec.SECP256R1()) if kind == "ES256" else ed25519.Ed25519PrivateKey.generate()
    secret = pem(private)
    if kind == "EdDSA raw":
        raw = private.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        secret = base64.b64encode(raw + public).decode()
    key = Credentials(key="organizations/o/apiKeys/k", secret=secret)
    protocol = CoinbaseProtocol()
    request = protocol.sign(protocol.requests(Balances())[0], key, nonce=7, now_ms=1_700_000_000_000)
    token = request.headers["Authorization"].removeprefix("Bearer ")
    header = jwt.get_unverified_header(token)
    assert header["alg"] == kind.partition(" ")[0]
    assert (header["kid"], header["typ"]) == (key.key, "JWT")
    options: Any = {"verify_exp": False, "verify_nbf": False}
    claims = jwt.decode(token, private.public_key(), algorithms=["ES256", "EdDSA"], options=options)
    assert claims == {
        "sub": key.key,
        "iss": "cdp",
        "nbf": 1_700_000_000,
        "exp": 1_700_000_120,
        "uri": "GET api.coinbase.com/api/v3/brokerage/accounts",
    }
    assert "uri" not in jwt.decode(
        make_token(key, uri="", nonce=1, now_ms=0), private.public_key(), algorithms=["ES256", "EdDSA"], options=options
    )


def test_a_key_never_shows_its_secret() -> None:
    assert KRAKEN_KEY.secret not in repr(KRAKEN_KEY)
    assert KRAKEN_KEY.secret not in str(KRAKEN_KEY)


@pytest.mark.parametrize(
    ("venue", "secret"),
    [("kraken", "not base64!"), ("coinbase", "nonsense"), ("binance", "-----BEGIN PRIVATE KEY-----")],
)
def test_a_damaged_key_says_so(venue: str, secret: str) -> None:
    with pytest.raises(InvalidValueError):
        encode(venue, "balances", "{}", credentials=Credentials(key="k", secret=secret), nonce=1, now_ms=1)


# Orders.


def submit(**fields: Any) -> Submit:
    return Submit(symbol="BTC/USD", side=Side.BUY, size="1", **fields)


def test_what_a_venue_lacks_is_refused_with_a_remedy() -> None:
    cases: list[tuple[VenueProtocol, Action]] = [
        (CoinbaseProtocol(), submit(type=OrderType.STOP_LOSS, trigger_price="1")),
        (CoinbaseProtocol(), submit(type=OrderType.LIMIT, price="1", display_size="0.1")),
        (BinanceProtocol(), submit(type=OrderType.TRAILING_STOP, trail="10")),
        (CoinbaseProtocol(), Cancel(symbol="BTC/USD", client_order_id=ClientOrderId("x"))),
    ]
    for protocol, action in cases:
        with pytest.raises(UnsupportedError) as caught:
            protocol.requests(action)
        assert caught.value.remedy


def test_long_client_ids_become_uuids_that_are_always_the_same() -> None:
    for protocol in (KrakenProtocol(), BinanceProtocol(), CoinbaseProtocol()):
        long = ClientOrderId("company.abcdef0123456789-1234567890123456789")
        assert protocol.wire_id(long) == protocol.wire_id(long)
        assert len(protocol.wire_id(long)) == 36
    assert KrakenProtocol().wire_id(ClientOrderId("company-1")) == "company-1"


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("EOrder:Insufficient funds", Failure.REJECTED),
        ("EAPI:Rate limit exceeded", Failure.RATE_LIMIT),
        ("EAPI:Invalid key", Failure.AUTH),
        ("EAPI:Invalid nonce", Failure.RETRYABLE),
        ("EService:Unavailable", Failure.UNKNOWN_OUTCOME),
        ("EOrder:Unknown order", Failure.NOT_FOUND),
        ("something never seen", Failure.REJECTED),
    ],
)
def test_krakens_errors_fall_into_the_small_set(text: str, failure: Failure) -> None:
    assert failure_of(text) is failure


@pytest.mark.parametrize(
    ("protocol", "status", "body", "failure"),
    [
        (BinanceProtocol(), 400, b'{"code":-1021,"msg":"Timestamp"}', Failure.CLOCK),
        (BinanceProtocol(), 429, b'{"code":-1003,"msg":"Too many"}', Failure.RATE_LIMIT),
        (BinanceProtocol(), 418, b"", Failure.RATE_LIMIT),
        (BinanceProtocol(), 504, b"<html>", Failure.UNKNOWN_OUTCOME),
        (BinanceProtocol(), 400, b'{"code":-2013,"msg":"Order does not exist."}', Failure.NOT_FOUND),
        (BinanceProtocol(), 401, b'{"code":-2015,"msg":"Invalid API-key"}', Failure.AUTH),
        (CoinbaseProtocol(), 401, b"Unauthorized", Failure.AUTH),
        (CoinbaseProtocol(), 503, b"", Failure.VENUE_DOWN),
        (CoinbaseProtocol(), 500, b'{"error":"INTERNAL"}', Failure.UNKNOWN_OUTCOME),
        (KrakenProtocol(), 520, b"<html>", Failure.UNKNOWN_OUTCOME),
        (KrakenProtocol(), 200, b'{"error":["EService:Market in post_only mode"]}', Failure.REJECTED),
    ],
)
def test_http_failures_are_classed(protocol: Any, status: int, body: bytes, failure: Failure) -> None:
    with pytest.raises(VenueError) as caught:
        decoded(protocol, Balances(), Response(status=status, headers={"retry-after": "3"}, body=body))
    assert caught.value.failure is failure
    assert caught.value.remedy


# Numbers and times.


@given(st.integers(-(10**20), 10**20), st.integers(0, 12))
def test_numbers_are_exact(units: int, decimals: int) -> None:
    sign, digits = "-" if units < 0 else "", str(abs(units)).rjust(decimals + 1, "0")
    text = sign + (f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)
    assert scaled(text, decimals) == units
    assert scaled(text, decimals + 3) == units * 1_000


@pytest.mark.parametrize("text", ["", ".", "1.2.3", "abc", "1e999", "NaN", "inf", "0x10", "１", "1 2", "9" * 50, "--1"])
def test_what_is_no_number_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        scaled(text, 2)


def test_finer_than_the_precision_is_malformed_and_never_rounded() -> None:
    assert scaled("1.50", 1) == 15
    with pytest.raises(MalformedError, match="finer"):
        scaled("1.55", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2023-02-09T20:32:50.714964855Z", 1675974770714964855),
        ("2024-02-29T23:59:59.5Z", 1709251199500000000),
        ("2023-06-23 20:31:56.121961769 +0000 UTC m=+91717.5", 1687552316121961769),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, expected: int) -> None:
    assert time_ns(text) == expected


@pytest.mark.parametrize(
    "text", ["", "2023-02-30T00:00:00Z", "2023-13-01T00:00:00Z", "now", "2023-01-01T00:00:00+02:00"]
)
def test_what_is_no_time_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        time_ns(text)


# Books.

BIDS = (
    "45283.5/0.10000000 45283.4/1.54582015 45282.1/0.10000000 45281.0/0.10000000 45280.3/1.54592586 "
    "45279.0/0.07990000 45277.6/0.03310103 45277.5/0.30000000 45277.3/1.54602737 45276.6/0.15445238"
)
ASKS = (
    "45285.2/0.00100000 45286.4/1.54571953 45286.6/1.54571109 45289.6/1.54560911 45290.2/0.15890660 "
    "45291.8/1.54553491 45294.7/0.04454749 45296.1/0.35380000 45297.5/0.09945542 45299.5/0.18772827"
)
BTC_USD = make_instrument(VenueId("kraken"), "BTC/USD", price_decimals=1, size_decimals=8)


def side(text: str) -> str:
    return ",".join('{{"price":{},"qty":{}}}'.format(*level.split("/")) for level in text.split())


def kraken_book(checksum: int) -> BookSnapshot:
    data = f'{{"symbol":"BTC/USD","bids":[{side(BIDS)}],"asks":[{side(ASKS)}],"checksum":{checksum}}}'
    stream = KrakenStream(Listings(VenueId("kraken"), [("BTC/USD", BTC_USD)]))
    message = stream.receive(f'{{"channel":"book","type":"snapshot","data":[{data}]}}'.encode())[0]
    assert isinstance(message, BookSnapshot)
    return message


def test_krakens_documented_checksum() -> None:
    book = OrderBook(BTC_USD.id, 10)
    assert book.load(kraken_book(3310070434))
    assert book.checksum() == 3310070434
    assert book.usable


def test_a_wrong_checksum_takes_the_book_out_of_use() -> None:
    book = OrderBook(BTC_USD.id, 10)
    assert not book.load(kraken_book(3310070435))
    assert "checksum" in book.broken
    assert not book.usable


def delta(first: int, last: int, bids: list[tuple[int, int]] | None = None) -> BookDelta:
    return BookDelta(instrument=BTC_USD.id, ts_ns=1, bids=bids or [], asks=[], first=first, last=last)


def snapshot(sequence: int) -> BookSnapshot:
    return BookSnapshot(instrument=BTC_USD.id, ts_ns=0, bids=[(100, 5)], asks=[(101, 5)], sequence=sequence)


def test_binances_numbering_joins_snapshot_and_changes() -> None:
    book = OrderBook(BTC_USD.id)
    assert not book.apply(delta(90, 100, [(99, 1)]))
    assert not book.apply(delta(101, 105, [(98, 2)]))
    assert book.load(snapshot(102))
    assert book.sequence == 105
    assert book.bids(3) == ((100, 5), (98, 2))
    assert book.apply(delta(106, 110, [(100, 0)]))
    assert book.bid == 98
    assert not book.apply(delta(112, 113))
    assert "111 to 111 are missing" in book.broken


def test_a_snapshot_older_than_the_changes_is_not_taken() -> None:
    book = OrderBook(BTC_USD.id)
    book.apply(delta(200, 210))
    assert not book.load(snapshot(150))
    assert "missing" in book.broken


def test_crossed_and_one_sided_books_are_not_usable() -> None:
    book = OrderBook(BTC_USD.id)
    book.load(BookSnapshot(instrument=BTC_USD.id, ts_ns=0, bids=[(102, 1)], asks=[(101, 1)], sequence=1))
    assert not book.usable
    book.load(BookSnapshot(instrument=BTC_USD.id, ts_ns=0, bids=[(102, 1)], asks=[], sequence=1))
    assert not book.usable


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 5)), max_size=200))
def test_a_book_is_what_a_plain_dictionary_is(changes: list[tuple[bool, int, int]]) -> None:
    book = OrderBook(BTC_USD.id)
    book.load(BookSnapshot(instrument=BTC_USD.id, ts_ns=0, bids=[], asks=[]))
    plain: dict[bool, dict[int, int]] = {True: {}, False: {}}
    for is_bid, price, size in changes:
        level = [(price, size)]
        book.apply(
            BookDelta(instrument=BTC_USD.id, ts_ns=0, bids=level if is_bid else [], asks=[] if is_bid else level)
        )
        plain[is_bid][price] = size
        if not size:
            del plain[is_bid][price]
    assert book.bids(50) == tuple(sorted(plain[True].items(), reverse=True))
    assert book.asks(50) == tuple(sorted(plain[False].items()))


# What is no message.


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"channel":"trade"}', b'{"e":"trade"}', b'{"channel":7}', b"[" * 5000],
)
def test_garbage_is_counted_and_never_raised(venue: str, payload: bytes) -> None:
    found = protocol_of(venue).stream(depth=10, bar_s=60).receive(payload)
    assert len(found) == 1
    assert isinstance(found[0], Unrecognized)
    assert len(found[0].digest) == 16


def test_a_lost_message_on_coinbases_connection_is_a_gap() -> None:
    stream = CoinbaseProtocol().stream(depth=10, bar_s=60)
    head = '{{"channel":"heartbeats","timestamp":"2023-06-23T20:31:26Z","sequence_num":{},"events":[]}}'
    stream.receive(head.format(0).encode())
    assert not any(isinstance(m, SequenceGap) for m in stream.receive(head.format(1).encode()))
    gap = stream.receive(head.format(3).encode())[0]
    assert isinstance(gap, SequenceGap)
    assert (gap.expected, gap.received) == (2, 3)


def test_twenty_thousand_damaged_payloads_raise_nothing() -> None:
    draw = random.Random(11)
    for data, _ in zip(damaged(corpus(), draw), range(20_000), strict=False):
        one_input(data)


def test_one_pair_that_the_ledger_cannot_hold_does_not_hide_the_others() -> None:
    case = next(c for v, c in CASES if v == "coinbase" and c["name"] == "products")
    body = json.loads(case["payload"])
    body["products"].append({**body["products"][0], "product_id": "DUST-USD", "base_increment": "0.0000000001",
                             "base_min_size": "0.0000000001", "base_currency_id": "DUST"})  # fmt: skip
    found = decoded(CoinbaseProtocol(), Markets(), Response(status=200, headers={}, body=json.dumps(body).encode()))
    assert [pair.native for pair in found] == ["BTC-USD"]


def test_a_pair_that_does_not_trade_now_is_listed_all_the_same() -> None:
    """`aether simulate --seed 580`: a node that started in a maintenance never asked for its executions (O2, O9)."""
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01", "minPrice": "0.01", "maxPrice": "1000000"},
        {"filterType": "LOT_SIZE", "stepSize": "0.00001", "minQty": "0.00001", "maxQty": "9000"},
    ]
    pair = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "status": "BREAK", "filters": filters}
    body = json.dumps({"symbols": [pair, {**pair, "symbol": "ETHUSDT", "isSpotTradingAllowed": False}]}).encode()
    found = decoded(protocol_of("binance"), Markets(), Response(status=200, headers={}, body=body))
    assert [(p.native, p.state, p.detail) for p in found] == [("BTCUSDT", TradingState.MAINTENANCE, "BREAK")]


def test_rows_of_pairs_that_are_not_listed_are_told_and_orders_keep_their_ids() -> None:
    """Nobody knows their precision; but an open order is open, and a stop takes it back."""
    found = {}
    for venue, name, action in (("kraken", "open orders", OpenOrders()), ("coinbase", "fills", Fills())):
        case = next(c for v, c in CASES if v == venue and c["name"] == name)
        response = Response(status=200, headers={}, body=case["payload"].encode())
        found[name] = decoded(protocol_of(venue), action, response)
    (fill,) = found["fills"]
    assert isinstance(fill, Unread)
    assert "is not listed" in fill.reason
    (order,) = found["open orders"]
    assert (order.venue_order_id, order.instrument) == ("OQCLML-BW3P3-BUCMWZ", "kraken:XBTUSD")
    assert (order.state, order.size, order.filled) == ("accepted", 0, -1)
    assert "is not listed" in order.unread


def test_a_pair_whose_data_come_under_another_name_has_them_all_the_same() -> None:
    """T6: Coinbase trades BTC-USDC in the book of BTC-USD, and names that."""
    products = [
        {
            "product_id": name, "alias": alias, "base_currency_id": "BTC", "quote_currency_id": quote,
            "price_increment": "0.01", "base_increment": "0.00000001", "quote_increment": "0.01",
            "base_min_size": "0.00000001", "base_max_size": "3400", "status": "online",
        }
        for name, alias, quote in (("BTC-USD", "", "USD"), ("BTC-USDC", "BTC-USD", "USDC"))
    ]  # fmt: skip
    protocol = CoinbaseProtocol()
    body = json.dumps({"products": products}).encode()
    for pair in decoded(protocol, Markets(), Response(status=200, headers={}, body=body)):
        protocol.listings.add_in_scale(pair.native, pair.instrument)
        if pair.told_as:
            protocol.listings.told_as[pair.native] = pair.told_as
    stream = protocol.stream(depth=10, bar_s=60)
    stream.subscribe(Channel.TRADES, ["BTC/USDC"])
    trade = {
        "trade_id": "1", "product_id": "BTC-USD", "price": "5", "size": "1", "side": "BUY",
        "time": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    message = {
        "channel": "market_trades", "client_id": "", "timestamp": "2026-01-01T00:00:00Z", "sequence_num": 0,
        "events": [{"type": "update", "trades": [trade]}],
    }  # fmt: skip
    (told,) = stream.receive(json.dumps(message, separators=(",", ":")).encode())
    assert isinstance(told, Trade)
    assert told.instrument == "coinbase:BTC/USDC"
    book = {"pricebook": {"product_id": "BTC-USD", "bids": [], "asks": [], "time": "2026-01-01T00:00:00Z"}}
    asked = decoded(
        protocol, Depth(symbol="BTC/USDC"), Response(status=200, headers={}, body=json.dumps(book).encode())
    )
    assert asked.instrument == "coinbase:BTC/USDC"


def test_an_amend_of_a_post_only_order_says_so_again() -> None:
    """T1: Kraken's amend takes an order for one that is not unless told; moved over the book, it would take."""
    amend = Amend(symbol="BTC/USD", venue_order_id=VenueOrderId("O-1"), price="50000", post_only=True)
    protocol = KrakenProtocol()
    assert "post_only=true" in protocol.requests(amend)[0].body
    text = protocol.socket_request(amend, 1, KRAKEN_KEY, "token", now_ms=0)
    assert json.loads(text)["params"]["post_only"] is True


def test_a_fill_or_kill_with_a_trigger_is_refused_before_kraken_has_to() -> None:
    order = Submit(
        symbol="BTC/USD", side=Side.SELL, type=OrderType.STOP_LOSS_LIMIT, size="1", price="1", trigger_price="2",
        time_in_force=TimeInForce.FOK,
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="no fill-or-kill for stop_loss_limit"):
        KrakenProtocol().requests(order)
