"""The kill switch of a running platform while its database hangs: over the API and from the command line (R4,
finding 6)."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from aether.node import pulls
from aether.node.pulls import EVERY_ACCOUNT, Pull
from tests.integration.people import first_admin
from tests.integration.platform import COMMAND, Platform, aether, aether_json, hanging_database, until

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


def switches(data_dir: Path) -> dict[str, dict[str, Any]]:
    """Return what `aether kill status` says of each account."""
    rows = cast(list[dict[str, Any]], aether_json("kill", "status", data_dir=data_dir))
    return {row["account"]: row for row in rows}


class Desk:
    """A platform on the local exchange, with an order at work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.platform = Platform(folder, "--market", "exchange")

    def sign_in(self) -> None:
        self.link = self.platform.link()
        url, _, token = self.link.partition("/#token=")
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


@contextmanager
def running(folder: Path) -> Iterator[Desk]:
    made = Desk(folder)
    try:
        made.sign_in()
        yield made
        made.http.close()
        assert made.platform.stop() == 0
        assert not (folder / "postgresql" / "postmaster.pid").exists(), "the database was left behind"
    finally:
        if not made.platform.has_ended():
            made.platform.kill()


@pytest.fixture(scope="module")
def one_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with running(tmp_path_factory.mktemp("desk")) as made:
        yield made


@pytest.fixture
def desk(one_desk: Desk) -> Iterator[Desk]:
    """The desk, trading again after each test."""
    yield one_desk
    one_desk.http.post(f"{API}/accounts/{COMPANY}/kill-switch/release", json={"reason": "over"})
    one_desk.status_until(lambda a: a["status"] == "trading" and not a["open_orders"])


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
        assert (refused.status_code, refused.json()["title"]) == (404, "UnknownName")
        assert COMPANY in refused.json()["remedy"]
        stranger = httpx.post(f"{desk.http.base_url}{API}/kill-switch/engage", json={"reason": "the api drill"})
        assert stranger.status_code == 401
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


def stopped_venues(desk: Desk) -> list[str]:
    return [v["venue"] for v in desk.accounts()[COMPANY]["venues"] if v["stop"]]  # type: ignore[attr-defined]


def test_the_stop_of_a_venue_outlives_a_hanging_database_and_the_death_of_the_trading_process(desk: Desk) -> None:
    """It lived in the trading process's memory alone; one that hung took none (0030)."""
    path = f"{API}/accounts/{COMPANY}/venues/kraken"
    with hanging_database(desk.folder):
        told = desk.http.post(f"{path}/stop", json={"reason": "it lags"}).json()
        assert (told["stopped"], told["recorded"]) == ([COMPANY], False)
        killed = desk.platform.kill_part("node")
    desk.platform.wait_for_part("node", other_than=killed)
    until(lambda: stopped_venues(desk) == ["kraken"], "it is stopped again")
    released(desk, path)
    frozen = desk.platform.pid_of("node")
    os.kill(frozen, signal.SIGSTOP)
    try:
        told = desk.http.post(f"{path}/stop", json={"reason": "it lags again"}).json()
        assert (told["stopped"], told["recorded"]) == ([], True)
    finally:
        os.kill(frozen, signal.SIGCONT)
    until(lambda: stopped_venues(desk) == ["kraken"], "the trading process finds it when it is back")
    released(desk, path)


def released(desk: Desk, path: str) -> None:
    def is_released() -> bool:
        desk.http.post(f"{path}/release", json={"reason": "the drill is over"})
        return stopped_venues(desk) == []

    until(is_released, "kraken is released")


def test_only_those_stop_a_desk_without_database_who_still_may(tmp_path: Path) -> None:
    """Whoever signed out, has left or lost the role is not let in because the database cannot say so."""
    with running(tmp_path) as desk:
        stopped_by_those_who_may(desk)


def stopped_by_those_who_may(desk: Desk) -> None:
    ada = first_admin(aether("link", data_dir=desk.folder).stdout.strip())
    trader, signed_out, left, demoted = (
        ada.invite(f"{name}@example.com", {COMPANY: "trader"}) for name in ("tom", "sue", "leo", "dan")
    )
    people = {u["email"]: u["id"] for u in ada.call("GET", "/users").json()}
    cookies = dict(signed_out.http.cookies)
    assert signed_out.do("DELETE", "/session").status_code == 204
    signed_out.http.cookies.update(cookies)
    locked = {"reason": "has left the firm"}
    assert ada.do("POST", f"/users/{people[left.email]}/disable", locked).status_code == 204
    roles = {"roles": {COMPANY: "auditor"}, "reason": "another job"}
    assert ada.do("PUT", f"/users/{people[demoted.email]}/roles", roles).status_code == 200
    body, path = {"reason": "the drill"}, f"/accounts/{COMPANY}/kill-switch/engage"
    for person in (signed_out, left):
        assert person.call("GET", "/accounts").status_code == 401
    with hanging_database(desk.folder):
        assert signed_out.call("POST", path, body).status_code == 401
        assert left.call("POST", path, body).status_code == 401
        assert demoted.call("POST", path, body).status_code == 403
        assert trader.call("POST", "/kill-switch/engage", body).status_code == 403, "not everywhere"
        assert trader.call("POST", "/accounts/director.one/kill-switch/engage", body).status_code == 404
        told = trader.call("POST", path, body)
        assert (told.status_code, told.json()["stopped"]) == (200, [COMPANY])
    ada.http.close()


def test_the_status_is_told_while_the_database_hangs(desk: Desk) -> None:
    with hanging_database(desk.folder):
        aether("kill", "engage", "--account", COMPANY, "--reason", "the drill", data_dir=desk.folder)
        found = aether("kill", "status", data_dir=desk.folder)
        assert found.returncode == 0, found.stderr
        assert re.search(rf"{COMPANY} +ENGAGED +the drill", found.stdout), found.stdout
        assert "By the brake's files alone" in found.stdout
    desk.status_until(lambda a: a["status"] == "killed")
    row = switches(desk.folder)[COMPANY]
    assert (row["engaged"], row["reason"], row["waits_for"]) == (True, "the drill", [])


def test_a_stop_of_all_reaches_the_accounts_of_another_market(tmp_path: Path) -> None:
    """Pulled while neither database nor platform could hear it; then a platform of another market starts first."""
    first = Platform(tmp_path, "--market", "exchange")
    first.link()
    assert first.stop() == 0
    pulls.write(tmp_path / "brake", EVERY_ACCOUNT, Pull(reason="stop it all", actor="ada"))
    other = Platform(tmp_path)
    other.link()
    deadline = time.monotonic() + 60
    while list(pulls.read(tmp_path / "brake")):
        assert time.monotonic() < deadline, list(pulls.read(tmp_path / "brake"))
        time.sleep(0.1)
    assert other.stop() == 0
    again = Platform(tmp_path, "--market", "exchange")
    again.link()
    deadline = time.monotonic() + 60
    while True:
        states = {account: row["engaged"] for account, row in switches(tmp_path).items()}
        if all(states.values()):
            break
        assert time.monotonic() < deadline, states
    assert again.stop() == 0
    assert len(states) > 3, "both markets have accounts"


def test_odd_reasons_and_mistyped_directories(desk: Desk) -> None:
    """What a terminal may send stops; a directory in which nothing ran is neither made nor taken for a stop."""
    done = subprocess.run(
        [*COMMAND, "kill", "engage", "--account", COMPANY, "--reason", b"f\xfcr alle\x01", "--data-dir", desk.folder],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    desk.status_until(lambda a: a["status"] == "killed")
    row = switches(desk.folder)[COMPANY]
    assert row["reason"] == "fr alle"
    wrong = desk.folder / "mistyped"
    refused = aether("kill", "engage", "--reason", "the drill", data_dir=wrong)
    assert refused.returncode != 0
    assert "no platform ever ran" in refused.stderr
    assert not wrong.exists()
