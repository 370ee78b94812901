"""`aether trade`: an amount by an algorithm."""

from typing import Annotated

import msgspec
import typer

from aether.cli.console import out, settings_of
from aether.cli.options import DataDir, Reason, Url, reason_text
from aether.cli.remote import Remote, ask
from aether.domain.errors import InvalidValueError
from aether.domain.orders import Side
from aether.domain.parents import Algorithm, ParentRequest, missing_fields
from aether.domain.scaled import parse_amount

app = typer.Typer(help="Trade an amount by an algorithm.", no_args_is_help=True, add_completion=False)


@app.command("start")
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
        "reason": reason_text(reason),
    }
    told = Remote(settings_of(data_dir), url).call("POST", f"/accounts/{account}/trades", body)
    verb = "asked for" if told["applied"] else "recorded; no node has confirmed it yet"
    out.print(f"Parent order {told['id']} {verb}: {account}", highlight=False)


@app.command("cancel")
def trade_cancel(
    account: Annotated[str, typer.Argument(help="The account.")],
    parent_id: Annotated[str, typer.Argument(help="As `trade start` printed it.")],
    reason: Reason,
    data_dir: DataDir = None,
    url: Url = "",
) -> None:
    """Stop working a parent order and cancel its children."""
    path = f"/accounts/{account}/trades/{parent_id}/cancel"
    ask(
        settings_of(data_dir), url, path, {"reason": reason_text(reason)}, f"Parent order {parent_id} canceled", account
    )
