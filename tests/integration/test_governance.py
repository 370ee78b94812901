"""Approval by two people, versions of settings, accounts, and the audit trail (A4, A5)."""

import asyncio
import json
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from aether.control.access import PLATFORM, Allowlists, Role
from aether.control.approvals import Task
from aether.control.audit import AuditProver, append, entry_of, read_public_key
from aether.control.configuration import ORDERED, SUPERSEDED, Document, diff, loosened, parse_document
from aether.control.desk import PlanReader
from aether.control.sealing import KeyFile
from aether.domain.accounts import AccountConfig, AccountKind, AccountPlan, Limits, Mode, StrategyAssignment
from aether.domain.errors import AuditBrokenError, ConflictError, InvalidValueError, RefusedError
from aether.domain.events import Trade
from aether.domain.identifiers import AccountId, AssetCode, FeedId, InstrumentId, StrategyName
from aether.node.sequencer import Sequencer
from aether.store.control_schema import approvals, audit
from aether.store.database import Database
from aether.store.market_log import verify_log
from aether.store.node_store import NodeStore
from aether.store.schema import accounts, market_heads, market_log, operator_requests
from tests.integration.control_desk import NS, Desk, enrol, make_desk

DIRECTORS = Allowlists(directors=frozenset({"ada@example.com", "bob@example.com"}))


def config_of(account: str, **more: object) -> AccountConfig:
    plain = AccountConfig(
        id=AccountId(account),
        name="Company",
        kind=AccountKind.COMPANY,
        mode=Mode.PAPER,
        feed=FeedId("synthetic"),
        currency=AssetCode("USD"),
        strategies=(),
    )
    return msgspec.structs.replace(plain, **more)


async def write_account(database: Database, account: str, **more: object) -> None:
    """What a node writes when it opens an account."""
    config = config_of(account, **more)
    async with database.node.begin() as connection:
        row = {"account": account, "feed": config.feed, "config": msgspec.to_builtins(config), "opened_ns": 1}
        await connection.execute(sa.insert(accounts), row)


async def requests_of(database: Database, account: str) -> list[dict[str, object]]:
    query = sa.select(operator_requests.c.event).where(operator_requests.c.account == account)
    return [row.event for row in await database.control.all(query.order_by(operator_requests.c.id))]


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    """A control plane that wants two people."""
    await write_account(database, "company")
    return await make_desk(database, KeyFile(tmp_path / "kek.json"), two_people=True, allowlists=DIRECTORS)


def release(account: str = "company") -> Task:
    return Task(
        action="kill.release",
        account=account,
        payload={"feed": "", "engaged_ns": 0},
        summary="Trading goes on",
        reason="looked at it",
    )


# Two people.


async def test_a_sensitive_task_waits_for_another_director(desk: Desk) -> None:
    control = desk.control
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    eve = await enrol(desk, "eve@example.com", by=ada)
    max_ = await enrol(desk, "max@example.com", {"*": Role.TRADER}, by=ada)
    waits = (await control.approvals.submit(ada.caller, release())).approval
    assert waits is not None
    assert await requests_of(desk.database, "company") == []
    for who, why in ((ada, "yourself"), (eve, "not among those who may approve"), (max_, "not among")):
        with pytest.raises(RefusedError, match=why):
            await control.approvals.decide(who.caller, waits.id, approve=True, reason="fine")
    done = await control.approvals.decide(bob.caller, waits.id, approve=True, reason="checked the books")
    assert (done.state, done.decided_by, done.decision) == ("done", "bob@example.com", "checked the books")
    (event,) = await requests_of(desk.database, "company")
    assert (event["type"], event["actor"]) == ("KillSwitchReleased", "ada@example.com")


async def test_capital_is_booked_by_two(desk: Desk) -> None:
    """One person booked 99.9 M, which scaled every limit that is a share of the worth (found by attack)."""
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    booked = Task(
        action="capital.move",
        account="company",
        payload={"venue": "kraken", "asset": "USD", "amount": str(10**18), "value": None, "reference": "wire 7"},
        summary="A deposit is booked",
        reason="the bank says so",
    )
    waits = (await desk.control.approvals.submit(ada.caller, booked)).approval
    assert waits is not None
    assert await requests_of(desk.database, "company") == []
    await desk.control.approvals.decide(bob.caller, waits.id, approve=True, reason="seen at the bank")
    (event,) = await requests_of(desk.database, "company")
    told = {k: event[k] for k in ("type", "amount", "reference", "actor", "reason")}
    assert told == {
        "type": "CapitalMoved",
        "amount": 10**18,
        "reference": "wire 7",
        "actor": "ada@example.com",
        "reason": "the bank says so",
    }


async def test_ten_approvals_at_once_carry_it_out_once(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    waits = (await desk.control.approvals.submit(ada.caller, release())).approval
    assert waits is not None
    decided = await asyncio.gather(
        *(desk.control.approvals.decide(bob.caller, waits.id, approve=n % 3 > 0, reason="fine") for n in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(d, ConflictError) for d in decided) == 9
    assert len(await requests_of(desk.database, "company")) <= 1


async def test_requests_run_out_and_can_be_withdrawn(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    first = (await desk.control.approvals.submit(ada.caller, release())).approval
    second = (await desk.control.approvals.submit(ada.caller, release())).approval
    assert first is not None
    assert second is not None
    with pytest.raises(RefusedError, match="Somebody else"):
        await desk.control.approvals.withdraw(bob.caller, first.id, "not mine")
    assert (await desk.control.approvals.withdraw(ada.caller, first.id, "a mistake")).state == "withdrawn"
    with pytest.raises(ConflictError):
        await desk.control.approvals.decide(bob.caller, first.id, approve=True, reason="fine")
    desk.clock.move(86_401)
    assert (await desk.control.approvals.get(second.id)).state == "expired"
    with pytest.raises(ConflictError):
        await desk.control.approvals.decide(bob.caller, second.id, approve=True, reason="fine")
    assert await desk.control.approvals.page(None, only_waiting=True, limit=10) == []


async def test_what_the_asker_may_not_do_any_more_is_not_carried_out(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    await enrol(desk, "bob@example.com", by=ada)
    eve = await enrol(desk, "eve@example.com", by=ada)
    waits = (await desk.control.approvals.submit(eve.caller, release())).approval
    assert waits is not None
    await desk.control.people.set_roles(ada.caller, eve.caller.id, {"*": Role.AUDITOR}, "moved on")
    with pytest.raises(RefusedError, match="any more"):
        await desk.control.approvals.decide(ada.caller, waits.id, approve=True, reason="fine")
    assert (await desk.control.approvals.get(waits.id)).state == "failed"
    assert await requests_of(desk.database, "company") == []


async def test_a_key_that_waits_for_approval_is_sealed_and_gone_afterwards(desk: Desk) -> None:
    from aether.venues.protocol import Credentials

    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    credentials = Credentials(key="the-key-itself", secret="the-secret-itself")
    task = Task(
        action="secrets.upload",
        account="company",
        payload={"venue": "kraken", "replaces": 0},
        summary="A key",
        reason="first key",
        secret=msgspec.msgpack.encode(credentials),
    )
    waits = (await desk.control.approvals.submit(ada.caller, task)).approval
    assert waits is not None
    query = sa.select(approvals.c.sealed)
    sealed = bytes((await desk.database.control.all(query))[0].sealed)
    assert sealed
    assert b"itself" not in sealed
    await desk.control.approvals.decide(bob.caller, waits.id, approve=True, reason="fine")
    assert bytes((await desk.database.control.all(query))[0].sealed) == b""
    assert [s.version for s in await desk.control.secrets.status("company")] == [1]


async def test_in_development_one_person_is_enough(database: Database, tmp_path: Path) -> None:
    await write_account(database, "company")
    desk = await make_desk(database, KeyFile(tmp_path / "kek.json"))
    ada = await enrol(desk, "ada@example.com")
    outcome = await desk.control.approvals.submit(ada.caller, release())
    assert outcome.approval is None
    assert len(await requests_of(database, "company")) == 1


# Settings.


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"limits": {"max_daily_loss_bps": 200}}, []),
        ({"limits": {"max_daily_loss_bps": 400}}, ["limits.max_daily_loss_bps"]),
        ({"limits": {"duplicate_window_ms": 100}}, ["limits.duplicate_window_ms"]),
        ({"limits": {"duplicate_window_ms": 900, "max_open_orders": 49}}, []),
        ({"exits": {"stop_multiple": 0}}, ["exits.stop_multiple"]),
        ({"exits": {"cool_down_s": 1_800}}, []),
        ({"review": {"notional": 500}}, ["review.notional"]),
        ({"sizing": {"target_volatility": 0.2}}, []),
        ({"sizing": {"risk_per_trade_bps": 51}}, ["sizing.risk_per_trade_bps"]),
    ],
)
def test_what_loosens_is_found(changes: dict[str, dict[str, float]], expected: list[str]) -> None:
    assert loosened(diff(Document(), parse_document(Document(), changes, {}))) == expected


def test_every_limit_has_a_safe_direction() -> None:
    """A new limit is taken to protect more the lower it is: whoever adds one that does not must say so."""
    for name in Limits.__struct_fields__:
        more = parse_document(Document(), {"limits": {name: getattr(Limits(), name) + 1}}, {})
        less = parse_document(Document(), {"limits": {name: getattr(Limits(), name) - 1}}, {})
        up, down = loosened(diff(Document(), more)), loosened(diff(Document(), less))
        assert bool(up) != bool(down), name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nonsense": {}}, "no part 'nonsense'"),
        ({"limits": {"max_magic": 1}}, "no setting limits.max_magic"),
        ({"limits": {"max_open_orders": 0}}, "out of bounds"),
        ({"limits": {"max_open_orders": 1.5}}, "out of bounds"),
        ({"sizing": {"target_volatility": "a"}}, "out of bounds"),
        ({"reconciliation": {"dead_man_s": 5}}, "dead_man_s would be 5: a fault of the network"),
    ],
)
def test_settings_out_of_bounds_are_refused(changes: dict[str, dict[str, object]], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        parse_document(Document(), changes, {})


@pytest.mark.parametrize(("part", "lower", "upper"), ORDERED)
def test_settings_that_contradict_each_other_are_refused_by_name(part: str, lower: str, upper: str) -> None:
    """Issue 11, finding 17."""
    high = getattr(getattr(Document(), part), upper)
    with pytest.raises(InvalidValueError, match=rf"{part}.{lower} would be {high + 1}, above {part}.{upper}, {high}"):
        parse_document(Document(), {part: {lower: high + 1}}, {})
    equal = parse_document(Document(), {part: {lower: high}}, {})
    assert getattr(getattr(equal, part), lower) == high
    parse_document(Document(), {part: {lower: high + 1, upper: high + 1}}, {})


async def test_versions_are_kept_compared_rolled_back_and_take_effect_in_time(desk: Desk) -> None:
    settings, ada = desk.control.configurations, await enrol(desk, "ada@example.com")
    opened = (await settings.history("company"))[0]
    assert opened.number == 0
    tighter, _ = await settings.propose("company", {"limits": {"max_open_orders": 10}}, 0)
    first = await settings.save(ada.caller, "company", tighter, 0, "quiet week")
    later, _ = await settings.propose("company", {"limits": {"max_open_orders": 5}}, 1)
    second = await settings.save(ada.caller, "company", later, 1, "from tomorrow", desk.clock() + 3_600 * NS)
    assert (first.applied_ns > 0, second.applied_ns) == (True, 0)
    assert [e["limits"]["max_open_orders"] for e in await requests_of(desk.database, "company")] == [10]  # type: ignore[index]
    assert await settings.apply_due() == 0
    desk.clock.move(3_601)
    assert await settings.apply_due() == 1
    assert [e["version"] for e in await requests_of(desk.database, "company")] == [1, 2]
    back = (await settings.version("company", 0)).document
    await settings.save(ada.caller, "company", back, 2, "back to the opening")
    history = await settings.history("company")
    assert [v.number for v in history] == [3, 2, 1, 0]
    assert history[0].document == history[3].document == opened.document


async def test_a_change_is_judged_by_what_is_in_force_when_it_takes_effect(desk: Desk) -> None:
    """A loosening approved for later was in force at once, by a tightening on top of it (finding 6)."""
    settings, ada = desk.control.configurations, await enrol(desk, "ada@example.com")
    month = desk.clock() + 29 * 86_400 * NS
    loose, changes = await settings.propose("company", {"limits": {"max_open_orders": 500}}, 0, month)
    assert [c.field for c in changes] == ["limits.max_open_orders"]
    await settings.save(ada.caller, "company", loose, 0, "for the new year", month)
    now, changes = await settings.propose("company", {"limits": {"max_daily_loss_bps": 10}}, 1)
    not_brought = [
        (f"limits.{name}, as version 1 would bring it", False) for name in ("max_open_orders", "max_daily_loss_bps")
    ]
    assert [(c.field, c.loosens) for c in changes] == [
        ("limits.max_daily_loss_bps", False),
        *sorted(not_brought, reverse=True),
    ]
    assert now.limits.max_open_orders == 50, "what is to come is not in force"
    _, later = await settings.propose("company", {"limits": {"max_open_orders": 400}}, 1, month + NS)
    assert [(c.before, c.loosens) for c in later] == [(500, False)], "by then the other one is"
    await settings.save(ada.caller, "company", now, 1, "a bad week")
    desk.clock.move(30 * 86_400)
    assert await settings.apply_due() == 0, "it was made on top of other settings"
    history = await settings.history("company")
    assert [(v.number, v.applied_ns == SUPERSEDED) for v in history] == [(2, False), (1, True), (0, False)]
    (applied,) = await requests_of(desk.database, "company")
    assert applied["limits"]["max_open_orders"] == 50  # type: ignore[index]
    _, changes = await settings.propose("company", {"limits": {"max_open_orders": 60}}, 2)
    assert [(c.before, c.after, c.loosens) for c in changes] == [(50, 60, True)]


async def test_a_version_that_waits_is_taken_back_by_one_like_that_in_force(desk: Desk) -> None:
    settings, ada = desk.control.configurations, await enrol(desk, "ada@example.com")
    opened = (await settings.history("company"))[0].document
    loose, _ = await settings.propose("company", {"limits": {"max_open_orders": 500}}, 0, desk.clock() + 60 * NS)
    with pytest.raises(InvalidValueError, match="Nothing differs from the settings in force"):
        await settings.save(ada.caller, "company", opened, 0, "the same")
    await settings.save(ada.caller, "company", loose, 0, "later", desk.clock() + 60 * NS)
    await settings.save(ada.caller, "company", opened, 1, "no, rather not")
    desk.clock.move(61)
    assert await settings.apply_due() == 0


EMA = StrategyAssignment(
    strategy=StrategyName("ema_cross"), instruments=(InstrumentId("paper:BTC/USD"),), params={"fast": 5}
)


async def test_parameters_of_a_strategy_are_versioned_and_always_a_second_persons_matter(desk: Desk) -> None:
    """Neither more nor less of a parameter is the safe side; going back brings the old ones back (A4)."""
    await write_account(desk.database, "trend", strategies=(EMA,))
    settings, ada = desk.control.configurations, await enrol(desk, "ada@example.com")
    document, changes = await settings.propose("trend", {"strategies": {"ema_cross": {"slow": 20}}}, 0)
    assert [(c.field, c.before, c.after, c.loosens) for c in changes] == [("strategies.ema_cross.slow", 48, 20, True)]
    await settings.save(ada.caller, "trend", document, 0, "faster")
    (event,) = await requests_of(desk.database, "trend")
    assert event["strategies"] == {"ema_cross": {"fast": 5, "slow": 20, "min_gap_bps": 5.0}}
    opened = msgspec.to_builtins((await settings.version("trend", 0)).document)
    _, back = await settings.propose("trend", opened, 1)
    assert [(c.field, c.after) for c in back] == [("strategies.ema_cross.slow", 48)]


async def test_versions_from_before_that_hold_what_the_account_was_opened_with(desk: Desk) -> None:
    await write_account(desk.database, "trend", strategies=(EMA,))
    settings, ada = desk.control.configurations, await enrol(desk, "ada@example.com")
    for n, account in enumerate(("trend", "company")):
        tighter, _ = await settings.propose(account, {"limits": {"max_open_orders": 10}}, 0)
        await settings.save(ada.caller, account, tighter, 0, f"a quiet week {n}")
    migration = import_module("aether.store.migrations.versions.r0008_parameters")
    async with desk.database.control.begin() as connection:
        await connection.execute(sa.text("UPDATE configurations SET document = document - 'strategies'"))
    async with desk.database.engine.begin() as connection:
        await connection.execute(sa.text(migration.FILL))
    assert [v.document.strategies["ema_cross"]["fast"] for v in await settings.history("trend")] == [5, 5]  # type: ignore[index]
    assert [v.document.strategies for v in await settings.history("company")] == [{}, {}]


async def test_parameters_that_the_code_takes_no_more_keep_no_limit_from_being_tightened(desk: Desk) -> None:
    await write_account(
        desk.database, "trend", strategies=(msgspec.structs.replace(EMA, params={"fast": 5, "gone": 1}),)
    )
    settings, ada = desk.control.configurations, await enrol(desk, "ada@example.com")
    tighter, _ = await settings.propose("trend", {"limits": {"max_open_orders": 10}}, 0)
    await settings.save(ada.caller, "trend", tighter, 0, "a bad week")
    (event,) = await requests_of(desk.database, "trend")
    assert (event["limits"]["max_open_orders"], event.get("strategies", {})) == (10, {})  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean_reversion": {"window": 5}}, "no strategy 'mean_reversion'.*Its strategies: ema_cross"),
        ({"ema_cross": {"speed": 5}}, "no parameter 'speed'"),
        ({"ema_cross": {"fast": 60}}, "fast < slow"),
        ({"ema_cross": {"fast": "soon"}}, "fast=soon"),
        ({"ema_cross": 5}, "parameters by name"),
    ],
)
async def test_parameters_that_cannot_be_are_refused(desk: Desk, changes: dict[str, object], said: str) -> None:
    await write_account(desk.database, "trend", strategies=(EMA,))
    with pytest.raises(InvalidValueError, match=said):
        await desk.control.configurations.propose("trend", {"strategies": changes}, 0)


async def test_two_changes_from_the_same_version_do_not_both_win(desk: Desk) -> None:
    settings, ada = desk.control.configurations, await enrol(desk, "ada@example.com")
    documents = [parse_document(Document(), {"limits": {"max_open_orders": n}}, {}) for n in (10, 20)]
    done = await asyncio.gather(
        *(settings.save(ada.caller, "company", d, 0, "at once") for d in documents), return_exceptions=True
    )
    assert sorted(isinstance(d, ConflictError) for d in done) == [False, True]
    assert len(await requests_of(desk.database, "company")) == 1


# Accounts.


async def test_an_account_is_opened_once_and_has_a_database_role_of_its_own(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    plan = AccountPlan(config=config_of("director-9"), instruments=(), cash=5)
    done = await asyncio.gather(
        *(desk.control.desk.open(ada.caller, plan, "accounts.create", "needed") for _ in range(3)),
        return_exceptions=True,
    )
    assert sum(isinstance(d, ConflictError) for d in done) == 2
    with pytest.raises(ConflictError):
        taken = msgspec.structs.replace(plan, config=config_of("company"))
        await desk.control.desk.open(ada.caller, taken, "accounts.create", "needed")
    plans = PlanReader(desk.database.node)
    assert await plans.opened("synthetic") == [plan]
    await write_account(desk.database, "director-9")
    await desk.control.desk.archive(ada.caller, "director-9", "not needed")
    assert await plans.opened("synthetic") == []
    assert await plans.archived() == {"director-9"}
    with pytest.raises(ConflictError, match="archived already"):
        await desk.control.desk.archive(ada.caller, "director-9", "again")
    assert [e["type"] for e in await requests_of(desk.database, "director-9")] == ["KillSwitchEngaged"]


@pytest.mark.parametrize("account", ["", "x", "Company", "a/b", "a'b", "a b", "-a", "a.", "*", "a" * 41, "ä" * 5])
async def test_ids_that_cannot_be_are_refused(desk: Desk, account: str) -> None:
    plan = AccountPlan(config=config_of(account), instruments=(), cash=5)
    with pytest.raises(InvalidValueError, match="small letters"):
        await desk.control.desk.open(PLATFORM, plan, "accounts.create", "needed")


# The audit trail.


async def write_entries(desk: Desk, count: int) -> None:
    for n in range(count):
        async with desk.database.control.begin() as connection:
            await append(connection, entry_of(PLATFORM, "test.entry", "done", target=str(n)), desk.clock())


async def tamper(desk: Desk, statement: str) -> None:
    """Change the trail as somebody who rules over the database may."""
    async with desk.database.engine.begin() as connection:
        await connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        await connection.execute(sa.text(statement))


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE audit SET payload = replace(payload, '\"7\"', '\"8\"') WHERE seq = 8", 8),
        ("UPDATE audit SET actor = 'somebody' WHERE seq = 5", 5),
        ("UPDATE audit SET outcome = 'refused' WHERE seq = 12", 12),
        ("UPDATE audit SET ts_ns = ts_ns + 1 WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 9", 9),
        ("DELETE FROM audit WHERE seq > 20", 21),
        ("DELETE FROM audit", 1),
    ],
)
async def test_tampering_is_found(desk: Desk, statement: str, seq: int) -> None:
    await write_entries(desk, 30)
    await desk.control.audit.checkpoint(desk.clock())
    assert await desk.control.audit.verify() == 30
    await tamper(desk, statement)
    with pytest.raises(AuditBrokenError) as caught:
        await desk.control.audit.verify()
    assert caught.value.seq == seq


async def test_a_trail_rewritten_with_its_checkpoints_is_found_by_one_kept_elsewhere(desk: Desk) -> None:
    await write_entries(desk, 12)
    kept = await desk.control.audit.checkpoint(desk.clock())
    await tamper(desk, "DELETE FROM audit WHERE seq > 2")
    await tamper(desk, "DELETE FROM checkpoints")
    await write_entries(desk, 10)
    assert await desk.control.audit.verify() == 12, "by itself it is in order"
    prover = AuditProver(desk.database.control, await read_public_key(desk.database.control))
    with pytest.raises(AuditBrokenError, match="names another hash"):
        await prover.verify([kept])
    forged = msgspec.structs.replace(kept, document=kept.document.replace('"audit_seq":12', '"audit_seq":2'))
    with pytest.raises(AuditBrokenError, match="signature"):
        await prover.verify([forged])


async def test_a_market_log_that_was_written_anew_is_found_by_a_checkpoint(desk: Desk) -> None:
    """A5, O7: whoever rewrites a log, hashes, head and all, has not the checkpoint's key."""
    market, store = Sequencer(FeedId("m"), None), NodeStore(desk.database.node)
    for price in (1, 2, 3):
        market.offer(Trade(ts_ns=price, instrument=InstrumentId("paper:BTC/USD"), price=price, size=1))
    blocks = market.blocks()
    await (await store.writer()).commit([], blocks, [b.day for b in blocks])
    await desk.control.audit.checkpoint(desk.clock())
    await desk.control.audit.verify()
    forged = Sequencer(FeedId("m"), None)
    for price in (1, 2, 4):
        forged.offer(Trade(ts_ns=price, instrument=InstrumentId("paper:BTC/USD"), price=price, size=1))
    (block,) = forged.blocks()
    async with desk.database.engine.begin() as connection:
        rewritten = {"payload": block.payload, "hash": block.hash}
        await connection.execute(sa.update(market_log).values(rewritten))
        await connection.execute(sa.update(market_heads).values(hash=block.hash))
    assert await verify_log(store, "m") == 3, "by itself it is in order"
    with pytest.raises(AuditBrokenError, match="market log m differs at position 3"):
        await desk.control.audit.verify()


async def test_entries_written_at_once_form_one_chain(desk: Desk) -> None:
    await asyncio.gather(*(write_entries(desk, 5) for _ in range(8)))
    assert await desk.control.audit.verify() == 40
    pages = [r.seq for r in await desk.control.audit.page(None, limit=15)]
    pages += [r.seq for r in await desk.control.audit.page(None, limit=100, before=pages[-1])]
    assert pages == list(range(40, 0, -1))


async def test_a_change_and_its_entry_stand_or_fall_together(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    before = await desk.control.audit.verify()
    with pytest.raises(InvalidValueError):
        await desk.control.people.set_roles(ada.caller, ada.caller.id, {"*": Role.AUDITOR}, "less")
    assert await desk.control.audit.verify() == before
    entries = [json.loads(r.payload) for r in await desk.database.control.all(sa.select(audit.c.payload))]
    enrolled = next(e for e in entries if e["action"] == "users.enrol")
    assert (enrolled["actor"], enrolled["address"], enrolled["agent"]) == ("ada@example.com", "192.0.2.1", "test")
