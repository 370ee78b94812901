"""What a run amounts to, in the figures that the field uses.

Returns are taken between equity samples and annualised by the calendar (crypto trades all year): Sharpe is mean over
standard deviation of those returns without a risk-free rate, Sortino over the downside deviation. A trade is what was
bought from flat to flat; its result includes the fees of both ways.
"""

import math
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from aether.domain.orders import Side
from aether.domain.records import EquityPoint, Fill
from aether.domain.scaled import AMOUNT_SCALE

SECONDS_PER_YEAR = 365 * 86_400
NS_PER_S = 1_000_000_000


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures. Fractions are of 1; money is in the account's currency."""

    total_return: float
    benchmark_return: float
    annual_volatility: float
    sharpe: float
    sortino: float
    max_drawdown: float
    max_drawdown_s: float
    average_exposure: float
    trades: int
    win_rate: float
    profit_factor: float
    turnover: float
    fees_bps_of_turnover: float


class RoundTrip(NamedTuple):
    """A position from flat to flat; `result` is after fees, a ledger amount."""

    opened_ns: int
    closed_ns: int
    result: int


def equity_arrays(points: list[EquityPoint]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return sample times (n,) and NAV (n,)."""
    ts = np.array([p.ts_ns for p in points], dtype=np.int64)
    nav = np.array([p.nav / AMOUNT_SCALE for p in points], dtype=np.float64)
    return ts, nav


def drawdown(nav: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fall from the highest value so far, as fractions at or below 0, shape (n,)."""
    fall: NDArray[np.float64] = nav / np.maximum.accumulate(nav) - 1.0
    return fall


def round_trips(fills: list[Fill]) -> list[RoundTrip]:
    """Return the positions that were opened and closed, per instrument, in the order of their ends."""
    held: dict[str, list[int]] = {}
    trips = []
    for fill in fills:
        state = held.setdefault(fill.instrument, [0, 0, 0])
        if state[0] == 0:
            state[1], state[2] = fill.ts_ns, 0
        state[0] += fill.size if fill.side is Side.BUY else -fill.size
        state[2] += fill.realized - fill.fee
        if state[0] == 0:
            trips.append(RoundTrip(state[1], fill.ts_ns, state[2]))
    return trips


def measure(points: list[EquityPoint], fills: list[Fill], benchmark_return: float) -> Metrics:
    """Return the figures of a run.

    Args:
        points: at least one equity sample.
        benchmark_return: of buying at the first price and holding.
    """
    ts, nav = equity_arrays(points)
    returns = np.diff(nav) / nav[:-1] if len(nav) > 1 else np.zeros(0)
    seconds = max((int(ts[-1]) - int(ts[0])) / NS_PER_S, 1.0)
    per_year = len(returns) / seconds * SECONDS_PER_YEAR
    deviation = float(returns.std()) if len(returns) else 0.0
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2))) if len(returns) else 0.0
    mean = float(returns.mean()) if len(returns) else 0.0
    fall = drawdown(nav)
    trips = round_trips(fills)
    gains = sum(t.result for t in trips if t.result > 0)
    losses = -sum(t.result for t in trips if t.result < 0)
    turnover = sum(f.notional for f in fills)
    fees = sum(f.fee for f in fills)
    exposure = [p.exposure / p.nav for p in points if p.nav > 0]
    return Metrics(
        total_return=float(nav[-1] / nav[0] - 1.0),
        benchmark_return=benchmark_return,
        annual_volatility=deviation * math.sqrt(per_year),
        sharpe=mean / deviation * math.sqrt(per_year) if deviation > 0 else 0.0,
        sortino=mean / downside * math.sqrt(per_year) if downside > 0 else 0.0,
        max_drawdown=float(-fall.min()),
        max_drawdown_s=_longest_drawdown_s(ts, fall),
        average_exposure=sum(exposure) / len(exposure) if exposure else 0.0,
        trades=len(trips),
        win_rate=sum(1 for t in trips if t.result > 0) / len(trips) if trips else 0.0,
        profit_factor=gains / losses if losses else 0.0,
        turnover=turnover / AMOUNT_SCALE,
        fees_bps_of_turnover=fees / turnover * 10_000 if turnover else 0.0,
    )


def _longest_drawdown_s(ts: NDArray[np.int64], fall: NDArray[np.float64]) -> float:
    longest = 0
    peak_ns = int(ts[0])
    for at, value in zip(ts.tolist(), fall.tolist(), strict=True):
        if value >= 0.0:
            peak_ns = at
        longest = max(longest, at - peak_ns)
    return longest / NS_PER_S
