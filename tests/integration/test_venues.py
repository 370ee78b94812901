"""The platform on venues' markets, and the venue commands, as a user runs them (T2)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.platform import COMMAND, Platform, aether, aether_json, until

KRAKEN_TRADE = (
    '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":64000.5,"qty":0.01000000,'
    '"ord_type":"market","trade_id":7,"timestamp":"2026-01-02T03:04:05.678901Z"}]}'
)


def piped(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)


def company(client: httpx.Client, since_ns: int = 0) -> dict[str, Any]:
    """Return the company's account once it has heard each of its markets after a time."""

    def heard() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get("/api/v1/accounts/company.exchange").json()
        return found if found.get("venues") and all(v["market_ns"] > since_ns for v in found["venues"]) else None

    return dict(until(heard, "the company's markets"))


def test_the_platform_trades_on_the_local_exchange_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    platform = Platform(tmp_path, "--market", "exchange")
    url, _, token = platform.link().partition("/#token=")
    asked = aether("trade", "start", "company.exchange", "buy", "0.05", "BTC/USD", data_dir=tmp_path)
    assert asked.returncode == 0, asked.stderr
    orders: list[dict[str, str]] = []
    while not any(o["state"] == "filled" for o in orders):
        told = aether_json("orders", "--account", "company.exchange", data_dir=tmp_path)
        assert isinstance(told, list)
        orders = told
    with httpx.Client(base_url=url, timeout=20) as client:
        assert client.post("/api/v1/session/token", json={"token": token}).status_code == 204
        parent = client.get("/api/v1/accounts/company.exchange").json()["parents"][0]
        while parent["state"] == "working":
            parent = client.get("/api/v1/accounts/company.exchange").json()["parents"][0]
        before = company(client)
    assert (parent["algorithm"], parent["state"], float(parent["filled"])) == ("route", "done", 0.05)
    assert float(parent["notional"]) == pytest.approx(
        float(parent["filled"]) * float(parent["average_price"]), rel=1e-4
    )
    assert platform.stop() == 0
    first = aether_json("accounts", data_dir=tmp_path)
    assert isinstance(first, list)
    assert [a["market"] for a in first] == ["exchange"] * 3
    again = Platform(tmp_path, "--market", "exchange")
    url, _, token = again.link().partition("/#token=")
    with httpx.Client(base_url=url, timeout=20) as client:
        assert client.post("/api/v1/session/token", json={"token": token}).status_code == 204
        after = company(client, max(v["market_ns"] for v in before["venues"]))
    assert 0.9 < float(after["nav"]) / float(before["nav"]) < 1.1, "it goes on at the prices where it was"
    assert again.stop() == 0
    kept = aether_json("orders", "--account", "company.exchange", data_dir=tmp_path)
    assert isinstance(kept, list)
    assert aether("journal", "verify", data_dir=tmp_path).returncode == 0
    assert {o["id"] for o in orders} <= {o["id"] for o in kept}


@pytest.mark.parametrize("venue", ["kraken", "binance", "coinbase"])
def test_a_venue_that_cannot_be_reached_says_so_and_names_the_local_exchange(venue: str, tmp_path: Path) -> None:
    done = aether("up", "--market", venue, "--port", "0", "--base-url", "http://127.0.0.1:9", data_dir=tmp_path)
    assert done.returncode == 15
    assert "cannot be reached at 127.0.0.1:9" in done.stderr
    assert "aether up --market exchange" in done.stderr


def test_decode_prints_one_event_a_line() -> None:
    done = piped(f"{KRAKEN_TRADE}\n1723161254024619568 {KRAKEN_TRADE}\n", "venue", "decode", "kraken")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (
        events
        == [
            {
                "type": "trade",
                "venue": "kraken",
                "symbol": "BTC/USD",
                "ts_ns": 1767323045678901000,
                "price": "64000.5",
                "size": "0.01000000",
                "side": "buy",
                "trade_id": "7",
            }
        ]
        * 2
    )


def test_decode_reads_rest_answers_pretty_printed_or_not() -> None:
    body = json.dumps({"lastUpdateId": 7, "bids": [["1.10", "2.0"]], "asks": [["1.20", "3.0"]]}, indent=2)
    done = piped(body, "venue", "decode", "binance", "--channel", "rest:depth", "--symbol", "BNB/BTC")
    event = json.loads(done.stdout)
    assert (event["bids"], event["asks"], event["sequence"]) == ([["1.10", "2.0"]], [["1.20", "3.0"]], 7)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("venue", "decode", "mtgox"), 3, "no adapter"),
        (("venue", "decode", "kraken", "--channel", "rest"), 2, "--channel"),
        (("venue", "decode", "kraken", "--channel", "rest:Nonsense"), 3, "endpoint"),
        (("venue", "encode", "kraken", "submit", "{}"), 2, "--dry-run"),
        (("venue", "encode", "kraken", "submit", '{"sise": 1}', "--dry-run"), 2, "sise"),
        (("venue", "encode", "kraken", "nonsense", "{}", "--dry-run"), 3, "nonsense"),
        (("venue", "encode", "binance", "dead_man_switch", '{"timeout_s": 5}', "--dry-run"), 16, "does not offer"),
        (("venue", "encode", "kraken", "balances", "--dry-run", "--key-file", "/nowhere"), 4, "/nowhere"),
        (("trade", "start", "company", "buy", "1", "BTC/USD", "--algorithm", "twap"), 2, "duration_s"),
        (("trade", "start", "company", "buy", "0", "BTC/USD"), 2, "amount"),
        (("trade", "start", "company", "buy", "1", "BTC/USD", "--profile", "1,x"), 2, "--profile"),
        (("up", "--market", "mtgox"), 2, "mtgox"),
    ],
)
def test_wrong_use_is_told_with_a_remedy(arguments: tuple[str, ...], code: int, said: str) -> None:
    done = piped("{}", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "What to do:" in done.stderr


def test_garbage_is_printed_as_what_it_is() -> None:
    done = piped("{broken", "venue", "decode", "coinbase")
    assert done.returncode == 0
    assert json.loads(done.stdout)["type"] == "unrecognized"


def test_a_signed_request_is_printed_but_never_the_secret(tmp_path: Path) -> None:
    secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"key": "public", "secret": secret}))
    fields = '{"symbol": "LTC/BTC", "side": "buy", "type": "limit", "size": "1", "price": "0.1"}'
    arguments = ("venue", "encode", "binance", "submit", fields, "--dry-run", "--key-file", str(key))
    done = piped("", *arguments, "--time", "1499827319559")
    request = json.loads(done.stdout)
    assert request["method"] == "POST"
    assert request["body"].endswith("c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71")
    assert secret not in done.stdout + done.stderr


def test_the_exchange_as_a_command_serves_public_data_and_keys(tmp_path: Path) -> None:
    ports = [part for n in ("kraken", "binance", "coinbase", "admin") for part in (f"--{n}-port", "0")]
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "aether.cli", "serve", "exchange", "--keys", str(tmp_path), *ports],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        urls: dict[str, str] = {}
        for line in server.stdout:
            words = line.strip("│ \n").split()
            if len(words) == 3 and words[1].startswith("http"):
                urls[words[0]] = words[1]
            if len(urls) == 3:
                break
        for venue, url in urls.items():
            shown = piped("", "venue", "ticker", venue, "BTC/USD", "--json", "--base-url", url)
            assert float(json.loads(shown.stdout)["bid"]) > 0
            assert (tmp_path / f"{venue}.json").stat().st_mode & 0o777 == 0o600
    finally:
        server.terminate()
        server.wait(20)
        assert server.stdout is not None
        server.stdout.close()
