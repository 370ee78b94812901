"""`aether data`: recordings, checked and imported."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from aether.cli.console import err, out, print_json, settings_of, table
from aether.cli.database import with_database
from aether.cli.options import AsJson, DataDir, MaxGap, OnBadOption, Symbol, Timestamps, VolumeIn
from aether.cli.recordings import warn_about
from aether.cli.venue import record
from aether.clock import utc_text
from aether.compose.accounts import trades_dataset
from aether.domain.errors import DataFormatError
from aether.market.dataset import Dataset
from aether.market.files import read_dataset
from aether.market.options import OnBad, ReadOptions
from aether.store import datasets
from aether.store.database import Role
from aether.venues.recording import is_recording, replay

app = typer.Typer(help="Import and check recordings.", no_args_is_help=True, add_completion=False)


@app.command("check")
def data_check(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, Parquet or Feather, gzipped or not.")],
    symbol: Symbol = "BTC/USD",
    timestamps: Timestamps = "open",
    volume_in: VolumeIn = "base",
    max_gap: MaxGap = None,
    as_json: AsJson = False,
) -> None:
    """Read a file and report on its quality; nothing is stored. Exits with 5 when a rule is broken."""
    dataset, report = read_dataset(file, ReadOptions(symbol, timestamps, volume_in, OnBad.SKIP, max_gap))
    if as_json:
        print_json(
            {
                "kind": dataset.kind,
                "symbol": dataset.symbol,
                "interval_s": dataset.interval_s,
                "digest": dataset.digest,
                "rows": report.rows,
                "kept": report.kept,
                "from": utc_text(report.first_ns),
                "to": utc_text(report.last_ns),
                "findings": [{"rule": f.rule, "count": f.count, "examples": f.examples} for f in report.findings],
            }
        )
    else:
        length = f" of {dataset.interval_s} s" if dataset.interval_s else ""
        out.print(
            f"{file.name}: {report.rows:,} {dataset.kind}{length}, {utc_text(report.first_ns)} to "
            f"{utc_text(report.last_ns)} UTC, prices with {dataset.price_decimals} decimals",
            highlight=False,
        )
        warn_about(dataset, None)
        rows = [(f.rule, f"{f.count:,}", f.examples[0]) for f in report.findings]
        table("Broken rules", ("rule*", "times", "first*"), rows, "Clean: no rule is broken.")
    if not report.is_clean:
        raise typer.Exit(5)


@app.command("import")
def data_import(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, Parquet or Feather, gzipped or not.")],
    symbol: Symbol = "BTC/USD",
    name: Annotated[str | None, typer.Option(help="What to call it; the file's name by default.")] = None,
    venue: Annotated[str, typer.Option(help="Of a raw recording; told from the file by default.")] = "",
    data_dir: DataDir = None,
    on_bad: OnBadOption = OnBad.STOP,
    timestamps: Timestamps = "open",
    volume_in: VolumeIn = "base",
    max_gap: MaxGap = None,
) -> None:
    """Check a file and store it in the database; use it afterwards as `dataset:NAME`."""
    if is_recording(file):
        dataset = _read_recording(file, symbol, venue)
    else:
        dataset, report = read_dataset(file, ReadOptions(symbol, timestamps, volume_in, on_bad, max_gap))
        warn_about(dataset, report)
    called = name or file.name.split(".")[0]
    stored = datasets.StoredColumns(
        kind=dataset.kind,
        symbol=dataset.symbol,
        price_decimals=dataset.price_decimals,
        size_decimals=dataset.size_decimals,
        interval_s=dataset.interval_s,
        ts_ns=dataset.ts_ns,
        columns=dataset.columns,
        source=dataset.source,
        digest=dataset.digest,
    )
    is_new = with_database(settings_of(data_dir), lambda scope: datasets.save(scope, called, stored), Role.NODE)
    verb = "Imported" if is_new else "Already there:"
    out.print(f"{verb} {len(dataset):,} {dataset.kind} of {symbol} as [bold]dataset:{called}[/]", highlight=False)


def _read_recording(file: Path, symbol: str, venue: str) -> Dataset:
    """Return the trades of a raw recording, and say how exactly its book was rebuilt."""
    found = replay(file, symbol, venue)
    if not found.trades:
        raise DataFormatError(
            f"{file} holds no trade of {symbol} among {found.messages:,} messages.",
            remedy="Name a pair that it holds with --symbol.",
        )
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(found.kinds.items()))
    out.print(f"{found.venue}, {found.messages:,} messages: {kinds}", highlight=False)
    if found.compared:
        verdict = "all the same" if not found.differed else f"[bold red]{found.differed:,} differed[/]"
        out.print(f"Top of book compared with the rebuilt book {found.compared:,} times: {verdict}", highlight=False)
    for reason in found.breaks[:5]:
        err.print(f"[yellow]Book broken:[/] {reason}", highlight=False)
    for kind, count in found.unreadable.items():
        err.print(f"[yellow]Not readable:[/] {kind}, {count:,} times", highlight=False)
    return trades_dataset(found, file.name)


app.command("record")(record)


@app.command("list")
def data_list(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the imported recordings."""
    found = with_database(settings_of(data_dir), datasets.listing)
    if as_json:
        print_json([msgspec.to_builtins(d) for d in found])
        return
    rows = [
        (d.name, d.symbol, d.kind, str(d.interval_s or ""), f"{d.rows:,}", utc_text(d.first_ns), utc_text(d.last_ns))
        for d in found
    ]
    columns = ("name*", "symbol*", "kind*", "bar s", "rows", "from (UTC)*", "to (UTC)*")
    table("Data sets", columns, rows, "None yet; import one with: aether data import FILE --symbol BTC/USD")
