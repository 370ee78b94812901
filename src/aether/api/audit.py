"""The audit trail: reading, exporting, proving, checkpointing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from aether.api.guard import Granted, allow
from aether.api.models import AuditCheckpoint, AuditEntry, AuditProof, Limit, OfAccount
from aether.api.problems import problem_of
from aether.clock import wall_ns
from aether.control.audit import AuditRow
from aether.domain.errors import TooManyAttemptsError

router = APIRouter(tags=["audit"])

WHOLE_READS = 2
WHOLE_READ_S = 5.0

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


_whole_reads = asyncio.Semaphore(WHOLE_READS)


@asynccontextmanager
async def _turn() -> AsyncIterator[None]:
    """Read the whole trail: few may at a time, since each keeps processor and database busy for as long as it is.

    Raises:
        TooManyAttemptsError: when nobody else may.
    """
    if _whole_reads.locked():
        raise TooManyAttemptsError(
            f"The trail is read by {WHOLE_READS} others already.", remedy="Try again.", retry_after_s=WHOLE_READ_S
        )
    async with _whole_reads:
        yield


class _Export(StreamingResponse):
    """An export: it has its turn until the last line was sent, or nobody reads on."""

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            async with _turn():
                await super().__call__(scope, receive, send)
        except TooManyAttemptsError as error:
            await problem_of(error)(scope, receive, send)


@router.get("/audit/export", response_class=StreamingResponse)
async def export(granted: All) -> StreamingResponse:
    """Return the whole trail as JSON, one entry a line, each proven; the last line tells whether it is complete."""

    async def lines() -> AsyncIterator[bytes]:
        count = 0
        async for row in granted.context.control.audit.rows():
            count = row.seq
            yield msgspec.json.encode({**entry_shown(row).model_dump()}) + b"\n"
        yield msgspec.json.encode({"complete": True, "entries": count}) + b"\n"

    return _Export(lines(), media_type="application/x-ndjson")


@router.post("/audit/verify")
async def verify(granted: All) -> AuditProof:
    """Prove the whole trail against its hashes and the signed checkpoints."""
    audit = granted.context.control.audit
    async with _turn():
        return AuditProof(entries=await audit.verify(), checkpoints=len(await audit.stored()))


@router.post("/audit/checkpoints", status_code=201)
async def checkpoint(granted: All) -> AuditCheckpoint:
    """Sign the present end of every chain; keep what comes back somewhere else."""
    made = await granted.context.control.audit.checkpoint(wall_ns())
    return AuditCheckpoint(document=made.document, signature=made.signature, public_key=made.public_key)
