"""Every command that a runbook tells is run, on a platform that runs (a promise that nobody has run is none)."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.platform import Platform, aether
from tests.unit.test_house_rules import ROOT, told_commands

RUNBOOKS = {page.name for page in (ROOT / "docs" / "runbooks").glob("*.md")}
ELSEWHERE = {
    "users reset": "tests/integration/test_cli_people.py",
    "secrets status": "tests/integration/test_cli_control.py",
    "secrets rotate-kek": "tests/integration/test_cli_control.py",
    "data record": "tests/integration/test_venues.py",
    "venue decode": "tests/integration/test_venues.py",
    "venue ticker": "tests/contract/test_faces.py and test_venues.py: it needs a venue",
    "accounts book": "tests/integration/test_cli_control.py: it needs a person who is signed in",
    "accounts capital": "the same",
    "accounts assign-break": "the same",
    "accounts safe-mode": "the same",
    "audit export": "the same",
    "resume": "the same",
}
"""Commands that need people, keys or a venue, and where they are run."""

TOLD = sorted({c for page, c in told_commands() if page in RUNBOOKS})
COMMANDS = [c for c in TOLD if not any(c.startswith(f"aether {elsewhere}") for elsewhere in ELSEWHERE)]
GIVEN = {"ACCOUNT": "company", "NAME": "company", "SEQ": "1", '"..."': '"looked at it"'}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runbooks")
    running = Platform(folder)
    running.link()
    yield folder
    assert running.stop() == 0


def test_the_runbooks_tell_commands() -> None:
    assert {c.split(" --")[0] for c in COMMANDS} >= {"aether kill engage", "aether journal verify", "aether doctor"}
    assert all(any(c.startswith(f"aether {elsewhere}") for c in TOLD) for elsewhere in ELSEWHERE)


@pytest.mark.parametrize("told", COMMANDS)
def test_a_runbooks_command_does_what_it_says(told: str, platform: Path) -> None:
    for name, given in GIVEN.items():
        told = told.replace(name, given)
    words = shlex.split(told)[1:]
    done = aether(*words, data_dir=platform)
    assert done.returncode == 0, done.stderr
    if words[:2] == ["kill", "engage"]:
        assert "Kill switch engaged: " in done.stdout
        assert "Every venue's list of open orders is empty." in done.stdout
