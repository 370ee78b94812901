"""Who may do what, proven over HTTP for every role, route and account (A1, A2), and by SQL for every database role."""

import asyncio
import json
import re
from typing import Any

import asyncpg
import httpx
import pytest

from aether.api.idempotency import NOT_KEPT
from aether.compose.api import schema_app
from aether.control.access import ACTIONS, Reach
from aether.reference import access_table, guarded_routes
from tests.integration.people import API, Person, first_admin
from tests.integration.platform import Platform

ACCOUNTS = ("company", "director-1")
OPEN = {"/healthz", "/readyz", "/metrics", f"{API}/openapi.json"}


@pytest.fixture(scope="module")
def admin(platform: Platform) -> Person:
    """The first admin, on a desk whose accounts are open."""
    made = first_admin(platform.link())
    for _ in range(2_000):
        if len(made.call("GET", "/accounts").json()) == 3:
            return made
    raise AssertionError("no accounts")


@pytest.fixture(scope="module")
def cast(admin: Person) -> dict[str, Person]:
    """Everybody: each role everywhere and in one account, a service, and a stranger."""
    people = {"admin of *": admin}
    for role in ("admin", "trader", "auditor"):
        if role != "admin":
            people[f"{role} of *"] = admin.invite(f"{role}.all@example.com", {"*": role})
        people[f"{role} of company"] = admin.invite(f"{role}.one@example.com", {"company": role})
    made = admin.do(
        "POST", "/tokens", {"name": "reader", "actions": ["accounts.read"], "accounts": ["company"], "days": 1}
    )
    assert made.status_code == 201, made.text
    service = Person(admin.url)
    service.http.headers["authorization"] = f"Bearer {made.json()['token']}"
    people["service of company"] = service
    people["stranger"] = Person(admin.url)
    return people


BODIES: dict[str, Any] = {
    "reason": "looked at it",
    "strategy": "ema_cross",
    "approve": False,
    "roles": {"*": "auditor"},
    "email": "x@example.com",
    "name": "X",
    "disabled": True,
    "actions": ["accounts.read"],
    "accounts": ["company"],
    "days": 1,
    "key": "k",
    "secret": "s",
    "version": 1,
    "changes": {"limits": {"max_open_orders": 40}},
    "to": 0,
    "id": "new-desk",
    "kind": "company",
    "instruments": ["paper:BTC/USD"],
    "venue": "paper",
    "amount": "1",
    "asset": "USD",
    "owner": "Ada Lovelace",
    "direction": "deposit",
    "symbol": "BTC/USD",
    "side": "buy",
    "share_bps": 1,
    "current": "not the present one",
    "password": "another password, long",
    "challenge": "none",
    "code": "000000",
    "credential": {},
    "action": "kill.release",
    "payload_hash": "0" * 64,
}
"""A value for every required field, so that what is refused is refused for who asks."""


def body_of(schema: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any] | None:
    content = operation.get("requestBody")
    if content is None:
        return None
    name = content["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
    return {field: BODIES[field] for field in schema["components"]["schemas"][name].get("required", [])}


def url_of(path: str, account: str) -> str:
    """Return an address that names an account in every way that there is, `` for none."""
    values = {
        "account": account,
        "instrument": "paper:BTC/USD",
        "venue": "kraken",
        "number": "1",
        "email": "x@example.com",
    }
    url = re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], "none"), path).removeprefix(API)
    return f"{url}?account={account}" if account and "{account}" not in path else url


def accounts_of(path: str, operation: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the accounts to ask a route about, each with the account that it is about then.

    A route that declares no account is about none, whatever a query says.
    """
    declared = [p for p in operation.get("parameters", []) if p["name"] == "account"]
    if "{account}" in path or any(p["required"] for p in declared):
        return [(a, a) for a in ACCOUNTS]
    return [("", ""), *((a, a if declared else "") for a in ACCOUNTS)]


def outcome_of(answer: httpx.Response) -> str:
    """What a caller learns: let in, let in but for a proof, refused, no such account, or nobody."""
    if answer.status_code == 401 and answer.json()["detail"] == "Nobody is signed in.":
        return "401"
    title = answer.json().get("title", "") if answer.status_code >= 400 and answer.content else ""
    if answer.status_code == 403:
        return "proof" if title == "ProofRefused" else "403"
    if answer.status_code == 404 and answer.json()["detail"].startswith("There is no account"):
        return "404"
    return "yes"


def test_every_route_is_guarded_or_openly_public() -> None:
    routes = guarded_routes()
    told = schema_app().openapi()["paths"]
    assert {(m.upper(), path) for path, methods in told.items() for m in methods if path not in OPEN} == {
        (r.method, r.path) for r in routes
    }, "every route of the schema is known here"
    assert {r.action for r in routes if r.action} <= set(ACTIONS)
    public = {r.path for r in routes if r.action is None}
    assert public == {f"{API}{p}" for p in PUBLIC_ROUTES}
    within = {"accounts.live", "accounts.loosen", "kill.flatten", "metrics.read", "tokens.arm"}
    unused = set(ACTIONS) - {r.action for r in routes} - within
    assert unused == set(), "an action that no route names"


ACCOUNTS_IN_BODIES = {
    ("POST", "/accounts", "id"): "accounts.create",
    ("POST", "/accounts/{account}/shadows", "id"): "accounts.create",
    ("POST", "/users", "roles"): "users.invite",
    ("PUT", "/users/{user}/roles", "roles"): "users.roles",
    ("POST", "/tokens", "accounts"): "tokens.create",
}
"""Every field of a body that names accounts; what it says is nothing that one account's role may decide."""


def test_every_place_of_a_request_that_names_an_account_is_known() -> None:
    """A scope is read from where the guard looks, and nowhere else (finding 5, ASVS 8.2.2)."""
    schema = schema_app().openapi()
    patterns = {
        schema["components"]["schemas"]["AccountCreate"]["properties"]["id"]["pattern"],
        schema["components"]["schemas"]["TokenCreate"]["properties"]["accounts"]["items"]["pattern"],
    }
    actions = {(r.method, r.path.removeprefix(API)): r.action for r in guarded_routes()}
    in_bodies, parameters = {}, set()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parameters |= {
                (p["in"], p["name"]) for p in operation.get("parameters", []) if "account" in p["name"].lower()
            }
            body = operation.get("requestBody")
            if body is None:
                continue
            name = body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
            for field, told in schema["components"]["schemas"][name]["properties"].items():
                if any(json.dumps(pattern) in json.dumps(told) for pattern in patterns):
                    route = (method.upper(), path.removeprefix(API))
                    in_bodies[(*route, field)] = actions[route]
    assert parameters == {("path", "account"), ("query", "account")}
    assert in_bodies == ACCOUNTS_IN_BODIES
    assert all(ACTIONS[action].reach is Reach.FIRM for action in ACCOUNTS_IN_BODIES.values())


def test_no_answer_with_something_secret_is_kept_to_be_repeated() -> None:
    """A link was given again without a proof, a day long, to who had lost the role meanwhile (found by attack)."""
    schema = schema_app().openapi()
    secret = {"token", "link", "recovery_codes", "totp_uri"}
    told = set()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            for answer in operation["responses"].values():
                name = json.dumps(answer).rpartition("schemas/")[2].partition('"')[0]
                fields = schema["components"]["schemas"].get(name, {}).get("properties", {})
                if method != "get" and secret & set(fields):
                    told.add(path)
    assert len(told) >= 5
    assert [path for path in told if not path.startswith(NOT_KEPT)] == []


PUBLIC_ROUTES = {
    "/session",
    "/session/token",
    "/session/factor",
    "/session/passkey/challenge",
    "/session/passkey",
    "/session/oidc/start",
    "/session/oidc/callback",
    "/session/links",
    "/setup/invitation",
    "/setup/person",
    "/setup/factor",
}


def test_every_combination_of_role_route_and_account(admin: Person, cast: dict[str, Person]) -> None:
    """Asks everything as everybody, without proofs; what comes back must be what the documented table says."""
    schema = admin.call("GET", "/openapi.json").json()
    expected = access_table()
    wrong, asked = [], 0
    for route in guarded_routes():
        if route.action is None or (route.path, route.method) == (f"{API}/session", "DELETE"):
            continue
        operation = schema["paths"][route.path][route.method.lower()]
        body = body_of(schema, operation)
        for who, person in cast.items():
            for named, account in accounts_of(route.path, operation):
                answer = person.call(route.method, url_of(route.path, named), body)
                wanted = "401" if who == "stranger" else expected(who, route, account)
                asked += 1
                assert answer.status_code < 500, f"{route.method} {route.path}: {answer.text}"
                if outcome_of(answer) != wanted:
                    wrong.append(f"{who}: {route.method} {route.path} {named}: {outcome_of(answer)}, not {wanted}")
    assert wrong == []
    assert asked > 1_200


def test_one_accounts_auditor_exports_and_proves_nothing_of_the_firm(cast: dict[str, Person]) -> None:
    """A query widened the scope: the whole trail came back (finding 5)."""
    watcher = cast["auditor of company"]
    for method, path in (("GET", "/audit/export"), ("POST", "/audit/verify"), ("POST", "/audit/checkpoints")):
        assert watcher.call(method, f"{path}?account=company").status_code == 403
    assert {e["account"] for e in watcher.call("GET", "/audit?account=company").json()} == {"company"}
    assert watcher.call("GET", "/audit?account=director-1").status_code == 404


def test_no_list_shows_what_is_not_the_callers(cast: dict[str, Person]) -> None:
    one, everything = cast["trader of company"], cast["auditor of *"]
    assert [a["id"] for a in one.call("GET", "/accounts").json()] == ["company"]
    assert len(everything.call("GET", "/accounts").json()) == 3
    assert [a["id"] for a in cast["service of company"].call("GET", "/accounts").json()] == ["company"]
    watcher = cast["auditor of company"]
    assert watcher.call("POST", "/accounts/company/safe-mode/engage", {"reason": "may I"}).status_code == 403
    assert everything.call("POST", "/accounts/director-1/safe-mode/engage", {"reason": "may I"}).status_code == 403
    entries = watcher.call("GET", "/audit").json()
    assert entries, "refusals in company are there"
    assert {e["account"] for e in entries} == {"company"}
    seen: set[str] = set()
    before = 2**31
    while page := everything.call("GET", f"/audit?limit=500&before={before}").json():
        seen |= {e["account"] for e in page}
        before = page[-1]["seq"]
    assert seen >= {"company", "director-1", ""}
    hidden = one.call("GET", "/accounts/director-1")
    missing = one.call("GET", "/accounts/nobody")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json()["detail"].replace("director-1", "nobody") == missing.json()["detail"]


def test_the_stream_carries_only_the_callers_accounts(platform: Platform, cast: dict[str, Person]) -> None:
    from websockets.asyncio.client import connect

    person = cast["trader of company"]
    address = person.url.replace("http", "ws") + f"{API}/stream"
    cookie = f"aether_session={person.http.cookies['aether_session']}"

    async def listen() -> tuple[set[str], set[str]]:
        seen: set[str] = set()
        refused: set[str] = set()
        async with connect(address, additional_headers={"Cookie": cookie}, proxy=None) as socket:
            await socket.send(json.dumps({"subscribe": ["desk", "fills:company", "fills:director-1", "nothing"]}))
            for _ in range(30):
                message = json.loads(await asyncio.wait_for(socket.recv(), 20))
                data = message["data"]
                seen |= {*data.get("accounts", {}), *data.get("ages_ms", {})}
                seen |= {fill["account"] for fill in data.get("fills", {}).values() if fill}
                refused |= {message["topic"]} if message["kind"] == "refused" else set()
        return seen, refused

    assert asyncio.run(listen()) == ({"company"}, {"fills:director-1", "nothing"})


# By SQL.

TABLES = (
    "accounts", "alerts", "balances", "configurations", "equity", "fills", "instruments", "journal",
    "operator_requests", "orders", "positions", "snapshots", "verdicts",
)  # fmt: skip


@pytest.fixture
async def sql(platform: Platform, admin: Person) -> Any:
    """A connection as the platform's own login."""
    connection = await asyncpg.connect(f"postgresql://aether@/postgres?host={platform.data_dir / 'postgresql'}")
    yield connection
    await connection.close()


async def test_the_platforms_login_can_do_nothing_without_a_role(sql: asyncpg.Connection) -> None:
    for table in (*TABLES, "users", "secrets", "audit", "sessions"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql.fetch(f"SELECT * FROM {table} LIMIT 1")


async def test_an_accounts_role_sees_its_own_rows_alone(sql: asyncpg.Connection) -> None:
    await sql.execute("SET ROLE aether_control")
    scopes = {r["account"]: r["role"] for r in await sql.fetch("SELECT * FROM account_scopes")}
    assert set(scopes) == {"company", "director-1", "director-2"}
    for account, role in scopes.items():
        await sql.execute(f'SET ROLE "{role}"')
        seen = 0
        for table in TABLES:
            found = {r["account"] for r in await sql.fetch(f"SELECT DISTINCT account FROM {table}")}
            assert found <= {account}, f"{role} sees {found} in {table}"
            seen += bool(found)
        assert seen > 6
        for table in ("users", "sessions", "secrets", "audit", "tokens", "approvals", "proofs", "keys"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql.fetch(f"SELECT * FROM {table} LIMIT 1")
        for table in TABLES:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql.execute(f"DELETE FROM {table}")
    await sql.execute("SET ROLE aether_desk")
    assert {r["account"] for r in await sql.fetch("SELECT account FROM accounts")} == set(scopes)


async def test_no_role_changes_or_deletes_what_is_append_only(sql: asyncpg.Connection) -> None:
    await sql.execute("SET ROLE aether_control")
    roles = [r["role"] for r in await sql.fetch("SELECT role FROM account_scopes")]
    for role in ("aether_node", "aether_control", "aether_desk", "aether_reader", *roles):
        try:
            await sql.execute(f'SET ROLE "{role}"')
        except asyncpg.InsufficientPrivilegeError:
            assert role == "aether_reader"
            continue
        for statement in (
            "UPDATE audit SET actor = 'nobody'",
            "DELETE FROM audit",
            "TRUNCATE audit",
            "UPDATE journal SET kind = 'x'",
            "DELETE FROM journal",
            "TRUNCATE journal",
            "UPDATE checkpoints SET document = ''",
            "DELETE FROM checkpoints",
            "ALTER TABLE audit DISABLE TRIGGER ALL",
            "DROP TABLE audit",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql.execute(statement)


def test_actions_reach_is_what_their_names_say() -> None:
    firm = {a.name for a in ACTIONS.values() if a.reach is Reach.FIRM}
    assert firm == {
        "accounts.create", "accounts.live", "keys.rotate", "metrics.read", "users.read", "users.invite",
        "users.roles", "users.disable", "users.enable", "users.link", "users.confirm", "tokens.read", "tokens.create",
        "tokens.arm", "tokens.revoke",
    }  # fmt: skip
    writing = {a.name for a in ACTIONS.values() if a.second}
    assert all(ACTIONS[name].proof for name in writing), "what needs two people needs their proofs"
