"""What may stop an account, as one table: who enters and leaves each stop, and what it still allows.

An account trades unless something stops it, and several things may at once; then only what all of them allow goes on.
Stops are states, not commands: whoever acts (the gate, protection, flattening, parents) looks here at each step, so
nothing has to be told twice and nothing is forgotten over a restart. Leaving one stop never leaves another: a kill that
is released finds the loss stop that was there before.

`MOVES` says what each cause does: `True` enters the stop, `False` leaves it, and a stop that is not named stays as it
is. `PERMITS` says what goes on meanwhile. Cancels and the booking of what venues report go on always; they are not in
the table because nothing stops them.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Stop(StrEnum):
    """What stops an account, the strongest first."""

    KILL = "kill"
    """A person, or production's start, engaged the kill switch."""
    FLATTEN = "flatten"
    """The kill switch also asks for every position to be sold."""
    FAULT = "fault"
    """The engine met an error of its own: it books, cancels and can be killed, and does nothing else."""
    HALT = "halt"
    """A venue reported what no venue can mean."""
    LOSS = "loss"
    """The daily loss or the drawdown passed its limit (R3)."""
    SAFE = "safe"
    """Safe mode, by an operator or a watchdog (R7)."""
    BREAK = "break"
    """Our books and a venue's differ (O8)."""


class Cause(StrEnum):
    """What enters or leaves stops."""

    KILL_ENGAGED = "kill engaged"
    KILL_AND_FLATTEN = "kill engaged, with flatten"
    KILL_RELEASED = "kill released"
    ENGINE_FAULTED = "engine faulted"
    IMPOSSIBLE_REPORT = "impossible report"
    LOSS_LIMIT_PASSED = "loss limit passed"
    SAFE_MODE_ENGAGED = "safe mode engaged"
    SAFE_MODE_RELEASED = "safe mode released"
    BREAK_FOUND = "break found"
    BREAKS_CLEARED = "last break cleared"
    RESUMED = "resumed by an operator"


MOVES: Mapping[tuple[Cause, Stop], bool] = {
    (Cause.KILL_ENGAGED, Stop.KILL): True,
    (Cause.KILL_ENGAGED, Stop.FLATTEN): False,
    (Cause.KILL_AND_FLATTEN, Stop.KILL): True,
    (Cause.KILL_AND_FLATTEN, Stop.FLATTEN): True,
    (Cause.KILL_RELEASED, Stop.KILL): False,
    (Cause.KILL_RELEASED, Stop.FLATTEN): False,
    (Cause.ENGINE_FAULTED, Stop.FAULT): True,
    (Cause.IMPOSSIBLE_REPORT, Stop.HALT): True,
    (Cause.LOSS_LIMIT_PASSED, Stop.LOSS): True,
    (Cause.SAFE_MODE_ENGAGED, Stop.SAFE): True,
    (Cause.SAFE_MODE_RELEASED, Stop.SAFE): False,
    (Cause.BREAK_FOUND, Stop.BREAK): True,
    (Cause.BREAKS_CLEARED, Stop.BREAK): False,
    (Cause.RESUMED, Stop.FAULT): False,
    (Cause.RESUMED, Stop.HALT): False,
    (Cause.RESUMED, Stop.LOSS): False,
}


class Permit(NamedTuple):
    """What goes on under a stop.

    Attributes:
        exits: strategies' exits, protection, sells by hand.
        flattening: the sells of the kill switch.
        keeps_orders: what is open stays open; otherwise it is canceled, parent orders with it.
    """

    exits: bool
    flattening: bool
    keeps_orders: bool


PERMITS: Mapping[Stop, Permit] = {
    Stop.KILL: Permit(exits=False, flattening=True, keeps_orders=False),
    Stop.FLATTEN: Permit(exits=False, flattening=True, keeps_orders=False),
    Stop.FAULT: Permit(exits=False, flattening=True, keeps_orders=False),
    Stop.HALT: Permit(exits=True, flattening=True, keeps_orders=False),
    Stop.LOSS: Permit(exits=True, flattening=True, keeps_orders=True),
    Stop.SAFE: Permit(exits=True, flattening=True, keeps_orders=True),
    Stop.BREAK: Permit(exits=True, flattening=True, keeps_orders=True),
}


class Stopped(msgspec.Struct):
    """A stop that is on: since when, why, and by whom.

    Attributes:
        is_done: nothing is left to do for it; a flatten that has sold everything.
        asked_ns: of the latest event that asked for it, where that counts (a kill).
    """

    since_ns: int
    reason: str
    actor: str = ""
    is_done: bool = False
    asked_ns: int = 0


Stops = dict[Stop, Stopped]


def move(stops: Stops, cause: Cause, now_ns: int, reason: str, actor: str = "") -> list[Stop]:
    """Change `stops` by what `cause` does; return those that were entered just now."""
    entered = []
    for stop in Stop:
        enters = MOVES.get((cause, stop))
        if enters is False:
            stops.pop(stop, None)
        elif enters and stop in stops:
            stops[stop].reason, stops[stop].is_done = reason, False
        elif enters:
            stops[stop] = Stopped(now_ns, reason, actor)
            entered.append(stop)
    return entered


def may_enter(stops: Stops) -> bool:
    """Return whether new positions may be opened: only while nothing stops the account."""
    return not stops


def keep_orders(stops: Iterable[Stop]) -> bool:
    """Return whether what is open stays open."""
    return all(PERMITS[stop].keeps_orders for stop in stops)


def may_exit(stops: Iterable[Stop]) -> bool:
    """Return whether positions may be left other than by flattening."""
    return all(PERMITS[stop].exits for stop in stops)


def reason_of(stops: Stops, stop: Stop) -> str:
    """Return why `stop` is on, empty when it is not."""
    found = stops.get(stop)
    return found.reason if found else ""
