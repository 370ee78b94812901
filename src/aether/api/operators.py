"""What operators decide: the kill switch, letting trading go on, trades by hand, capital, entries that wait."""

import secrets
from typing import Annotated

import msgspec
from fastapi import APIRouter

from aether.api.guard import Granted, allow
from aether.api.models import (
    MONEY_DIGITS,
    AssignRequest,
    BookingRequest,
    CapitalRequest,
    DecideRequest,
    ExitRequest,
    HedgeRequest,
    KillResult,
    KillState,
    ReasonRequest,
    TradeRequest,
    TradeStarted,
)
from aether.api.shown import approval_of
from aether.control.access import EVERYWHERE
from aether.control.approvals import Task
from aether.domain.errors import ConflictError, InvalidValueError, UnknownNameError
from aether.domain.events import (
    BreakAssigned,
    IntentDecided,
    OperatorEvent,
    ParentOrderCanceled,
    ParentOrderRequested,
    SafeModeEngaged,
    SafeModeReleased,
    TradingResumed,
)
from aether.domain.identifiers import AccountId, AssetCode, InstrumentId, VenueId, balance_key
from aether.domain.orders import Side
from aether.domain.parents import ParentId, ParentRequest, missing_fields
from aether.domain.scaled import format_amount, parse_amount
from aether.store import queries
from aether.telemetry import logger

TOO_MUCH_MONEY = parse_amount(str(10**MONEY_DIGITS))

router = APIRouter(tags=["operators"])

_log = logger("operators")

BPS = 10_000

Release = Annotated[Granted, allow("kill.release")]
Override = Annotated[Granted, allow("trading.override")]


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
    return await _carried_out(granted, task)


async def _carried_out(granted: Granted, task: Task) -> KillResult:
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


@router.post("/accounts/{account}/resume")
async def resume_trading(
    account: str, body: ReasonRequest, granted: Annotated[Granted, allow("trading.resume")]
) -> KillResult:
    """Let trading go on after a halt, a loss stop or a throttled strategy; a kill switch needs its own release."""
    event = TradingResumed(ts_ns=0, reason=body.reason, actor=granted.caller.name)
    return await apply(granted, event, body.reason)


# Overrides (A6).


def _parent(symbol: str, side: Side, amount: int, **more: object) -> ParentRequest:
    fields = {
        "id": f"manual-{secrets.token_hex(6)}",
        "symbol": symbol,
        "side": side.value,
        "amount": amount,
        "algorithm": "route",
        **more,
    }
    try:
        request = msgspec.convert(fields, ParentRequest)
    except msgspec.ValidationError as error:
        raise InvalidValueError(f"This order cannot be: {error}.", remedy="Correct that value.") from error
    problem = missing_fields(request)
    if problem:
        raise InvalidValueError(f"{problem}.", remedy="Add it.")
    return request


@router.post("/accounts/{account}/trades")
async def trade(account: str, body: TradeRequest, granted: Override) -> TradeStarted:
    """Trade an amount by hand; the risk gate judges every child as any other order."""
    stored = await queries.get_account(granted.scope, account)
    if body.symbol not in {i.symbol for i in stored.instruments.values()}:
        known = sorted({i.symbol for i in stored.instruments.values()})
        raise UnknownNameError(f"{account} does not trade {body.symbol}.", remedy=f"It trades {', '.join(known)}.")
    request = _parent(
        body.symbol,
        Side(body.side),
        parse_amount(body.amount),
        algorithm=body.algorithm,
        limit_price=parse_amount(body.limit_price),
        duration_s=body.duration_s,
        slices=body.slices,
        profile=body.profile,
        participation_bps=body.participation_bps,
        display=parse_amount(body.display),
        profit_price=parse_amount(body.profit_price),
        stop_price=parse_amount(body.stop_price),
    )
    event = ParentOrderRequested(ts_ns=0, request=request, actor=granted.caller.name)
    result = await apply(granted, event, body.reason)
    return TradeStarted(id=request.id, applied=result.applied)


@router.post("/accounts/{account}/trades/{parent}/cancel")
async def cancel_trade(account: str, parent: str, body: ReasonRequest, granted: Override) -> KillResult:
    """Stop a trade by hand that is at work, and cancel its children."""
    event = ParentOrderCanceled(ts_ns=0, parent_id=ParentId(parent), actor=granted.caller.name, reason=body.reason)
    return await apply(granted, event, body.reason)


async def sales(granted: Granted, share_bps: int, instrument: str) -> list[OperatorEvent]:
    """Return the orders that sell a share of the positions, one parent order each."""
    account = AccountId(granted.account)
    stored = await queries.get_account(granted.scope, account)
    held = [r for r in await queries.list_positions(granted.scope, account) if instrument in ("", r.instrument)]
    events: list[OperatorEvent] = []
    for row in held:
        pair = stored.instruments[InstrumentId(row.instrument)]
        if amount := int(row.quantity) * share_bps // BPS:
            request = _parent(pair.symbol, Side.SELL, amount)
            events.append(ParentOrderRequested(ts_ns=0, request=request, actor=granted.caller.name))
    return events


def cancels_of_buys(granted: Granted, instrument: str, reason: str) -> list[OperatorEvent]:
    """Return what cancels trades by hand that still buy, of one instrument or all."""
    account = granted.account
    working = granted.context.bus.latest("account.").get(f"account.{account}", {}).get("parents", [])
    symbol = instrument.partition(":")[2]
    return [
        ParentOrderCanceled(ts_ns=0, parent_id=ParentId(p["id"]), actor=granted.caller.name, reason=reason)
        for p in working
        if p["state"] == "working" and p["side"] == Side.BUY and symbol in ("", p["symbol"])
    ]


async def _apply_all(granted: Granted, events: list[OperatorEvent], reason: str) -> KillResult:
    """Ask for all events or none, and wait until they are applied."""
    submit = granted.context.control.operators.submit_all
    return await confirmed(granted, await submit(granted.caller, granted.action.name, granted.account, events, reason))


async def exit_events(granted: Granted, body: ExitRequest) -> list[OperatorEvent]:
    """Return what leaving is: cancels of what still buys, and sales of what is held. Raises ConflictError."""
    buys = cancels_of_buys(granted, body.instrument, body.reason)
    return _some([*buys, *await sales(granted, BPS, body.instrument)], granted, body.instrument)


async def hedge_events(granted: Granted, body: HedgeRequest) -> list[OperatorEvent]:
    """Return the sales of a share of every position. Raises ConflictError."""
    return _some(await sales(granted, body.share_bps, ""), granted, "")


def _some(events: list[OperatorEvent], granted: Granted, instrument: str) -> list[OperatorEvent]:
    """Return what there is to do. Raises ConflictError when that is nothing."""
    if not events:
        what = f" of {instrument}" if instrument else ""
        raise ConflictError(f"{granted.account} holds nothing{what}.", remedy="Look at its positions.")
    return events


@router.post("/accounts/{account}/exit")
async def exit_by_hand(account: str, body: ExitRequest, granted: Override) -> KillResult:
    """Sell what is held of an instrument, or everything, and cancel trades by hand that still buy it.

    Strategies may enter again.
    """
    return await _apply_all(granted, await exit_events(granted, body), body.reason)


@router.post("/accounts/{account}/hedge")
async def hedge_by_hand(account: str, body: HedgeRequest, granted: Override) -> KillResult:
    """Move a share of every position into cash."""
    return await _apply_all(granted, await hedge_events(granted, body), body.reason)


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


@router.post("/accounts/{account}/capital")
async def move_capital(
    account: str, body: CapitalRequest, granted: Annotated[Granted, allow("capital.move")]
) -> KillResult:
    """Book money that came in or went out: it moves the base of the account's worth, and is no profit or loss.

    In production a second person approves it: limits that are shares of the worth move with it.
    """
    stored = await queries.get_account(granted.scope, account)
    asset = AssetCode(body.asset or stored.config.currency)
    free = await _free_at(granted, stored, body.venue, asset, is_new=body.new_asset)
    amount = parse_amount(body.amount)
    if not amount or (body.direction == "withdrawal" and amount > free):
        raise InvalidValueError(
            f"{body.amount} {asset} cannot be booked as a {body.direction}.",
            remedy=f"Give more than 0, and not more than is free: {format_amount(free)}."
            if amount
            else "Give more than 0.",
        )
    if asset == stored.config.currency:
        _check_money(body.amount, asset)
    sign = 1 if body.direction == "deposit" else -1
    value = None if body.value is None else sign * parse_amount(body.value)
    if value == 0 or (value is not None and asset == stored.config.currency):
        raise InvalidValueError(
            f"{body.value} cannot be the value of {body.amount} {asset}.",
            remedy="Give what coins cost, more than 0, or leave it out; the currency has its own value.",
        )
    await granted.context.control.operators.refuse_twice(
        granted.account, body.venue, asset, sign * amount, body.reference
    )
    task = Task(
        action="capital.move",
        account=granted.account,
        payload={
            "venue": body.venue,
            "asset": asset,
            "amount": str(sign * amount),
            "value": None if value is None else str(value),
            "reference": body.reference,
        },
        summary=f"A {body.direction} of {body.amount} {asset} at {body.venue} is booked in {granted.account}: "
        "it moves the base of its limits" + (f"; reference {body.reference}" if body.reference else ""),
        reason=body.reason,
    )
    return await _carried_out(granted, task)


def _check_money(amount: str, currency: str) -> None:
    if abs(parse_amount(amount)) >= TOO_MUCH_MONEY:
        raise InvalidValueError(
            f"{amount} {currency} is no sum of money that a desk moves.", remedy="Give less than a trillion."
        )


async def _free_at(granted: Granted, stored: queries.StoredAccount, venue: str, asset: str, *, is_new: bool) -> int:
    """Return how much of an asset is free at a venue.

    Raises:
        UnknownNameError: when the account trades nothing there, or has nothing to do with the asset and it is not said
            to be new.
    """
    venues = sorted({i.venue for i in stored.instruments.values()})
    if venue not in venues:
        raise UnknownNameError(
            f"{stored.config.id} trades nothing at {venue}.", remedy=f"It trades at {', '.join(venues)}."
        )
    account = stored.config.id
    known = {a for i in stored.instruments.values() for a in (i.base, i.quote)}
    free = {r.key: int(r.free) for r in await queries.list_balances(granted.scope, account)}
    known |= {key.partition(":")[2] for key in free}
    live = granted.context.bus.latest("account.").get(f"account.{account}", {})
    known |= {b["subject"].partition(":")[2] for b in live.get("breaks", [])}
    if asset not in known and not is_new:
        raise UnknownNameError(
            f"{account} has nothing to do with {asset!r} yet.",
            remedy=f"It knows {', '.join(sorted(known))}; if it is a new asset, say so (new_asset, --new-asset).",
        )
    return free.get(balance_key(VenueId(venue), AssetCode(asset)), 0)


# What venues did and the books do not know (O8), and safe mode (R7).


@router.post("/accounts/{account}/bookings")
async def book(account: str, body: BookingRequest, granted: Annotated[Granted, allow("books.book")]) -> KillResult:
    """Book interest, a fee or a correction at a venue: it is profit or loss; in production a second person approves.

    A break of that balance is cleared when the booking explains it.
    """
    stored = await queries.get_account(granted.scope, account)
    await _free_at(granted, stored, body.venue, body.asset, is_new=body.new_asset)
    amount = parse_amount(body.amount)
    if not amount:
        raise InvalidValueError("The amount is 0.", remedy="Give what the venue added, or with a minus what it took.")
    if body.asset == stored.config.currency:
        _check_money(body.amount, body.asset)
    await granted.context.control.operators.refuse_twice(
        granted.account, body.venue, body.asset, amount, body.reference
    )
    task = Task(
        action="books.book",
        account=granted.account,
        payload={"venue": body.venue, "asset": body.asset, "amount": str(amount), "reference": body.reference},
        summary=f"{body.amount} {body.asset} at {body.venue} is booked in {granted.account}"
        + (f" under {body.reference}" if body.reference else ""),
        reason=body.reason,
    )
    return await _carried_out(granted, task)


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
