"""The engine alone: events of a recording through engine and paper venue, against bare decoding of the same events."""

from statistics import median
from time import perf_counter

from aether.compose.accounts import DEFAULT_CASH, synthetic_plans
from aether.compose.trading import make_paper_venue
from aether.domain.events import Event, decode_event, encode_event, opening_events
from aether.engine.core import Engine
from aether.market.bars import with_bars
from aether.market.synthetic import SyntheticMarket
from aether.strategies import catalogue

STEPS = 4_000
ROUNDS = 5
START_NS = 1_700_000_000_000_000_000


def events() -> list[Event]:
    """Return the market events of one account, some 25,000."""
    plan = synthetic_plans(1)[0]
    market = SyntheticMarket(1)
    known = {i.id for i in plan.instruments}
    ticks = (e for n in range(STEPS) for e in market.step(START_NS + n * 500_000_000, 0.5) if e.instrument in known)
    return list(with_bars(ticks, [60]))


def run() -> list[tuple[str, str]]:
    """Return the figures by name."""
    market = events()
    plan = synthetic_plans(1)[0]
    payloads = [encode_event(e) for e in market]
    engine_s, decode_s = [], []
    for _ in range(ROUNDS):
        engine, venue = Engine(catalogue()), make_paper_venue(plan.config, None)
        for opening in opening_events(plan.config, list(plan.instruments), DEFAULT_CASH, START_NS - 1):
            for given in venue.feed(opening):
                engine.apply(given)
        started = perf_counter()
        for n, event in enumerate(market):
            for given in venue.feed(event):
                for command in engine.apply(given):
                    venue.send(command)
            if n % 512 == 0:
                engine.take_changes()
        engine_s.append(perf_counter() - started)
        started = perf_counter()
        for payload in payloads:
            decode_event(payload)
        decode_s.append(perf_counter() - started)
    each = median(engine_s) / len(market)
    ratio = median(a / b for a, b in zip(engine_s, decode_s, strict=True))
    return [
        ("engine and paper venue, per event", f"{each * 1e6:.1f} µs"),
        ("as a multiple of decoding the event from JSON", f"{ratio:.1f} x"),
    ]
