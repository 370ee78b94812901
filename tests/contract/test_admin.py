"""The local exchange's admin interface says what is wrong with a request, and does nothing then."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from aether.exchange.server import LocalExchange, build, serve


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with serve(build(background=False), moving=False) as exchange:
        yield exchange


async def asked(local: LocalExchange, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as http:
        sent: dict[str, Any] = {"data": body} if isinstance(body, str) else {"json": body}
        async with http.post(local.admin_url + path, **sent) as answer:
            return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (
            "/venue",
            {"exchange": "krakn", "state": "online"},
            "no exchange 'krakn'; there are kraken, binance",
        ),
        ("/venue", {"exchange": "kraken", "state": "closed"}, "Invalid enum value 'closed'"),
        ("/venue", {"state": "online"}, "missing required field `exchange`"),
        ("/venue", {"exchange": "kraken", "sate": "online"}, "unknown field `sate`"),
        ("/venue", {"exchange": "kraken", "symbol": "BTCUSD", "state": "online"}, "no pair 'BTCUSD'; it has BTC/USD"),
        ("/venue", {"exchange": "kraken", "state": "delisted"}, "only a pair is delisted"),
        ("/venue", "x", "JSON is malformed"),
        ("/faults", {"exchange": "krakn"}, "no exchange 'krakn'"),
        ("/faults", {"rates": {"lose": 0.1}}, "unknown faults ['lose']; known are ["),
        ("/faults", {"rates": {"lose_response": "often"}}, "Expected `float`"),
        ("/accounts", {"exchange": "krakn", "account": "a"}, "no exchange 'krakn'"),
    ],
)
async def test_what_is_wrong_is_said(local: LocalExchange, path: str, body: Any, told: str) -> None:
    status, answer = await asked(local, path, body)
    assert status == 400
    assert told in answer["error"]
    assert {e.venue.state for e in local.exchanges.values()} == {"online"}


async def test_states_and_faults_are_set_and_shown(local: LocalExchange) -> None:
    kraken = {"exchange": "kraken", "symbol": "BTC/USD", "state": "cancel_only"}
    assert await asked(local, "/venue", kraken) == (200, {"ok": True})
    assert (await asked(local, "/venue", {"exchange": "binance", "state": "maintenance"}))[0] == 200
    assert (await asked(local, "/faults", {"exchange": "coinbase", "rates": {"lose_response": 0.2}}))[0] == 200
    async with aiohttp.ClientSession() as http, http.get(local.admin_url + "/state") as answer:
        told = await answer.json()
    assert told["kraken"]["pairs"] == {"BTC/USD": "cancel_only"}
    assert told["kraken"]["state"] == "online"
    assert told["binance"]["state"] == "maintenance"
    assert told["coinbase"]["rates"] == {"lose_response": 0.2}
    assert (await asked(local, "/faults", {}))[0] == 200
    assert local.exchanges["coinbase"].faults.rates == {}
