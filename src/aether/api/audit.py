"""The audit trail: reading, exporting, proving, checkpointing."""

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from aether.api.guard import Granted, allow
from aether.api.models import AuditCheckpoint, AuditEntry, AuditProof, Limit, OfAccount
from aether.api.turns import Turns, in_turn
from aether.clock import wall_ns
from aether.control.audit import AuditRow

router = APIRouter(tags=["audit"])

Watch = Annotated[Granted, allow("audit.read", anywhere=True)]
All = Annotated[Granted, allow("audit.read")]


def entry_shown(row: AuditRow) -> AuditEntry:
    """Return an entry as it goes over the wire."""
    e = row.entry
    return AuditEntry(
        seq=row.seq,
        ts_ns=row.ts_ns,
        actor=e.actor,
        actor_kind=e.actor_kind,
        account=e.account,
        action=e.action,
        outcome=e.outcome,
        target=e.target,
        before=e.before,
        after=e.after,
        reason=e.reason,
        address=e.address,
        agent=e.agent,
        request_id=e.request_id,
        hash=row.hash.hex(),
    )


@router.get("/audit")
async def list_audit(
    granted: Watch,
    limit: Limit = 100,
    before: Annotated[int | None, Query(ge=0, description="return entries before this sequence")] = None,
    action: Annotated[str, Query(max_length=60, description="only actions that begin so")] = "",
    actor: Annotated[str, Query(max_length=254)] = "",
    account: OfAccount = "",
) -> list[AuditEntry]:
    """Return entries about the accounts that the caller may watch, newest first."""
    audit = granted.context.control.audit
    rows = await audit.page(granted.asked_about(), limit=limit, before=before, action=action, actor=actor)
    return [entry_shown(row) for row in rows]


WHOLE_READS = Turns(2, "The trail is read by 2 others already.")


@router.get("/audit/export", response_class=StreamingResponse)
async def export_audit(granted: All) -> StreamingResponse:
    """Return the whole trail as JSON, one entry a line, each proven; the last line tells whether it is complete."""

    async def lines() -> AsyncIterator[bytes]:
        count = 0
        async for row in granted.context.control.audit.rows():
            count = row.seq
            yield msgspec.json.encode({**entry_shown(row).model_dump()}) + b"\n"
        yield msgspec.json.encode({"complete": True, "entries": count}) + b"\n"

    return in_turn(WHOLE_READS, lines(), "application/x-ndjson")


@router.post("/audit/verify")
async def verify_audit(granted: All) -> AuditProof:
    """Prove the whole trail against its hashes and the signed checkpoints."""
    audit = granted.context.control.audit
    async with WHOLE_READS.one():
        return AuditProof(entries=await audit.verify(), checkpoints=len(await audit.stored()))


@router.post("/audit/checkpoints", status_code=201)
async def sign_checkpoint(granted: All) -> AuditCheckpoint:
    """Sign the present end of every chain; keep what comes back somewhere else."""
    made = await granted.context.control.audit.checkpoint(wall_ns())
    return AuditCheckpoint(document=made.document, signature=made.signature, public_key=made.public_key)
