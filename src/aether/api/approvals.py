"""What waits for a second person."""

from typing import Annotated

from fastapi import APIRouter, Query

from aether.api.guard import Granted, allow
from aether.api.models import Approval, DecideRequest, Limit, OfAccount, ReasonRequest
from aether.api.shown import approval_of

router = APIRouter(tags=["approvals"])


@router.get("/approvals")
async def list_approvals(
    granted: Annotated[Granted, allow("approvals.read", anywhere=True)],
    only_waiting: bool = False,
    limit: Limit = 50,
    before_ns: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    account: OfAccount = "",
) -> list[Approval]:
    """Return requests, newest first."""
    approvals = granted.context.control.approvals
    found = await approvals.page(granted.asked_about(), only_waiting=only_waiting, limit=limit, before_ns=before_ns)
    return [approval_of(a) for a in found]


@router.post("/approvals/{approval}/decide")
async def decide_approval(
    approval: str, body: DecideRequest, granted: Annotated[Granted, allow("approvals.decide", anywhere=True)]
) -> Approval:
    """Approve and carry out, or decline, what another person asked for."""
    approvals = granted.context.control.approvals
    return approval_of(await approvals.decide(granted.caller, approval, approve=body.approve, reason=body.reason))


@router.post("/approvals/{approval}/withdraw")
async def withdraw_approval(
    approval: str, body: ReasonRequest, granted: Annotated[Granted, allow("approvals.withdraw", anywhere=True)]
) -> Approval:
    """Take back what one asked for."""
    return approval_of(await granted.context.control.approvals.withdraw(granted.caller, approval, body.reason))
