"""The control plane on a real database, with a clock that tests move and people with software passkeys."""

from dataclasses import dataclass, field
from typing import Any

import pyotp

from aether.control.access import Allowlists, Caller, CallerKind, Role
from aether.control.factors import Site
from aether.control.plane import ControlPlane, build_control
from aether.control.proving import Answer
from aether.control.sealing import KeyEncryption, Sealer
from aether.control.sessions import SessionRules, SignedIn
from aether.store.database import Database
from aether.strategies import catalogue
from aether.venues.protocol import Credentials
from tests.passkey import SoftPasskey

ORIGIN = "http://localhost:8000"
PASSWORD = "correct horse battery staple"
NS = 1_000_000_000
START = 1_780_000_000 * NS


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ns = START

    def __call__(self) -> int:
        return self.now_ns

    def move(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS)


@dataclass
class Venues:
    """Stands for the venues' answers about keys: says what each key may do."""

    permissions: dict[str, Any] = field(default_factory=dict)

    async def __call__(self, venue: str, credentials: Credentials) -> dict[str, Any]:
        found = self.permissions.get(credentials.key, {"can_trade": True, "can_withdraw": False})
        if isinstance(found, Exception):
            raise found
        return dict(found)


@dataclass
class Desk:
    """A control plane with its parts at hand."""

    control: ControlPlane
    clock: Clock
    venues: Venues
    sealer: Sealer
    database: Database


async def make_desk(
    database: Database, keys: KeyEncryption, *, two_people: bool = False, allowlists: Allowlists | None = None
) -> Desk:
    clock, venues, sealer = Clock(), Venues(), Sealer(keys)
    control = await build_control(
        database,
        sealer,
        Site("localhost", (ORIGIN,)),
        allowlists or Allowlists(),
        SessionRules(),
        venues,
        ("kraken", "binance"),
        catalogue(),
        clock,
        two_people=two_people,
    )
    return Desk(control, clock, venues, sealer, database)


def nobody(address: str = "192.0.2.1") -> Caller:
    return Caller(kind=CallerKind.PERSON, id="", name="nobody", address=address, agent="test")


@dataclass
class Member:
    """Somebody who is set up."""

    email: str
    passkey: SoftPasskey
    session: SignedIn
    seed: str = ""

    @property
    def caller(self) -> Caller:
        return self.session.caller


async def enrol(desk: Desk, email: str, roles: dict[str, Role] | None = None, *, by: Member | None = None) -> Member:
    """Set a person up with a passkey; the first one is invited by the platform."""
    identity = desk.control.identity
    if by is None:
        token = await desk.control.people.first_invitation()
    else:
        given = roles or {"*": Role.ADMIN}
        token = await desk.control.people.invite(by.caller, email, "Somebody", given, "needed")
        token = token or await desk.control.vouching.vouch(email)
    asked = await identity.enrol(token, email, "Somebody", PASSWORD)
    passkey = SoftPasskey(ORIGIN)
    session = await identity.finish_enrolment(
        asked.challenge, Answer(credential=passkey.register(asked.passkey)), nobody()
    )
    return Member(email, passkey, session)


async def enrol_with_app(desk: Desk, email: str) -> Member:
    """Set the first person up with an authenticator app."""
    identity = desk.control.identity
    asked = await identity.enrol(await desk.control.people.first_invitation(), email, "Somebody", PASSWORD)
    seed = pyotp.parse_uri(asked.totp_uri).secret
    session = await identity.finish_enrolment(asked.challenge, Answer(code=code_of(desk, seed)), nobody())
    return Member(email, SoftPasskey(ORIGIN), session, seed)


def code_of(desk: Desk, seed: str, offset_s: float = 0) -> str:
    return pyotp.TOTP(seed).at(int(desk.clock() / NS + offset_s))


async def prove(desk: Desk, member: Member, action: str, payload: str) -> str:
    """Give a fresh proof for a request and return its token."""
    identity = desk.control.identity
    asked = await identity.ask_proof(member.caller)
    method = await identity.prove(
        member.caller, asked.challenge, Answer(credential=member.passkey.answer(asked.passkey))
    )
    return await desk.control.proofs.issue(member.caller, action, payload, method, desk.clock())
