"""One world: a firm of two accounts on three venues, from one seed.

    world = World(seed)
    report = world.run()

It lives in two parts: first faults come and go, processes are killed, people do what people do; then everything is
well again and the desk has a while to bring itself into order. Checks (`checks.py`) look at it all along and at the
end.
"""

import asyncio
import random
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from aether.bus.local import LocalBus
from aether.clock import living_in
from aether.domain.accounts import AccountConfig, AccountKind, AccountPlan, Limits, Mode, StrategyAssignment
from aether.domain.errors import FencedError
from aether.domain.identifiers import AccountId, AssetCode, StrategyName
from aether.domain.instruments import Instrument
from aether.domain.scaled import AMOUNT_SCALE
from aether.exchange.server import MARKETS, LocalExchange, build
from aether.node.feeds import VenueFeed
from aether.node.live import Connect, LiveVenue
from aether.node.runtime import Node
from aether.simulation.checks import Checks
from aether.simulation.faults import Faults
from aether.simulation.firm import ACCOUNTS, FEED, PRICE, SYMBOL, VENUES
from aether.simulation.loop import NS, START_NS, SimulatedClock, SimulatedLoop
from aether.simulation.memory import MemoryStore
from aether.simulation.network import Connector, Network
from aether.simulation.people import People
from aether.simulation.strategy import CATALOGUE, COIN
from aether.venues.client import VenueClient, with_urls
from aether.venues.feed import MarketFeed
from aether.venues.protocol import Credentials
from aether.venues.registry import protocol_of
from aether.venues.session import ExecutionSession

CASH = 60_000
STEP_S = 1.0
FAULTS_S = 60.0
CALM_S = 150.0
"""Kraken's call counter of the usual tier gives half a call a second back; the fate of an order takes up to nine."""
STARTS_WITHIN_S, LOOK_S = 30.0, 0.05
RESTART_AFTER_S = 1.0


@dataclass
class Report:
    """What became of a world.

    Attributes:
        violations: what should not be, in words; empty for a good world.
        faults: by kind, how often.
        trace: what happened, in a trader's words.
        digest: of the trace and the journals: the same seed gives the same.
    """

    seed: int
    violations: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    fills: int = 0
    seconds: float = 0.0
    halts: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    digest: str = ""


class World:
    """A world.

    Args:
        seed: decides everything.
        kinds: of faults that may come; None for all.
    """

    def __init__(self, seed: int, kinds: frozenset[str] | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)  # noqa: S311  a world to be repeated exactly
        self.loop = SimulatedLoop()
        self.clock = SimulatedClock(self.loop)
        self.node_clock = SimulatedClock(self.loop)
        self.network = Network(seed + 1)
        self.report = Report(seed)
        self.node: Node | None = None
        self.starts = 0
        self.is_calm = False
        self.keys: dict[tuple[AccountId, str], tuple[str, str]] = {}
        self.instruments: list[Instrument] = []
        self._kinds = kinds
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._restarting: asyncio.Future[None] | None = None
        self._is_over = False
        self._folder = Path()

    def run(self) -> Report:
        """Live, and return what became of it."""
        asyncio.set_event_loop(self.loop)
        try:
            with tempfile.TemporaryDirectory() as folder, living_in(self.clock):
                self._folder = Path(folder)
                self.loop.run_until_complete(self._live())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
        self.report.seconds = self.loop.now_s
        return self.report

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.report.trace.append(f"{self.loop.now_s:9.3f}  {text}")

    def violate(self, text: str) -> None:
        """Note what should not be."""
        if text not in self.report.violations:
            self.report.violations.append(text)
            self.note(f"VIOLATION {text}")

    # The world's course.

    async def _live(self) -> None:
        self.store = MemoryStore(self.seed + 2)
        self.exchange = self._make_exchange()
        runners = [await self._serve(name) for name in VENUES]
        for account in ACCOUNTS:
            for venue in VENUES:
                self.keys[account, venue] = self.exchange.open_account(
                    venue, account, {"USD": str(CASH // len(VENUES))}
                )
        self.checks = Checks(self)
        moving = asyncio.create_task(self._move())
        await self.start_node()
        faults, people = Faults(self, self._kinds), People(self)
        busy = [asyncio.create_task(faults.run(FAULTS_S)), asyncio.create_task(people.run(FAULTS_S))]
        await asyncio.gather(*busy)
        faults.end()
        self.is_calm = True
        self.note("everything is well again")
        people.stop_all()
        await asyncio.sleep(CALM_S)
        await self.checks.at_the_end()
        await self.end_node()
        await self.checks.of_the_past()
        moving.cancel()
        for runner in runners:
            await runner.cleanup()
        others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.report.faults += faults.happened + self.store.happened
        for exchange in self.exchange.exchanges.values():
            self.report.faults += Counter(exchange.faults.happened)
        self.checks.sum_up()

    def _make_exchange(self) -> LocalExchange:
        markets, prices = [m for m in MARKETS if m.symbol == SYMBOL], {SYMBOL: PRICE}
        return build(seed=self.seed + 3, clock=self.clock.wall_ns, warm_steps=20, markets=markets, prices=prices)

    async def _serve(self, name: str) -> web.AppRunner:
        exchange = self.exchange.exchanges[name]
        app = web.Application(client_max_size=2**20)
        exchange.face.build(app)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        assert runner.server is not None
        self.network.listen(f"{name}.test", runner.server)
        path = {"kraken": "/v2", "binance": "/stream", "coinbase": "/"}[name]
        exchange.url, exchange.ws_url = f"http://{name}.test", f"ws://{name}.test{path}"
        return runner

    async def _move(self) -> None:
        beats = 0
        while True:
            beats += 1
            for exchange in self.exchange.exchanges.values():
                exchange.face.beat(beats * 10)
            self.exchange.step(STEP_S)
            await asyncio.sleep(STEP_S)

    # The node's process.

    async def start_node(self) -> None:
        """Start the node, as a supervisor does."""
        self.starts += 1
        self.note(f"the node starts, {self.starts}")
        owner = f"node {self.starts}"
        self._stop = asyncio.Event()
        with living_in(self.node_clock):
            self._task = asyncio.create_task(self._run_node(owner))
        self._task.add_done_callback(self._ended)
        task = self._task
        for _ in range(round(STARTS_WITHIN_S / LOOK_S)):
            if task.done() or (self.node is not None and self.node.is_ready):
                return
            await asyncio.sleep(LOOK_S)

    async def _run_node(self, owner: str) -> None:
        async with aiohttp.ClientSession(connector=Connector(self.network, owner)) as http:
            clients = [self._client(venue, http, None) for venue in VENUES]
            for client in clients:
                await client.load_markets()
            if not self.instruments:
                self.instruments = [next(c.protocol.listings.values().__iter__()).instrument for c in clients]
            node = Node(
                self.store,
                CATALOGUE,
                [self._plan(account) for account in ACCOUNTS],
                lambda config, _snapshot: LiveVenue(self._connect(config, clients, http)),
                VenueFeed([MarketFeed(client, [SYMBOL]) for client in clients], []),
                FEED,
                LocalBus(),
                lambda: None,
                wall_clock=True,
                brake_folder=self._folder / "brake",
                holder="node",
            )
            self.node = node
            await node.run(self._stop)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self.note(f"the node ended: {type(error).__name__}: {error}")
            if isinstance(error, FencedError):
                self.violate(f"the node fenced itself, nobody else was there: {error}")
            self.node = None
            self._restarting = asyncio.ensure_future(self._restart(task))

    async def _restart(self, ended: "asyncio.Task[None]") -> None:
        """Start the node again after it ended by itself, as the supervisor does."""
        await asyncio.sleep(RESTART_AFTER_S)
        if self._task is ended and self.is_down and not self._is_over:
            await self.start_node()

    def _client(self, venue: str, http: aiohttp.ClientSession, credentials: Credentials | None) -> VenueClient:
        exchange = self.exchange.exchanges[venue]
        protocol = with_urls(protocol_of(venue), exchange.url, exchange.ws_url)
        return VenueClient(
            protocol, http, credentials=credentials, random_source=random.Random(self.random.random()),  # noqa: S311
        )  # fmt: skip

    def _connect(self, config: AccountConfig, publics: list[VenueClient], http: aiohttp.ClientSession) -> Connect:
        """Return what opens an account's sessions."""

        async def open_one(public: VenueClient) -> ExecutionSession:
            key, secret = self.keys[config.id, public.protocol.venue]
            client = self._client(public.protocol.venue, http, Credentials(key=key, secret=secret))
            client.protocol.listings = public.protocol.listings
            return ExecutionSession(client, holds=True)

        return lambda _booked: {public.protocol.venue: open_one(public) for public in publics}

    def _plan(self, account: AccountId) -> AccountPlan:
        config = AccountConfig(
            id=account,
            name=account,
            kind=AccountKind.COMPANY,
            mode=Mode.PAPER,
            feed=FEED,
            currency=AssetCode("USD"),
            strategies=(
                StrategyAssignment(
                    strategy=StrategyName(COIN), instruments=tuple(i.id for i in self.instruments[:1]), bar_s=5
                ),
            ),
            limits=Limits(
                market_data_max_age_ms=10_000, max_position_bps=10_000, max_order_notional_bps=5_000,
                max_daily_fees_bps=10_000, max_orders_per_minute=1_000,
            ),
            tradable=tuple(i.id for i in self.instruments),
        )  # fmt: skip
        cash = CASH * AMOUNT_SCALE
        return AccountPlan(config=config, instruments=tuple(self.instruments), cash=cash, opened_ns=START_NS - NS)

    @property
    def is_down(self) -> bool:
        """Whether no process of the node runs."""
        return self._task is None or self._task.done()

    async def crash_node(self, why: str) -> None:
        """Kill the node's process: what it still wanted to write or send is gone."""
        if self._task is None or self.is_down:
            return
        self.note(f"the node is killed {why}")
        self.node = None
        self.network.die(f"node {self.starts}")
        self.store.cut()
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task

    async def end_node(self) -> None:
        """End the node cleanly."""
        self._is_over = True
        if self._task is not None and self.node is not None:
            self._stop.set()
            with suppress(Exception):
                await self._task
