"""Nothing secret leaves: planted keys, passwords, seeds and tokens are looked for wherever they could go (A3, D7)."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import asyncpg
import httpx
import pyotp

from aether.store.embedded import EmbeddedServer
from tests.integration.people import API, PASSWORD, Person
from tests.integration.platform import COMMAND, vouched
from tests.running_exchange import RunningExchange


def start(data_dir: Path, log: Path, exchange: RunningExchange) -> tuple[subprocess.Popen[bytes], str]:
    """Start a platform that logs everything into a file; return it with its first link."""
    kraken = exchange.local.exchanges["kraken"]
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "AETHER_LOG_LEVEL": "debug",
        "AETHER_LOG_JSON": "true",
        "AETHER_VENUE_URLS": f"kraken={kraken.url} {kraken.ws_url}",
        "AETHER_TWO_PEOPLE": "true",
    }
    stream = log.open("wb")
    options = [*COMMAND, "up", "--data-dir", str(data_dir), "--port", "0"]
    process = subprocess.Popen(options, stdout=stream, stderr=stream, env=environment)
    stream.close()
    while process.poll() is None:
        for word in log.read_text().split():
            if "#token=" in word:
                return process, word
    raise AssertionError(log.read_text())


def test_planted_secrets_are_found_nowhere(tmp_path: Path) -> None:
    exchange = RunningExchange()
    log = tmp_path / "log.txt"
    process, link = start(tmp_path / "desk", log, exchange)
    bodies: list[str] = []
    planted: dict[str, str] = {"password": PASSWORD}

    def seen(answer: httpx.Response, *, tells: bool = False) -> httpx.Response:
        """Keep what came back; `tells` for the one answer that is meant to show something once."""
        if not tells:
            bodies.append(answer.text + str(answer.headers))
        return answer

    url, _, token = link.partition("/#token=")
    owner = Person(url)
    seen(owner.call("POST", "/session/token", {"token": token}), tells=True)
    invitation = owner.call("POST", "/setup/invitation").json()["token"]
    ada = Person(url)
    asked = ada.call(
        "POST", "/setup/person", {"token": invitation, "email": "ada@example.com", "name": "Ada", "password": PASSWORD}
    ).json()
    planted["totp seed"] = pyotp.parse_uri(asked["totp_uri"]).secret
    code = pyotp.TOTP(planted["totp seed"]).now()
    done = ada.call("POST", "/setup/factor", {"challenge": asked["challenge"], "code": code})
    for n, recovery in enumerate(done.json()["recovery_codes"]):
        planted[f"recovery code {n}"] = recovery
    planted["session"] = ada.http.cookies["aether_session"]
    ada_key = ada.call("POST", "/mfa/challenges").json()
    assert ada_key["methods"] == ["totp", "recovery"]
    # From here on a passkey proves, so that no code has to be waited for.
    wanted = seen(ada.call("POST", "/me/passkeys/challenge")).json()
    proof = {"action": wanted["action"], "payload_hash": wanted["payload_hash"], "challenge": ada_key["challenge"]}
    later = pyotp.TOTP(planted["totp seed"]).at(int(time.time()) + 30)
    token = ada.call("POST", "/mfa/proofs", {**proof, "code": later}).json()["token"]
    options = ada.call("POST", "/me/passkeys/challenge", X_MFA_Token=token).json()
    made = {"challenge": options["challenge"], "credential": ada.passkey.register(options["passkey"]), "name": "key"}
    assert ada.call("POST", "/me/passkeys", made).status_code == 204
    bob = ada.invite("bob@example.com", {"*": "admin"}, lambda email: vouched(tmp_path / "desk", email))
    created = ada.do("POST", "/tokens", {"name": "s", "actions": ["accounts.read"], "accounts": ["*"], "days": 1})
    planted["service token"] = created.json()["token"]

    for n, name in enumerate(("good", "next", "withdraws")):
        key, secret = exchange.local.open_account("kraken", "firm", {}, can_withdraw=name == "withdraws")
        planted[f"{name} key"], planted[f"{name} secret"] = key, secret
        body = {"key": key, "secret": secret, "reason": "planted", **({"version": 1} if n else {})}
        method, path = ("POST", "/secrets/kraken/rotate") if n else ("PUT", "/secrets/kraken")
        answer = seen(ada.do(method, f"{path}?account=company", body))
        if name != "withdraws":
            approval = answer.json()["approval"]["id"]
            decision = {"approve": True, "reason": "planted"}
            assert seen(bob.do("POST", f"/approvals/{approval}/decide", decision)).json()["state"] == "done"
    key, secret = planted["good key"], planted["good secret"]
    for bad in ({"key": key, "secret": secret}, {"key": key, "secret": secret, "reason": 5}, {"secret": [secret]}):
        seen(ada.do("PUT", "/secrets/kraken?account=company", bad))
        seen(ada.call("PUT", "/secrets/kraken?account=company", bad))
    seen(ada.do("PUT", "/secrets/kraken?account=company", {"key": key, "secret": secret + "x", "reason": "wrong"}))
    for path in ("/secrets/status?account=company&history=true", "/secrets/audit?account=company"):
        seen(ada.do("GET", path))
    for path in ("/audit?limit=500", "/audit/export", "/approvals", "/users", "/tokens", "/me/sessions", "/accounts"):
        seen(ada.do("GET", path))
    seen(ada.do("POST", "/secrets/kraken/test?account=company"))
    seen(ada.call("POST", "/session", {"email": "ada@example.com", "password": PASSWORD + "!"}))
    bodies.append(httpx.get(f"{url}/metrics").text)
    assert len(bodies) > 20
    process.terminate()
    assert process.wait(60) == 0
    exchange.stop()

    places = {"log": log.read_text(), "answers": "\n".join(bodies)}
    places["database"] = asyncio.run(dump(tmp_path / "desk" / "postgresql"))
    for file in (tmp_path / "desk").rglob("*.json"):
        places[file.name] = file.read_text()
    assert "secrets.rotate" in places["database"]
    assert API in places["database"] or "company" in places["database"]
    found = [f"{what} in {where}" for what, text in planted.items() for where, all_ in places.items() if text in all_]
    assert found == []


async def dump(folder: Path) -> str:
    """Return every row of every table as text."""
    server = EmbeddedServer(folder)
    connection = await asyncpg.connect(server.start())
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = []
    for table in tables:
        rows += [str(dict(r)) for r in await connection.fetch(f'SELECT * FROM "{table["tablename"]}"')]
    await connection.close()
    server.stop()
    return "\n".join(rows)
