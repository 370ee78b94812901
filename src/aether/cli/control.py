"""`aether login`, `accounts`, `users`, `tokens`, `secrets`, `approvals`, `audit`: the control plane over the API."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from aether.cli.console import AsJson, DataDir, out, print_json, settings_of, table
from aether.cli.remote import Remote, secret_text
from aether.clock import utc_text, wall_ns
from aether.compose.control import allowlists_of, checkpoint_folder, control_plane, key_encryption
from aether.compose.directory import DataDirectory
from aether.compose.storage import open_storage
from aether.control.audit import AuditProver, SignedCheckpoint, read_public_key
from aether.control.plane import ControlPlane
from aether.control.sealing import Sealer
from aether.domain.errors import DataFormatError, InvalidValueError, KeyServiceError

Url = Annotated[str, typer.Option("--url", help="Of the platform; by default the one of the data directory.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the audit trail.")]
NewAsset = Annotated[bool, typer.Option("--new-asset", help="The account has had nothing to do with it yet.")]
Reference = Annotated[str, typer.Option(help="The bank's or the venue's name for it.")]
Account = Annotated[str, typer.Option("--account", help="The account.")]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", help='JSON: {"key": ..., "secret": ...}; - for standard input.', show_default=False),
]

accounts_app = typer.Typer(help="Open, configure and close accounts.", invoke_without_command=True)
users_app = typer.Typer(help="People and what they may do.", no_args_is_help=True)
tokens_app = typer.Typer(help="Tokens of services.", no_args_is_help=True)
secrets_app = typer.Typer(help="Keys at the venues.", no_args_is_help=True)
approvals_app = typer.Typer(help="What waits for a second person.", no_args_is_help=True)
audit_app = typer.Typer(help="Who did what.", no_args_is_help=True)


def login(
    email: Annotated[str, typer.Option(prompt="E-mail", help="Who you are.")], data_dir: DataDir = None, url: Url = ""
) -> None:
    """Sign in with password and second factor; the session is kept in the data directory."""
    remote = Remote(settings_of(data_dir), url)
    remote.sign_in(email, typer.prompt("Password", hide_input=True, err=True))
    out.print(f"Signed in to {remote.url} as {email}.", highlight=False)


def logout(data_dir: DataDir = None, url: Url = "") -> None:
    """End the session of the command line."""
    remote = Remote(settings_of(data_dir), url)
    remote.call("DELETE", "/session")
    remote.forget_session()
    out.print("Signed out.")


def whoami(data_dir: DataDir = None, url: Url = "", as_json: AsJson = False) -> None:
    """Show who is signed in and what they may do."""
    me = Remote(settings_of(data_dir), url).call("GET", "/session")
    if as_json:
        print_json(me)
        return
    roles = ", ".join(f"{r} of {'all accounts' if a == '*' else a}" for a, r in me["roles"].items()) or "no role"
    waits = "; an admin must confirm that it is you" if me["waits"] else ""
    out.print(f"{me['name']}: {roles}{waits}", highlight=False)


def _told(answer: dict[str, Any], done: str) -> None:
    waits = answer.get("approval")
    if waits:
        out.print(f"Request [bold]{waits['id']}[/] waits for a second person: {waits['summary']}", highlight=False)
    else:
        out.print(done, highlight=False)


# Accounts.


@accounts_app.command("create")
def accounts_create(
    account: Annotated[str, typer.Argument(help="Its id.")],
    name: Annotated[str, typer.Option(help="What people call it.")],
    instruments: Annotated[list[str], typer.Option("--instrument", help="Like kraken:BTC/USD; may be repeated.")],
    reason: Reason,
    kind: Annotated[str, typer.Option(help="company or director.")] = "company",
    live: Annotated[bool, typer.Option("--live", help="Trade real money; in production a second person approves.")] = (
        False
    ),
    cash: Annotated[str, typer.Option(help="First capital of a paper account.")] = "100000",
    strategy: Annotated[str, typer.Option(help="Empty: it is traded by hand.")] = "",
    bar: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds per bar of the strategy.")] = 60,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Open an account on the running market."""
    body = {
        "id": account,
        "name": name,
        "kind": kind,
        "mode": "live" if live else "paper",
        "cash": cash,
        "strategy": strategy,
        "instruments": instruments,
        "bar_s": bar,
        "reason": reason,
    }
    _told(Remote(settings_of(data_dir), url).call("POST", "/accounts", body), f"Account {account} is being opened.")


@accounts_app.command("archive")
def accounts_archive(
    account: Annotated[str, typer.Argument()], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Close an account; its records stay."""
    Remote(settings_of(data_dir), url).call("POST", f"/accounts/{account}/archive", {"reason": reason})
    out.print(f"Account {account} is archived.", highlight=False)


@accounts_app.command("settings")
def accounts_settings(
    account: Annotated[str, typer.Argument()], data_dir: DataDir = None, url: Url = "", as_json: AsJson = False
) -> None:
    """Show the versions of an account's settings, and those in force."""
    found = Remote(settings_of(data_dir), url).call("GET", f"/accounts/{account}/settings")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            str(v["version"]),
            v["author"],
            utc_text(v["effective_ns"]),
            "; ".join(f"{c['field']} {c['before']} → {c['after']}" for c in v["changes"]),
            v["reason"],
        )
        for v in found
    ]
    table("Versions", ("version", "by*", "from (UTC)*", "changes*", "reason*"), rows, "None.")
    newest = found[0]["settings"]
    flat = [(f"{part}.{name}", str(value)) for part, fields in newest.items() for name, value in fields.items()]
    table(f"Settings of {account}", ("setting*", "value"), flat, "None.")


@accounts_app.command("set")
def accounts_set(
    account: Annotated[str, typer.Argument()],
    settings: Annotated[
        list[str], typer.Argument(help="Like limits.max_daily_loss_bps=200 or reconciliation.foreign_orders=cancel.")
    ],
    reason: Reason,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Change settings; in production a second person approves what loosens a limit."""
    remote = Remote(settings_of(data_dir), url)
    changes: dict[str, dict[str, float | str]] = {}
    for text in settings:
        field, sign, value = text.partition("=")
        part, dot, name = field.partition(".")
        if not (sign and dot and value):
            raise InvalidValueError(f"The setting is {text!r}.", remedy="Write it like limits.max_daily_loss_bps=200.")
        changes.setdefault(part, {})[name] = _number_or_word(value)
    newest = remote.call("GET", f"/accounts/{account}/settings")[0]["version"]
    body = {"version": newest, "changes": changes, "reason": reason}
    for change in remote.call("POST", f"/accounts/{account}/settings/diff", body)["changes"]:
        mark = "[yellow]loosens[/]" if change["loosens"] else ""
        out.print(f"  {change['field']}: {change['before']} → {change['after']} {mark}", highlight=False)
    _told(remote.call("PUT", f"/accounts/{account}/settings", body), "Saved.")


def _number_or_word(text: str) -> float | str:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, int | float) else text


@accounts_app.command("rollback")
def accounts_rollback(
    account: Annotated[str, typer.Argument()],
    version: Annotated[int, typer.Argument(min=0, help="To go back to.")],
    reason: Reason,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Go back to the settings of an earlier version."""
    remote = Remote(settings_of(data_dir), url)
    newest = remote.call("GET", f"/accounts/{account}/settings")[0]["version"]
    body = {"version": newest, "to": version, "reason": reason}
    _told(remote.call("POST", f"/accounts/{account}/settings/rollback", body), f"Back to version {version}.")


@accounts_app.command("capital", context_settings={"ignore_unknown_options": True})
def accounts_capital(
    account: Annotated[str, typer.Argument()],
    amount: Annotated[str, typer.Argument(help="Of the account's currency, or of --asset.")],
    venue: Annotated[str, typer.Option(help="Where it came in or went out.")],
    reason: Reason,
    withdrawal: Annotated[bool, typer.Option("--withdrawal", help="It went out.")] = False,
    asset: Annotated[str, typer.Option(help="What came in or went out, when it is not the currency.")] = "",
    value: Annotated[str, typer.Option(help="What the coins cost; their worth at the mark when left out.")] = "",
    reference: Reference = "",
    new_asset: NewAsset = False,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Book a deposit, or a withdrawal: no profit, no loss."""
    direction = "withdrawal" if withdrawal else "deposit"
    body: dict[str, object] = {"venue": venue, "amount": amount, "direction": direction, "reason": reason}
    if amount.startswith("-"):
        raise InvalidValueError(f"The amount is {amount}.", remedy="Give it without a minus; say --withdrawal.")
    more = (("asset", asset), ("value", value), ("reference", reference), ("new_asset", new_asset))
    body |= {k: v for k, v in more if v}
    Remote(settings_of(data_dir), url).call("POST", f"/accounts/{account}/capital", body)
    what = f"{amount} {asset}".rstrip()
    out.print(f"Booked: {direction} of {what} at {venue}.", highlight=False)


@accounts_app.command("book", context_settings={"ignore_unknown_options": True})
def accounts_book(
    account: Annotated[str, typer.Argument()],
    amount: Annotated[str, typer.Argument(help="What the venue added; with a minus what it took.")],
    asset: Annotated[str, typer.Option(help="Of which asset.")],
    venue: Annotated[str, typer.Option(help="At which venue.")],
    reason: Reason,
    reference: Reference = "",
    new_asset: NewAsset = False,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Book what a venue did and the books do not know, such as interest: profit or loss. Clears a break it explains."""
    body: dict[str, object] = {"venue": venue, "asset": asset, "amount": amount, "reason": reason}
    told = Remote(settings_of(data_dir), url).call(
        "POST", f"/accounts/{account}/bookings", body | {"reference": reference, "new_asset": new_asset}
    )
    _told(told, f"Booked: {amount} {asset} at {venue}.")


@accounts_app.command("breaks")
def accounts_breaks(
    account: Annotated[str, typer.Argument()], data_dir: DataDir = None, url: Url = "", as_json: AsJson = False
) -> None:
    """Show where the books and the venues of an account differ."""
    found = Remote(settings_of(data_dir), url).call("GET", f"/accounts/{account}")["breaks"]
    if as_json:
        print_json(found)
        return
    rows = [(b["name"], b["amount"], b["owner"] or "nobody", b["evidence"]) for b in found]
    columns = ("break*", "to be booked", "taken on by*", "evidence*")
    table(f"Breaks of {account}", columns, rows, "None: books and venues agree.")


@accounts_app.command("assign-break")
def accounts_assign_break(
    account: Annotated[str, typer.Argument()],
    name: Annotated[str, typer.Argument(help="As `aether accounts breaks` shows it.")],
    owner: Annotated[str, typer.Option(help="Who takes it on.")],
    reason: Reason,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Say who takes a break on."""
    body = {"name": name, "owner": owner, "reason": reason}
    Remote(settings_of(data_dir), url).call("POST", f"/accounts/{account}/breaks/assign", body)
    out.print(f"{name} is taken on by {owner}.", highlight=False)


@accounts_app.command("safe-mode")
def accounts_safe_mode(
    account: Annotated[str, typer.Argument()],
    reason: Reason,
    release: Annotated[bool, typer.Option("--release", help="Leave it.")] = False,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Let an account do exits only, or with --release enter again."""
    verb = "release" if release else "engage"
    Remote(settings_of(data_dir), url).call("POST", f"/accounts/{account}/safe-mode/{verb}", {"reason": reason})
    out.print(f"Safe mode of {account} {verb}d.", highlight=False)


# People.


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


def _roles_text(roles: dict[str, str]) -> str:
    return ", ".join(f"{role} of {'all' if account == '*' else account}" for account, role in roles.items())


@users_app.command("list")
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
            _roles_text(u["roles"]),
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


@users_app.command("invite")
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


@users_app.command("invited")
def users_invited(data_dir: DataDir = None, url: Url = "", as_json: AsJson = False) -> None:
    """List who is invited and has not come yet."""
    found = Remote(settings_of(data_dir), url).call("GET", "/invitations")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            i["email"],
            _roles_text(i["roles"]),
            i["invited_by"],
            i["held_by"] or "nobody yet",
            utc_text(i["expires_ns"]),
        )
        for i in found
    ]
    columns = ("e-mail*", "roles*", "invited by*", "link given to*", "until (UTC)*")
    table("Invited", columns, rows, "Nobody is invited.")


@users_app.command("link")
def users_link(email: Annotated[str, typer.Argument()], data_dir: DataDir = None, url: Url = "") -> None:
    """Print an invitation's link, to hand it over; an admin's, for whom another admin has invited."""
    made = Remote(settings_of(data_dir), url).call("POST", f"/invitations/{email.strip().lower()}/link")
    out.print(made["link"], soft_wrap=True, highlight=False)


@users_app.command("confirm")
def users_confirm(
    email: Annotated[str, typer.Argument()], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Let the role of a new admin count, having made sure that it is they; not for who held their link."""
    remote = Remote(settings_of(data_dir), url)
    remote.call("POST", f"/users/{_user_id(remote, email)}/confirm", {"reason": reason})
    out.print(f"The roles of {email} count now.", highlight=False)


@users_app.command("roles")
def users_roles(
    email: Annotated[str, typer.Argument()], role: RolesOption, reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Give a person exactly these roles; in production a second person approves it."""
    remote = Remote(settings_of(data_dir), url)
    body = {"roles": _roles(role), "reason": reason}
    _told(remote.call("PUT", f"/users/{_user_id(remote, email)}/roles", body), f"The roles of {email} are changed.")


@users_app.command("disable")
def users_disable(
    email: Annotated[str, typer.Argument()],
    reason: Reason,
    enable: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Lock a person out at once."""
    remote = Remote(settings_of(data_dir), url)
    remote.call("PUT", f"/users/{_user_id(remote, email)}/disabled", {"disabled": not enable, "reason": reason})
    out.print(f"{email} is {'let in again' if enable else 'locked out'}.", highlight=False)


@users_app.command("reset")
def users_reset(email: Annotated[str, typer.Argument()], data_dir: DataDir = None) -> None:
    """Let a person who lost every factor set themselves up anew; for whoever rules the machine and its database."""
    base, token = _at_the_machine(data_dir, lambda control: control.people.reset_factors(email))
    out.print(f"{base}/#invitation={token}", soft_wrap=True, highlight=False)


@users_app.command("vouch")
def users_vouch(email: Annotated[str, typer.Argument()], data_dir: DataDir = None) -> None:
    """Answer for an admin who is invited or waits to be confirmed; for whoever rules the machine and its database."""
    base, token = _at_the_machine(data_dir, lambda control: control.vouching.vouch(email))
    told = f"{base}/#invitation={token}" if token else f"The roles of {email} count now."
    out.print(told, soft_wrap=True, highlight=False)


def _at_the_machine(data_dir: Path | None, work: Callable[[ControlPlane], Awaitable[str]]) -> tuple[str, str]:
    """Do something as the owner of the machine; return where the web interface is, and what came of it."""
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


@tokens_app.command("list")
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


@tokens_app.command("create")
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
        _told(made, "")


@tokens_app.command("revoke")
def tokens_revoke(
    token: Annotated[str, typer.Argument(help="Its id.")], data_dir: DataDir = None, url: Url = ""
) -> None:
    """End a token at once."""
    Remote(settings_of(data_dir), url).call("DELETE", f"/tokens/{token}")
    out.print("The token is ended.")


# Keys.


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


@secrets_app.command("status")
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


@secrets_app.command("upload")
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
    _told(answer, f"The key of {account} at {venue} is stored.")


@secrets_app.command("rotate")
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
    _told(answer, f"The key of {account} at {venue} is replaced.")


@secrets_app.command("test")
def secrets_test(
    venue: Annotated[str, typer.Argument()], account: Account, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Try the stored key at its venue."""
    told = Remote(settings_of(data_dir), url).call("POST", f"/secrets/{venue}/test?account={account}")
    out.print(f"The venue accepts it: {told['permissions']}", highlight=False)


@secrets_app.command("delete")
def secrets_delete(
    venue: Annotated[str, typer.Argument()], account: Account, reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Destroy the stored key; delete it at the venue too."""
    remote = Remote(settings_of(data_dir), url)
    _told(remote.call("DELETE", f"/secrets/{venue}?account={account}", {"reason": reason}), "The key is destroyed.")


@secrets_app.command("rotate-kek")
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


# Approvals.


@approvals_app.command("list")
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


@approvals_app.command("approve")
def approvals_approve(
    number: Annotated[str, typer.Argument(help="Its id.")], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Approve what another person asked for; it is carried out."""
    _decide(number, reason, data_dir, url, approve=True)


@approvals_app.command("decline")
def approvals_decline(
    number: Annotated[str, typer.Argument(help="Its id.")], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Decline what another person asked for."""
    _decide(number, reason, data_dir, url, approve=False)


@approvals_app.command("withdraw")
def approvals_withdraw(
    number: Annotated[str, typer.Argument(help="Its id.")], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Take back what you asked for."""
    Remote(settings_of(data_dir), url).call("POST", f"/approvals/{number}/withdraw", {"reason": reason})
    out.print("Withdrawn.")


# The audit trail.


@audit_app.command("list")
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


@audit_app.command("export")
def audit_export(data_dir: DataDir = None, url: Url = "") -> None:
    """Print the whole trail, one JSON object a line, each entry proven; the last line tells that it is complete."""
    sys.stdout.write(Remote(settings_of(data_dir), url).call("GET", "/audit/export"))


@audit_app.command("checkpoint")
def audit_checkpoint(data_dir: DataDir = None, url: Url = "") -> None:
    """Sign the present end of every chain and print that; keep it somewhere else."""
    print_json(Remote(settings_of(data_dir), url).call("POST", "/audit/checkpoints"))


@audit_app.command("verify")
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
    allowlists_of(settings)
    folder = checkpoints or checkpoint_folder(settings)
    kept = [_checkpoint(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    if checkpoints and not kept:
        raise InvalidValueError(f"{checkpoints} holds no checkpoint.", remedy="Name the folder that they are kept in.")

    async def work() -> tuple[int, int]:
        async with open_storage(settings) as storage:
            scope = storage.database.control
            prover = AuditProver(scope, public_key or await read_public_key(scope))
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
