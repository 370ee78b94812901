"""Small faults in the desk, each of which simulated worlds have to find: a simulator that does not bite proves nothing.

Each entry plants one by patching what it names, and says in which words a world complains.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import pytest

from aether.domain.identifiers import client_order_id
from aether.engine import desk, review, risk
from aether.engine.ledger import Ledger
from aether.node import shard as shards
from aether.node.committer import Committer
from aether.node.inbox import Inbox
from aether.node.lease import Lease
from aether.node.runtime import Node
from aether.node.sequencer import Sequencer
from aether.node.shard import Shard
from aether.simulation.memory import MemoryStore
from aether.store.commit import Batch
from aether.store.journal import JournalRow, row_hash
from aether.venues import tracker as trackers
from aether.venues.asking import Asker
from aether.venues.comparison import Comparison
from aether.venues.messages import fill_report
from aether.venues.tracked import Phase
from aether.venues.tracker import Tracker


class Planted(NamedTuple):
    """A fault: what is wrong, how it is planted, what a world says of it, and which world does."""

    what: str
    plant: Callable[[pytest.MonkeyPatch], None]
    words: str
    seed: int = 0


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


def _sends_whoever_owns_the_account(patch: pytest.MonkeyPatch) -> None:
    def permit(_self: Tracker, tracked: Any, _now_s: float) -> float:
        tracked.phase = Phase.SENT
        return 60.0

    whole = Asker._action
    patch.setattr(Tracker, "permit", permit)
    patch.setattr(Tracker, "check", lambda _self, _tracked, _now_s: 60.0)
    patch.setattr(
        Asker, "_action", lambda self, request: msgspec.structs.replace(whole(self, request), deadline_ms=60_000)
    )


def _takes_a_lease_that_is_held(patch: pytest.MonkeyPatch) -> None:
    whole = MemoryStore.take_lease

    def take(self: MemoryStore, log: str, holder: str, seconds: float) -> Any:
        if log in self.leases and self.leases[log].holder != holder:
            self.leases[log].has_ended = True
        return whole(self, log, holder, seconds)

    patch.setattr(MemoryStore, "take_lease", take)


def _rows_name_the_first_owner(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lease, "epoch", 1)


def _forgets_what_strangers_did(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Comparison, "tell_foreign_fills", lambda _self: None)


def _takes_a_snapshot_of_half_a_step(patch: pytest.MonkeyPatch) -> None:
    whole = Shard._snapshot

    def snapshot(self: Shard) -> Any:
        found = whole(self)
        return found._replace(market=max(0, (found.market or 0) - 3))

    patch.setattr(Shard, "_snapshot", snapshot)


def _trades_on_under_a_kill(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(review, "may_enter", lambda _stops: True)
    patch.setattr(risk, "_breach", lambda *_args: None)


def _books_a_bit_too_much(patch: pytest.MonkeyPatch) -> None:
    whole = fill_report

    def wrong(execution: Any, *rest: Any) -> Any:
        return whole(msgspec.structs.replace(execution, size=execution.size + 1), *rest)

    patch.setattr(trackers, "fill_report", wrong)


def _lets_two_write(patch: pytest.MonkeyPatch) -> None:
    def apply(self: MemoryStore, batches: Any, blocks: Any, _lease: Any) -> None:
        for block in blocks:
            self.log.setdefault(block.log, []).append(block)
        for batch in batches:
            self._take(batch, None)

    patch.setattr(MemoryStore, "_apply", apply)
    _takes_a_lease_that_is_held(patch)
    patch.setattr(MemoryStore, "renew_lease", lambda _self, _held, _seconds: True)


def _trades_on_at_a_stopped_venue(patch: pytest.MonkeyPatch) -> None:
    kept = tuple(c for c in risk.CHECKS if c.find is not risk.check_venue_stop)
    patch.setattr(risk, "CHECKS", kept)


def _does_not_mark_requests(patch: pytest.MonkeyPatch) -> None:
    whole = MemoryStore._take

    def take(self: MemoryStore, batch: Any, lease: Any) -> None:
        whole(self, replace(batch, applied=[]), lease)

    patch.setattr(MemoryStore, "_take", take)


def _loses_every_third_request(patch: pytest.MonkeyPatch) -> None:
    whole = Inbox.put_request

    def put(self: Inbox, event: Any, request_id: int) -> None:
        if request_id % 3:
            whole(self, event, request_id)

    patch.setattr(Inbox, "put_request", put)


def _gives_a_number_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(desk, "client_order_id", lambda account, number: client_order_id(account, number // 2))


def _forgets_the_market_in_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sequencer, "found", lambda _self, _head: None)


def _does_not_renew(patch: pytest.MonkeyPatch) -> None:
    async def renew(_self: Lease) -> None:
        """Leave it."""

    patch.setattr(Lease, "_renew", renew)


def _goes_on_though_fenced(patch: pytest.MonkeyPatch) -> None:
    _lets_two_write(patch)
    patch.setattr(Node, "_fence", lambda _self, _error: None)


def _books_fees_as_gains(patch: pytest.MonkeyPatch) -> None:
    whole = fill_report

    def wrong(execution: Any, order_id: Any, instrument: Any, side: Any) -> Any:
        return msgspec.structs.replace(whole(execution, order_id, instrument, side), fee=-execution.fee)

    patch.setattr(trackers, "fill_report", wrong)


def _begins_without_the_open_orders(patch: pytest.MonkeyPatch) -> None:
    whole = Shard.remembered

    def remembered(self: Shard, *args: Any) -> Any:
        return msgspec.structs.replace(whole(self, *args), orders=())

    patch.setattr(Shard, "remembered", remembered)


def _keeps_locked_what_an_order_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "release", lambda _self, _key, _amount: None)


def _writes_rows_of_another_account(patch: pytest.MonkeyPatch) -> None:
    whole = Batch.project

    def project(self: Batch, *args: Any) -> None:
        whole(self, *args)
        self.fills = [("two", *row[1:]) for row in self.fills]

    patch.setattr(Batch, "project", project)


def _leaves_an_execution_out_of_its_table(patch: pytest.MonkeyPatch) -> None:
    whole = Batch.project

    def project(self: Batch, *args: Any) -> None:
        whole(self, *args)
        self.fills = self.fills[1:]

    patch.setattr(Batch, "project", project)


def _takes_for_lost_what_is_still_to_leave(patch: pytest.MonkeyPatch) -> None:
    def submit(self: Tracker, request: Any, decided_s: float) -> None:
        self._active[request.id] = self._track(request, decided_s)

    patch.setattr(Tracker, "submit", submit)
    patch.setattr(Shard, "_deciding", property(lambda _self: (), lambda _self, _value: None), raising=False)


PLANTED = (
    Planted("an order leaves before it is durable", _sends_before_it_is_durable, "before it was durable"),
    Planted("a commit in doubt is not looked up", _forgets_that_a_commit_was_in_doubt, "fenced itself"),
    Planted("a kill cancels nothing", _does_not_stop_at_the_venues, "are open at"),
    Planted("a lost order is sent again", _sends_again_what_was_lost, "more than once", 1),
    Planted("nothing is asked of the time of a restart", _listens_from_now_on_after_a_restart, "the books"),
    Planted("an execution is booked each time", _books_an_execution_each_time_it_is_told, "the books"),
    Planted("a fee is left out", _leaves_a_fee_out, "too much"),
    Planted("a delay is not journaled", _does_not_journal_that_it_was_late, "prove", 3),
    Planted("a row is chained over no market", _chains_over_another_market, "does not prove"),
    Planted("an event is missing in the log", _leaves_a_market_event_out_of_the_log, "prove"),
    Planted("nothing fences a second writer", _lets_two_write, "prove"),
    Planted("orders have no deadline and no owner", _sends_whoever_owns_the_account, "owned the account", 35),
    Planted("a lease is taken that is held", _takes_a_lease_that_is_held, "not confirmed", 1),
    Planted("rows name the first owner", _rows_name_the_first_owner, "wrote it"),
    Planted("strangers' executions are forgotten", _forgets_what_strangers_did, "too much", 1),
    Planted("a snapshot of half a step", _takes_a_snapshot_of_half_a_step, "comes out otherwise", 5),
    Planted("entries under a kill", _trades_on_under_a_kill, "under a kill"),
    Planted("entries under a stop of their venue", _trades_on_at_a_stopped_venue, "under a stop of"),
    Planted("a size that is one too much", _books_a_bit_too_much, "too much"),
    Planted("a request is not marked as done", _does_not_mark_requests, "never applied"),
    Planted("a request is lost on its way", _loses_every_third_request, "never applied"),
    Planted("an order number is given twice", _gives_a_number_twice, "the books"),
    Planted("the market in doubt is not looked up", _forgets_the_market_in_doubt, "fenced itself"),
    Planted("a lease is not renewed", _does_not_renew, "not confirmed", 1),
    Planted("a node that was fenced trades on", _goes_on_though_fenced, "prove"),
    Planted("funds stay locked", _keeps_locked_what_an_order_held, "locked for no order"),
    Planted("rows of another account", _writes_rows_of_another_account, "writes rows of"),
    Planted("an execution is not in its table", _leaves_an_execution_out_of_its_table, "are booked"),
    Planted("a fee is paid to us", _books_fees_as_gains, "too much"),
    Planted(
        "what is still to leave is taken for lost",
        _takes_for_lost_what_is_still_to_leave,
        "told that it is over",
        50_494,
    ),
    Planted("a take-over leaves the other's orders", _begins_without_the_open_orders, "open orders", 1),
)
