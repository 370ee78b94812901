"""Money that came in or went out, and what venues did that the books lack (A7, O8)."""

from typing import Annotated

import msgspec
from fastapi import APIRouter

from aether.api.guard import Granted, allow
from aether.api.models import MONEY_DIGITS, BookingRequest, CapitalRequest, KillResult, Preview
from aether.api.operators import carried_out
from aether.api.trading import foreseen
from aether.control.approvals import Task
from aether.domain.errors import InvalidValueError, UnknownNameError
from aether.domain.events import CapitalMoved
from aether.domain.identifiers import AssetCode, VenueId, balance_key
from aether.domain.scaled import format_amount, parse_amount
from aether.store import queries

TOO_MUCH_MONEY = parse_amount(str(10**MONEY_DIGITS))

router = APIRouter(tags=["capital"])


async def _capital(granted: Granted, body: CapitalRequest) -> Task:
    """Return what is booked for a request.

    Raises:
        InvalidValueError, UnknownNameError, ConflictError: when it cannot be booked, or is already.
    """
    stored = await queries.get_account(granted.scope, granted.account)
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
    return Task(
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


@router.post("/accounts/{account}/capital")
async def move_capital(
    account: str, body: CapitalRequest, granted: Annotated[Granted, allow("capital.move")]
) -> KillResult:
    """Book money that came in or went out: it moves the base of the account's worth, and is no profit or loss.

    In production a second person approves it: limits that are shares of the worth move with it.
    """
    return await carried_out(granted, await _capital(granted, body))


@router.post("/accounts/{account}/capital/preview")
async def preview_capital(
    account: str, body: CapitalRequest, granted: Annotated[Granted, allow("capital.preview")]
) -> Preview:
    """Return what booking money in or out would make of the account's worth and of the base of its limits."""
    task = await _capital(granted, body)
    fields = {**task.payload, "ts_ns": 0, "reason": body.reason, "actor": granted.caller.name}
    return await foreseen(granted, [msgspec.convert(fields, CapitalMoved, strict=False)])


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
async def book_balance(
    account: str, body: BookingRequest, granted: Annotated[Granted, allow("books.book")]
) -> KillResult:
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
    return await carried_out(granted, task)
