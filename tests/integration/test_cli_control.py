"""Every command of the control plane does what it says at a running platform (A1 to A7).

The commands run in this process, so that a passkey can stand in for the code that a terminal would ask for.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aether.cli.main import app
from aether.cli.remote import Remote
from tests.integration.people import PASSWORD, Person, first_admin
from tests.integration.platform import Platform
from tests.integration.test_desk import until
from tests.running_exchange import RunningExchange

Run = Callable[..., str]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, exchange: RunningExchange) -> Iterator[Platform]:
    """A desk on the synthetic market."""
    kraken = exchange.local.exchanges["kraken"]
    made = Platform(tmp_path_factory.mktemp("desk"), env={"AETHER_VENUE_URLS": f"kraken={kraken.url} {kraken.ws_url}"})
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def ada(platform: Platform) -> Person:
    """The first admin."""
    return first_admin(platform.link())


@pytest.fixture
def run(platform: Platform, ada: Person, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as the admin and returns what it printed; it must succeed."""

    def prove(remote: Remote, told: Mapping[str, str]) -> str:
        challenge = remote.raw("POST", "/mfa/challenges")
        answer = {
            **told,
            "challenge": challenge["challenge"],
            "credential": ada.passkey.answer(challenge["passkey"]),
        }
        return str(remote.raw("POST", "/mfa/proofs", answer)["token"])

    monkeypatch.setattr(Remote, "_prove", prove)
    session = {"url": ada.url, "cookies": dict(ada.http.cookies)}
    (platform.data_dir / "cli-session.json").write_text(json.dumps(session))
    (platform.data_dir / "cli-session.json").chmod(0o600)

    def command(*arguments: str, typed: str = "") -> str:
        capfd.readouterr()
        done = CliRunner().invoke(app, [*arguments, "--data-dir", str(platform.data_dir)], input=typed)
        printed = done.output + "".join(capfd.readouterr())
        assert done.exit_code == 0, f"{arguments}: {printed} {done.exception!r}"
        return printed

    return command


def test_accounts(run: Run, ada: Person) -> None:
    options = ("--name", "Three", "--instrument", "paper:BTC/USD", "--kind", "director", "--cash", "1000")
    assert "is being opened" in run("accounts", "create", "director-3", *options, "--reason", "a third one")
    until(lambda: ada.call("GET", "/accounts/director-3").json().get("status") == "trading", "not opened")
    assert "director-3" in run("accounts")
    said = run("accounts", "set", "director-3", "limits.max_open_orders=60", "--reason", "more room")
    assert "limits.max_open_orders: 50 → 60 loosens" in said
    assert "Saved." in said
    said = run("accounts", "set", "director-3", "reconciliation.foreign_orders=cancel", "--reason", "one program")
    assert "reconciliation.foreign_orders: alert → cancel loosens" in said
    assert "Back to version 0" in run("accounts", "rollback", "director-3", "0", "--reason", "less room")
    assert "60 → 50" in run("accounts", "settings", "director-3")
    assert json.loads(run("accounts", "settings", "director-3", "--json"))[0]["version"] == 3
    until(lambda: ada.call("GET", "/accounts/director-3/balances").json(), "no balance")
    booked = run("accounts", "capital", "director-3", "50", "--venue", "paper", "--reason", "from the bank")
    assert "deposit of 50 at paper" in booked
    run("accounts", "capital", "director-3", "20", "--venue", "paper", "--withdrawal", "--reason", "to the bank")
    until(lambda: ada.call("GET", "/accounts/director-3").json()["capital"] == "1030.00000000", "not booked")
    assert "books and venues agree" in run("accounts", "breaks", "director-3")
    interest = ("0.00012345", "--asset", "USD", "--venue", "paper", "--reason", "interest", "--reference", "L-7")
    assert "Booked: 0.00012345 USD at paper" in run("accounts", "book", "director-3", *interest)
    taken = ("-0.5", "--asset", "USD", "--venue", "paper", "--reason", "conversion fee")
    assert "Booked: -0.5 USD" in run("accounts", "book", "director-3", *taken)
    until(lambda: ada.call("GET", "/accounts/director-3").json()["cash"] == "1029.50012345", "not booked")
    coins = ("1.5", "--asset", "BNB", "--venue", "paper", "--value", "900", "--reason", "coins for fees")
    with pytest.raises(AssertionError, match="nothing to do with 'BNB' yet"):
        run("accounts", "capital", "director-3", *coins)
    assert "deposit of 1.5 BNB at paper" in run("accounts", "capital", "director-3", *coins, "--new-asset")
    with pytest.raises(AssertionError, match="The amount is -5"):
        run("accounts", "capital", "director-3", "-5", "--venue", "paper", "--reason", "out it went")
    overdrawn = ("-2000", "--asset", "USD", "--venue", "paper", "--reason", "a fee too much")
    run("accounts", "book", "director-3", *overdrawn)
    until(lambda: "970.49987655" in run("accounts", "breaks", "director-3"), "no break of what is lacking")
    assert "Ada" in run(
        "accounts", "assign-break", "director-3", "overdraft|paper:USD", "--owner", "Ada", "--reason", "hers"
    )
    said = run("resume", "--account", "director-3", "--reason", "go on")
    assert "Still stopped by break: overdraft of paper:USD" in said
    run("accounts", "book", "director-3", "2000", *overdrawn[1:])
    until(lambda: ada.call("GET", "/accounts/director-3").json()["breaks"] == [], "not cleared")
    run("resume", "--account", "director-3", "--reason", "it was a mistake")
    until(lambda: ada.call("GET", "/accounts/director-3").json()["status"] == "trading", "not resumed")
    nobody = {"name": "x|y", "owner": "Ada", "reason": "there is none"}
    refused = ada.call("POST", "/accounts/director-3/breaks/assign", nobody)
    assert (refused.status_code, refused.json()["remedy"]) == (404, "Open are: none.")
    run("accounts", "safe-mode", "director-3", "--reason", "a storm")
    until(lambda: ada.call("GET", "/accounts/director-3").json()["status"] == "exits_only", "not in safe mode")
    (stop,) = ada.call("GET", "/accounts/director-3").json()["stops"]
    assert (stop["stop"], stop["reason"]) == ("safe", "a storm")
    run("accounts", "safe-mode", "director-3", "--release", "--reason", "it is over")
    until(lambda: ada.call("GET", "/accounts/director-3").json()["status"] == "trading", "still in safe mode")
    started = run("trade", "start", "director-3", "buy", "0.001", "BTC/USD")
    parent = started.split()[2]
    assert "director-3" in run("trade", "cancel", "director-3", parent, "--reason", "not needed")
    run("kill", "engage", "--account", "director-3", "--reason", "a drill of it")
    assert "released: director-3" in run("kill", "release", "--account", "director-3", "--reason", "drill over")
    assert "Resumed: director-3" in run("resume", "--account", "director-3", "--reason", "looked at it")
    assert "is archived" in run("accounts", "archive", "director-3", "--reason", "done with it")


def test_people_and_tokens(run: Run, ada: Person) -> None:
    link = run(
        "users", "invite", "max@example.com", "--name", "Max", "--role", "trader:company", "--reason", "new here"
    )
    Person(ada.url).enrol(link.strip().partition("#invitation=")[2], "max@example.com")
    assert "trader of company" in run("users", "list")
    roles = ("--role", "auditor", "--role", "trader:director-1")
    assert "are changed" in run("users", "roles", "max@example.com", *roles, "--reason", "moved on")
    assert json.loads(run("users", "list", "--json"))[1]["roles"] == {"*": "auditor", "director-1": "trader"}
    assert "locked out" in run("users", "disable", "max@example.com", "--reason", "left us")
    assert "let in again" in run("users", "disable", "max@example.com", "--undo", "--reason", "came back")
    token = run("tokens", "create", "dash", "--action", "accounts.read", "--account", "company").strip()
    assert token.startswith("aether_")
    listed = json.loads(run("tokens", "list", "--json"))
    assert "dash" in run("tokens", "list")
    assert "ended" in run("tokens", "revoke", listed[0]["id"])
    service = Person(ada.url)
    service.http.headers["authorization"] = f"Bearer {token}"
    assert service.call("GET", "/accounts").status_code == 401


def test_keys(run: Run, exchange: RunningExchange, tmp_path: Path) -> None:
    def key_file() -> str:
        key, secret = exchange.local.open_account("kraken", "firm", {})
        path = tmp_path / "key.json"
        path.write_text(json.dumps({"key": key, "secret": secret}))
        return str(path)

    account = ("--account", "company")
    assert "is stored" in run("secrets", "upload", "kraken", *account, "--reason", "first", "--key-file", key_file())
    assert "accepts it" in run("secrets", "test", "kraken", *account)
    rotated = run(
        "secrets", "rotate", "kraken", *account, "--version", "1", "--reason", "again", "--key-file", key_file()
    )
    assert "is replaced" in rotated
    shown = json.loads(run("secrets", "status", *account, "--history", "--json"))
    assert [(k["version"], k["state"]) for k in shown] == [(2, "active"), (1, "replaced")]
    assert "kraken" in run("secrets", "status", *account)
    assert "Key k2 wraps 2 values" in run("secrets", "rotate-kek")
    assert "Key k2 wraps 2 values" in run("secrets", "rotate-kek", "--resume")
    assert "destroyed" in run("secrets", "delete", "kraken", *account, "--reason", "closed")


def test_approvals_and_audit(run: Run) -> None:
    assert "Nothing waits" in run("approvals", "list")
    assert json.loads(run("approvals", "list", "--all", "--json")) == []
    assert "users.enrol" in run("audit", "list", "--action", "users.")
    checkpoint = json.loads(run("audit", "checkpoint"))
    assert set(checkpoint) == {"document", "signature", "public_key"}
    assert "entries verify" in run("audit", "verify")
    assert PASSWORD not in run("audit", "export")
    assert "ada@example.com" in run("whoami")
