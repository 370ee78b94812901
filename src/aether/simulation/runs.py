"""Many worlds on several processors, and the smallest set of faults that still breaks one."""

import gc
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache

from aether.simulation.coverage import Coverage
from aether.simulation.faults import KINDS
from aether.simulation.world import Report, World
from aether.telemetry import configure_logging


@dataclass
class Sum:
    """What many worlds came to.

    Attributes:
        failed: the worlds in which something was that should not be.
    """

    worlds: int = 0
    seconds: float = 0.0
    orders: int = 0
    fills: int = 0
    halted: int = 0
    needlessly_halted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)
    failed: list[Report] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Count a world."""
        self.worlds += 1
        self.seconds += report.seconds
        self.orders += report.orders
        self.fills += report.fills
        self.halted += bool(report.halts)
        self.needlessly_halted += bool(report.needless)
        self.faults += report.faults
        self.coverage.add(report.coverage)
        if report.violations:
            self.failed.append(report)


def run_one(seed: int, kinds: frozenset[str] | None = None) -> Report:
    """Return what becomes of a world; an error of the world itself is told as such."""
    configure_logging("critical", as_json=False)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # a dropped answer is a fault of the world's own
    _set_aside()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # by processes that were killed
        report = _lived(seed, kinds)
        gc.collect()  # what is left of it ends here, and not in the middle of whatever comes next
    return report


def _lived(seed: int, kinds: frozenset[str] | None) -> Report:
    world = World(seed, kinds)
    try:
        return world.run()
    except Exception as error:  # noqa: BLE001  it belongs to the seed
        world.violate(f"the world ended with {type(error).__name__}: {error}")
        return world.report


@cache
def _set_aside() -> None:
    """Let each world's collection pass over what the programme itself is made of."""
    gc.collect()
    gc.freeze()


def run_many(seeds: Sequence[int], jobs: int) -> Iterator[Report]:
    """Yield what becomes of worlds, in the order of their seeds."""
    if jobs == 1:
        yield from map(run_one, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run_one, seeds, chunksize=4)


def smallest(seed: int) -> tuple[frozenset[str], Report]:
    """Return the faults without which a broken world would not be broken, as far as leaving them out shows."""
    kinds, report = frozenset(KINDS), run_one(seed)
    for kind in KINDS:
        fewer = run_one(seed, kinds - {kind})
        if fewer.violations:
            kinds, report = kinds - {kind}, fewer
    return kinds, report
