"""`aether venue conformance`: a venue passes when it does what its adapter believes, and only then (T2)."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from aether.cli.venue import _are_for_trying, _cap, _is_for_trying, _may_write, _write
from aether.domain.errors import InvalidValueError
from aether.domain.identifiers import ClientOrderId
from aether.domain.orders import Side
from aether.domain.scaled import AMOUNT_SCALE
from aether.exchange.server import LocalExchange, build, serve
from aether.exchange.venue import Refusal, Refused
from aether.venues import conformance, conformance_cases
from aether.venues.actions import KeyPermissions
from aether.venues.client import VenueClient, with_urls
from aether.venues.conformance import Result, Suite, Verdict, report_of
from aether.venues.conformance_cases import run
from aether.venues.limits import NoLimits
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of
from tests.contract.venue_desk import VENUES

MOST = Decimal(100)
PAGE = Path("docs/how-to/conformance.md").read_text()


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "LOOK_S", 0.02)


@pytest.fixture
async def local() -> AsyncIterator[LocalExchange]:
    async with serve(build(seed=11, enforce_limits=False)) as exchange:
        yield exchange


async def ran(
    local: LocalExchange,
    venue: str,
    most: Decimal = MOST,
    *,
    has_key: bool = True,
    money: str = "1000",
    on_result: Callable[[Result], None] = lambda _r: None,
) -> list[Result]:
    exchange = local.exchanges[venue]
    key, secret = local.open_account(venue, "firm", {"USD": money})
    async with aiohttp.ClientSession() as http:
        credentials = Credentials(key=key, secret=secret) if has_key else None
        client = VenueClient(
            with_urls(protocol_of(venue), exchange.url, exchange.ws_url),
            http,
            credentials=credentials,
            limits=NoLimits(),
        )
        await client.load_markets()
        return await run(Suite(client, "BTC/USD", most), on_result)


def coins(local: LocalExchange, venue: str) -> int:
    """Return what the firm has of the coin, beyond the dust that cannot be sold."""
    held: int = local.exchanges[venue].venue.account("firm").total.get("BTC", 0)
    return held if held >= 10_000 else 0


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
    assert not coins(local, venue)
    assert verdicts(results, Verdict.PASSED)["taken back"].startswith("no order is open, 0.0000")
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
    assert set(verdicts(without_key, Verdict.NOT_RUN).values()) == {"there is no key"}
    assert set(verdicts(without_cap, Verdict.NOT_RUN).values()) == {"nothing may be spent"}
    assert verdicts(without_key, Verdict.FAILED) == {}
    assert verdicts(without_cap, Verdict.FAILED) == {}
    assert not local.exchanges[venue].venue.account("firm").orders


async def test_an_order_that_costs_more_than_may_be_spent_is_not_placed(local: LocalExchange) -> None:
    results = await ran(local, "kraken", Decimal("0.10"))
    assert "0.10 may be spent" in verdicts(results, Verdict.NOT_RUN)["resting"]
    assert not local.exchanges["kraken"].venue.account("firm").orders


@pytest.mark.parametrize("pair", ["BTC/USD", "ETH/USD"])
@pytest.mark.parametrize("venue", VENUES)
async def test_orders_of_others_are_not_canceled_with_the_suites(local: LocalExchange, venue: str, pair: str) -> None:
    """Found by attack: those of other pairs were, and the run passed."""
    exchange = local.exchanges[venue]
    key, secret = local.open_account(venue, "firm", {"USD": "1000"})
    async with aiohttp.ClientSession() as http:
        client = VenueClient(
            with_urls(protocol_of(venue), exchange.url, exchange.ws_url),
            http,
            credentials=Credentials(key=key, secret=secret),
            limits=NoLimits(),
        )
        await client.load_markets()
        other = Suite(client, pair, MOST)
        order = other.order(await other.price(-1_400))
        await client.call(msgspec.structs.replace(order, client_order_id=ClientOrderId("firm-1")))
        results = await run(Suite(client, "BTC/USD", MOST))
    not_run = verdicts(results, Verdict.NOT_RUN)
    assert set(not_run) == {"cancel all", "session", "dead man", "round trip"}
    assert verdicts(results, Verdict.FAILED) == {}
    assert len(exchange.venue.account("firm").open) == 1


@pytest.mark.parametrize("venue", VENUES)
async def test_lost_answers_leave_nothing_behind(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by attack: an order whose answer was lost was not known as the suite's, nor the coins that it bought."""
    monkeypatch.setattr(conformance, "SETTLES_WITHIN_S", 1.0)
    told: list[Result] = []

    def lose(result: Result) -> None:
        told.append(result)
        faults = local.exchanges[venue].faults.pending
        faults.clear()
        if result.name in ("listed", "resting", "immediate", "round trip"):
            faults["lose_response"] = 2 if result.name == "listed" else 8

    results = await ran(local, venue, on_result=lose)
    assert "round trip" in verdicts(results, Verdict.FAILED)
    assert verdicts(results, Verdict.PASSED)["taken back"]
    assert not local.exchanges[venue].venue.account("firm").open
    assert not coins(local, venue)


@pytest.mark.parametrize("venue", VENUES)
async def test_a_sale_that_is_in_doubt_is_not_made_twice(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The firm's own coins lie beside those that the suite bought."""
    monkeypatch.setattr(conformance, "SETTLES_WITHIN_S", 1.0)
    core = local.exchanges[venue].venue
    place, told, sales = core.place, list[Result](), list[int]()

    def counted(name: str, request: Any) -> Any:
        if name == "firm" and request.side is Side.SELL:
            sales.append(request.size)
            local.exchanges[venue].faults.pending["lose_response"] = 6
        return place(name, request)

    monkeypatch.setattr(core, "place", counted)
    core.account("firm").total["BTC"] = AMOUNT_SCALE
    await ran(local, venue, on_result=told.append)
    assert len(sales) == 1, "the round trip's own; the answer was lost"
    assert abs(core.account("firm").total["BTC"] - AMOUNT_SCALE) < 10_000


@pytest.mark.parametrize("venue", VENUES)
async def test_what_was_bought_is_sold_once_a_maintenance_is_over(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by attack: three refusals, and the coins were left."""
    monkeypatch.setattr(conformance, "LONGEST_WAIT_S", 0.05)
    core = local.exchanges[venue].venue
    place, refused = core.place, list[Any]()

    def closed(name: str, request: Any) -> Any:
        if name == "firm" and request.side is Side.SELL and len(refused) < 8:
            refused.append(request)
            raise Refused(Refusal.MARKET_CLOSED, "maintenance")
        return place(name, request)

    monkeypatch.setattr(core, "place", closed)
    results = await ran(local, venue)
    assert len(refused) == 8
    assert not coins(local, venue)
    assert "taken back" in verdicts(results, Verdict.PASSED)


@pytest.mark.parametrize("venue", VENUES)
async def test_a_refusal_for_want_of_money_passes_for_no_other(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by attack: a key without money passed the cases in which an order has to be refused."""
    monkeypatch.setattr(conformance, "SETTLES_WITHIN_S", 0.5)

    async def unasked(suite: Suite) -> str:
        return f"{suite.free}"

    monkeypatch.setattr(conformance_cases, "KEYED", (("balances", "", unasked),))
    results = await ran(local, venue, money="0.01")
    failed = verdicts(results, Verdict.FAILED)
    assert {"too small", "off tick", "post only"} <= set(failed)
    assert "put right (size), the order is refused as well" in failed["too small"]
    assert "put right (price)" in failed["off tick"]


@pytest.mark.parametrize("venue", VENUES)
async def test_without_money_nothing_is_placed_and_that_is_said(local: LocalExchange, venue: str) -> None:
    """Found by attack: a key without money "does otherwise than its adapter believes"."""
    results = await ran(local, venue, money="0.01")
    assert verdicts(results, Verdict.FAILED) == {}
    why = verdicts(results, Verdict.NOT_RUN)
    assert {"too small", "off tick", "resting", "round trip"} <= set(why)
    assert "0.01000000 USD are free" in why["resting"]
    assert not local.exchanges[venue].venue.account("firm").orders


@pytest.mark.parametrize("venue", VENUES)
async def test_no_more_is_sold_than_was_bought(
    local: LocalExchange, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by attack: of a purchase that was filled in part, the rest was sold from the firm's own coins."""
    core = local.exchanges[venue].venue
    place, told = core.place, list[Result]()

    def thin(name: str, request: Any) -> Any:
        if name == "firm" and told and told[-1].name == "immediate" and request.side is Side.BUY:
            request = replace(request, size=request.size // 2)
            order = place(name, request)
            order.request = replace(request, size=request.size * 2)
            return order
        return place(name, request)

    monkeypatch.setattr(core, "place", thin)
    core.account("firm").total["BTC"] = AMOUNT_SCALE
    await ran(local, venue, on_result=told.append)
    assert AMOUNT_SCALE <= core.account("firm").total["BTC"] < AMOUNT_SCALE + 10_000


async def test_a_dead_man_switch_is_put_off_also_when_the_answer_was_lost(local: LocalExchange) -> None:
    """Found by attack: it stayed armed, and canceled the firm's later orders."""
    told: list[Result] = []

    def lose(result: Result) -> None:
        told.append(result)
        if result.name == "session":
            local.exchanges["kraken"].faults.pending["lose_request"] = 2

    await ran(local, "kraken", on_result=lose)
    assert next(r for r in told if r.name == "dead man").verdict is Verdict.FAILED
    assert (told[-1].name, told[-1].verdict) == ("taken back", Verdict.PASSED)
    assert local.exchanges["kraken"].faults.happened["lose_request"] >= 1


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("at", ["same id", "round trip", "cancel all"])
async def test_a_run_that_is_interrupted_leaves_nothing_behind(
    local: LocalExchange, venue: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by attack: Ctrl-C left what was open open, and what was bought bought."""
    core = local.exchanges[venue].venue
    place, told, names = core.place, list[Result](), [case[0] for case in conformance_cases.TRADING]
    before = names[names.index(at) - 1]

    async def interrupted() -> None:
        await ran(local, venue, on_result=told.append)

    running = asyncio.create_task(interrupted())

    def watched(name: str, request: Any) -> Any:
        found = place(name, request)
        if name == "firm" and told and told[-1].name == before and not running.cancelling():
            asyncio.get_running_loop().call_soon(running.cancel)
        return found

    monkeypatch.setattr(core, "place", watched)
    with suppress(asyncio.CancelledError):
        await running
    assert running.cancelled()
    assert (told[-1].name, told[-1].verdict) == ("taken back", Verdict.PASSED)
    assert at not in [r.name for r in told], "it came to that"
    assert not core.account("firm").open
    assert not coins(local, venue)


async def as_the_page_says(local: LocalExchange, folder: Path) -> asyncio.subprocess.Process:
    """Start the first run that the how-to names, with the local exchange's addresses here."""
    exchange = local.exchanges["binance"]
    key, secret = local.open_account("binance", "firm", {"USD": "1000"})
    (folder / "keys").mkdir()
    (folder / "keys" / "binance.json").write_text(json.dumps({"key": key, "secret": secret}))
    command = next(line.split() for line in PAGE.splitlines() if line.startswith("    aether venue") and "9102" in line)
    given = [word.replace("127.0.0.1:9102", urlsplit(exchange.url).netloc) for word in command[1:]]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aether.cli", *given), cwd=folder, stdout=PIPE, stderr=PIPE
    )


async def test_the_page_leads_through_a_run(local: LocalExchange, tmp_path: Path) -> None:
    running = await as_the_page_says(local, tmp_path)
    told, errors = (found.decode() for found in await running.communicate())
    assert (running.returncode, errors) == (0, "")
    assert "0 failed" in told
    assert "| taken back | passed |" in (tmp_path / "conformance-binance.md").read_text()


async def test_signals_end_a_run_only_once_all_is_taken_back(
    local: LocalExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by attack: after Ctrl-C or SIGTERM, two orders and no report. A second one does not break the clearing."""
    exchange = local.exchanges["binance"]
    place = exchange.venue.place
    running = await as_the_page_says(local, tmp_path)

    def interrupt(name: str, request: Any) -> Any:
        monkeypatch.setattr(exchange.venue, "place", place)
        found = place(name, request)
        running.terminate()
        exchange.faults.pending["slow_response"] = 1
        asyncio.get_running_loop().call_later(0.2, running.send_signal, signal.SIGINT)
        return found

    async for line in running.stdout:  # type: ignore[union-attr]
        if line.startswith(b"passed      resting"):
            monkeypatch.setattr(exchange.venue, "place", interrupt)
    errors = (await running.communicate())[1].decode()
    assert running.returncode == 130, errors
    assert errors.startswith("Interrupted: what was placed is taken back first")
    assert "| taken back | passed |" in (tmp_path / "conformance-binance.md").read_text()
    assert not exchange.venue.account("firm").open


async def test_what_may_be_spent_holds_for_all_orders_at_once(local: LocalExchange) -> None:
    """Found by attack: two orders of 2.72 were open under a cap of 3."""
    told = verdicts(await ran(local, "kraken", Decimal(5)), Verdict.NOT_RUN)
    assert "at once, 5 may be spent" in told["cancel all"]


async def test_a_key_that_may_not_trade_places_nothing(local: LocalExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a newcomer: the session waited a minute for nothing."""

    async def reads(_client: VenueClient) -> KeyPermissions:
        return KeyPermissions(can_trade=False, can_withdraw=False)

    monkeypatch.setattr(VenueClient, "check_key", reads)
    results = await ran(local, "kraken")
    assert "may not trade" in verdicts(results, Verdict.FAILED)["key"]
    assert set(verdicts(results, Verdict.NOT_RUN).values()) == {"the key did not pass"}


async def test_a_key_that_may_withdraw_places_nothing(local: LocalExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    async def withdraws(_client: VenueClient) -> None:
        raise InvalidValueError("The key may withdraw.", remedy="Make another.")

    monkeypatch.setattr(VenueClient, "check_key", withdraws)
    results = await ran(local, "kraken")
    assert set(verdicts(results, Verdict.FAILED)) == {"key"}
    assert set(verdicts(results, Verdict.NOT_RUN).values()) == {"the key did not pass"}
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


@pytest.mark.parametrize(
    ("rest", "socket"),
    [
        ("nonsense", "ws://127.0.0.1:1"),
        ("http://127.0.0.1:1", "wss://ws.kraken.com/v2"),
        ("http://x.example", "ws://[::1]"),
    ],
)
def test_both_addresses_are_of_one_venue(rest: str, socket: str) -> None:
    """With one of them forgotten, a local try would send its socket's orders to the real venue."""
    with pytest.raises(InvalidValueError):
        _are_for_trying(rest, socket)


@pytest.mark.parametrize("most", ["nan", "inf", "-1", "1e9", "much"])
def test_a_cap_is_a_number_that_caps(most: str) -> None:
    with pytest.raises(InvalidValueError, match="--most"):
        _cap(most)


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "x.md"):
        with pytest.raises(InvalidValueError, match="cannot be written"):
            _may_write(path)


def test_a_report_that_cannot_be_written_in_the_end_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The disk was full: what was done at the venue is told nowhere else."""
    assert not _write(Path("/dev/full"), "# Conformance [of] Kraken\n| case |\n")
    shown = capsys.readouterr().err
    assert "cannot be written to /dev/full (No space left on device)" in shown
    assert "# Conformance [of] Kraken\n| case |" in shown


@pytest.mark.parametrize(
    ("venue", "plant", "found"),
    [
        ("kraken", "forgets_ids", "same id"),
        ("binance", "cancels_nothing", "too small"),
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
    monkeypatch.setattr(conformance_cases, "CASE_WITHIN_S", 3.0)
    results = await ran(local, venue)
    assert not coins(local, venue), "what was bought against its will is sold again"
    assert found in verdicts(results, Verdict.FAILED)
