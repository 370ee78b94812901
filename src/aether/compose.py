"""The only file that knows concrete classes: builds every role from settings and passes its parts in."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time, time_ns

import aiohttp
import msgspec
import numpy as np
import uvicorn
from fastapi import FastAPI

from aether.api.app import create_app
from aether.api.auth import LocalAccess
from aether.api.ports import Context, Readiness
from aether.bus.local import LocalBus
from aether.config import Settings
from aether.domain.accounts import AccountConfig, AccountKind, Limits, Mode, StrategyAssignment
from aether.domain.errors import (
    DatabaseUnavailableError,
    DataDirectoryError,
    InvalidValueError,
    PortInUseError,
    UnknownNameError,
)
from aether.domain.events import Trade
from aether.domain.identifiers import AccountId, BalanceKey, FeedId, InstrumentId, StrategyName, Symbol, VenueId
from aether.domain.instruments import Instrument
from aether.domain.orders import Side
from aether.domain.scaled import AMOUNT_SCALE, format_amount
from aether.exchange.server import MARKETS, LocalExchange, build, serve
from aether.market.dataset import Dataset, DatasetKind
from aether.market.replay import feed_id, replay_trades, trades_in
from aether.market.synthetic import SYNTHETIC_FEED, SyntheticMarket, synthetic_instruments
from aether.matching.simulator import FillModel
from aether.node.feeds import Feed, ReplayFeed, SyntheticFeed, VenueFeed
from aether.node.live import LiveVenue
from aether.node.ports import Venue
from aether.node.runtime import AccountPlan, Node
from aether.store import queries
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.migrate import migrate
from aether.strategies import catalogue
from aether.venues.actions import Candles
from aether.venues.client import VenueClient, with_urls
from aether.venues.feed import MarketFeed
from aether.venues.limits import NoLimits
from aether.venues.paper import PaperVenue
from aether.venues.protocol import Credentials
from aether.venues.recording import Replayed
from aether.venues.registry import protocol_of
from aether.venues.session import ExecutionSession

DEFAULT_CASH = 100_000 * AMOUNT_SCALE
DEFAULT_BAR_S = 900
SYNTHETIC_STEP_S = 0.5
SYNTHETIC_HISTORY_S = 3 * 3600
STALE_MARKET_S = 10.0
SILENT_MARKET_MS = 300_000
LAG_LIMIT_EVENTS = 3_000
VENUE_HISTORY_S = 3 * 3600
LIVE_MARKET_MS = 5_000
EXCHANGE_STEP_S = 10
UI_FOLDER = Path(__file__).parent / "api" / "ui"

Params = Mapping[str, float | int | str | bool]


# The data directory.


class DataDirectory:
    """Everything of one machine, used by one running platform at a time.

    Args:
        path: made when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise DataDirectoryError(
                f"The data directory {path} cannot be written: {error.strerror}.",
                remedy="Choose another one with --data-dir, or correct its permissions.",
            ) from error

    @property
    def database(self) -> Path:
        """Where the embedded server keeps its files."""
        return self.path / "postgresql"

    @property
    def runs(self) -> Path:
        """Where back-tests are kept."""
        return self.path / "backtests"

    @property
    def running(self) -> Path:
        """What a running platform says of itself, for the command line; for its owner only."""
        return self.path / "running.json"

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the directory while the context is open.

        Raises:
            DataDirectoryError: when another process holds it.
        """
        file = self.path / "aether.lock"
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.read(descriptor, 32).decode() or "unknown"
                raise DataDirectoryError(
                    f"The data directory {self.path} is used by the process {owner}.",
                    remedy="Stop it first, or choose another --data-dir.",
                ) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)


# Storage.


@dataclass(frozen=True)
class Storage:
    """The database, migrated, and the way to start an embedded server again."""

    database: Database
    revive: Callable[[], None]


@contextlib.asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage]:
    """Open the database of `settings`, starting the embedded server if it is the one.

    Raises:
        DatabaseUnavailableError, SchemaVersionError, MissingExtraError: as their messages say.
    """
    server = None
    url = settings.database_url
    if not url:
        server = EmbeddedServer(DataDirectory(settings.data_dir).database)
        url = await asyncio.to_thread(server.start)
    database = Database(url)
    try:
        await database.ping()
        await migrate(database.engine)
        yield Storage(database, server.ensure_running if server else lambda: None)
    finally:
        await database.close()
        if server:
            await asyncio.to_thread(server.stop)


# Accounts.


def assign(
    strategy: str, instruments: tuple[InstrumentId, ...], params: Params | None = None, bar_s: int = DEFAULT_BAR_S
) -> StrategyAssignment:
    """Return a strategy at work on `instruments`."""
    return StrategyAssignment(
        strategy=StrategyName(strategy), instruments=instruments, params=dict(params or {}), bar_s=bar_s
    )


def recording_limits(dataset: Dataset) -> dict[str, float | int | str | bool]:
    """Return the limits that differ for a recording: one of trades has silences, and no quotes in between."""
    return {"market_data_max_age_ms": SILENT_MARKET_MS} if dataset.kind is DatasetKind.TRADES else {}


def recording_account(
    account: str, dataset: Dataset, assignment: StrategyAssignment, mode: Mode, limits: Limits, seed: int
) -> AccountConfig:
    """Return an account that trades a recording, the same for a back-test and for a replay."""
    return AccountConfig(
        id=AccountId(account),
        name=account.split(".", 1)[0].replace("-", " ").title(),
        kind=AccountKind.COMPANY if account.startswith(("company", "backtest")) else AccountKind.DIRECTOR,
        mode=mode,
        feed=feed_id(dataset),
        currency=dataset.instrument().quote,
        strategies=(assignment,),
        limits=limits,
        seed=seed,
    )


def replay_plans(dataset: Dataset, seed: int) -> list[AccountPlan]:
    """Return three paper accounts that trade a recording, one strategy each, named after the recording."""
    instrument = dataset.instrument()
    suffix = dataset.digest[:8]
    limits = msgspec.convert(recording_limits(dataset), Limits)
    opened_ns = next(iter(replay_trades(dataset, instrument.id))).ts_ns
    names = ("company", "director-1", "director-2")
    strategies = ("ema_cross", "mean_reversion", "vol_target_basket")
    return [
        AccountPlan(
            config=recording_account(
                f"{name}.{suffix}", dataset, assign(strategy, (instrument.id,)), Mode.PAPER, limits, seed
            ),
            instruments=(instrument,),
            cash=DEFAULT_CASH,
            opened_ns=opened_ns,
        )
        for name, strategy in zip(names, strategies, strict=True)
    ]


def synthetic_plans(seed: int) -> list[AccountPlan]:
    """Return the three paper accounts of the reference firm on the synthetic market."""
    instruments = synthetic_instruments()
    btc, eth, sol, xrp = (i.id for i in instruments)
    desk = (
        ("company", "Company", AccountKind.COMPANY, assign("vol_target_basket", (btc, eth, sol, xrp), {}, 60)),
        ("director-1", "Director 1", AccountKind.DIRECTOR, assign("ema_cross", (btc, sol), {}, 60)),
        ("director-2", "Director 2", AccountKind.DIRECTOR, assign("mean_reversion", (eth, xrp), {}, 30)),
    )
    opened_ns = time_ns() - (SYNTHETIC_HISTORY_S + 60) * 1_000_000_000
    return [
        AccountPlan(
            config=AccountConfig(
                id=AccountId(account),
                name=name,
                kind=kind,
                mode=Mode.PAPER,
                feed=SYNTHETIC_FEED,
                currency=instruments[0].quote,
                strategies=(assignment,),
                limits=Limits(max_daily_fees_bps=500),
                seed=seed + n,
            ),
            instruments=tuple(i for i in instruments if i.id in assignment.instruments),
            cash=DEFAULT_CASH,
            opened_ns=opened_ns,
        )
        for n, (account, name, kind, assignment) in enumerate(desk)
    ]


def make_paper_venue(config: AccountConfig, snapshot: bytes | None) -> PaperVenue:
    """Return the paper venue of an account."""
    return PaperVenue(FillModel(), config.seed, snapshot)


def trades_dataset(found: Replayed, source: str) -> Dataset:
    """Return the trades of a venue's raw recording as a recording to trade on, in as few decimals as they need."""
    prices = np.array([t.price for t in found.trades], dtype=np.int64)
    decimals = found.price_decimals
    while decimals > 2 and not (prices % 10).any():
        prices //= 10
        decimals -= 1
    sides = {Side.BUY: 1, Side.SELL: -1, None: 0}
    return Dataset(
        kind=DatasetKind.TRADES,
        symbol=Symbol(found.symbol),
        price_decimals=decimals,
        size_decimals=found.size_decimals,
        interval_s=0,
        ts_ns=np.array([t.ts_ns for t in found.trades], dtype=np.int64),
        columns={
            "price": prices,
            "size": np.array([t.size for t in found.trades], dtype=np.int64),
            "side": np.array([sides[t.side] for t in found.trades], dtype=np.int64),
        },
        source=source,
    )


# The platform.


EXCHANGE_MARKET = "exchange"
"""The name of the local exchange as a market: all three faces at once."""


@dataclass(frozen=True)
class Market:
    """What `aether up` trades on.

    Attributes:
        recording: None for the synthetic market and for venues.
        speed: of a recording, times real time; None for as fast as possible.
        venue: the venue whose live public market it is, or `exchange`; empty for the others.
        base_url, ws_url: of the venue, in place of its usual ones.
    """

    recording: Dataset | None = None
    speed: float | None = 1.0
    venue: str = ""
    base_url: str = ""
    ws_url: str = ""

    @property
    def name(self) -> str:
        """How people see it."""
        if self.venue:
            return "local exchange" if self.venue == EXCHANGE_MARKET else f"{self.venue.capitalize()}, live market data"
        if self.recording is None:
            return "synthetic market"
        pace = "full speed" if self.speed is None else f"{self.speed:g} times real time"
        return f"recording {self.recording.source} at {pace}"


class NodeHealth:
    """How a node in this process is (`aether.api.ports.Health`)."""

    def __init__(self, node: Node, database: Database, *, wall_clock: bool) -> None:
        self._node = node
        self._database = database
        self._wall_clock = wall_clock

    async def readiness(self) -> list[Readiness]:
        """Return database, accounts, market data and journal lag."""
        return [await self._database_check(), self._accounts_check(), self._market_check(), self._lag_check()]

    async def _database_check(self) -> Readiness:
        if self._node.committer.outage:
            return Readiness("database", False, f"trading is paused: {self._node.committer.outage}")
        try:
            await self._database.ping()
        except DatabaseUnavailableError as error:
            return Readiness("database", False, error.message)
        return Readiness("database", True, "reachable")

    def _accounts_check(self) -> Readiness:
        failed = {s.account: s.failure for s in self._node.shards.values() if s.failure}
        if failed:
            return Readiness("accounts", False, "; ".join(f"{a}: {reason}" for a, reason in failed.items()))
        if not self._node.is_ready:
            return Readiness("accounts", False, "starting")
        return Readiness("accounts", True, f"{len(self._node.shards)} trading")

    def _market_check(self) -> Readiness:
        if self._node.feed_ended.is_set():
            return Readiness("market data", True, "the recording has ended")
        if not self._wall_clock:
            return Readiness("market data", True, "replaying")
        newest = max((m.ts_ns for s in self._node.shards.values() for m in s.engine.state.market.values()), default=0)
        age_s = (time_ns() - newest) / 1e9
        detail = f"{age_s:.1f} s old" if newest else "none yet"
        return Readiness("market data", age_s <= STALE_MARKET_S, detail)

    def _lag_check(self) -> Readiness:
        lag = max((s.lag for s in self._node.shards.values()), default=0)
        return Readiness("journal lag", lag <= LAG_LIMIT_EVENTS, f"{lag} events not durable yet")


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the platform ends it after the node."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises PortInUseError, or InvalidValueError for an address that is not this
    machine's."""
    if host not in ("127.0.0.1", "localhost", "::1"):
        raise InvalidValueError(
            f"The web interface cannot listen on {host}: local access has no sign-in yet.",
            remedy="Use 127.0.0.1, and a tunnel to reach it from elsewhere.",
        )
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortInUseError(
                f"Port {port} of {host} is {'taken' if error.errno == errno.EADDRINUSE else 'not allowed'}.",
                remedy="Stop what listens there, or choose another --port.",
            ) from error
        raise
    return listener


@dataclass(frozen=True)
class Started:
    """What `run_platform` says once it serves: the address, and the link that signs in once."""

    url: str
    link: str


async def run_platform(
    settings: Settings,
    market: Market,
    *,
    seed: int = 1,
    exit_when_done: bool = False,
    on_started: Callable[[Started], None],
) -> None:
    """Run every role in this process until interrupted (or the recording is done).

    Raises:
        DataDirectoryError, PortInUseError, DatabaseUnavailableError, ...: when it cannot start; nothing has changed
        then.
    """
    directory = DataDirectory(settings.data_dir)
    with contextlib.ExitStack() as stack:
        stack.enter_context(directory.owned())
        listener = stack.enter_context(contextlib.closing(_bind(settings.host, settings.port)))
        async with contextlib.AsyncExitStack() as running, open_storage(settings) as storage:
            bus = LocalBus()
            last = await queries.last_closes(storage.database, market.venue) if market.venue else {}
            venues = await running.enter_async_context(_open_venues(market, seed, last))
            node, feed = await _build_node(storage, market, bus, seed, venues)
            access = LocalAccess()
            context = Context(
                database=storage.database,
                bus=bus,
                catalogue=catalogue(),
                health=NodeHealth(node, storage.database, wall_clock=market.recording is None),
                feed=feed,
                market_name=market.name,
                ui=UI_FOLDER,
            )
            server = _Server(
                uvicorn.Config(
                    create_app(context, access),
                    log_level="error",
                    access_log=False,
                    ws="websockets-sansio",
                    timeout_graceful_shutdown=2,
                )
            )
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            url = f"http://{settings.host}:{listener.getsockname()[1]}"
            stack.callback(lambda: directory.running.unlink(missing_ok=True))
            _write_private(directory.running, {"url": url, "pid": os.getpid(), "link_secret": access.link_secret})
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(server.serve(sockets=[listener]))
                group.create_task(_until_done(node, server, stop, exit_when_done=exit_when_done))
                while not (server.started or serving.done()):  # noqa: ASYNC110  uvicorn offers no event
                    await asyncio.sleep(0.01)
                on_started(Started(url, f"{url}/#token={access.new_token()}"))


async def _until_done(node: Node, server: uvicorn.Server, stop: asyncio.Event, *, exit_when_done: bool) -> None:
    """Run the node, then end the server."""
    watcher = None
    if exit_when_done:

        async def stop_when_drained() -> None:
            await node.drain()
            stop.set()

        watcher = asyncio.create_task(stop_when_drained())
    try:
        await node.run(stop)
    finally:
        server.should_exit = True
        if watcher:
            watcher.cancel()


@dataclass(frozen=True)
class Venues:
    """The venues of a market, open.

    Attributes:
        clients: for public data, with the pairs listed.
        local: the local exchange behind them, if it is one: accounts then trade there for real.
    """

    clients: list[VenueClient]
    local: LocalExchange | None = None
    http: aiohttp.ClientSession | None = None


def local_market(seed: int, last: Mapping[InstrumentId, int]) -> LocalExchange:
    """Return the local exchange with hours of trading behind it.

    Args:
        last: last known prices, where an earlier run left off.
    """
    steps = VENUE_HISTORY_S // EXCHANGE_STEP_S
    decimals = {market.symbol: market.price_decimals for market in MARKETS}
    symbols = {instrument: instrument.partition(":")[2] for instrument in last}
    prices = {s: last[i] / 10 ** decimals[s] for i, s in symbols.items() if s in decimals}
    return build(seed=seed, enforce_limits=False, warm_steps=steps, warm_step_s=EXCHANGE_STEP_S, prices=prices)


def _local_venue_maker(venues: Venues, local: LocalExchange) -> Callable[[AccountConfig, bytes | None], LiveVenue]:
    """Return what makes an account's venue on the local exchange. Sessions are opened against it and nothing else."""
    http = venues.http
    assert http is not None

    def make(config: AccountConfig, _snapshot: bytes | None) -> LiveVenue:
        async def connect(booked: Mapping[BalanceKey, int]) -> dict[VenueId, ExecutionSession]:
            sessions = {}
            for public in venues.clients:
                venue = public.protocol.venue
                own = {k.partition(":")[2]: v for k, v in booked.items() if k.partition(":")[0] == venue}
                if not own:
                    continue
                balances = {asset: format_amount(total) for asset, total in own.items()}
                key, secret = local.open_account(venue, config.id, balances)
                protocol = with_urls(protocol_of(venue), local.exchanges[venue].url, local.exchanges[venue].ws_url)
                protocol.listings = public.protocol.listings
                credentials = Credentials(key=key, secret=secret)
                client = VenueClient(protocol, http, credentials=credentials, limits=NoLimits())
                sessions[venue] = ExecutionSession(client)
            return sessions

        return LiveVenue(connect)

    return make


@contextlib.asynccontextmanager
async def _open_venues(market: Market, seed: int, last: Mapping[InstrumentId, int]) -> AsyncIterator[Venues]:
    """Open the venues of a market, with their pairs listed; none for a market that is not venues'.

    Raises:
        VenueError: when one cannot be reached.
    """
    if not market.venue:
        yield Venues([])
        return
    async with contextlib.AsyncExitStack() as stack:
        addresses = {market.venue: (market.base_url, market.ws_url)}
        local = None
        if market.venue == EXCHANGE_MARKET:
            local = await stack.enter_async_context(serve(local_market(seed, last)))
            addresses = {name: (e.url, e.ws_url) for name, e in local.exchanges.items()}
        http = await stack.enter_async_context(aiohttp.ClientSession(trust_env=True))
        clients = [
            VenueClient(with_urls(protocol_of(name), rest, socket_), http)
            for name, (rest, socket_) in addresses.items()
        ]
        for client in clients:
            await client.load_markets()
        yield Venues(clients, local, http)


async def venue_history(client: VenueClient, symbols: Sequence[str]) -> list[Trade]:
    """Return trades that stand for the venue's last one-minute bars."""
    since_s = int(time()) // 60 * 60 - VENUE_HISTORY_S
    found: list[Trade] = []
    for symbol in symbols:
        until_s = since_s + VENUE_HISTORY_S
        action = Candles(symbol=symbol, interval_s=60, since_s=since_s, until_s=until_s)
        for bar in await client.call(action):
            if bar.ts_ns <= until_s * 1_000_000_000 and bar.volume:
                prices = (bar.open, bar.high, bar.low, bar.close)
                found += trades_in(bar.instrument, bar.ts_ns, 60_000_000_000, prices, bar.volume)
    return found


def venue_plans(venues: list[VenueClient], name: str, seed: int, *, warms_up: bool) -> list[AccountPlan]:
    """Return three paper accounts on live venues: on one venue all on it, on several one each.

    The company's may trade its pairs at the other venues too, with its cash in equal parts at all of them.

    Raises:
        UnknownNameError: when a venue lists none of the pairs that they trade.
    """
    desk = (
        ("company", "Company", AccountKind.COMPANY, "vol_target_basket", ("BTC", "ETH", "SOL", "XRP"), 60),
        ("director-1", "Director 1", AccountKind.DIRECTOR, "ema_cross", ("BTC", "SOL"), 60),
        ("director-2", "Director 2", AccountKind.DIRECTOR, "mean_reversion", ("ETH", "XRP"), 60),
    )
    plans = []
    for n, (account, title, kind, strategy, bases, bar_s) in enumerate(desk):
        client = venues[n % len(venues)]
        listed = {listing.instrument.symbol: listing.instrument for listing in client.protocol.listings.values()}
        quote = next((q for q in ("USD", "USDT", "USDC") if f"BTC/{q}" in listed), None)
        chosen = tuple(listed[Symbol(f"{b}/{quote}")] for b in bases if f"{b}/{quote}" in listed)
        if not chosen or quote is None:
            raise UnknownNameError(
                f"{client.protocol.venue.capitalize()} lists none of {', '.join(bases)} against dollars.",
                remedy="Choose another venue.",
            )
        more: tuple[Instrument, ...] = ()
        if n == 0:
            more = tuple(
                {
                    listing.id: listing.instrument
                    for other in venues
                    if other is not client
                    for listing in other.protocol.listings.values()
                    if listing.instrument.base in bases and listing.instrument.quote == quote
                }.values()
            )
        plans.append(
            AccountPlan(
                config=AccountConfig(
                    id=AccountId(f"{account}.{name}"),
                    name=title,
                    kind=kind,
                    mode=Mode.PAPER,
                    feed=FeedId(name),
                    currency=chosen[0].quote,
                    strategies=(assign(strategy, tuple(i.id for i in chosen), {}, bar_s),),
                    limits=Limits(market_data_max_age_ms=LIVE_MARKET_MS),
                    seed=seed + n,
                    tradable=tuple(i.id for i in more),
                ),
                instruments=chosen + more,
                warms_up=warms_up,
                cash=DEFAULT_CASH,
                opened_ns=time_ns() - (VENUE_HISTORY_S + 60) * 1_000_000_000,
            )
        )
    return plans


async def _venue_feed(venues: list[VenueClient], plans: list[AccountPlan]) -> VenueFeed:
    history: list[Trade] = []
    feeds = []
    for client in venues:
        symbols: list[str] = sorted(
            {i.symbol for p in plans for i in p.instruments if i.venue == client.protocol.venue}
        )
        history += await venue_history(client, symbols)
        feeds.append(MarketFeed(client, symbols))
    return VenueFeed(feeds, sorted(history, key=lambda trade: trade.ts_ns))


async def _build_node(
    storage: Storage, market: Market, bus: LocalBus, seed: int, venues: Venues
) -> tuple[Node, FeedId]:
    database = storage.database
    feed: Feed
    make_venue: Callable[[AccountConfig, bytes | None], Venue] = make_paper_venue
    if venues.clients:
        identity = FeedId(market.venue)
        plans = venue_plans(venues.clients, market.venue, seed, warms_up=venues.local is not None)
        feed = await _venue_feed(venues.clients, plans)
        if venues.local is not None:
            make_venue = _local_venue_maker(venues, venues.local)
    elif market.recording is not None:
        dataset = market.recording
        instrument = dataset.instrument()
        identity, plans = feed_id(dataset), replay_plans(dataset, seed)
        feed = ReplayFeed(lambda: replay_trades(dataset, instrument.id), market.speed)
    else:
        identity, plans = SYNTHETIC_FEED, synthetic_plans(seed)
        last = await queries.last_closes(database, identity)
        feed = SyntheticFeed(
            SyntheticMarket(seed if not last else time_ns() % 2**32, last), SYNTHETIC_STEP_S, SYNTHETIC_HISTORY_S
        )
    node = Node(
        database,
        catalogue(),
        plans,
        make_venue,
        feed,
        identity,
        bus,
        storage.revive,
        wall_clock=market.recording is None,
    )
    return node, identity


def _write_private(file: Path, content: dict[str, object]) -> None:
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.json.encode(content))


def schema_app() -> FastAPI:
    """Return the API without anything behind it, to read its OpenAPI schema from."""
    return create_app(None, LocalAccess())
