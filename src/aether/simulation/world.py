"""One world: a firm of two accounts on three venues, from one seed.

    world = World(seed)
    report = world.run()

It lives in two parts: first faults come and go, processes are killed, people do what people do; then everything is
well again and the desk has a while to bring itself into order. Checks (`checks.py`) look at it all along and at the
end.
"""

import asyncio
import gc
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from aether.clock import living_in
from aether.domain.instruments import Instrument
from aether.exchange.server import MARKETS, LocalExchange, build
from aether.simulation.checks import Checks
from aether.simulation.coverage import Coverage
from aether.simulation.faults import Faults
from aether.simulation.firm import ACCOUNTS, CASH, PRICE, SYMBOL, VENUES
from aether.simulation.keys import Keys
from aether.simulation.loop import SimulatedClock, SimulatedLoop
from aether.simulation.machine import Machine
from aether.simulation.memory import MemoryStore
from aether.simulation.network import Network
from aether.simulation.people import People
from aether.simulation.process import Process

BEAT_S = 1.0
PACES = (1, 2, 4)
"""So many beats after one another the makers of a world's markets quote anew: some markets are quiet."""
FAULTS_S = 90.0
LEAST_S = 120.0
MOST_S = 1_200.0
"""A world that goes on for longer never ends."""
LOOKED_AT = 40
"""One world of so many notes down every place at which a process waits."""
STAYS_S, CALM_S = 8, 150
"""Kraken's call counter of the usual tier gives half a call a second back; the fate of an order takes up to nine."""


@dataclass
class Report:
    """What became of a world.

    Attributes:
        violations: what should not be, in words; empty for a good world.
        faults: by kind, how often.
        trace: what happened, in a trader's words.
        halts: accounts that stand still at the end, and why; `needless` are those in which no stranger traded.
        digest: of the trace and the journals: the same seed gives the same.
    """

    seed: int
    violations: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)
    orders: int = 0
    fills: int = 0
    seconds: float = 0.0
    halts: list[str] = field(default_factory=list)
    needless: list[str] = field(default_factory=list)
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
        self.network = Network(seed + 1)
        self.report = Report(seed)
        self.machines: list[Machine] = []
        """Every other world has two, of which one stands by."""
        self.dead: list[tuple[Process, asyncio.Task[None]]] = []
        """Processes that were killed."""
        self.looks_closely = seed % LOOKED_AT == 0
        """Every place at which a process waits is noted down."""
        self.pace = random.Random(seed + 4).choice(PACES)  # noqa: S311  a world to be repeated exactly
        self.stops_rest = random.Random(seed + 6).random() < 0.5  # noqa: S311  a world to be repeated exactly
        """The stops of holdings rest at the venues, near enough to be reached."""
        self.spoiled: set[str] = set()
        """Venues that say of an order what nobody can read."""
        self.is_calm = False
        self.keys = Keys(self)
        self.instruments: list[Instrument] = []
        self._kinds = kinds

    def run(self) -> Report:
        """Live, and return what became of it."""
        asyncio.set_event_loop(self.loop)
        gc.disable()  # what is collected, and what that leads to, would depend on all that ran before
        try:
            with tempfile.TemporaryDirectory() as folder, living_in(self.clock):
                names = ("left", "right") if self.seed % 2 else ("left",)
                self.machines = [Machine(self, name, Path(folder) / name) for name in names]
                for machine in self.machines:
                    machine.folder.mkdir()
                self.loop.run_until_complete(self._live_for(MOST_S))
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
            gc.enable()
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

    def owner(self) -> Machine | None:
        """Return the machine whose node trades the accounts."""
        return next((machine for machine in self.machines if machine.owns), None)

    # The world's course.

    async def _live_for(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await self._live()

    async def _live(self) -> None:
        self.store = MemoryStore(self.seed + 2)
        self.exchange = self._make_exchange()
        runners = [await self._serve(name) for name in VENUES]
        for account in ACCOUNTS:
            for venue in VENUES:
                self.keys.give(account, venue, {"USD": str(CASH // len(VENUES))})
        self.store.on_wrong = self.violate
        self.checks = Checks(self)
        moving = asyncio.create_task(self._move())
        for machine in self.machines:
            await machine.start()
        faults, people = Faults(self, self._kinds), People(self)
        busy = [asyncio.create_task(faults.run(FAULTS_S)), asyncio.create_task(people.run(FAULTS_S))]
        await asyncio.gather(*busy)
        faults.end()
        self.is_calm = True
        self.note("everything is well again")
        people.stop_all()
        await self._until_calm()
        await self.checks.at_the_end()
        for machine in self.machines:
            await machine.end(for_good=True)
        with self.report.coverage.counting_cells():
            await self.checks.of_the_past()
        self.checks.sum_up()
        moving.cancel()
        for runner in runners:
            await runner.cleanup()
        for process, _task in self.dead:
            process.thaw()
        while others := [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)  # what ends may start something else
        self.report.faults += faults.happened + self.store.happened
        for exchange in self.exchange.exchanges.values():
            self.report.faults += Counter(exchange.faults.happened)

    async def _until_calm(self) -> None:
        """Give the desk a while to bring itself into order; it has to stay so a moment."""
        calm_s = 0
        for _ in range(CALM_S):
            await asyncio.sleep(1.0)
            calm_s = calm_s + 1 if self.checks.is_calm() else 0
            if calm_s >= STAYS_S and self.loop.now_s >= LEAST_S:
                return

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
            if beats % self.pace == 0:
                self.exchange.step(BEAT_S * self.pace)
            await asyncio.sleep(BEAT_S)
