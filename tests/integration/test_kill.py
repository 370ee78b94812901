"""The kill switch of a running platform while its database hangs: over the API and from the command line (R4,
finding 6)."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.platform import Platform, aether

API = "/api/v1"
COMPANY = "company.exchange"
WORKING = {
    "symbol": "BTC/USD",
    "side": "buy",
    "amount": "0.01",
    "algorithm": "iceberg",
    "display": "0.01",
    "reason": "a test",
}


@contextmanager
def hanging_database(data_dir: Path) -> Iterator[None]:
    """Stop every process of the embedded server in the middle of its work."""
    master = int((data_dir / "postgresql" / "postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    pids = [master, *map(int, children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


class Desk:
    """A platform on the local exchange, with an order at work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.platform = Platform(folder, "--market", "exchange")

    def sign_in(self) -> None:
        url, _, token = self.platform.link().partition("/#token=")
        self.http = httpx.Client(base_url=url, timeout=40)
        assert self.http.post(f"{API}/session/token", json={"token": token}).status_code == 204
        self.status_until(lambda a: a["status"] == "trading")

    def accounts(self) -> dict[str, dict[str, object]]:
        return {a["id"]: a for a in self.http.get(f"{API}/accounts").json()}

    def status_until(self, met: object) -> None:
        deadline = time.monotonic() + 60
        while not met(self.accounts().get(COMPANY, {"status": "", "open_orders": 0})):  # type: ignore[operator]
            assert time.monotonic() < deadline, self.accounts()
            time.sleep(0.1)

    def rest(self) -> None:
        bars: list[dict[str, str]] = []
        deadline = time.monotonic() + 60
        while not bars and time.monotonic() < deadline:
            bars = self.http.get(f"{API}/instruments/kraken:BTC/USD/bars", params={"limit": 1}).json()
            time.sleep(0.1)
        limit = float(bars[-1]["close"]) * 0.995
        asked = {**WORKING, "limit_price": f"{limit:.1f}"}
        assert self.http.post(f"{API}/accounts/{COMPANY}/trades", json=asked).status_code == 200
        self.status_until(lambda a: a["open_orders"])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    try:
        made.sign_in()
        yield made
        made.http.close()
        assert made.platform.stop() == 0
        assert not (tmp_path / "postgresql" / "postmaster.pid").exists(), "the database was left behind"
    finally:
        if not made.platform.has_ended():
            made.platform.kill()


def test_the_api_stops_while_the_database_hangs(desk: Desk) -> None:
    """It says what was stopped and that it is not recorded yet; the journal has it afterwards, and nobody is killed
    twice."""
    desk.rest()
    with hanging_database(desk.folder):
        answer = desk.http.post(f"{API}/accounts/{COMPANY}/kill-switch/engage", json={"reason": "the api drill"})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert (told["stopped"], told["recorded"], told["applied"]) == ([COMPANY], False, False)
        assert told["unconfirmed"] == []
        refused = desk.http.post(f"{API}/accounts/nobody/kill-switch/engage", json={"reason": "the api drill"})
        assert refused.json().get("stopped", []) == []
        stranger = httpx.post(f"{desk.http.base_url}{API}/kill-switch/engage", json={"reason": "the api drill"})
        assert stranger.status_code in (401, 503)
    desk.status_until(lambda a: a["status"] == "killed" and not a["open_orders"])
    released = desk.http.post(f"{API}/accounts/{COMPANY}/kill-switch/release", json={"reason": "over"})
    assert released.json()["applied"]
    desk.status_until(lambda a: a["status"] == "trading")


def test_the_command_line_stops_while_the_database_hangs(desk: Desk) -> None:
    desk.rest()
    with hanging_database(desk.folder):
        done = aether("kill", "engage", "--account", COMPANY, "--reason", "the drill", data_dir=desk.folder)
        assert done.returncode == 0, done.stderr
        assert f"Kill switch engaged: {COMPANY}" in done.stdout
        assert "Every venue's list of open orders is empty." in done.stdout
        assert "Not recorded yet" in done.stdout
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
    desk.status_until(lambda a: a["status"] == "killed" and not a["open_orders"])


def test_a_name_that_is_no_account_stops_nobody(desk: Desk) -> None:
    for name in ("nobody", "../../etc/passwd", "company.exchange/../x"):
        done = aether("kill", "engage", "--account", name, "--reason", "the drill", data_dir=desk.folder)
        assert done.returncode == 3, done.stdout
        assert "There is no account" in done.stderr
    assert not list((desk.folder / "brake").glob("*.brake"))
    assert desk.accounts()[COMPANY]["status"] == "trading"
