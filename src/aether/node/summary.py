"""An account as the screen shows it: worth, state, what stops it, positions at the mark. Money is exact text."""

from typing import Any

from aether.domain.parents import Parent
from aether.domain.scaled import average_price, format_amount
from aether.engine.core import Engine
from aether.engine.stops import Stop
from aether.engine.valuation import mark

ENDED_PARENTS_SHOWN = 10

_STATUS_OF = {Stop.KILL: "killed", Stop.FLATTEN: "killed", Stop.FAULT: "stopped", Stop.HALT: "halted"}


def summary(engine: Engine, seq: int, failure: str, outage: str) -> dict[str, Any]:
    """Return the account as the screen shows it.

    Args:
        failure: why the account does not work any more, empty while it does.
        outage: why nothing can be written, empty while it can.
    """
    state = engine.state
    point = engine.equity_point()
    risk = state.risk
    status, reason = _status(engine, failure, outage)
    return {
        "type": "account",
        "account": engine.config.id,
        "seq": seq,
        "ts_ns": state.now_ns,
        "status": status,
        "reason": reason,
        "stops": [
            {"stop": stop, "reason": s.reason, "since_ns": s.since_ns, "actor": s.actor}
            for stop, s in state.stops.items()
        ],
        "breaks": [
            {
                "name": b.name,
                "kind": b.kind,
                "subject": b.subject,
                "amount": format_amount(b.amount),
                "evidence": b.evidence,
                "since_ns": b.since_ns,
                "owner": b.owner,
            }
            for b in state.breaks.values()
        ],
        "disabled": dict(state.disabled),
        "nav": format_amount(point.nav),
        "cash": format_amount(point.cash),
        "exposure": format_amount(point.exposure),
        "realized": format_amount(point.realized),
        "fees": format_amount(point.fees),
        "capital": format_amount(point.capital),
        "day_start_nav": format_amount(risk.day_start_nav),
        "peak_nav": format_amount(risk.peak_nav),
        "open_orders": len(state.open_orders),
        "parents": [_progress(engine, parent) for parent in _shown_parents(engine)],
        "held": [
            {
                "number": number,
                "instrument": h.request.instrument,
                "symbol": state.instruments[h.request.instrument].symbol,
                "side": h.request.side,
                "size": state.instruments[h.request.instrument].size_text(h.request.size),
                "notional": format_amount(h.notional),
                "strategy": h.request.strategy,
                "since_ns": h.since_ns,
                "until_ns": h.until_ns,
            }
            for number, h in state.held.items()
        ],
        "marks": {
            i.id: i.price_text(mark(state, i.id).price) for i in state.instruments.values() if i.id in state.market
        },
    }


def _status(engine: Engine, failure: str, outage: str) -> tuple[str, str]:
    """Return in one word how the account stands, and why: the strongest of what stops it."""
    state = engine.state
    stops = [(stop, state.stops[stop].reason) for stop in Stop if stop in state.stops]
    throttled = "; ".join(f"{key} was stopped after {n} orders" for key, n in state.risk.throttled.items())
    if stops and stops[0][0] in _STATUS_OF:
        return _STATUS_OF[stops[0][0]], failure or stops[0][1]
    if failure:
        return "failed", failure
    if outage:
        return "paused", outage
    if stops or throttled:
        return "exits_only", stops[0][1] if stops else throttled
    return "trading", ""


def _shown_parents(engine: Engine) -> list[Parent]:
    """Return the parent orders at work, then those that ended last, newest first."""
    state = engine.state
    ended = list(state.closed_parents.values())[-ENDED_PARENTS_SHOWN:]
    return [*reversed(state.parents.values()), *reversed(ended)]


def _progress(engine: Engine, parent: Parent) -> dict[str, Any]:
    """Return how far a parent order is; amounts and the average price are exact text."""
    request = parent.request
    price = ""
    if parent.filled:
        instruments = (i for i in engine.state.instruments.values() if i.symbol == request.symbol)
        finest = max(instruments, key=lambda i: i.price_decimals)
        price = finest.price_text(average_price(parent.notional, parent.filled, finest.price_decimals))
    return {
        "id": request.id,
        "symbol": request.symbol,
        "side": request.side,
        "algorithm": request.algorithm,
        "amount": format_amount(request.amount),
        "filled": format_amount(parent.filled),
        "average_price": price,
        "notional": format_amount(parent.notional),
        "fees": format_amount(parent.fees),
        "children": len(parent.children),
        "state": parent.state,
        "reason": parent.reason,
        "started_ns": parent.started_ns,
        "ended_ns": parent.ended_ns,
    }
