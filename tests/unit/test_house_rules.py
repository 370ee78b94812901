"""Rules of the house that no linter knows; the failing test says what to do."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import aether
from aether import reference
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
    called = set(
        re.findall(r'client\.(?:GET|POST|PUT|DELETE)\("([^"]+)"', (ROOT / "web" / "src" / "api.ts").read_text())
    )
    assert called
    assert all(f'"{route}"' in schema for route in called)


def test_lock_files_name_no_host() -> None:
    for path in (*ROOT.glob("requirements/*"), ROOT / "web" / "package-lock.json"):
        assert not re.search(r"https?://[^\s\"]*(pypi|npmjs|registry)", path.read_text()), path.name
