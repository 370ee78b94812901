"""`make mutants`: change order states, ledger, gate, stops, breaks and reconciliation in some 2,000 small ways.

Each change is a copy of a function with one thing in it altered; what no test notices is a survivor. The tests are
those of `[tool.mutmut]` in pyproject.toml. Survivors are listed in `tests/survivors.txt`, by function, with how many
there may be and why; a function with more of them, and a score below `LEAST`, fails the run.

It works on a copy of the repository: a changed engine never lies where one is run.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
SURVIVORS = Path(__file__).with_name("survivors.txt")
LEAST = 0.90
COPIED = ("src", "tests", "pyproject.toml")
JOBS = "2"


def main() -> int:
    """Run all mutants; return 0 when the score is reached and no function has more survivors than are listed."""
    with tempfile.TemporaryDirectory(prefix="aether-mutants-") as folder:
        there = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, there / name, ignore=shutil.ignore_patterns("__pycache__", "ui"))
            else:
                shutil.copy(ROOT / name, there / name)
        mutmut = str(Path(sys.executable).with_name("mutmut"))
        subprocess.run([mutmut, "run", "--max-children", JOBS], cwd=there, check=False)
        told = subprocess.run(
            [mutmut, "results", "--all", "true"], cwd=there, check=True, capture_output=True, text=True
        ).stdout
    return judge(read(told), listed(SURVIVORS.read_text()))


def read(told: str) -> dict[str, Counter[str]]:
    """Return for each function how many of its mutants came to what, as `mutmut results` lists them."""
    found: dict[str, Counter[str]] = {}
    for name, what in re.findall(r"^\s*(\S+)__mutmut_\d+: (.+?)\s*$", told, re.MULTILINE):
        found.setdefault(plain(name), Counter())[what] += 1
    return found


def plain(name: str) -> str:
    """Return a function's name as people write it."""
    module, _, function = name.removeprefix("aether.").rpartition(".")
    return f"{module}.{function.removeprefix('xǁ').removeprefix('x_').replace('ǁ', '.')}"


def listed(text: str) -> dict[str, int]:
    """Return how many survivors each function may have: lines of a number, a function and a reason."""
    rows = (line.split(maxsplit=2) for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {name: int(most) for most, name, _reason in rows}


def judge(found: dict[str, Counter[str]], may: dict[str, int]) -> int:
    """Say what came of it; return the exit code."""
    total = sum(sum(c.values()) for c in found.values())
    left = {name: sum(c.values()) - c["killed"] - c["timeout"] for name, c in found.items()}
    score = 1 - sum(left.values()) / total if total else 0.0
    print(f"{total} mutants, {sum(left.values())} survived: score {score:.1%}, {LEAST:.0%} wanted")
    more = [(name, n) for name, n in sorted(left.items()) if n > may.get(name, 0)]
    for name, n in more:
        print(f"{name}: {n} survivors, {may.get(name, 0)} are listed with a reason")
    return 1 if more or score < LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
