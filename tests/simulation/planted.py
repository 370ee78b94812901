"""Small faults in the desk, each of which simulated worlds have to find: a simulator that does not bite proves nothing.

Each entry plants one by patching what it names, and says in which words a world complains.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from aether.node import shard as shards
from aether.node.committer import Committer
from aether.node.sequencer import Sequencer
from aether.node.shard import Shard
from aether.store.journal import JournalRow, row_hash
from aether.venues.tracked import Phase
from aether.venues.tracker import Tracker


class Planted(NamedTuple):
    """A fault: what is wrong, how it is planted, and what a world says of it."""

    what: str
    plant: Callable[[pytest.MonkeyPatch], None]
    words: str


def _sends_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    whole = Committer.commit

    async def commit(self: Committer, batch: Any) -> None:

        self._early = asyncio.ensure_future(whole(self, batch))  # type: ignore[attr-defined]

    patch.setattr(Committer, "commit", commit)


def _forgets_that_a_commit_was_in_doubt(patch: pytest.MonkeyPatch) -> None:
    async def not_there(_self: Committer, _connection: Any, batches: list[Any]) -> list[Any]:
        return batches

    patch.setattr(Committer, "_not_there", not_there)


def _does_not_stop_at_the_venues(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tracker, "stop", lambda _self, _now_s: None)
    patch.setattr(Tracker, "cancel", lambda _self, _order_id, _now_s: None)


def _sends_again_what_was_lost(patch: pytest.MonkeyPatch) -> None:
    def lost(self: Tracker, tracked: Any, now_s: float) -> None:
        tracked.phase = Phase.QUEUED
        self.failed(tracked, now_s)

    patch.setattr(Tracker, "lost", lost)


def _listens_from_now_on_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    whole = Shard.remembered

    def remembered(self: Shard, *args: Any) -> Any:
        return msgspec.structs.replace(whole(self, *args), orders=(), since_ns=self.now_ns())

    patch.setattr(Shard, "remembered", remembered)


def _books_an_execution_each_time_it_is_told(patch: pytest.MonkeyPatch) -> None:
    whole = Tracker._fill
    counter = iter(range(10**9))

    def fill(self: Tracker, tracked: Any, execution: Any, now_s: float) -> None:
        if execution.trade_id in tracked.trades:
            execution = msgspec.structs.replace(execution, trade_id=f"{execution.trade_id}.{next(counter)}")
        whole(self, tracked, execution, now_s)

    patch.setattr(Tracker, "_fill", fill)


def _leaves_a_fee_out(patch: pytest.MonkeyPatch) -> None:
    whole = Tracker._fill

    def fill(self: Tracker, tracked: Any, execution: Any, now_s: float) -> None:
        whole(self, tracked, msgspec.structs.replace(execution, fee=0), now_s)

    patch.setattr(Tracker, "_fill", fill)


def _does_not_journal_that_it_was_late(patch: pytest.MonkeyPatch) -> None:
    async def note_delay(self: Shard, item: Any) -> None:
        if self._clock is not None and item.is_live:
            self.engine.state.now_ns = max(self.engine.state.now_ns, self._clock.now_ns())

    patch.setattr(Shard, "_note_delay", note_delay)


def _chains_over_another_market(patch: pytest.MonkeyPatch) -> None:
    whole = row_hash

    def wrong(previous: bytes, row: JournalRow, log_hash: bytes | None) -> bytes:
        return whole(previous, row, bytes(32) if log_hash else None)

    patch.setattr(shards, "row_hash", wrong)


def _leaves_a_market_event_out_of_the_log(patch: pytest.MonkeyPatch) -> None:
    whole = Sequencer.blocks

    def blocks(self: Sequencer) -> Sequence[Any]:
        found = whole(self)
        return [b._replace(payload=b.payload.rpartition(b"\n")[0] or b.payload) for b in found]

    patch.setattr(Sequencer, "blocks", blocks)


PLANTED = (
    Planted("an order leaves before it is durable", _sends_before_it_is_durable, "before it was durable"),
    Planted("a commit in doubt is not looked up", _forgets_that_a_commit_was_in_doubt, "fenced itself"),
    Planted("a kill cancels nothing", _does_not_stop_at_the_venues, "are open at"),
    Planted("a lost order is sent again", _sends_again_what_was_lost, "more than once"),
    Planted("nothing is asked of the time of a restart", _listens_from_now_on_after_a_restart, "the books"),
    Planted("an execution is booked each time", _books_an_execution_each_time_it_is_told, "the books"),
    Planted("a fee is left out", _leaves_a_fee_out, "too much"),
    Planted("a delay is not journaled", _does_not_journal_that_it_was_late, "prove"),
    Planted("a row is chained over no market", _chains_over_another_market, "does not prove"),
    Planted("an event is missing in the log", _leaves_a_market_event_out_of_the_log, "prove"),
)
