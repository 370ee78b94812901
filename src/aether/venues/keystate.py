"""What all processes that use one key must agree on: the last nonce, and how full the key's rate limits are.

It lies in a small file, locked while it is changed, named after a hash of the key. A nonce is never given twice and
never smaller than one given before, across processes and restarts and when the clock steps back.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from aether.venues.limits import Costs, Level, Limit, blocked, charge, set_back, wait_s


class _State(msgspec.Struct):
    nonce: int = 0
    levels: dict[str, Level] = msgspec.field(default_factory=dict)


_decoder = msgspec.json.Decoder(_State)


class KeyState:
    """The shared state of one key.

    Args:
        folder: where the file lies; None keeps the state in this process, for public data and tests.
        key: the key's public name.
        clock: returns seconds since 1970.
    """

    def __init__(self, folder: Path | None, key: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._state = _State()
        self._path: Path | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"

    def next_nonce(self) -> int:
        """Return a number above every one given before: microseconds since 1970, or the last one plus one."""
        with self._open() as state:
            state.nonce = max(state.nonce + 1, int(self._clock() * 1_000_000))
            return state.nonce

    def acquire(self, costs: Costs, share: float) -> float:
        """Charge the limits, of which a `share` may be used, and return 0; or charge nothing and return the wait,
        seconds."""
        now = self._clock()
        with self._open() as state:
            for level in state.levels.values():
                set_back(level, now)
            found = [(limit, _name(limit, part), cost) for limit, part, cost in costs]
            waits = [wait_s(limit, state.levels.get(name, Level()), cost, now, share) for limit, name, cost in found]
            longest = max(waits, default=0.0)
            if longest <= 0:
                for limit, name, cost in found:
                    state.levels[name] = charge(limit, state.levels.get(name, Level()), cost, now)
            return longest

    def told(self, levels: list[tuple[Limit, float]]) -> None:
        """Take in what the venue itself counts, where that is more."""
        if not levels:
            return
        now = self._clock()
        with self._open() as state:
            for limit, level in levels:
                known = charge(limit, state.levels.get(_name(limit, ""), Level()), 0.0, now)
                known.level = max(known.level, level)
                state.levels[_name(limit, "")] = known

    def block(self, costs: Costs, told_s: float, first_s: float = 1.0) -> None:
        """Send nothing that counts against these limits for a while: the venue said that it was too much.

        Args:
            told_s: for how long, as the venue says; 0 when it does not.
            first_s: for how long then; twice as long each time.
        """
        now = self._clock()
        with self._open() as state:
            for limit, part, _ in costs:
                blocked(state.levels.setdefault(_name(limit, part), Level(at_s=now)), now, told_s, first_s)

    @contextmanager
    def _open(self) -> Iterator[_State]:
        if self._path is None:
            yield self._state
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            raw = os.read(descriptor, 1 << 20)
            try:
                state = _decoder.decode(raw) if raw else _State()
            except msgspec.DecodeError:
                state = _State(nonce=int(self._clock() * 1_000_000))
            yield state
            written = msgspec.json.encode(state)
            os.pwrite(descriptor, written, 0)
            os.ftruncate(descriptor, len(written))
        finally:
            os.close(descriptor)


def _name(limit: Limit, part: str) -> str:
    return f"{limit.name}|{part}" if part else limit.name
