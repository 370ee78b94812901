"""Speaking to a running platform over its API, as whoever signed in with `aether login`.

The session lies in the data directory, for its owner only. Before anybody is set up, the owner of the data directory is
let in without one. When a request needs a fresh proof of a second factor, it is asked for here.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import typer

from aether.api.statuses import STATUS
from aether.cli.console import err, out
from aether.compose.directory import DataDirectory
from aether.config import Settings
from aether.control.private import write_private
from aether.domain import errors
from aether.domain.errors import AetherError, NotSignedInError, RefusedError, UnknownNameError
from aether.node.pulls import EVERY_ACCOUNT

API = "/api/v1"
SESSION_FILE = "cli-session.json"
TIMEOUT_S = 30

NOT_SIGNED_IN = NotSignedInError("You are not signed in.", remedy="Run: aether login")


class Remote:
    """A platform, as one person reaches it.

    Args:
        url: of the platform; empty for the one that runs on the data directory.
    """

    def __init__(self, settings: Settings, url: str = "") -> None:
        self._directory = DataDirectory(settings.data_dir)
        self._file = settings.data_dir / SESSION_FILE
        kept = self._kept()
        running = self._running()
        self.url = url or str(running.get("url") or kept.get("url") or settings.public_url)
        if not self.url:
            raise UnknownNameError(
                f"No platform runs on {settings.data_dir}.", remedy="Start it with: aether up, or give --url."
            )
        self._link_secret = str(running.get("link_secret", "")) if self.url == running.get("url") else ""
        self._http = requests.Session()
        self._http.trust_env = urlsplit(self.url).hostname not in ("localhost", "127.0.0.1")
        self._http.headers["user-agent"] = "aether command line"
        if kept.get("url") == self.url:
            self._http.cookies.update(kept.get("cookies", {}))

    def _kept(self) -> dict[str, Any]:
        return _read(self._file)

    def _running(self) -> dict[str, Any]:
        return _read(self._directory.running)

    def keep_session(self) -> None:
        """Write the session down, for its owner only."""
        write_private(self._file, {"url": self.url, "cookies": self._http.cookies.get_dict()})

    def forget_session(self) -> None:
        """Remove the session from this machine."""
        self._file.unlink(missing_ok=True)

    def raw(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send a request and return its answer, None for none.

        Raises:
            AetherError: what the platform refused, as its own kind of error.
        """
        try:
            answer = self._http.request(
                method, self.url + API + path, json=body, headers=dict(headers or {}), timeout=TIMEOUT_S
            )
        except requests.RequestException as error:
            raise UnknownNameError(
                f"The platform at {self.url} does not answer ({type(error).__name__}).",
                remedy="Start it with: aether up, or give --url. If it runs, does this machine know its name and the "
                "authority that signed its certificate (REQUESTS_CA_BUNDLE)?",
            ) from error
        if answer.ok:
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return answer.json() if is_json and answer.content else answer.text
        raise _error_of(answer)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; sign the machine's owner in, or ask for a second factor, where that is needed."""
        try:
            return self.raw(method, path, body)
        except NotSignedInError as error:
            if not self._enter_locally():
                raise NOT_SIGNED_IN from error
            return self.raw(method, path, body)
        except _ProofNeededError as error:
            return self.raw(method, path, body, {"X-MFA-Token": self._prove(error.told)})

    def _enter_locally(self) -> bool:
        """Come in as the machine's owner, which works before anybody is set up; return whether it did."""
        if not self._link_secret:
            return False
        try:
            link = self.raw("POST", "/session/links", {"secret": self._link_secret})
            if link["kind"] != "session":
                return False
            self.raw("POST", "/session/token", {"token": link["token"]})
        except (RefusedError, NotSignedInError):
            return False
        return True

    def _prove(self, told: Mapping[str, str]) -> str:
        challenge = self.raw("POST", "/mfa/challenges")
        if "totp" not in challenge["methods"]:
            raise RefusedError(
                "You have no authenticator app, and a terminal takes no passkeys.",
                remedy="Add an app under your name on the page, or do this on the page.",
            )
        code = typer.prompt(f"Code for {told['action']}", hide_input=True, err=True)
        answer = {**told, "challenge": challenge["challenge"], "code": code}
        return str(self.raw("POST", "/mfa/proofs", answer)["token"])

    def sign_in(self, email: str, password: str) -> None:
        """Sign in with two factors and keep the session."""
        challenge = self.raw("POST", "/session", {"email": email, "password": password})
        body: dict[str, str] = {"challenge": challenge["challenge"]}
        code = typer.prompt("Code of your authenticator app, or a recovery code", hide_input=True, err=True).strip()
        body["code" if code.replace(" ", "").isdigit() else "recovery_code"] = code
        self.raw("POST", "/session/factor", body)
        self.keep_session()


class _ProofNeededError(RefusedError):
    """The request needs a proof; `told` is what it must be bound to."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem["detail"]), remedy=str(problem["remedy"]))
        self.told = {"action": str(problem["action"]), "payload_hash": str(problem["payload_hash"])}


def _error_of(answer: requests.Response) -> AetherError:
    """Return the error that the platform answered with, of the kind that it was there."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {"detail": f"The platform answered with {answer.status_code}.", "remedy": "Look at its log."}
    if problem.get("title") == "ProofRefused":
        return _ProofNeededError(problem)
    kind = getattr(errors, f"{problem.get('title', '')}Error", None)
    if not (isinstance(kind, type) and issubclass(kind, AetherError)):
        kind = next((k for k, status in STATUS if status == answer.status_code), AetherError)
    made = AetherError(str(problem.get("detail", "")), remedy=str(problem.get("remedy", "")))
    plain = type(kind.__name__, (kind,), {"__init__": AetherError.__init__})
    shown: AetherError = plain(made.message, remedy=made.remedy)
    return shown


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_mode & 0o077 and file.name == SESSION_FILE:
            err.print(f"[yellow]{file} is open to others; run: chmod 600 {file}[/]")
        found: dict[str, Any] = msgspec.json.decode(file.read_bytes())
        return found
    except (OSError, msgspec.DecodeError):
        return {}


def secret_text(file: Path | None, what: str) -> str:
    """Return a secret from a file, from standard input for `-`, or by asking; never from the command line."""
    if file is None:
        return str(typer.prompt(what, hide_input=True, err=True))
    if str(file) == "-":
        with os.fdopen(0, encoding="utf-8", closefd=False) as stream:
            return stream.read().strip()
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise errors.DataFormatError(f"{file} cannot be read: {error.strerror}.", remedy="Check the path.") from error


def say(answer: Mapping[str, Any], done: str) -> None:
    """Print that it is done, or that it waits for a second person."""
    waits = answer.get("approval")
    if waits:
        out.print(f"Request [bold]{waits['id']}[/] waits for a second person: {waits['summary']}", highlight=False)
    else:
        out.print(done, highlight=False)


def ask(settings: Settings, url: str, path: str, body: dict[str, object], done: str, account: str) -> None:
    """Ask the running node for something and print what came of it."""
    told = Remote(settings, url).call("POST", path, body)
    if told.get("approval") or told["applied"]:
        names = ", ".join(a["account"] for a in told["accounts"] if account in (EVERY_ACCOUNT, a["account"]))
        say(told, f"{done}: {names}")
    else:
        out.print("Recorded; no node has confirmed it yet, it takes effect before anything else.")
