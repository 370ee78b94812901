"""What one account takes of its market's log, and what is left of it when the account is behind."""

from collections.abc import Iterable, Sequence

from aether.domain.accounts import AccountConfig
from aether.domain.events import Bar, BookUpdate, FeedInterrupted, LogEvent, PairTold, Quote, Timer
from aether.store.market_log import Logged


class Appetite:
    """What one account wants of the market; its settings never change it."""

    def __init__(self, config: AccountConfig) -> None:
        self._instruments = config.approved
        self._bars = {(i, a.bar_s) for a in config.strategies for i in a.instruments}

    def wants(self, event: LogEvent) -> bool:
        """Return whether the account takes `event`."""
        if isinstance(event, Bar):
            return (event.instrument, event.interval_s) in self._bars
        return isinstance(event, Timer) or event.instrument in self._instruments


def conflated(waiting: Iterable[Logged]) -> list[Logged]:
    """Return what an account that is behind takes of the events that wait for it, in order.

    Every bar, every interruption and all that is told of pairs, and of each instrument the last top of book and the
    last book; trades and the time between are left out. What is conflated twice is as if it had been once.
    """
    kept: list[Logged] = []
    seen: set[tuple[type, str]] = set()
    for one in reversed(list(waiting)):
        event = one.event
        if isinstance(event, (Quote, BookUpdate)):
            key = (type(event), event.instrument)
            if key in seen:
                continue
            seen.add(key)
        elif not isinstance(event, (Bar, FeedInterrupted, PairTold)):
            continue
        kept.append(one)
    kept.reverse()
    return kept


def conflated_positions(events: Sequence[Logged], appetite: Appetite) -> frozenset[int]:
    """Return the positions that an account with an appetite takes of events that it takes together."""
    return frozenset(one.pos for one in conflated(one for one in events if appetite.wants(one.event)))
