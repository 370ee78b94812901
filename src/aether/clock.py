"""What time it is: the one module that reads the machine's clocks. Nobody else does; a test holds that.

A part that lives by time takes a clock as an argument, with one of these as its default. How long something took is
measured with `perf_counter` and decides nothing.

A machine's wall clock can jump: a wrong time server, a hand, a suspended laptop. `SteadyClock` follows the monotonic
clock from the wall clock's time at its start and takes on another wall time only once that has stood for a while, so
that one wrong reading dates nothing. `running_s` takes on none: what waits for its time at a venue lives by it, since
a jump would make everything due at once, or nothing for an hour; the venue's own clock is measured against it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic, monotonic_ns, time, time_ns
from typing import Protocol

NS_PER_S = 1_000_000_000
JUMP_NS = NS_PER_S
"""The wall clock further from its expected time than this has jumped."""
BELIEVED_AFTER_NS = 60 * NS_PER_S
"""A jump that has stood for so long is the time."""


def wall_ns() -> int:
    """Return nanoseconds since 1970 UTC."""
    return time_ns()


def wall_s() -> float:
    """Return seconds since 1970 UTC."""
    return time()


def monotonic_s() -> float:
    """Return seconds of a clock that never jumps."""
    return monotonic()


_BEGAN_S = time() - monotonic()


def running_s() -> float:
    """Return seconds since 1970 by the wall clock of the process's start and what has passed since: it never jumps."""
    return _BEGAN_S + monotonic()


def utc_text(ts_ns: int) -> str:
    """Return a time as people read it."""
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


class Clock(Protocol):
    """A source of time."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970 UTC."""
        ...


class SteadyClock:
    """The machine's time without its jumps.

    Args:
        wall, monotonic: the clocks that it reads, nanoseconds.
    """

    def __init__(self, wall: Callable[[], int] = time_ns, monotonic: Callable[[], int] = monotonic_ns) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead_ns = wall() - monotonic()
        self._jumped_at: int | None = None

    def now_ns(self) -> int:
        """Return the time, never the wall clock's jump before it has stood for a minute."""
        wall, steady = self._wall(), self._monotonic()
        expected = steady + self._ahead_ns
        if abs(wall - expected) <= JUMP_NS:
            self._jumped_at = None
            self._ahead_ns = wall - steady
            return wall
        if self._jumped_at is None:
            self._jumped_at = steady
        if steady - self._jumped_at < BELIEVED_AFTER_NS:
            return expected
        self._jumped_at = None
        self._ahead_ns = wall - steady
        return wall
