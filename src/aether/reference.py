"""Reference pages from the code itself: `make docs` writes them, a test fails when they are out of date."""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import typer
from fastapi.routing import APIRoute
from prometheus_client.metrics import MetricWrapperBase
from typer.core import TyperGroup

from aether import telemetry
from aether.api.app import ROUTERS
from aether.api.guard import PREFIX as API_PREFIX
from aether.api.guard import Guard
from aether.cli.main import app as command_line
from aether.compose.api import schema_app
from aether.config import FILE_NAME, PREFIX, Settings
from aether.control.access import ACTIONS, EVERYWHERE, Action, Reach, Role
from aether.control.guards import GUARDS
from aether.domain import errors
from aether.domain.accounts import Limits
from aether.domain.instruments import FeeTier
from aether.domain.orders import OrderState
from aether.engine.orders import TRANSITIONS, Trigger
from aether.engine.risk import CHECKS
from aether.engine.stops import MOVES, PERMITS, Cause, Stop
from aether.engine.strategy import describe_parameters
from aether.strategies import catalogue
from aether.venues.profile import Profile
from aether.venues.registry import PROTOCOLS

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


def venue_facts() -> str:
    """Return the page of what the venues are like."""
    names = [name for name in Profile.__struct_fields__ if name != "sources"]
    meanings = dict(
        re.findall(r"^ {8}(\w+): (.+?)(?=^ {8}\w+:|^ {4}\S|\Z)", Profile.__doc__ or "", re.MULTILINE | re.DOTALL)
    )
    pages = ["# What the venues are like\n\n", NOTE, "What the adapters go by, and where each fact is from.\n\n"]
    for name in names:
        rows = (
            (venue.capitalize(), _fact(getattr(protocol.profile, name)), protocol.profile.sources[name])
            for venue, protocol in PROTOCOLS.items()
        )
        meaning = " ".join(meanings[name].split())
        pages.append(f"## `{name}`\n\n{meaning[0].upper()}{meaning[1:]}\n\n{_table(('venue', 'is', 'source'), rows)}\n")
    return "".join(pages).rstrip() + "\n"


def _fact(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case FeeTier():
            return f"{value.maker_ppm / 100:g} bps maker, {value.taker_ppm / 100:g} bps taker"
        case type():
            return f"`{value.__name__}`"
        case StrEnum():
            return f"`{value}`"
        case tuple():
            return ", ".join(map(_fact, value)) or "none"
        case Mapping():
            return ", ".join(f"{asset} {decimals}" for asset, decimals in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


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
        + _diagram(_order_arrows())
        + "Rows are what happens, columns the state it happens in. `halts` is what no venue can mean: an execution is "
        "booked all the same, the order keeps its state (a whole fill fills it), and the account halts.\n\n"
        + _table(("", *(str(s) for s in states)), rows)
    )


def _order_arrows() -> list[tuple[str, str, str]]:
    """Return what leads an order from one state to another: from, to, and by what."""
    found: dict[tuple[str, str], list[str]] = {}
    for (before, trigger), after in TRANSITIONS.items():
        if before is not after:
            found.setdefault((before.value, after.value), []).append(trigger.name.lower().replace("_", " "))
    arrows = [(before, after, ", ".join(names)) for (before, after), names in found.items()]
    return [("[*]", OrderState.INITIALIZED.value, ""), *arrows]


def _diagram(arrows: list[tuple[str, str, str]]) -> str:
    lines = [f"  {a} --> {b}" + (f": {by}" if by else "") for a, b, by in arrows]
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n\n"


def account_stops() -> str:
    """Return the page of what stops an account."""
    meanings = _values_with_docs(Stop)
    permits = (
        (stop.value, meanings[stop.value], *("yes" if x else "no" for x in (False, *permit)))
        for stop, permit in PERMITS.items()
    )
    told = {None: "", True: "enters", False: "leaves"}
    moves = ((cause.value, *(told[MOVES.get((cause, stop))] for stop in Stop)) for cause in Cause)
    return (
        "# What stops an account\n\n"
        + NOTE
        + "An account trades while nothing stops it. Several stops may be on at once; only what all of them allow goes "
        "on, and leaving one leaves no other. Booking what venues report and canceling are never stopped.\n\n"
        + _stops_diagram()
        + "## What goes on\n\n"
        + _table(("stop", "meaning", "entries", "exits", "flattening", "open orders stay"), permits)
        + "\n## Who enters and leaves\n\n"
        + _table(("", *(s.value for s in Stop)), moves)
    )


def _stops_diagram() -> str:
    """Return a picture with one region a stop: each is entered and left on its own."""
    regions = []
    for stop in Stop:
        off = f"no_{stop.value}"
        lines = [f"    [*] --> {off}"]
        for ends, (before, after) in ((True, (off, stop.value)), (False, (stop.value, off))):
            causes = [cause.value for (cause, s), enters in MOVES.items() if s is stop and enters is ends]
            lines.append(f"    {before} --> {after}: {' / '.join(causes)}")
        regions.append("\n".join(lines))
    body = "\n    --\n".join(regions)
    return f"```mermaid\nstateDiagram-v2\n  state account {{\n{body}\n  }}\n```\n\n"


def _values_with_docs(kind: type[StrEnum]) -> dict[str, str]:
    """Return the text that stands under each value of an enumeration, in its source."""
    (found,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(found, ast.ClassDef)
    texts = {}
    for named, text in pairwise(found.body):
        if isinstance(named, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(named.value, ast.Constant)
            texts[str(named.value.value)] = " ".join(str(text.value.value).split())
    return texts


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
    if not isinstance(command, TyperGroup):
        yield path, command
        return
    context = typer.Context(command)
    for name in sorted(command.list_commands(context)):
        yield from _walk(f"{path} {name}", command.get_command(context, name))


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


class GuardedRoute(NamedTuple):
    """A route of the API and the action that it is about; None for what strangers may ask."""

    method: str
    path: str
    action: str | None


def guarded_routes() -> list[GuardedRoute]:
    """Return all HTTP routes of the API with what guards them."""
    found = []
    for route in (r for router in ROUTERS for r in router.routes):
        assert isinstance(route, APIRoute)
        guards = [d.call.action.name for d in route.dependant.dependencies if isinstance(d.call, Guard)]
        assert len(guards) <= 1, f"{route.path} names {guards}"
        action = guards[0] if guards else None
        found += [
            GuardedRoute(m, API_PREFIX + route.path.replace(":path}", "}"), action) for m in sorted(route.methods or ())
        ]
    return found


def access_table() -> Callable[[str, GuardedRoute, str], str]:
    """Return what the documented table says: for who ("trader of company"), route and account, what comes back.

    `yes`, `proof` (a fresh proof of a second factor is asked for), `403` or `404`.
    """

    def expected(who: str, route: GuardedRoute, account: str) -> str:
        role, _, where = who.partition(" of ")
        assert route.action is not None
        action = ACTIONS[route.action]
        here = account or EVERYWHERE
        if account and where not in (EVERYWHERE, account):
            return "404"
        if role == Role.SERVICE:
            return "yes" if action.name == "accounts.read" and _reaches(action, where, here, route) else "403"
        if action.reach is not Reach.OWN and not (role in action.roles and _reaches(action, where, here, route)):
            return "403"
        return "proof" if action.proof else "yes"

    return expected


ANYWHERE = (
    "/accounts", "/orders", "/fills", "/equity", "/approvals", "/approvals/{approval}/decide",
    "/approvals/{approval}/withdraw", "/audit",
)  # fmt: skip
"""Routes that a role in any account opens; what they show or do is limited to those accounts."""


def _reaches(action: Action, where: str, here: str, route: GuardedRoute) -> bool:
    if action.reach is Reach.FIRM or here == EVERYWHERE:
        short = route.path.removeprefix(API_PREFIX)
        is_open = action.reach is Reach.ACCOUNT and short in ANYWHERE and route.action != "accounts.create"
        return where == EVERYWHERE or is_open
    return where in (EVERYWHERE, here)


def access() -> str:
    """Return the page of roles and routes."""
    expected = access_table()
    told = {"yes": "yes", "proof": "proof", "403": "", "404": ""}
    whos = [f"{r} of {w}" for r in ("admin", "trader", "auditor") for w in ("*", "company")]
    head = ("route", "action", *(w.replace("*", "all") for w in whos), "second person", "services")
    rows = []
    for route in sorted(guarded_routes(), key=lambda r: (r.path, r.method)):
        if route.action is not None:
            action = ACTIONS[route.action]
            account = "company" if "{account}" in route.path or route.path.startswith(f"{API_PREFIX}/secrets/") else ""
            cells = [told[expected(w, route, account)] for w in whos]
            more = ("in production" if action.second else "", "yes" if action.service else "")
            rows.append((f"`{route.method} {route.path.removeprefix(API_PREFIX)}`", action.name, *cells, *more))
    meanings = ((a.name, a.meaning, ", ".join(a.roles)) for a in ACTIONS.values())
    return (
        "# Who may do what\n\n"
        + NOTE
        + "What each role may ask of the API: `yes`; `proof`: with a fresh proof of a second factor for exactly this "
        "request; empty: refused. A role of one account counts in that account; any other account does not exist for "
        "its holder. Changing settings needs `accounts.loosen` and, in production, a second person when it loosens a "
        "limit; opening a live account needs `accounts.live`. A test asks every combination of role, route and "
        "account.\n\n"
        + _table(head, iter(rows))
        + "\n## Actions\n\n"
        + _table(("action", "meaning", "roles"), meanings)
    )


def duties() -> str:
    """Return the page of acts that raise risk."""
    rows = []
    for action in ACTIONS.values():
        if action.raises:
            held = ["a fresh proof"] if action.proof else []
            held += ["a second person"] if action.second else []
            held += [action.rule] if action.rule else []
            rows.append((action.name, action.meaning, action.raises, "; ".join(held)))
    return (
        "# What raises risk\n\n"
        + NOTE
        + "Each act that raises a risk, or moves what limits stand on, with what production asks for it "
        "([why](../explanation/security.md)). A test walks through the table as a lone administrator.\n\n"
        + _table(("act", "meaning", "what it raises or moves", "what holds for it"), iter(rows))
    )


def guards() -> str:
    """Return the page of production's checks."""
    rows = ((g.name, g.holds, g.remedy) for g in GUARDS)
    return (
        "# What production refuses\n\n"
        + NOTE
        + "With `AETHER_ENV=production` each of these is checked before the start and all the time; "
        "`aether doctor --production` lists them.\n\n" + _table(("check", "what must hold", "remedy"), rows)
    )


PAGES = {
    "access.md": access,
    "duties.md": duties,
    "production-checks.md": guards,
    "commands.md": commands,
    "settings.md": settings,
    "exit-codes.md": exit_codes,
    "risk-checks.md": risk_checks,
    "venues.md": venue_facts,
    "order-states.md": order_states,
    "account-stops.md": account_stops,
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
