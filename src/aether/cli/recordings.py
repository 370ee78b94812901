"""Recordings as commands read them."""

from pathlib import Path
from typing import Any

import msgspec

from aether.cli.console import err
from aether.cli.database import with_database
from aether.config import Settings
from aether.market.dataset import Dataset, DatasetKind
from aether.market.files import read_dataset
from aether.market.options import ReadOptions
from aether.market.quality import QualityReport
from aether.store import datasets

STORED = "dataset:"
IMPLAUSIBLE_DAILY_TURNOVER = 1e12


def read_recording(settings: Settings, source: str, options: tuple[Any, ...]) -> Dataset:
    """Return a recording from a file, or from the database when `source` is `dataset:NAME`; warns of what is odd.

    Raises:
        DataFormatError, DataQualityError, UnknownNameError: when it cannot be read.
    """
    dataset, report = _read(settings, source, msgspec.convert(options, ReadOptions))
    warn_about(dataset, report)
    return dataset


def _read(settings: Settings, source: str, options: ReadOptions) -> tuple[Dataset, QualityReport | None]:
    if not source.startswith(STORED):
        return read_dataset(Path(source), options)

    stored = with_database(settings, lambda scope: datasets.load(scope, source.removeprefix(STORED)))
    return (
        Dataset(
            kind=DatasetKind(stored.kind),
            symbol=stored.symbol,
            price_decimals=stored.price_decimals,
            size_decimals=stored.size_decimals,
            interval_s=stored.interval_s,
            ts_ns=stored.ts_ns,
            columns=stored.columns,
            source=stored.source,
        ),
        None,
    )


def warn_about(dataset: Dataset, report: QualityReport | None) -> None:
    """Tell of rows that were left out, and of a volume that can hardly be meant."""
    if report is not None:
        for finding in report.findings:
            err.print(f"[yellow]Skipped:[/] {finding.rule}, {finding.count} times, first at {finding.examples[0]}")
    if dataset.kind is DatasetKind.BARS:
        turnover = float((dataset.columns["close"] / 10**dataset.price_decimals).mean()) * float(
            dataset.columns["volume"].mean() / 10**dataset.size_decimals
        )
        per_day = turnover * 86_400 / dataset.interval_s
        if per_day > IMPLAUSIBLE_DAILY_TURNOVER:
            err.print(
                f"[yellow]Note:[/] the volume means {per_day:,.0f} a day if it counts {dataset.symbol.split('/')[0]}; "
                "if it counts the quote currency, pass --volume-in quote.",
                highlight=False,
                soft_wrap=True,
            )
