"""`aether approvals`: what waits for a second person."""

from pathlib import Path
from typing import Annotated

import typer

from aether.cli.console import out, print_json, settings_of, table
from aether.cli.options import AsJson, DataDir, Reason, Url
from aether.cli.remote import Remote
from aether.clock import utc_text

app = typer.Typer(help="What waits for a second person.", no_args_is_help=True, add_completion=False)


@app.command("list")
def approvals_list(
    everything: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False,
    data_dir: DataDir = None,
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """List what waits for a second person."""
    path = "/approvals" + ("" if everything else "?only_waiting=true")
    found = Remote(settings_of(data_dir), url).call("GET", path)
    if as_json:
        print_json(found)
        return
    rows = [
        (a["id"], utc_text(a["requested_ns"]), a["summary"], a["requested_by"], a["reason"], a["state"]) for a in found
    ]
    columns = ("id*", "asked (UTC)*", "what*", "by*", "reason*", "state*")
    table("Approvals", columns, rows, "Nothing waits for a second person.")


def _decide(number: str, reason: str, data_dir: Path | None, url: str, *, approve: bool) -> None:
    body = {"approve": approve, "reason": reason}
    told = Remote(settings_of(data_dir), url).call("POST", f"/approvals/{number}/decide", body)
    out.print(f"{told['summary']}: {told['state']}", highlight=False)


@app.command("approve")
def approvals_approve(
    number: Annotated[str, typer.Argument(help="Its id.")], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Approve what another person asked for; it is carried out."""
    _decide(number, reason, data_dir, url, approve=True)


@app.command("decline")
def approvals_decline(
    number: Annotated[str, typer.Argument(help="Its id.")], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Decline what another person asked for."""
    _decide(number, reason, data_dir, url, approve=False)


@app.command("withdraw")
def approvals_withdraw(
    number: Annotated[str, typer.Argument(help="Its id.")], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Take back what you asked for."""
    Remote(settings_of(data_dir), url).call("POST", f"/approvals/{number}/withdraw", {"reason": reason})
    out.print("Withdrawn.")
