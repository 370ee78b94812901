"""A node: its shards, their committer, the market feed and the operators' requests, from start to clean end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from aether.bus.local import LocalBus
from aether.clock import SteadyClock, wall_ns
from aether.domain.accounts import AccountConfig, AccountPlan
from aether.domain.errors import AetherError, DatabaseUnavailableError, FencedError
from aether.domain.events import Bar, KillSwitchEngaged, opening_events
from aether.domain.identifiers import AccountId, FeedId
from aether.domain.scaled import format_amount
from aether.engine.safety import SAMPLE_NS
from aether.engine.strategy import Catalogue
from aether.node.brake import EMPTY_LOOK_S, Brake, Stoppable, until_empty
from aether.node.bystander import Bystander
from aether.node.committer import Committer
from aether.node.feeds import Feed, warming
from aether.node.lease import Lease
from aether.node.ports import Store, Venue
from aether.node.pulls import EVERY_ACCOUNT, Pull
from aether.node.requests import RequestReader
from aether.node.sequencer import Sequencer
from aether.node.shard import Shard
from aether.node.standby import Replicas
from aether.node.summary import untold
from aether.store.database import CONNECTION_ERRORS
from aether.store.leases import Claim
from aether.store.market_log import LogReader
from aether.telemetry import MARKET_SHED, SHED, Trouble, logger

BARS_EVERY_S = 5.0
BUSY = (TimeoutError, asyncpg.LockNotAvailableError)
"""The database is there, and has not the time to say who owns the accounts."""
ASK_EVERY_S = 1.0
"""How often a node that stands by asks for the lease."""
PLANS_EVERY_S = 30.0
CLOSE_TIMEOUT_S = 20.0
ALIVE_NS = 2 * SAMPLE_NS
"""An account that takes events leaves a sign of it in its tables at least so often."""
BARS_KEPT_LIMIT = 100_000
EQUITY = ("nav", "cash", "exposure", "realized", "fees", "capital")
BEGINS_STOPPED = "production begins stopped"

_log = logger("node")


class Node:
    """Runs accounts on one market.

    Args:
        store: what it keeps.
        make_venue: makes an account's venue from its configuration and a snapshot.
        feed: the market.
        feed_id: under which the market's log and bars are kept.
        revive: starts an embedded database again.
        wall_clock: whether the market lives by the wall clock.
        brake_folder: where pulls of the brake are kept.
        holder: names the platform whose node this is, over restarts.
        stop_others: asks the accounts of other markets for a pull of all.
        planned_now: reads the plans again, after a while of standing by.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        plans: Sequence[AccountPlan],
        make_venue: Callable[[AccountConfig, bytes | None], Venue],
        feed: Feed,
        feed_id: FeedId,
        bus: LocalBus,
        revive: Callable[[], None],
        *,
        wall_clock: bool,
        brake_folder: Path,
        holder: str,
        stop_others: Callable[[Pull], Awaitable[bool]] | None = None,
        planned_now: Callable[[], Awaitable[Sequence[AccountPlan]]] | None = None,
    ) -> None:
        self._store = store
        self._plans = plans
        self._planned_now = planned_now
        self._make_venue = make_venue
        self._feed = feed
        self._feed_id = feed_id
        self._bus = bus
        self._clock = SteadyClock() if wall_clock else None
        self._bars: list[Bar] = []
        self.market = Sequencer(feed_id, self._clock)
        self.lease = Lease(store, feed_id, holder)
        self._took_over = False
        """Whether the accounts came from another node, which was there to the last."""
        self.stands_by_for = ""
        """Who owns the accounts while this node stands by."""
        self.committer = Committer(store, revive, self.market, self.lease)
        self.committer.on_fenced = self._fence
        self._replicas = Replicas(store, catalogue, make_venue)
        self._readers: dict[AccountId, LogReader | None] = {}
        self.shards: dict[AccountId, Shard] = {}
        self.left_out: dict[AccountId, str] = {}
        """Accounts that could not be brought back, and why; the others trade."""
        self._bystanders: dict[AccountId, Bystander] = {}
        self.brake = Brake(brake_folder, self._stoppable, stop_others)
        self.is_ready = False
        self.on_begin: Callable[[], Awaitable[None]] = _nothing
        """Called before the accounts are brought back, unless they were taken over from another node."""
        self.settled = asyncio.Event()
        """Set once the node trades, or stands by."""
        self.feed_ended = asyncio.Event()
        self.started = asyncio.Event()
        self._venues: list[asyncio.Task[None]] = []
        self._trading: dict[AccountId, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._fenced: asyncio.Future[FencedError] = asyncio.get_running_loop().create_future()
        """Done once another process owns the accounts."""

    async def run(self, stop: asyncio.Event) -> None:
        """Become the accounts' owner, recover or open each, trade until `stop` is set, then leave snapshots and end.

        While another node owns them, this one stands by. An account that cannot be recovered is left out and told of;
        the others trade.

        Raises:
            JournalCorruptError, ReplayMismatchError, ...: why the first account is left out, when all of them are.
            FencedError: when another node has taken the accounts over.
        """
        if not await self._become_owner(stop):
            return
        keeping = asyncio.create_task(self._keep_lease())
        try:
            await self._begin_as_owner()
            self.market.begin(await self._store.head(self.market.log))
            await self._recover_all()
            self.brake.honour()
            await self._trade_as_owner(stop)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
            if on_their_way := [order for shard in self.shards.values() for order in shard.on_their_way()]:
                _log.warning("lease_runs_out", orders=on_their_way)  # a venue may take them until then
            else:
                await self.lease.give_back()

    async def _trade_as_owner(self, stop: asyncio.Event) -> None:
        """Trade until `stop` is set; whoever is fenced ends at once, and leaves everything as it is."""
        try:
            async with asyncio.TaskGroup() as outer:
                fencing = outer.create_task(self._until_fenced())
                committing = outer.create_task(self.committer.run())
                try:
                    await self._trade(stop)
                finally:
                    self.committer.end()
                    committing.cancel()
                    fencing.cancel()
        except BaseExceptionGroup:
            if not self._fenced.done():
                raise
        if self._fenced.done():
            raise self._fenced.result()

    async def _until_fenced(self) -> None:
        raise await asyncio.shield(self._fenced)

    async def _become_owner(self, stop: asyncio.Event) -> bool:
        """Return once the accounts are ours; False when the node is to end before."""
        following = asyncio.create_task(self._follow_owner())
        left_s = inf
        try:
            while not stop.is_set():
                try:
                    claim = await self.lease.take()
                except Exception as error:
                    if not self.stands_by_for and not isinstance(error, BUSY):
                        raise
                    _log.warning("lease_not_reached", reason=str(error) or type(error).__name__)
                else:
                    if claim.is_taken:
                        return True
                    self._took_over |= claim.left_s > left_s  # whoever renews it is there
                    left_s = claim.left_s
                    self._note_owner(claim)
                with suppress(TimeoutError):
                    async with asyncio.timeout(ASK_EVERY_S):
                        await stop.wait()
            return False
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def _follow_owner(self) -> None:
        """Keep replicas of the accounts while another node owns them; what is planned may change meanwhile."""
        await self.settled.wait()
        while True:
            if self._planned_now is not None:
                with suppress(*CONNECTION_ERRORS, AetherError, SQLAlchemyError, TimeoutError):
                    self._plans = await self._planned_now()
            with suppress(TimeoutError):
                async with asyncio.timeout(PLANS_EVERY_S):
                    await self._replicas.run(lambda: self._plans)

    async def _begin_as_owner(self) -> None:
        """Begin with the accounts that are planned now; stopped, where that is so, unless they were taken over."""
        stood_by, self.stands_by_for = bool(self.stands_by_for), ""
        if stood_by and self._planned_now is not None:
            self._plans = await self._planned_now()
        if not self._took_over:
            await self.on_begin()

    def _note_owner(self, claim: Claim) -> None:
        told = f"{claim.holder} (epoch {claim.epoch}, version {claim.version})"
        if claim.reason == "newer":
            told += ", which knows a newer schema: bring this node to its version"
        if told != self.stands_by_for:
            self.stands_by_for = told
            _log.warning("standing_by", owner=told)
        self.settled.set()

    async def _keep_lease(self) -> None:
        """Renew the lease; whoever loses it touches no account any more, and ends."""
        try:
            await self.lease.keep()
        except FencedError as error:
            self._fence(error)

    async def _trade(self, stop: asyncio.Event) -> None:
        for plan in self._plans:
            if plan.config.id in self.shards:
                await self._open_if_new(plan)
        reader = RequestReader(self._store, self.shards)
        await reader.fetch()
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._trading = {name: group.create_task(shard.run()) for name, shard in self.shards.items()}
            accounts: list[Shard | Bystander] = [*self.shards.values(), *self._bystanders.values()]
            self._venues = [group.create_task(account.run_venue()) for account in accounts]
            others = [
                group.create_task(self._run_feed()),
                group.create_task(reader.run()),
                group.create_task(self.brake.run()),
            ]
            ended = asyncio.Event()
            group.create_task(self._keep_bars(ended))
            self.is_ready = True
            self.started.set()
            self.settled.set()
            await stop.wait()
            self.is_ready = False
            for task in (*others, *self._venues):
                task.cancel()
            for shard in self.shards.values():
                shard.inbox.close()
            if self._trading:
                await asyncio.wait(self._trading.values(), timeout=CLOSE_TIMEOUT_S)
            for task in self._trading.values():
                task.cancel()
            ended.set()

    def _stoppable(self) -> dict[AccountId, Stoppable]:
        return {**{a: s for a, s in self.shards.items() if not s.is_fenced}, **self._bystanders}

    def _fence(self, error: FencedError) -> None:
        """Hear that another process has this market: no account of it is ours any more."""
        self.lease.lost(str(error))
        if not self._fenced.done():
            self._fenced.set_result(error)
        for bystander in self._bystanders.values():
            bystander.fence()
        for shard in self.shards.values():
            shard.fence(str(error))

    def planned(self) -> list[AccountId]:
        """Return the accounts that the node begins with."""
        return [plan.config.id for plan in self._plans]

    def failures(self) -> dict[AccountId, str]:
        """Return the accounts that do not work, and why: left out at the start, or failed since."""
        return self.left_out | {s.account: s.failure for s in self.shards.values() if s.failure}

    async def add(self, plan: AccountPlan) -> None:
        """Take up another account while the others trade.

        Raises:
            JournalCorruptError, ReplayMismatchError, InvalidValueError: when it cannot be; nothing of it trades then.
        """
        assert self._group is not None, "the node runs"
        await self._recover_account(plan)
        shard = self.shards[plan.config.id]
        try:
            await self._open_if_new(plan)
            self._feed.admit(shard)
        except BaseException:
            shard.inbox.close()
            del self.shards[plan.config.id]
            raise
        self._trading[plan.config.id] = self._group.create_task(shard.run())
        self._venues.append(self._group.create_task(shard.run_venue()))

    async def drain(self) -> None:
        """Return once the feed has ended and every account has taken all of it."""
        await self.feed_ended.wait()
        for shard in self.shards.values():
            await shard.inbox.drained.wait()

    async def _recover_all(self) -> None:
        errors: list[Exception] = []
        for plan in self._plans:
            try:
                await self._recover_account(plan)
            except (*CONNECTION_ERRORS, DatabaseUnavailableError, SQLAlchemyError):
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, it is this account's alone
                errors.append(error)
                await self._leave_out(plan.config, error)
        if errors and not self.shards:
            await self._empty_venues()
            raise errors[0]

    async def _empty_venues(self) -> None:
        """Take back what works at the venues before the node ends: nobody would mind it."""
        if self._fenced.done():
            raise self._fenced.result()
        working = [asyncio.create_task(account.run_venue()) for account in self._bystanders.values()]
        await asyncio.sleep(EMPTY_LOOK_S)
        await until_empty(lambda: self.brake.unconfirmed(EVERY_ACCOUNT))
        for task in working:
            task.cancel()

    async def _leave_out(self, config: AccountConfig, error: Exception) -> None:
        """Say why an account does not trade, with what it was worth when it last did; keep it stopped at its venues."""
        account = config.id
        reason = str(error) if isinstance(error, AetherError) else f"{type(error).__name__}: {error}"
        self.left_out[account] = reason
        if self._fenced.done():
            return
        self._bystanders[account] = Bystander(account, self._make_venue(config, None), self.lease)
        _log.error("account_left_out", account_id=account, reason=reason, exc_info=not isinstance(error, AetherError))
        told = untold(config, "failed", reason) | {"told_ns": wall_ns()}
        if (last := await self._store.last_equity(account)) is not None:
            worth = {name: format_amount(getattr(last, name)) for name in EQUITY}
            profit = last.nav - last.capital
            told |= {**worth, "day_start_nav": worth["nav"], "ts_ns": last.ts_ns, "profit": format_amount(profit)}
            told["unrealized"] = format_amount(profit - last.realized + last.fees)
        self._bus.publish(f"account.{account}", told)

    async def _recover_account(self, plan: AccountPlan) -> None:
        config = plan.config
        found = await self._replicas.recover(config)
        self._readers[config.id] = found.reader
        shard = Shard(
            config.id,
            found.engine,
            found.venue,
            found.chain,
            found.place,
            self.market,
            self.committer,
            self.lease,
            self._bus,
            clock=self._clock,
        )
        shard.on_killed = self.brake.journaled
        self.shards[config.id] = shard
        _log.info("account_recovered", account_id=config.id, seq=found.chain.seq, replayed=found.replayed)

    async def _open_if_new(self, plan: AccountPlan) -> None:
        shard = self.shards[plan.config.id]
        if shard.seq == 0:
            opened_ns = plan.opened_ns or wall_ns()
            opening = opening_events(plan.config, list(plan.instruments), plan.cash, opened_ns, plan.capital)
            stopped = KillSwitchEngaged(ts_ns=opened_ns, reason=BEGINS_STOPPED, actor="platform")
            await shard.open(
                (
                    *opening,
                    *((stopped,) if plan.stopped else ()),
                    *(warming(plan.config, opened_ns) if plan.warms_up else ()),
                )
            )
        else:
            found = self._readers.pop(plan.config.id, None)
            reader = found or LogReader(self._store, self.market.log, 0)
            sample = await self._store.last_equity(shard.account)
            seen_ns = max(shard.engine.state.now_ns, sample.ts_ns if sample else 0)
            try:
                await shard.begin(reader, seen_ns + ALIVE_NS)
            finally:
                await reader.close()

    async def _run_feed(self) -> None:
        await self._feed.run(self.market, list(self.shards.values()), self._note_bar)
        self.feed_ended.set()

    def _note_bar(self, bar: Bar) -> None:
        if len(self._bars) < BARS_KEPT_LIMIT:
            self._bars.append(bar)
        self._bus.publish(f"bar.{bar.instrument}", {"instrument": bar.instrument, "ts_ns": bar.ts_ns})

    async def _keep_bars(self, ended: asyncio.Event) -> None:
        """Write the market's one-minute bars now and then, and the last ones at the end, for charts."""
        trouble = Trouble(_log, "bars_not_written")
        while not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(BARS_EVERY_S):
                    await ended.wait()
            for shard in self.shards.values():
                SHED.labels(shard.account).inc(shard.inbox.take_shed())
            MARKET_SHED.inc(self.market.take_shed())
            if not self._bars:
                continue
            count = len(self._bars)
            try:
                await self._store.write_bars(self._feed_id, self._bars[:count])
            except (*CONNECTION_ERRORS, DatabaseUnavailableError) as error:
                trouble.tell(error)
            else:
                trouble.over()
                del self._bars[:count]


async def _nothing() -> None:
    """Do nothing."""
