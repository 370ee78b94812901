"""`aether up` keeps its processes up: whichever is killed comes back, and trading needs none but its own (issue 11)."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aether.domain.errors import DatabaseUnavailableError, DataDirectoryError
from aether.node import pulls
from aether.node.pulls import Pull
from tests.integration.platform import Platform, aether, aether_json, hanging_database, until

API = "/api/v1"


class Desk(Platform):
    """A platform with its owner signed in."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        super().__init__(data_dir, *options)
        url, _, token = self.link().partition("/#token=")
        self.http = httpx.Client(base_url=url, timeout=20)
        assert self.http.post(f"{API}/session/token", json={"token": token}).status_code == 204
        until(self.is_ready, "readiness")
        until(lambda: all(p["state"] == "up" for p in self.processes().values()), "all processes")

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def rows(self) -> int:
        """Return how long the market's log and the journals are; past the API."""
        told: Any = aether_json("journal", "verify", data_dir=self.data_dir)
        return sum(found.get("events", 0) + found.get("rows", 0) for found in told)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("processes"))
    yield made
    assert made.stop() == 0


def test_doctor_and_the_page_name_every_process(desk: Desk) -> None:
    told = desk.http.get(f"{API}/system").json()["processes"]
    assert [(p["name"], p["state"], p["restarts"]) for p in told] == [
        ("aether up", "up", 0),
        ("api", "up", 0),
        ("stops", "up", 0),
        ("node", "up", 0),
    ]
    assert len({p["pid"] for p in told}) == 4
    checked: Any = aether_json("doctor", data_dir=desk.data_dir)
    assert {c["check"] for c in checked if c["ok"]} >= {"aether up", "api", "stops", "node"}


def test_the_process_of_strangers_holds_nothing_of_the_trading_one(desk: Desk) -> None:
    """Nothing of the node waits on anything of the API: no shared process, pool or lock (issue 11)."""
    api, node = (desk.processes()[name]["pid"] for name in ("api", "node"))
    ours, theirs = ({str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()} for pid in (api, node))
    shared = {link for link in ours & theirs if link.startswith(("socket:", "/")) and "/dev/" not in link}
    allowed = {str(desk.data_dir / "aether.lock")}
    assert shared - allowed == set()


def test_trading_goes_on_while_the_api_is_killed_and_its_session_survives(desk: Desk) -> None:
    node = desk.processes()["node"]["pid"]
    before = desk.rows()
    killed = desk.kill_part("api")
    until(lambda: desk.rows() > before, "another row in a journal")
    desk.wait_for_part("api", other_than=killed)
    assert desk.http.get(f"{API}/accounts").status_code == 200, "the owner is still signed in, at the same address"
    assert desk.processes()["node"]["pid"] == node
    assert desk.processes()["api"]["restarts"] == 1
    until(desk.is_ready, "readiness")


def test_a_stop_while_the_trading_process_is_away_holds_when_it_is_back(desk: Desk) -> None:
    """The API says so at once, and leaves the brake's file, which the node honours before anything else (R4)."""
    killed = desk.kill_part("node")
    answer = desk.http.post(f"{API}/kill-switch/engage", json={"reason": "while it was away"})
    assert answer.status_code == 200
    told = answer.json()
    assert told["stopped"] or told["recorded"]
    desk.wait_for_part("node", other_than=killed)
    until(desk.is_ready, "readiness")
    states = desk.http.get(f"{API}/kill-switch").json()
    assert states
    assert all(s["engaged"] for s in states)
    assert desk.http.post(f"{API}/kill-switch/release", json={"reason": "drill over"}).json()["applied"] is True


def test_a_trading_process_that_hangs_is_told_of_within_seconds(desk: Desk) -> None:
    node = desk.pid_of("node")
    os.kill(node, signal.SIGSTOP)
    try:

        def silent() -> bool:
            told = desk.http.get("/readyz")
            return told.status_code == 503 and told.json()[0]["name"] == "trading process"

        until(silent, "the word that it is silent", 15)
        metrics = desk.http.get("/metrics").text
        assert "aether_node_up 0.0" in metrics
        answer = desk.http.post(f"{API}/kill-switch/engage", json={"reason": "it hangs"})
        assert answer.status_code == 200
        assert "does not answer" in answer.json()["unconfirmed"][0]
        checked = json.loads(aether("doctor", "--json", data_dir=desk.data_dir).stdout)
        (told,) = [c["detail"] for c in checked if c["check"] == "node"]
        assert told.startswith("frozen")
    finally:
        os.kill(node, signal.SIGCONT)
    until(desk.is_ready, "readiness")
    metrics = desk.http.get("/metrics").text
    assert "aether_node_up 1.0" in metrics
    assert "aether_events_total{" in metrics
    assert metrics.count("# TYPE aether_commit_seconds histogram") == 1


def test_a_platform_whose_database_hangs_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """It stayed for as long as the database hung, whoever pressed Ctrl-C how often (found by attack)."""
    desk = Desk(tmp_path)
    with hanging_database(tmp_path):
        os.kill(desk.pid_of("aether up"), signal.SIGINT)
        until(desk.has_ended, "its end", 200)
    code, said = desk.end()
    assert code == DatabaseUnavailableError.exit_code, said
    assert "does not stop within 20 s: it hangs" in " ".join(said.split())
    assert "Traceback" not in said


def test_a_stop_is_known_to_run_here_whatever_the_page_wrote_down(desk: Desk) -> None:
    """Without `running.json` the command said that no platform ran, while it stopped one (found by attack)."""
    running = desk.data_dir / "running.json"
    kept = running.read_bytes()
    running.unlink()
    told = aether("kill", "engage", "--reason", "a drill", data_dir=desk.data_dir).stdout
    running.write_bytes(kept)
    running.chmod(0o600)
    assert "Kill switch engaged: company" in told
    assert desk.http.post(f"{API}/kill-switch/release", json={"reason": "drill over"}).json()["applied"] is True


def test_a_trading_process_that_keeps_ending_is_stopped_at_its_venues(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    try:
        killed = 0
        for _ in range(3):
            killed = desk.kill_part("node")
            desk.wait_for_part("node", other_than=killed)
        until(desk.is_ready, "readiness")

        def engaged() -> bool:
            states = desk.http.get(f"{API}/kill-switch").json()
            return bool(states) and all(s["engaged"] and "ended 3 times" in s["reason"] for s in states)

        until(engaged, "the brake")
    finally:
        assert desk.stop() == 0


def test_processes_end_with_the_one_that_started_them_and_the_next_start_goes_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    parts = [p["pid"] for p in desk.processes().values()]
    os.kill(desk.pid, signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}/fd").exists() and _is_alive(pid) for pid in parts), "their end")
    desk.wait()
    again = Desk(tmp_path)
    parts = [p["pid"] for p in again.processes().values()]
    again.kill_part("api")
    assert again.stop() == 0, "while one is about to be started again"
    assert not [pid for pid in parts if _is_alive(pid)]
    assert not (tmp_path / "processes.json").exists()
    assert not (tmp_path / "node.sock").exists()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_exchange_comes_back_and_the_node_begins_anew_with_what_the_books_hold(tmp_path: Path) -> None:
    with contextlib.closing(Desk(tmp_path, "--market", "exchange")) as desk:
        check_exchange_comes_back(desk)
        assert desk.stop() == 0


def check_exchange_comes_back(desk: Desk) -> None:
    assert list(desk.processes()) == ["aether up", "api", "stops", "node", "exchange"]
    before = {a["id"]: float(a["nav"]) for a in desk.http.get(f"{API}/accounts").json()}
    node = desk.pid_of("node")
    killed = desk.kill_part("exchange")
    desk.wait_for_part("exchange", other_than=killed)
    desk.wait_for_part("node", other_than=node)
    until(desk.is_ready, "readiness")
    rows = desk.rows()
    until(lambda: desk.rows() > rows, "another row in a journal")
    told = {a["id"]: a for a in desk.http.get(f"{API}/accounts").json()}
    assert {a["status"] for a in told.values()} == {"trading"}, told
    for account, nav in before.items():
        assert float(told[account]["nav"]) == pytest.approx(nav, rel=0.02)
    killed = desk.kill_part("node")
    desk.wait_for_part("node", other_than=killed)
    until(desk.is_ready, "readiness")
    assert {a["status"] for a in desk.http.get(f"{API}/accounts").json()} == {"trading"}
    assert not list(pulls.read(desk.data_dir / "brake")), "none of it was taken for a crash of the node"


def test_all_of_it_runs_in_one_process_for_debugging(tmp_path: Path) -> None:
    pulls.write(tmp_path / "brake", "all", Pull(reason="before the start", actor="a test"))
    desk = Desk(tmp_path, "--one-process")
    assert list(desk.processes()) == ["all in one"]
    until(lambda: all(s["engaged"] for s in desk.http.get(f"{API}/kill-switch").json()), "the pull in every journal")
    assert "aether_events_total{" in desk.http.get("/metrics").text
    assert desk.stop() == 0


def test_a_database_that_hangs_while_the_process_of_stops_begins_ends_nothing(tmp_path: Path) -> None:
    platform = Platform(tmp_path)
    platform.link()
    with hanging_database(tmp_path):
        until(lambda: platform.processes()["stops"]["restarts"], "another start of the process of stops")
        assert not platform.has_ended()
    until(lambda: platform.processes()["stops"]["state"] == "up", "the process of stops")
    assert {p["state"] for p in platform.processes().values()} == {"up"}
    assert platform.stop() == 0


def test_a_ctrl_c_in_a_terminal_ends_all_without_a_trace(tmp_path: Path) -> None:
    """It goes to every process of the terminal, and one that was still importing printed a traceback."""
    platform = Platform(tmp_path)
    platform.link()
    os.killpg(platform.pid, signal.SIGINT)
    code, said = platform.end()
    assert (code, "Traceback" in said, "everything is saved" in said) == (0, False, True), said


def test_a_data_directory_that_is_deleted_ends_the_platform_and_is_named(tmp_path: Path) -> None:
    """Another could be started in its place, and the brake's file would be found by nobody (finding 17)."""
    folder = tmp_path / "desk"
    platform = Platform(folder)
    platform.link()
    folder.rename(tmp_path / "away")
    code, said = platform.end()
    assert code == DataDirectoryError.exit_code, said
    assert f"The data directory {folder} was deleted or moved" in said
    assert "What to do:" in said
    assert "Traceback" not in said
    assert "saved" not in said
    assert said.count("requests_not_reachable") <= 1


@pytest.mark.parametrize("name", ["a b", "a,b"])
def test_a_path_that_the_embedded_server_cannot_live_in_is_refused(tmp_path: Path, name: str) -> None:
    done = aether("up", "--port", "0", data_dir=tmp_path / name)
    assert done.returncode == DataDirectoryError.exit_code, done.stderr
    assert "What to do: Choose a --data-dir of letters, digits and" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_platform_whose_market_does_not_answer_ends_with_the_reason(tmp_path: Path) -> None:
    done = aether("up", "--market", "kraken", "--base-url", "http://127.0.0.1:9", "--port", "0", data_dir=tmp_path)
    assert done.returncode == 15, done.stderr
    assert "What to do" in done.stderr
    assert "everything is saved" not in done.stdout
    assert not (tmp_path / "running.json").exists()


def test_the_process_of_stops_lets_the_pages_session_in_and_nobody_else(desk: Desk) -> None:
    """It answers with the API away, by the roster alone (issue 11)."""
    system = desk.http.get(f"{API}/system").json()
    url, page = system["stop_url"], {"Origin": str(desk.http.base_url).rstrip("/")}
    policy = desk.http.get("/").headers["content-security-policy"]
    assert f"connect-src 'self' {url};" in policy
    engage, body = f"{url}{API}/kill-switch/engage", {"reason": "from the page"}
    with httpx.Client(timeout=20) as stranger:
        assert stranger.post(engage, json=body).status_code == 401
        assert stranger.post(engage, json=body, headers={"Authorization": "Bearer x"}).status_code == 401
        asked = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        allowed = stranger.options(engage, headers=asked)
        assert allowed.headers["access-control-allow-origin"] == page["Origin"]
        assert allowed.headers["access-control-allow-credentials"] == "true"
        refused = stranger.options(engage, headers={**asked, "Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in refused.headers
    assert desk.http.post(engage, json=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert desk.http.get(f"{url}{API}/accounts", headers=page).status_code == 404, "it serves nothing else"
    killed = desk.kill_part("api")
    answer = desk.http.post(engage, json=body, headers=page)
    assert answer.status_code == 200, answer.text
    assert answer.json()["stopped"]
    assert answer.headers["access-control-allow-origin"] == page["Origin"]
    desk.wait_for_part("api", other_than=killed)
    until(desk.is_ready, "readiness")
    assert desk.http.post(f"{API}/kill-switch/release", json={"reason": "drill over"}).json()["applied"] is True
