"""What worlds have been through: state changes, faults, faults at the same time, and where processes were killed.

A run of many worlds says little when whatever is dangerous never came about in it; `shortfalls` names what did not.
"""

import ast
import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from aether.domain.orders import OrderState
from aether.engine import orders
from aether.simulation.process import Process, of_task

WORLDS = 10_000
"""The thresholds are for so many."""
LEAST_WORLDS = 1_000
"""Fewer say too little of what never comes about."""
CELL_TIMES, FAULT_TIMES, PAIR_TIMES, AWAIT_TIMES = 100, 1_000, 20, 5
_S, _T = OrderState, orders.Trigger
CELLS = (
    (_S.INITIALIZED, _T.APPROVE), (_S.INITIALIZED, _T.DENY),
    (_S.SUBMITTED, _T.ACCEPT), (_S.SUBMITTED, _T.REJECT), (_S.SUBMITTED, _T.REQUEST_CANCEL),
    (_S.ACCEPTED, _T.FILL_PART), (_S.ACCEPTED, _T.FILL_WHOLE), (_S.ACCEPTED, _T.REQUEST_CANCEL),
    (_S.ACCEPTED, _T.EXPIRE),
    (_S.PARTIALLY_FILLED, _T.FILL_WHOLE), (_S.PARTIALLY_FILLED, _T.REQUEST_CANCEL), (_S.PARTIALLY_FILLED, _T.EXPIRE),
    (_S.PENDING_CANCEL, _T.ACCEPT), (_S.PENDING_CANCEL, _T.REJECT), (_S.PENDING_CANCEL, _T.FILL_PART),
    (_S.PENDING_CANCEL, _T.FILL_WHOLE), (_S.PENDING_CANCEL, _T.REQUEST_CANCEL), (_S.PENDING_CANCEL, _T.CANCEL),
    (_S.PENDING_CANCEL, _T.EXPIRE), (_S.FILLED, _T.CANCEL_REFUSED_PART), (_S.CANCELED, _T.CANCEL_REFUSED),
    (_S.EXPIRED, _T.CANCEL_REFUSED), (_S.REJECTED, _T.CANCEL_REFUSED), (_S.REJECTED, _T.REJECT),
)  # fmt: skip
"""Order states with what sessions tell of them. Trackers bring reports into order, so that most of the table's other
cells come about in no world, or in one of hundreds: all of them are walked in `tests/property/joint_states.py`."""
ROOMS = ("node", "venues")
"""Packages that a world runs and whose waiting places are looked at."""
_PACKAGE = Path(orders.__file__).parents[1]
_NOT_HERE = frozenset({"bystander.py", "ccxt_bridge.py", "recording.py"})
"""Of them, what no world runs: a platform without accounts, venues without an adapter of our own, recordings."""


@dataclass
class Coverage:
    """What worlds have been through, each with how often.

    Attributes:
        places: "room/file.py:line" at which a process has waited at all, as the worlds found that look closely.
        cells: "state, trigger" of orders, once for each report that an account took.
        pairs: "fault + fault" that were at work at the same time.
        awaits: "room/file.py:line" at which a process waited when it was killed.
    """

    cells: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    awaits: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Coverage") -> None:
        """Count another's too."""
        self.cells.update(other.cells)
        self.pairs.update(other.pairs)
        self.awaits.update(other.awaits)
        self.places.update(other.places)

    @contextmanager
    def counting_cells(self) -> Iterator[None]:
        """Count the order states that whatever is replayed here goes through."""
        counted = _Counted(orders.TRANSITIONS, self.cells)
        known, orders.TRANSITIONS = orders.TRANSITIONS, counted
        try:
            yield
        finally:
            orders.TRANSITIONS = known

    def killed(self, process: Process) -> None:
        """Note where each task of a process waits."""
        for task in asyncio.all_tasks():
            if of_task(task) is process:
                self.awaits.update(_places(task.get_coro()))


class _Counted(dict[tuple[OrderState, orders.Trigger], OrderState]):
    """The table of transitions, counting what is looked up."""

    def __init__(self, table: dict[tuple[OrderState, orders.Trigger], OrderState], cells: Counter[str]) -> None:
        super().__init__(table)
        self._cells = cells

    def get(self, key: Any, default: Any = None) -> Any:
        """Look a transition up."""
        self._cells[_cell(*key)] += 1
        return super().get(key, default)


def _cell(state: OrderState, trigger: orders.Trigger) -> str:
    return f"{state}, {trigger.name.lower()}"


def places_of(handle: asyncio.Handle) -> Iterator[str]:
    """Yield the rooms' lines at which the task waits that goes on with a step."""
    task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    if isinstance(task, asyncio.Task):
        yield from _places(task.get_coro())


def _places(coroutine: Any) -> Iterator[str]:
    """Yield the rooms' lines at which a coroutine, and those that it waits for, stand."""
    while coroutine is not None:
        frame: FrameType | None = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            return
        path = Path(frame.f_code.co_filename)
        if path.parent.name in ROOMS and path.parent.parent == _PACKAGE:
            yield from _await_at(path, frame.f_lineno)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


@cache
def _waits(path: Path) -> dict[int, str]:
    """Return by line the waiting place there: the first line of the smallest `await` around it.

    Those of asynchronous generators are left out: nothing tells from outside where one of them stands.
    """
    found: dict[int, str] = {}
    name = f"{path.parent.name}/{path.name}"
    for top in ast.walk(ast.parse(path.read_text())):
        if not isinstance(top, ast.AsyncFunctionDef) or any(isinstance(n, ast.Yield) for n in ast.walk(top)):
            continue
        waits = [n for n in ast.walk(top) if isinstance(n, ast.Await)]
        for wait in sorted(waits, key=lambda n: (n.end_lineno or 0) - n.lineno, reverse=True):
            for line in range(wait.lineno, (wait.end_lineno or wait.lineno) + 1):
                found[line] = f"{name}:{wait.lineno}"
    return found


def _await_at(path: Path, line: int) -> Iterator[str]:
    if (place := _waits(path).get(line)) is not None:
        yield place


def known_awaits() -> set[str]:
    """Return every waiting place in the text of the rooms that a world runs."""
    paths = [p for room in ROOMS for p in sorted((_PACKAGE / room).glob("*.py")) if p.name not in _NOT_HERE]
    return {place for path in paths for place in _waits(path).values()}


def shortfalls(coverage: Coverage, faults: Counter[str], kinds: tuple[str, ...], worlds: int) -> list[str]:
    """Return in words what did not come about often enough in so many worlds; of fewer, less is wanted, but once.

    Args:
        kinds: of faults that should have happened.
    """

    def least(times: int) -> int:
        return max(1, times * worlds // WORLDS)

    cells = [_cell(*cell) for cell in CELLS]
    wanted = {f"order state ({cell})": (coverage.cells[cell], CELL_TIMES) for cell in cells}
    wanted |= {f"fault ({kind})": (faults[kind], FAULT_TIMES) for kind in kinds}
    pairs = [pair(a, b) for i, a in enumerate(kinds) for b in kinds[i + 1 :]]
    wanted |= {f"faults at once ({both})": (coverage.pairs[both], PAIR_TIMES) for both in pairs}
    wanted |= {f"killed at ({place})": (coverage.awaits[place], AWAIT_TIMES) for place in sorted(coverage.places)}
    return [f"{what}: {n} times, {least(times)} wanted" for what, (n, times) in wanted.items() if n < least(times)]


def pair(one: str, other: str) -> str:
    """Return the name of two faults at work at the same time."""
    return " + ".join(sorted((one, other)))
