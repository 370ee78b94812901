"""`aether link`, `login`, `logout` and `whoami`: who comes in."""

from typing import Annotated

import msgspec
import typer

from aether.cli.console import out, print_json, settings_of
from aether.cli.options import AsJson, DataDir, Url
from aether.cli.remote import Remote
from aether.compose.directory import DataDirectory
from aether.domain.errors import UnknownNameError

app = typer.Typer(add_completion=False)


@app.command()
def login(
    email: Annotated[str, typer.Option(prompt="E-mail", help="Who you are.")], data_dir: DataDir = None, url: Url = ""
) -> None:
    """Sign in with password and second factor; the session is kept in the data directory."""
    remote = Remote(settings_of(data_dir), url)
    remote.sign_in(email, typer.prompt("Password", hide_input=True, err=True))
    out.print(f"Signed in to {remote.url} as {email}.", highlight=False)


@app.command()
def logout(data_dir: DataDir = None, url: Url = "") -> None:
    """End the session of the command line."""
    remote = Remote(settings_of(data_dir), url)
    remote.call("DELETE", "/session")
    remote.forget_session()
    out.print("Signed out.")


@app.command()
def whoami(data_dir: DataDir = None, url: Url = "", as_json: AsJson = False) -> None:
    """Show who is signed in and what they may do."""
    me = Remote(settings_of(data_dir), url).call("GET", "/session")
    if as_json:
        print_json(me)
        return
    roles = ", ".join(f"{r} of {'all accounts' if a == '*' else a}" for a, r in me["roles"].items()) or "no role"
    waits = "; an admin must confirm that it is you" if me["waits"] else ""
    out.print(f"{me['name']}: {roles}{waits}", highlight=False)


@app.command()
def link(data_dir: DataDir = None) -> None:
    """Print another link with which the machine's owner begins: it works once, until people are set up."""
    file = DataDirectory(settings_of(data_dir).data_dir).running
    if not file.is_file():
        raise UnknownNameError(f"No platform runs on {file.parent}.", remedy="Start it with: aether up.")
    running = msgspec.json.decode(file.read_bytes())
    told = Remote(settings_of(data_dir), running["local"]).raw(
        "POST", "/session/links", {"secret": running["link_secret"]}
    )
    fragment = "token" if told["kind"] == "session" else "invitation"
    out.print(f"{running['url']}/#{fragment}={told['token']}", soft_wrap=True, highlight=False)
