"""A machine of a world on which a node runs: started, killed, frozen, cut off, and kept up as a supervisor does."""

import asyncio
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from aether.bus.local import LocalBus
from aether.clock import living_in
from aether.domain.accounts import AccountConfig, AccountKind, AccountPlan, Exits, Mode, StrategyAssignment
from aether.domain.errors import DatabaseUnavailableError, FencedError, VenueError
from aether.domain.identifiers import AccountId, AssetCode, StrategyName, VenueId
from aether.domain.scaled import AMOUNT_SCALE
from aether.node.feeds import VenueFeed
from aether.node.keys import follow_keys, wait_for_key
from aether.node.live import LiveVenue
from aether.node.runtime import Node
from aether.simulation.coverage import places_of
from aether.simulation.firm import ACCOUNTS, CASH, FEED, LIMITS, NEAR, SYMBOL, VENUES
from aether.simulation.loop import NS, START_NS, SimulatedClock
from aether.simulation.network import Connector
from aether.simulation.process import Process, belonging_to
from aether.simulation.strategy import CATALOGUE, COIN
from aether.venues.actions import Action, ClosedOrders, Fates, GetOrder, OpenOrders
from aether.venues.client import VenueClient, with_urls
from aether.venues.feed import MarketFeed
from aether.venues.protocol import Credentials, Response
from aether.venues.registry import protocol_of
from aether.venues.session import ExecutionSession

if TYPE_CHECKING:
    from aether.simulation.world import World

STARTS_WITHIN_S, LOOK_S = 30.0, 0.05
RESTART_AFTER_S = 1.0
ENDS_WITHIN_S = 40.0
STATUS = re.compile(rb'("status":\s*")[^"]*(")')
KNOWN_ENDS = (FencedError, VenueError, DatabaseUnavailableError, OSError, TimeoutError)
"""A node that cannot reach what it begins with ends, and is started again."""


class Machine:
    """A machine with a node.

    Attributes:
        node: None while no process of it runs.
        process: the present one, or the last.
    """

    def __init__(self, world: "World", name: str, folder: Path) -> None:
        self.name = name
        self.clock = SimulatedClock(world.loop)
        self.node: Node | None = None
        self.process = Process(name)
        self.starts = 0
        self._world = world
        self.folder = folder
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._restarting: asyncio.Future[None] | None = None
        self._is_over = False

    @property
    def is_down(self) -> bool:
        """Whether no process of the node runs."""
        return self._task is None or self._task.done()

    @property
    def owns(self) -> bool:
        """Whether its node trades the accounts."""
        return self.node is not None and self.node.is_ready and not self.process.is_frozen

    async def start(self, steps: int = 0, place: str = "") -> None:
        """Start the node; return once it trades or stands by, or after a while.

        Args:
            steps: it is killed after so many; 0 for never.
            place: it is killed when it waits there; empty for nowhere.
        """
        self.starts += 1
        owner = f"{self.name} {self.starts}"
        self._world.note(f"{self.name}: the node starts, {self.starts}")
        self._stop = asyncio.Event()
        process = self.process = Process(owner)
        process.after(steps, lambda: self.crash("as it starts") if self.process is process else None)
        if place:
            self.kill_at(place)
        elif self._world.looks_closely:
            process.when = lambda handle: self._world.report.coverage.places.update(places_of(handle))
        with living_in(self.clock), belonging_to(self.process):
            task = self._task = asyncio.create_task(self._run(owner))
        task.add_done_callback(self._ended)
        for _ in range(round(STARTS_WITHIN_S / LOOK_S)):
            if self.is_down or (self.node is not None and self.node.settled.is_set()):
                break
            await asyncio.sleep(LOOK_S)
        process.after(0, lambda: None)

    async def _run(self, owner: str) -> None:
        world = self._world
        async with aiohttp.ClientSession(connector=Connector(world.network, owner)) as http:
            clients = [self._client(venue, http, None) for venue in VENUES]
            for client in clients:
                await client.load_markets()
            if not world.instruments:
                world.instruments = [next(iter(c.protocol.listings.values())).instrument for c in clients]
            self.node = Node(
                world.store,
                CATALOGUE,
                [self._plan(account) for account in ACCOUNTS],
                lambda config, _snapshot: self._venue(config, clients, http),
                VenueFeed([MarketFeed(client, [SYMBOL]) for client in clients], []),
                FEED,
                LocalBus(),
                lambda: None,
                wall_clock=True,
                brake_folder=self.folder / "brake",
                holder=self.name,
            )
            await self.node.run(self._stop)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if self._task is not task or task.cancelled() or (error := task.exception()) is None:
            return
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        world = self._world
        world.note(f"{self.name}: the node ended: {type(error).__name__}: {error}")
        if isinstance(error, FencedError) and self.node is not None:
            last = world.store.leases[FEED]
            if last.epoch == self.node.lease.epoch or last.holder == self.name:
                world.violate(f"{self.name}: the node fenced itself, nobody else was there: {error}")
        elif not isinstance(error, KNOWN_ENDS):
            world.violate(f"{self.name}: the node ended: {type(error).__name__}: {error}")
        self.node = None
        self._restarting = asyncio.ensure_future(self._restart(task))

    async def _restart(self, ended: "asyncio.Task[None]") -> None:
        """Start the node again after it ended by itself, as the supervisor does."""
        await asyncio.sleep(RESTART_AFTER_S)
        if self._task is ended and self.is_down and not self._is_over:
            await self.start()

    def crash(self, why: str) -> None:
        """Kill the node's process: what it still wanted to write or send is gone."""
        if self._task is None or self.is_down:
            return
        world = self._world
        world.note(f"{self.name}: the node is killed {why}")
        self.node = None
        world.report.coverage.killed(self.process)
        self.process.die()
        world.network.lonely.discard(self.process.name)
        world.network.die(self.process.name)
        world.store.cut(self.process)
        world.dead.append((self.process, self._task))
        self._task = None

    def kill_at(self, place: str) -> None:
        """Kill the node's process as soon as a task of it goes on from a place, if it comes there; see `spare`."""
        process = self.process

        def look(handle: asyncio.Handle) -> None:
            if place in places_of(handle) and self.process is process:
                process.when = lambda _handle: None
                self.crash(f"at {place}")

        process.when = look

    def spare(self, process: Process) -> None:
        """Kill a process at no place any more."""
        process.when = lambda _handle: None

    async def end(self, *, for_good: bool = False) -> None:
        """End the node cleanly; a process that cannot is killed, as a supervisor does."""
        self._is_over = for_good
        task, process = self._task, self.process
        if task is None or self.node is None:
            return
        self._stop.set()
        await asyncio.wait([task], timeout=ENDS_WITHIN_S)
        if not task.done() and self.process is process:
            self.crash("since it does not end")
        elif self._task is task:
            self.node = None

    def _client(self, venue: str, http: aiohttp.ClientSession, credentials: Credentials | None) -> VenueClient:
        world = self._world
        exchange = world.exchange.exchanges[venue]
        protocol = with_urls(protocol_of(venue), exchange.url, exchange.ws_url)
        whole = protocol.decode

        def read(action: Action, response: Response) -> Any:
            """Read an answer; of the first order in it something else while that is spoiled."""
            if venue in world.spoiled and isinstance(action, OpenOrders | GetOrder | Fates | ClosedOrders):
                spoiled = STATUS.sub(rb"\1BEING_HALVED\2", response.body, count=1)
                response = msgspec.structs.replace(response, body=spoiled)
            return whole(action, response)

        protocol.decode = read  # type: ignore[method-assign]
        chance = random.Random(world.random.random())  # noqa: S311  a world to be repeated exactly
        return VenueClient(protocol, http, credentials=credentials, random_source=chance)

    def _venue(self, config: AccountConfig, publics: list[VenueClient], http: aiohttp.ClientSession) -> LiveVenue:
        """Return what opens an account's sessions, and what has them take up another key."""
        keys, versions = self._world.keys, dict[VenueId, int]()

        async def open_one(public: VenueClient) -> ExecutionSession:
            venue = public.protocol.venue
            versions[venue], credentials = await wait_for_key(keys, config.id, venue, keys.changed)
            client = self._client(venue, http, credentials)
            client.protocol.listings = public.protocol.listings
            return ExecutionSession(client, holds=True)

        async def follow(sessions: Mapping[VenueId, ExecutionSession]) -> None:
            await follow_keys(keys, config.id, sessions, versions, keys.changed)

        return LiveVenue(lambda _booked: {public.protocol.venue: open_one(public) for public in publics}, follow)

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
                    strategy=StrategyName(COIN), instruments=tuple(i.id for i in self._world.instruments[:1]), bar_s=5
                ),
            ),
            limits=LIMITS,
            exits=NEAR if self._world.stops_rest else Exits(),
            tradable=tuple(i.id for i in self._world.instruments),
        )  # fmt: skip
        cash = CASH * AMOUNT_SCALE
        return AccountPlan(
            config=config, instruments=tuple(self._world.instruments), cash=cash, opened_ns=START_NS - NS
        )
