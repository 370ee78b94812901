"""`aether accounts`: opened, configured, booked and closed."""

import json
from typing import Annotated

import typer

from aether.cli.console import money, out, print_json, settings_of, table
from aether.cli.database import with_database
from aether.cli.options import AsJson, DataDir, Reason, Url
from aether.cli.remote import Remote, say
from aether.clock import utc_text
from aether.domain.errors import InvalidValueError
from aether.domain.scaled import format_amount
from aether.store import queries
from aether.store.database import Scope

app = typer.Typer(help="Open, configure and close accounts.", invoke_without_command=True, add_completion=False)

NewAsset = Annotated[bool, typer.Option("--new-asset", help="The account has had nothing to do with it yet.")]
Reference = Annotated[str, typer.Option(help="The bank's or the venue's name for it.")]


@app.callback(invoke_without_command=True)
def accounts(context: typer.Context, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the accounts with their latest worth; open, configure and close them."""
    if context.invoked_subcommand is not None:
        return

    async def work(scope: Scope) -> list[dict[str, str]]:
        killed = await queries.kill_states(scope)
        listed = []
        for stored in await queries.list_accounts(scope):
            config = stored.config
            point = await queries.list_equity(scope, config.id, since_ns=0, points=2)
            kill = killed.get(config.id, queries.NO_KILL)
            listed.append(
                {
                    "account": config.id,
                    "mode": config.mode,
                    "market": config.feed,
                    "strategies": ", ".join(a.strategy for a in config.strategies),
                    "nav": format_amount(point[-1].nav) if point else format_amount(0),
                    "currency": config.currency,
                    "kill_switch": f"engaged: {kill.reason}" if kill.engaged else "released",
                }
            )
        return listed

    rows = with_database(settings_of(data_dir), work)
    if as_json:
        print_json(rows)
        return
    columns = ("account*", "mode*", "market*", "strategies*", "NAV", "currency*", "kill switch*")
    values = [
        (r["account"], r["mode"], r["market"], r["strategies"], money(r["nav"]), r["currency"], r["kill_switch"])
        for r in rows
    ]
    table("Accounts", columns, values, "No accounts yet; `aether up` opens three.")


@app.command("create")
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
    say(Remote(settings_of(data_dir), url).call("POST", "/accounts", body), f"Account {account} is being opened.")


@app.command("shadow")
def accounts_shadow(
    account: Annotated[str, typer.Argument(help="The account to run beside.")],
    shadow: Annotated[str, typer.Argument(help="Id of the shadow.")],
    strategy: Annotated[str, typer.Option(help="The candidate.")],
    reason: Reason,
    params: Annotated[list[str] | None, typer.Option("--param", help="Like fast=12; may be repeated.")] = None,
    bar: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds per bar.")] = 60,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Run a candidate strategy beside an account: its pairs, limits and worth, fills on paper. Archive it to end it."""
    given = dict(_parameter(text) for text in params or [])
    body = {"id": shadow, "strategy": strategy, "bar_s": bar, "params": given, "reason": reason}
    told = Remote(settings_of(data_dir), url).call("POST", f"/accounts/{account}/shadows", body)
    say(told, f"{shadow} runs beside {account}; compare with: aether accounts shadows {account}")


def _parameter(text: str) -> tuple[str, float | str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise InvalidValueError(f"The parameter is {text!r}.", remedy="Write it like fast=12.")
    return name, _number_or_word(value)


@app.command("shadows")
def accounts_shadows(
    account: Annotated[str, typer.Argument()], data_dir: DataDir = None, url: Url = "", as_json: AsJson = False
) -> None:
    """Compare an account with its shadows, each since the shadow began."""
    found = Remote(settings_of(data_dir), url).call("GET", f"/accounts/{account}/shadows")
    if as_json:
        print_json(found)
        return
    if not found:
        out.print(f"No shadow runs beside {account}.", highlight=False)
    columns = ("account*", "return", "drawdown", "fills", "traded", "fees")
    for s in found:
        rows = [
            (name, *(f"{p[f'{what}_bps'] / 100:.2f} %" for what in ("return", "drawdown")), str(p["fills"]),
             money(p["traded"]), money(p["fees"]))
            for name, p in ((s["id"], s["shadow"]), (account, s["account"]))
        ]  # fmt: skip
        table(f"{s['strategy']}, since {utc_text(s['since_ns'])} UTC", columns, rows, "None.")
        told = f"ahead {s['ahead_bps'] / 100:+.2f} %, apart {s['apart_bps'] / 100:.2f} % at most"
        out.print(told, highlight=False)


@app.command("archive")
def accounts_archive(
    account: Annotated[str, typer.Argument()], reason: Reason, data_dir: DataDir = None, url: Url = ""
) -> None:
    """Close an account; its records stay."""
    Remote(settings_of(data_dir), url).call("POST", f"/accounts/{account}/archive", {"reason": reason})
    out.print(f"Account {account} is archived.", highlight=False)


@app.command("settings")
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


@app.command("set")
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
    say(remote.call("PUT", f"/accounts/{account}/settings", body), "Saved.")


def _number_or_word(text: str) -> float | str:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, int | float) else text


@app.command("rollback")
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
    say(remote.call("POST", f"/accounts/{account}/settings/rollback", body), f"Back to version {version}.")


@app.command("capital", context_settings={"ignore_unknown_options": True})
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


@app.command("book", context_settings={"ignore_unknown_options": True})
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
    say(told, f"Booked: {amount} {asset} at {venue}.")


@app.command("breaks")
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


@app.command("assign-break")
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


@app.command("safe-mode")
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
