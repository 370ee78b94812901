"""The roster: who may stop accounts while the database does not answer (A2, R4; what an intruder found)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from aether.control.access import ACTIONS, EVERYWHERE, Allowlists, CallerKind, Role
from aether.control.factors import digest
from aether.control.roster import GOOD_FOR_S, Roster
from aether.control.sealing import KeyFile
from aether.control.sessions import SessionRules
from aether.control.tokens import TokenPlan, new_text
from aether.store import announcements
from aether.store.announcements import Announcements
from aether.store.control_schema import CONTROL_CHANNEL, sessions
from aether.store.database import Database
from tests.integration.control_desk import Desk, Member, enrol, make_desk, nobody
from tests.waiting import until

STOP = ACTIONS["kill.engage"]


@pytest.fixture
async def desk(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A control plane whose roster follows announcements alone: the regular look comes far too late."""
    monkeypatch.setattr(announcements, "POLL_S", 3_600.0)
    made = await make_desk(database, KeyFile(tmp_path / "kek.json"))
    listening = Announcements(database.control, CONTROL_CHANNEL)
    tasks = [
        asyncio.create_task(listening.run()),
        asyncio.create_task(made.control.roster.follow(listening.changed)),
    ]
    await until(lambda: listening.is_listening)
    yield made
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def may_stop(desk: Desk, member: Member, account: str = EVERYWHERE) -> bool:
    found = desk.control.roster.caller_of(member.session.token, nobody())
    return found is not None and found.id == member.caller.id and found.may(STOP, account)


async def test_whoever_signs_in_may_stop_until_they_sign_out(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    await until(lambda: may_stop(desk, ada))
    assert desk.control.roster.has_people
    await desk.control.sessions.end(ada.caller, ada.caller.session)
    await until(lambda: not may_stop(desk, ada))


async def test_whoever_is_disabled_loses_a_role_or_is_signed_out_may_not_stop_any_more(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", {"company": Role.TRADER}, by=ada)
    eve = await enrol(desk, "eve@example.com", {"company": Role.TRADER}, by=ada)
    max_ = await enrol(desk, "max@example.com", {"company": Role.AUDITOR}, by=ada)
    await until(lambda: may_stop(desk, bob, "company") and may_stop(desk, eve, "company"))
    assert not may_stop(desk, bob, "somebody.else")
    assert not may_stop(desk, max_, "company")
    await desk.control.people.set_roles(ada.caller, bob.caller.id, {"company": Role.AUDITOR}, "a new job")
    await until(lambda: not may_stop(desk, bob, "company"))
    await desk.control.people.set_disabled(ada.caller, eve.caller.id, disabled=True, reason="has left")
    await until(lambda: not may_stop(desk, eve, "company"))
    assert may_stop(desk, ada)


async def test_a_services_token_may_stop_until_it_is_revoked(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    text, reading = new_text(), new_text()
    token_id = await desk.control.tokens.create(
        ada.caller, TokenPlan(digest(text), "pager", ("kill.engage",), ("*",), 1)
    )
    await desk.control.tokens.create(ada.caller, TokenPlan(digest(reading), "dashboard", ("accounts.read",), ("*",), 1))
    roster = desk.control.roster
    await until(lambda: roster.caller_of(text, nobody()) and roster.caller_of(reading, nobody()))
    found = roster.caller_of(text, nobody("192.0.2.7"))
    assert found is not None
    assert (found.kind, found.name, found.address) == (CallerKind.SERVICE, "service pager", "192.0.2.7")
    reader = roster.caller_of(reading, nobody())
    assert reader is not None
    assert not reader.may(STOP)
    assert roster.caller_of("guess", nobody()) is None
    await desk.control.tokens.revoke(ada.caller, token_id)
    await until(lambda: roster.caller_of(text, nobody()) is None)


async def test_a_copy_counts_for_a_quarter_of_an_hour_and_no_session_longer_than_it_would(
    desk: Desk, database: Database
) -> None:
    ada = await enrol(desk, "ada@example.com")
    rules = SessionRules(idle_s=600)
    roster = Roster(database.control, rules, Allowlists(), desk.clock, lambda: desk.clock() / 1e9)
    assert not roster.is_good
    await roster.read()
    assert roster.caller_of(ada.session.token, nobody())
    desk.clock.move(599)
    assert roster.caller_of(ada.session.token, nobody())
    desk.clock.move(1)
    assert roster.caller_of(ada.session.token, nobody()) is None, "its session is over"
    desk.clock.move(GOOD_FOR_S - 601)
    assert roster.is_good
    desk.clock.move(1)
    assert not roster.is_good


async def test_a_sessions_use_alone_announces_nothing(desk: Desk, database: Database) -> None:
    """Every request that is a while after the last one writes when it was; the followers are left alone."""
    await enrol(desk, "ada@example.com")
    heard: list[str] = []
    connection = await database.control.connect()
    await connection.add_listener(CONTROL_CHANNEL, lambda _c, _pid, _channel, payload: heard.append(payload))
    async with database.control.begin() as writing:
        await writing.execute(sa.update(sessions).values(seen_ns=desk.clock()))
    async with database.control.begin() as writing:
        await writing.execute(sa.text(f"NOTIFY {CONTROL_CHANNEL}, 'last'"))
    await until(lambda: "last" in heard)
    assert heard == ["last"]
    await connection.close()
