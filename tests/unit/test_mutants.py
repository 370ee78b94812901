"""The list of surviving mutants is read as it is meant, and more of them than it names fail the run."""

from collections import Counter

import pytest

from tests.mutants import SURVIVORS, judge, listed, read

TOLD = """
    aether.engine.risk.x_check_mode__mutmut_1: killed
    aether.engine.risk.x_check_mode__mutmut_2: survived
    aether.engine.ledger.xǁLedgerǁreserve__mutmut_1: timeout
    aether.engine.ledger.xǁLedgerǁreserve__mutmut_2: killed
    aether.engine.ledger.x__charge__mutmut_3: no tests
"""


def test_results_are_read_by_function() -> None:
    assert read(TOLD) == {
        "engine.risk.check_mode": Counter(killed=1, survived=1),
        "engine.ledger.Ledger.reserve": Counter(timeout=1, killed=1),
        "engine.ledger._charge": Counter({"no tests": 1}),
    }


def test_more_survivors_than_are_listed_fail(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"engine.risk.check_mode": Counter(killed=98, survived=2)}
    assert judge(found, {"engine.risk.check_mode": 2}) == 0
    assert judge(found, {"engine.risk.check_mode": 1}) == 1
    assert "2 survivors, 1 are listed" in capsys.readouterr().out
    assert judge({"engine.risk.check_mode": Counter(killed=89, survived=11)}, {"engine.risk.check_mode": 11}) == 1
    assert judge({}, {}) == 1, "a run without mutants shows nothing"
    assert judge({"f": Counter({"killed": 99, "no tests": 1})}, {}) == 1, "what no test reaches has survived"


def test_every_listed_survivor_has_a_reason() -> None:
    assert listed(SURVIVORS.read_text())
    for line in SURVIVORS.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            assert len(line.split(maxsplit=2)[2]) > 10, line
