"""Reference pages from the code itself: `make docs` writes them, a test fails when they are out of date."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer
from prometheus_client.metrics import MetricWrapperBase

from aether import telemetry
from aether.api.system import describe_parameters
from aether.cli.main import app as command_line
from aether.compose import schema_app
from aether.config import FILE_NAME, PREFIX, Settings
from aether.domain import errors
from aether.domain.accounts import Limits
from aether.domain.orders import OrderState
from aether.engine.orders import TRANSITIONS, Trigger
from aether.engine.risk import CHECKS
from aether.strategies import catalogue

NOTE = "<!-- written by `make docs`; change the code instead -->\n\n"


def openapi() -> str:
    """Return the OpenAPI schema as the UI's client is generated from it."""
    text = msgspec.json.encode(schema_app().openapi(), order="deterministic")
    return msgspec.json.format(text, indent=1).decode() + "\n"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n\n", 1)[0].replace("\n", " ").strip()


def exit_codes() -> str:
    """Return the page of exit codes."""
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.AetherError)]
    rows = (
        (str(c.exit_code), c.__name__.removesuffix("Error"), _first_line(c.__doc__))
        for c in sorted(classes, key=lambda c: c.exit_code)
        if c is not errors.AetherError
    )
    return (
        "# Exit codes of `aether`\n\n"
        + NOTE
        + "0 is success, 1 a failed check.\n\n"
        + _table(("code", "error", "meaning"), rows)
    )


def risk_checks() -> str:
    """Return the page of the risk gate's checks and limits."""
    rows = (
        (
            c.find.__name__.removeprefix("check_"),
            _first_line(c.find.__doc__),
            "yes" if c.exits else "no",
            "yes" if c.flattening else "no",
        )
        for c in CHECKS
    )
    limits = ((f.name, str(f.default)) for f in msgspec.structs.fields(Limits))
    return (
        "# Checks of the risk gate\n\n"
        + NOTE
        + "All are evaluated for entries, in this order; the last columns say which apply to exits and to the kill "
        "switch's flattening orders.\n\n"
        + _table(("check", "rule", "exits", "flattening"), rows)
        + "\n## Limits of an account\n\n"
        + _table(("limit", "default"), limits)
    )


def order_states() -> str:
    """Return the page of the order life cycle."""
    states = [s for s in OrderState if any(before is s for before, _ in TRANSITIONS)]
    rows = (
        (trigger.name.lower(), *(str(TRANSITIONS.get((state, trigger), "halts")) for state in states))
        for trigger in Trigger
    )
    return (
        "# Life cycle of an order\n\n"
        + NOTE
        + "Rows are what happens, columns the state it happens in. `halts` is what no venue can mean.\n\n"
        + _table(("", *(str(s) for s in states)), rows)
    )


def strategies() -> str:
    """Return the page of the built-in strategies."""
    parts = ["# Strategies\n\n" + NOTE]
    for definition in catalogue().values():
        rows = (
            (
                p["name"],
                str(p["default"]),
                ", ".join(f"{b} {v:g}" for b, v in p["bounds"].items()),
                p["description"],
            )
            for p in describe_parameters(definition)
        )
        parts.append(f"## {definition.name}\n\n{definition.summary}\n\n")
        parts.append(_table(("parameter", "default", "bounds", "meaning"), rows) + "\n")
    return "".join(parts).rstrip() + "\n"


def metrics() -> str:
    """Return the page of metrics."""
    found = [m for m in vars(telemetry).values() if isinstance(m, MetricWrapperBase)]
    rows = (
        (f"`{d.name}`", d.type, d.documentation) for d in sorted((next(iter(m.describe())) for m in found), key=str)
    )
    return "# Metrics\n\n" + NOTE + _table(("metric", "type", "meaning"), rows)


def commands() -> str:
    """Return the page of the command line."""
    parts = ["# Commands\n\n" + NOTE]
    root = typer.main.get_command(command_line)
    for path, command in _walk("aether", root):
        parts.append(f"## {path}\n\n{_first_line(command.help)}\n\n")
        rows = [
            (
                " ".join(f"`{o}`" for o in p.opts) if p.param_type_name == "option" else f"`{(p.name or '').upper()}`",
                _help(p),
            )
            for p in command.params
            if p.name != "help"
        ]
        if rows:
            parts.append(_table(("parameter", "meaning"), iter(rows)) + "\n")
    return "".join(parts).rstrip() + "\n"


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in sorted(children.items()):
        yield from _walk(f"{path} {name}", child)


def _help(parameter: Any) -> str:
    text = str(getattr(parameter, "help", "") or "")
    default = parameter.default
    shown = default is not None and not callable(default) and default is not False and not parameter.required
    return f"{text} Default: {default}." if shown else text


def settings() -> str:
    """Return the page of settings."""
    meanings = dict(line.strip().split(": ", 1) for line in _attributes(Settings.__doc__ or "") if ": " in line)
    rows = []
    for field in msgspec.structs.fields(Settings):
        meaning = next((m for names, m in meanings.items() if field.name in names.split(", ")), "")
        default = "" if field.required else str(field.default)
        rows.append((f"`{field.name}`", f"`{PREFIX}{field.name.upper()}`", default, meaning))
    return (
        "# Settings\n\n"
        + NOTE
        + f"From `{FILE_NAME}` in the data directory, the environment and the command line; later ones win.\n\n"
        + _table(("in the file", "in the environment", "default", "meaning"), iter(rows))
    )


def _attributes(text: str) -> list[str]:
    return text.partition("Attributes:")[2].splitlines()


PAGES = {
    "commands.md": commands,
    "settings.md": settings,
    "exit-codes.md": exit_codes,
    "risk-checks.md": risk_checks,
    "order-states.md": order_states,
    "strategies.md": strategies,
    "metrics.md": metrics,
}


def main(arguments: list[str]) -> None:
    """Write the pages into a folder, or with `--openapi` the schema into a file."""
    if arguments[0] == "--openapi":
        Path(arguments[1]).write_text(openapi(), encoding="utf-8")
        return
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
