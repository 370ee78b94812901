"""What operators decide: the kill switch, and letting trading go on."""

from fastapi import APIRouter, Request

from aether.api.models import KillRequest, KillResult, KillState, ResumeRequest
from aether.api.ports import Context
from aether.domain.events import KillSwitchEngaged, KillSwitchReleased, OperatorEvent, TradingResumed
from aether.domain.identifiers import AccountId
from aether.store import queries
from aether.store.requests import submit, wait_applied

router = APIRouter(tags=["operators"])

CONFIRM_WITHIN_S = 10.0
ACTOR = "local user"


async def _states(context: Context) -> list[KillState]:
    known = await queries.kill_states(context.database)
    stored = await queries.list_accounts(context.database, context.feed)
    found = [(s.config.id, *known.get(s.config.id, (False, ""))) for s in stored]
    return [KillState(account=a, engaged=engaged, reason=reason if engaged else "") for a, engaged, reason in found]


@router.get("/kill-switch")
async def get_kill_switch(request: Request) -> list[KillState]:
    """Return the kill switch of each account."""
    return await _states(request.app.state.context)


@router.post("/kill-switch/engage")
async def engage_kill_switch(body: KillRequest, request: Request) -> KillResult:
    """Refuse new orders and cancel all open ones; with `flatten`, sell every position too."""
    event = KillSwitchEngaged(ts_ns=0, reason=body.reason, actor=ACTOR, flatten=body.flatten)
    return await _apply(request.app.state.context, body.account, event)


@router.post("/kill-switch/release")
async def release_kill_switch(body: KillRequest, request: Request) -> KillResult:
    """Allow new orders again."""
    event = KillSwitchReleased(ts_ns=0, reason=body.reason, actor=ACTOR)
    return await _apply(request.app.state.context, body.account, event)


@router.post("/accounts/{account}/resume")
async def resume_trading(account: str, body: ResumeRequest, request: Request) -> KillResult:
    """Let trading go on after a halt, a loss stop or a throttled strategy; a kill switch needs its own release."""
    event = TradingResumed(ts_ns=0, reason=body.reason, actor=ACTOR)
    return await _apply(request.app.state.context, account, event)


async def _apply(context: Context, account: str | None, event: OperatorEvent) -> KillResult:
    if account is None:
        targets = [s.config.id for s in await queries.list_accounts(context.database, context.feed)]
    else:
        targets = [AccountId((await queries.get_account(context.database, account)).config.id)]
    ids = await submit(context.database, targets, event)
    applied = await wait_applied(context.database, ids, CONFIRM_WITHIN_S)
    return KillResult(applied=applied, accounts=await _states(context))
