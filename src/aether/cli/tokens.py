"""`aether tokens`: what services come in with."""

import sys
from typing import Annotated

import typer

from aether.cli.console import out, print_json, settings_of, table
from aether.cli.options import AsJson, DataDir, Url
from aether.cli.remote import Remote, say
from aether.clock import utc_text

app = typer.Typer(help="Tokens of services.", no_args_is_help=True, add_completion=False)


@app.command("list")
def tokens_list(data_dir: DataDir = None, url: Url = "", as_json: AsJson = False) -> None:
    """List the tokens of services."""
    found = Remote(settings_of(data_dir), url).call("GET", "/tokens")
    if as_json:
        print_json(found)
        return
    rows = [
        (t["id"], t["name"], ", ".join(t["actions"]), ", ".join(t["accounts"]), utc_text(t["expires_ns"]))
        for t in found
        if not t["ended_ns"]
    ]
    table("Tokens", ("id*", "service*", "may*", "where*", "until (UTC)*"), rows, "No service has a token.")


@app.command("create")
def tokens_create(
    name: Annotated[str, typer.Argument(help="Of the service.")],
    action: Annotated[list[str], typer.Option("--action", help="Like accounts.read; may be repeated.")],
    account: Annotated[list[str], typer.Option("--account", help="Where; * for everywhere; may be repeated.")],
    days: Annotated[int, typer.Option(min=1, max=365, help="Until it ends.")] = 90,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Make a token for a service; it is printed this once."""
    body = {"name": name, "actions": action, "accounts": account, "days": days}
    made = Remote(settings_of(data_dir), url).call("POST", "/tokens", body)
    sys.stdout.write(made["token"] + "\n")
    if made["approval"]:
        say(made, "")


@app.command("revoke")
def tokens_revoke(
    token: Annotated[str, typer.Argument(help="Its id.")], data_dir: DataDir = None, url: Url = ""
) -> None:
    """End a token at once."""
    Remote(settings_of(data_dir), url).call("DELETE", f"/tokens/{token}")
    out.print("The token is ended.")
