"""People at a running platform, as their browsers and programs speak to it."""

import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any, cast

import httpx

from tests.passkey import SoftPasskey

API = "/api/v1"
PASSWORD = "correct horse battery staple"


class Person:
    """Somebody with a browser and a passkey.

    Args:
        url: of the platform.
        headers: sent with everything, such as X-Forwarded-For.
    """

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.url = url
        self._first = httpx.Client(base_url=url, timeout=60, headers=headers or {})
        self._of_thread = threading.local()
        self._of_thread.http = self._first
        self.passkey = SoftPasskey(url)
        self.email = ""
        self.recovery_codes: list[str] = []

    @property
    def http(self) -> httpx.Client:
        """The client of this thread: threads that share one close each other's connections."""
        if not hasattr(self._of_thread, "http"):
            told = self._first
            self._of_thread.http = httpx.Client(
                base_url=told.base_url, timeout=60, headers=told.headers, cookies=told.cookies
            )
        return cast(httpx.Client, self._of_thread.http)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a request as it is."""
        content = b"" if body is None else json.dumps(body).encode()
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        if body is not None:
            named["content-type"] = "application/json"
        return self.http.request(method, API + path, content=content, headers=named)

    def proof(self, action: str, method: str, path: str, body: Any = None) -> str:
        """Prove the passkey for a request and return the token."""
        content = b"" if body is None else json.dumps(body).encode()
        wanted = hashlib.sha256(f"{method}\n{API}{path}\n".encode() + content).hexdigest()
        challenge = self.call("POST", "/mfa/challenges").json()
        answer = {
            "action": action,
            "payload_hash": wanted,
            "challenge": challenge["challenge"],
            "credential": self.passkey.answer(challenge["passkey"]),
        }
        proven = self.call("POST", "/mfa/proofs", answer)
        assert proven.status_code == 200, proven.text
        return str(proven.json()["token"])

    def do(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a request and, when it asks for a proof, prove it and send it again."""
        answer = self.call(method, path, body, **headers)
        if answer.status_code == 403 and answer.json()["title"] == "ProofRefused":
            told = answer.json()
            token = self.proof(told["action"], method, path, body)
            answer = self.call(method, path, body, X_MFA_Token=token, **headers)
        return answer

    def enrol(self, invitation: str, email: str, name: str = "Somebody") -> "Person":
        """Set oneself up with a passkey; signs in."""
        asked = {"token": invitation, "email": email, "name": name, "password": PASSWORD}
        challenge = self.call("POST", "/setup/person", asked)
        assert challenge.status_code == 200, challenge.text
        told = challenge.json()
        answer = {"challenge": told["challenge"], "credential": self.passkey.register(told["passkey"])}
        done = self.call("POST", "/setup/factor", answer)
        assert done.status_code == 200, done.text
        self.email = email
        self.recovery_codes = done.json()["recovery_codes"]
        return self

    def sign_in(self) -> httpx.Response:
        """Sign in anew with password and passkey."""
        self.http.cookies.clear()
        challenge = self.call("POST", "/session", {"email": self.email, "password": PASSWORD})
        assert challenge.status_code == 200, challenge.text
        told = challenge.json()
        return self.call(
            "POST",
            "/session/factor",
            {"challenge": told["challenge"], "credential": self.passkey.answer(told["passkey"])},
        )

    def invite(self, email: str, roles: dict[str, str], vouch: Callable[[str], str] | None = None) -> "Person":
        """Invite somebody and have them set themselves up; `vouch` has the machine's owner hand the link over."""
        body = {"email": email, "name": email.split("@", maxsplit=1)[0], "roles": roles, "reason": "needed at the desk"}
        made = self.do("POST", "/users", body)
        assert made.status_code == 201, made.text
        return Person(self.url).enrol(made.json()["token"] or (vouch(email) if vouch else ""), email)


def first_admin(link: str, email: str = "ada@example.com") -> Person:
    """Come in by the link of the terminal and set up the first admin."""
    url, _, fragment = link.partition("/#")
    kind, _, token = fragment.partition("=")
    if kind == "token":
        owner = Person(url)
        assert owner.call("POST", "/session/token", {"token": token}).status_code == 204
        token = owner.call("POST", "/setup/invitation").json()["token"]
    return Person(url).enrol(token, email, "Ada")
