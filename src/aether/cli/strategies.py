"""`aether strategies`: what the strategies take."""

from typing import Annotated

import typer

from aether.cli.console import out, print_json, table
from aether.cli.options import AsJson
from aether.engine.strategy import describe_parameters, find_strategy
from aether.strategies import catalogue

app = typer.Typer(add_completion=False)


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
