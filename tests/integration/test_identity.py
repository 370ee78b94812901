"""People: set-up, two factors, sessions, lockout, step-up proofs (A2)."""

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path

import pytest
import sqlalchemy as sa

from aether.control.access import ACTIONS, EVERYWHERE, Allowlists, Role
from aether.control.approvals import Task
from aether.control.factors import digest
from aether.control.proofs import ProofFault, ProofRefusedError, payload_hash
from aether.control.proving import Answer
from aether.control.sealing import KeyFile
from aether.control.throttle import PASSKEY
from aether.control.tokens import TokenPlan, new_text
from aether.domain.errors import (
    ConflictError,
    InvalidValueError,
    NotSignedInError,
    TooManyAttemptsError,
    UnknownNameError,
)
from aether.store.control_schema import sessions, throttles, users
from aether.store.database import Database
from tests.integration.control_desk import (
    ORIGIN,
    PASSWORD,
    Desk,
    code_of,
    enrol,
    enrol_with_app,
    make_desk,
    nobody,
    prove,
)
from tests.passkey import SoftPasskey


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    """A control plane without anybody."""
    return await make_desk(database, KeyFile(tmp_path / "kek.json"))


async def test_nobody_exists_until_a_second_factor_works(desk: Desk) -> None:
    identity = desk.control.identity
    token = await desk.control.people.first_invitation()
    asked = await identity.enrol(token, "ada@example.com", "Ada", PASSWORD)
    with pytest.raises(NotSignedInError, match="does not fit"):
        await identity.finish_enrolment(asked.challenge, Answer(code="000000"), nobody())
    assert await desk.control.people.listing() == []
    assert not await desk.control.people.has_people()
    member = SoftPasskey("http://localhost:8000")
    await identity.finish_enrolment(asked.challenge, Answer(credential=member.register(asked.passkey)), nobody())
    (person,) = await desk.control.people.listing()
    assert (person.email, person.roles, person.passkeys) == ("ada@example.com", {EVERYWHERE: Role.ADMIN}, 1)
    with pytest.raises(NotSignedInError, match="was used"):
        await identity.enrol(token, "eve@example.com", "Eve", PASSWORD)


async def test_two_enrolments_by_one_invitation_make_one_person(desk: Desk) -> None:
    identity = desk.control.identity
    token = await desk.control.people.first_invitation()
    asked = [await identity.enrol(token, f"{n}@example.com", "X", PASSWORD) for n in ("ada", "eve")]
    answers = [Answer(credential=SoftPasskey("http://localhost:8000").register(a.passkey)) for a in asked]
    done = await asyncio.gather(
        *(identity.finish_enrolment(a.challenge, b, nobody()) for a, b in zip(asked, answers, strict=True)),
        return_exceptions=True,
    )
    assert sorted(isinstance(d, NotSignedInError) for d in done) == [False, True]
    assert len(await desk.control.people.listing()) == 1


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("short", "5 characters"),
        ("aaaaaaaaaaaaaa", "repeats"),
        ("password1234", "too weak"),
        ("qwertyuiop123", "too weak"),
        ("ada@example.com1", "too weak"),
        ("bitcointrading", "too weak"),
        ("x" * 129, "129 characters"),
    ],
)
async def test_weak_passwords_are_refused(desk: Desk, password: str, said: str) -> None:
    token = await desk.control.people.first_invitation()
    with pytest.raises(InvalidValueError, match=said):
        await desk.control.identity.enrol(token, "ada@example.com", "Ada", password)


async def test_signing_in_takes_both_factors_and_each_answer_counts_once(desk: Desk) -> None:
    identity = desk.control.identity
    member = await enrol(desk, "ada@example.com")
    asked = await identity.sign_in("Ada@Example.com ", PASSWORD, nobody())
    answer = Answer(credential=member.passkey.answer(asked.passkey))
    other = await identity.sign_in("ada@example.com", PASSWORD, nobody())
    with pytest.raises(NotSignedInError):
        await identity.finish_sign_in(other.challenge, answer, nobody())
    signed_in = await identity.finish_sign_in(asked.challenge, answer, nobody())
    assert signed_in.caller.name == "ada@example.com"
    with pytest.raises(NotSignedInError, match="answered already"):
        await identity.finish_sign_in(asked.challenge, answer, nobody())


async def test_a_code_is_good_once_and_for_a_step_either_way(desk: Desk) -> None:
    identity = desk.control.identity
    member = await enrol_with_app(desk, "ada@example.com")

    async def attempt(code: str) -> bool:
        asked = await identity.sign_in("ada@example.com", PASSWORD, nobody())
        try:
            await identity.finish_sign_in(asked.challenge, Answer(code=code), nobody())
        except NotSignedInError:
            return False
        return True

    assert not await attempt(code_of(desk, member.seed)), "it was used to enrol"
    desk.clock.move(30)
    used = code_of(desk, member.seed)
    assert await attempt(used)
    assert not await attempt(used)
    desk.clock.move(600)
    assert not await attempt(code_of(desk, member.seed, -61))
    assert not await attempt(code_of(desk, member.seed, 300)), "a clock five minutes off is too far"
    assert await attempt(code_of(desk, member.seed, -30))
    assert await attempt(code_of(desk, member.seed, 30))
    assert not await attempt(code_of(desk, member.seed)), "an earlier step than the last one used"


async def test_recovery_codes_work_once_each_and_prove_nothing_sensitive(desk: Desk) -> None:
    identity = desk.control.identity
    member = await enrol(desk, "ada@example.com")
    code = member.session.recovery_codes[3]
    for typed, works in ((code.lower().replace("-", " "), True), (code, False)):
        asked = await identity.sign_in("ada@example.com", PASSWORD, nobody())
        if works:
            await identity.finish_sign_in(asked.challenge, Answer(recovery_code=typed), nobody())
        else:
            with pytest.raises(NotSignedInError):
                await identity.finish_sign_in(asked.challenge, Answer(recovery_code=typed), nobody())
    asked = await identity.ask_proof(member.caller)
    with pytest.raises(NotSignedInError):
        await identity.prove(member.caller, asked.challenge, Answer(recovery_code=member.session.recovery_codes[4]))
    assert (await desk.control.people.listing())[0].recovery_codes == 9


async def test_a_passkey_alone_signs_in_but_not_unverified_elsewhere_or_replayed(desk: Desk) -> None:
    identity = desk.control.identity
    member = await enrol(desk, "ada@example.com")
    asked = await identity.passkey_challenge()
    member.passkey.verified = False
    with pytest.raises(NotSignedInError):
        await identity.sign_in_with_passkey(asked.challenge, member.passkey.answer(asked.passkey), nobody())
    member.passkey.verified = True
    asked = await identity.passkey_challenge()
    member.passkey.origin = "http://evil.example"
    with pytest.raises(NotSignedInError):
        await identity.sign_in_with_passkey(asked.challenge, member.passkey.answer(asked.passkey), nobody())
    member.passkey.origin = "http://localhost:8000"
    asked = await identity.passkey_challenge()
    answer = member.passkey.answer(asked.passkey)
    assert (await identity.sign_in_with_passkey(asked.challenge, answer, nobody())).caller.id == member.caller.id
    again = await identity.passkey_challenge()
    with pytest.raises(NotSignedInError):
        await identity.sign_in_with_passkey(again.challenge, answer, nobody())


async def test_sessions_end_when_idle_when_old_when_signed_out_and_when_the_person_is_locked_out(desk: Desk) -> None:
    identity, rules = desk.control.identity, desk.control.sessions.rules
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", {"*": Role.TRADER}, by=ada)

    async def is_open(token: str) -> bool:
        return await desk.control.sessions.caller_of(token, nobody()) is not None

    assert await is_open(bob.session.token)
    desk.clock.move(rules.idle_s - 1)
    assert await is_open(bob.session.token)
    desk.clock.move(rules.idle_s)
    assert not await is_open(bob.session.token), "idle"

    async def sign_in() -> str:
        asked = await identity.sign_in(bob.email, PASSWORD, nobody())
        answer = Answer(credential=bob.passkey.answer(asked.passkey))
        return (await identity.finish_sign_in(asked.challenge, answer, nobody())).token

    token = await sign_in()
    for _ in range(rules.max_s // 600):
        desk.clock.move(600)
        await desk.control.sessions.caller_of(token, nobody())
    assert not await is_open(token), "old, though never idle"
    one, two = await sign_in(), await sign_in()
    caller = await desk.control.sessions.caller_of(one, nobody())
    assert caller is not None
    await desk.control.sessions.end(caller, caller.session)
    assert not await is_open(one)
    assert await is_open(two)
    await desk.control.people.set_disabled(ada.caller, bob.caller.id, disabled=True, reason="left the firm")
    assert not await is_open(two)
    with pytest.raises(NotSignedInError):
        await identity.sign_in(bob.email, PASSWORD, nobody())
    with pytest.raises(UnknownNameError):
        await desk.control.sessions.end(ada.caller, caller.session)


async def test_only_hashes_of_tokens_are_kept(desk: Desk) -> None:
    member = await enrol(desk, "ada@example.com")
    async with desk.database.control.begin() as connection:
        kept = (await connection.execute(sa.select(sessions.c.digest))).scalar_one()
        hashed = (await connection.execute(sa.select(users.c.password_hash))).scalar_one()
    assert kept == digest(member.session.token)
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_wrong_passwords_wait_longer_and_longer_for_that_address_alone(desk: Desk) -> None:
    identity = desk.control.identity
    member = await enrol(desk, "ada@example.com")

    async def wrong(email: str, address: str) -> str:
        try:
            await identity.sign_in(email, "not the password", nobody(address))
        except TooManyAttemptsError as error:
            return f"wait {error.retry_after_s:.0f}"
        except NotSignedInError as error:
            return error.message
        raise AssertionError("let in")

    known = [await wrong("ada@example.com", "198.51.100.1") for _ in range(6)]
    unknown = [await wrong("nobody@example.com", "198.51.100.2") for _ in range(6)]
    assert known == unknown, "nothing tells whether an address is known"
    assert known[-1] == "wait 2"
    desk.clock.move(2.1)
    assert "wrong" in await wrong("ada@example.com", "198.51.100.1")
    assert await wrong("ada@example.com", "198.51.100.1") == "wait 4"
    asked = await identity.sign_in("ada@example.com", PASSWORD, nobody("203.0.113.5"))
    assert asked.methods == ("passkey", "recovery"), "its owner comes in from elsewhere"
    with pytest.raises(TooManyAttemptsError):
        await identity.sign_in("ada@example.com", PASSWORD, nobody("198.51.100.1"))
    asked = await identity.passkey_challenge()
    await identity.sign_in_with_passkey(asked.challenge, member.passkey.answer(asked.passkey), nobody("198.51.100.1"))


async def test_an_attack_on_a_password_locks_no_known_device_out(desk: Desk) -> None:
    """51 wrong passwords from 13 addresses locked a director out from everywhere (issue 11, finding 4)."""
    identity, devices = desk.control.identity, desk.control.devices
    await enrol(desk, "ada@example.com")
    hers, his = (devices.issue(f"{name}@example.com", "device") for name in ("ada", "bob"))

    async def attack(n: int, device: str = "") -> None:
        with contextlib.suppress(NotSignedInError, TooManyAttemptsError):
            await identity.sign_in("ada@example.com", "not the password", nobody(f"198.51.100.{n // 4}"), device)

    for n in range(51):
        await attack(n)
    with pytest.raises(TooManyAttemptsError):
        await identity.sign_in("ada@example.com", PASSWORD, nobody("203.0.113.5"))
    assert await identity.attacks("ada@example.com") == 50, "she is told"
    for forged in (his, hers[:-1], f"9{hers}", "x", "." * 300, ""):
        with pytest.raises(TooManyAttemptsError):
            await identity.sign_in("ada@example.com", PASSWORD, nobody("203.0.113.5"), forged)
    assert (await identity.sign_in("ada@example.com", PASSWORD, nobody("203.0.113.5"), hers)).methods
    for n in range(11):
        await attack(n, hers)
    with pytest.raises(TooManyAttemptsError):
        await identity.sign_in("ada@example.com", PASSWORD, nobody("203.0.113.5"), hers)
    desk.clock.move(91 * 86_400)
    assert not devices.knows(hers, "ada@example.com")


async def test_an_address_that_tries_many_accounts_waits(desk: Desk) -> None:
    identity = desk.control.identity
    for n in range(30):
        with pytest.raises(NotSignedInError):
            await identity.sign_in(f"user{n}@example.com", "not the password", nobody("198.51.100.9"))
    with pytest.raises(TooManyAttemptsError):
        await identity.sign_in("another@example.com", "not the password", nobody("198.51.100.9"))


async def test_wrong_second_factors_wait_too(desk: Desk) -> None:
    identity = desk.control.identity
    await enrol_with_app(desk, "ada@example.com")
    for n in range(6):
        asked = await identity.sign_in("ada@example.com", PASSWORD, nobody())
        with pytest.raises(TooManyAttemptsError if n == 5 else NotSignedInError):
            await identity.finish_sign_in(asked.challenge, Answer(code="123123"), nobody())


async def test_guesses_at_once_are_worth_no_more_than_in_a_row(desk: Desk) -> None:
    identity = desk.control.identity
    await enrol_with_app(desk, "ada@example.com")

    async def refused(attempt: Awaitable[object]) -> type[Exception]:
        try:
            await attempt
        except (NotSignedInError, TooManyAttemptsError) as error:
            return type(error)
        raise AssertionError("let in")

    passwords = (identity.sign_in("ada@example.com", f"guess number {n}", nobody("198.51.100.1")) for n in range(20))
    outcomes = await asyncio.gather(*(refused(p) for p in passwords))
    assert outcomes.count(NotSignedInError) == 5
    asked = await identity.sign_in("ada@example.com", PASSWORD, nobody())
    codes = (identity.finish_sign_in(asked.challenge, Answer(code=f"{n:06}"), nobody()) for n in range(20))
    outcomes = await asyncio.gather(*(refused(c) for c in codes))
    assert outcomes.count(NotSignedInError) == 5


async def test_sign_ins_that_succeed_do_not_count_against_an_address(desk: Desk) -> None:
    identity = desk.control.identity
    await enrol(desk, "ada@example.com")
    for _ in range(40):
        await identity.sign_in("ada@example.com", PASSWORD, nobody("198.51.100.9"))


async def test_roles_come_from_the_allowlist_and_an_admin_always_stays(database: Database, tmp_path: Path) -> None:
    lists = Allowlists(admins=frozenset({"ada@example.com"}), strict=True)
    desk = await make_desk(database, KeyFile(tmp_path / "kek.json"), allowlists=lists)
    identity = desk.control.identity
    token = await desk.control.people.first_invitation()
    with pytest.raises(InvalidValueError, match="not among those who may be admin"):
        await identity.enrol(token, "eve@example.com", "Eve", PASSWORD)
    ada = await enrol(desk, "ada@example.com")
    with pytest.raises(InvalidValueError, match="AETHER_ADMINS"):
        await desk.control.people.invite(ada.caller, "bob@example.com", "Bob", {"*": Role.ADMIN}, "second")
    bob = await enrol(desk, "bob@example.com", {"company": Role.TRADER}, by=ada)
    with pytest.raises(InvalidValueError, match="may be admin"):
        await desk.control.people.set_roles(ada.caller, bob.caller.id, {"company": Role.ADMIN}, "more")
    with pytest.raises(InvalidValueError, match="No admin would be left"):
        await desk.control.people.set_roles(ada.caller, ada.caller.id, {"*": Role.AUDITOR}, "less")
    with pytest.raises(InvalidValueError, match="No admin would be left"):
        await desk.control.people.set_disabled(ada.caller, ada.caller.id, disabled=True, reason="out")
    assert (await desk.control.people.person(ada.caller.id)).roles == {"*": Role.ADMIN}
    with pytest.raises(ConflictError):
        await desk.control.people.invite(ada.caller, "bob@example.com", "Bob", {"*": Role.AUDITOR}, "again")


async def test_an_open_page_is_no_use_of_its_session(desk: Desk) -> None:
    """The web socket asked every few seconds who its caller is, and no session with an open page ever ended (12)."""
    ada = await enrol(desk, "ada@example.com")
    idle_s = desk.control.sessions.rules.idle_s
    for _ in range(idle_s // 60 - 1):
        desk.clock.move(60)
        assert await desk.control.sessions.caller_of(ada.session.token, nobody(), is_use=False)
    desk.clock.move(60)
    assert await desk.control.sessions.caller_of(ada.session.token, nobody()) is None


async def test_whoever_left_the_list_is_admin_no_more(database: Database, tmp_path: Path) -> None:
    """The settings count at every request, also for a session that was open before the restart (finding 7)."""
    both = Allowlists(admins=frozenset({"ada@example.com", "eve@example.com"}), strict=True)
    before = await make_desk(database, KeyFile(tmp_path / "kek.json"), allowlists=both)
    ada = await enrol(before, "ada@example.com")
    eve = await enrol(before, "eve@example.com", {"*": Role.ADMIN, "company": Role.TRADER}, by=ada)
    alone = Allowlists(admins=frozenset({"ada@example.com"}), strict=True)
    desk = await make_desk(database, KeyFile(tmp_path / "kek.json"), allowlists=alone)
    found = await desk.control.sessions.caller_of(eve.session.token, nobody())
    assert found is not None
    assert found.roles == {"company": Role.TRADER}
    await desk.control.roster.read()
    known = desk.control.roster.caller_of(eve.session.token, nobody())
    assert known is not None
    assert known.roles == {"company": Role.TRADER}
    challenge = await desk.control.identity.passkey_challenge()
    again = await desk.control.identity.sign_in_with_passkey(
        challenge.challenge, eve.passkey.answer(challenge.passkey), nobody()
    )
    assert again.caller.roles == {"company": Role.TRADER}
    with pytest.raises(InvalidValueError, match="No admin would be left"):
        await desk.control.people.set_disabled(found, ada.caller.id, disabled=True, reason="a coup")


async def test_two_directors_stay_in_production(database: Database, tmp_path: Path) -> None:
    """One admin locked the only other director out; nothing could be approved any more (finding 7)."""
    people = frozenset({"ada@example.com", "bob@example.com", "eve@example.com"})
    lists = Allowlists(admins=people, directors=people, strict=True)
    desk = await make_desk(database, KeyFile(tmp_path / "kek.json"), two_people=True, allowlists=lists)
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    eve = await enrol(desk, "eve@example.com", by=ada)
    await desk.control.people.set_disabled(ada.caller, eve.caller.id, disabled=True, reason="has left")
    with pytest.raises(InvalidValueError, match="Only 1 of the directors"):
        await desk.control.people.set_disabled(ada.caller, bob.caller.id, disabled=True, reason="in the way")
    assert await desk.control.sessions.caller_of(bob.session.token, nobody()) is not None, "nothing was done"


async def test_who_lost_everything_enrols_anew_with_the_same_roles(desk: Desk) -> None:
    identity = desk.control.identity
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", {"company": Role.TRADER}, by=ada)
    token = await desk.control.people.reset_factors("bob@example.com")
    assert await desk.control.sessions.caller_of(bob.session.token, nobody()) is None
    with pytest.raises(NotSignedInError):
        await identity.sign_in("bob@example.com", PASSWORD, nobody())
    asked = await identity.enrol(token, "ignored@example.com", "Bob", PASSWORD)
    passkey = SoftPasskey("http://localhost:8000")
    back = await identity.finish_enrolment(
        asked.challenge, Answer(credential=passkey.register(asked.passkey)), nobody()
    )
    assert (back.caller.name, back.caller.roles) == ("bob@example.com", {"company": "trader"})


# Step-up.

PAYLOAD = payload_hash("POST", "/api/v1/kill-switch/release", b'{"reason":"over"}')


async def test_a_proof_is_good_for_one_request_once(desk: Desk) -> None:
    proofs, action = desk.control.proofs, ACTIONS["kill.release"]
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    token = await prove(desk, ada, "kill.release", PAYLOAD)
    asked = await desk.control.identity.sign_in("ada@example.com", PASSWORD, nobody())
    elsewhere = await desk.control.identity.finish_sign_in(
        asked.challenge, Answer(credential=ada.passkey.answer(asked.passkey)), nobody()
    )
    other = payload_hash("POST", "/api/v1/kill-switch/release", b'{"reason":"over","x":1}')
    for caller, wanted, payload, fault in (
        (bob.caller, action, PAYLOAD, ProofFault.OTHER_USER),
        (elsewhere.caller, action, PAYLOAD, ProofFault.OTHER_SESSION),
        (ada.caller, ACTIONS["secrets.upload"], PAYLOAD, ProofFault.OTHER_ACTION),
        (ada.caller, action, other, ProofFault.OTHER_PAYLOAD),
    ):
        with pytest.raises(ProofRefusedError) as caught:
            await proofs.use(caller, wanted, payload, token, desk.clock())
        assert caught.value.fault is fault
    with pytest.raises(ProofRefusedError, match="unknown"):
        await proofs.use(ada.caller, action, PAYLOAD, "made up", desk.clock())
    with pytest.raises(ProofRefusedError, match="missing"):
        await proofs.use(ada.caller, action, PAYLOAD, "", desk.clock())
    uses = await asyncio.gather(
        *(proofs.use(ada.caller, action, PAYLOAD, token, desk.clock()) for _ in range(5)), return_exceptions=True
    )
    assert sum(u is None for u in uses) == 1, "five at once: one goes through"
    assert all(u is None or (isinstance(u, ProofRefusedError) and u.fault is ProofFault.REPLAYED) for u in uses)


async def test_a_proof_runs_out(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    token = await prove(desk, ada, "kill.release", PAYLOAD)
    desk.clock.move(121)
    with pytest.raises(ProofRefusedError, match="expired"):
        await desk.control.proofs.use(ada.caller, ACTIONS["kill.release"], PAYLOAD, token, desk.clock())


async def test_challenges_run_out(desk: Desk) -> None:
    member = await enrol(desk, "ada@example.com")
    asked = await desk.control.identity.sign_in("ada@example.com", PASSWORD, nobody())
    desk.clock.move(301)
    with pytest.raises(NotSignedInError, match="took too long"):
        await desk.control.identity.finish_sign_in(
            asked.challenge, Answer(credential=member.passkey.answer(asked.passkey)), nobody()
        )


async def test_the_last_second_factor_stays(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    with pytest.raises(InvalidValueError, match="only second factor"):
        await desk.control.own.remove_passkey(ada.caller, ada.passkey.id)
    asked = await desk.control.own.new_passkey(ada.caller)
    second = SoftPasskey("http://localhost:8000")
    await desk.control.own.add_passkey(ada.caller, asked.challenge, second.register(asked.passkey), "key ring")
    await desk.control.own.remove_passkey(ada.caller, ada.passkey.id)
    assert [bytes(p.id) for p in await desk.control.own.list_passkeys(ada.caller)] == [second.id]


async def test_an_openid_provider_stands_for_the_password_of_whom_it_knows(desk: Desk) -> None:
    identity = desk.control.identity
    ada = await enrol(desk, "ada@example.com")
    asked = await identity.sign_in_by_subject("https://op.example 42", "ada@example.com", nobody())
    answer = Answer(credential=ada.passkey.answer(asked.passkey))
    assert (await identity.finish_sign_in(asked.challenge, answer, nobody())).caller.id == ada.caller.id
    again = await identity.sign_in_by_subject("https://op.example 42", "", nobody())
    assert again.methods[0] == "passkey"
    with pytest.raises(NotSignedInError):
        await identity.sign_in_by_subject("https://op.example 43", "ada@example.com", nobody())
    with pytest.raises(NotSignedInError):
        await identity.sign_in_by_subject("https://op.example 44", "eve@example.com", nobody())


async def test_a_new_password_needs_the_present_one_and_ends_every_other_session(desk: Desk) -> None:
    identity = desk.control.identity
    ada = await enrol(desk, "ada@example.com")
    asked = await identity.sign_in("ada@example.com", PASSWORD, nobody())
    other = await identity.finish_sign_in(
        asked.challenge, Answer(credential=ada.passkey.answer(asked.passkey)), nobody()
    )
    with pytest.raises(NotSignedInError, match="present password"):
        await desk.control.own.change_password(ada.caller, "not the present one", "violet harbour engine moss")
    with pytest.raises(InvalidValueError, match="too weak"):
        await desk.control.own.change_password(ada.caller, PASSWORD, "password1234")
    await desk.control.own.change_password(ada.caller, PASSWORD, "violet harbour engine moss")
    assert await desk.control.sessions.caller_of(ada.session.token, nobody()) is not None
    assert await desk.control.sessions.caller_of(other.token, nobody()) is None
    with pytest.raises(NotSignedInError):
        await identity.sign_in("ada@example.com", PASSWORD, nobody())
    await identity.sign_in("ada@example.com", "violet harbour engine moss", nobody())


async def test_signing_in_again_ends_the_session_that_was_there(desk: Desk) -> None:
    identity = desk.control.identity
    ada = await enrol(desk, "ada@example.com")
    asked = await identity.sign_in("ada@example.com", PASSWORD, ada.caller)
    answer = Answer(credential=ada.passkey.answer(asked.passkey))
    await identity.finish_sign_in(asked.challenge, answer, ada.caller)
    assert await desk.control.sessions.caller_of(ada.session.token, nobody()) is None


async def test_an_admin_signs_a_person_out_everywhere(desk: Desk) -> None:

    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", {"*": Role.TRADER}, by=ada)
    await desk.control.people.sign_out(ada.caller, bob.caller.id, "a lost phone")
    assert await desk.control.sessions.caller_of(bob.session.token, nobody()) is None
    assert await desk.control.sessions.caller_of(ada.session.token, nobody()) is not None


async def test_after_a_reset_the_key_encryption_key_still_rotates(desk: Desk) -> None:
    member = await enrol_with_app(desk, "ada@example.com")
    await desk.control.people.reset_factors("ada@example.com")
    told = await desk.control.encryption_key.rotate(member.caller)
    assert told.wrapped == 1, "the signing key; the seed of who was reset is gone"


async def test_a_locked_out_person_is_not_let_in_by_a_reset(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", {"*": Role.TRADER}, by=ada)
    await desk.control.people.set_disabled(ada.caller, bob.caller.id, disabled=True, reason="left")
    with pytest.raises(ConflictError, match="locked out"):
        await desk.control.people.reset_factors("bob@example.com")


async def test_tokens_end_with_what_their_maker_may(desk: Desk) -> None:
    """They lived on for a year after their maker had left (found by attack)."""
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    texts = {action: new_text() for action in ("kill.engage", "accounts.read")}
    for action, text in texts.items():
        await desk.control.tokens.create(bob.caller, TokenPlan(digest(text), action, (action,), ("*",), 9))
    await desk.control.people.set_roles(ada.caller, bob.caller.id, {"*": Role.AUDITOR}, "reads only")
    assert await desk.control.tokens.caller_of(texts["kill.engage"], nobody()) is None
    assert await desk.control.tokens.caller_of(texts["accounts.read"], nobody()) is not None
    await desk.control.people.set_disabled(ada.caller, bob.caller.id, disabled=True, reason="left")
    assert await desk.control.tokens.caller_of(texts["accounts.read"], nobody()) is None


async def test_one_invitation_for_an_address_however_many_invite_at_once(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    given = [{"*": Role.TRADER}, {"company": Role.AUDITOR}] * 4
    invite = desk.control.people.invite
    await asyncio.gather(*(invite(ada.caller, "race@example.com", "R", roles, "at once") for roles in given))
    assert len(await desk.control.vouching.invited()) == 1
    assert await desk.control.vouching.vouch("race@example.com")


@pytest.mark.parametrize("email", ["a/b@example.com", "../x@example.com", "\u0261race@example.com", "a?b@example.com"])
async def test_addresses_that_look_like_others_or_like_paths_are_none(desk: Desk, email: str) -> None:
    ada = await enrol(desk, "ada@example.com")
    with pytest.raises(InvalidValueError, match="no e-mail address"):
        await desk.control.people.invite(ada.caller, email, "X", {"*": Role.TRADER}, "needed")


@pytest.mark.parametrize("code", ["\u00e9", "12345\u0661", ""])
async def test_a_code_of_other_letters_is_wrong_and_no_fault(desk: Desk, code: str) -> None:
    member = await enrol_with_app(desk, "ada@example.com")
    asked = await desk.control.identity.sign_in(member.email, PASSWORD, nobody())
    with pytest.raises(NotSignedInError):
        await desk.control.identity.finish_sign_in(asked.challenge, Answer(code=code), nobody())


async def test_who_is_locked_out_between_password_and_code_is_not_let_in(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", {"*": Role.TRADER}, by=ada)
    asked = await desk.control.identity.sign_in(bob.email, PASSWORD, nobody())
    await desk.control.people.set_disabled(ada.caller, bob.caller.id, disabled=True, reason="left")
    answer = Answer(credential=bob.passkey.answer(asked.passkey))
    with pytest.raises(NotSignedInError):
        await desk.control.identity.finish_sign_in(asked.challenge, answer, nobody())


async def test_two_directors_stay_wherever_two_people_are_needed(database: Database, tmp_path: Path) -> None:
    desk = await make_desk(database, KeyFile(tmp_path / "kek.json"), two_people=True)
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    with pytest.raises(InvalidValueError, match="Only 1 of the directors"):
        await desk.control.people.set_disabled(ada.caller, bob.caller.id, disabled=True, reason="alone at last")
    trader = await enrol(desk, "max@example.com", {"*": Role.TRADER}, by=ada)
    token = await desk.control.people.invite(ada.caller, "eve@example.com", "Eve", {"*": Role.ADMIN}, "needed")
    assert token == ""
    held = await desk.control.vouching.hand_over(bob.caller, "eve@example.com")
    asked = await desk.control.identity.enrol(held, "eve@example.com", "Eve", PASSWORD)
    credential = SoftPasskey(ORIGIN).register(asked.passkey)
    eve = await desk.control.identity.finish_enrolment(asked.challenge, Answer(credential=credential), nobody())
    for other in (trader.caller, eve.caller):
        await desk.control.people.set_disabled(ada.caller, other.id, disabled=True, reason="approves nothing")


async def test_tokens_end_when_their_maker_leaves_the_list_of_admins(database: Database, tmp_path: Path) -> None:
    """After a restart without her address, her token still stopped and sold (found by attack)."""
    keys = KeyFile(tmp_path / "kek.json")
    desk = await make_desk(database, keys)
    ada = await enrol(desk, "ada@example.com")
    text = new_text()
    plan = TokenPlan(digest(text), "stops", ("kill.engage",), ("*",), 9)
    await desk.control.tokens.create(ada.caller, plan)
    await desk.control.roster.read()
    assert desk.control.roster.caller_of(text, nobody()) is not None
    later = await make_desk(database, keys, allowlists=Allowlists(admins=frozenset({"bob@example.com"})))
    await later.control.roster.read()
    assert await later.control.tokens.caller_of(text, nobody()) is None
    assert later.control.roster.caller_of(text, nobody()) is None


async def test_strangers_passkeys_wait_too_and_what_counts_no_more_is_deleted(desk: Desk) -> None:
    """Each left a row of the audit trail for ever, and each name tried a row of the counts (found by attack)."""
    ada = await enrol(desk, "ada@example.com")
    stranger = SoftPasskey(ORIGIN)

    async def show(passkey: SoftPasskey, address: str) -> None:
        asked = await desk.control.identity.passkey_challenge()
        answer = passkey.answer(asked.passkey)
        await desk.control.identity.sign_in_with_passkey(asked.challenge, answer, nobody(address))

    token = await desk.control.people.invite(ada.caller, "eve@example.com", "Eve", {"*": Role.TRADER}, "needed")
    stranger.register((await desk.control.identity.enrol(token, "eve@example.com", "Eve", PASSWORD)).passkey)
    refused = 0
    for number in range(60):
        try:
            await show(stranger, f"2001:db8::{number:x}")
        except NotSignedInError:
            refused += 1
        except TooManyAttemptsError:
            break
    assert refused == PASSKEY.free_failures
    await show(ada.passkey, "2001:db8::1")
    desk.clock.move(2 * 3_600)
    assert await desk.database.control.all(sa.select(throttles))
    await desk.control.throttle.forget(desk.clock())
    assert not await desk.database.control.all(sa.select(throttles))


async def test_who_knows_a_password_alone_blocks_no_open_session(desk: Desk) -> None:
    """Wrong codes from elsewhere made her wait with every proof, by a passkey too (found by attack)."""
    ada = await enrol(desk, "ada@example.com")
    for _ in range(12):
        asked = await desk.control.identity.sign_in(ada.email, PASSWORD, nobody("198.51.100.7"))
        with pytest.raises((NotSignedInError, TooManyAttemptsError)):
            await desk.control.identity.finish_sign_in(asked.challenge, Answer(recovery_code="x"), nobody())
    assert await prove(desk, ada, "kill.release", "a request")


async def test_a_sign_in_that_was_begun_by_the_old_password_does_not_end(desk: Desk) -> None:
    ada = await enrol(desk, "ada@example.com")
    asked = await desk.control.identity.sign_in(ada.email, PASSWORD, nobody())
    await desk.control.own.change_password(ada.caller, PASSWORD, "another long and winding road")
    answer = Answer(credential=ada.passkey.answer(asked.passkey))
    with pytest.raises(NotSignedInError):
        await desk.control.identity.finish_sign_in(asked.challenge, answer, nobody())


async def test_another_persons_app_is_confirmed_by_nobody_else(desk: Desk) -> None:
    """It was unsealed before it was seen whose it is, and the error told of keys (found by attack)."""
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", {"*": Role.TRADER}, by=ada)
    made = await desk.control.own.new_totp(ada.caller)
    with pytest.raises(NotSignedInError, match="does not fit"):
        await desk.control.own.confirm_totp(bob.caller, made.challenge, "123456")


async def test_what_somebody_does_while_they_are_locked_out_is_not_done(desk: Desk) -> None:
    """By a caller from a moment ago, whatever the door has seen."""
    ada = await enrol(desk, "ada@example.com")
    bob = await enrol(desk, "bob@example.com", by=ada)
    max_ = await enrol(desk, "max@example.com", {"*": Role.TRADER}, by=ada)
    await desk.control.people.set_disabled(ada.caller, bob.caller.id, disabled=True, reason="left")
    plan = TokenPlan(digest(new_text()), "late", ("accounts.read",), ("*",), 9)
    asked = {"feed": "", "engaged_ns": 1}
    task = Task(action="kill.release", account="*", payload=asked, summary="x", reason="needed")
    for late in (
        desk.control.tokens.create(bob.caller, plan),
        desk.control.people.invite(bob.caller, "eve@example.com", "Eve", {"*": Role.TRADER}, "needed"),
        desk.control.people.set_roles(bob.caller, max_.caller.id, {"*": Role.AUDITOR}, "needed"),
        desk.control.approvals.submit(bob.caller, task),
        desk.control.own.renew_recovery_codes(bob.caller),
    ):
        with pytest.raises(NotSignedInError):
            await late
