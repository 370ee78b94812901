"""Production refuses what is insecure, before the start and while it runs (R4, R8, D9)."""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import httpx
import pytest

from aether.control.guards import GUARDS
from aether.domain.errors import InvalidValueError
from aether.store.embedded import EmbeddedServer
from tests.integration.conftest import new_database
from tests.integration.people import Person
from tests.integration.platform import COMMAND, Platform
from tests.passkey import SoftPasskey
from tests.running_exchange import RunningExchange

LOGIN = "desk_platform"
PASSWORD = "a-long-random-password-0001"


def secured(url: str, folder: Path) -> dict[str, str]:
    """Return an environment in which nothing is insecure, its database migrated by its owner."""
    runtime = url.replace("postgres:@", f"{LOGIN}:{PASSWORD}@", 1)
    environment = {
        "AETHER_ENV": "production",
        "AETHER_DATA_DIR": str(folder / "desk"),
        "AETHER_DATABASE_URL": runtime,
        "AETHER_PUBLIC_URL": "https://desk.example.com",
        "AETHER_TRUSTED_PROXIES": "127.0.0.1",
        "AETHER_ADMINS": "ada@example.com,bob@example.com",
        "AETHER_DIRECTORS": "ada@example.com, bob@example.com",
    }
    done = aether("db", "migrate", env={**environment, "AETHER_DATABASE_ADMIN_URL": url})
    assert done.returncode == 0, done.stderr
    return environment


@pytest.fixture
def secure(url: str, tmp_path: Path) -> dict[str, str]:
    """An environment of a test's own, on a database of its own."""
    return secured(url, tmp_path)


@pytest.fixture(scope="module")
def shared_url(server: EmbeddedServer) -> str:
    """The URL of a database for all tests that only look at it."""
    return asyncio.run(new_database(server))


@pytest.fixture(scope="module")
def shared(shared_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment on it: nothing starts there, so that nothing changes it."""
    return secured(shared_url, tmp_path_factory.mktemp("production"))


def aether(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **env},
    )


SQL: dict[str, str] = {
    "superuser": f"ALTER ROLE {LOGIN} SUPERUSER",
    "bypasses": f"ALTER ROLE {LOGIN} BYPASSRLS",
    "may make roles": f"ALTER ROLE {LOGIN} CREATEROLE",
    "inherits": f"ALTER ROLE {LOGIN} INHERIT",
    "owns tables": f"ALTER TABLE alerts OWNER TO {LOGIN}",
    "past what keeps accounts apart": "CREATE TABLE chunk () INHERITS (equity); GRANT SELECT ON chunk TO aether_desk",
}

INSECURE: list[tuple[str, str, dict[str, str]]] = [
    ("debug", "log_level is debug", {"AETHER_LOG_LEVEL": "debug"}),
    ("database tls", "sslmode=verify-full", {"AETHER_DATABASE_ADMIN_URL": "postgresql://owner:x@db.example/aether"}),
    ("tls", "not set", {"AETHER_PUBLIC_URL": ""}),
    ("tls", "not https", {"AETHER_PUBLIC_URL": "http://desk.example.com"}),
    ("proxies", "no proxy", {"AETHER_TRUSTED_PROXIES": ""}),
    ("proxies", "0.0.0.0/0 is trusted", {"AETHER_TRUSTED_PROXIES": "0.0.0.0/0"}),
    ("proxies", "0.0.0.0/0 is trusted", {"AETHER_TRUSTED_PROXIES": "128.0.0.0/1,0.0.0.0/2,64.0.0.0/2"}),
    ("proxies", "::/0 is trusted", {"AETHER_TRUSTED_PROXIES": "10.0.0.1,::/1,8000::/1"}),
    ("proxies", "no address and no network", {"AETHER_TRUSTED_PROXIES": "10.0.0.1,proxy.example.com"}),
    ("tls", "stop_url is", {"AETHER_STOP_URL": "http://desk.example.com:8444", "AETHER_STOP_PORT": "18444"}),
    ("database", "database_url is not set", {"AETHER_DATABASE_URL": ""}),
    ("directors", "eve@example.com is a director", {"AETHER_DIRECTORS": "ada@example.com,eve@example.com"}),
    ("admins", "admins is empty", {"AETHER_ADMINS": ""}),
    ("directors", "names 0", {"AETHER_DIRECTORS": ""}),
    ("directors", "names 1", {"AETHER_DIRECTORS": "ada@example.com,ada@example.com"}),
    ("secrets", "database_url's password", {"AETHER_DATABASE_URL": "postgresql://desk:postgres@/x?host=/tmp"}),
    ("secrets", "oidc_client_secret", {"AETHER_OIDC_ISSUER": "https://op.example", "AETHER_OIDC_CLIENT_SECRET": "x"}),
    ("secrets", "bao_secret_id", {"AETHER_BAO_URL": "https://bao.example", "AETHER_BAO_SECRET_ID": "changeme"}),
    ("key service", "not https", {"AETHER_BAO_URL": "http://bao.example", "AETHER_BAO_SECRET_ID": "0123456789abcdef"}),
]


@pytest.mark.parametrize(("check", "said", "change"), INSECURE)
def test_each_insecure_setting_alone_refuses_the_start(
    shared: dict[str, str], check: str, said: str, change: dict[str, str]
) -> None:
    done = aether("up", "--market", "kraken", "--port", "0", env={**shared, **change})
    assert done.returncode == 20, done.stderr
    assert f"{check}: " in done.stderr
    assert said in done.stderr
    assert "What to do:" in done.stderr
    assert done.stderr.count("; ") <= 1, "nothing else is named"


@pytest.mark.parametrize("market", ["synthetic", "exchange"])
def test_a_simulated_market_is_refused(shared: dict[str, str], market: str) -> None:
    done = aether("up", "--market", market, "--port", "0", env=shared)
    assert done.returncode == 20
    assert "simulation: the market is" in done.stderr


@pytest.mark.parametrize("said", list(SQL))
async def test_a_login_that_may_too_much_is_refused(shared: dict[str, str], shared_url: str, said: str) -> None:
    connection = await asyncpg.connect(shared_url)
    try:
        await connection.execute(SQL[said])
        done = aether("up", "--market", "kraken", "--port", "0", env=shared)
        assert done.returncode == 20, done.stderr
        assert "database role: " in done.stderr
        assert said in done.stderr
    finally:
        await connection.execute("DROP TABLE IF EXISTS chunk; ALTER TABLE alerts OWNER TO postgres")
        await connection.execute(f"ALTER ROLE {LOGIN} NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOINHERIT")
        await connection.close()


def test_doctor_signs_in_to_the_key_service_and_names_what_to_look_at(secure: dict[str, str]) -> None:
    away = {"AETHER_BAO_URL": "https://127.0.0.1:9", "AETHER_BAO_SECRET_ID": "0123456789abcdef"}
    done = aether("doctor", "--production", env={**secure, **away})
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert "OpenBao at https://127.0.0.1:9 is away or sealed" in said
    assert "AETHER_BAO_CA" in said


def test_a_migration_names_the_setting_that_is_wrong(secure: dict[str, str], url: str) -> None:
    wrong = url.replace("/t", "/nowhere-t", 1)
    done = aether("db", "migrate", env={**secure, "AETHER_DATABASE_ADMIN_URL": wrong})
    assert done.returncode == 8, done.stderr
    assert "AETHER_DATABASE_ADMIN_URL is right" in done.stderr
    assert "sqlalche.me" not in done.stderr
    for missing in ("AETHER_DATABASE_ADMIN_URL", "AETHER_DATABASE_URL"):
        given = {**secure, "AETHER_DATABASE_ADMIN_URL": url, missing: ""}
        done = aether("db", "migrate", env=given)
        assert done.returncode == InvalidValueError.exit_code
        assert missing in done.stderr


def test_a_key_file_open_to_others_is_refused(secure: dict[str, str]) -> None:
    file = Path(secure["AETHER_DATA_DIR"]) / "kek.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    file.chmod(0o644)
    done = aether("up", "--market", "kraken", "--port", "0", env=secure)
    assert done.returncode == 20
    assert "key file: " in done.stderr
    assert "mode 0644" in done.stderr


def test_an_old_schema_is_not_migrated_by_the_platform(secure: dict[str, str], server: EmbeddedServer) -> None:
    import asyncio

    base = server.start()

    async def make_empty() -> None:
        connection = await asyncpg.connect(base)
        await connection.execute("CREATE DATABASE empty_one")
        await connection.close()

    asyncio.run(make_empty())
    empty = base.replace("/postgres?", "/empty_one?").replace("postgres:@", f"{LOGIN}:{PASSWORD}@", 1)
    done = aether("up", "--market", "kraken", "--port", "0", env={**secure, "AETHER_DATABASE_URL": empty})
    assert done.returncode == 9, done.stderr
    assert "aether db migrate" in done.stderr


def test_doctor_lists_every_check(secure: dict[str, str]) -> None:
    done = aether("doctor", "--production", env=secure)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(guard.name in done.stdout for guard in GUARDS)
    bad = aether("doctor", "--production", env={**secure, "AETHER_ADMINS": "", "AETHER_LOG_LEVEL": "debug"})
    assert bad.returncode == 1
    assert bad.stdout.count("BAD") == 2


def test_with_none_it_starts_stopped_tells_little_and_watches(
    secure: dict[str, str], exchange: RunningExchange, tmp_path: Path
) -> None:
    platform = Platform(Path(secure["AETHER_DATA_DIR"]), *exchange.options("kraken"), env=secure)
    try:
        link = platform.link()
        assert link.startswith("https://desk.example.com/#invitation=")
        port = _port_of(platform)
        host = {"Host": "desk.example.com"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=host, timeout=10) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/metrics").status_code == 401
            me = client.get("/api/v1/session")
            assert me.json()["production"] is True
            assert me.headers["strict-transport-security"].startswith("max-age=")
            another = aether("link", env=secure)
            assert another.stdout.startswith("https://desk.example.com/#invitation="), another.stderr
            token = link.partition("=")[2]
            assert client.post("/api/v1/session/token", json={"token": token}).status_code == 401
            ready = {c["name"]: c["ok"] for c in client.get("/readyz").json()}
            assert "security" not in ready
            assert all(c["detail"] == "" for c in client.get("/readyz").json())
            (Path(secure["AETHER_DATA_DIR"]) / "kek.json").chmod(0o644)
            end = time.monotonic() + 30
            while time.monotonic() < end and "security" not in ready:
                time.sleep(0.2)
                ready = {c["name"]: c["ok"] for c in client.get("/readyz").json()}
            assert ready["security"] is False, "a setting that became insecure is told"
            (Path(secure["AETHER_DATA_DIR"]) / "kek.json").chmod(0o600)
    finally:
        assert platform.stop() == 0


def _port_of(platform: Platform) -> int:
    import json

    import psutil

    told = json.loads((platform.data_dir / "running.json").read_text())
    listening = psutil.Process(told["pid"]).net_connections("inet")
    return int(next(c.laddr.port for c in listening if c.status == psutil.CONN_LISTEN))


class BehindProxy(Person):
    """Somebody whose browser speaks HTTPS to a proxy: this plays the proxy, and keeps the secure cookie itself."""

    def __init__(self, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}", {"Host": "desk.example.com", "X-Forwarded-For": "203.0.113.9"})
        self.passkey = SoftPasskey("https://desk.example.com", "desk.example.com")

    def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Send a request, and keep the cookie that comes back."""
        answer = super().call(method, path, body, **headers)
        if given := answer.headers.get("set-cookie"):
            assert given.startswith("__Host-aether_session=")
            assert all(word in given for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"))
            self.http.headers["cookie"] = given.partition(";")[0]
        return answer


def test_in_production_two_people_let_an_account_trade(secure: dict[str, str], exchange: RunningExchange) -> None:
    platform = Platform(Path(secure["AETHER_DATA_DIR"]), *exchange.options("kraken"), env=secure)
    try:
        token = platform.link().partition("#invitation=")[2]
        port = _port_of(platform)
        eve = {"token": token, "email": "eve@example.com", "name": "Eve", "password": "violet harbour engine moss"}
        assert BehindProxy(port).call("POST", "/setup/person", eve).status_code == 422, "not in AETHER_ADMINS"
        ada = BehindProxy(port)
        ada.enrol(token, "ada@example.com")
        invitation = ada.do(
            "POST", "/users", {"email": "bob@example.com", "name": "Bob", "roles": {"*": "admin"}, "reason": "second"}
        ).json()
        assert invitation == {"token": "", "link": ""}, "whoever invites an admin never holds the link"
        link = aether("users", "vouch", "bob@example.com", env=secure).stdout.strip()
        assert link.startswith("https://desk.example.com/#invitation=")
        bob = BehindProxy(port)
        bob.enrol(link.partition("#invitation=")[2], "bob@example.com")
        assert ada.call("GET", "/accounts").json() == [], "no demo accounts"
        body = {
            "id": "paper-one",
            "name": "One",
            "kind": "company",
            "instruments": ["kraken:BTC/USD"],
            "reason": "try the strategy",
        }
        assert ada.do("POST", "/accounts", body).json() == {"done": True, "approval": None}
        end = time.monotonic() + 40
        while time.monotonic() < end and ada.call("GET", "/accounts/paper-one").json().get("status") != "killed":
            threading.Event().wait(0.2)
        assert ada.call("GET", "/accounts/paper-one").json()["reason"] == "production begins stopped"
        asked = ada.do("POST", "/accounts/paper-one/kill-switch/release", {"reason": "checked"}).json()
        assert asked["applied"] is False
        decide = f"/approvals/{asked['approval']['id']}/decide"
        own = ada.do("POST", decide, {"approve": True, "reason": "me again"})
        assert own.status_code == 403
        done = bob.do("POST", decide, {"approve": True, "reason": "checked too"})
        assert done.json()["state"] == "done", done.text
        end = time.monotonic() + 20
        while time.monotonic() < end and ada.call("GET", "/accounts/paper-one").json()["status"] == "killed":
            threading.Event().wait(0.1)
        assert ada.call("GET", "/accounts/paper-one").json()["status"] == "trading"
        live = {**body, "id": "live-one", "mode": "live"}
        waits = ada.do("POST", "/accounts", live).json()
        assert waits["approval"]["action"] == "accounts.live"
        assert (
            ada.do("POST", f"/approvals/{waits['approval']['id']}/withdraw", {"reason": "not yet"}).status_code == 200
        )
        entries = ada.call("GET", "/audit?limit=100").json()
        hers = [e for e in entries if e["actor"] == "ada@example.com"]
        by_request = f"approved request {asked['approval']['id']}"
        assert {e["address"] for e in hers if e["agent"] != by_request} == {"203.0.113.9"}
        assert [e["action"] for e in hers if e["agent"] == by_request] == ["kill.release"]
    finally:
        assert platform.stop() == 0
