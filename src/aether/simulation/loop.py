"""An event loop whose time passes only when everybody waits: then it jumps to the next moment at which anything is due.

Nothing in it knows threads or sockets: what would run in a thread runs at once, the network is `network.py`'s.
"""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
NS = 1_000_000_000
START_NS = 1_767_225_600 * NS
"""2026-01-01: when each world begins, whatever the day is."""


class DeadlockError(Exception):
    """Everybody waits, and nothing is due."""


class _Waiting(selectors.DefaultSelector):
    """Waits for time alone."""

    def __init__(self, passed: Callable[[float], None]) -> None:
        super().__init__()
        self._passed = passed

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let the time pass."""
        if timeout is None:
            raise DeadlockError("nobody has anything to do, now or later")
        if timeout > 0:
            self._passed(timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time, seconds from 0."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Waiting(self._pass))
        self._clock_resolution = 1e-9

    def _pass(self, seconds: float) -> None:
        self.now_s += seconds

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
