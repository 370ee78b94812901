"""`aether backtest`: strategies on recordings."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from aether.backtest.results import SavedRun, load, save
from aether.backtest.runner import Plan, run
from aether.cli.console import err, money, out, print_json, settings_of
from aether.cli.options import AsJson, DataDir, MaxGap, OnBadOption, Symbol, Timestamps, VolumeIn
from aether.cli.recordings import read_recording
from aether.compose.accounts import DEFAULT_BAR_S, assign, recording_account, recording_limits
from aether.compose.directory import DataDirectory
from aether.domain.accounts import Limits, Mode
from aether.domain.errors import InvalidValueError
from aether.domain.scaled import parse_amount
from aether.engine.strategy import find_strategy, parse_params
from aether.market.dataset import DatasetKind
from aether.market.options import OnBad, ReadOptions
from aether.matching.simulator import FillModel
from aether.strategies import catalogue

app = typer.Typer(help="Run strategies on recordings.", no_args_is_help=True, add_completion=False)


@app.command("run")
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


@app.command("show")
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
    table.add_row("capital", money(s["capital"]), "   return after fees", f"{m['total_return']:+.2%}")
    table.add_row("NAV", money(s["nav"]), "   buy and hold", f"{m['benchmark_return']:+.2%}")
    table.add_row("realized", money(s["realized"]), "   largest drawdown", f"{m['max_drawdown']:.2%}")
    table.add_row("unrealized", money(s["unrealized"]), "   Sharpe, yearly", f"{m['sharpe']:.2f}")
    table.add_row("fees", money(s["fees"]), "   volatility, yearly", f"{m['annual_volatility']:.1%}")
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
