"""The engine alone: events of a recording through engine and paper venue, and an order's whole step, against decoding.

An order's whole step is one bar that makes a strategy enter: its step, sizing, the risk gate, the lock, the command. It
is taken in an account that has traded for a while; the gate alone, and the candidate that it judges, in the same
account. The baseline is decoding the same bar from JSON.
"""

from collections.abc import Sequence
from statistics import median
from time import perf_counter

import msgspec

from aether.compose.accounts import DEFAULT_CASH, synthetic_plans
from aether.compose.trading import make_paper_venue
from aether.domain.accounts import Limits, StrategyAssignment
from aether.domain.commands import SubmitOrder
from aether.domain.events import Bar, Event, OrderCanceled, Quote, decode_event, encode_event, opening_events
from aether.domain.identifiers import StrategyName
from aether.engine.core import Engine
from aether.engine.risk import Gate, make_candidate
from aether.engine.step import step
from aether.engine.strategy import AccountView, BarValues, Enter, Intent, StrategyDefinition
from aether.market.bars import with_bars
from aether.market.synthetic import SyntheticMarket
from aether.strategies import catalogue

STEPS = 4_000
ROUNDS = 5
ORDERS = 400
START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


class _Params(msgspec.Struct, frozen=True):
    """None."""


class _State(msgspec.Struct):
    """None."""


def _always(_params: _Params, _state: _State, bar: BarValues, _view: AccountView) -> Sequence[Intent]:
    return [Enter(instrument=bar.instrument, limit_price=round(bar.close * 0.995, 2))]


ALWAYS = StrategyDefinition(name="always", summary="Enters at every bar.", params=_Params, state=_State, on_bar=_always)


def events() -> list[Event]:
    """Return the market events of one account, some 25,000."""
    plan = synthetic_plans(1)[0]
    market = SyntheticMarket(1)
    known = {i.id for i in plan.instruments}
    ticks = (e for n in range(STEPS) for e in market.step(START_NS + n * 500_000_000, 0.5) if e.instrument in known)
    return list(with_bars(ticks, [60]))


def market_events() -> tuple[float, float]:
    """Return seconds of engine and paper venue, and of decoding, for each market event."""
    market = events()
    plan = synthetic_plans(1)[0]
    payloads = [encode_event(e) for e in market]
    engine_s, decode_s = [], []
    for _ in range(ROUNDS):
        engine, venue = Engine(catalogue()), make_paper_venue(plan.config, None)
        for opening in opening_events(plan.config, list(plan.instruments), DEFAULT_CASH, START_NS - 1):
            for _ in step(venue, engine, opening):
                pass
        started = perf_counter()
        for n, event in enumerate(market):
            for _ in step(venue, engine, event):
                pass
            if n % 512 == 0:
                engine.take_changes()
        engine_s.append(perf_counter() - started)
        started = perf_counter()
        for payload in payloads:
            decode_event(payload)
        decode_s.append(perf_counter() - started)
    return median(engine_s) / len(market), median(decode_s) / len(market)


def order_steps() -> tuple[float, float, float, float]:
    """Return the medians of an order's whole step, its gate, its candidate, and of decoding its bar; seconds."""
    plan = synthetic_plans(1)[0]
    first = plan.instruments[0]
    assigned = StrategyAssignment(strategy=StrategyName("always"), instruments=(first.id,), bar_s=60)
    limits = Limits(repeated_order_limit=100_000, max_orders_per_minute=100_000)
    config = msgspec.structs.replace(plan.config, strategies=(assigned,), limits=limits)
    engine = Engine({StrategyName("always"): ALWAYS})
    now = START_NS
    for event in opening_events(config, list(plan.instruments), DEFAULT_CASH, now):
        engine.apply(event)
    step_s, gate_s, candidate_s, decode_s = [], [], [], []
    price = 6_000_000
    for n in range(ORDERS):
        now += 3 * SECOND
        engine.apply(
            Quote(ts_ns=now, instrument=first.id, bid=price - 1, ask=price + 1, bid_size=10**8, ask_size=10**8)
        )
        bar = Bar(
            ts_ns=now, instrument=first.id, interval_s=60, open=price, high=price, low=price, close=price, volume=n + 1
        )
        started = perf_counter()
        commands = engine.apply(bar)
        step_s.append(perf_counter() - started)
        (request,) = [c.order.request for c in commands if isinstance(c, SubmitOrder)]
        started = perf_counter()
        candidate = make_candidate(engine.state, request)
        candidate_s.append(perf_counter() - started)
        started = perf_counter()
        Gate().judge(candidate)
        gate_s.append(perf_counter() - started)
        payload = encode_event(bar)
        started = perf_counter()
        decode_event(payload)
        decode_s.append(perf_counter() - started)
        engine.apply(OrderCanceled(ts_ns=now, order_id=request.id, reason="next"))
        engine.take_changes()
    return median(step_s), median(gate_s), median(candidate_s), median(decode_s)


def run() -> list[tuple[str, str]]:
    """Return the figures by name."""
    each, decoded = market_events()
    step, gate, candidate, bar = order_steps()
    return [
        ("engine and paper venue, per market event", f"{each * 1e6:.1f} µs"),
        ("as a multiple of decoding the event from JSON", f"{each / decoded:.1f} x"),
        ("an order's whole step, bar to command", f"{step * 1e6:.0f} µs, {step / bar:.0f} x decoding the bar"),
        ("of it the gate, and the candidate that it judges", f"{gate / step:.0%} and {candidate / step:.0%}"),
    ]
