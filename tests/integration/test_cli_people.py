"""The command line as a person uses it: signing in, second factors at a prompt, the control plane (A2 to A5)."""

import json
import os
import subprocess
import time
from pathlib import Path

import pyotp
import pytest

from tests.integration.people import PASSWORD, Person, first_admin
from tests.integration.platform import COMMAND, Platform


@pytest.fixture(scope="module")
def ada(platform: Platform) -> Person:
    """The first admin, with an authenticator app besides a passkey."""
    made = first_admin(platform.link())
    asked = made.do("POST", "/me/totp").json()
    made.seed = pyotp.parse_uri(asked["totp_uri"]).secret  # type: ignore[attr-defined]
    code = pyotp.TOTP(made.seed).now()  # type: ignore[attr-defined]
    confirmed = made.call("POST", "/me/totp/confirm", {"challenge": asked["challenge"], "code": code})
    assert confirmed.status_code == 204, confirmed.text
    return made


def aether(platform: Platform, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal; what it asks for is read from standard input."""
    return subprocess.run(
        [*COMMAND, *arguments, "--data-dir", str(platform.data_dir)],
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


def test_a_stranger_is_told_to_sign_in(platform: Platform, ada: Person) -> None:
    for command in (("users", "list"), ("approvals", "list"), ("kill", "release", "--reason", "over now")):
        done = aether(platform, *command)
        assert done.returncode == 21, done.stdout
        assert "aether login" in done.stderr
    wrong = aether(platform, "login", "--email", "ada@example.com", typed="not the password\n")
    assert wrong.returncode == 21
    assert "is wrong" in wrong.stderr
    link = aether(platform, "link")
    assert link.returncode == 22
    assert "Sign in on the page" in link.stderr


def test_a_session_of_the_command_line(platform: Platform, ada: Person) -> None:
    typed = f"{PASSWORD}\n{ada.recovery_codes[0]}\n"
    done = aether(platform, "login", "--email", "ada@example.com", typed=typed)
    assert done.returncode == 0, done.stderr
    session = platform.data_dir / "cli-session.json"
    assert session.stat().st_mode & 0o077 == 0
    assert "ada@example.com: admin of all accounts" in aether(platform, "whoami").stdout
    assert "ada@example.com" in aether(platform, "users", "list").stdout
    assert "Nothing waits" in aether(platform, "approvals", "list").stdout
    listed = json.loads(aether(platform, "audit", "list", "--json").stdout)
    assert any(e["action"] == "session.open" and e["agent"] == "aether command line" for e in listed)
    exported = [json.loads(line) for line in aether(platform, "audit", "export").stdout.splitlines()]
    assert exported[-1] == {"complete": True, "entries": len(exported) - 1}
    shown = aether(platform, "accounts", "settings", "company")
    assert "limits.max_daily_loss_bps" in shown.stdout

    code = pyotp.TOTP(ada.seed).at(int(time.time()) + 30)  # type: ignore[attr-defined]
    keys = aether(platform, "secrets", "status", "--account", "company", typed=f"{code}\n")
    assert keys.returncode == 0, keys.stderr
    assert "No key is stored." in keys.stdout
    used = aether(platform, "secrets", "status", "--account", "company", typed=f"{code}\n")
    assert used.returncode == 21, "a code is good once"
    bad = aether(
        platform, "secrets", "upload", "kraken", "--account", "company", "--reason", "try", "--key-file", "/no"
    )
    assert bad.returncode == 4

    assert "Signed out" in aether(platform, "logout").stdout
    assert not session.exists()
    assert aether(platform, "whoami").stdout.startswith("nobody")


def test_the_kill_switch_is_engaged_without_anybody_and_told(platform: Platform, ada: Person) -> None:
    done = aether(platform, "kill", "engage", "--account", "company", "--reason", "something is wrong")
    assert "engaged: company" in done.stdout, done.stderr
    entry = ada.call("GET", "/audit?action=kill").json()[0]
    assert (entry["actor_kind"], entry["account"], entry["reason"]) == ("local", "company", "something is wrong")
    assert ada.do("POST", "/accounts/company/kill-switch/release", {"reason": "it was not"}).json()["applied"] is True


def test_the_audit_trail_verifies_from_the_command_line_and_finds_a_cut(platform: Platform, ada: Person) -> None:
    ada.call("POST", "/audit/checkpoints")
    done = aether(platform, "audit", "verify", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checkpoints"] >= 1
    kept = platform.data_dir / "elsewhere"
    kept.mkdir()
    (kept / "1.json").write_text(json.dumps(ada.call("POST", "/audit/checkpoints").json()))
    assert aether(platform, "audit", "verify", "--checkpoints", str(kept)).returncode == 0
    document = json.loads((kept / "1.json").read_text())
    (kept / "2.json").write_text(json.dumps({**document, "document": document["document"].replace("1", "2")}))
    forged = aether(platform, "audit", "verify", "--checkpoints", str(kept))
    assert forged.returncode == 18
    assert "signature" in forged.stderr
    (kept / "2.json").write_text("{")
    assert aether(platform, "audit", "verify", "--checkpoints", str(kept)).returncode == 4
    assert aether(platform, "audit", "verify", "--checkpoints", str(Path(kept) / "none")).returncode == 2


def test_who_lost_everything_is_let_in_again_by_whoever_rules_the_machine(platform: Platform, ada: Person) -> None:
    ada.invite("lost@example.com", {"company": "trader"})
    done = aether(platform, "users", "reset", "lost@example.com")
    assert done.returncode == 0, done.stderr
    token = done.stdout.strip().partition("#invitation=")[2]
    back = Person(ada.url).enrol(token, "lost@example.com", "Back again")
    assert back.call("GET", "/session").json()["roles"] == {"company": "trader"}
    assert aether(platform, "users", "reset", "nobody@example.com").returncode == 3
