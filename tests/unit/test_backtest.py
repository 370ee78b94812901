"""Back-tests: reproducible by id, right to the cent, told in full (B1, B2, B4)."""

import json
import math
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from aether.backtest.metrics import drawdown, measure, round_trips
from aether.backtest.results import load, save
from aether.backtest.runner import Outcome, Plan, run, run_id
from aether.backtest.tearsheet import MAX_POINTS, thin
from aether.compose.accounts import assign, recording_account
from aether.domain.accounts import Limits, Mode
from aether.domain.errors import UnknownNameError
from aether.domain.records import EquityPoint
from aether.domain.scaled import AMOUNT_SCALE
from aether.market.dataset import Dataset
from aether.market.files import read_dataset
from aether.market.options import ReadOptions
from aether.matching.simulator import FillModel
from aether.strategies import catalogue

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four days of minute bars with trends to follow."""
    steps = RNG.normal(0, 0.0008, 5_760) + 0.0004 * np.sin(np.arange(5_760) / 300)
    close = 40_000 * np.exp(np.cumsum(steps))
    path = tmp_path_factory.mktemp("data") / "bars.csv"
    rows = ["timestamp,open,high,low,close,volume"]
    before = 40_000.0
    for n, price in enumerate(close.tolist()):
        high, low = max(before, price) * 1.0004, min(before, price) * 0.9996
        rows.append(f"{1_700_000_040 + 60 * n},{before:.2f},{high:.2f},{low:.2f},{price:.2f},{3 + n % 5}.25")
        before = float(f"{price:.2f}")
    path.write_text("\n".join(rows))
    return read_dataset(path, ReadOptions("BTC/USD"))[0]


def plan_for(dataset: Dataset, strategy: str = "ema_cross", **model: int) -> Plan:
    known: dict[str, dict[str, float | int | str | bool]] = {
        "ema_cross": {"fast": 5, "slow": 20},
        "mean_reversion": {"entry_z": 1.0},
    }
    params = known.get(strategy, {})
    assignment = assign(strategy, (dataset.instrument().id,), params, 300)
    limits = Limits(max_daily_fees_bps=5_000, max_daily_loss_bps=5_000, max_drawdown_bps=9_000)
    account = recording_account("backtest", dataset, assignment, Mode.BACKTEST, limits, 1)
    return Plan(account=account, cash=100_000 * AMOUNT_SCALE, model=FillModel(**model))


@pytest.fixture(scope="module")
def outcome(dataset: Dataset) -> Outcome:
    return run(plan_for(dataset), dataset, catalogue())


def test_twice_gives_the_identical_run(dataset: Dataset, outcome: Outcome) -> None:
    again = run(plan_for(dataset), dataset, catalogue())
    assert again.run_id == outcome.run_id
    assert again.fills == outcome.fills
    assert again.state_hash == outcome.state_hash
    assert len(outcome.fills) > 20


def test_any_difference_gives_another_id(dataset: Dataset) -> None:
    base = plan_for(dataset)
    shorter = msgspec.structs.replace(base, cash=base.cash + 1)
    other_seed = msgspec.structs.replace(base, account=msgspec.structs.replace(base.account, seed=2))
    ids = {run_id(p, dataset) for p in (base, shorter, other_seed, plan_for(dataset, latency_ms=41))}
    assert len(ids) == 4


@pytest.mark.parametrize("strategy", ["ema_cross", "mean_reversion", "vol_target_basket"])
def test_ledger_and_equity_agree_with_a_recomputation_from_the_fills(
    dataset: Dataset, strategy: str, tmp_path: Path
) -> None:
    plan = plan_for(dataset, strategy)
    saved = save(tmp_path, plan, dataset, run(plan, dataset, catalogue()))
    result = json.loads((saved.folder / "result.json").read_text())
    cash, coins, fees, cost, realized = Decimal(100_000), Decimal(0), Decimal(0), Decimal(0), Decimal(0)
    assert result["fills"]
    for fill in result["fills"]:
        price, size, fee = (Decimal(fill[k]) for k in ("price", "size", "fee"))
        assert abs(Decimal(fill["notional"]) - price * size) <= Decimal("0.5e-8")
        fees += fee
        if fill["side"] == "buy":
            cash, coins, cost = cash - price * size - fee, coins + size, cost + price * size
        else:
            share = cost * size / coins
            realized += price * size - share
            cash, coins, cost = cash + price * size - fee, coins - size, cost - share
    last = Decimal(int(dataset.columns["close"][-1])).scaleb(-dataset.price_decimals)
    cent = Decimal("0.01")
    summary = {k: Decimal(v) for k, v in result["summary"].items() if isinstance(v, str)}
    assert abs(summary["cash"] - cash) < cent
    assert abs(summary["fees"] - fees) < cent
    assert abs(summary["realized"] - realized) < cent
    assert abs(summary["exposure"] - coins * last) < cent
    assert abs(summary["nav"] - (cash + coins * last)) < cent
    assert abs(Decimal(result["equity"][-1][1]) - summary["nav"]) < cent
    assert summary["nav"] == summary["capital"] + summary["realized"] - summary["fees"] + summary["unrealized"]


def test_nothing_is_known_before_its_time(dataset: Dataset, outcome: Outcome) -> None:
    """No order trades at a price of the bar that it was decided on (B1): fills come after the decision."""
    created = {o.request.id: o.created_ns for o in outcome.orders}
    assert all(fill.ts_ns > created[fill.order_id] + 40_000_000 for fill in outcome.fills)


def test_the_future_changes_nothing_in_the_past(dataset: Dataset, outcome: Outcome) -> None:
    half = len(dataset) // 2
    cut = Dataset(
        kind=dataset.kind,
        symbol=dataset.symbol,
        price_decimals=dataset.price_decimals,
        size_decimals=dataset.size_decimals,
        interval_s=dataset.interval_s,
        ts_ns=dataset.ts_ns[:half],
        columns={n: c[:half] for n, c in dataset.columns.items()},
        source="half",
    )
    early = run(plan_for(dataset), cut, catalogue())
    assert early.fills == outcome.fills[: len(early.fills)]
    assert len(early.fills) > 5


def test_costs_cost(dataset: Dataset, outcome: Outcome) -> None:
    wide = run(plan_for(dataset, half_spread_centibps=5_000), dataset, catalogue())
    assert wide.final is not None
    assert outcome.final is not None
    assert wide.final.nav < outcome.final.nav


def test_the_tear_sheet_needs_nothing_else_and_states_its_models(
    dataset: Dataset, outcome: Outcome, tmp_path: Path
) -> None:
    saved = save(tmp_path, plan_for(dataset), dataset, outcome)
    html = saved.tearsheet.read_text()
    assert html.count("<svg") == 3
    assert html.count('class="buy"') == sum(1 for f in outcome.fills if f.side == "buy")
    for word in ("latency", "spread", "depth", "queue", "rejects", outcome.run_id):
        assert word in html
    assert "http://" not in html
    assert "https://" not in html
    assert load(tmp_path, outcome.run_id[:6]).result["run_id"] == outcome.run_id
    with pytest.raises(UnknownNameError, match=f"Known runs: {outcome.run_id}"):
        load(tmp_path, "zzzz")


def test_round_trips_include_both_fees(outcome: Outcome) -> None:
    trips = round_trips(outcome.fills)
    assert trips
    assert outcome.final is not None
    open_fees = sum(f.fee for f in outcome.fills if f.ts_ns > trips[-1].closed_ns)
    assert sum(t.result for t in trips) == outcome.final.realized - outcome.final.fees + open_fees


def point(n: int, nav: float) -> EquityPoint:
    units = round(nav * AMOUNT_SCALE)
    return EquityPoint(ts_ns=n * 86_400 * 10**9, nav=units, cash=units, exposure=0, realized=0, fees=0, capital=0)


def test_metrics_of_a_known_curve() -> None:
    metrics = measure([point(n, nav) for n, nav in enumerate([100, 110, 99, 99, 121])], [], 0.1)
    assert metrics.total_return == pytest.approx(0.21)
    assert metrics.max_drawdown == pytest.approx(0.1)
    assert metrics.max_drawdown_s == 2 * 86_400
    returns = np.array([0.1, -0.1, 0.0, 121 / 99 - 1])
    assert metrics.annual_volatility == pytest.approx(returns.std() * math.sqrt(365))
    assert metrics.sharpe == pytest.approx(returns.mean() / returns.std() * math.sqrt(365))
    assert drawdown(np.array([1.0, 2.0, 1.5])).tolist() == [0.0, 0.0, -0.25]


def test_thinning_keeps_the_extremes() -> None:
    x = np.arange(100_000, dtype=np.float64)
    y = np.sin(x / 700)
    y[54_321], y[12_345] = 9.0, -9.0
    tx, ty = thin(x, y)
    assert len(tx) <= MAX_POINTS + 2
    assert (ty.max(), ty.min()) == (9.0, -9.0)
    assert (np.diff(tx) > 0).all()
