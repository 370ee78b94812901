"""What the supply chain's checks say, by answers that the tools really gave (issue 11, finding 15)."""

import json

import pytest

from tests import supply
from tests.supply import Outcome, State

HASH = "--hash=sha256:" + "0" * 64
WEB = json.dumps({"packages": {"": {}, "node_modules/react": {"integrity": "sha512-x", "license": "MIT"}}})
OUT_OF_REACH = json.dumps(
    {
        "dependencies": [
            {
                "name": "aiohttp",
                "skip_reason": "Dependency not found on PyPI and could not be audited: aiohttp (3.14.5)",
            }
        ],
        "fixes": [],
    }
)
"""pip-audit ended with 0 and this, and said on its error stream that nothing was found."""
CLEAN = json.dumps({"dependencies": [{"name": "aiohttp", "version": "3.14.5", "vulns": []}], "fixes": []})
VULNERABLE = json.dumps({"dependencies": [{"name": "aiohttp", "version": "3.0.0", "vulns": [{"id": "PYSEC-1"}]}]})


@pytest.mark.parametrize(
    ("code", "said", "state"),
    [
        (0, OUT_OF_REACH, State.NOT_RUN),
        (0, CLEAN, State.PASSED),
        (1, VULNERABLE, State.FAILED),
        (1, "", State.NOT_RUN),
        (1, "Traceback", State.NOT_RUN),
    ],
)
def test_what_was_not_looked_up_is_not_clean(code: int, said: str, state: State) -> None:
    assert supply.judge_python(code, said, 1).state is state
    assert supply.judge_python(code, said, 2).state is not State.PASSED


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ('{"message": "405 Method Not Allowed", "method": "POST"}', State.NOT_RUN),
        ("", State.NOT_RUN),
        ('{"metadata": {"vulnerabilities": {"low": 1, "moderate": 0, "high": 0, "critical": 0}}}', State.PASSED),
        ('{"metadata": {"vulnerabilities": {"low": 0, "moderate": 0, "high": 1, "critical": 0}}}', State.FAILED),
    ],
)
def test_the_webs_parts_likewise(said: str, state: State) -> None:
    assert supply.judge_web(1, said).state is state


@pytest.mark.parametrize(
    ("lock", "web", "told"),
    [
        ("a==1 \\\n    " + HASH + "\nb==2\n", WEB, "b has no hash"),
        ("a>=1\n", WEB, "'a>=1' names no version"),
        ("--index-url https://example.com\na==1 " + HASH, WEB, "names no version"),
        ("a==1 " + HASH, WEB.replace("integrity", "shasum"), "node_modules/react has no integrity"),
        ("a==1 " + HASH, WEB.replace('"license"', '"resolved"'), "is named"),
    ],
)
def test_what_is_not_pinned_is_named(lock: str, web: str, told: str) -> None:
    found = supply.check_pins([lock], web)
    assert found.state is State.FAILED
    assert told in found.told


@pytest.mark.parametrize("licence", ["", "GPL-3.0-only", "AGPL", "GNU General Public License v3 (GPLv3)", "Business"])
def test_a_licence_that_does_not_fit_is_named(licence: str) -> None:
    found = supply.check_licences({"good": "MIT", "bad": licence})
    assert found.state is State.FAILED
    assert "bad: " in found.told
    assert "good" not in found.told


def test_this_repository_is_pinned_and_compatible() -> None:
    locks = [supply.RUNTIME.read_text(), supply.DEV.read_text(), supply.MUTATION.read_text()]
    assert supply.check_pins(locks, supply.WEB_LOCK.read_text()).state is State.PASSED
    found = supply.check_licences(supply.shipped())
    assert found.state is State.PASSED, found.told


def test_every_part_is_listed() -> None:
    assert supply.write_boms().state is State.PASSED
    told = json.loads((supply.BOMS / "python.cdx.json").read_text())
    listed = {(c["name"], c["version"]) for c in told["components"]}
    assert listed == {(p.name, p.version) for p in supply.pins(supply.RUNTIME.read_text())}
    assert all(c["hashes"] and c["licenses"] for c in told["components"])
    assert json.loads((supply.BOMS / "web.cdx.json").read_text())["bomFormat"] == "CycloneDX"


def test_a_check_that_could_not_run_is_red_for_a_release_alone() -> None:
    said: list[str] = []
    outcomes = [Outcome("vulnerabilities", State.NOT_RUN, "0 of 80 parts were looked up")]
    assert supply.report(outcomes, is_release=False, tell=said.append) == 0
    assert "COULD NOT RUN" in said[0]
    assert "proves nothing" in said[1]
    assert supply.report(outcomes, is_release=True, tell=said.append) == 1
    assert supply.report([Outcome("pins", State.FAILED, "x")], is_release=False, tell=said.append) == 1
