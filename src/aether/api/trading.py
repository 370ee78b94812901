"""Trades by hand: an amount, a way out, a share into cash; and what each would do, without doing it (A6)."""

import secrets
from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter

from aether.api.guard import Granted, allow
from aether.api.models import (
    ExitRequest,
    HedgeRequest,
    KillResult,
    Preview,
    ReasonRequest,
    TradeRequest,
    TradeStarted,
)
from aether.api.operators import apply, confirmed
from aether.bus.topics import PREVIEW
from aether.domain.errors import ConflictError, InvalidValueError, UnknownNameError
from aether.domain.events import OperatorEvent, ParentOrderCanceled, ParentOrderRequested, encode_event
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.orders import Side
from aether.domain.parents import ParentId, ParentRequest, missing_fields
from aether.domain.scaled import parse_amount
from aether.store import queries

router = APIRouter(tags=["trading"])

BPS = 10_000

Override = Annotated[Granted, allow("trading.override")]
Previews = Annotated[Granted, allow("trading.preview")]


async def foreseen(granted: Granted, events: Sequence[OperatorEvent]) -> Preview:
    """Return what events would lead to in the account. Raises NoAnswerError while it does not trade."""
    body = {"account": granted.account, "events": [encode_event(event).decode() for event in events]}
    return Preview.model_validate(await granted.context.bus.ask(PREVIEW, body))


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


async def _trade(granted: Granted, body: TradeRequest) -> ParentOrderRequested:
    """Return what a request for a trade asks the account for. Raises UnknownNameError, InvalidValueError."""
    stored = await queries.get_account(granted.scope, granted.account)
    known = sorted({i.symbol for i in stored.instruments.values()})
    if body.symbol not in known:
        raise UnknownNameError(
            f"{granted.account} does not trade {body.symbol}.", remedy=f"It trades {', '.join(known)}."
        )
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
    return ParentOrderRequested(ts_ns=0, request=request, actor=granted.caller.name)


@router.post("/accounts/{account}/trades")
async def trade(account: str, body: TradeRequest, granted: Override) -> TradeStarted:
    """Trade an amount by hand; the risk gate judges every child as any other order."""
    event = await _trade(granted, body)
    result = await apply(granted, event, body.reason)
    return TradeStarted(id=event.request.id, applied=result.applied)


@router.post("/accounts/{account}/trades/preview")
async def preview_trade(account: str, body: TradeRequest, granted: Previews) -> Preview:
    """Return what a trade by hand would do at once: its orders, their cost, what the risk gate makes of each."""
    return await foreseen(granted, [await _trade(granted, body)])


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


@router.post("/accounts/{account}/exit/preview")
async def preview_exit(account: str, body: ExitRequest, granted: Previews) -> Preview:
    """Return what leaving would do at once."""
    return await foreseen(granted, await exit_events(granted, body))


@router.post("/accounts/{account}/hedge/preview")
async def preview_hedge(account: str, body: HedgeRequest, granted: Previews) -> Preview:
    """Return what moving a share of every position into cash would do at once."""
    return await foreseen(granted, await hedge_events(granted, body))
