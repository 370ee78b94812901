"""The control plane put together: its services, and what each sensitive action carries out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aether.control.access import Allowlists, Caller, Role
from aether.control.approvals import Approvals, Execute, Task
from aether.control.audit import AuditTrail, signing_key
from aether.control.challenges import Challenges
from aether.control.configuration import Configurations
from aether.control.desk import Desk
from aether.control.devices import Devices
from aether.control.encryption_key import EncryptionKey
from aether.control.factors import Site
from aether.control.identity import Identity, Parts
from aether.control.operators import Booking, Operators
from aether.control.own import Own
from aether.control.passwords import Passwords
from aether.control.people import People
from aether.control.proofs import Proofs
from aether.control.proving import Proving
from aether.control.roster import Roster
from aether.control.sealing import Sealer
from aether.control.secrets import KeyCheck, Secrets
from aether.control.sessions import SessionRules, Sessions
from aether.control.throttle import Throttle
from aether.control.tokens import TokenPlan, Tokens
from aether.control.vouching import Vouching
from aether.domain.accounts import AccountPlan
from aether.domain.events import BalanceBooked, CapitalMoved, KillSwitchReleased, OperatorEvent, VenueReleased
from aether.domain.identifiers import VenueId
from aether.engine.strategy import Catalogue
from aether.store.database import Database
from aether.venues.protocol import Credentials


@dataclass(frozen=True)
class ControlPlane:
    """The services that answer for people, keys and decisions."""

    people: People
    vouching: Vouching
    sessions: Sessions
    identity: Identity
    own: Own
    devices: Devices
    throttle: Throttle
    tokens: Tokens
    proofs: Proofs
    audit: AuditTrail
    secrets: Secrets
    encryption_key: EncryptionKey
    approvals: Approvals
    configurations: Configurations
    desk: Desk
    operators: Operators
    roster: Roster


async def build_control(
    database: Database,
    sealer: Sealer,
    site: Site,
    allowlists: Allowlists,
    rules: SessionRules,
    check_key: KeyCheck,
    venues: tuple[str, ...],
    catalogue: Catalogue,
    clock: Callable[[], int],
    *,
    two_people: bool,
    archive: Path | None = None,
) -> ControlPlane:
    """Return the control plane on a database.

    Args:
        archive: the folder of the archived days of the market logs.

    Raises:
        KeyServiceError: when the signing key cannot be opened.
    """
    scope = database.control
    sessions = Sessions(scope, rules, allowlists, clock)
    people = People(scope, sessions, allowlists, clock, two_people=two_people)
    challenges, throttle, passwords = Challenges(scope, clock), Throttle(scope), Passwords()
    proving = Proving(scope, sealer, site, people, challenges, throttle, clock)
    signing = await signing_key(scope, sealer)
    devices = Devices(signing, clock)
    parts = Parts(scope, sealer, site, people, sessions, proving, challenges, throttle, passwords, devices, clock)
    secrets = Secrets(scope, sealer, check_key, venues, clock)
    configurations = Configurations(scope, catalogue, clock)
    desk = Desk(scope, clock)
    operators = Operators(database, clock)
    tokens = Tokens(scope, allowlists, clock)
    executors = _executors(people, tokens, secrets, configurations, desk, operators)
    approvals = Approvals(scope, sealer, allowlists, executors, two_people=two_people, clock=clock)
    return ControlPlane(
        people=people,
        vouching=Vouching(scope, people, clock),
        sessions=sessions,
        identity=Identity(parts),
        own=Own(parts),
        devices=devices,
        throttle=throttle,
        tokens=tokens,
        proofs=Proofs(scope),
        audit=AuditTrail(scope, signing, archive),
        secrets=secrets,
        encryption_key=EncryptionKey(scope, sealer, clock),
        approvals=approvals,
        configurations=configurations,
        desk=desk,
        operators=operators,
        roster=Roster(scope, rules, allowlists, clock),
    )


def _executors(
    people: People, tokens: Tokens, secrets: Secrets, configurations: Configurations, desk: Desk, operators: Operators
) -> dict[str, Execute]:
    """Return what each action that may need a second person carries out, from its payload alone."""

    async def store_key(caller: Caller, task: Task) -> Any:
        credentials = msgspec.msgpack.decode(task.secret, type=Credentials)
        p = task.payload
        return await secrets.store(
            caller, task.account, p["venue"], credentials, replaces=p["replaces"], reason=task.reason
        )

    async def delete_key(caller: Caller, task: Task) -> None:
        p = task.payload
        await secrets.delete(caller, task.account, p["venue"], p["version"], task.reason)

    async def configure(caller: Caller, task: Task) -> Any:
        p = task.payload
        at_ns = configurations.to_come(p["effective_ns"])
        document, _ = await configurations.propose(task.account, p["changes"], p["base"], at_ns)
        return await configurations.save(caller, task.account, document, p["base"], task.reason, at_ns)

    async def set_roles(caller: Caller, task: Task) -> None:
        given = {account: Role(role) for account, role in task.payload["roles"].items()}
        await people.set_roles(caller, task.payload["user"], given, task.reason)

    async def let_in(caller: Caller, task: Task) -> None:
        await people.set_disabled(caller, task.payload["user"], disabled=False, reason=task.reason)

    async def arm(caller: Caller, task: Task) -> str:
        return await tokens.create(caller, msgspec.convert(task.payload["token"], TokenPlan))

    async def release(caller: Caller, task: Task) -> bool:
        known_ns = task.payload["engaged_ns"]
        event: OperatorEvent = KillSwitchReleased(ts_ns=0, reason=task.reason, actor=caller.name, engaged_ns=known_ns)
        if venue := task.payload.get("venue"):
            event = VenueReleased(
                ts_ns=0, venue=VenueId(venue), reason=task.reason, actor=caller.name, stopped_ns=known_ns
            )
        feed = task.payload["feed"] or None
        ids = await operators.submit(caller, task.action, task.account, event, task.reason, feed)
        return await operators.answered(ids)

    def booked_as(kind: type[Booking]) -> Execute:
        async def book(caller: Caller, task: Task) -> bool:
            fields = {**task.payload, "ts_ns": 0, "reason": task.reason, "actor": caller.name}
            event: Booking = msgspec.convert(fields, kind, strict=False)
            return await operators.book(caller, task.action, task.account, event, task.reason)

        return book

    async def open_live(caller: Caller, task: Task) -> None:
        plan = msgspec.convert(task.payload["plan"], AccountPlan)
        approval = task.payload.get("approval", f"{caller.name}, without a second person")
        config = msgspec.structs.replace(plan.config, live_approval=approval)
        await desk.open(caller, msgspec.structs.replace(plan, config=config), task.action, task.reason)

    return {
        "secrets.upload": store_key,
        "secrets.rotate": store_key,
        "secrets.delete": delete_key,
        "accounts.loosen": configure,
        "accounts.live": open_live,
        "users.roles": set_roles,
        "users.enable": let_in,
        "tokens.arm": arm,
        "kill.release": release,
        "books.book": booked_as(BalanceBooked),
        "capital.move": booked_as(CapitalMoved),
    }
