"""What operators decide: the kill switch, letting trading go on, entries that wait, breaks, safe mode."""

from typing import Annotated

from fastapi import APIRouter

from aether.api.guard import Granted, allow
from aether.api.models import (
    AssignRequest,
    DecideRequest,
    KillResult,
    KillState,
    ReasonRequest,
    VenueName,
)
from aether.api.shown import approval_of
from aether.control.access import EVERYWHERE
from aether.control.approvals import Task
from aether.domain.errors import ConflictError, UnknownNameError
from aether.domain.events import (
    BreakAssigned,
    IntentDecided,
    OperatorEvent,
    SafeModeEngaged,
    SafeModeReleased,
    TradingResumed,
)
from aether.store import queries

router = APIRouter(tags=["operators"])

Release = Annotated[Granted, allow("kill.release")]


async def states_of(granted: Granted) -> list[KillState]:
    """Return the kill switches of the accounts that the caller may do the action in."""
    known = await queries.kill_states(granted.scope)
    stored = await queries.list_accounts(granted.scope, granted.context.feed)
    seen = [s.config.id for s in stored if granted.caller.may(granted.action, s.config.id)]
    found = [(account, known.get(account, queries.NO_KILL)) for account in seen]
    return [KillState(account=a, engaged=k.engaged, reason=k.reason if k.engaged else "") for a, k in found]


async def confirmed(granted: Granted, ids: list[int]) -> KillResult:
    """Wait until requests are applied, not for ever; return what has come of them. Raises ConflictError."""
    applied = await granted.context.control.operators.answered(ids)
    return KillResult(applied=applied, accounts=await states_of(granted))


async def ask(granted: Granted, event: OperatorEvent, reason: str) -> list[int]:
    """Ask the account, or all of the market, for an event; return the numbers of the requests."""
    operators, context = granted.context.control.operators, granted.context
    return await operators.submit(granted.caller, granted.action.name, granted.account, event, reason, context.feed)


async def apply(granted: Granted, event: OperatorEvent, reason: str) -> KillResult:
    """Ask as `ask` does, and wait until it is applied."""
    return await confirmed(granted, await ask(granted, event, reason))


# The kill switch.


@router.get("/kill-switch")
async def get_kill_switch(granted: Annotated[Granted, allow("accounts.read")]) -> list[KillState]:
    """Return the kill switch of each account."""
    return await states_of(granted)


async def _release(granted: Granted, reason: str) -> KillResult:
    is_all = granted.account == EVERYWHERE
    words = await queries.kill_states(granted.scope)
    kills = [w for account, w in words.items() if w.engaged and (is_all or account == granted.account)]
    if not kills:
        return KillResult(applied=True, accounts=await states_of(granted))
    why = "; ".join(sorted({k.reason for k in kills}))
    task = Task(
        action="kill.release",
        account=granted.account,
        payload={
            "feed": granted.context.offer().feed if is_all else "",
            "engaged_ns": max(k.ts_ns for k in kills),
        },
        summary=f"Trading goes on in {'all accounts' if is_all else granted.account}, which stopped for: {why}",
        reason=reason,
    )
    return await carried_out(granted, task)


async def carried_out(granted: Granted, task: Task) -> KillResult:
    """Carry a task out, or let it wait for a second person; return what has come of it."""
    outcome = await granted.context.control.approvals.submit(granted.caller, task)
    if outcome.approval is not None:
        return KillResult(applied=False, accounts=await states_of(granted), approval=approval_of(outcome.approval))
    return KillResult(applied=outcome.result, accounts=await states_of(granted))


@router.post("/kill-switch/release")
async def release_all(body: ReasonRequest, granted: Release) -> KillResult:
    """Allow new orders of all accounts again; in production a second person approves it."""
    return await _release(granted, body.reason)


@router.post("/accounts/{account}/kill-switch/release")
async def release(account: str, body: ReasonRequest, granted: Release) -> KillResult:
    """Allow new orders of an account again; in production a second person approves it."""
    return await _release(granted, body.reason)


@router.post("/accounts/{account}/venues/{venue}/release")
async def release_venue(account: str, venue: VenueName, body: ReasonRequest, granted: Release) -> KillResult:
    """Allow new orders of an account at a venue again; in production a second person approves it."""
    told = granted.context.bus.latest("account.").get(f"account.{account}", {}).get("venues", [])
    stops = [stop for v in told if v["venue"] == venue for stop in v["stop"]]
    if not stops:
        raise ConflictError(f"{venue} is not stopped for {account}.", remedy="Look at its state.")
    task = Task(
        action="kill.release",
        account=account,
        payload={"feed": "", "venue": venue, "engaged_ns": stops[0]["asked_ns"]},
        summary=f"Orders of {account} go to {venue} again, which was stopped for: {stops[0]['reason']}",
        reason=body.reason,
    )
    return await carried_out(granted, task)


@router.post("/accounts/{account}/resume")
async def resume_trading(
    account: str, body: ReasonRequest, granted: Annotated[Granted, allow("trading.resume")]
) -> KillResult:
    """Let trading go on after a halt, a loss stop, a throttled strategy or a breaker; a kill has its own release."""
    event = TradingResumed(ts_ns=0, reason=body.reason, actor=granted.caller.name)
    return await apply(granted, event, body.reason)


# Entries that wait for a person (R12), and capital (A7).


@router.post("/accounts/{account}/intents/{number}/decide")
async def decide_intent(
    account: str, number: int, body: DecideRequest, granted: Annotated[Granted, allow("intents.decide")]
) -> KillResult:
    """Approve or decline an entry that waits for review; an approved one goes before the risk gate."""
    waiting = granted.context.bus.latest("account.").get(f"account.{account}", {}).get("held", [])
    if number not in {h["number"] for h in waiting}:
        raise ConflictError(f"Entry {number} of {account} does not wait.", remedy="Look at what waits.")
    event = IntentDecided(ts_ns=0, number=number, approved=body.approve, reason=body.reason, actor=granted.caller.name)
    return await apply(granted, event, body.reason)


@router.post("/accounts/{account}/breaks/assign")
async def assign_break(
    account: str, body: AssignRequest, granted: Annotated[Granted, allow("breaks.assign")]
) -> KillResult:
    """Say who takes a break on; it stays until the venue agrees, or a booking or a resume clears it."""
    open_breaks = granted.context.bus.latest("account.").get(f"account.{account}", {}).get("breaks", [])
    if body.name not in {b["name"] for b in open_breaks}:
        names = ", ".join(b["name"] for b in open_breaks) or "none"
        raise UnknownNameError(f"{account} has no open break {body.name!r}.", remedy=f"Open are: {names}.")
    event = BreakAssigned(ts_ns=0, name=body.name, owner=body.owner, actor=granted.caller.name)
    return await apply(granted, event, body.reason)


@router.post("/accounts/{account}/safe-mode/engage")
async def engage_safe_mode(
    account: str, body: ReasonRequest, granted: Annotated[Granted, allow("safe_mode.engage")]
) -> KillResult:
    """Let an account do exits only."""
    event = SafeModeEngaged(ts_ns=0, reason=body.reason, actor=granted.caller.name)
    return await apply(granted, event, body.reason)


@router.post("/accounts/{account}/safe-mode/release")
async def release_safe_mode(
    account: str, body: ReasonRequest, granted: Annotated[Granted, allow("safe_mode.release")]
) -> KillResult:
    """Let an account enter again as far as nothing else stops it."""
    event = SafeModeReleased(ts_ns=0, reason=body.reason, actor=granted.caller.name)
    return await apply(granted, event, body.reason)
