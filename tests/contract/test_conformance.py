"""`aether venue conformance`: a venue passes when it does what its adapter believes, and only then (T2)."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from aether.domain.scaled import AMOUNT_SCALE
from aether.exchange.server import LocalExchange, build, serve
from aether.venues import conformance
from aether.venues.client import VenueClient, with_urls
from aether.venues.conformance import Result, Suite, Verdict, report_of
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of
from tests.contract.venue_desk import VENUES

MOST = Decimal(100)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "LOOK_S", 0.02)


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with serve(build(seed=11, enforce_limits=False)) as exchange:
        yield exchange


async def ran(local: LocalExchange, venue: str, most: Decimal = MOST, *, has_key: bool = True) -> list[Result]:
    exchange = local.exchanges[venue]
    key, secret = local.open_account(venue, "firm", {"USD": "1000"})
    async with aiohttp.ClientSession() as http:
        credentials = Credentials(key=key, secret=secret) if has_key else None
        client = VenueClient(
            with_urls(protocol_of(venue), exchange.url, exchange.ws_url), http, credentials=credentials
        )
        await client.load_markets()
        return await Suite(client, "BTC/USD", most).run()


def verdicts(results: list[Result], verdict: Verdict) -> dict[str, str]:
    return {r.name: r.told for r in results if r.verdict is verdict}


@pytest.mark.parametrize("venue", VENUES)
async def test_the_local_exchange_passes_and_nothing_of_the_suite_stays(local: LocalExchange, venue: str) -> None:
    results = await ran(local, venue)
    assert verdicts(results, Verdict.FAILED) == {}
    assert verdicts(results, Verdict.NOT_RUN) == {}
    lacks = {"kraken": set(), "binance": {"amend", "dead man"}, "coinbase": {"dead man"}}[venue]
    assert set(verdicts(results, Verdict.NOT_OFFERED)) == lacks
    account = local.exchanges[venue].venue.account("firm")
    assert not account.open
    assert account.total["USD"] > 990 * AMOUNT_SCALE, "it cost a fee and a spread"
    told = report_of(venue, "http://local", "BTC/USD", MOST, results, "2026-01-01 00:00:00")
    assert "| resting | passed |" in told
    assert "## resting: passed" in told
    assert "Submit {" in told
    assert "HTTP 200" in told
    assert "sell" in next(r.told for r in results if r.name == "round trip")
    assert venue != "kraken" or "StreamToken {} -> HTTP 200 (kept back)" in told


@pytest.mark.parametrize("venue", VENUES)
async def test_without_a_key_or_a_cap_nothing_is_placed(local: LocalExchange, venue: str) -> None:
    without_key = await ran(local, venue, has_key=False)
    without_cap = await ran(local, venue, Decimal(0))
    assert {r.name for r in without_key} < {r.name for r in without_cap}
    assert verdicts(without_cap, Verdict.FAILED) == {}
    assert not local.exchanges[venue].venue.account("firm").orders


async def test_an_order_that_costs_more_than_may_be_spent_is_not_placed(local: LocalExchange) -> None:
    results = await ran(local, "kraken", Decimal("0.10"))
    assert "0.10 may be spent" in verdicts(results, Verdict.NOT_RUN)["resting"]
    assert not local.exchanges["kraken"].venue.account("firm").orders


async def test_orders_of_others_are_not_canceled_with_the_suites(local: LocalExchange) -> None:
    exchange = local.exchanges["kraken"]
    key, secret = local.open_account("kraken", "firm", {"USD": "1000"})
    async with aiohttp.ClientSession() as http:
        client = VenueClient(
            with_urls(protocol_of("kraken"), exchange.url, exchange.ws_url),
            http,
            credentials=Credentials(key=key, secret=secret),
        )
        await client.load_markets()
        suite = Suite(client, "BTC/USD", MOST)
        order = suite.order(await suite.price(-2_000))
        await client.call(order)
        results = await suite.run()
    not_run = verdicts(results, Verdict.NOT_RUN)
    assert set(not_run) == {"cancel all", "session"}
    assert len(exchange.venue.account("firm").open) == 1


@pytest.mark.parametrize(
    ("venue", "plant", "found"),
    [
        ("kraken", "forgets_ids", "same id"),
        ("binance", "cancels_nothing", "resting"),
        ("coinbase", "takes_post_only", "post only"),
    ],
)
async def test_a_venue_that_does_otherwise_fails_by_name(
    local: LocalExchange, venue: str, plant: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core: Any = local.exchanges[venue].venue
    if plant == "cancels_nothing":
        monkeypatch.setattr(core, "cancel", lambda _name, order, *_more: order)
    elif plant == "takes_post_only":
        place = core.place

        def taken(name: str, request: Any) -> Any:
            request.post_only = False
            return place(name, request)

        monkeypatch.setattr(core, "place", taken)
    else:
        check = core._check

        def forgetful(account: Any, *given: Any) -> Any:
            account.by_client.clear()
            return check(account, *given)

        monkeypatch.setattr(core, "_check", forgetful)
    monkeypatch.setattr(conformance, "SETTLES_WITHIN_S", 0.5)
    monkeypatch.setattr(conformance, "CASE_WITHIN_S", 3.0)
    results = await ran(local, venue)
    assert found in verdicts(results, Verdict.FAILED)
