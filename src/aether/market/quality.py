"""Whether market data can be trusted: order, duplicates, gaps, impossible prices.

Every rule is applied to every row. The reader chooses what happens to offending rows: `stop` refuses the data and says
why, `skip` leaves them out (gaps stay, they are only reported).
"""

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aether.clock import utc_text
from aether.domain.errors import DataQualityError
from aether.domain.scaled import format_scaled
from aether.market.dataset import Column, Dataset, DatasetKind
from aether.market.options import OnBad

EXAMPLES_KEPT = 3
NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """How often a rule is broken, with the first examples."""

    rule: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class QualityReport:
    """What was found in a data set.

    Attributes:
        rows: read from the file.
        kept: rows that are used.
    """

    rows: int
    kept: int
    first_ns: int
    last_ns: int
    findings: tuple[Finding, ...] = field(default=())

    @property
    def is_clean(self) -> bool:
        """Whether no rule is broken."""
        return not self.findings


def check(
    dataset: Dataset, *, on_bad: OnBad, max_gap_s: int | None = None, ids: pl.Series | None = None
) -> tuple[Dataset, QualityReport]:
    """Return the data without the rows that break a rule, and the report.

    Args:
        max_gap_s: for trades, the longest silence that is no gap; bars have a gap where a bar is missing.
        ids: trade ids, to find executions that stand in the file twice.

    Raises:
        DataQualityError: when a rule is broken and `on_bad` is `OnBad.STOP`.
    """
    ts = dataset.ts_ns
    rules = _row_rules(dataset)
    latest_before = np.concatenate(([np.iinfo(np.int64).min], np.maximum.accumulate(ts)[:-1]))
    rules["out of time order"] = ts < latest_before
    if dataset.kind is DatasetKind.BARS:
        rules["duplicate time"] = ts == latest_before
    elif ids is not None:
        rules["duplicate trade id"] = (~ids.is_first_distinct()).to_numpy()
    bad = np.zeros(len(ts), dtype=bool)
    findings = []
    for rule, mask in rules.items():
        if mask.any():
            rows = np.flatnonzero(mask)
            examples = tuple(_example(dataset, int(row)) for row in rows[:EXAMPLES_KEPT])
            findings.append(Finding(rule, len(rows), examples))
            bad |= mask
    kept = replace(dataset, ts_ns=ts[~bad], columns={n: c[~bad] for n, c in dataset.columns.items()})
    findings += _gaps(kept, max_gap_s)
    report = QualityReport(
        rows=len(ts),
        kept=len(kept),
        first_ns=int(kept.ts_ns[0]) if len(kept) else 0,
        last_ns=int(kept.ts_ns[-1]) if len(kept) else 0,
        findings=tuple(findings),
    )
    if findings and on_bad is OnBad.STOP:
        told = "; ".join(f"{f.rule} {f.count} times, first at {f.examples[0]}" for f in findings)
        raise DataQualityError(
            f"{dataset.source} breaks {len(findings)} rule{'s' if len(findings) > 1 else ''}: {told}.",
            remedy="Mend the file, or pass --on-bad skip to leave bad rows out and accept gaps.",
        )
    if len(kept) == 0:
        raise DataQualityError(f"{dataset.source} has no usable row.", remedy="Check the file and the options.")
    return kept, report


def _row_rules(dataset: Dataset) -> dict[str, NDArray[np.bool_]]:
    c = dataset.columns
    if dataset.kind is DatasetKind.TRADES:
        return {"price not positive": c["price"] <= 0, "size not positive": c["size"] <= 0}
    prices = np.stack([c["open"], c["high"], c["low"], c["close"]])
    return {
        "price not positive": np.min(prices, axis=0) <= 0,
        "high below low": c["high"] < c["low"],
        "open or close outside high and low": (
            (c["high"] >= c["low"])
            & ((np.maximum(c["open"], c["close"]) > c["high"]) | (np.minimum(c["open"], c["close"]) < c["low"]))
        ),
        "negative volume": c["volume"] < 0,
    }


def _gaps(dataset: Dataset, max_gap_s: int | None) -> list[Finding]:
    limit_s = dataset.interval_s if dataset.kind is DatasetKind.BARS else max_gap_s
    if not limit_s or len(dataset) < 2:
        return []
    steps = np.diff(dataset.ts_ns)
    rows: Column = np.flatnonzero(steps > limit_s * NS_PER_S)
    if len(rows) == 0:
        return []
    examples = tuple(
        f"{utc_text(int(dataset.ts_ns[row]))} for {int(steps[row]) // NS_PER_S} s" for row in rows[:EXAMPLES_KEPT]
    )
    return [Finding("gap", len(rows), examples)]


def _example(dataset: Dataset, row: int) -> str:
    values = ", ".join(
        f"{name} {format_scaled(int(column[row]), dataset.price_decimals)}"
        for name, column in dataset.columns.items()
        if name not in ("volume", "size", "side")
    )
    return f"row {row + 1} ({utc_text(int(dataset.ts_ns[row]))}, {values})"
