"""Accounts and what they hold and did."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from aether.api.guard import Granted, account_scope, allow
from aether.api.models import (
    AccountStop,
    AccountSummary,
    Alert,
    Balance,
    BookBreak,
    Breach,
    EquityPoint,
    Fill,
    HeldIntent,
    Limit,
    Order,
    ParentOrder,
    Position,
    StrategyUse,
    Verdict,
)
from aether.control.desk import PlanReader
from aether.domain.accounts import AccountPlan
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.instruments import Instrument
from aether.domain.scaled import amount_of_size, average_price, format_amount, parse_amount, parse_scaled, value_of
from aether.store import queries
from aether.store.database import Row

router = APIRouter(tags=["accounts"])

Before = Annotated[int | None, Query(ge=0, description="return rows before this number")]


Reads = Annotated[Granted, allow("accounts.read")]


def _summary(stored: queries.StoredAccount, live: dict[str, Any], killed: queries.KillWord) -> AccountSummary:
    config = stored.config
    zero = format_amount(0)
    nav, capital = live.get("nav", zero), live.get("capital", zero)
    realized, fees = live.get("realized", zero), live.get("fees", zero)
    unrealized = parse_amount(nav) - parse_amount(capital) - parse_amount(realized) + parse_amount(fees)
    status = live.get("status", "starting")
    return AccountSummary(
        id=config.id,
        name=config.name,
        kind=config.kind,
        mode=config.mode,
        currency=config.currency,
        strategies=[
            StrategyUse(strategy=a.strategy, instruments=list(a.instruments), bar_s=a.bar_s, params=a.params)
            for a in config.strategies
        ],
        status="killed" if killed.engaged and status == "starting" else status,
        reason=live.get("reason", ""),
        stops=[AccountStop(**stop) for stop in live.get("stops", [])],
        breaks=[BookBreak(**found) for found in live.get("breaks", [])],
        switched_off=live.get("disabled", {}),
        nav=nav,
        cash=live.get("cash", zero),
        exposure=live.get("exposure", zero),
        realized=realized,
        unrealized=format_amount(unrealized),
        fees=fees,
        capital=capital,
        day_start_nav=live.get("day_start_nav", zero),
        open_orders=live.get("open_orders", 0),
        parents=[ParentOrder(**parent) for parent in live.get("parents", [])],
        held=[HeldIntent(**held) for held in live.get("held", [])],
        ts_ns=live.get("ts_ns", 0),
        seq=live.get("seq", 0),
    )


def _waiting(plan: AccountPlan, granted: Granted) -> AccountSummary:
    """Return an account that was opened and that the node has not taken up yet."""
    told = granted.context.bus.latest("waiting.").get(f"waiting.{plan.config.id}", {})
    live = {"status": "waiting", "reason": told.get("reason", "it is being opened")}
    return _summary(queries.StoredAccount(plan.config, {}), live, queries.NO_KILL)


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
    live = granted.context.bus.latest("account.")
    shown = []
    for stored, scope in found:
        account = stored.config.id
        if (account in closed) is archived:
            killed = await queries.kill_states(scope)
            shown.append(_summary(stored, live.get(f"account.{account}", {}), killed.get(account, queries.NO_KILL)))
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
    live = granted.context.bus.latest("account.").get(f"account.{account}", {})
    return _summary(stored, live, killed.get(account, queries.NO_KILL))


@router.get("/accounts/{account}/positions")
async def list_positions(account: str, granted: Reads) -> list[Position]:
    """Return the account's holdings."""
    stored = await queries.get_account(granted.scope, account)
    marks = granted.context.bus.latest("account.").get(f"account.{account}", {}).get("marks", {})
    rows = await queries.list_positions(granted.scope, AccountId(account))
    return [_position(row, stored.instruments[InstrumentId(row.instrument)], marks.get(row.instrument)) for row in rows]


def _position(row: Row, instrument: Instrument, mark: str | None) -> Position:
    average = average_price(row.cost, row.quantity, instrument.price_decimals)
    price = parse_scaled(mark, instrument.price_decimals) if mark else average
    value = value_of(row.quantity, price, instrument.price_decimals)
    return Position(
        instrument=instrument.id,
        symbol=instrument.symbol,
        quantity=format_amount(row.quantity),
        average_price=instrument.price_text(average),
        mark=instrument.price_text(price),
        value=format_amount(value),
        cost=format_amount(row.cost),
        unrealized=format_amount(value - row.cost),
        realized=format_amount(row.realized),
        fees=format_amount(row.fees),
    )


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
    return [_order(row, stored.instruments[InstrumentId(row.instrument)]) for row in rows]


def _order(row: Row, instrument: Instrument) -> Order:
    filled = amount_of_size(row.filled, instrument.size_decimals)
    average = average_price(row.filled_notional, filled, instrument.price_decimals) if filled else 0
    return Order(
        id=row.id,
        number=row.number,
        instrument=row.instrument,
        symbol=instrument.symbol,
        side=row.side,
        type=row.type,
        time_in_force=row.time_in_force,
        purpose=row.purpose,
        strategy=row.strategy,
        state=row.state,
        size=instrument.size_text(row.size),
        filled=instrument.size_text(row.filled),
        limit_price=instrument.price_text(row.limit_price) if row.limit_price else "",
        average_price=instrument.price_text(average) if average else "",
        fees=format_amount(row.fees),
        reason=row.reason,
        created_ns=row.created_ns,
        updated_ns=row.updated_ns,
    )


@router.get("/accounts/{account}/fills")
async def list_fills(account: str, granted: Reads, limit: Limit = 50, before: Before = None) -> list[Fill]:
    """Return executions, newest first; `before` is the `seq` of the last one already seen."""
    stored = await queries.get_account(granted.scope, account)
    rows = await queries.list_fills(granted.scope, AccountId(account), limit=limit, before=before)
    return [_fill(row, stored.instruments[InstrumentId(row.instrument)]) for row in rows]


def _fill(row: Row, instrument: Instrument) -> Fill:
    return Fill(
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
    return [
        EquityPoint(
            ts_ns=r.ts_ns, nav=format_amount(r.nav), cash=format_amount(r.cash), exposure=format_amount(r.exposure)
        )
        for r in rows
    ]


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
