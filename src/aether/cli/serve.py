"""`aether serve exchange`: the local exchange on its own."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.panel import Panel

from aether.cli.console import out, settings_of
from aether.domain.errors import InvalidValueError, PortInUseError

if TYPE_CHECKING:
    from aether.exchange.server import LocalExchange

app = typer.Typer(help="One role of the platform on its own.", no_args_is_help=True, add_completion=False)


@app.callback()
def _serve() -> None:
    """One role of the platform on its own."""


@app.command("exchange")
def exchange(
    kraken_port: Annotated[int, typer.Option(min=0, max=65_535)] = 9101,
    binance_port: Annotated[int, typer.Option(min=0, max=65_535)] = 9102,
    coinbase_port: Annotated[int, typer.Option(min=0, max=65_535)] = 9103,
    admin_port: Annotated[int, typer.Option(min=0, max=65_535)] = 9100,
    seed: Annotated[int, typer.Option(min=0, help="Of the background market.")] = 1,
    background: Annotated[bool, typer.Option(help="Let makers and takers trade.")] = True,
    limits: Annotated[bool, typer.Option(help="Enforce the venues' rate limits.")] = True,
    memory: Annotated[
        Path | None,
        typer.Option(help="Write down in this folder what is done, and go on from there.", show_default=False),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Write a funded demo key of each venue into this folder.", show_default=False)
    ] = None,
) -> None:
    """Run a local exchange that speaks Kraken's, Binance's and Coinbase's protocols; 0 chooses a free port."""
    from aether.exchange.server import build, serve  # noqa: PLC0415  loaded where it is used: each command starts sooner

    settings_of()
    ports = {"kraken": kraken_port, "binance": binance_port, "coinbase": coinbase_port, "admin": admin_port}
    if len({p for p in ports.values() if p}) != len([p for p in ports.values() if p]):
        raise InvalidValueError(f"Two of the ports {ports} are the same.", remedy="Give each its own.")

    async def run() -> None:
        if memory is not None:
            memory.mkdir(parents=True, exist_ok=True)
        local = build(seed=seed, background=background, enforce_limits=limits, memory=memory)
        if keys is not None:
            _write_keys(local, keys)
        async with serve(local, ports=ports, moving=background):
            rows = "\n".join(f"{n:9} {e.url}  {e.ws_url}" for n, e in local.exchanges.items())
            out.print(Panel.fit(f"[bold]Local exchange[/]\n\n{rows}\nadmin     {local.admin_url}", border_style="dim"))
            await asyncio.Event().wait()

    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(run())
    except OSError as error:
        raise PortInUseError(f"A port is taken: {error.strerror or error}.", remedy="Choose other ports.") from error


def _write_keys(local: "LocalExchange", folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in local.exchanges:
        key, secret = local.open_account(name, "demo", {"USD": "100000", "BTC": "1", "ETH": "10"})
        path = folder / f"{name}.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"key": key, "secret": secret}))
