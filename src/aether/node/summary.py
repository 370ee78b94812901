"""An account as the screen shows it: worth, state, what stops it, positions at the mark. Money is exact text."""

from collections.abc import Mapping
from typing import Any

from aether.domain.accounts import AccountConfig
from aether.domain.identifiers import VenueId
from aether.domain.instruments import Instrument
from aether.domain.orders import OrderState
from aether.domain.parents import Parent
from aether.domain.scaled import amount_of_size, average_price, format_amount, value_of
from aether.engine.breakers import holds_back
from aether.engine.core import Engine
from aether.engine.exits import rests
from aether.engine.state import AccountState
from aether.engine.stops import Stop
from aether.engine.valuation import fresh_from, mark
from aether.kernel.exits import resting_level

ENDED_PARENTS_SHOWN = 10
WORTH = (
    "nav", "cash", "exposure", "realized", "unrealized", "fees", "capital", "day_start_nav", "day", "profit",
)  # fmt: skip

_STATUS_OF = {Stop.KILL: "killed", Stop.FLATTEN: "killed", Stop.FAULT: "stopped", Stop.HALT: "halted"}


def summary(
    engine: Engine,
    seq: int,
    failure: str,
    outage: str,
    troubles: Mapping[VenueId, str],
    left: Mapping[VenueId, str],
    told_ns: int,
) -> dict[str, Any]:
    """Return the account as the screen shows it (`aether.api.models.AccountSummary`).

    Args:
        failure: why the account does not work any more, empty while it does.
        outage: why nothing can be written, empty while it can.
        troubles: what keeps the account from its venues, in words.
        left: what the stops of venues still wait for, in words.
        told_ns: when this is told, by the machine's clock: what is told later is newer.
    """
    state = engine.state
    point = engine.equity_point()
    risk = state.risk
    venues = _venues(state, troubles, left)
    status, reason = _status(engine, failure, outage, venues)
    unrealized = point.nav - point.capital - point.realized + point.fees
    return {
        **describe(engine.config),
        "seq": seq,
        "ts_ns": state.now_ns,
        "told_ns": told_ns,
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
        "switched_off": dict(state.disabled),
        "nav": format_amount(point.nav),
        "cash": format_amount(point.cash),
        "exposure": format_amount(point.exposure),
        "realized": format_amount(point.realized),
        "unrealized": format_amount(unrealized),
        "fees": format_amount(point.fees),
        "capital": format_amount(point.capital),
        "day_start_nav": format_amount(risk.day_start_nav),
        "day": format_amount(point.nav - risk.day_start_nav),
        "profit": format_amount(point.nav - point.capital),
        "open_orders": len(state.open_orders),
        "positions": [
            shown_position(state.instruments[i], held, price.price, price.ts_ns)
            | {"stops": _stops(state, state.instruments[i]), "resting_stops": _resting(state, state.instruments[i])}
            for i, held in state.ledger.positions.items()
            if held.quantity
            for price in (mark(state, i),)
        ],
        "orders": [
            shown_order(engine.config.id, o.request, o, o.ordinal, state.instruments[i])
            for o in reversed(state.open_orders.values())
            for i in (o.request.instrument,)
        ],
        "venues": venues,
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
    }


def describe(config: AccountConfig) -> dict[str, Any]:
    """Return what an account is, whatever it does."""
    return {
        "id": config.id,
        "name": config.name,
        "kind": config.kind.value,
        "mode": config.mode.value,
        "shadow_of": config.shadow_of,
        "currency": config.currency,
        "strategies": [
            {"strategy": a.strategy, "instruments": list(a.instruments), "bar_s": a.bar_s, "params": dict(a.params)}
            for a in config.strategies
        ],
    }


def untold(config: AccountConfig, status: str, reason: str) -> dict[str, Any]:
    """Return an account of which nothing is known but what it is."""
    zero = format_amount(0)
    return {
        **describe(config),
        "seq": 0,
        "ts_ns": 0,
        "told_ns": 0,
        "status": status,
        "reason": reason,
        "switched_off": {},
        "open_orders": 0,
        **dict.fromkeys(("stops", "breaks", "unconfirmed", "positions", "orders", "venues", "parents", "held"), ()),
        **dict.fromkeys(WORTH, zero),
    }


def shown_position(instrument: Instrument, held: Any, price: int, price_ns: int) -> dict[str, Any]:
    """Return a holding at its mark; where there is no mark, at what it cost.

    Args:
        held: quantity, cost, realized and fees, as ledger amounts.
        price, price_ns: the mark, in price units, and from when it is known; 0 for none.
    """
    average = average_price(held.cost, held.quantity, instrument.price_decimals)
    value = value_of(held.quantity, price or average, instrument.price_decimals)
    return {
        "instrument": instrument.id,
        "symbol": instrument.symbol,
        "quantity": format_amount(held.quantity),
        "average_price": instrument.average_text(average),
        "mark": instrument.average_text(price or average),
        "mark_ns": price_ns if price else 0,
        "value": format_amount(value),
        "cost": format_amount(held.cost),
        "unrealized": format_amount(value - held.cost),
        "realized": format_amount(held.realized),
        "fees": format_amount(held.fees),
    }


def shown_order(account: str, request: Any, order: Any, number: int, instrument: Instrument) -> dict[str, Any]:
    """Return an order; of a row of the database, `request` and `order` are the same."""
    filled = amount_of_size(order.filled, instrument.size_decimals)
    average = average_price(order.filled_notional, filled, instrument.price_decimals) if filled else 0
    return {
        "account": account,
        "id": request.id,
        "number": number,
        "instrument": instrument.id,
        "symbol": instrument.symbol,
        "side": request.side,
        "type": request.type,
        "time_in_force": request.time_in_force,
        "purpose": request.purpose,
        "strategy": request.strategy,
        "state": order.state,
        "size": instrument.size_text(request.size),
        "filled": instrument.size_text(order.filled),
        "limit_price": instrument.price_text(request.limit_price) if request.limit_price else "",
        "trigger_price": instrument.price_text(request.trigger_price) if request.trigger_price else "",
        "average_price": instrument.average_text(average) if average else "",
        "fees": format_amount(order.fees),
        "reason": order.reason,
        "created_ns": order.created_ns,
        "updated_ns": order.updated_ns,
    }


def _stops(state: AccountState, instrument: Instrument) -> list[str]:
    """Return the prices at which what is held would be sold to protect it."""
    plans = state.exits.get(instrument.id, {}).values()
    levels = [resting_level(plan.stop, plan.best, plan.trail_distance) for plan in plans]
    return [instrument.price_text(level) for level in levels if level > 0]


def _resting(state: AccountState, instrument: Instrument) -> list[str]:
    """Return the prices of the stops that rest at the venue."""
    there = (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)
    requests = [o.request for o in state.open_orders.values() if o.state in there and rests(o.request)]
    return [instrument.price_text(r.trigger_price) for r in requests if r.instrument == instrument.id]


def _venue_stop(state: AccountState, venue: VenueId, left: str) -> list[dict[str, Any]]:
    """Return the stop of a venue, if it is on."""
    stopped = state.stopped_venues.get(venue)
    if stopped is None:
        return []
    told = {"reason": stopped.reason, "since_ns": stopped.since_ns, "actor": stopped.actor}
    return [told | {"asked_ns": stopped.asked_ns, "left": left}]


def _venues(state: AccountState, troubles: Mapping[VenueId, str], left: Mapping[VenueId, str]) -> list[dict[str, Any]]:
    """Return for each venue when its market was heard last, what is wrong with it, and what works there."""
    told: dict[str, dict[str, Any]] = {}
    for i in state.instruments.values():
        row = told.setdefault(
            i.venue,
            {
                "venue": i.venue,
                "market_ns": 0,
                "trouble": troubles.get(i.venue, ""),
                "open_orders": 0,
                "stop": _venue_stop(state, i.venue, left.get(i.venue, "")),
            },
        )
        if (m := state.market.get(i.id)) is not None:
            row["market_ns"] = max(row["market_ns"], m.book_ns, m.trade_ns)
            row["trouble"] = row["trouble"] or (f"{i.symbol}: {m.in_the_way}" if m.in_the_way else "")
    for row in told.values():
        held = holds_back(state, row["venue"])
        row["trouble"] = row["trouble"] or (f"circuit breaker {held}" if held else "")
        is_old = 0 < row["market_ns"] < fresh_from(state)
        row["trouble"] = row["trouble"] or ("its market data are too old to enter on" if is_old else "")
    for o in state.open_orders.values():
        told[state.instruments[o.request.instrument].venue]["open_orders"] += 1
    return list(told.values())


def _status(engine: Engine, failure: str, outage: str, venues: list[dict[str, Any]]) -> tuple[str, str]:
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
    return "trading", "; ".join(f"{v['venue']}: {v['trouble']}" for v in venues if v["trouble"])


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
        price = finest.average_text(average_price(parent.notional, parent.filled, finest.price_decimals))
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
