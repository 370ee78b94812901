"""The local exchange refuses what the venues refuse: signatures, nonces, times, tokens, limits, filters, in their
words."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from yarl import URL

from aether.domain.orders import OrderType, Side
from aether.exchange.server import LocalExchange
from aether.venues import actions as a
from aether.venues.actions import Request
from aether.venues.client import with_urls
from aether.venues.protocol import Credentials, VenueProtocol
from aether.venues.registry import protocol_of
from tests.contract.venue_desk import VENUES, local_exchange

Answer = tuple[int, Any]


class Caller:
    """Sends requests by hand, each as it is given."""

    def __init__(self, local: LocalExchange, venue: str, http: aiohttp.ClientSession) -> None:
        self.exchange = local.exchanges[venue]
        key, secret = local.open_account(venue, "company", {"USD": "1000000", "BTC": "10"})
        self.credentials = Credentials(key=key, secret=secret)
        self.protocol: VenueProtocol = with_urls(protocol_of(venue), self.exchange.url, self.exchange.ws_url)
        self._http = http
        self._nonce = 1_000

    def now_ms(self) -> int:
        return self.exchange.venue.clock() // 1_000_000

    def signed(self, action: a.Action, *, nonce: int = 0, now_ms: int = 0) -> Request:
        self._nonce += 1
        request = self.protocol.requests(action)[0]
        return self.protocol.sign(request, self.credentials, nonce=nonce or self._nonce, now_ms=now_ms or self.now_ms())

    async def send(self, request: Request) -> Answer:
        async with self._http.request(
            request.method,
            URL(self.exchange.url + request.path, encoded=True),
            data=request.body,
            headers=request.headers,
        ) as response:
            return response.status, msgspec.json.decode(await response.read())

    async def ask(self, action: a.Action, **how: int) -> Answer:
        return await self.send(self.signed(action, **how))


@asynccontextmanager
async def caller_at(venue: str, *, enforce_limits: bool = True) -> AsyncIterator[Caller]:
    async with local_exchange(enforce_limits=enforce_limits) as local, aiohttp.ClientSession() as http:
        yield Caller(local, venue, http)


async def test_kraken_wants_rising_nonces_and_the_right_signature() -> None:
    async with caller_at("kraken") as caller:
        assert (await caller.ask(a.Balances(), nonce=5_000))[1]["error"] == []
        for nonce in (5_000, 4_999):
            assert (await caller.ask(a.Balances(), nonce=nonce))[1] == {"error": ["EAPI:Invalid nonce"]}
        tampered = caller.signed(a.Balances(), nonce=6_000)
        tampered.body += "&asset=XBT"
        assert (await caller.send(tampered))[1] == {"error": ["EAPI:Invalid signature"]}
        caller.credentials = Credentials(key="stranger", secret=caller.credentials.secret)
        assert (await caller.ask(a.Balances(), nonce=7_000))[1] == {"error": ["EAPI:Invalid key"]}


async def test_binance_wants_a_fresh_time_and_the_right_signature() -> None:
    async with caller_at("binance") as caller:
        assert (await caller.ask(a.Balances()))[0] == 200
        status, old = await caller.ask(a.Balances(), now_ms=caller.now_ms() - 6_000)
        assert (status, old["code"]) == (400, -1021)
        status, early = await caller.ask(a.Balances(), now_ms=caller.now_ms() + 3_000)
        assert (status, early["code"]) == (400, -1021)
        tampered = caller.signed(a.OpenOrders(symbol="BTC/USD"))
        tampered.path = tampered.path.replace("BTCUSD", "ETHUSD")
        assert (await caller.send(tampered))[1]["code"] == -1022
        caller.credentials = Credentials(key="stranger", secret=caller.credentials.secret)
        assert (await caller.ask(a.Balances()))[1]["code"] == -2015


async def test_coinbase_wants_a_token_for_just_this_request_and_now() -> None:
    async with caller_at("coinbase") as caller:
        assert (await caller.ask(a.Balances()))[0] == 200
        assert (await caller.ask(a.Balances(), now_ms=caller.now_ms() - 130_000))[0] == 401
        other = caller.signed(a.Balances())
        other.path = caller.signed(a.Permissions()).path
        assert (await caller.send(other))[0] == 401
        bare = caller.protocol.requests(a.Balances())[0]
        assert (await caller.send(bare))[0] == 401


@pytest.mark.parametrize(
    ("venue", "action", "refused"),
    [
        ("kraken", a.Balances(), lambda s, b: b.get("error") == ["EAPI:Rate limit exceeded"]),
        ("binance", a.Balances(), lambda s, b: s == 429 and b["code"] == -1003),
        ("coinbase", a.Balances(), lambda s, b: s == 429),
    ],
)
async def test_rate_limits_are_enforced(venue: str, action: a.Action, refused: Any) -> None:
    async with caller_at(venue) as caller:
        answers = []
        for _ in range(620):
            answers.append(await caller.ask(action))
            if refused(*answers[-1]):
                break
        assert refused(*answers[-1])
        assert not refused(*answers[0])


@pytest.mark.parametrize("venue", VENUES)
async def test_a_key_without_the_right_to_trade_cannot(venue: str) -> None:
    async with caller_at(venue) as caller:
        next(k for k in caller.exchange.face.keys.values() if k.name == caller.credentials.key).can_trade = False
        order = a.Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.LIMIT, size="0.1", price="50000")
        status, body = await caller.ask(order)
        denied = {
            "kraken": body.get("error") == ["EGeneral:Permission denied"],
            "binance": body.get("code") == -2015,
            "coinbase": status == 403,
        }
        assert denied[venue]
        assert not caller.exchange.venue.account("company").orders


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(("size", "price"), [("0.00001", "50000"), ("0.1", "50000.55"), ("0.123456789", "50000")])
async def test_filters_are_enforced(venue: str, size: str, price: str) -> None:
    async with caller_at(venue) as caller:
        order = a.Submit(symbol="BTC/USD", side=Side.BUY, type=OrderType.LIMIT, size=size, price=price)
        status, body = await caller.ask(order)
        refused = {
            "kraken": bool(body.get("error")),
            "binance": status == 400,
            "coinbase": body.get("success") is False,
        }
        assert refused[venue], body
        assert not caller.exchange.venue.account("company").orders


@pytest.mark.parametrize("venue", VENUES)
async def test_broken_requests_are_refused_and_never_crash_a_face(venue: str) -> None:
    async with caller_at(venue, enforce_limits=False) as caller:
        path = {"kraken": "/0/private/AddOrder", "binance": "/api/v3/order", "coinbase": "/api/v3/brokerage/orders"}[
            venue
        ]
        for body in ("", "{", "a=b&c", "%%%", '{"client_order_id": 5}', "x" * 10_000):
            status, answer = await caller.send(Request(method="POST", path=path, body=body))
            assert status < 500
            assert answer
        sockets = {"kraken": "/v2", "binance": "/ws-api/v3", "coinbase": "/"}
        url = caller.exchange.url.replace("http", "ws") + sockets[venue]
        async with caller._http.ws_connect(url) as socket:
            for text in (
                "",
                "{",
                "[]",
                "null",
                '{"method":7}',
                '{"type":"subscribe"}',
                '{"id":1,"method":"order.place"}',
            ):
                await socket.send_str(text)
            message = await socket.receive(timeout=5)
            assert message.type is aiohttp.WSMsgType.TEXT
            await socket.send_str('{"method":"ping"}')
            assert not socket.closed
