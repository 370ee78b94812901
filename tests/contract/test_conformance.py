"""`aether venue conformance`: a venue passes when it does what its adapter believes, and only then (T2)."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aether.cli.venue import _cap, _is_for_trying, _may_write
from aether.domain.errors import InvalidValueError
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


@pytest.mark.parametrize("pair", ["BTC/USD", "ETH/USD"])
async def test_orders_of_others_are_not_canceled_with_the_suites(local: LocalExchange, pair: str) -> None:
    """Found by attack: those of other pairs were, and the run passed."""
    exchange = local.exchanges["kraken"]
    key, secret = local.open_account("kraken", "firm", {"USD": "1000"})
    async with aiohttp.ClientSession() as http:
        client = VenueClient(
            with_urls(protocol_of("kraken"), exchange.url, exchange.ws_url),
            http,
            credentials=Credentials(key=key, secret=secret),
        )
        await client.load_markets()
        other = Suite(client, pair, MOST)
        await client.call(other.order(await other.price(-1_400)))
        results = await Suite(client, "BTC/USD", MOST).run()
    not_run = verdicts(results, Verdict.NOT_RUN)
    assert set(not_run) == {"cancel all", "session"}
    assert len(exchange.venue.account("firm").open) == 1


async def test_a_key_that_may_withdraw_places_nothing(local: LocalExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    async def withdraws(_client: VenueClient) -> None:
        raise InvalidValueError("The key may withdraw.", remedy="Make another.")

    monkeypatch.setattr(VenueClient, "check_key", withdraws)
    results = await ran(local, "kraken")
    assert set(verdicts(results, Verdict.FAILED)) == {"key"}
    assert not local.exchanges["kraken"].venue.account("firm").orders


@pytest.mark.parametrize(
    "url",
    [
        "https://API.kraken.com",
        "https://api.kraken.com:443",
        "http://api.kraken.com.",
        "https://api1.binance.com",
        "https://api.binance.us",
        "https://127.0.0.1.example.com",
    ],
)
def test_every_address_that_is_not_for_trying_takes_consent(url: str) -> None:
    """Found by attack: another spelling of the venue's address traded without a word."""
    assert not _is_for_trying(url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://localhost:9", "http://[::1]:9", "https://testnet.binance.vision"]
)
def test_the_local_exchange_and_sandboxes_are_for_trying(url: str) -> None:
    assert _is_for_trying(url)


@pytest.mark.parametrize("most", ["nan", "inf", "-1", "1e9", "much"])
def test_a_cap_is_a_number_that_caps(most: str) -> None:
    with pytest.raises(InvalidValueError, match="--most"):
        _cap(most)


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "x.md"):
        with pytest.raises(InvalidValueError, match="cannot be written"):
            _may_write(path)


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
