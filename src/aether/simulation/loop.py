"""An event loop whose time passes only when everybody waits: then it jumps to the next moment at which anything is due.

Nothing in it knows threads or sockets: what would run in a thread runs at once, the network is `network.py`'s.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from aether.simulation.process import Process, current, of

T = TypeVar("T")
NS = 1_000_000_000
START_NS = 1_767_225_600 * NS
"""2026-01-01: when each world begins, whatever the day is."""


class DeadlockError(Exception):
    """Everybody waits, and nothing is due."""


class NumberedTask(asyncio.Task[Any]):
    """A task that sets hold in the order in which tasks were made: groups cancel theirs in the order of a set."""

    number: int
    process: Process | None
    """That it belongs to."""

    def __new__(cls, *_args: Any, loop: "SimulatedLoop", **_more: Any) -> "NumberedTask":
        """Make a task with the loop's next number."""
        made = super().__new__(cls)
        made.number = loop.next_task()
        made.process = current()
        return made

    def __hash__(self) -> int:
        """Return its number."""
        return self.number


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time, seconds from 0."""

    _timer_cancelled_count: int

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__()
        self._clock_resolution = 1e-9
        self._tasks_made = 0
        self.set_task_factory(lambda loop, coro, **more: NumberedTask(coro, loop=loop, **more))

    def next_task(self) -> int:
        """Return the number of the next task."""
        self._tasks_made += 1
        return self._tasks_made

    @property
    def ready(self) -> deque[asyncio.Handle]:
        """What is to be done now, in order."""
        return self._ready  # type: ignore[attr-defined,no-any-return]

    def _run_once(self) -> None:
        """Do everything that is due, after the time has jumped there when nothing is."""
        ready, timers = self.ready, self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
            self._timer_cancelled_count -= 1
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not timers:
                raise DeadlockError("nobody has anything to do, now or later")
            self.now_s = max(self.now_s, timers[0]._when)
        while timers and timers[0]._when < self.now_s + self._clock_resolution:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = of(handle)
            if process is not None and process.stands_still(handle):
                process.held.append(handle)
                continue
            handle._run()

    def time(self) -> float:
        """Return the virtual time."""
        return self.now_s

    def run_in_executor(  # type: ignore[override]  # one of the ways to say it
        self, _executor: Any, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """Do at once what would be done in a thread."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  it belongs to whoever awaits it
            done.set_exception(error)
        return done


class SimulatedClock:
    """A machine's clocks in a world (`aether.clock.World`).

    Attributes:
        ahead_ns: how far its wall clock is ahead of the world's time.
    """

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.ahead_ns = 0
        self.began_ns = START_NS

    def wall_ns(self) -> int:
        """Return what its wall clock says."""
        return START_NS + self.monotonic_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        """Return the world's time since it began."""
        return int(self._loop.now_s * NS)
