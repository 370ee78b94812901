"""Accounts and what they hold and did."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request

from aether.api.guard import Granted, account_scope, allow
from aether.api.models import (
    AccountSummary,
    Alert,
    Balance,
    Breach,
    EquityPoint,
    Fill,
    Limit,
    Order,
    Position,
    Verdict,
)
from aether.clock import wall_ns
from aether.control.desk import PlanReader
from aether.domain.accounts import AccountConfig, AccountPlan
from aether.domain.errors import InvalidValueError, NoAnswerError
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.instruments import Instrument
from aether.domain.scaled import format_amount, parse_scaled
from aether.node.summary import shown_order, shown_position, untold
from aether.store import queries
from aether.store.database import Row

router = APIRouter(tags=["accounts"])

GONE_S = 0.25
"""How often it is looked whether somebody still waits for what takes long."""
Before = Annotated[int | None, Query(ge=0, description="return rows before this number")]


Reads = Annotated[Granted, allow("accounts.read")]


def _summary(granted: Granted, config: AccountConfig, killed: queries.KillWord) -> AccountSummary:
    told = granted.context.bus.latest("account.").get(f"account.{config.id}")
    if told is None:
        told = untold(config, "killed" if killed.engaged else "starting", killed.reason if killed.engaged else "")
    return AccountSummary.model_validate(told)


def _waiting(plan: AccountPlan, granted: Granted) -> AccountSummary:
    """Return an account that was opened and that the node has not taken up yet."""
    told = granted.context.bus.latest("waiting.").get(f"waiting.{plan.config.id}", {})
    return AccountSummary.model_validate(untold(plan.config, "waiting", told.get("reason", "it is being opened")))


async def _planned(granted: Granted) -> list[AccountPlan]:
    """Return the plans of accounts that the caller may see."""
    feed = granted.context.feed
    plans = await PlanReader(granted.context.database.control).opened(feed) if feed else []
    return [p for p in plans if granted.caller.may(granted.action, p.config.id)]


@router.get("/accounts")
async def list_accounts(
    granted: Annotated[Granted, allow("accounts.read", anywhere=True)], archived: bool = False
) -> list[AccountSummary]:
    """Return the accounts of the running market that the caller may see, with their worth now.

    Each account of a caller who may not see all is read in that account's own database role.
    """
    context = granted.context
    closed = await PlanReader(context.database.control).archived()
    allowed = granted.accounts()
    if allowed is None:
        found = [(s, granted.scope) for s in await queries.list_accounts(granted.scope, context.feed)]
    else:
        found = [
            (stored, scope)
            for account in sorted(allowed)
            if (scope := await account_scope(context, account))
            for stored in await queries.list_accounts(scope, context.feed)
        ]
    shown = []
    for stored, scope in found:
        account = stored.config.id
        if (account in closed) is archived:
            killed = await queries.kill_states(scope)
            shown.append(_summary(granted, stored.config, killed.get(account, queries.NO_KILL)))
    known = {stored.config.id for stored, _ in found}
    waiting = [] if archived else [p for p in await _planned(granted) if p.config.id not in known]
    return shown + [_waiting(plan, granted) for plan in waiting]


@router.get("/accounts/{account}")
async def get_account(account: str, granted: Reads) -> AccountSummary:
    """Return one account; `waiting` while the node has not taken it up."""
    for plan in await _planned(granted):
        if plan.config.id == account and not await queries.list_accounts(granted.scope):
            return _waiting(plan, granted)
    stored = await queries.get_account(granted.scope, account)
    killed = await queries.kill_states(granted.scope)
    return _summary(granted, stored.config, killed.get(account, queries.NO_KILL))


@router.get("/accounts/{account}/past")
async def get_past(
    account: str,
    granted: Reads,
    request: Request,
    at_ns: Annotated[int, Query(ge=10**18, lt=10**19, description="a time, nanoseconds since 1970 UTC")],
) -> AccountSummary:
    """Return one account as it was at a time: its journal and its market are replayed until then."""
    await queries.get_account(granted.scope, account)
    if at_ns > wall_ns():
        raise InvalidValueError(f"{at_ns} is to come.", remedy="Name a time that is over.")
    looking = asyncio.ensure_future(granted.context.past(granted.caller.id, AccountId(account), at_ns))
    try:
        while not looking.done():
            await asyncio.wait([looking], timeout=GONE_S)
            if await request.is_disconnected():
                raise NoAnswerError("Nobody waits for it any more.", remedy="Ask again.")
    finally:
        if not looking.done():
            looking.cancel()
    return AccountSummary.model_validate(await looking)


@router.get("/accounts/{account}/positions")
async def list_positions(account: str, granted: Reads) -> list[Position]:
    """Return the account's holdings, as the journal's projections hold them, at the marks of now."""
    stored = await queries.get_account(granted.scope, account)
    told = granted.context.bus.latest("account.").get(f"account.{account}", {}).get("positions", [])
    marks = {p["instrument"]: (p["mark"], p["mark_ns"]) for p in told if p["mark_ns"]}
    shown = []
    for row in await queries.list_positions(granted.scope, AccountId(account)):
        instrument = stored.instruments[InstrumentId(row.instrument)]
        mark, mark_ns = marks.get(row.instrument, ("0", 0))
        price = parse_scaled(mark, instrument.price_decimals)
        shown.append(Position.model_validate(shown_position(instrument, row, price, mark_ns)))
    return shown


@router.get("/accounts/{account}/balances")
async def list_balances(account: str, granted: Reads) -> list[Balance]:
    """Return what each venue holds for the account."""
    await queries.get_account(granted.scope, account)
    rows = await queries.list_balances(granted.scope, AccountId(account))
    return [Balance(key=r.key, free=format_amount(r.free), locked=format_amount(r.locked)) for r in rows]


@router.get("/accounts/{account}/orders")
async def list_orders(
    account: str, granted: Reads, only_open: bool = False, limit: Limit = 50, before: Before = None
) -> list[Order]:
    """Return orders, newest first."""
    stored = await queries.get_account(granted.scope, account)
    rows = await queries.list_orders(granted.scope, AccountId(account), only_open=only_open, limit=limit, before=before)
    return [order_of(row, stored.instruments[InstrumentId(row.instrument)]) for row in rows]


def order_of(row: Row, instrument: Instrument) -> Order:
    """Return an order as stored."""
    return Order.model_validate(shown_order(row.account, row, row, row.number, instrument))


@router.get("/accounts/{account}/fills")
async def list_fills(account: str, granted: Reads, limit: Limit = 50, before: Before = None) -> list[Fill]:
    """Return executions, newest first; `before` is the `seq` of the last one already seen."""
    stored = await queries.get_account(granted.scope, account)
    rows = await queries.list_fills(granted.scope, AccountId(account), limit=limit, before=before)
    return [fill_of(row, stored.instruments[InstrumentId(row.instrument)]) for row in rows]


def fill_of(row: Row, instrument: Instrument) -> Fill:
    """Return an execution as stored."""
    return Fill(
        account=row.account,
        order_id=row.order_id,
        trade_id=row.trade_id,
        seq=row.seq,
        ts_ns=row.ts_ns,
        instrument=row.instrument,
        symbol=instrument.symbol,
        side=row.side,
        price=instrument.price_text(row.price),
        size=instrument.size_text(row.size),
        notional=format_amount(row.notional),
        fee=format_amount(row.fee),
        realized=format_amount(row.realized),
        liquidity=row.liquidity,
        purpose=row.purpose,
        strategy=row.strategy,
    )


@router.get("/accounts/{account}/equity")
async def list_equity(
    account: str,
    granted: Reads,
    since_ns: Annotated[int, Query(ge=0, description="only samples after this time")] = 0,
    points: Annotated[int, Query(ge=2, le=5_000, description="about how many samples")] = 500,
) -> list[EquityPoint]:
    """Return the equity curve, evenly thinned."""
    await queries.get_account(granted.scope, account)
    rows = await queries.list_equity(granted.scope, AccountId(account), since_ns=since_ns, points=points)
    return [point_of(row) for row in rows]


def point_of(row: Row) -> EquityPoint:
    """Return an account's worth as stored."""
    return EquityPoint(
        ts_ns=row.ts_ns,
        nav=format_amount(row.nav),
        cash=format_amount(row.cash),
        exposure=format_amount(row.exposure),
    )


@router.get("/accounts/{account}/verdicts")
async def list_verdicts(account: str, granted: Reads, only_denied: bool = True, limit: Limit = 50) -> list[Verdict]:
    """Return what the risk gate said, newest first."""
    await queries.get_account(granted.scope, account)
    rows = await queries.list_verdicts(granted.scope, AccountId(account), limit=limit, only_denied=only_denied)
    return [
        Verdict(
            order_id=r.order_id,
            ts_ns=r.ts_ns,
            instrument=r.instrument,
            approved=r.approved,
            breaches=[Breach(**b) for b in r.breaches],
        )
        for r in rows
    ]


@router.get("/accounts/{account}/alerts")
async def list_alerts(account: str, granted: Reads, limit: Limit = 50) -> list[Alert]:
    """Return the account's alerts, newest first."""
    await queries.get_account(granted.scope, account)
    rows = await queries.list_alerts(granted.scope, AccountId(account), limit=limit)
    return [Alert(ts_ns=r.ts_ns, severity=r.severity, code=r.code, message=r.message) for r in rows]
