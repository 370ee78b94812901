"""A run of many worlds says what never came about in it (O9)."""

import asyncio
from collections import Counter

import pytest
from typer.testing import CliRunner

from aether.cli import simulate
from aether.engine import orders
from aether.simulation.coverage import CELLS as WANTED
from aether.simulation.coverage import LEAST_WORLDS, Coverage, known_awaits, pair, shortfalls
from aether.simulation.faults import KINDS
from aether.simulation.runs import Sum, run_many, run_one
from aether.simulation.world import LOOKED_AT, Report

CELLS = {f"{state}, {trigger.name.lower()}": 10_000 for state, trigger in WANTED}
PAIRS = {pair(a, b): 10_000 for n, a in enumerate(KINDS) for b in KINDS[n + 1 :]}


def whole() -> tuple[Coverage, Counter[str]]:
    """Return a coverage that lacks nothing."""
    place = "node/shard.py:1"
    coverage = Coverage(Counter(CELLS), Counter(PAIRS), Counter({place: 10_000}), Counter({place: 1}))
    return coverage, Counter(dict.fromkeys(KINDS, 10_000))


def test_what_came_about_too_seldom_is_named() -> None:
    coverage, faults = whole()
    assert shortfalls(coverage, faults, KINDS, 10_000) == []
    faults["node killed"] = 999
    coverage.pairs[pair("clock jump", "node killed")] = 19
    coverage.awaits["node/shard.py:1"] = 4
    coverage.cells["accepted, expire"] = 99
    told = shortfalls(coverage, faults, KINDS, 10_000)
    assert told == [
        "order state (accepted, expire): 99 times, 100 wanted",
        "fault (node killed): 999 times, 1000 wanted",
        "faults at once (clock jump + node killed): 19 times, 20 wanted",
        "killed at (node/shard.py:1): 4 times, 5 wanted",
    ]
    assert shortfalls(coverage, faults, KINDS, 1_000) == [], "of fewer worlds less is wanted"
    del coverage.awaits["node/shard.py:1"]
    assert shortfalls(coverage, faults, KINDS, 1_000) == ["killed at (node/shard.py:1): 0 times, 1 wanted"]


def test_a_world_counts_its_order_states_once_and_where_its_processes_wait() -> None:
    report = run_one(LOOKED_AT)
    cells = report.coverage.cells
    assert cells["initialized, approve"] >= report.orders > 0, "every order that was sent was approved"
    assert cells["submitted, accept"] <= cells["initialized, approve"]
    assert set(report.coverage.places) <= known_awaits()
    assert len(report.coverage.places) > 80
    assert set(report.coverage.awaits) <= known_awaits()
    assert run_one(LOOKED_AT + 1).coverage.places == Counter(), "only some worlds look so closely"
    assert orders.TRANSITIONS.__class__ is dict, "nothing is counted after it"


def test_kinds_of_faults_happen_together() -> None:
    total = Sum()
    for report in run_many(range(6), 1):
        total.add(report)
    assert set(total.coverage.pairs) <= set(PAIRS)
    assert total.coverage.pairs


def test_a_run_that_lacks_something_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "run_many", lambda seeds, _jobs: (Report(seed) for seed in seeds))
    few = CliRunner().invoke(simulate.app, ["--seeds", str(LEAST_WORLDS - 1)])
    assert few.exit_code == 0, few.output
    many = CliRunner().invoke(simulate.app, ["--seeds", str(LEAST_WORLDS)])
    assert many.exit_code != 0
    assert "fault (node killed): 0 times" in many.output


def test_places_are_found_through_what_waits_for_what() -> None:
    from aether.simulation.coverage import _places

    async def inner() -> None:
        await asyncio.sleep(0)

    coroutine = inner()
    coroutine.send(None)
    assert list(_places(coroutine)) == [], "a test is no room of the desk"
    coroutine.close()


def test_every_order_state_that_is_wanted_is_one_of_the_table() -> None:
    assert set(WANTED) <= set(orders.TRANSITIONS)
    assert len(WANTED) == len(set(WANTED))
