"""A recorded account replays to the same state, byte for byte, from any snapshot (design decision 1, O1)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aether.domain.accounts import Exits, StrategyAssignment
from aether.domain.events import (
    Event,
    KillSwitchEngaged,
    KillSwitchReleased,
    OrderFilled,
    Timer,
    Trade,
    TradingResumed,
    decode_event,
    encode_event,
    opening_events,
)
from aether.domain.identifiers import StrategyName
from aether.domain.scaled import AMOUNT_SCALE
from aether.engine.core import Engine
from aether.engine.step import restep, step
from aether.market.bars import with_bars
from aether.market.synthetic import SyntheticMarket, synthetic_instruments
from aether.matching.simulator import FillModel
from aether.strategies import catalogue
from aether.venues.paper import PaperVenue
from tests.desk import SECOND, START, account

HARSH = FillModel(latency_ms=300, jitter_ms=900, reject_ppm=100_000, level_share_ppm=50_000)
INSTRUMENTS = synthetic_instruments()[:2]
QUICK: dict[str, dict[str, float | int | str | bool]] = {
    "ema_cross": {"fast": 3, "slow": 8, "min_gap_bps": 0.0},
    "vol_target_basket": {"every_bars": 3, "band": 0.002},
    "mean_reversion": {"span": 8, "entry_z": 0.8},
}
"""Parameters with which a strategy trades within half an hour."""


def session(seed: int, strategy: str, steps: int) -> tuple[list[tuple[Event, bytes]], Engine, PaperVenue]:
    """Trade a synthetic market with an operator's interference; return the journal, the engine and the venue."""
    assigned = StrategyAssignment(
        strategy=StrategyName(strategy), instruments=tuple(i.id for i in INSTRUMENTS), params=QUICK[strategy], bar_s=60
    )
    config = account(strategies=(assigned,), seed=seed, exits=Exits(at_venue=seed % 2 == 1))
    market = SyntheticMarket(seed)
    engine, venue = Engine(catalogue()), PaperVenue(HARSH, seed)
    journal: list[tuple[Event, bytes]] = []
    ticks = (e for n in range(steps) for e in market.step(START + (n + 1) * 2 * SECOND, 2.0))
    known = {i.id for i in INSTRUMENTS}
    source = with_bars((e for e in ticks if e.instrument in known), [60])
    openings = opening_events(config, INSTRUMENTS, 100_000 * AMOUNT_SCALE, START)

    def inputs() -> list[Event]:
        found: list[Event] = [*openings]
        for n, event in enumerate(source):
            found.append(event)
            if n % 211 == 210:
                found.append(Timer(ts_ns=event.ts_ns))
            if n % 997 == 500:
                found.append(KillSwitchEngaged(ts_ns=event.ts_ns, reason="drill", actor="t", flatten=n % 2 == 0))
            if n % 997 == 600:
                found.append(KillSwitchReleased(ts_ns=event.ts_ns, reason="over", actor="t"))
                found.append(TradingResumed(ts_ns=event.ts_ns, reason="over", actor="t"))
        return found

    for event in inputs():
        journal += [(taken.event, taken.decided) for taken in step(venue, engine, event)]
    return journal, engine, venue


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 10_000), st.sampled_from(sorted(catalogue())), st.floats(0, 1))
def test_replay_gives_the_same_bytes(seed: int, strategy: str, cut: float) -> None:
    journal, engine, venue = session(seed, strategy, 900)
    again, venue_again = Engine(catalogue()), PaperVenue(HARSH, seed)
    at = int(len(journal) * cut)
    for n, (event, decided) in enumerate(journal):
        if n == at:
            again = Engine(catalogue(), again.snapshot())
            venue_again = PaperVenue(HARSH, seed, venue_again.snapshot())
        restep(venue_again, again, decode_event(encode_event(event)), decided, n)
    assert again.state_hash() == engine.state_hash()
    assert venue_again.snapshot() == venue.snapshot()


def test_sessions_do_trade() -> None:
    """The property above would hold for an engine that does nothing."""
    for strategy in catalogue():
        journal, engine, _ = session(3, strategy, 1_500)
        assert engine.state.next_order > 1, strategy
        assert sum(1 for e, _ in journal if isinstance(e, Trade)) > 1_000
        assert sum(1 for e, _ in journal if isinstance(e, OrderFilled)) > 5, strategy
        assert any(o.request.type.has_trigger for o in engine.state.closed_orders.values()), "stops rested"
