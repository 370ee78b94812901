"""What time it is: the one module that reads the machine's clocks. Nobody else does; a test holds that.

A part that lives by time takes a clock as an argument, with one of these as its default. How long something took is
measured with `monotonic_s`, or with `perf_counter` where it decides nothing.

In a simulation (`aether.simulation`) the functions tell the time of the world that the asking task belongs to
(`living_in`): a context that tasks inherit, so that one process holds many worlds and no module knows of it.

A machine's wall clock can jump: a wrong time server, a hand, a suspended laptop. `SteadyClock` follows the monotonic
clock from the wall clock's time at its start and takes on another wall time only once that has stood for a while, so
that one wrong reading dates nothing. `running_s` takes on none: what waits for its time at a venue lives by it, since
a jump would make everything due at once, or nothing for an hour; the venue's own clock is measured against it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Protocol

NS_PER_S = 1_000_000_000
JUMP_NS = NS_PER_S
"""The wall clock further from its expected time than this has jumped."""
BELIEVED_AFTER_NS = 60 * NS_PER_S
"""A jump that has stood for so long is the time."""


class World(Protocol):
    """Whose time it is."""

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970 UTC, as far as its wall clock knows."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds of a clock that never jumps."""
        ...

    @property
    def began_ns(self) -> int:
        """What its wall clock said when the clock that never jumps stood at zero."""
        ...


class _Machine:
    """This machine."""

    wall_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)
    began_ns = time.time_ns() - time.monotonic_ns()


_world: ContextVar[World] = ContextVar("world", default=_Machine())  # noqa: B039  it never changes


@contextmanager
def living_in(world: World) -> Iterator[None]:
    """Let this task, and those that it starts, live in another world's time."""
    token = _world.set(world)
    try:
        yield
    finally:
        _world.reset(token)


def wall_ns() -> int:
    """Return nanoseconds since 1970 UTC."""
    return _world.get().wall_ns()


def wall_s() -> float:
    """Return seconds since 1970 UTC."""
    return wall_ns() / 1e9


def monotonic_ns() -> int:
    """Return nanoseconds of a clock that never jumps."""
    return _world.get().monotonic_ns()


def monotonic_s() -> float:
    """Return seconds of a clock that never jumps."""
    return monotonic_ns() / 1e9


def running_s() -> float:
    """Return seconds since 1970 by the wall clock of the process's start and what has passed since: it never jumps."""
    world = _world.get()
    return (world.began_ns + world.monotonic_ns()) / 1e9


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

    def __init__(self, wall: Callable[[], int] = wall_ns, monotonic: Callable[[], int] = monotonic_ns) -> None:
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
