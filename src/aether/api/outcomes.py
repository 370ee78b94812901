"""What came of a write whose answer was lost."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter

from aether.api.guard import Granted, allow
from aether.api.idempotency import AT_WORK_NS, standing
from aether.api.models import OutcomeKey, RequestOutcome
from aether.clock import wall_ns
from aether.store.control_schema import idempotency

router = APIRouter(tags=["outcomes"])


@router.get("/outcomes/{key}")
async def get_outcome(key: OutcomeKey, granted: Annotated[Granted, allow("own.read")]) -> RequestOutcome:
    """Return what came of the caller's write with an Idempotency-Key.

    `unknown`: it never came here, or was refused: nothing was done. `working`: ask again. `done`: with its answer,
    unless that may be secret or the caller's roles are others by now. `interrupted`: something was done, and the
    platform ended before it was answered.
    """
    mine = sa.and_(idempotency.c.actor == granted.caller.id, idempotency.c.key == key)
    rows = await granted.context.database.control.all(sa.select(idempotency).where(mine))
    if not rows:
        return RequestOutcome(state="unknown")
    row = rows[0]
    if row.status:
        is_theirs = row.request.startswith(f"{standing(granted.caller)} ")
        return RequestOutcome(state="done", status=row.status, answer=bytes(row.body).decode() if is_theirs else "")
    if row.created_ns > wall_ns() - AT_WORK_NS:
        return RequestOutcome(state="working")
    return RequestOutcome(state="interrupted" if row.has_acted else "unknown")
