"""One account's single writer: events in order, durable before anything leaves, commands out.

The loop: take what waits; let the venue put its due reports before each event; apply each to the engine; when the
engine asks for something, make everything so far durable and only then send it. Between two such moments events gather,
and one commit takes them all.

Where time is the wall clock's, every event is stamped with the moment at which it is taken up (`taken_ns`): the engine
lives by that, so the wait in a queue makes data old and an event's own stamp moves no clock.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from time import perf_counter
from typing import Any

import msgspec

from aether.bus.local import LocalBus
from aether.clock import Clock, wall_ns
from aether.domain.accounts import AccountConfig, ForeignOrders
from aether.domain.errors import FencedError
from aether.domain.events import (
    MARKET_EVENTS,
    AccountConfigured,
    AccountOpened,
    BalanceReported,
    Event,
    InstrumentListed,
    KillSwitchEngaged,
    LimitsChanged,
    ModeChanged,
    VenueReleased,
    VenueReport,
    VenueStopped,
    as_given,
    encode_event,
)
from aether.domain.identifiers import AccountId, BalanceKey, ClientOrderId, InstrumentId, VenueId
from aether.engine.core import Engine
from aether.engine.preview import preview
from aether.engine.step import Taken, step
from aether.engine.stops import Stop, keep_orders, may_enter
from aether.node.committer import Committer
from aether.node.inbox import Inbox, Input
from aether.node.ports import Venue
from aether.node.summary import summary
from aether.store.commit import Batch, Snapshot
from aether.store.journal import ChainChecker, JournalRow, row_hash
from aether.telemetry import (
    BREAKS,
    DECISION_TO_DURABLE,
    EVENTS,
    JOURNAL_LAG,
    KILL_SWITCH_RESPONSE,
    KILL_SWITCH_STATE,
    NAV,
    ORDERS,
    QUEUE,
    TICK_TO_DECISION,
    logger,
)
from aether.venues.reconciliation import Remembered

TAKE_LIMIT = 512
BATCH_LIMIT = 2_000
SNAPSHOT_EVERY_ROWS = 20_000
PUBLISH_EVERY_S = 0.5
TELL_EVERY_S = 1.0
COMPARE_EVERY_NS = 5_000_000_000
OVERLAP_NS = 60_000_000_000
"""Venues are asked for executions from so long before the books end: clocks differ, commits lag."""

_DESCRIBES_ACCOUNT = (AccountOpened, AccountConfigured, InstrumentListed, LimitsChanged, ModeChanged)

_log = logger("shard")


class Shard:
    """The writer of one account.

    Args:
        engine, venue: as recovered.
        chain: the journal's proven end.
        market_taken: market events that the account has taken from its feed so far.
        clock: of the world that the account trades in; None where the events' own time is the only one.
    """

    def __init__(
        self,
        account: AccountId,
        engine: Engine,
        venue: Venue,
        chain: ChainChecker,
        market_taken: int,
        committer: Committer,
        bus: LocalBus,
        *,
        clock: Clock | None,
    ) -> None:
        self.account = account
        self.engine = engine
        self.inbox = Inbox()
        self.market_taken = market_taken
        self.failure = ""
        self.is_fenced = False
        """Whether another process owns the account: its venues are not this one's to touch."""
        self.on_killed: Callable[[AccountId, KillSwitchEngaged], bool] = lambda _account, _event: True
        """Called when the kill switch is in the journal."""
        self._venue = venue
        self._seq, self._hash = chain.seq, chain.hash
        self._durable = chain.seq
        self._committer = committer
        self._bus = bus
        self._clock = clock
        self._rows: list[JournalRow] = []
        self._decided: list[float] = []
        self._applied: list[tuple[int, int, str]] = []
        self._describe = False
        self._rows_since_snapshot = 0
        self._compared_ns = 0
        self._published = 0.0
        self._last_told_ns = 0
        self._awaiting: list[asyncio.Future[None]] = []
        self._heard_ns = engine.state.now_ns - OVERLAP_NS
        self._is_braked = False
        """The venues were stopped, and the engine has not heard of it."""
        self._asked_stops: set[VenueId] = set()
        """Venues that were stopped, and the engine has not heard of it."""
        self._stopped_at: float | None = None
        """Since when everything should be gone at the venues, until it is seen to be."""

    @property
    def config(self) -> AccountConfig:
        """The account's configuration."""
        return self.engine.config

    @property
    def seq(self) -> int:
        """Sequence of the last event applied."""
        return self._seq

    @property
    def lag(self) -> int:
        """Events applied but not durable yet."""
        return self._seq - self._durable

    async def open(self, events: tuple[Event, ...]) -> None:
        """Begin a new account with its opening events."""
        for event in events:
            await self._take(Input(event, 0, perf_counter(), is_live=False))
        self._heard_ns = self.engine.state.now_ns
        await self._commit(may_snapshot=False)

    async def begin(self) -> None:
        """Hold a recovered account's books against its venue, as far as that is to be had, before it trades."""
        await self.compare()
        await self._commit(may_snapshot=False)

    async def run(self) -> None:
        """Trade until the inbox is closed; leave a snapshot then.

        A failure of this account never touches the others: it is logged, shown in `failure`, and the account stands
        still.
        """
        try:
            while inputs := await self._next():
                awaiting, self._awaiting = self._awaiting, []
                for item in inputs:
                    await self._take(item)
                    if len(self._rows) >= BATCH_LIMIT:
                        await self._commit(may_snapshot=True)
                await self._compare_in_time()
                if self._rows:
                    await self._commit(may_snapshot=True)
                self._tell_taken(awaiting)
                self._publish()
            await self.leave_snapshot()
        except FencedError as error:
            self._fail(f"fenced: {error}", is_fenced=True)
        except Exception as error:  # noqa: BLE001  the task's outermost edge
            self._fail(f"{type(error).__name__}: {error}")

    async def _next(self) -> list[Input]:
        """Return what to take up next; while there is nothing, the account says each second that it is there."""
        while True:
            try:
                async with asyncio.timeout(TELL_EVERY_S):
                    return await self.inbox.take(TAKE_LIMIT)
            except TimeoutError:
                self._publish(force=True)

    def _tell_taken(self, awaiting: list[asyncio.Future[None]]) -> None:
        """Let those go on who wait for the reports before to be taken."""
        if self.inbox.has_reports:
            self._awaiting[:0] = awaiting
            return
        for done in awaiting:
            if not done.done():
                done.set_result(None)

    async def run_venue(self) -> None:
        """Let the account's venues work until canceled; their failure is this account's alone."""
        try:
            await self._venue.run(self)
        except Exception as error:  # noqa: BLE001  the task's outermost edge
            cause: BaseException = error
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            self._fail(f"{type(cause).__name__}: {cause}")

    def remembered(self, venue: VenueId, unsent: Collection[ClientOrderId]) -> Remembered:
        """Return what the books hold of a venue, without the orders that are known not to have left."""
        state = self.engine.state
        orders = (*state.closed_orders.values(), *state.open_orders.values())
        own = [o for o in orders if o.request.instrument.startswith(f"{venue}:") and o.request.id not in unsent]
        return Remembered(
            account=self.account,
            next_order=state.next_order,
            since_ns=self._heard_ns,
            instruments=tuple(i.id for i in state.instruments.values() if i.venue == venue),
            orders=tuple(own),
            is_stopped=self.wants_empty(venue),
        )

    def booked_balances(self) -> dict[BalanceKey, int]:
        """Return what the books hold."""
        return {key: balance.total for key, balance in self.engine.state.ledger.balances.items()}

    def report(self, report: VenueReport) -> None:
        """Take a venue's report; its own time goes beside ours."""
        self.inbox.put_report(msgspec.structs.replace(report, ts_ns=self.now_ns(), venue_ns=report.ts_ns))

    def wants_empty(self, venue: VenueId) -> bool:
        """Return whether a stop keeps no orders open at a venue."""
        state = self.engine.state
        is_stopped = venue in state.stopped_venues or not keep_orders(state.stops)
        return is_stopped or self._is_braked or bool(self.failure)

    def takes_foreign(self, instrument: InstrumentId) -> bool:
        """Return whether an open order of a pair is taken up that the account did not place: not under a stop."""
        state = self.engine.state
        is_wanted = state.own.reconciliation.foreign_orders is not ForeignOrders.ALERT
        if not is_wanted or instrument not in state.instruments:
            return False
        return not self.wants_empty(state.instruments[instrument].venue)

    async def taken(self) -> bool:
        """Return once every report so far has been taken: whether the account may open positions."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaiting.append(done)
        await done
        return may_enter(self.engine.state.stops)

    def stop(self) -> None:
        """Stop the account's orders at their venues at once, whatever becomes of its own logic."""
        self._is_braked = True
        if self._stopped_at is None:
            self._stopped_at = perf_counter()
        self._venue.stop()

    def trades_at(self, venue: VenueId) -> bool:
        """Return whether the account trades anything at a venue."""
        return any(i.venue == venue for i in self.engine.state.instruments.values())

    def stop_at(self, venue: VenueId) -> None:
        """Stop the account's orders at one venue at once; the engine hears of it by a request, or by `journal`."""
        self._asked_stops.add(venue)
        self._venue.stop_at(venue)

    def journal(self, event: KillSwitchEngaged | VenueStopped) -> None:
        """Take a stop without a request in the database, unless the account works no more."""
        if not self.failure:
            self.inbox.put_request(event, 0)

    def unconfirmed(self) -> list[str]:
        """Return what a stop still waits for, in words."""
        return self._venue.unconfirmed()

    def still(self) -> None:
        """Hear that a venue's list of open orders was seen to be empty: the stop may be confirmed by that."""
        if self._stopped_at is not None and not self._venue.unconfirmed():
            KILL_SWITCH_RESPONSE.labels("confirmed").observe(perf_counter() - self._stopped_at)
            _log.warning("stop_confirmed", account_id=self.account, seconds=perf_counter() - self._stopped_at)
            self._stopped_at = None
            self._publish(force=True)

    async def leave_snapshot(self) -> None:
        """Make a snapshot durable, so that the next start has nothing to replay."""
        batch = Batch(self.account, [], snapshot=self._snapshot())
        await self._committer.commit(batch)
        self._publish(force=True)

    def _snapshot(self) -> Snapshot:
        self._rows_since_snapshot = 0
        return Snapshot(self._seq, self.engine.snapshot(), self._venue.snapshot(), self.market_taken)

    def _fail(self, reason: str, *, is_fenced: bool = False) -> None:
        """Stand still; what works at the venues is taken back, since nobody minds it any more."""
        self.failure = reason
        self.inbox.close()
        self.inbox.drained.set()
        self.is_fenced = is_fenced
        if is_fenced:
            self._venue.fence()
        else:
            self.stop()
        _log.error("account_stopped", account_id=self.account, reason=reason, exc_info=True)
        self._publish(force=True)

    async def preview(self, events: Sequence[Event]) -> dict[str, Any]:
        """Return what events would lead to, see `aether.engine.preview`; the account is left alone."""
        snapshot, now_ns = self.engine.snapshot(), self.now_ns()
        return await asyncio.to_thread(preview, self.engine.catalogue, snapshot, events, now_ns)

    def now_ns(self) -> int:
        """Return what time it is where the account trades."""
        return self._clock.now_ns() if self._clock else self.engine.state.now_ns

    def _stamped(self, item: Input) -> Event:
        """Return an event with the time at which it is taken up: decisions of people have no other."""
        event, now = item.event, self.now_ns()
        if item.request_id or not event.ts_ns:
            event = msgspec.structs.replace(event, ts_ns=now)
        is_dated = self._clock is not None and item.is_live
        return msgspec.structs.replace(event, taken_ns=now) if is_dated else event

    async def _take(self, item: Input) -> None:
        event = self._stamped(item)
        if isinstance(event, KillSwitchEngaged):
            self.stop()
        elif isinstance(event, VenueStopped):
            self._venue.stop_at(event.venue)
            self._asked_stops.discard(event.venue)
        for taken in step(self._venue, self.engine, event):
            given = as_given(taken.event)
            self._append(taken, item.entered)
            if item.request_id and given == event:
                self._applied.append((item.request_id, self._seq, self.engine.refused))
            if taken.commands:
                await self._commit(may_snapshot=False)
            if isinstance(given, KillSwitchEngaged) and self.on_killed(self.account, given):
                self._is_braked = False
                self._venue.release()
            elif isinstance(given, VenueReleased):
                self._release_at(given.venue)

    def _release_at(self, venue: VenueId) -> None:
        """Let orders out to a venue again, unless it was stopped anew meanwhile."""
        if venue not in self.engine.state.stopped_venues and venue not in self._asked_stops:
            self._venue.release_at(venue)

    def _append(self, taken: Taken, entered: float) -> None:
        """Add what was applied to the rows that the next commit makes durable."""
        event = taken.event
        kind = type(event).__name__
        payload = encode_event(event)
        self._seq += 1
        self._hash = row_hash(self._hash, self.account, self._seq, event.ts_ns, kind, payload, taken.decided)
        row = JournalRow(self.account, self._seq, event.ts_ns, kind, payload, self._hash, taken.decided)
        self._rows.append(row)
        if isinstance(as_given(event), MARKET_EVENTS):
            self.market_taken += 1
        elif isinstance(event, _DESCRIBES_ACCOUNT):
            self._describe = True
        now = perf_counter()
        self._decided.append(now)
        if taken.decided:
            TICK_TO_DECISION.observe(now - entered)
        EVENTS.labels(self.account, kind).inc()

    async def _commit(self, *, may_snapshot: bool) -> None:
        if not self._rows:
            return
        batch = Batch(self.account, self._rows, applied=self._applied)
        changes = self.engine.take_changes()
        batch.project(changes, self.engine)
        if self._describe:
            batch.describe_account(self.engine)
        self._rows_since_snapshot += len(self._rows)
        if may_snapshot and self._rows_since_snapshot >= SNAPSHOT_EVERY_ROWS:
            batch.snapshot = self._snapshot()
        decided = self._decided
        JOURNAL_LAG.labels(self.account).set(self.lag)
        self._rows, self._decided, self._applied, self._describe = [], [], [], False
        await self._committer.commit(batch)
        now = perf_counter()
        for at in decided:
            DECISION_TO_DURABLE.observe(now - at)
        self._durable = self._seq
        JOURNAL_LAG.labels(self.account).set(0)
        for order in changes.orders.values():
            ORDERS.labels(self.account, order.state).inc()
        self._note_stops()
        if changes.orders or changes.fills or changes.alerts:
            self._bus.publish(f"changed.{self.account}", {"account": self.account, "seq": self._seq})
            self._publish(force=True)

    async def compare(self) -> None:
        """Hold the books against the venue's balances: what differs, and what no longer does, is news to the engine."""
        self._compared_ns = self.now_ns()
        reported = self._venue.reported_balances()
        if reported is None:
            return
        state = self.engine.state
        for key in dict.fromkeys((*state.ledger.balances, *reported)):
            if not self._venue.tells_of(key):
                continue
            total = reported.get(key, 0)
            known = state.ledger.balances.get(key)
            is_open = f"balance|{key}" in state.breaks
            if is_open or total != (known.total if known else 0):
                report = BalanceReported(ts_ns=self.now_ns(), key=key, total=total)
                await self._take(Input(report, 0, perf_counter()))

    async def _compare_in_time(self) -> None:
        if self.now_ns() - self._compared_ns >= COMPARE_EVERY_NS and not self.inbox.has_reports:
            await self.compare()

    def _note_stops(self) -> None:
        KILL_SWITCH_STATE.labels(self.account).set(1 if Stop.KILL in self.engine.state.stops else 0)
        BREAKS.labels(self.account).set(len(self.engine.state.breaks))
        self.still()

    def _publish(self, *, force: bool = False) -> None:
        now = perf_counter()
        if not force and now - self._published < PUBLISH_EVERY_S:
            return
        self._published = now
        QUEUE.labels(self.account).set(len(self.inbox))
        if self.engine.state.config is not None:
            message = self.summary()
            NAV.labels(self.account).set(float(message["nav"]))
            self._bus.publish(f"account.{self.account}", message)

    def summary(self) -> dict[str, Any]:
        """Return the account as the screen shows it, see `summary.py`."""
        troubles = self._venue.troubles()
        left = {v: self._venue.left_at(v) for v in self.engine.state.stopped_venues}
        told = summary(self.engine, self._seq, self.failure, self._committer.outage, troubles, left, self._told_ns())
        return told | {"unconfirmed": self._venue.unconfirmed() if self._stopped_at is not None else []}

    def _told_ns(self) -> int:
        """Return the machine's time, later than what was told before."""
        self._last_told_ns = max(self._last_told_ns + 1, wall_ns())
        return self._last_told_ns
