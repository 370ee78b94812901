"""What a decision would lead to, worked out by the engine itself on a copy of the account; nothing of it happens."""

from collections.abc import Sequence
from typing import Any

import msgspec

from aether.domain.commands import CancelOrder
from aether.domain.events import Event, ParentOrderRequested
from aether.domain.records import Verdict
from aether.domain.scaled import BPS, format_amount, mul_div_ceil, ratio_bps
from aether.engine.core import Engine
from aether.engine.risk import SHARES, Candidate, checks_of
from aether.engine.strategy import Catalogue


def preview(catalogue: Catalogue, snapshot: bytes, events: Sequence[Event], now_ns: int) -> dict[str, Any]:
    """Return what events would lead to at once, in exact text (`aether.api.models.Preview`).

    Args:
        snapshot: of the account as it is; it is read and left alone.
        now_ns: when the events would be taken up.
    """
    orders: list[dict[str, Any]] = []
    engine = Engine(catalogue, snapshot, on_judged=lambda c, verdict: orders.append(_foreseen(c, verdict)))
    before = engine.equity_point()
    refused, canceled = "", []
    for event in events:
        commands = engine.apply(msgspec.structs.replace(event, ts_ns=now_ns, taken_ns=now_ns))
        refused = refused or engine.refused
        canceled += [c.order_id for c in commands if isinstance(c, CancelOrder)]
    after = engine.equity_point()
    asked = {event.request.id for event in events if isinstance(event, ParentOrderRequested)}
    later = [p for p in engine.state.parents.values() if p.request.id in asked and p.request.amount > p.sent]
    return {
        "refused": refused,
        "orders": orders,
        "canceled": canceled,
        "later": [
            {"symbol": p.request.symbol, "side": p.request.side, "amount": format_amount(p.request.amount - p.sent)}
            for p in later
        ],
        "nav_before": format_amount(before.nav),
        "nav_after": format_amount(after.nav),
        "capital_before": format_amount(before.capital),
        "capital_after": format_amount(after.capital),
    }


def _foreseen(c: Candidate, verdict: Verdict) -> dict[str, Any]:
    """Return an order as it would be sent, what it would cost, and what the risk gate makes of it."""
    instrument, request = c.instrument, c.request
    half = c.market.half_spread
    collar = mul_div_ceil(c.mark.price, c.limits.price_collar_bps, BPS)
    worst = request.limit_price or (c.mark.price + collar if request.side == "buy" else c.mark.price - collar)
    return {
        "instrument": instrument.id,
        "symbol": instrument.symbol,
        "side": request.side,
        "type": request.type,
        "size": instrument.size_text(request.size),
        "price": instrument.average_text(c.price),
        "worst_price": instrument.average_text(max(0, worst)),
        "notional": format_amount(c.notional),
        "fee": format_amount(c.fee),
        "half_spread": format_amount(instrument.notional(half, request.size)),
        "approved": verdict.approved,
        "checks": _checks(c, verdict),
    }


def _checks(c: Candidate, verdict: Verdict) -> list[dict[str, Any]]:
    """Return every check that applies, what it found and what it allows, those that fail first."""
    failed = {b.check: b for b in verdict.breaches}
    told = [{"check": b.check, "value": b.value, "limit": b.limit, "ok": False} for b in verdict.breaches]
    for check in checks_of(c.request):
        name = check.find.__name__.removeprefix("check_")
        if name in failed or (name == "tick_and_lot" and {"tick_size", "lot_size"} & set(failed)):
            continue
        value, limit = "", ""
        if name in SHARES:
            part, whole, most = SHARES[name](c)
            value = f"{ratio_bps(max(0, part), whole)} bps" if whole > 0 else "0 bps"
            limit = f"at most {most} bps"
        elif name == "free_balance":
            value, limit = f"needs {format_amount(c.reserve)}", f"{format_amount(c.free)} free"
        elif name == "open_orders":
            value, limit = f"{len(c.state.open_orders)} open", f"fewer than {c.limits.max_open_orders}"
        told.append({"check": name, "value": value, "limit": limit, "ok": True})
    return told
