"""No one person raises a risk or makes a director: the table of duties, walked through by a lone administrator
(A6, issue 11 finding 6)."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aether.control.access import ACTIONS
from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, aether, until, vouched
from tests.running_exchange import RunningExchange

REASON = "because I say so"
HARMLESS = {
    "accounts.archive": "it ends",
    "accounts.configure": "downwards; what loosens is accounts.loosen",
    "approvals.withdraw": "one's own request",
    "secrets.test": "it changes nothing",
    "tokens.revoke": "it ends",
}
"""What only admins do, and raises nothing."""

TWO: dict[str, tuple[str, str, dict[str, Any]]] = {
    "accounts.loosen": (
        "PUT",
        "/accounts/{company}/settings",
        {"version": 0, "changes": {"limits": {"max_open_orders": 400}}},
    ),
    "accounts.live": (
        "POST",
        "/accounts",
        {"id": "real", "name": "Real", "kind": "company", "instruments": ["kraken:BTC/USD"], "mode": "live"},
    ),
    "capital.move": (
        "POST",
        "/accounts/{company}/capital",
        {"direction": "deposit", "asset": "USD", "amount": "5", "venue": "kraken", "reference": "r1"},
    ),
    "books.book": (
        "POST",
        "/accounts/{company}/bookings",
        {"asset": "USD", "amount": "5", "venue": "kraken", "reference": "r1"},
    ),
    "kill.release": ("POST", "/accounts/{company}/kill-switch/release", {}),
    "secrets.upload": ("PUT", "/secrets/kraken?account={company}", {}),
    "secrets.rotate": ("POST", "/secrets/kraken/rotate?account={company}", {"version": 1}),
    "secrets.delete": ("DELETE", "/secrets/kraken?account={company}", {}),
    "users.roles": ("PUT", "/users/{max}/roles", {"roles": {"*": "admin"}}),
    "tokens.arm": ("POST", "/tokens", {"name": "t", "actions": ["kill.flatten"], "accounts": ["*"], "days": 1}),
}
"""A request for each act that takes two people."""


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    made = RunningExchange()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, exchange: RunningExchange) -> Iterator[Platform]:
    options = exchange.options("kraken")
    venue_urls = f"kraken={options[3]} {options[5]}"
    more = {"AETHER_TWO_PEOPLE": "true", "AETHER_VENUE_URLS": venue_urls}
    made = Platform(tmp_path_factory.mktemp("desk"), *options, env=more)
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def ada(platform: Platform) -> Person:
    """The one administrator."""
    made = first_admin(platform.link())
    until(lambda: len(made.call("GET", "/accounts").json()) == 3, "the accounts")
    return made


def user(admin: Person, email: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = admin.call("GET", "/users").json()
    return next(u for u in found if u["email"] == email)


def test_the_table_names_every_act_that_could_raise_risk() -> None:
    for action in ACTIONS.values():
        writes = action.proof and not action.audited
        if not writes:
            assert not (action.raises or action.second), f"{action.name} raises {action.raises} and takes no proof"
        else:
            assert bool(action.raises) != (action.name in HARMLESS), action.name
    assert {a.name for a in ACTIONS.values() if a.second} == set(TWO)


def test_a_lone_administrator_raises_nothing(ada: Person, exchange: RunningExchange) -> None:
    company = ada.call("GET", "/accounts").json()[0]["id"]
    key, secret = exchange.local.open_account("kraken", "firm", {})
    maximilian = ada.invite("max@example.com", {company: "trader"})
    number = user(ada, maximilian.email)["id"]
    for action, (method, path, body) in TWO.items():
        asked = body if action == "tokens.arm" else {**body, "reason": REASON}
        if action in {"secrets.upload", "secrets.rotate"}:
            asked |= {"key": key, "secret": secret}
        answer = ada.do(method, path.replace("{max}", number).replace("{company}", company), asked)
        assert answer.status_code in {200, 201}, f"{action}: {answer.text}"
        waits = answer.json()["approval"]
        assert (waits["action"], waits["state"]) == (action, "waiting")
        own = ada.do("POST", f"/approvals/{waits['id']}/decide", {"approve": True, "reason": REASON})
        assert own.status_code == 403, f"{action}: approved by who asked"
    assert user(ada, maximilian.email)["roles"] == {company: "trader"}
    assert ada.call("GET", "/tokens").json() == []
    assert len(ada.call("GET", "/accounts").json()) == 3
    entries = ada.call("GET", "/audit?limit=500").json()
    assert {e["action"] for e in entries if e["outcome"] == "asked"} == set(TWO)
    assert {e["action"] for e in entries if e["outcome"] == "done"} & set(TWO) == set()


@pytest.fixture(scope="module")
def grace(platform: Platform, ada: Person) -> Person:
    """The second director, whose link the machine's owner handed over."""
    return ada.invite("grace@example.com", {"*": "admin"}, lambda email: vouched(platform.data_dir, email))


def test_a_token_that_sells_works_once_another_person_has_approved_it(ada: Person, grace: Person) -> None:
    made = ada.do("POST", "/tokens", {"name": "t2", "actions": ["kill.flatten"], "accounts": ["*"], "days": 1}).json()
    program = Person(ada.url)
    program.http.headers["authorization"] = f"Bearer {made['token']}"
    assert program.call("GET", "/session").json()["kind"] == "nobody"
    decided = grace.do("POST", f"/approvals/{made['approval']['id']}/decide", {"approve": True, "reason": REASON})
    assert decided.json()["state"] == "done"
    assert made["token"] not in decided.text
    assert program.call("GET", "/session").json()["actions"] == ["kill.flatten"]


def test_no_one_person_makes_a_director(ada: Person, grace: Person) -> None:
    """She invites, another hands the link over, and she who did not hold it confirms."""
    body = {"email": "joan@example.com", "name": "Joan", "roles": {"*": "admin"}, "reason": REASON}
    assert ada.do("POST", "/users", body).json() == {"token": "", "link": ""}
    own = ada.do("POST", "/invitations/joan@example.com/link")
    assert own.status_code == 403
    assert "You invited joan@example.com yourself" in own.json()["detail"]
    link = grace.do("POST", "/invitations/joan@example.com/link").json()
    assert ada.call("GET", "/invitations").json()[0]["held_by"] == "grace@example.com"
    joan = Person(ada.url).enrol(link["token"], "joan@example.com")
    me = joan.call("GET", "/session").json()
    assert (me["roles"], me["waits"]) == ({}, True)
    assert joan.call("GET", "/accounts").status_code == 403
    assert joan.call("GET", "/users").status_code == 403
    number = user(ada, "joan@example.com")["id"]
    told = {"reason": "she called me"}
    held = grace.do("POST", f"/users/{number}/confirm", told)
    assert held.status_code == 403
    assert "You held the link" in held.json()["detail"]
    assert joan.do("POST", f"/users/{number}/confirm", told).status_code == 403
    assert ada.do("POST", f"/users/{number}/confirm", told).status_code == 204
    assert ada.do("POST", f"/users/{number}/confirm", told).status_code == 404
    me = joan.call("GET", "/session").json()
    assert (me["roles"], me["waits"]) == ({"*": "admin"}, False)
    assert len(joan.call("GET", "/accounts").json()) == 3


def test_the_machines_owner_answers_for_who_waits(platform: Platform, ada: Person, grace: Person) -> None:
    """Nobody but who held the link is there to confirm."""
    body = {"email": "mary@example.com", "name": "Mary", "roles": {"*": "admin"}, "reason": REASON}
    grace.do("POST", "/users", body)
    link = ada.do("POST", "/invitations/mary@example.com/link").json()
    mary = Person(ada.url).enrol(link["token"], "mary@example.com")
    told = aether("users", "vouch", "mary@example.com", data_dir=platform.data_dir)
    assert "count now" in told.stdout
    assert mary.call("GET", "/session").json()["roles"] == {"*": "admin"}
    for email in ("nobody@example.com", "ada@example.com"):
        told = aether("users", "vouch", email, data_dir=platform.data_dir)
        assert told.returncode != 0
        assert email in told.stderr


def enrolled_as_admins(links: list[str], url: str) -> list[str]:
    """Come in by each link as far as it goes; return who is an admin."""
    found = []
    for number, token in enumerate(links):
        with contextlib.suppress(AssertionError):
            person = Person(url).enrol(token, f"first{number}@example.com")
            found += [person.email] if person.call("GET", "/session").json()["roles"] else []
    return found


def test_one_person_comes_in_by_the_machines_link(tmp_path: Path) -> None:
    """Ten asked for at once left four that worked, and made as many directors (found by attack)."""
    platform = Platform(tmp_path, env={"AETHER_TWO_PEOPLE": "true"})
    url, _, token = platform.link().partition("/#token=")
    owner = Person(url)
    assert owner.call("POST", "/session/token", {"token": token}).status_code == 204
    with ThreadPoolExecutor(10) as pool:
        asked = list(pool.map(lambda _: owner.call("POST", "/setup/invitation"), range(10)))
    links = [a.json()["token"] for a in asked if a.status_code == 200]
    assert links
    assert len(enrolled_as_admins(links, url)) == 1
    assert platform.stop() == 0


def test_who_is_set_up_anew_is_who_they_were(platform: Platform, ada: Person, grace: Person) -> None:
    """After a reset she was another, who had not invited and had held no link (found by attack)."""
    body = {"email": "puppet@example.com", "name": "P", "roles": {"*": "admin"}, "reason": REASON}
    assert grace.do("POST", "/users", body).status_code == 201
    assert grace.do("POST", "/invitations/puppet@example.com/link").status_code == 403
    again = reset(platform, "grace@example.com")
    assert ada.do("POST", "/invitations/grace@example.com/link").status_code == 403, "the owner's link is the owner's"
    grace = Person(ada.url).enrol(again, "grace@example.com")
    assert grace.call("GET", "/session").json()["roles"] == {"*": "admin"}
    assert grace.do("POST", "/invitations/puppet@example.com/link").status_code == 403
    held = ada.do("POST", "/invitations/puppet@example.com/link").json()["token"]
    Person(ada.url).enrol(held, "puppet@example.com")
    ada = Person(ada.url).enrol(reset(platform, "ada@example.com"), "ada@example.com")
    number = user(ada, "puppet@example.com")["id"]
    assert ada.do("POST", f"/users/{number}/confirm", {"reason": REASON}).status_code == 403
    assert grace.do("POST", f"/users/{number}/confirm", {"reason": REASON}).status_code == 204


def reset(platform: Platform, email: str) -> str:
    done = aether("users", "reset", email, data_dir=platform.data_dir)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().partition("#invitation=")[2]
