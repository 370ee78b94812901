"""Keys at the venues. Every route needs a session and a fresh proof of a second factor (A3)."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query

from aether.api.audit import entry_shown
from aether.api.guard import Granted, allow
from aether.api.models import (
    AccountId,
    AuditEntry,
    Done,
    KekRotate,
    KekRotated,
    Limit,
    SecretDelete,
    SecretRotate,
    SecretStatus,
    SecretTest,
    SecretUpload,
)
from aether.api.shown import done_of
from aether.clock import wall_ns
from aether.control import secrets
from aether.control.approvals import Outcome, Task
from aether.venues.protocol import Credentials

router = APIRouter(tags=["secrets"])

Account = Annotated[AccountId, Query(description="whose key it is")]


def _shown(found: secrets.SecretStatus) -> SecretStatus:
    due = found.state == "active" and found.rotate_by_ns <= wall_ns()
    return SecretStatus(**msgspec.structs.asdict(found), due=due)


@router.get("/secrets/status")
async def key_status(
    account: Account, granted: Annotated[Granted, allow("secrets.status")], history: bool = False
) -> list[SecretStatus]:
    """Return the account's keys as far as they may be told: fingerprint, age, what they may do, who uses them."""
    keys = granted.context.control.secrets
    found = await keys.history(account) if history else await keys.status(account)
    return [_shown(s) for s in found]


@router.get("/secrets/audit")
async def key_audit(
    account: Account, granted: Annotated[Granted, allow("secrets.audit")], limit: Limit = 100
) -> list[AuditEntry]:
    """Return what was done with the account's keys, newest first."""
    rows = await granted.context.control.audit.page([account], limit=limit, action="secrets.")
    return [entry_shown(r) for r in rows]


async def _submit(granted: Granted, action: str, venue: str, body: SecretUpload, replaces: int) -> Outcome:
    """Store a key, which tries it at its venue; one that a second person has to approve is tried before it waits."""
    credentials = Credentials(key=body.key.strip(), secret=body.secret.strip())
    control = granted.context.control
    if control.approvals.needs_second(action):
        await control.secrets.try_key(venue, credentials)
    verb = "replaces version " + str(replaces) if replaces else "is the first one"
    task = Task(
        action=action,
        account=granted.account,
        payload={"venue": venue, "replaces": replaces, "fingerprint": secrets.fingerprint(credentials)},
        summary=f"Key {secrets.fingerprint(credentials)} of {granted.account} at {venue} {verb}",
        reason=body.reason,
        secret=msgspec.msgpack.encode(credentials),
    )
    return await control.approvals.submit(granted.caller, task)


@router.put("/secrets/{venue}")
async def upload_key(
    venue: str, body: SecretUpload, account: Account, granted: Annotated[Granted, allow("secrets.upload")]
) -> Done:
    """Try a key at its venue and store it; one that may withdraw, or may not trade, is refused."""
    return done_of(await _submit(granted, "secrets.upload", venue, body, 0))


@router.post("/secrets/{venue}/rotate")
async def rotate_key(
    venue: str, body: SecretRotate, account: Account, granted: Annotated[Granted, allow("secrets.rotate")]
) -> Done:
    """Put another key in the place of the active one; running nodes take it up within seconds."""
    return done_of(await _submit(granted, "secrets.rotate", venue, body, body.version))


@router.post("/secrets/{venue}/test")
async def test_key(venue: str, account: Account, granted: Annotated[Granted, allow("secrets.test")]) -> SecretTest:
    """Try the stored key at its venue."""
    control = granted.context.control
    control.secrets.check_venue(venue)
    return SecretTest(permissions=await control.secrets.test(granted.caller, account, venue))


@router.delete("/secrets/{venue}")
async def delete_key(
    venue: str, body: SecretDelete, account: Account, granted: Annotated[Granted, allow("secrets.delete")]
) -> Done:
    """Destroy the stored key; delete it at the venue too."""
    control = granted.context.control
    control.secrets.check_venue(venue)
    version = await control.secrets.active(account, venue)
    task = Task(
        action="secrets.delete",
        account=account,
        payload={"venue": venue, "version": version},
        summary=f"The key of {account} at {venue}, version {version}, is deleted",
        reason=body.reason,
    )
    return done_of(await control.approvals.submit(granted.caller, task))


@router.post("/key-encryption-key/rotate")
async def rotate_kek(body: KekRotate, granted: Annotated[Granted, allow("keys.rotate")]) -> KekRotated:
    """Make a new key-encryption key and wrap every data key by it; nothing stops meanwhile.

    What cannot be wrapped is told and stays as it was; with `resume`, no new key is made.
    """
    key = granted.context.control.encryption_key
    told = await (key.resume(granted.caller) if body.resume else key.rotate(granted.caller))
    return KekRotated(key=told.key, wrapped=told.wrapped, failed=told.failed)
