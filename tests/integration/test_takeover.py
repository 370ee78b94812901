"""Two nodes, one firm: whatever becomes of the owner, the other trades on, and never both (O4).

Processes, sockets, PostgreSQL and the local exchange are real; `python -m tests.takeover --rounds 50` is the same for
longer, with the times.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from aether.store.embedded import EmbeddedServer
from tests.integration.conftest import new_database
from tests.integration.platform import COMMAND, Platform, until
from tests.running_exchange import RunningExchange
from tests.takeover.parts import FAULTS, Takeovers

LASTS_S = 8.0
"""Longer than an order's deadline, with its margin."""


@contextmanager
def firm(folder: Path, *, planted: bool = False) -> Iterator[Takeovers]:
    """Two nodes at work."""
    made = Takeovers(folder, planted=planted)
    try:
        yield made
    finally:
        made.close()


def test_an_owner_that_is_killed_stopped_or_cut_off_and_comes_back_never_trades_beside_the_next(tmp_path: Path) -> None:
    with firm(tmp_path) as two:
        for fault in FAULTS:
            two.round(fault, LASTS_S)
        assert sum(node.fenced for node in two.nodes) >= len(FAULTS) - 1, "who was alive was fenced, and stood by"
        two.end()
        assert two.violations() == []
        assert two.epochs == len(FAULTS) + 1
        assert two.fills, "somebody traded"


def test_an_order_without_a_deadline_would_reach_the_venue_after_the_take_over(tmp_path: Path) -> None:
    """What the round above proves: the pause is where it hurts, and the venue's deadline is what holds."""
    with firm(tmp_path, planted=True) as two:
        two.round("paused before the socket", LASTS_S)
        two.end()
        assert any("after that had ended" in violation for violation in two.violations())


def test_a_copied_data_directory_becomes_another_platform(
    server: EmbeddedServer, exchange: RunningExchange, tmp_path: Path
) -> None:
    """Two of the same name took the lease from each other every two seconds, for ever."""
    env = {"AETHER_DATABASE_URL": asyncio.run(new_database(server)), "AETHER_KEY_FILE": str(tmp_path / "kek.json")}
    options = ("--market", "exchange", "--base-url", exchange.local.admin_url)
    first = Platform(tmp_path / "one", *options, env=env)
    urls = ["http://" + urlsplit(first.link()).netloc]
    until(lambda: "3 trading" in ready(urls[0]), "the first trades")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "identity").write_text((tmp_path / "one" / "identity").read_text())
    second = Platform(tmp_path / "two", *options, env=env)
    try:
        urls.append("http://" + urlsplit(second.link()).netloc)
        settled = ["3 trading", "standing by"]
        until(lambda: sorted(ready(url)[:11] for url in urls) == settled, "one trades, one stands by", 60)
        assert len({(tmp_path / name / "identity").read_text() for name in ("one", "two")}) == 2
        assert (second.stop(), first.stop()) == (0, 0)
    finally:
        first.close()
        second.close()


def ready(url: str) -> str:
    """Return what a platform says of its accounts."""
    checks = httpx.get(f"{url}/readyz", timeout=10).json()
    return str(next((c["detail"] for c in checks if c["name"] == "accounts"), ""))


def test_a_second_platform_on_the_same_database_stands_by_and_takes_over(
    server: EmbeddedServer, exchange: RunningExchange, tmp_path: Path
) -> None:
    """As the how-to says it: the same command on both machines, and the one that is there first trades."""
    env = {"AETHER_DATABASE_URL": asyncio.run(new_database(server)), "AETHER_KEY_FILE": str(tmp_path / "kek.json")}
    options = ("--market", "exchange", "--base-url", exchange.local.admin_url)
    owner = Platform(tmp_path / "one", *options, env=env)
    owner_url = "http://" + urlsplit(owner.link()).netloc
    other = Platform(tmp_path / "two", *options, env=env)
    try:
        until(lambda: "3 trading" in ready(owner_url), "the first trades")
        other_url = "http://" + urlsplit(other.link()).netloc
        until(lambda: "standing by for" in ready(other_url), "the second stands by")
        doctor = [*COMMAND, "doctor", "--data-dir", str(other.data_dir), "--json"]
        done = subprocess.run(doctor, env={**os.environ, **env}, capture_output=True, text=True, check=False)
        told = {c["check"]: c["detail"] for c in json.loads(done.stdout)}
        assert "epoch 1, version" in told["owner"]
        assert (owner.data_dir / "identity").read_text() in told["owner"]
        owner.kill()
        until(lambda: "3 trading" in ready(other_url), "the other trades", 30)
        assert other.processes()["node"]["restarts"] == 0, "it was warm"
        assert other.stop() == 0
    finally:
        owner.close()
        other.close()
