"""The node of a market: its accounts, their venues, and the accounts that people open while it runs.

Which venue an account gets is decided here and nowhere else: a paper account is given a paper venue, or the local
exchange; a live one sessions with its own keys. A paper account never holds an object that reaches a real venue.
"""

import os
import socket
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field

import msgspec

from aether.bus.local import LocalBus
from aether.clock import wall_ns
from aether.compose.accounts import (
    LIVE_MARKET_MS,
    SYNTHETIC_HISTORY_S,
    replay_plans,
    synthetic_plans,
    venue_plans,
)
from aether.compose.directory import BRAKE_FOLDER, DataDirectory
from aether.compose.markets import AttachedExchange, Market, Venues, keep_scales, venue_feed
from aether.compose.storage import Storage
from aether.config import Settings
from aether.control.access import PLATFORM
from aether.control.desk import PlanReader
from aether.control.operators import Operators
from aether.domain.accounts import AccountConfig, AccountPlan, Mode
from aether.domain.errors import AetherError, InvalidValueError
from aether.domain.identifiers import AccountId, AssetCode, BalanceKey, FeedId, VenueId
from aether.domain.offers import MarketOffer
from aether.domain.scaled import format_amount
from aether.market.replay import feed_id, replay_trades
from aether.market.synthetic import SYNTHETIC_FEED, SyntheticMarket, synthetic_instruments
from aether.matching.simulator import FillModel
from aether.node.feeds import Feed, ReplayFeed, SyntheticFeed
from aether.node.keys import Changed, KeyRing, follow_keys, wait_for_key
from aether.node.live import Connect, Follow, LiveVenue
from aether.node.ports import Venue
from aether.node.pulls import Pull
from aether.node.runtime import Node
from aether.store import queries
from aether.store.database import Database
from aether.store.node_store import NodeStore
from aether.store.patience import DATABASE_AWAY, within
from aether.strategies import catalogue
from aether.telemetry import logger
from aether.venues.actions import Balances
from aether.venues.client import VenueClient
from aether.venues.limits import NoLimits
from aether.venues.messages import Balance
from aether.venues.paper import PaperVenue
from aether.venues.protocol import Credentials
from aether.venues.session import ExecutionSession

SYNTHETIC_STEP_S = 0.5
KEY_STATE_FOLDER = "keystate"
OTHERS_WITHIN_S = 5.0

_log = logger("trading")


def node_name() -> str:
    """Return what this process is called among nodes."""
    return f"{socket.gethostname()}-{os.getpid()}"


def make_paper_venue(config: AccountConfig, snapshot: bytes | None) -> PaperVenue:
    """Return the paper venue of an account."""
    return PaperVenue(FillModel(), config.seed, snapshot)


@dataclass(frozen=True)
class VenueMaker:
    """Makes each account's venue.

    Attributes:
        versions: of the keys that each live account trades with.
    """

    venues: Venues
    keys: KeyRing
    changed: Changed
    settings: Settings
    versions: dict[AccountId, dict[VenueId, int]] = field(default_factory=dict)

    def __call__(self, config: AccountConfig, snapshot: bytes | None) -> Venue:
        """Return the venue of an account; a shadow's is on paper, whatever the market."""
        if config.shadow_of:
            return make_paper_venue(config, snapshot)
        if config.mode is Mode.LIVE:
            if self.venues.are_simulated:
                raise InvalidValueError(
                    f"{config.id} is live, the market is simulated.", remedy="Start with --market of a real venue."
                )
            return LiveVenue(self._connect_live(config), self._follow(config))
        if self.venues.local is not None:
            return LiveVenue(self._connect_local(config, self.venues.local))
        return make_paper_venue(config, snapshot)

    def _session(self, public: VenueClient, credentials: Credentials, *, limited: bool) -> ExecutionSession:
        state_folder = self.settings.data_dir / KEY_STATE_FOLDER if limited else None
        limits = None if limited else NoLimits()
        client = self.venues.with_key(public, credentials, state_folder=state_folder, limits=limits)
        return ExecutionSession(client, holds=True)

    def _connect_local(self, config: AccountConfig, local: AttachedExchange) -> Connect:
        """Open an account on the local exchange with what the books hold, and nothing else."""

        async def connect(public: VenueClient, own: Mapping[str, int]) -> ExecutionSession:
            balances = {asset: format_amount(max(0, total)) for asset, total in own.items()}
            credentials = await local.open_account(public.protocol.venue, config.id, balances)
            return self._session(public, credentials, limited=local.has_limits)

        def connect_all(booked: Mapping[BalanceKey, int]) -> dict[VenueId, Awaitable[ExecutionSession]]:
            return {
                public.protocol.venue: connect(public, own_of(booked, public.protocol.venue))
                for public in self._clients_of(config)
            }

        return connect_all

    def _clients_of(self, config: AccountConfig) -> list[VenueClient]:
        return [public for public in self.venues.clients if public.protocol.venue in config.venues]

    def _connect_live(self, config: AccountConfig) -> Connect:
        """Open sessions with the account's own keys, once it has them."""
        self._versions(config.id).clear()

        async def connect(public: VenueClient) -> ExecutionSession:
            venue = public.protocol.venue
            version, credentials = await wait_for_key(self.keys, config.id, venue, self.changed)
            self._versions(config.id)[venue] = version
            return self._session(public, credentials, limited=True)

        return lambda _booked: {public.protocol.venue: connect(public) for public in self._clients_of(config)}

    def _follow(self, config: AccountConfig) -> Follow:
        async def follow(sessions: Mapping[VenueId, ExecutionSession]) -> None:
            await follow_keys(self.keys, config.id, sessions, self._versions(config.id), self.changed)

        return follow

    def _versions(self, account: AccountId) -> dict[VenueId, int]:
        return self.versions.setdefault(account, {})


def own_of(booked: Mapping[BalanceKey, int], venue: VenueId) -> dict[str, int]:
    """Return what the books hold at one venue, by asset."""
    return {k.partition(":")[2]: total for k, total in booked.items() if k.partition(":")[0] == venue}


async def live_capital(plan: AccountPlan, venues: Venues, keys: KeyRing) -> dict[tuple[VenueId, AssetCode], int]:
    """Return what a live account's venues hold; it begins with that: its currency, and coins such as those that pay
    fees.

    Raises:
        UnknownNameError, KeyServiceError: when a key is not there yet, or does not open.
        InvalidValueError: when a venue holds other assets that it is to trade: their price of purchase is unknown.
    """
    found: dict[tuple[VenueId, AssetCode], int] = {}
    bases = {i.base for i in plan.instruments}
    for venue in sorted({i.venue for i in plan.instruments}):
        public = next(c for c in venues.clients if c.protocol.venue == venue)
        _, credentials = await keys.load(plan.config.id, venue)
        client = venues.with_key(public, credentials, limits=NoLimits())
        await client.measure_clock()
        await client.check_key()
        held: list[Balance] = await client.call(Balances())
        for balance in held:
            if balance.asset in bases and balance.total:
                raise InvalidValueError(
                    f"{plan.config.id} holds {format_amount(balance.total)} {balance.asset} at {venue} already.",
                    remedy="Begin with cash alone: sell it, or use a sub-account of the venue.",
                )
        found |= {(venue, b.asset): b.total for b in held if b.total}
    return found


async def take_up_accounts(
    built: "Built", plans: PlanReader, bus: LocalBus, venues: Venues, keys: KeyRing, changed: Changed, *, stopped: bool
) -> None:
    """Take up the accounts that people open while the node runs, until canceled; says why one has to wait.

    Args:
        stopped: they begin with their kill switch engaged.
    """
    node = built.node
    told: dict[str, str] = {}
    while True:
        for plan in await plans.opened(built.feed):
            account = plan.config.id
            if account in node.shards or account in node.left_out:
                continue
            try:
                funded = await with_capital(plan, venues, keys)
                await node.add(msgspec.structs.replace(funded, stopped=stopped))
                _log.info("account_taken_up", account_id=account, mode=plan.config.mode)
            except AetherError as error:
                if told.get(account) != str(error):
                    told[account] = str(error)
                    _log.warning("account_not_taken_up", account_id=account, reason=str(error))
                    bus.publish(f"waiting.{account}", {"account": account, "reason": error.message})
        await changed()


async def with_capital(plan: AccountPlan, venues: Venues, keys: KeyRing) -> AccountPlan:
    """Return the plan with the capital that a live account begins with."""
    if plan.config.mode is not Mode.LIVE:
        return plan
    capital = await live_capital(plan, venues, keys)
    return msgspec.structs.replace(plan, capital=tuple((*key, amount) for key, amount in capital.items()))


@dataclass(frozen=True)
class Built:
    """A node with what belongs to it."""

    node: Node
    feed: FeedId
    offer: MarketOffer


async def stop_others(database: Database, feed: FeedId, pull: Pull) -> bool:
    """Ask the accounts of other markets than `feed` for a pull of all; return whether that could be done."""

    async def ask() -> None:
        who = msgspec.structs.replace(PLATFORM, name=pull.actor)
        ours = {s.config.id for s in await queries.list_accounts(database.desk, feed)}
        operators = Operators(database, wall_ns)
        for stored in await queries.list_accounts(database.desk):
            if stored.config.id not in ours:
                await operators.submit(who, "kill.engage", stored.config.id, pull.event(), pull.reason)

    try:
        await within(OTHERS_WITHIN_S, ask())
    except DATABASE_AWAY:
        return False
    return True


async def build_node(
    settings: Settings,
    storage: Storage,
    market: Market,
    bus: LocalBus,
    seed: int,
    venues: Venues,
    keys: KeyRing,
    changed: Changed,
) -> Built:
    """Return the node of a market with its accounts: those that come with the market, and those that people opened.

    In production only the latter.
    """
    database = storage.database
    plans = PlanReader(database.control)
    feed: Feed
    default: list[AccountPlan]
    misfits: dict[AccountId, str] = {}
    if venues.clients:
        identity = FeedId(market.venue)
        gone = await plans.archived()
        kept = [
            (a.config.id, list(a.instruments.values()))
            for a in await queries.list_accounts(database.desk, identity)
            if a.config.id not in gone
        ]
        kept += [(p.config.id, list(p.instruments)) for p in await plans.opened(identity)]
        misfits = keep_scales(venues.clients, kept)
        for account, reason in misfits.items():
            _log.critical("account_not_begun", account_id=account, reason=reason)
            bus.publish(f"waiting.{account}", {"account": account, "reason": reason})
        default = venue_plans(venues.clients, market.venue, seed, warms_up=venues.local is not None)
    elif market.recording is not None:
        identity, default = feed_id(market.recording), replay_plans(market.recording, seed)
    else:
        identity, default = SYNTHETIC_FEED, synthetic_plans(seed)
    offered = {i.id: i for p in default for i in p.instruments}
    if not venues.clients and market.recording is None:
        offered = {i.id: i for i in synthetic_instruments()}

    async def planned() -> list[AccountPlan]:
        """Return the accounts that the node begins with: those of the market, and those that have a journal."""
        archived = await plans.archived()
        known = {s.config.id for s in await queries.list_accounts(database.desk, identity)}
        chosen = [p for p in ([] if settings.is_production else default) if p.config.id not in archived]
        found = chosen + [p for p in await plans.opened(identity) if p.config.id in known]
        return [p for p in found if p.config.id not in misfits]

    if venues.clients:
        feed = await venue_feed(venues.clients, [*default, *await plans.opened(identity)])
    elif market.recording is not None:
        dataset = market.recording
        instrument = dataset.instrument()
        feed = ReplayFeed(lambda: replay_trades(dataset, instrument.id), market.speed)
    else:
        last = await queries.last_prices(database.desk, identity)
        feed = SyntheticFeed(
            SyntheticMarket(seed if not last else wall_ns() % 2**32, last), SYNTHETIC_STEP_S, SYNTHETIC_HISTORY_S
        )
    node = Node(
        NodeStore(database.node, settings.market_archive),
        catalogue(),
        await planned(),
        VenueMaker(venues, keys, changed, settings),
        feed,
        identity,
        bus,
        storage.revive,
        wall_clock=market.recording is None,
        brake_folder=settings.data_dir / BRAKE_FOLDER,
        holder=f"{socket.gethostname()}:{DataDirectory(settings.data_dir).identity()}",
        stop_others=lambda pull: stop_others(database, identity, pull),
        planned_now=planned,
    )
    offer = MarketOffer(
        name=market.name,
        feed=identity,
        instruments=tuple(offered.values()),
        is_recording=market.recording is not None,
        is_simulated=venues.are_simulated,
        max_age_ms=LIVE_MARKET_MS if venues.clients else None,
    )
    return Built(node, identity, offer)
