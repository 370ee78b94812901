"""No one person raises a risk or makes a director: the table of duties, walked through by a lone administrator
(A6, issue 11 finding 6)."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aether.control.access import ACTIONS
from tests.integration.people import API, PASSWORD, Person, first_admin
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
    "users.enable": ("POST", "/users/{max}/enable", {}),
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
    assert ada.do("POST", f"/accounts/{company}/kill-switch/engage", {"reason": "a test"}).json()["applied"]
    for action, (method, path, body) in TWO.items():
        if action == "secrets.delete":  # there is none yet; see below
            continue
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
    assert {e["action"] for e in entries if e["outcome"] == "asked"} == set(TWO) - {"secrets.delete"}
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


def approve(admin: Person, asked: dict[str, Any]) -> Any:
    return admin.do("POST", f"/approvals/{asked['approval']['id']}/decide", {"approve": True, "reason": REASON})


def company_of(admin: Person) -> str:
    return str(admin.call("GET", "/accounts").json()[0]["id"])


def stopped(admin: Person, account: str) -> bool:
    states = admin.call("GET", "/kill-switch").json()
    return bool(next(s["engaged"] for s in states if s["account"] == account))


def test_an_approval_releases_no_kill_that_nobody_spoke_of(ada: Person, grace: Person) -> None:
    """One asked for before released a kill that was engaged since, and one asked for with nothing engaged (attack)."""
    company = company_of(ada)
    path = f"/accounts/{company}/kill-switch"
    ada.do("POST", f"{path}/engage", {"reason": "maintenance"})
    asked = ada.do("POST", f"{path}/release", {"reason": REASON}).json()
    assert "maintenance" in asked["approval"]["summary"]
    grace.do("POST", f"{path}/engage", {"reason": "a key leaked"})
    until(lambda: any(s["reason"] == "a key leaked" for s in ada.call("GET", "/kill-switch").json()), "the kill")
    late = approve(grace, asked)
    assert late.status_code == 409
    assert "engaged again since that was asked for: a key leaked" in late.json()["detail"]
    assert stopped(ada, company)
    again = ada.do("POST", f"{path}/release", {"reason": REASON}).json()
    assert "a key leaked" in again["approval"]["summary"]
    assert approve(grace, again).json()["state"] == "done"
    until(lambda: not stopped(ada, company), "the release")
    idle = ada.do("POST", f"{path}/release", {"reason": REASON}).json()
    assert (idle["applied"], idle["approval"]) == (True, None)


def test_a_reference_is_booked_once_however_often_it_is_approved(ada: Person, grace: Person) -> None:
    company = company_of(ada)
    path = f"/accounts/{company}/capital"
    body = {"direction": "deposit", "asset": "USD", "amount": "7", "venue": "kraken", "reference": "wire 7"}
    three = [ada.do("POST", path, {**body, "reason": REASON}).json() for _ in range(3)]
    answers = [approve(grace, asked) for asked in three]
    assert [a.status_code for a in answers] == [200, 409, 409]
    assert "booked under 'wire 7' already" in answers[1].json()["detail"]


def test_an_approval_says_what_came_of_it(ada: Person, grace: Person) -> None:
    """Four withdrawals of most of the money were approved and said to be done; one was (found by attack)."""
    company = company_of(ada)
    body = {"direction": "withdrawal", "asset": "USD", "amount": "60000", "venue": "kraken", "reason": REASON}
    two = [ada.do("POST", f"/accounts/{company}/capital", {**body, "reference": f"out {n}"}).json() for n in range(2)]
    answers = [approve(grace, asked) for asked in two]
    assert [a.status_code for a in answers] == [200, 409], [a.text for a in answers]
    assert "cannot leave" in answers[1].json()["detail"]
    states = {a["id"]: a["state"] for a in ada.call("GET", "/approvals").json()}
    assert [states[asked["approval"]["id"]] for asked in two] == ["done", "failed"]
    ada.do("POST", f"/accounts/{company}/kill-switch/engage", {"reason": "so that what is free stays free"})
    back = {"direction": "deposit", "asset": "USD", "amount": "60000", "venue": "kraken", "reason": REASON}
    assert approve(grace, ada.do("POST", f"/accounts/{company}/capital", back).json()).json()["state"] == "done"
    again = ada.do("POST", f"/accounts/{company}/capital", {**body, "reference": "out 1"}).json()
    assert approve(grace, again).json()["state"] == "done", "what was refused has used no reference up"


def test_a_bookings_amount_has_the_bound_of_money(ada: Person) -> None:
    body = {"asset": "USD", "amount": "999999999999999", "venue": "kraken", "reference": "", "reason": REASON}
    assert ada.do("POST", f"/accounts/{company_of(ada)}/bookings", body).status_code == 422


def test_an_approval_deletes_the_key_that_was_meant(ada: Person, grace: Person, exchange: RunningExchange) -> None:
    company = company_of(ada)
    keys = [exchange.local.open_account("kraken", f"firm{n}", {}) for n in range(2)]
    path = f"/secrets/kraken?account={company}"
    told = [{"key": key, "secret": secret, "reason": REASON} for key, secret in keys]
    assert approve(grace, ada.do("PUT", path, told[0]).json()).json()["state"] == "done"
    waits = ada.do("DELETE", path, {"reason": REASON}).json()
    assert "version 1" in waits["approval"]["summary"]
    rotation = ada.do("POST", f"/secrets/kraken/rotate?account={company}", {**told[1], "version": 1}).json()
    assert approve(grace, rotation).json()["state"] == "done"
    assert approve(grace, waits).status_code == 409
    status = ada.do("GET", f"/secrets/status?account={company}").json()
    assert [(k["version"], k["state"]) for k in status] == [(2, "active")]


def test_what_was_to_be_tightened_is_not_canceled_by_one(ada: Person, grace: Person) -> None:
    """Any change on top of it made a scheduled tightening never come: a raise for an hour stayed (found by attack)."""
    path = f"/accounts/{company_of(ada)}/settings"

    def newest() -> int:
        return int(ada.call("GET", path).json()[0]["version"])

    def change(who: Person, at_ns: int = 0, **limits: int) -> dict[str, Any]:
        body = {"version": newest(), "changes": {"limits": limits}, "effective_ns": at_ns, "reason": REASON}
        return dict(who.do("PUT", path, body).json())

    hour_ns = time.time_ns() + 3_600 * 10**9
    assert change(grace, hour_ns, max_open_orders=5)["approval"] is None
    tightens = change(ada, max_orders_per_minute=100)
    assert "max_open_orders, as version" in tightens["approval"]["summary"]
    ahead = ada.call("GET", path).json()[0]
    assert (ahead["version"], ahead["applied_ns"]) == (newest(), 0), "it still comes"


def test_who_was_locked_out_comes_in_again_by_two(ada: Person, grace: Person) -> None:
    """One admin let a dismissed director in, and had him approve what she asked for (found by attack)."""
    eve = another_admin(ada, grace, "eve@example.com")
    number = user(ada, eve.email)["id"]
    assert grace.do("POST", f"/users/{number}/disable", {"reason": "dismissed"}).status_code == 204
    asked = ada.do("POST", f"/users/{number}/enable", {"reason": REASON}).json()
    assert "eve@example.com, who was locked out" in asked["approval"]["summary"]
    assert user(ada, eve.email)["disabled"]
    assert approve(grace, asked).json()["state"] == "done"
    assert not user(ada, eve.email)["disabled"]


def test_no_approval_confirms_who_waits(ada: Person, grace: Person) -> None:
    """Who held the link approved a change of roles, which counted at once (found by attack)."""
    body = {"email": "joe@example.com", "name": "Joe", "roles": {"*": "admin"}, "reason": REASON}
    ada.do("POST", "/users", body)
    held = grace.do("POST", "/invitations/joe@example.com/link").json()["token"]
    joe = Person(ada.url).enrol(held, "joe@example.com")
    number = user(ada, "joe@example.com")["id"]
    roles = {"*": "admin", company_of(ada): "trader"}
    approve(grace, ada.do("PUT", f"/users/{number}/roles", {"roles": roles, "reason": REASON}).json())
    assert joe.call("GET", "/session").json()["roles"] == {}
    assert joe.call("GET", "/session").json()["waits"]


def test_what_a_person_made_ends_with_their_rights(ada: Person, grace: Person) -> None:
    """An invitation of somebody who was locked out still made a person (found by attack)."""
    bob = another_admin(ada, grace, "bob@example.com")
    token = bob.do("POST", "/tokens", {"name": "b", "actions": ["accounts.read"], "accounts": ["*"], "days": 1}).json()
    body = {"email": "guest@example.com", "name": "G", "roles": {company_of(ada): "trader"}, "reason": REASON}
    link = bob.do("POST", "/users", body).json()["token"]
    assert ada.do("POST", f"/users/{user(ada, bob.email)['id']}/disable", {"reason": REASON}).status_code == 204
    asked = {"token": link, "email": "guest@example.com", "name": "G", "password": PASSWORD}
    assert Person(ada.url).call("POST", "/setup/person", asked).status_code == 401
    program = Person(ada.url)
    program.http.headers["authorization"] = f"Bearer {token['token']}"
    assert program.call("GET", "/accounts").status_code == 401


def test_two_directors_stay_whatever_is_approved(tmp_path: Path) -> None:
    """He approved his own demotion, and nothing could be approved any more (found by attack)."""
    platform = Platform(tmp_path, env={"AETHER_TWO_PEOPLE": "true"})
    ada = first_admin(platform.link())
    grace = ada.invite("grace@example.com", {"*": "admin"}, lambda email: vouched(platform.data_dir, email))
    number = user(ada, grace.email)["id"]
    asked = ada.do("PUT", f"/users/{number}/roles", {"roles": {"*": "trader"}, "reason": REASON}).json()
    answer = approve(grace, asked)
    assert answer.status_code == 422
    assert "2 are needed to approve" in answer.json()["detail"]
    assert user(ada, grace.email)["roles"] == {"*": "admin"}
    assert platform.stop() == 0


def test_who_is_locked_out_while_a_request_is_on_its_way_does_nothing(ada: Person, grace: Person) -> None:
    """With the last byte of each held back, he acted for up to 20 s after he was locked out (found by attack)."""
    mal = another_admin(ada, grace, "mal@example.com")
    body = {"name": "late", "actions": ["accounts.read"], "accounts": ["*"], "days": 365}
    path, content = f"{API}/tokens", json.dumps(body).encode()
    told = mal.call("POST", "/tokens", body).json()
    proof = mal.proof(told["action"], "POST", "/tokens", body)
    where = urlsplit(ada.url)
    cookie = "; ".join(f"{name}={value}" for name, value in mal.http.cookies.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nCookie: {cookie}\r\nX-MFA-Token: {proof}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port)) as line:
        line.sendall(head.encode() + content[:-1])
        assert ada.do("POST", f"/users/{user(ada, mal.email)['id']}/disable", {"reason": REASON}).status_code == 204
        line.sendall(content[-1:])
        assert b" 401 " in line.recv(4_096).split(b"\r\n", 1)[0]
    assert "late" not in {t["name"] for t in ada.call("GET", "/tokens").json()}


def another_admin(ada: Person, grace: Person, email: str) -> Person:
    """Have one invite an admin and confirm them, another hand the link over."""
    body = {"email": email, "name": "Another", "roles": {"*": "admin"}, "reason": REASON}
    assert ada.do("POST", "/users", body).status_code == 201
    made = Person(ada.url).enrol(grace.do("POST", f"/invitations/{email}/link").json()["token"], email)
    assert ada.do("POST", f"/users/{user(ada, email)['id']}/confirm", {"reason": REASON}).status_code == 204
    return made


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
    assert grace.do("POST", "/invitations/puppet@example.com/link").status_code == 404, "gone with who made it"
    assert grace.do("POST", "/users", body).status_code == 201
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
