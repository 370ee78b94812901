"""Accounts and what they hold and did."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from aether.api.models import (
    AccountSummary,
    Alert,
    Balance,
    Breach,
    EquityPoint,
    Fill,
    Order,
    ParentOrder,
    Position,
    StrategyUse,
    Verdict,
)
from aether.api.ports import Context
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.instruments import Instrument
from aether.domain.scaled import amount_of_size, average_price, format_amount, parse_amount, parse_scaled, value_of
from aether.store import queries

router = APIRouter(tags=["accounts"])

Limit = Annotated[int, Query(ge=1, le=500)]
Before = Annotated[int | None, Query(ge=0, description="return rows before this number")]


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def _summary(stored: queries.StoredAccount, live: dict[str, Any], killed: tuple[bool, str] | None) -> AccountSummary:
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
        status="killed" if killed and killed[0] and status == "starting" else status,
        reason=live.get("reason", ""),
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
        ts_ns=live.get("ts_ns", 0),
        seq=live.get("seq", 0),
    )


@router.get("/accounts")
async def list_accounts(request: Request) -> list[AccountSummary]:
    """Return the accounts of the running market with their worth now."""
    context = _context(request)
    stored = await queries.list_accounts(context.database, context.feed)
    killed = await queries.kill_states(context.database)
    live = context.bus.latest("account.")
    return [_summary(s, live.get(f"account.{s.config.id}", {}), killed.get(s.config.id)) for s in stored]


@router.get("/accounts/{account}")
async def get_account(account: str, request: Request) -> AccountSummary:
    """Return one account."""
    context = _context(request)
    stored = await queries.get_account(context.database, account)
    killed = await queries.kill_states(context.database)
    return _summary(stored, context.bus.latest("account.").get(f"account.{account}", {}), killed.get(account))


@router.get("/accounts/{account}/positions")
async def list_positions(account: str, request: Request) -> list[Position]:
    """Return the account's holdings."""
    context = _context(request)
    stored = await queries.get_account(context.database, account)
    marks = context.bus.latest("account.").get(f"account.{account}", {}).get("marks", {})
    rows = await queries.list_positions(context.database, AccountId(account))
    return [_position(row, stored.instruments[InstrumentId(row.instrument)], marks.get(row.instrument)) for row in rows]


def _position(row: queries.Row, instrument: Instrument, mark: str | None) -> Position:
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
async def list_balances(account: str, request: Request) -> list[Balance]:
    """Return what each venue holds for the account."""
    context = _context(request)
    await queries.get_account(context.database, account)
    rows = await queries.list_balances(context.database, AccountId(account))
    return [Balance(key=r.key, free=format_amount(r.free), locked=format_amount(r.locked)) for r in rows]


@router.get("/accounts/{account}/orders")
async def list_orders(
    account: str, request: Request, only_open: bool = False, limit: Limit = 50, before: Before = None
) -> list[Order]:
    """Return orders, newest first."""
    context = _context(request)
    stored = await queries.get_account(context.database, account)
    rows = await queries.list_orders(
        context.database, AccountId(account), only_open=only_open, limit=limit, before=before
    )
    return [_order(row, stored.instruments[InstrumentId(row.instrument)]) for row in rows]


def _order(row: queries.Row, instrument: Instrument) -> Order:
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
async def list_fills(account: str, request: Request, limit: Limit = 50, before: Before = None) -> list[Fill]:
    """Return executions, newest first; `before` is the `seq` of the last one already seen."""
    context = _context(request)
    stored = await queries.get_account(context.database, account)
    rows = await queries.list_fills(context.database, AccountId(account), limit=limit, before=before)
    return [_fill(row, stored.instruments[InstrumentId(row.instrument)]) for row in rows]


def _fill(row: queries.Row, instrument: Instrument) -> Fill:
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
    request: Request,
    since_ns: Annotated[int, Query(ge=0, description="only samples after this time")] = 0,
    points: Annotated[int, Query(ge=2, le=5_000, description="about how many samples")] = 500,
) -> list[EquityPoint]:
    """Return the equity curve, evenly thinned."""
    context = _context(request)
    await queries.get_account(context.database, account)
    rows = await queries.list_equity(context.database, AccountId(account), since_ns=since_ns, points=points)
    return [
        EquityPoint(
            ts_ns=r.ts_ns, nav=format_amount(r.nav), cash=format_amount(r.cash), exposure=format_amount(r.exposure)
        )
        for r in rows
    ]


@router.get("/accounts/{account}/verdicts")
async def list_verdicts(account: str, request: Request, only_denied: bool = True, limit: Limit = 50) -> list[Verdict]:
    """Return what the risk gate said, newest first."""
    context = _context(request)
    await queries.get_account(context.database, account)
    rows = await queries.list_verdicts(context.database, AccountId(account), limit=limit, only_denied=only_denied)
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
async def list_alerts(account: str, request: Request, limit: Limit = 50) -> list[Alert]:
    """Return the account's alerts, newest first."""
    context = _context(request)
    await queries.get_account(context.database, account)
    rows = await queries.list_alerts(context.database, AccountId(account), limit=limit)
    return [Alert(ts_ns=r.ts_ns, severity=r.severity, code=r.code, message=r.message) for r in rows]
