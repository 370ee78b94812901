"""What every command prints with."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aether.config import Settings, load_settings
from aether.domain.errors import AetherError, unwrapped
from aether.domain.scaled import parse_amount
from aether.telemetry import configure_logging

PIPE_WIDTH = 200
"""Columns of a table that goes into a pipe, where nothing should be cut."""

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True)


def settings_of(data_dir: Path | None = None, **overrides: object) -> Settings:
    """Return the settings, with logging set up by them."""
    settings = load_settings({"data_dir": data_dir, **overrides})
    configure_logging(settings.log_level, as_json=settings.logs_json)
    return settings


@contextmanager
def errors_told() -> Iterator[None]:
    """Print what was wrong and what to do, on standard error, and end with the error's exit code."""
    try:
        yield
    except BaseException as raised:
        error = unwrapped(raised)
        if not isinstance(error, AetherError):
            raise
        err.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
        err.print(f"[dim]What to do:[/] {escape(error.remedy)}", highlight=False, soft_wrap=True)
        raise SystemExit(error.exit_code) from raised


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print a table; a column whose name ends with * holds text, and the last one of those runs over several lines."""
    if not rows:
        out.print(f"[dim]{empty}[/]")
        return
    drawn = Table(title=title, title_justify="left", header_style="dim", box=None, pad_edge=False)
    for column in columns:
        is_text = column.rstrip("*") != column
        is_prose = is_text and column is columns[-1]
        drawn.add_column(
            column.rstrip("*"), justify="left" if is_text else "right", no_wrap=not is_prose, overflow="fold"
        )
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)


def money(text: str) -> str:
    """Return an exact amount as people read it: two decimals, thousands apart."""
    return f"{parse_amount(text) / 10**8:,.2f}"
