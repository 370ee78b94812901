"""Shadow accounts: a candidate strategy beside an account, on the same market, with fills on paper."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import APIRouter

from aether.api.guard import Granted, account_scope, allow
from aether.api.models import Done, Performance, Shadow, ShadowCreate
from aether.api.settings import assignment_of
from aether.bus.local import LocalBus
from aether.control.desk import PlanReader, check_account_id
from aether.domain.accounts import AccountConfig, AccountPlan, Mode, Review
from aether.domain.errors import ConflictError
from aether.domain.identifiers import AccountId, AssetCode
from aether.domain.scaled import BPS, format_amount, parse_amount
from aether.store import queries
from aether.store.database import Scope

router = APIRouter(tags=["shadows"])

MOST_SHADOWS = 10
TOLD_WITHIN_S = 30.0
POINTS = 500
"""Samples of worth that a comparison looks at, evenly thinned."""


class Worth(NamedTuple):
    """What an account was worth at a time, and what was put into it; ledger amounts."""

    ts_ns: int
    nav: int
    capital: int


@router.post("/accounts/{account}/shadows", status_code=201)
async def start_shadow(account: str, body: ShadowCreate, granted: Annotated[Granted, allow("accounts.create")]) -> Done:
    """Run a candidate strategy beside an account: its pairs, limits and present worth, fills on paper."""
    context = granted.context
    scope = await account_scope(context, account)
    stored = await queries.get_account(scope or granted.scope, account)
    plans = PlanReader(context.database.control)
    if account in await plans.archived():
        raise ConflictError(f"{account} is archived.", remedy="Run it beside an account that trades.")
    beside = await plans.shadows_of(account, stored.config.feed)
    if len(beside) >= MOST_SHADOWS:
        raise ConflictError(
            f"{account} has {len(beside)} shadows, {MOST_SHADOWS} at most.", remedy="Archive one that has shown enough."
        )
    if stored.config.shadow_of:
        raise ConflictError(f"{account} is a shadow itself.", remedy=f"Name {stored.config.shadow_of}.")
    told = context.bus.latest("account.").get(f"account.{account}")
    if told is None or context.bus.age_s(f"account.{account}") > TOLD_WITHIN_S:
        raise ConflictError(f"{account} does not say what it is worth now.", remedy="Wait until it trades.")
    settings = (await context.control.configurations.history(account))[0].document
    wanted = tuple(i for s in stored.config.strategies for i in s.instruments) or stored.config.tradable
    config = AccountConfig(
        id=check_account_id(body.id),
        name=f"{stored.config.name}: {body.strategy}",
        kind=stored.config.kind,
        mode=Mode.PAPER,
        feed=stored.config.feed,
        currency=AssetCode(""),
        strategies=(assignment_of(context, body, wanted),),
        limits=settings.limits,
        sizing=settings.sizing,
        exits=settings.exits,
        review=Review(),
        shadow_of=AccountId(account),
    )
    plan = context.offer().plan(config, wanted, parse_amount(told["nav"]))
    await context.control.desk.open(granted.caller, plan, "accounts.shadow", body.reason)
    return Done(done=True)


@router.get("/accounts/{account}/shadows")
async def list_shadows(account: str, granted: Annotated[Granted, allow("accounts.read")]) -> list[Shadow]:
    """Compare an account with its shadows, each since the shadow began; whoever may see the account may see them."""
    context = granted.context
    stored = await queries.get_account(granted.scope, account)
    plans = await PlanReader(context.database.control).shadows_of(account, stored.config.feed)
    return [await _compared(granted, AccountId(account), plan) for plan in plans]


async def _compared(granted: Granted, account: AccountId, plan: AccountPlan) -> Shadow:
    context, shadow = granted.context, plan.config
    told = context.bus.latest("account.").get(f"account.{shadow.id}")
    params = told["strategies"][0]["params"] if told is not None else dict(shadow.strategies[0].params)
    since_ns, ours, theirs = 0, _UNTOLD, _UNTOLD
    curve: list[Worth] = []
    beside: list[Worth] = []
    scope = await account_scope(context, shadow.id)
    if scope is not None:
        since_ns = (await queries.get_account(scope, shadow.id)).opened_ns
        curve = await _curve(context.bus, scope, shadow.id, since_ns, plan.cash)
        beside = await _curve(context.bus, granted.scope, account, since_ns, plan.cash)
        ours = await _performance(scope, shadow.id, curve, since_ns)
        theirs = await _performance(granted.scope, account, beside, since_ns)
    return Shadow(
        id=shadow.id,
        name=shadow.name,
        strategy=shadow.strategies[0].strategy,
        params=params,
        bar_s=shadow.strategies[0].bar_s,
        since_ns=since_ns,
        shadow=ours,
        account=theirs,
        ahead_bps=round(ours.return_bps - theirs.return_bps, 2),
        apart_bps=round(_furthest_apart(curve, beside), 2),
    )


_UNTOLD = Performance(nav="0", return_bps=0, drawdown_bps=0, fills=0, traded="0", fees="0")


async def _curve(bus: LocalBus, scope: Scope, account: AccountId, since_ns: int, nav: int) -> list[Worth]:
    """Return what an account was worth since a time, at which it was worth `nav`, and what it says of now."""
    rows = await queries.list_equity(scope, account, since_ns=since_ns, points=POINTS)
    curve = [Worth(row.ts_ns, row.nav, row.capital) for row in rows]
    told = bus.latest("account.").get(f"account.{account}")
    if told is not None and told["ts_ns"] > (curve[-1].ts_ns if curve else since_ns):
        curve.append(Worth(told["ts_ns"], parse_amount(told["nav"]), parse_amount(told["capital"])))
    if not curve:
        return []
    known = curve[len(rows) - 1] if rows else curve[-1]
    before = known.capital - await queries.capital_moved(scope, account, since_ns, known.ts_ns)
    return [Worth(since_ns, nav, before), *curve]


async def _performance(scope: Scope, account: AccountId, curve: Sequence[Worth], since_ns: int) -> Performance:
    sums = await queries.sum_fills(scope, account, since_ns)
    returns = _returns_bps(curve)
    return Performance(
        nav=format_amount(curve[-1].nav if curve else 0),
        return_bps=round(returns[-1], 2) if returns else 0.0,
        drawdown_bps=round(_drawdown_bps(returns), 2),
        fills=sums.fills,
        traded=format_amount(sums.notional),
        fees=format_amount(sums.fees),
    )


def _returns_bps(curve: Sequence[Worth]) -> list[float]:
    """Return the profit at each sample since the first, of the worth then: money that came or went is none."""
    if not curve or curve[0].nav <= 0:
        return []
    first = curve[0]
    return [((p.nav - p.capital) - (first.nav - first.capital)) / first.nav * BPS for p in curve]


def _drawdown_bps(returns: Sequence[float]) -> float:
    """Return the deepest fall from a height before it, of that height."""
    deepest, highest = 0.0, 0.0
    for found in returns:
        highest = max(highest, found)
        deepest = max(deepest, (highest - found) / (BPS + highest) * BPS)
    return deepest


def _furthest_apart(curve: Sequence[Worth], beside: Sequence[Worth]) -> float:
    """Return how far the two returns were apart at most, at the samples of the first."""
    there = list(zip((p.ts_ns for p in beside), _returns_bps(beside), strict=False))
    apart, n = 0.0, 0
    for point, found in zip(curve, _returns_bps(curve), strict=False):
        while n + 1 < len(there) and there[n + 1][0] <= point.ts_ns:
            n += 1
        if there and there[n][0] <= point.ts_ns:
            apart = max(apart, abs(found - there[n][1]))
    return apart
