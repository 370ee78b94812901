"""The supply chain: known vulnerabilities, licences, pins, and a list of all parts (`make audit`).

A check that could not look says so, and is red in release mode: the tools themselves end with 0 when their service
cannot be reached.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parent.parent
RUNTIME, DEV, MUTATION = (ROOT / "requirements" / f"{name}.txt" for name in ("runtime", "dev", "mutation"))
"""The last holds all of the one before, and what `make mutants` needs."""
WEB_LOCK = ROOT / "web" / "package-lock.json"
BOMS = ROOT / "build" / "sbom"
WITHIN_S = 300
COMPATIBLE = re.compile(
    r"\b(MIT|0?BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla Public License|Zlib|CC0|Unlicense)\b", re.I
)
FORBIDDEN = re.compile(r"GPL|General Public|SSPL|BUSL|Commons Clause|proprietary", re.I)
LOOSE = {".ci/run: chromium": "the newest of the machine's distribution, for tests alone"}
"""What is not pinned, and why."""


class State(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOT_RUN = "COULD NOT RUN"


class Outcome(NamedTuple):
    """What a check found."""

    check: str
    state: State
    told: str


class Pin(NamedTuple):
    """A requirement, as it is locked."""

    name: str
    version: str
    hashes: tuple[str, ...]


def pins(lock: str) -> list[Pin]:
    """Return what a lock file of pip pins. Raises ValueError on a line that pins nothing."""
    found = []
    for block in re.split(r"\n(?=\S)", lock.replace("\\\n", " ").strip()):
        named = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*])?==([^\s;]+)", block)
        if named is None:
            raise ValueError(f"{block[:60]!r} names no version")
        found.append(Pin(named[1], named[2], tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))))
    return found


def check_pins(locks: Sequence[str], web: str) -> Outcome:
    """Every part has a version and a hash, and no lock file names a host."""
    bad: list[str] = []
    try:
        bad += [f"{p.name} has no hash" for lock in locks for p in pins(lock) if not p.hashes]
    except ValueError as error:
        bad.append(str(error))
    packages = json.loads(web)["packages"]
    bad += [f"{path} has no integrity" for path, p in packages.items() if path and "integrity" not in p]
    bad += [f"{host} is named" for text in (*locks, web) for host in re.findall(r'(?:--\S*url|"resolved").*', text)]
    loose = "; not pinned: " + ", ".join(f"{what} ({why})" for what, why in LOOSE.items())
    return Outcome("pins", State.FAILED if bad else State.PASSED, "; ".join(bad) or f"all have hashes{loose}")


def licence_of(name: str) -> str:
    """Return what an installed distribution says of its licence."""
    told = metadata.metadata(name).json
    classes = [c.rsplit("::", 1)[-1].strip() for c in told.get("classifier", []) if c.startswith("License ::")]
    return str(told.get("license_expression") or ", ".join(classes) or told.get("license", "")).strip().split("\n")[0]


def check_licences(licences: dict[str, str]) -> Outcome:
    """What is shipped may be used in a product under Apache-2.0."""
    bad = [
        f"{name}: {licence or 'not told'}"
        for name, licence in licences.items()
        if FORBIDDEN.search(licence) or not COMPATIBLE.search(licence)
    ]
    state = State.FAILED if bad else State.PASSED
    return Outcome("licences", state, "; ".join(bad) or f"{len(licences)} parts, all compatible")


def shipped() -> dict[str, str]:
    """Return the licence of everything that is shipped."""
    found = {p.name: licence_of(p.name) for p in pins(RUNTIME.read_text())}
    for path, package in json.loads(WEB_LOCK.read_text())["packages"].items():
        if path and not package.get("dev"):
            found[path.removeprefix("node_modules/")] = package.get("license", "")
    return found


def judge_python(code: int, said: str, wanted: int) -> Outcome:
    """Judge what pip-audit said of so many parts."""
    check = "vulnerabilities, Python"
    try:
        parts = json.loads(said)["dependencies"]
    except (ValueError, KeyError):
        return Outcome(check, State.NOT_RUN, f"it ended with {code} and no answer")
    vulnerable = [f"{p['name']} {p['version']}: {v['id']}" for p in parts for v in p.get("vulns", [])]
    looked = sum("skip_reason" not in p for p in parts)
    if vulnerable:
        return Outcome(check, State.FAILED, "; ".join(vulnerable))
    if looked < wanted:
        return Outcome(check, State.NOT_RUN, f"{looked} of {wanted} parts were looked up")
    return Outcome(check, State.PASSED, f"none known in {looked} parts")


def judge_web(code: int, said: str) -> Outcome:
    """Judge what npm audit said."""
    check = "vulnerabilities, web"
    try:
        found = json.loads(said)["metadata"]["vulnerabilities"]
    except (ValueError, KeyError, TypeError):
        return Outcome(check, State.NOT_RUN, f"it ended with {code} and no answer")
    count = sum(found[level] for level in ("moderate", "high", "critical"))
    return Outcome(check, State.FAILED if count else State.PASSED, f"{count} known")


def write_boms() -> Outcome:
    """Write what the platform is made of, as CycloneDX."""
    BOMS.mkdir(parents=True, exist_ok=True)
    bom = Bom()
    root = Component(name="aether", version=metadata.version("aether"), type=ComponentType.APPLICATION)
    bom.metadata.component = root
    parts = [
        Component(
            name=pin.name,
            version=pin.version,
            type=ComponentType.LIBRARY,
            purl=PackageURL("pypi", name=pin.name, version=pin.version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=text) for text in pin.hashes],
            licenses=[DisjunctiveLicense(name=licence_of(pin.name))],
        )
        for pin in pins(RUNTIME.read_text())
    ]
    bom.components.update(parts)
    bom.register_dependency(root, parts)
    (BOMS / "python.cdx.json").write_text(JsonV1Dot6(bom).output_as_string(indent=2))
    code, said = _run("npm", "sbom", "--sbom-format", "cyclonedx", "--omit", "dev", "--package-lock-only")
    if code:
        return Outcome("parts", State.NOT_RUN, f"npm sbom ended with {code}")
    (BOMS / "web.cdx.json").write_text(said)
    return Outcome("parts", State.PASSED, f"written to {BOMS.relative_to(ROOT)}")


def _run(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT / "web", capture_output=True, text=True, timeout=WITHIN_S, check=False)
    return done.returncode, done.stdout


def look() -> Iterator[Outcome]:
    """Make every check."""
    yield check_pins([RUNTIME.read_text(), DEV.read_text(), MUTATION.read_text()], WEB_LOCK.read_text())
    yield check_licences(shipped())
    tool = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json"]
    code, said = _run(*tool, "--requirement", str(MUTATION))
    yield judge_python(code, said, len(pins(MUTATION.read_text())))
    yield judge_web(*_run("npm", "audit", "--json"))
    yield write_boms()


def report(outcomes: Sequence[Outcome], *, is_release: bool, tell: Callable[[str], Any] = print) -> int:
    """Tell what was found; return the exit code."""
    for outcome in outcomes:
        tell(f"{outcome.check:<24} {outcome.state:<14} {outcome.told}")
    red = {State.FAILED, State.NOT_RUN} if is_release else {State.FAILED}
    if any(o.state is State.NOT_RUN for o in outcomes) and not is_release:
        tell("What could not run proves nothing; a release needs it: make audit RELEASE=1")
    return int(any(o.state in red for o in outcomes))


def main() -> int:
    """Check the supply chain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", action="store_true", help="what could not run is red")
    return report(list(look()), is_release=parser.parse_args().release)


if __name__ == "__main__":
    sys.exit(main())
