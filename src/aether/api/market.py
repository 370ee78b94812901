"""Instruments and their bars."""

from typing import Annotated

from fastapi import APIRouter, Query

from aether.api.guard import Granted, allow
from aether.api.models import Bar, Instrument
from aether.api.ports import Context
from aether.domain.errors import UnknownNameError
from aether.domain.scaled import format_amount
from aether.store import queries

router = APIRouter(tags=["market"])

CHART_BAR_S = 60


Reads = Annotated[Granted, allow("platform.read")]


@router.get("/instruments")
async def list_instruments(granted: Reads) -> list[Instrument]:
    """Return the instruments that accounts of the running market may trade."""
    found = granted.context.offer().instruments
    return [
        Instrument(
            id=i.id,
            symbol=i.symbol,
            venue=i.venue,
            base=i.base,
            quote=i.quote,
            price_decimals=i.price_decimals,
            size_decimals=i.size_decimals,
            tick=i.price_text(i.tick),
            lot=i.size_text(i.lot),
            min_notional=format_amount(i.min_notional),
        )
        for i in sorted(found, key=lambda i: i.id)
    ]


@router.get("/instruments/{instrument:path}/bars")
async def list_bars(instrument: str, granted: Reads, limit: Annotated[int, Query(ge=1, le=2_000)] = 300) -> list[Bar]:
    """Return the latest one-minute bars of an instrument, in order of time."""
    return await bars_of(granted.context, instrument, limit)


async def bars_of(context: Context, instrument: str, limit: int) -> list[Bar]:
    """Return the latest one-minute bars of an instrument, in order of time. Raises UnknownNameError."""
    offer = context.offer()
    found = next((i for i in offer.instruments if i.id == instrument), None)
    if found is None:
        raise UnknownNameError(f"There is no instrument {instrument!r}.", remedy="List them with GET /instruments.")
    rows = await queries.list_bars(context.database.desk, offer.feed, instrument, interval_s=CHART_BAR_S, limit=limit)
    return [
        Bar(
            ts_ns=r.ts_ns,
            open=found.price_text(r.open),
            high=found.price_text(r.high),
            low=found.price_text(r.low),
            close=found.price_text(r.close),
            volume=found.size_text(r.volume),
        )
        for r in rows
    ]
