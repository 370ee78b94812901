"""The firm's keys: sealed, tried, rotated while orders flow, with a key file and with a real OpenBao (A3)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
import sqlalchemy as sa
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aether.control.approvals import Task
from aether.control.bao import BaoLogin, BaoTransit
from aether.control.sealing import KeyEncryption, KeyFile, Sealed, Sealer
from aether.control.secrets import SecretReader
from aether.domain.errors import (
    ConflictError,
    Failure,
    InvalidValueError,
    KeyServiceError,
    UnknownNameError,
    VenueError,
    WithdrawingKeyError,
)
from aether.store.control_schema import approvals, secrets
from aether.store.database import Database
from aether.venues.protocol import Credentials
from tests.integration.bao_server import BaoServer
from tests.integration.control_desk import Desk, enrol, make_desk
from tests.integration.people import Person, first_admin
from tests.integration.platform import Platform, until
from tests.running_exchange import RunningExchange

KEY = Credentials(key="PUBLIC-KEY-NAME-0001", secret="VERY-SECRET-TEXT-0001")
NEXT = Credentials(key="PUBLIC-KEY-NAME-0002", secret="VERY-SECRET-TEXT-0002")


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaoServer]:
    """A real OpenBao."""
    made = BaoServer(tmp_path_factory.mktemp("bao"))
    yield made
    made.stop()


def transit(bao: BaoServer, **more: str) -> BaoTransit:
    plain = {"url": bao.url, "auth": "approle", "role": bao.role_id, "secret_id": bao.secret_id}
    return BaoTransit(BaoLogin(**{**plain, **more}))


@pytest.fixture(params=["key file", "OpenBao"])
def kek(request: pytest.FixtureRequest, tmp_path: Path) -> KeyEncryption:
    """Each holder of the key-encryption key: they pass the same tests."""
    if request.param == "key file":
        return KeyFile(tmp_path / "kek.json")
    return transit(request.getfixturevalue("bao"))


# Sealing.


async def test_what_is_sealed_opens_for_its_context_alone(kek: KeyEncryption) -> None:
    sealer = Sealer(kek)
    sealed = await sealer.seal(b"the secret", "secret|company|kraken|1")
    again = await sealer.seal(b"the secret", "secret|company|kraken|1")
    assert b"the secret" not in sealed
    assert sealed != again, "each has a data key of its own"
    assert await sealer.open(sealed, "secret|company|kraken|1") == b"the secret"
    with pytest.raises(KeyServiceError):
        await sealer.open(sealed, "secret|company|kraken|2")
    for n in sorted({0, 1, 2, *range(0, len(sealed), 7)}):
        damaged = sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :]
        with pytest.raises(KeyServiceError):
            await sealer.open(damaged, "secret|company|kraken|1")


async def test_a_rotated_key_opens_old_values_and_wraps_new_ones(kek: KeyEncryption) -> None:
    sealer = Sealer(kek)
    old = await sealer.seal(b"value", "c")
    before = await kek.current()
    name = await kek.rotate()
    assert name == await kek.current() != before
    assert await sealer.open(old, "c") == b"value"
    fresh = await sealer.rewrap(old, "c")
    assert fresh != old
    assert await sealer.open(fresh, "c") == b"value"


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "kek.json")
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.path.chmod(0o640)
    with pytest.raises(KeyServiceError, match=r"mode is 0640.*chmod 600"):
        KeyFile(tmp_path / "kek.json")


@pytest.mark.parametrize(
    "content", ["", "{}", '{"current": "k2", "keys": {}}', '{"current":"k1","keys":{"k1":"AAAA"}}']
)
def test_a_damaged_key_file_is_told_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kek.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyServiceError, match="backup"):
        KeyFile(path)
    assert path.read_text() == content


async def test_openbao_signs_in_again_and_says_what_is_wrong(bao: BaoServer) -> None:
    sealer = Sealer(transit(bao))
    sealed = await sealer.seal(b"value", "c")
    client = sealer.keys._client  # type: ignore[attr-defined]
    client.auth.token.revoke_self()
    assert await sealer.open(sealed, "c") == b"value", "its token had ended"
    for wrong in ({"secret_id": "wrong"}, {"key": "other"}, {"mount": "nowhere"}):
        with pytest.raises(KeyServiceError, match=r"refuses|away"):
            await Sealer(transit(bao, **wrong)).seal(b"value", "c")
    with pytest.raises(KeyServiceError, match="away or sealed"):
        await Sealer(transit(bao, url="http://127.0.0.1:9")).seal(b"value", "c")
    with pytest.raises(KeyServiceError, match="approle or kubernetes"):
        await Sealer(transit(bao, auth="password")).seal(b"value", "c")


async def test_a_service_account_of_kubernetes_signs_in(bao: BaoServer, tmp_path: Path) -> None:
    """Real OpenBao and client; Kubernetes is stood in for by what reviews tokens there."""
    reviewed = []

    async def review(request: web.Request) -> web.Response:
        token = (await request.json())["spec"]["token"]
        reviewed.append(token)
        user = {"username": "system:serviceaccount:aether:platform", "uid": "u1", "groups": ["system:serviceaccounts"]}
        good = {"authenticated": True, "user": user} if token == good_token else {"authenticated": False}
        return web.json_response(
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": good}, status=201
        )

    signer = ec.generate_private_key(ec.SECP256R1())
    claims = {
        "sub": "system:serviceaccount:aether:platform",
        "kubernetes.io/serviceaccount/namespace": "aether",
        "kubernetes.io/serviceaccount/service-account.name": "platform",
        "kubernetes.io/serviceaccount/service-account.uid": "u1",
        "iss": "kubernetes/serviceaccount",
    }
    good_token = jwt.encode(claims, signer, algorithm="ES256")
    app = web.Application()
    app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", review)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await asyncio.to_thread(bao.allow_kubernetes, f"http://127.0.0.1:{runner.addresses[0][1]}")
    file = tmp_path / "token"
    file.write_text(good_token)
    keys = BaoTransit(BaoLogin(url=bao.url, auth="kubernetes", role="platform", token_file=file))
    sealed = await Sealer(keys).seal(b"value", "c")
    assert await Sealer(transit(bao)).open(sealed, "c") == b"value", "both ways in use the same key"
    file.write_text(jwt.encode({**claims, "extra": 1}, signer, algorithm="ES256"))
    with pytest.raises(KeyServiceError, match="refuses"):
        await Sealer(BaoTransit(BaoLogin(url=bao.url, auth="kubernetes", role="platform", token_file=file))).seal(
            b"v", "c"
        )
    assert len(reviewed) == 2
    await runner.cleanup()


# The secrets of accounts.


@pytest.fixture
async def desk(database: Database, kek: KeyEncryption) -> AsyncIterator[Desk]:
    """A control plane on either key-encryption key."""
    yield await make_desk(database, kek)


async def test_only_keys_that_may_trade_and_not_withdraw_are_stored(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    store = desk.control.secrets
    refused: dict[str, Exception] = {
        "withdraws": WithdrawingKeyError("This key of kraken may withdraw money.", remedy="Make another."),
        "cannot trade": VenueError("kraken: the key may not trade", remedy="x", failure=Failure.AUTH),
        "unreachable": VenueError("Kraken cannot be reached", remedy="x", failure=Failure.VENUE_DOWN),
    }
    desk.venues.permissions.update(refused)
    for name, error in refused.items():
        with pytest.raises(type(error)):
            await store.store(ada.caller, "company", "kraken", Credentials(key=name, secret="s"), replaces=0)
    with pytest.raises(UnknownNameError, match="kraken, binance"):
        await store.store(ada.caller, "company", "mtgox", KEY, replaces=0)
    with pytest.raises(InvalidValueError, match="empty"):
        await store.store(ada.caller, "company", "kraken", Credentials(key=" ", secret="s"), replaces=0)
    assert await store.history("company") == []


async def test_a_key_is_rotated_deleted_and_its_text_destroyed(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    store, reader = desk.control.secrets, SecretReader(desk.database.node, desk.sealer)
    await store.store(ada.caller, "company", "kraken", KEY, replaces=0)
    assert await reader.load("company", "kraken") == (1, KEY)
    with pytest.raises(ConflictError, match="version 1, not none"):
        await store.store(ada.caller, "company", "kraken", NEXT, replaces=0)
    await store.store(ada.caller, "company", "kraken", NEXT, replaces=1, reason="quarterly")
    assert await reader.load("company", "kraken") == (2, NEXT)
    texts = [bytes(r.sealed) for r in await desk.database.control.all(sa.select(secrets).order_by(secrets.c.version))]
    assert texts[0] == b""
    assert b"SECRET" not in texts[1]
    await store.delete(ada.caller, "company", "kraken", 2, "account closed")
    with pytest.raises(UnknownNameError, match="no key of kraken"):
        await reader.load("company", "kraken")
    states = [(s.version, s.state) for s in await store.history("company")]
    assert states == [(2, "deleted"), (1, "replaced")]
    rows = [r.entry for r in await desk.control.audit.page(["company"], limit=10)]
    assert [e.action for e in rows] == ["secrets.delete", "secrets.rotate", "secrets.upload"]
    assert "SECRET" not in str(rows)
    assert "PUBLIC-KEY" not in str(rows)


async def test_of_two_rotations_at_once_one_wins(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    store = desk.control.secrets
    await store.store(ada.caller, "company", "kraken", KEY, replaces=0)
    done = await asyncio.gather(
        *(store.store(ada.caller, "company", "kraken", k, replaces=1) for k in (NEXT, KEY, NEXT)),
        return_exceptions=True,
    )
    assert sum(isinstance(d, ConflictError) for d in done) == 2
    assert [(s.version, s.state) for s in await store.history("company")] == [(2, "active"), (1, "replaced")]


async def test_the_key_encryption_key_is_replaced_under_everything(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    store = desk.control.secrets
    await store.store(ada.caller, "company", "kraken", KEY, replaces=0)
    before = bytes((await desk.database.control.all(sa.select(secrets.c.sealed)))[0].sealed)
    told = await desk.control.encryption_key.rotate(ada.caller)
    after = bytes((await desk.database.control.all(sa.select(secrets.c.sealed)))[0].sealed)
    assert told.wrapped == 2, "the key, and the signing key of the audit trail"
    assert told.failed == {}
    assert before != after
    assert await SecretReader(desk.database.node, desk.sealer).load("company", "kraken") == (1, KEY)


async def test_a_damaged_value_is_told_of_and_keeps_no_other_from_the_new_key(desk: Desk) -> None:
    """Issue 11, finding 10: it ended half-way, with an error that nobody could read."""
    ada = await enrol(desk, "ada@example.com")
    store, key = desk.control.secrets, desk.control.encryption_key
    for account in ("company", "ada", "bob"):
        await store.store(ada.caller, account, "kraken", KEY, replaces=0)
    whole: dict[str, bytes] = {}
    for account, damage in {"company": b"\x00not sealed", "ada": b""}.items():
        row = await desk.database.control.all(sa.select(secrets.c.sealed).where(secrets.c.account == account))
        whole[account] = bytes(row[0].sealed)
        await put(desk, account, damage or whole[account][:-1] + b"\x00")
    told = await key.rotate(ada.caller)
    assert told.wrapped == 2, "the key of bob, and the signing key of the audit trail"
    assert set(told.failed) == {"secret|company|kraken|1", "secret|ada|kraken|1"}
    assert all("does not open" in reason for reason in told.failed.values())
    assert await SecretReader(desk.database.node, desk.sealer).load("bob", "kraken") == (1, KEY)
    for account, sealed in whole.items():
        await put(desk, account, sealed)
    again = await key.resume(ada.caller)
    assert (again.key, again.wrapped, again.failed) == (told.key, 4, {})
    entries = [r.entry for r in await desk.control.audit.page(None, limit=9) if r.entry.action.startswith("keys.")]
    assert [(e.action, e.after.get("wrapped")) for e in entries] == [
        ("keys.rewrap", 4),
        ("keys.rewrap", 2),
        ("keys.rotate", None),
    ]


async def put(desk: Desk, account: str, sealed: bytes) -> None:
    async with desk.database.control.begin() as connection:
        await connection.execute(sa.update(secrets).where(secrets.c.account == account).values(sealed=sealed))


async def test_a_replaced_key_goes_when_nothing_needs_it(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    store, key = desk.control.secrets, desk.control.encryption_key
    await store.store(ada.caller, "company", "kraken", KEY, replaces=0)
    before = bytes((await desk.database.control.all(sa.select(secrets.c.sealed)))[0].sealed)
    first = await desk.sealer.keys.current()
    told = await key.rotate(ada.caller)
    assert first not in await key.retire(), "it was replaced just now"
    desk.clock.move(20 * 365 * 86_400)
    await put(desk, "company", before)
    assert first not in await key.retire(), "a value needs it"
    assert (await key.resume(ada.caller)).wrapped == 2
    assert await key.retire() == [first]
    assert await key.retire() == []
    assert await desk.sealer.keys.current() == told.key
    assert await SecretReader(desk.database.node, desk.sealer).load("company", "kraken") == (1, KEY)
    with pytest.raises(KeyServiceError, match=r"retired on 20|refuses"):
        await desk.sealer.open(before, "secret|company|kraken|1")
    newest = (await desk.control.audit.page(None, limit=1))[0].entry
    assert (newest.action, newest.actor, newest.after) == ("keys.retire", "platform", {"keys": [first]})


async def test_what_waits_for_a_second_person_is_wrapped_too_and_destroyed_when_it_is_not_wanted(
    database: Database, kek: KeyEncryption
) -> None:
    desk = await make_desk(database, kek, two_people=True)
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    kept = {}
    for name in ("wanted", "declined", "forgotten"):
        task = Task(
            action="secrets.upload",
            account=name,
            payload={"venue": "kraken", "replaces": 0},
            summary="A key is stored",
            reason="needed",
            secret=msgspec.msgpack.encode(KEY),
        )
        outcome = await desk.control.approvals.submit(ada.caller, task)
        assert outcome.approval is not None
        kept[name] = outcome.approval.id
    told = await desk.control.encryption_key.rotate(ada.caller)
    assert (told.wrapped, told.failed) == (4, {})
    decide = desk.control.approvals.decide
    await decide(bob.caller, kept["wanted"], approve=True, reason="it is right")
    await decide(bob.caller, kept["declined"], approve=False, reason="it is not")
    desk.clock.move(2 * 86_400)
    await desk.control.approvals.close_interrupted()
    assert await SecretReader(desk.database.node, desk.sealer).load("wanted", "kraken") == (1, KEY)
    left = await desk.database.control.all(sa.select(approvals.c.id).where(approvals.c.sealed != b""))
    assert left == []


async def test_values_of_the_first_format_open_and_are_sealed_anew(kek: KeyEncryption) -> None:
    sealer = Sealer(kek)
    data_key, nonce = AESGCM.generate_key(256), bytes(12)
    data = AESGCM(data_key).encrypt(nonce, b"value", b"c")
    old = msgspec.msgpack.encode(Sealed(1, await kek.wrap(data_key, "c"), nonce, data))
    assert await sealer.open(old, "c") == b"value"
    fresh = await sealer.rewrap(old, "c")
    assert msgspec.msgpack.decode(fresh, type=Sealed).version == 2
    assert await sealer.open(fresh, "c") == b"value"
    for version in (0, 1, 3):
        parts = msgspec.structs.replace(msgspec.msgpack.decode(fresh, type=Sealed), version=version)
        with pytest.raises(KeyServiceError, match=r"does not open|knows 1 to 2"):
            await sealer.open(msgspec.msgpack.encode(parts), "c")


async def test_keys_that_are_old_are_due(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    await desk.control.secrets.store(ada.caller, "company", "kraken", KEY, replaces=0)
    assert await desk.control.secrets.due_count() == 0
    desk.clock.move(90 * 86_400)
    assert await desk.control.secrets.due_count() == 1


# The drill: a live account on a venue, OpenBao behind it, orders flowing.


def trade(person: Person, side: str) -> None:
    body = {"symbol": "BTC/USD", "side": side, "amount": "0.01", "reason": "drill"}
    answer = person.do("POST", "/accounts/real/trades", body)
    assert answer.status_code == 200, answer.text


def orders(person: Person) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.call("GET", "/accounts/real/orders?limit=200").json()
    return found


def test_secrets_drill(tmp_path: Path, bao: BaoServer, exchange: RunningExchange) -> None:
    """Upload, refuse, rotate under load, rotate the KEK, lose OpenBao, get it back, restart."""
    local = exchange.local
    platform = Platform(tmp_path, *exchange.options("kraken"), env=bao.environment())
    ada = first_admin(platform.link())
    created = ada.do(
        "POST",
        "/accounts",
        {
            "id": "real",
            "name": "Real",
            "kind": "company",
            "mode": "live",
            "instruments": ["kraken:BTC/USD"],
            "reason": "drill",
        },
    )
    assert created.json()["done"] is True, created.text

    def now() -> Any:
        return ada.call("GET", "/accounts/real").json()

    until(lambda: now()["reason"].startswith("real has no key"), "it does not say what it waits for")
    waiting = now()
    assert (waiting["status"], waiting["mode"]) == ("waiting", "live")

    def put(method: str, path: str, key: tuple[str, str], **more: Any) -> Any:
        return ada.do(method, path, {"key": key[0], "secret": key[1], "reason": "drill", **more})

    bad = put("PUT", "/secrets/kraken?account=real", local.open_account("kraken", "real", {}, can_withdraw=True))
    assert (bad.status_code, bad.json()["title"]) == (422, "WithdrawingKey")
    idle = put("PUT", "/secrets/kraken?account=real", local.open_account("kraken", "real", {}, can_trade=False))
    assert idle.status_code == 422
    first = local.open_account("kraken", "real", {"USD": "100000"})
    assert put("PUT", "/secrets/kraken?account=real", first).json()["done"] is True
    until(lambda: ada.call("GET", "/accounts/real").json()["status"] != "waiting", "the account is not opened")
    summary = until(lambda: (s := ada.call("GET", "/accounts/real").json())["nav"] != "0.00000000" and s, "no worth")
    assert (summary["mode"], float(summary["nav"])) == ("live", 100_000.0)

    def in_use() -> dict[str, int]:
        found: list[dict[str, Any]] = ada.do("GET", "/secrets/status?account=real").json()
        return dict(found[0]["in_use"])

    until(lambda: 1 in in_use().values(), "no node uses the key")
    keys = [first]
    for version in (1, 2, 3):
        for n in range(3):
            trade(ada, "buy" if n % 2 == 0 else "sell")
        keys.append(local.open_account("kraken", "real", {}))
        done = put("POST", "/secrets/kraken/rotate?account=real", keys[-1], version=version)
        assert done.json()["done"] is True, done.text
        for n in range(3):
            trade(ada, "buy" if n % 2 == 0 else "sell")
        until(lambda: version + 1 in in_use().values(), "the node does not take the key up", 20)  # noqa: B023
        face = local.exchanges["kraken"].face
        del face.keys[keys[-2][0]]
        trade(ada, "sell")
    told = until(lambda: all(o["state"] != "submitted" for o in orders(ada)) and orders(ada), "orders hang")
    assert len(told) >= 15
    kept = {"filled", "expired", "denied"}  # what did not find a counterparty at once, or broke a limit of ours
    assert {o["state"] for o in told} <= kept, "no order was lost or rejected over a rotation"
    assert sum(o["state"] == "filled" for o in told) >= 6

    rotated = ada.do("POST", "/key-encryption-key/rotate", {}).json()
    assert rotated["key"].startswith("v")
    assert rotated["wrapped"] == 2, "the key, and the signing key of the audit trail"
    trade(ada, "buy")

    bao.stop()
    count = len(orders(ada))
    trade(ada, "sell")
    until(lambda: len(orders(ada)) > count and orders(ada)[0]["state"] in ("filled", "expired"), "trading stopped")
    away = put("POST", "/secrets/kraken/rotate?account=real", local.open_account("kraken", "real", {}), version=4)
    assert away.status_code == 503
    assert "trades on with the keys in memory" in away.json()["remedy"]
    bao.start(unseal=False)
    sealed = put("POST", "/secrets/kraken/rotate?account=real", local.open_account("kraken", "real", {}), version=4)
    assert sealed.status_code == 503
    bao.unseal()
    last = local.open_account("kraken", "real", {})
    assert put("POST", "/secrets/kraken/rotate?account=real", last, version=4).json()["done"] is True
    until(lambda: 5 in in_use().values(), "the node does not take the last key up", 20)
    assert platform.stop() == 0

    again = Platform(tmp_path, *exchange.options("kraken"), env=bao.environment())
    url = again.wait_for_url()
    ada.http.base_url = url
    ada.passkey.origin = url
    assert ada.sign_in().status_code == 200
    until(lambda: ada.call("GET", "/accounts/real").json().get("status") == "trading", "it does not trade again")
    until(lambda: 5 in in_use().values(), "the key is not loaded again")
    count = len(orders(ada))
    trade(ada, "buy")
    until(lambda: len(orders(ada)) > count and orders(ada)[0]["state"] in ("filled", "expired"), "no trade")
    assert again.stop() == 0
