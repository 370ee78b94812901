"""The HTTP interface of a running platform: who is let in, what it says, what it does (A2, D3, R4)."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.integration.platform import Platform, aether, aether_json

API = "/api/v1"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform on its synthetic market."""
    made = Platform(tmp_path_factory.mktemp("desk"))
    made.url, _, made.token = made.link().partition("/#token=")  # type: ignore[attr-defined]
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[httpx.Client]:
    """The machine's owner, signed in by the link, on a desk that has begun to trade."""
    with httpx.Client(base_url=platform.url, timeout=20) as made:  # type: ignore[attr-defined]
        opened = made.post(f"{API}/session/token", json={"token": platform.token})  # type: ignore[attr-defined]
        assert opened.status_code == 204
        for _ in range(2_000):
            accounts = made.get(f"{API}/accounts").json()
            if made.get("/readyz").status_code == 200 and float(accounts[0]["fees"]) > 0:
                break
        yield made


def anonymous(platform: Platform) -> httpx.Client:
    return httpx.Client(base_url=platform.url, timeout=20)  # type: ignore[attr-defined]


def test_a_token_opens_one_session_and_no_more(platform: Platform, client: httpx.Client) -> None:
    with anonymous(platform) as other:
        answer = other.post(f"{API}/session/token", json={"token": platform.token})  # type: ignore[attr-defined]
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert "aether link" in answer.json()["remedy"]


def test_other_sites_and_other_hosts_are_refused(platform: Platform, client: httpx.Client) -> None:
    evil = {"Origin": "http://evil.example"}
    assert client.post(f"{API}/kill-switch/engage", json={"reason": "drill"}, headers=evil).status_code == 403
    assert client.get(f"{API}/accounts", headers={"Host": "evil.example"}).status_code == 400
    cookies = [c for c in client.cookies.jar if c.name == "aether_session"]
    assert cookies[0].has_nonstandard_attr("HttpOnly")
    assert cookies[0].get_nonstandard_attr("SameSite") == "strict"


def test_probes_say_how_it_is(platform: Platform, client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert {c["name"] for c in ready.json()} == {"database", "accounts", "market data", "journal lag"}
    text = client.get("/metrics").text
    for metric in ("kill_switch_state{", "aether_tick_to_decision_seconds_bucket", "aether_journal_rows_total"):
        assert metric in text


def test_accounts_are_worth_what_their_parts_are(client: httpx.Client) -> None:
    accounts = client.get(f"{API}/accounts").json()
    assert [a["id"] for a in accounts] == ["company", "director-1", "director-2"]
    for a in accounts:
        nav, capital, realized, fees, unrealized = (
            float(a[k]) for k in ("nav", "capital", "realized", "fees", "unrealized")
        )
        assert nav == pytest.approx(float(a["cash"]) + float(a["exposure"]), abs=1e-6)
        assert nav == pytest.approx(capital + realized - fees + unrealized, abs=1e-6)
        assert a["mode"] == "paper"


@pytest.mark.parametrize(
    "path", ["positions", "balances", "orders", "fills", "equity", "verdicts", "alerts", "orders?only_open=true"]
)
def test_lists_answer_for_every_account_and_refuse_unknown_ones(client: httpx.Client, path: str) -> None:
    for account in ("company", "director-1", "director-2"):
        answer = client.get(f"{API}/accounts/{account}/{path}")
        assert answer.status_code == 200
        assert isinstance(answer.json(), list)
    missing = client.get(f"{API}/accounts/nobody/{path}")
    assert missing.status_code == 404
    assert "nobody" in missing.json()["detail"]
    assert "company" in missing.json()["remedy"]


def test_orders_come_in_pages(client: httpx.Client) -> None:
    first = client.get(f"{API}/accounts/company/orders?limit=2").json()
    rest = client.get(f"{API}/accounts/company/orders?limit=500&before={first[-1]['number']}").json()
    everything = client.get(f"{API}/accounts/company/orders?limit=500").json()
    numbers = [o["number"] for o in first + rest]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] == 1
    assert set(numbers) <= {o["number"] for o in everything}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("get", "/accounts/company/orders?limit=0", None, 422),
        ("get", "/accounts/company/orders?limit=x", None, 422),
        ("get", "/accounts/..%2f..%2fetc/orders", None, 404),
        ("get", "/instruments/paper:DOGE/USD/bars", None, 404),
        ("get", "/nothing/here", None, 404),
        ("post", "/kill-switch/engage", {}, 422),
        ("post", "/kill-switch/engage", {"reason": "x"}, 422),
        ("post", "/kill-switch/engage", {"reason": "drill", "extra": 1}, 422),
        ("post", "/kill-switch/engage", {"reason": "drill", "account": "company"}, 422),
        ("post", "/accounts/nobody/kill-switch/engage", {"reason": "drill"}, 404),
        ("post", "/kill-switch/engage", {"reason": "x" * 70_000}, 413),
        ("post", "/session/token", {"token": "guess"}, 401),
        ("post", "/session/links", {"secret": "guess"}, 403),
    ],
)
def test_bad_requests_get_a_clear_refusal(
    client: httpx.Client, method: str, path: str, body: object, status: int
) -> None:
    answer = client.request(method, API + path, json=body) if body is not None else client.request(method, API + path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_the_kill_switch_works_from_the_api_and_the_command_line(platform: Platform, client: httpx.Client) -> None:
    answer = client.post(f"{API}/accounts/company/kill-switch/engage", json={"reason": "api drill"}).json()
    assert answer["applied"] is True
    states = {s["account"]: s["engaged"] for s in client.get(f"{API}/kill-switch").json()}
    assert states == {"company": True, "director-1": False, "director-2": False}
    assert [s["account"] for s in answer["accounts"]] == ["company"], "what was asked in one account shows that one"
    assert client.get(f"{API}/accounts/company").json()["status"] == "killed"
    assert client.get(f"{API}/accounts/company/orders?only_open=true").json() == []
    done = aether("kill", "release", "--account", "company", "--reason", "drill over", data_dir=platform.data_dir)
    assert "released: company" in done.stdout, done.stderr
    assert client.get(f"{API}/accounts/company").json()["status"] == "trading"
    status = aether_json("kill", "status", data_dir=platform.data_dir)
    assert [s["engaged"] for s in status] == [False, False, False]  # type: ignore[attr-defined]
    assert 'kill_switch_response_seconds_count{status="confirmed"} 1.0' in client.get("/metrics").text


def test_an_operator_lets_trading_go_on(platform: Platform, client: httpx.Client) -> None:
    answer = client.post(f"{API}/accounts/director-1/resume", json={"reason": "looked at it"})
    assert answer.json()["applied"] is True
    done = aether("resume", "--account", "director-1", "--reason", "looked again", data_dir=platform.data_dir)
    assert "Resumed: director-1" in done.stdout, done.stderr
    told = client.get(f"{API}/accounts/director-1/alerts").json()
    assert [a["code"] for a in told][:2] == ["resumed", "resumed"]
    assert "looked again" in told[0]["message"]


def test_the_web_socket_streams_to_sessions_only(platform: Platform, client: httpx.Client) -> None:
    address = platform.url.replace("http", "ws") + f"{API}/stream"  # type: ignore[attr-defined]
    cookie = f"aether_session={client.cookies['aether_session']}"

    async def listen(headers: dict[str, str]) -> set[str]:
        async with connect(address, additional_headers=headers, proxy=None) as socket:
            await socket.send(json.dumps({"subscribe": ["desk"]}))
            while True:
                message = json.loads(await asyncio.wait_for(socket.recv(), 20))
                if message["topic"] == "desk":
                    return set(message["data"]["accounts"])

    assert asyncio.run(listen({"Cookie": cookie})) == {"company", "director-1", "director-2"}
    for headers in ({}, {"Cookie": cookie, "Origin": "http://evil.example"}, {"Cookie": "aether_session=guess"}):
        with pytest.raises(InvalidStatus, match="403"):
            asyncio.run(listen(headers))


def test_pages_carry_security_headers(client: httpx.Client) -> None:
    page = client.get("/accounts/company")
    assert page.status_code == 200
    assert "<title>Aether</title>" in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_the_secret_in_the_data_directory_is_its_owners(platform: Platform) -> None:
    file = platform.data_dir / "running.json"
    assert file.stat().st_mode & 0o077 == 0
    link = aether("link", data_dir=platform.data_dir)
    with anonymous(platform) as other:
        token = link.stdout.strip().partition("#token=")[2]
        assert other.post(f"{API}/session/token", json={"token": token}).status_code == 204


def test_a_second_process_on_the_same_data_is_refused(platform: Platform) -> None:
    done = aether("up", "--port", "0", data_dir=platform.data_dir)
    assert done.returncode == 6
    assert "is used by the process" in done.stderr


def test_a_taken_port_is_told(platform: Platform, tmp_path: Path) -> None:
    port = platform.url.rsplit(":", 1)[1]  # type: ignore[attr-defined]
    done = aether("up", "--port", port, data_dir=tmp_path / "other")
    assert done.returncode == 7
    assert f"Port {port} of 127.0.0.1 is taken" in done.stderr
    assert not (tmp_path / "other" / "postgresql").exists(), "nothing was begun"


def test_the_command_line_reads_a_running_desk(platform: Platform, client: httpx.Client) -> None:
    listed = aether_json("accounts", data_dir=platform.data_dir)
    assert [a["account"] for a in listed] == ["company", "director-1", "director-2"]  # type: ignore[attr-defined]
    assert aether_json("orders", "--account", "company", data_dir=platform.data_dir)
    held = aether_json("positions", "--account", "company", data_dir=platform.data_dir)
    assert held["balances"]  # type: ignore[index]
    proofs = aether_json("journal", "verify", data_dir=platform.data_dir)
    (market,) = [p for p in proofs if "market" in p]  # type: ignore[attr-defined]
    assert market["ok"]
    assert market["events"] > 1_000
    accounts = {p["account"]: p["rows"] for p in proofs if "account" in p}  # type: ignore[attr-defined]
    assert min(accounts.values()) > 5
    assert len(accounts) == 3
    rows = aether_json("journal", "show", "--account", "company", "--from", "1", data_dir=platform.data_dir)
    assert rows[0]["kind"] == "AccountOpened"  # type: ignore[index]
