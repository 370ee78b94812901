"""`aether up`: the platform on this machine."""

import asyncio
import signal
from contextlib import suppress
from typing import Annotated

import typer
from rich.panel import Panel

from aether import __version__
from aether.cli.console import out, settings_of
from aether.cli.options import (
    DataDir,
    MaxGap,
    OnBadOption,
    Symbol,
    Timestamps,
    VolumeIn,
)
from aether.compose.choice import EXCHANGE_MARKET, REPLAY, MarketChoice
from aether.compose.platform import Started
from aether.compose.supervisor import run_supervised
from aether.config import refuse_mistakes
from aether.domain.errors import InvalidValueError
from aether.market.options import OnBad, ReadOptions
from aether.venues.registry import PROTOCOLS

app = typer.Typer(add_completion=False)


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the platform minds its signals itself
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
                f"[dim]{_told_of_link(told.link)}\nCtrl-C stops; the next start goes on.[/]",
                border_style="dim",
            ),
            soft_wrap=True,
        )

    if one_process:
        from aether.cli.recordings import read_recording  # noqa: PLC0415  the processes load what they need
        from aether.compose.one_process import run_in_one_process  # noqa: PLC0415

        dataset = read_recording(settings, choice.recording, options) if choice.recording else None
        work = run_in_one_process(
            settings, choice, dataset, seed=seed, exit_when_done=exit_when_done, on_started=started
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
