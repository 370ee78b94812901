"""`aether users`: people and what they may do."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aether.cli.console import out, print_json, settings_of, table
from aether.cli.options import (
    AsJson,
    DataDir,
    Reason,
    Url,
)
from aether.cli.remote import Remote, say
from aether.clock import utc_text
from aether.compose.directory import DataDirectory
from aether.control.access import roles_text
from aether.domain.errors import InvalidValueError

if TYPE_CHECKING:
    from aether.control.plane import ControlPlane

app = typer.Typer(help="People and what they may do.", no_args_is_help=True, add_completion=False)


def _roles(texts: list[str]) -> dict[str, str]:
    given = {}
    for text in texts:
        role, sign, account = text.partition(":")
        if not sign:
            account = "*"
        given[account] = role
    return given


RolesOption = Annotated[
    list[str], typer.Option("--role", help="ROLE, or ROLE:ACCOUNT, like auditor or trader:company; may be repeated.")
]


@app.command("list")
def users_list(data_dir: DataDir = None, url: Url = "", as_json: AsJson = False) -> None:
    """List people with their roles and factors."""
    found = Remote(settings_of(data_dir), url).call("GET", "/users")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            u["email"],
            u["name"],
            roles_text(u["roles"]),
            "app" if u["has_totp"] else "",
            str(u["passkeys"]),
            str(u["recovery_codes"]),
            "disabled" if u["disabled"] else "to be confirmed" if u["waits"] else "active",
        )
        for u in found
    ]
    columns = ("e-mail*", "name*", "roles*", "app*", "passkeys", "recovery codes", "state*")
    table("People", columns, rows, "Nobody is set up yet.")


def _user_id(remote: Remote, email: str) -> str:
    for user in remote.call("GET", "/users"):
        if user["email"] == email.strip().lower():
            return str(user["id"])
    raise InvalidValueError(f"There is no person {email!r}.", remedy="See: aether users list.")


@app.command("invite")
def users_invite(
    email: Annotated[str, typer.Argument()],
    name: Annotated[str, typer.Option(help="What they are called.")],
    role: RolesOption,
    reason: Reason,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Invite a person; give them the printed link. In production an admin's link is handed over by somebody else."""
    body = {"email": email, "name": name, "roles": _roles(role), "reason": reason}
    made = Remote(settings_of(data_dir), url).call("POST", "/users", body)
    told = f"{email} is invited. Another admin hands the link over: aether users link {email}"
    out.print(made["link"] or told, soft_wrap=True, highlight=False)


@app.command("invited")
def users_invited(data_dir: DataDir = None, url: Url = "", as_json: AsJson = False) -> None:
    """List who is invited and has not come yet."""
    found = Remote(settings_of(data_dir), url).call("GET", "/invitations")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            i["email"],
            roles_text(i["roles"]),
            i["invited_by"],
            i["held_by"] or "nobody yet",
            utc_text(i["expires_ns"]),
        )
        for i in found
    ]
    columns = ("e-mail*", "roles*", "invited by*", "link given to*", "until (UTC)*")
    table("Invited", columns, rows, "Nobody is invited.")


@app.command("link")
def users_link(email: Annotated[str, typer.Argument()], data_dir: DataDir = None, url: Url = "") -> None:
    """Print an invitation's link, to hand it over; an admin's, for whom another admin has invited."""
    made = Remote(settings_of(data_dir), url).call("POST", f"/invitations/{email.strip().lower()}/link")
    out.print(made["link"], soft_wrap=True, highlight=False)


@app.command("confirm")
def users_confirm(
    email: Annotated[str, typer.Argument()], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Let the role of a new admin count, having made sure that it is they; not for who held their link."""
    remote = Remote(settings_of(data_dir), url)
    remote.call("POST", f"/users/{_user_id(remote, email)}/confirm", {"reason": reason})
    out.print(f"The roles of {email} count now.", highlight=False)


@app.command("roles")
def users_roles(
    email: Annotated[str, typer.Argument()], role: RolesOption, reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Give a person exactly these roles; in production a second person approves it."""
    remote = Remote(settings_of(data_dir), url)
    body = {"roles": _roles(role), "reason": reason}
    say(remote.call("PUT", f"/users/{_user_id(remote, email)}/roles", body), f"The roles of {email} are changed.")


@app.command("disable")
def users_disable(
    email: Annotated[str, typer.Argument()],
    reason: Reason,
    enable: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Lock a person out at once, or let them in again; in production a second person approves the latter."""
    remote = Remote(settings_of(data_dir), url)
    verb, done = ("enable", "let in again") if enable else ("disable", "locked out")
    told = remote.call("POST", f"/users/{_user_id(remote, email)}/{verb}", {"reason": reason})
    say(told or {}, f"{email} is {done}.")


@app.command("reset")
def users_reset(email: Annotated[str, typer.Argument()], data_dir: DataDir = None) -> None:
    """Let a person who lost every factor set themselves up anew; for whoever rules the machine and its database."""
    base, token = _at_the_machine(data_dir, lambda control: control.people.reset_factors(email))
    out.print(f"{base}/#invitation={token}", soft_wrap=True, highlight=False)


@app.command("vouch")
def users_vouch(email: Annotated[str, typer.Argument()], data_dir: DataDir = None) -> None:
    """Answer for an admin who is invited or waits to be confirmed; for whoever rules the machine and its database."""
    base, token = _at_the_machine(data_dir, lambda control: control.vouching.vouch(email))
    told = f"{base}/#invitation={token}" if token else f"The roles of {email} count now."
    out.print(told, soft_wrap=True, highlight=False)


def _at_the_machine(data_dir: Path | None, work: Callable[["ControlPlane"], Awaitable[str]]) -> tuple[str, str]:
    """Do something as the owner of the machine; return where the web interface is, and what came of it."""
    from aether.compose.control import control_plane  # noqa: PLC0415  the others only speak to the platform
    from aether.compose.keys import key_encryption  # noqa: PLC0415
    from aether.compose.storage import open_storage  # noqa: PLC0415
    from aether.control.sealing import Sealer  # noqa: PLC0415

    settings = settings_of(data_dir)

    async def run() -> tuple[str, str]:
        async with open_storage(settings) as storage:
            running = DataDirectory(settings.data_dir).running
            local = (
                json.loads(running.read_bytes())["url"] if running.is_file() else f"http://localhost:{settings.port}"
            )
            remote_url = settings.public_url or local
            sealer = Sealer(key_encryption(settings))
            control = await control_plane(settings, storage.database, sealer, remote_url, {})
            return remote_url, await work(control)

    return asyncio.run(run())
