"""The tear sheet: one HTML file that needs nothing else, with figures, charts and the trades.

Charts are drawn as SVG here, thinned to `MAX_POINTS` by keeping each bucket's lowest and highest, so that no spike is
lost.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from numpy.typing import NDArray

from aether.backtest.metrics import drawdown, equity_arrays
from aether.backtest.runner import Outcome
from aether.clock import utc_text
from aether.domain.orders import Side
from aether.market.dataset import Dataset, DatasetKind

MAX_POINTS = 1_200
MAX_TRADES_LISTED = 500
WIDTH, HEIGHT, LEFT, BOTTOM = 1080, 260, 74, 24
Floats = NDArray[np.float64]


def thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return at most about `MAX_POINTS` points of a line, keeping each bucket's extremes."""
    if len(x) <= MAX_POINTS:
        return x, y
    keep: list[int] = []
    for bucket in np.array_split(np.arange(len(x)), MAX_POINTS // 2):
        keep += sorted({int(bucket[y[bucket].argmin()]), int(bucket[y[bucket].argmax()])})
    return x[keep], y[keep]


class Chart:
    """Lines and markers in one frame with a time axis.

    Args:
        lines: (name, times, values, CSS class).
        percent: whether values are fractions to show as percent.
    """

    def __init__(self, lines: Sequence[tuple[str, Floats, Floats, str]], *, percent: bool = False) -> None:
        self._lines = lines
        self._percent = percent
        self._x0 = min(float(x[0]) for _, x, _, _ in lines)
        self._x1 = max(float(x[-1]) for _, x, _, _ in lines) or 1.0
        low = min(float(y.min()) for _, _, y, _ in lines)
        high = max(float(y.max()) for _, _, y, _ in lines)
        pad = (high - low) * 0.06 or abs(high) * 0.01 or 1.0
        self._y0, self._y1 = (low - pad, 0.0 if percent and high <= 0 else high + pad)
        self._marks: list[str] = []

    def _x(self, value: float) -> float:
        return LEFT + (value - self._x0) / (self._x1 - self._x0 or 1.0) * (WIDTH - LEFT - 12)

    def _y(self, value: float) -> float:
        return 10 + (self._y1 - value) / (self._y1 - self._y0 or 1.0) * (HEIGHT - BOTTOM - 18)

    def mark(self, ts_ns: int, value: float, side: Side) -> None:
        """Put a triangle at an execution, upwards for a buy."""
        x, y = self._x(float(ts_ns)), self._y(value)
        tip, base = (-5, 4) if side is Side.BUY else (5, -4)
        self._marks.append(
            f'<path class="{side}" d="M{x:.1f} {y + tip:.1f}l4 {base - tip}h-8z"><title>{side} at {value:g}, '
            f"{utc_text(ts_ns)}</title></path>"
        )

    def svg(self) -> str:
        """Return the drawing."""
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
        for value in np.linspace(self._y0, self._y1, 5)[1:-1] if not self._percent else np.linspace(self._y0, 0, 4):
            y = self._y(float(value))
            text = f"{value * 100:.1f} %" if self._percent else f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
            if abs(value) < 0.1 and not self._percent:
                text = f"{value:.6f}"
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        for moment in np.linspace(self._x0, self._x1, 7):
            anchor = "end" if moment == self._x1 else "start" if moment == self._x0 else "middle"
            parts.append(
                f'<text x="{self._x(float(moment)):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">'
                f"{utc_text(int(moment))[5:16]}</text>"
            )
        for _, line_x, line_y, css in self._lines:
            tx, ty = thin(line_x, line_y)
            points = " ".join(
                f"{self._x(a):.1f},{self._y(b):.1f}" for a, b in zip(tx.tolist(), ty.tolist(), strict=True)
            )
            parts.append(f'<polyline class="{css}" points="{points}"/>')
        return "".join([*parts, *self._marks, "</svg>"])


def render(result: dict[str, Any], dataset: Dataset, outcome: Outcome) -> str:
    """Return the tear sheet of a run as HTML."""
    environment = Environment(
        loader=PackageLoader("aether.backtest", "."), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    ts, nav = equity_arrays(outcome.equity)
    times = ts.astype(np.float64)
    name = "close" if dataset.kind is DatasetKind.BARS else "price"
    price = dataset.columns[name] / 10.0**dataset.price_decimals
    price_times = dataset.ts_ns.astype(np.float64)
    held = np.interp(times, price_times, price)
    price_chart = Chart([("price", price_times, price, "price")])
    for fill in outcome.fills:
        price_chart.mark(fill.ts_ns, fill.price / 10.0**dataset.price_decimals, fill.side)
    benchmark = nav[0] * held / held[0]
    return environment.get_template("tearsheet.html.j2").render(
        r=result,
        equity=Chart([("hold", times, benchmark, "benchmark"), ("equity", times, nav, "equity")]).svg(),
        drawdown=Chart([("drawdown", times, drawdown(nav), "loss")], percent=True).svg(),
        price=price_chart.svg(),
        fills=result["fills"][:MAX_TRADES_LISTED],
        utc_text=utc_text,
        max_listed=MAX_TRADES_LISTED,
    )
