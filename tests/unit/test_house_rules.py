"""Rules of the house that no linter knows; the failing test says what to do."""

import ast
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import aether
from aether import reference
from aether.cli.main import app as command_line
from aether.domain import errors

SOURCE = Path(aether.__file__).parent
ROOT = SOURCE.parent.parent
MODULES = sorted(SOURCE.rglob("*.py"))


def calls(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}


def test_only_the_risk_gate_makes_approved_orders() -> None:
    makers = {p.relative_to(SOURCE).as_posix() for p in MODULES if any(c.endswith("ApprovedOrder") for c in calls(p))}
    assert makers == {"engine/risk.py"}


def test_only_config_reads_the_environment() -> None:
    readers = {
        p.relative_to(SOURCE).as_posix()
        for p in MODULES
        if re.search(r"os\.environ|os\.getenv", p.read_text()) and p.name != "config.py" and p.parent.name != "cli"
    }
    assert readers == set(), "take the value from config.Settings"


CLOCK_READ = re.compile(
    r"from time import [^\n]*\b(?:time|time_ns|monotonic|monotonic_ns)\b"
    r"|\btime\.(?:time|time_ns|monotonic|monotonic_ns)\("
    r"|\b(?:datetime|date)\.(?:now|utcnow|today)\("
)


def test_one_module_reads_the_clock() -> None:
    """Time is a port: who wants it is given it, or asks `aether.clock`; how long a metric took decides nothing (O6)."""
    readers = {p.relative_to(SOURCE).as_posix() for p in MODULES if CLOCK_READ.search(p.read_text())}
    assert readers == {"clock.py"}


@pytest.mark.parametrize("package", ["domain", "kernel", "engine", "matching", "features", "strategies"])
def test_the_pure_half_has_no_clock_no_random_no_io(package: str) -> None:
    forbidden = re.compile(r"\b(time\.time|perf_counter|datetime\.now|random\.|open\(|print\(|await |async )")
    for path in (SOURCE / package).rglob("*.py"):
        code = ast.unparse(ast.parse(path.read_text()))
        without_text = re.sub(r'"""[\s\S]*?"""|\'[^\'\n]*\'|"[^"\n]*"', "", code)
        assert not forbidden.search(without_text), f"{path.name}: time and chance arrive in events"


def test_every_module_says_why_it_exists() -> None:
    silent = [p.relative_to(SOURCE).as_posix() for p in MODULES if not ast.get_docstring(ast.parse(p.read_text()))]
    assert [s for s in silent if not s.endswith("versions/__init__.py")] == []


def test_every_public_name_is_documented() -> None:
    bare = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
                for item in (node, *methods):
                    if not item.name.startswith("_") and not ast.get_docstring(item):
                        bare.append(f"{path.relative_to(SOURCE)}: {node.name}.{item.name}")
    private_view = [b for b in bare if not b.startswith(("market/bars.py", "engine/core.py"))]
    assert private_view == []


def test_every_error_has_its_own_exit_code() -> None:
    classes = [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, errors.AetherError)]
    codes = [c.exit_code for c in classes]
    assert len(set(codes)) == len(codes)


def test_every_raised_error_carries_a_remedy() -> None:
    names = {c.__name__ for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, errors.AetherError)}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in names - {
                "JournalCorruptError",
                "MarketLogCorruptError",
                "AuditBrokenError",
            }:
                assert any(k.arg == "remedy" for k in node.keywords), f"{path.name}:{node.lineno}: say what to do"


@pytest.mark.parametrize("name", reference.PAGES)
def test_reference_pages_are_current(name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text() == reference.PAGES[name](), "run: make docs"


def test_the_ui_is_generated_from_the_current_schema() -> None:
    assert (ROOT / "web" / "openapi.json").read_text() == reference.openapi(), "run: make schema"


def test_the_ui_calls_only_routes_that_exist() -> None:
    schema = reference.openapi()
    called = {
        route
        for path in (ROOT / "web" / "src").rglob("*.ts*")
        for route in re.findall(r'\.(?:GET|POST|PUT|DELETE)\("(/api/[^"]+)"', path.read_text())
    }
    assert len(called) > 60
    assert all(f'"{route}"' in schema for route in called)


def test_nothing_waits_in_a_way_that_swallows_cancellation() -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that meets the end of what it waits for: its task then
    runs for ever. `asyncio.timeout` does not."""
    users = [p.name for p in SOURCE.rglob("*.py") if "wait_for(" in p.read_text().replace("def wait_for(", "")]
    assert users == []


LONG_ROOMS = {
    "core.py": "the one door, and the way back",
    "desk.py": "the only writer of orders and ledger",
    "parents.py": "eight algorithms share one life",
    "risk.py": "one short function a check, and the list of them",
}
"""Files of the engine over 400 lines, and why."""


def test_no_room_of_the_engine_is_long_without_a_reason() -> None:
    long = {p.name for p in (SOURCE / "engine").glob("*.py") if len(p.read_text().splitlines()) > 400}
    assert long == set(LONG_ROOMS)


def told_commands() -> list[tuple[str, str]]:
    """Every `aether ...` in the how-tos and runbooks, with the page that tells it."""
    found = []
    for page in sorted([*(ROOT / "docs" / "runbooks").glob("*.md"), *(ROOT / "docs" / "how-to").glob("*.md")]):
        text = page.read_text()
        spans = re.findall(r"`(aether [^`]+)`", text) + re.findall(r"^(?: {4}|\$ )(aether .+)$", text, re.MULTILINE)
        found += [(page.name, " ".join(span.split())) for span in spans]
    return found


@pytest.mark.parametrize(("page", "command"), told_commands())
def test_what_the_docs_tell_to_run_exists(page: str, command: str) -> None:
    """Runbooks promise commands: each names a command and options that are there."""
    words = shlex.split(command.split(" #", maxsplit=1)[0].split(" | ", maxsplit=1)[0].split(" > ", maxsplit=1)[0])[1:]
    found: Any = typer.main.get_command(command_line)
    while words and isinstance(found, TyperGroup):
        found = found.get_command(typer.Context(found), words.pop(0))
        assert found, f"{page}: there is no {command!r}"
    if not words or "--help" in words or not hasattr(found, "make_parser"):
        return
    parser = found.make_parser(typer.Context(found, resilient_parsing=True, **found.context_settings))
    given, left, _ = parser.parse_args(list(words))
    assert not left, f"{page}: {command!r} has too many words"
    missing = [p.name for p in found.params if p.required and p.name not in given]
    assert not missing, f"{page}: {command!r} lacks {missing}"


def test_lock_files_name_no_host() -> None:
    for path in (*ROOT.glob("requirements/*"), ROOT / "web" / "package-lock.json"):
        assert not re.search(r"https?://[^\s\"]*(pypi|npmjs|registry)", path.read_text()), path.name
