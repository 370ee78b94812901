"""Bars, replay and the synthetic market."""

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aether.domain.events import Bar, MarketEvent, Quote, Trade
from aether.domain.orders import Side
from aether.market.bars import BarAggregator, with_bars
from aether.market.files import read_dataset
from aether.market.options import ReadOptions
from aether.market.replay import replay_trades
from aether.market.synthetic import PAIRS, SyntheticMarket, synthetic_instruments
from tests.desk import BTC, SECOND, START

MINUTE = 60 * SECOND
FIRST = START // MINUTE * MINUTE


def trade(at_s: float, price: int, size: int = 1) -> Trade:
    return Trade(ts_ns=FIRST + round(at_s * SECOND), instrument=BTC.id, price=price, size=size, side=Side.BUY)


def test_a_bar_comes_before_the_trade_that_ends_it() -> None:
    found = list(with_bars([trade(1, 10), trade(20, 14), trade(30, 8, 5), trade(59.9, 11), trade(60, 99)], [60]))
    (bar,) = (e for e in found if isinstance(e, Bar))
    assert found.index(bar) == 4
    assert (bar.ts_ns, bar.open, bar.high, bar.low, bar.close, bar.volume) == (FIRST + MINUTE, 10, 14, 8, 11, 8)


def test_several_lengths_at_once_and_no_bar_without_trades() -> None:
    found = [e for e in with_bars([trade(1, 10), trade(61, 12), trade(605, 9)], [60, 300]) if isinstance(e, Bar)]
    assert [(b.interval_s, (b.ts_ns - FIRST) // SECOND) for b in found if b.interval_s == 60] == [(60, 60), (60, 120)]
    assert sum(1 for b in found if b.interval_s == 300) == 1


def test_flush_gives_what_has_not_ended() -> None:
    aggregator = BarAggregator([60])
    aggregator.add(trade(1, 10))
    assert aggregator.advance(FIRST + MINUTE - 1) == []
    assert [b.close for b in aggregator.flush()] == [10]
    assert aggregator.flush() == []


prices = st.integers(100, 10_000)


@given(st.lists(st.tuples(prices, prices, prices, prices, st.integers(0, 10**9)), min_size=2, max_size=30))
def test_a_recording_of_bars_replays_into_the_same_bars(rows: list[tuple[int, int, int, int, int]]) -> None:
    import tempfile

    text = "timestamp,open,high,low,close,volume\n"
    for n, (a, b, c, d, volume) in enumerate(rows):
        low, high = min(a, b, c, d), max(a, b, c, d)
        text += f"{FIRST // SECOND + 60 * n},{a},{high},{low},{d},{volume / 10**8:.8f}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.csv"
        path.write_text(text)
        dataset, _ = read_dataset(path, ReadOptions("BTC/USD"))
    aggregator = BarAggregator([60])
    bars = []
    for event in replay_trades(dataset, BTC.id):
        bars += aggregator.advance(event.ts_ns)
        aggregator.add(event)
    bars += aggregator.flush()
    columns = dataset.columns
    assert [b.ts_ns for b in bars] == dataset.ts_ns.tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert [getattr(b, name) for b in bars] == columns[name].tolist()


def run_market(seed: int, steps: int, step_s: float = 1.0) -> list[MarketEvent]:
    market = SyntheticMarket(seed)
    return [e for n in range(steps) for e in market.step(START + n * SECOND, step_s)]


def test_the_synthetic_market_is_its_seeds() -> None:
    assert run_market(7, 50) == run_market(7, 50)
    assert run_market(7, 50) != run_market(8, 50)


def test_the_synthetic_market_is_a_possible_one() -> None:
    events = run_market(3, 3_000)
    quotes = [e for e in events if isinstance(e, Quote)]
    trades = [e for e in events if isinstance(e, Trade)]
    assert all(0 < q.bid < q.ask and q.bid_size > 0 and q.ask_size > 0 for q in quotes)
    assert 0.6 < len(trades) / len(quotes) < 0.8
    last = {q.instrument: q for q in quotes}
    assert set(last) == {i.id for i in synthetic_instruments()}
    touched = {(q.instrument, q.ts_ns): (q.bid, q.ask) for q in quotes}
    assert all(t.price in touched[t.instrument, t.ts_ns] for t in trades)


def test_the_synthetic_market_is_as_volatile_as_stated_and_clusters() -> None:
    market = SyntheticMarket(5)
    closes = []
    for n in range(20_000):
        quote = next(e for e in market.step(START + n * 10 * SECOND, 10.0) if isinstance(e, Quote))
        closes.append((quote.bid + quote.ask) / 2)
    returns = np.diff(np.log(closes))
    yearly = float(returns.std()) * math.sqrt(365 * 86_400 / 10)
    stated = PAIRS[0][2]
    assert 0.7 * stated < yearly < 2 * stated
    squares = returns**2
    clustering = float(np.corrcoef(squares[1:], squares[:-1])[0, 1])
    assert clustering > 0.03


def test_the_synthetic_market_goes_on_from_given_prices() -> None:
    market = SyntheticMarket(1, {BTC.id: Decimal("123456.7")})
    quote = next(e for e in market.step(START, 0.5) if isinstance(e, Quote))
    assert abs((quote.bid + quote.ask) / 2 - 1_234_567) < 2_000


def test_a_clock_that_is_set_back_does_not_stop_the_bars() -> None:
    bars = BarAggregator((30,))
    late = 1_700_007_200 * 10**9
    bars.add(Trade(ts_ns=late, instrument=BTC.id, price=7, size=1))
    early = late - 7_200 * 10**9
    assert bars.advance(early) == []
    bars.add(Trade(ts_ns=early, instrument=BTC.id, price=5, size=1))
    (bar,) = bars.advance(early + 60 * 10**9)
    assert (bar.open, bar.close, bar.volume) == (5, 5, 1)
    assert bar.ts_ns <= early + 30 * 10**9
