"""One account's single writer: events in order, durable before anything leaves, commands out.

The loop: take what waits; let the venue put its due reports before each event; apply each to the engine; when the
engine asks for something, make everything so far durable and only then send it. Between two such moments events gather,
and one commit takes them all. What the market told stands in the node's log: the account's journal has its own inputs,
what it decided, and where in the log it was at each.

Where time is the wall clock's, every input is stamped with the moment at which it is taken up (`taken_ns`): the engine
lives by that, so the wait in a queue makes data old and an event's own stamp moves no clock. The log's events carry the
moment at which the node had them; an account that takes them up much later has that in its journal (`MarketDelayed`).
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from aether.bus.local import LocalBus
from aether.clock import Clock, monotonic_s, wall_ns
from aether.domain.accounts import AccountConfig, ForeignOrders
from aether.domain.commands import Command, SubmitOrder
from aether.domain.errors import FencedError
from aether.domain.events import (
    LOG_EVENTS,
    AccountConfigured,
    AccountOpened,
    BalanceReported,
    Event,
    InstrumentListed,
    KillSwitchEngaged,
    LimitsChanged,
    MarketDelayed,
    MarketFollowed,
    ModeChanged,
    PairTold,
    VenueReleased,
    VenueReport,
    VenueStopped,
    as_given,
    as_taken,
    encode_event,
)
from aether.domain.identifiers import AccountId, BalanceKey, ClientOrderId, InstrumentId, VenueId
from aether.domain.orders import OrderState
from aether.engine.core import Engine
from aether.engine.preview import preview
from aether.engine.step import Taken, step
from aether.engine.stops import Stop, keep_orders, may_enter
from aether.node.appetite import Appetite, conflated
from aether.node.committer import Committer
from aether.node.inbox import INBOX_LIMIT, Inbox, Input
from aether.node.lease import Lease
from aether.node.place import Place
from aether.node.ports import Venue
from aether.node.sequencer import Sequencer
from aether.node.summary import summary
from aether.store.commit import Batch, Snapshot
from aether.store.journal import ChainChecker, JournalRow, row_hash
from aether.store.market_log import BEGINNING, GENESIS, Head, Logged, LogReader
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
    VENUE_TROUBLE,
    logger,
)
from aether.venues.reconciliation import Remembered

TAKE_LIMIT = 512
BATCH_LIMIT = 2_000
SNAPSHOT_EVERY = 20_000
"""Events after which a snapshot is due: what a restart has to go through again."""
LAG_NS = 100_000_000
"""An account is behind its market when it takes an event up so long after the node had it."""
CLOCK_BACK_NS = 60 * 1_000_000_000
PUBLISH_EVERY_S = 0.5
TELL_EVERY_S = 1.0
COMPARE_EVERY_NS = 5_000_000_000
OVERLAP_NS = 60_000_000_000
"""Venues are asked for executions from so long before the books end: clocks differ, commits lag."""

_DESCRIBES_ACCOUNT = (AccountOpened, AccountConfigured, InstrumentListed, PairTold, LimitsChanged, ModeChanged)

_log = logger("shard")


class Shard:
    """The writer of one account.

    Args:
        engine, venue: as recovered.
        chain: the journal's proven end.
        place: where it is in the market.
        market: the node's.
        lease: in which the account is owned.
        clock: of the world that the account trades in; None where the events' own time is the only one.
    """

    def __init__(
        self,
        account: AccountId,
        engine: Engine,
        venue: Venue,
        chain: ChainChecker,
        place: Place,
        market: Sequencer,
        committer: Committer,
        lease: Lease,
        bus: LocalBus,
        *,
        clock: Clock | None,
    ) -> None:
        self.account = account
        self.engine = engine
        self.inbox = Inbox()
        self.place = place
        self._market = market
        self.failure = ""
        self.is_fenced = False
        """Whether another process owns the account: its venues are not this one's to touch."""
        self.on_killed: Callable[[AccountId, KillSwitchEngaged], bool] = lambda _account, _event: True
        """Called when the kill switch is in the journal."""
        self._venue = venue
        self._seq, self._hash = chain.seq, chain.hash
        self._durable = chain.seq
        self._committer = committer
        self._lease = lease
        self._bus = bus
        self._clock = clock
        self._rows: list[JournalRow] = []
        self._deciding: Sequence[Command] = ()
        """Commands that leave once they are durable."""
        self._decided: list[float] = []
        self._applied: list[tuple[int, int, str]] = []
        self._describe = False
        self._since_snapshot = 0
        self._to_skip = 0
        """Events of a recording that stand in the account's own journal, of before it followed a log."""
        self._followed_hash = GENESIS
        """The log's hash where the account begins to follow it."""
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
        """Begin a new account with its opening events; it follows the market from there on."""
        for event in events:
            await self._take(Input(event, 0, monotonic_s(), is_live=False))
        self._heard_ns = self.engine.state.now_ns
        await self._follow(self._market.follow(self), is_live=False)
        await self._commit(may_snapshot=False)

    async def begin(self, reader: LogReader, alive_ns: int) -> None:
        """Bring a recovered account to the market's present, and hold its books against its venue before it trades.

        What fails there is this account's alone, as in `run`.

        Args:
            reader: of the node's log, at the account's place in it, or at its beginning.
            alive_ns: when the account was last seen to take events.
        """
        try:
            if self._clock is not None and self.place.log != self._market.log:
                await self._follow(self._market.follow(self))
            else:
                await self._catch_up(reader, alive_ns)
            await self.compare()
            await self._commit(may_snapshot=False)
        except FencedError as error:
            self.fence(str(error))
        except Exception as error:  # noqa: BLE001  the account's outermost edge
            self._fail(f"{type(error).__name__}: {error}")

    async def _follow(self, head: Head, *, is_live: bool = True) -> None:
        """Have it in the journal from where on the account follows the node's log."""
        if self.place.log != self._market.log or self.place.pos != head.pos:
            self._followed_hash = head.hash
            now_ns = 0 if is_live else self.engine.state.now_ns
            event = MarketFollowed(ts_ns=now_ns, log=self._market.log, after=head.pos)
            await self._take(Input(event, 0, monotonic_s(), is_live))

    async def _catch_up(self, reader: LogReader, alive_ns: int) -> None:
        """Take what the log holds since the account's place.

        All that it must have taken before, though it decided nothing on it: it comes back as it was. Of what a live
        market told when the account was not there, what is left of it: bars, and the latest books.
        """
        appetite = Appetite(self.config)
        if not self.place.log:
            self._to_skip = self.place.taken
            if not self._to_skip:
                await self._follow(BEGINNING)
        missed: list[Logged] = []
        limit = 2 * INBOX_LIMIT
        while True:
            while (logged := await reader.next()) is not None:
                is_wanted = appetite.wants(logged.event)
                if not missed and (self._clock is None or logged.event.taken_ns <= alive_ns):
                    await self._take_again(logged, is_wanted=is_wanted)
                elif is_wanted:
                    missed.append(logged)
                if len(missed) > limit:
                    missed = conflated(missed)
                    limit = 2 * max(len(missed), INBOX_LIMIT)
            if self._market.written <= reader.pos:
                break
        missed += [one for one in self._market.waiting() if one.pos > reader.pos and appetite.wants(one.event)]
        head = self._market.follow(self)
        if missed:
            await self._take(Input(MarketDelayed(ts_ns=0, through=head.pos), 0, monotonic_s()))
        for one in conflated(missed):
            await self._take(Input(one.event, 0, monotonic_s(), logged=one))

    async def _take_again(self, logged: Logged, *, is_wanted: bool) -> None:
        if is_wanted:
            await self._take(Input(logged.event, 0, monotonic_s(), is_live=False, logged=logged))
        elif self.place.log:
            self.place.pass_to(logged)
        if len(self._rows) >= BATCH_LIMIT or self._since_snapshot >= SNAPSHOT_EVERY:
            await self._commit(may_snapshot=True)

    async def run(self) -> None:
        """Trade until the inbox is closed, at once where it failed to begin; leave a snapshot then.

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
                await self._commit(may_snapshot=True)
                self._tell_taken(awaiting)
                self._publish()
            if not self.failure:
                await self.leave_snapshot()
        except FencedError as error:
            self.fence(str(error))
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
        kept = {*unsent, *(c.order.request.id for c in self._deciding if isinstance(c, SubmitOrder))}
        orders = (*state.closed_orders.values(), *state.open_orders.values())
        own = [o for o in orders if o.request.instrument.startswith(f"{venue}:") and o.request.id not in kept]
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

    def dead_man_s(self) -> int:
        """Return after how long a silence venues should cancel everything of the account; 0 for never."""
        return self.engine.state.own.reconciliation.dead_man_s

    def takes_foreign(self, instrument: InstrumentId) -> bool:
        """Return whether an open order of a pair is taken up that the account did not place: not under a stop."""
        state = self.engine.state
        is_wanted = state.own.reconciliation.foreign_orders is not ForeignOrders.ALERT
        if not is_wanted or instrument not in state.instruments:
            return False
        return not self.wants_empty(state.instruments[instrument].venue)

    def owned_s(self) -> float:
        """Return for how long no other node can own the account: nothing new is sent after that."""
        return self._lease.left_s()

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
            self._stopped_at = monotonic_s()
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

    def on_their_way(self) -> list[ClientOrderId]:
        """Return the orders of which no venue has said anything yet."""
        return [i for i, o in self.engine.state.open_orders.items() if o.state is OrderState.SUBMITTED]

    def still(self) -> None:
        """Hear that a venue's list of open orders was seen to be empty: the stop may be confirmed by that."""
        if self._stopped_at is not None and not self._venue.unconfirmed():
            KILL_SWITCH_RESPONSE.labels("confirmed").observe(monotonic_s() - self._stopped_at)
            _log.warning("stop_confirmed", account_id=self.account, seconds=monotonic_s() - self._stopped_at)
            self._stopped_at = None
            self._publish(force=True)

    async def leave_snapshot(self) -> None:
        """Make a snapshot durable, so that the next start has nothing to replay."""
        batch = Batch(self.account, [], snapshot=self._snapshot())
        await self._committer.commit(batch)
        self._publish(force=True)

    def _snapshot(self) -> Snapshot:
        self._since_snapshot = 0
        place = self.place
        return Snapshot(self._seq, self.engine.snapshot(), self._venue.snapshot(), place.taken, place.log, place.market)

    def fence(self, reason: str) -> None:
        """Stand still: another process owns the account."""
        if not self.failure:
            self._fail(f"fenced: {reason}", is_fenced=True)

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
        if item.logged is not None:
            if self._to_skip:
                await self._skip(item.logged)
                return
            await self._note_delay(item)
            event: Event = as_taken(item.logged.event, self.engine.state.now_ns)
        else:
            event = self._stamped(item)
        if isinstance(event, KillSwitchEngaged):
            self.stop()
        elif isinstance(event, VenueStopped):
            self._venue.stop_at(event.venue)
            self._asked_stops.discard(event.venue)
        for taken in step(self._venue, self.engine, event):
            given = as_given(taken.event)
            if isinstance(given, LOG_EVENTS):
                self._append_decided(taken, event, item)
            else:
                self._append(taken, given, encode_event(taken.event), item.entered)
            if item.request_id and given == event:
                self._applied.append((item.request_id, self._seq, self.engine.refused))
            if taken.commands:
                self._deciding = taken.commands
                await self._commit(may_snapshot=False)
                self._deciding = ()
            if isinstance(given, KillSwitchEngaged) and self.on_killed(self.account, given):
                self._is_braked = False
                self._venue.release()
            elif isinstance(given, VenueReleased):
                self._release_at(given.venue)

    async def _skip(self, logged: Logged) -> None:
        """Leave out what stands in the account's own journal already."""
        self._to_skip -= 1
        if not self._to_skip:
            self._followed_hash = logged.hash
            event = MarketFollowed(ts_ns=0, log=self._market.log, after=logged.pos)
            await self._take(Input(event, 0, monotonic_s(), is_live=False))

    async def _note_delay(self, item: Input) -> None:
        """Have it in the journal when an event of now is taken up late, or the node's clock was set right."""
        if self._clock is None or not item.is_live:
            return
        now, known = self._clock.now_ns(), self.engine.state.now_ns
        if now - max(known, item.event.taken_ns) > LAG_NS or now < known - CLOCK_BACK_NS:
            await self._take(Input(MarketDelayed(ts_ns=0), 0, monotonic_s()))

    def _release_at(self, venue: VenueId) -> None:
        """Let orders out to a venue again, unless it was stopped anew meanwhile."""
        if venue not in self.engine.state.stopped_venues and venue not in self._asked_stops:
            self._venue.release_at(venue)

    def _append_decided(self, taken: Taken, event: Event, item: Input) -> None:
        """Go on past an event of the market; it has a row when the account decided something or took it otherwise."""
        assert item.logged is not None, "the market comes by its log"
        self.place.pass_to(item.logged)
        self._since_snapshot += 1
        is_as_told = taken.event is event
        if taken.commands or not is_as_told:
            self._append(taken, event, b"" if is_as_told else encode_event(taken.event), item.entered)
        else:
            EVENTS.labels(self.account, type(event).__name__).inc()

    def _append(self, taken: Taken, given: Event, payload: bytes, entered: float) -> None:
        """Add what was applied to the rows that the next commit makes durable."""
        event = taken.event
        kind = type(event).__name__
        if isinstance(given, MarketFollowed):
            self.place.follow(given, self._followed_hash)
        elif isinstance(given, MarketDelayed):
            self.place.delay(given)
        self._seq += 1
        place = self.place
        epoch = self._lease.epoch if place.log else None
        row = JournalRow(self.account, self._seq, event.ts_ns, kind, payload, b"", taken.decided, place.market, epoch)
        self._hash = row_hash(self._hash, row, place.log_hash)
        self._rows.append(row._replace(hash=self._hash))
        self._since_snapshot += 1
        if isinstance(event, _DESCRIBES_ACCOUNT):
            self._describe = True
        now = monotonic_s()
        self._decided.append(now)
        if taken.decided:
            TICK_TO_DECISION.observe(now - entered)
        EVENTS.labels(self.account, kind).inc()

    async def _commit(self, *, may_snapshot: bool) -> None:
        """Make durable what there is since the last commit."""
        changes = self.engine.take_changes()
        is_due = may_snapshot and self._since_snapshot >= SNAPSHOT_EVERY and self.place.is_whole
        if not self._rows and not changes and not is_due:
            return
        batch = Batch(self.account, self._rows, applied=self._applied)
        batch.project(changes, self.engine, self._seq, self._lease.epoch)
        if self._describe:
            batch.describe_account(self.engine)
        if is_due:
            batch.snapshot = self._snapshot()
        decided = self._decided
        JOURNAL_LAG.labels(self.account).set(self.lag)
        self._rows, self._decided, self._applied, self._describe = [], [], [], False
        await self._committer.commit(batch)
        now = monotonic_s()
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
                await self._take(Input(report, 0, monotonic_s()))

    async def _compare_in_time(self) -> None:
        if self.now_ns() - self._compared_ns >= COMPARE_EVERY_NS and not self.inbox.has_reports:
            await self.compare()

    def _note_stops(self) -> None:
        KILL_SWITCH_STATE.labels(self.account).set(1 if Stop.KILL in self.engine.state.stops else 0)
        BREAKS.labels(self.account).set(len(self.engine.state.breaks))
        self.still()

    def _publish(self, *, force: bool = False) -> None:
        now = monotonic_s()
        if not force and now - self._published < PUBLISH_EVERY_S:
            return
        self._published = now
        QUEUE.labels(self.account).set(len(self.inbox))
        if self.engine.state.config is not None:
            message = self.summary()
            NAV.labels(self.account).set(float(message["nav"]))
            for row in message["venues"]:
                VENUE_TROUBLE.labels(self.account, row["venue"]).set(1 if row["trouble"] else 0)
            self._bus.publish(f"account.{self.account}", message)

    def summary(self) -> dict[str, Any]:
        """Return the account as the screen shows it, see `summary.py`."""
        troubles = self.troubles()
        left = {v: self._venue.left_at(v) for v in self.engine.state.stopped_venues}
        told = summary(self.engine, self._seq, self.failure, self._committer.outage, troubles, left, self._told_ns())
        return told | {"unconfirmed": self._venue.unconfirmed() if self._stopped_at is not None else []}

    def troubles(self) -> dict[VenueId, str]:
        """Return what keeps the account from each of its venues now, in words."""
        return self._venue.troubles()

    def _told_ns(self) -> int:
        """Return the machine's time, later than what was told before."""
        self._last_told_ns = max(self._last_told_ns + 1, wall_ns())
        return self._last_told_ns
