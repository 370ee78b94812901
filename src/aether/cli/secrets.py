"""`aether secrets`: keys at the venues."""

import json
from pathlib import Path
from typing import Annotated

import typer

from aether.cli.console import out, print_json, settings_of, table
from aether.cli.options import Account, AsJson, DataDir, Reason, Url
from aether.cli.remote import Remote, say, secret_text
from aether.clock import utc_text
from aether.domain.errors import DataFormatError, KeyServiceError

app = typer.Typer(help="Keys at the venues.", no_args_is_help=True, add_completion=False)


KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help='JSON: {"key": ..., "secret": ...}; - for standard input.', show_default=False),
]


def _credentials(key_file: Path | None) -> dict[str, str]:
    if key_file is None:
        return {"key": secret_text(None, "Key"), "secret": secret_text(None, "Secret")}
    try:
        found = json.loads(secret_text(key_file, ""))
        return {"key": str(found["key"]), "secret": str(found["secret"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataFormatError(
            f"{key_file} holds no key.", remedy='Write it as JSON: {"key": ..., "secret": ...}.'
        ) from error


@app.command("status")
def secrets_status(
    account: Account,
    history: Annotated[bool, typer.Option("--history", help="Replaced and deleted ones too.")] = False,
    data_dir: DataDir = None,
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Show an account's keys as far as they may be told."""
    path = f"/secrets/status?account={account}" + ("&history=true" if history else "")
    found = Remote(settings_of(data_dir), url).call("GET", path)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            k["venue"],
            str(k["version"]),
            k["state"],
            k["fingerprint"],
            utc_text(k["created_ns"]),
            utc_text(k["rotate_by_ns"]) + (" DUE" if k["due"] else ""),
            ", ".join(f"{node}: {v}" for node, v in k["in_use"].items()),
        )
        for k in found
    ]
    columns = ("venue*", "version", "state*", "fingerprint*", "since (UTC)*", "replace by (UTC)*", "in use*")
    table(f"Keys of {account}", columns, rows, "No key is stored.")


@app.command("upload")
def secrets_upload(
    venue: Annotated[str, typer.Argument()],
    account: Account,
    reason: Reason,
    key_file: KeyFile = None,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Try a key at its venue and store it; one that may withdraw is refused."""
    body = {**_credentials(key_file), "reason": reason}
    answer = Remote(settings_of(data_dir), url).call("PUT", f"/secrets/{venue}?account={account}", body)
    say(answer, f"The key of {account} at {venue} is stored.")


@app.command("rotate")
def secrets_rotate(
    venue: Annotated[str, typer.Argument()],
    account: Account,
    version: Annotated[int, typer.Option(min=1, help="That is active now, as its status tells.")],
    reason: Reason,
    key_file: KeyFile = None,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Put another key in the place of the active one; running nodes take it up within seconds."""
    body = {**_credentials(key_file), "version": version, "reason": reason}
    answer = Remote(settings_of(data_dir), url).call("POST", f"/secrets/{venue}/rotate?account={account}", body)
    say(answer, f"The key of {account} at {venue} is replaced.")


@app.command("test")
def secrets_test(
    venue: Annotated[str, typer.Argument()], account: Account, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Try the stored key at its venue."""
    told = Remote(settings_of(data_dir), url).call("POST", f"/secrets/{venue}/test?account={account}")
    out.print(f"The venue accepts it: {told['permissions']}", highlight=False)


@app.command("delete")
def secrets_delete(
    venue: Annotated[str, typer.Argument()], account: Account, reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Destroy the stored key; delete it at the venue too."""
    remote = Remote(settings_of(data_dir), url)
    say(remote.call("DELETE", f"/secrets/{venue}?account={account}", {"reason": reason}), "The key is destroyed.")


@app.command("rotate-kek")
def secrets_rotate_kek(
    resume: Annotated[
        bool, typer.Option("--resume", help="Make no new key; wrap what an older one still wraps.")
    ] = False,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Make a new key-encryption key and wrap everything by it; nothing stops meanwhile."""
    told = Remote(settings_of(data_dir), url).call("POST", "/key-encryption-key/rotate", {"resume": resume})
    out.print(f"Key {told['key']} wraps {told['wrapped']} values now.", highlight=False)
    for value, reason in told["failed"].items():
        out.print(f"Not wrapped anew: {value}. {reason}", highlight=False)
    if told["failed"]:
        raise typer.Exit(KeyServiceError.exit_code)
