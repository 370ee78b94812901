"""A process of a world, as its loop knows it: it can stand still at any step, and be gone at any.

Everything that a process does carries its name in its context; the loop (`loop.py`) asks before each step. What arrives
for a process that stands still waits, as it does in the buffers of a kernel.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Process:
    """A process.

    Attributes:
        is_frozen: it does nothing; time passes.
        is_dead: it is frozen for ever, and nobody it talks to is there.
        held: what it does once it goes on.
        wire: set while it reaches the database; what is on its way waits, and nobody is told.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_frozen = False
        self.is_dead = False
        self.held: deque[asyncio.Handle] = deque()
        self.wire = asyncio.Event()
        self.wire.set()
        self._steps_left = 0
        self._then: Callable[[], None] = lambda: None
        self.when: Callable[[asyncio.Handle], None] = lambda _handle: None
        """Called before each of its steps."""

    def after(self, steps: int, then: Callable[[], None]) -> None:
        """Do something in place of the step so many steps on; never with 0."""
        self._steps_left, self._then = steps, then

    def stands_still(self, handle: asyncio.Handle) -> bool:
        """Return whether it does not do a step."""
        self.when(handle)
        if self._steps_left:
            self._steps_left -= 1
            if not self._steps_left:
                self._then()
        return self.is_frozen

    def freeze(self) -> None:
        """Let it stand still."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Let it go on with what waits for it; once its world is over, a dead one too, to be taken apart."""
        self.is_frozen = False
        loop = asyncio.get_running_loop()
        handles, self.held = self.held, deque()
        loop._ready.extend(handles)  # type: ignore[attr-defined]

    def die(self) -> None:
        """Be gone."""
        self.is_dead = self.is_frozen = True
        self.wire.set()


_process: ContextVar[Process | None] = ContextVar("process", default=None)


@contextmanager
def belonging_to(process: Process) -> Iterator[None]:
    """Let this task, and those that it starts, belong to a process."""
    token = _process.set(process)
    try:
        yield
    finally:
        _process.reset(token)


def current() -> Process | None:
    """Return the process that asks; None for the world itself."""
    return _process.get()


def of_task(task: "asyncio.Task[object]") -> Process | None:
    """Return the process that a task belongs to."""
    found: Process | None = getattr(task, "process", None)
    return found


def of(handle: asyncio.Handle) -> Process | None:
    """Return the process that a step belongs to."""
    found: Process | None = handle._context.get(_process)  # type: ignore[attr-defined]
    return found
