"""`aether audit`: who did what."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from aether.cli.console import out, print_json, settings_of, table
from aether.cli.options import (
    AsJson,
    DataDir,
    Url,
)
from aether.cli.remote import Remote
from aether.clock import utc_text, wall_ns
from aether.compose.checkpoints import checkpoint_folder
from aether.compose.storage import open_storage
from aether.control.audit import AuditProver, SignedCheckpoint, read_public_key
from aether.domain.errors import DataFormatError, InvalidValueError

app = typer.Typer(help="Who did what.", no_args_is_help=True, add_completion=False)


@app.command("list")
def audit_list(
    action: Annotated[str, typer.Option(help="Only actions that begin so, like secrets.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    data_dir: DataDir = None,
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """List entries, newest first."""
    found = Remote(settings_of(data_dir), url).call("GET", f"/audit?limit={limit}&action={action}")
    if as_json:
        print_json(found)
        return
    rows = [
        (str(e["seq"]), utc_text(e["ts_ns"]), e["actor"], e["action"], e["account"], e["outcome"], e["target"])
        for e in found
    ]
    table("Audit trail", ("entry", "at (UTC)*", "who*", "action*", "account*", "outcome*", "of*"), rows, "No entry.")


@app.command("export")
def audit_export(data_dir: DataDir = None, url: Url = "") -> None:
    """Print the whole trail, one JSON object a line, each entry proven; the last line tells that it is complete."""
    sys.stdout.write(Remote(settings_of(data_dir), url).call("GET", "/audit/export"))


@app.command("checkpoint")
def audit_checkpoint(data_dir: DataDir = None, url: Url = "") -> None:
    """Sign the present end of every chain and print that; keep it somewhere else."""
    print_json(Remote(settings_of(data_dir), url).call("POST", "/audit/checkpoints"))


@app.command("verify")
def audit_verify(
    checkpoints: Annotated[
        Path | None, typer.Option(help="A folder with checkpoints kept elsewhere; its own by default.")
    ] = None,
    public_key: Annotated[str, typer.Option(help="Hex; the database's by default.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove the whole trail in the database against its hashes and signed checkpoints; exits with 18 when broken."""
    settings = settings_of(data_dir)
    folder = checkpoints or checkpoint_folder(settings)
    kept = [_checkpoint(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    if checkpoints and not kept:
        raise InvalidValueError(f"{checkpoints} holds no checkpoint.", remedy="Name the folder that they are kept in.")

    async def work() -> tuple[int, int]:
        async with open_storage(settings) as storage:
            scope = storage.database.control
            prover = AuditProver(scope, public_key or await read_public_key(scope), settings.market_archive)
            return await prover.verify(kept), len(await prover.stored())

    started = wall_ns()
    entries, stored = asyncio.run(work())
    if as_json:
        print_json({"entries": entries, "checkpoints": stored, "kept_checkpoints": len(kept)})
        return
    took = (wall_ns() - started) / 1e9
    out.print(
        f"{entries:,} entries verify, against {stored} checkpoints in the database and {len(kept)} kept outside "
        f"[dim]in {took:.1f} s[/]",
        highlight=False,
    )


def _checkpoint(path: Path) -> SignedCheckpoint:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SignedCheckpoint)
    except (OSError, msgspec.DecodeError) as error:
        raise DataFormatError(f"{path} is no checkpoint: {error}.", remedy="Remove it from the folder.") from error
