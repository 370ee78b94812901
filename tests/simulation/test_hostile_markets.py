"""Seeded trouble: slow, rejecting, shallow venues; whatever happens, money stays whole (T1, R1, O3)."""

import msgspec
import pytest

from aether.domain.accounts import Limits
from aether.domain.events import (
    Event,
    KillSwitchEngaged,
    KillSwitchReleased,
    OrderFilled,
    ParentOrderRequested,
    Quote,
    Timer,
    opening_events,
)
from aether.domain.orders import Side
from aether.domain.parents import Algorithm, ParentId, ParentRequest
from aether.domain.scaled import AMOUNT_SCALE, ratio_bps
from aether.engine.core import Engine
from aether.engine.step import step
from aether.engine.stops import Stop
from aether.engine.valuation import gross_exposure, net_asset_value
from aether.market.bars import with_bars
from aether.market.synthetic import SyntheticMarket, synthetic_instruments
from aether.matching.noise import draw_below, next_state
from aether.matching.simulator import FillModel
from aether.venues.paper import PaperVenue
from tests.desk import SECOND, START, account, scripted

MODELS = {
    "slow": FillModel(latency_ms=4_000, jitter_ms=9_000),
    "rejecting": FillModel(reject_ppm=400_000),
    "shallow": FillModel(level_share_ppm=1_000, step_centibps=2_000),
    "all of it": FillModel(latency_ms=1_500, jitter_ms=3_000, reject_ppm=200_000, step_centibps=1_000),
}


class Restless:
    """A strategy that asks for something at random, by its own seed."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def __call__(self, bar: object, view: object) -> list[object]:
        from aether.engine.strategy import Enter, Exit, Rebalance, Withdraw

        self.state = next_state(self.state)
        instrument = bar.instrument  # type: ignore[attr-defined]
        close = bar.close  # type: ignore[attr-defined]
        choice = draw_below(self.state, 6)
        return {
            0: [Enter(instrument=instrument)],
            1: [Enter(instrument=instrument, limit_price=close, post_only=True)],
            2: [Exit(instrument=instrument)],
            3: [Rebalance(instrument=instrument, weight=0.3)],
            4: [Rebalance(instrument=instrument, weight=0.05)],
            5: [Withdraw(instrument=instrument)],
        }[choice]  # type: ignore[return-value]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(1, 6))
def test_money_stays_whole(model: str, seed: int) -> None:
    instruments = synthetic_instruments()[:2]
    known = {i.id for i in instruments}
    limits = Limits(max_daily_fees_bps=10_000, max_daily_loss_bps=5_000, max_drawdown_bps=9_000)
    engine = Engine(scripted(Restless(seed)))  # type: ignore[arg-type]
    venue = PaperVenue(MODELS[model], seed)
    market = SyntheticMarket(seed)
    ticks = (e for n in range(900) for e in market.step(START + (n + 1) * 2 * SECOND, 2.0) if e.instrument in known)
    fills = 0

    def take(event: Event) -> None:
        nonlocal fills
        for taken in step(venue, engine, event):
            fills += isinstance(taken.event, OrderFilled)
        check()

    def check() -> None:
        state = engine.state
        assert not {Stop.HALT, Stop.FAULT, Stop.BREAK} & set(state.stops), state.stops
        state.ledger.assert_balanced()
        reported = venue.reported_balances()
        for key, balance in state.ledger.balances.items():
            assert balance.total == reported.get(key, 0), key
            assert balance.locked == sum(
                o.reserved
                for o in state.open_orders.values()
                if key == (state.instruments[o.request.instrument].quote_key if o.request.side == "buy" else None)
                or key == (state.instruments[o.request.instrument].base_key if o.request.side == "sell" else None)
            ), key

    for opening in opening_events(account(limits=limits), instruments, 100_000 * AMOUNT_SCALE, START):
        take(opening)
    for n, event in enumerate(with_bars(ticks, [60])):
        take(event)
        if n % 400 == 399:
            take(KillSwitchEngaged(ts_ns=event.ts_ns, reason="drill", actor="t", flatten=True))
        if n % 400 == 30 and n > 400:
            take(KillSwitchReleased(ts_ns=event.ts_ns, reason="over", actor="t"))
        exposure, nav = gross_exposure(engine.state), net_asset_value(engine.state)
        assert exposure == 0 or ratio_bps(exposure, nav) < 10_100
    assert fills > 20


def test_the_kill_switch_ends_every_order_and_position_within_the_venues_time() -> None:
    instruments = synthetic_instruments()[:2]
    known = {i.id for i in instruments}
    engine = Engine(scripted(Restless(4)))  # type: ignore[arg-type]
    venue = PaperVenue(FillModel(latency_ms=200, jitter_ms=200), 4)
    market = SyntheticMarket(4)
    now = START

    def take(event: Event) -> None:
        for _ in step(venue, engine, event):
            pass

    for opening in opening_events(account(), instruments, 100_000 * AMOUNT_SCALE, START):
        take(opening)
    ticks = (e for n in range(200) for e in market.step(START + (n + 1) * 2 * SECOND, 2.0) if e.instrument in known)
    for event in with_bars(ticks, [60]):
        take(event)
        now = event.ts_ns
    assert engine.state.open_orders or gross_exposure(engine.state)
    take(KillSwitchEngaged(ts_ns=now, reason="drill", actor="t", flatten=True))
    for n in range(1, 5):
        for event in market.step(now + n * SECOND, 1.0):
            if event.instrument in known:
                take(event)
        take(Timer(ts_ns=now + n * SECOND))
    assert engine.state.open_orders == {}
    assert gross_exposure(engine.state) == 0


@pytest.mark.parametrize("seed", range(1, 41))
def test_an_order_that_a_kill_overtakes_on_paper_is_taken_back(seed: int) -> None:
    """A resting order is on its way for 40 ms, the kill comes 2 ms after it and may pass it (finding 3)."""
    instrument = synthetic_instruments()[0]
    bid = 50_000 * 10**instrument.price_decimals
    engine, venue = Engine({}), PaperVenue(FillModel(), seed)

    def take(event: Event) -> None:
        for _ in step(venue, engine, event):
            pass

    config = msgspec.structs.replace(account(), strategies=(), tradable=(instrument.id,))
    for opening in opening_events(config, [instrument], 100_000 * AMOUNT_SCALE, START):
        take(opening)
    take(Quote(ts_ns=START, instrument=instrument.id, bid=bid, ask=bid + 10, bid_size=10**8, ask_size=10**8))
    request = ParentRequest(
        id=ParentId("p1"),
        symbol=instrument.symbol,
        side=Side.BUY,
        amount=AMOUNT_SCALE // 100,
        algorithm=Algorithm.ICEBERG,
        limit_price=49_900 * AMOUNT_SCALE,
        display=AMOUNT_SCALE // 100,
    )
    take(ParentOrderRequested(ts_ns=START + 1, request=request, actor="t"))
    assert engine.state.open_orders, "nothing was on its way"
    take(KillSwitchEngaged(ts_ns=START + 2_000_000, reason="drill", actor="t"))
    for n in range(1, 20):
        take(Timer(ts_ns=START + n * SECOND))
    assert engine.state.open_orders == {}
    assert venue.unconfirmed() == []
