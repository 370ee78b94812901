"""Runs on disk: one folder per run id with `result.json` and the tear sheet.

`result.json` is for scripts: money, prices and sizes are exact decimal text.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aether.backtest.metrics import Metrics, measure
from aether.backtest.runner import Outcome, Plan
from aether.backtest.tearsheet import render
from aether.clock import utc_text
from aether.domain.errors import DataDirectoryError, UnknownNameError
from aether.domain.instruments import Instrument
from aether.domain.orders import OrderState
from aether.domain.records import Fill
from aether.domain.scaled import format_amount
from aether.market.dataset import Dataset, DatasetKind
from aether.matching.simulator import FillModel


@dataclass(frozen=True)
class SavedRun:
    """Where a run lies and what it says."""

    folder: Path
    result: dict[str, Any]

    @property
    def tearsheet(self) -> Path:
        """The HTML report."""
        return self.folder / "tearsheet.html"


def describe_model(model: FillModel) -> dict[str, str]:
    """Return the fill models of a run in words, for every report."""
    return {
        "latency": f"{model.latency_ms} to {model.latency_ms + model.jitter_ms} ms to the venue, "
        f"{model.latency_ms} ms back",
        "spread": f"{model.half_spread_centibps / 100:g} bps to each side of the last trade where no quotes are",
        "depth": f"levels {model.step_centibps / 100:g} bps apart, each {model.level_share_ppm / 10_000:g} % of "
        "the typical trade; every level is a fill of its own",
        "queue": "resting orders wait behind the size shown at their price; trades through it fill them",
        "rejects": f"{model.reject_ppm / 10_000:g} % at random, besides funds, minimums and post-only",
        "bars": "a bar is traded as open, low and high (the nearer first), close, a quarter of its volume each",
    }


def benchmark_return(dataset: Dataset) -> float:
    """Return the gain of buying at the first price and holding to the last, without costs."""
    names = ("open", "close") if dataset.kind is DatasetKind.BARS else ("price", "price")
    return float(dataset.columns[names[1]][-1] / dataset.columns[names[0]][0] - 1.0)


def save(root: Path, plan: Plan, dataset: Dataset, outcome: Outcome) -> SavedRun:
    """Write a run's folder under `root` and return it; the same run overwrites itself.

    Raises:
        DataDirectoryError: when the folder cannot be written.
    """
    metrics = measure(outcome.equity, outcome.fills, benchmark_return(dataset))
    result = _result(plan, dataset, outcome, metrics)
    folder = root / outcome.run_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        (folder / "tearsheet.html").write_text(render(result, dataset, outcome), encoding="utf-8")
    except OSError as error:
        raise DataDirectoryError(
            f"The run cannot be written to {folder}: {error.strerror}.", remedy="Choose another --data-dir."
        ) from error
    return SavedRun(folder, result)


def load(root: Path, run_id: str) -> SavedRun:
    """Return a saved run by its id or the beginning of it. Raises UnknownNameError when there is none, or several."""
    found = sorted(p for p in root.glob("*/result.json") if p.parent.name.startswith(run_id)) if run_id else []
    if len(found) != 1:
        known = ", ".join(sorted(p.parent.name for p in root.glob("*/result.json"))) or "none yet"
        raise UnknownNameError(
            f"{len(found) or 'No'} run{'s' if len(found) > 1 else ''} begin with {run_id!r}.",
            remedy=f"Known runs: {known}.",
        )
    return SavedRun(found[0].parent, msgspec.json.decode(found[0].read_bytes()))


def _result(plan: Plan, dataset: Dataset, outcome: Outcome, metrics: Metrics) -> dict[str, Any]:
    assert outcome.final is not None
    instrument = dataset.instrument()
    final = outcome.final
    return {
        "run_id": outcome.run_id,
        "account": msgspec.to_builtins(plan.account),
        "models": describe_model(plan.model),
        "data": {
            "source": dataset.source,
            "digest": dataset.digest,
            "symbol": dataset.symbol,
            "kind": str(dataset.kind),
            "rows": len(dataset),
            "from": utc_text(int(dataset.ts_ns[0])),
            "to": utc_text(int(dataset.ts_ns[-1])),
        },
        "summary": {
            "capital": format_amount(final.capital),
            "nav": format_amount(final.nav),
            "cash": format_amount(final.cash),
            "exposure": format_amount(final.exposure),
            "realized": format_amount(final.realized),
            "fees": format_amount(final.fees),
            "unrealized": format_amount(final.nav - final.capital - final.realized + final.fees),
            "orders": len(outcome.orders),
            "filled_orders": outcome.count(OrderState.FILLED),
            "denied_orders": outcome.count(OrderState.DENIED),
            "rejected_orders": outcome.count(OrderState.REJECTED),
            "fills": len(outcome.fills),
        },
        "metrics": msgspec.to_builtins(metrics),
        "denials": dict(outcome.denials),
        "alerts": [{"at": utc_text(a.ts_ns), "code": a.code, "message": a.message} for a in outcome.alerts],
        "state_hash": outcome.state_hash,
        "fills": [_fill(fill, instrument) for fill in outcome.fills],
        "equity": [[p.ts_ns, format_amount(p.nav)] for p in outcome.equity],
    }


def _fill(fill: Fill, instrument: Instrument) -> dict[str, Any]:
    return {
        "ts_ns": fill.ts_ns,
        "order_id": fill.order_id,
        "trade_id": fill.trade_id,
        "side": str(fill.side),
        "price": instrument.price_text(fill.price),
        "size": instrument.size_text(fill.size),
        "notional": format_amount(fill.notional),
        "fee": format_amount(fill.fee),
        "realized": format_amount(fill.realized),
        "liquidity": str(fill.liquidity),
        "purpose": str(fill.purpose),
    }
