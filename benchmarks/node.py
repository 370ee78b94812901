"""The node on a real database: latency under a paced market, durability against a bare commit, and memory.

The synthetic market is given at a multiple of real time. Latencies are of every event: from entering the account's
queue to the engine's answer, and from there to the durable commit. Memory is sampled while the market runs; the first
quarter is warm-up.
"""

import asyncio
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec
import numpy as np
import psutil

from aether.bus.local import LocalBus
from aether.compose.accounts import synthetic_plans
from aether.compose.trading import make_paper_venue
from aether.domain.accounts import AccountPlan, StrategyAssignment
from aether.domain.events import Quote, Trade
from aether.domain.identifiers import AccountId, StrategyName
from aether.domain.instruments import Instrument, make_instrument
from aether.market.bars import BarAggregator
from aether.market.synthetic import SYNTHETIC_FEED, SYNTHETIC_VENUE, SyntheticMarket
from aether.node import shard as shard_module
from aether.node.feeds import BarSink, bar_intervals
from aether.node.runtime import Node
from aether.node.sequencer import Sequencer
from aether.node.shard import Shard
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.migrate import migrate
from aether.store.node_store import NodeStore
from aether.strategies import catalogue

STEP_S = 0.5
START_NS = 1_700_000_000_000_000_000
BASELINE_COMMITS = 300
WIDE_S = 120


class Samples:
    """Stands in for a histogram and keeps every value."""

    def __init__(self) -> None:
        self.values = array("d")

    def observe(self, value: float) -> None:
        """Keep a value, seconds."""
        self.values.append(value)

    def text(self) -> str:
        """Return median and 99th percentile."""
        p50, p99 = np.percentile(self.values, [50, 99]) * 1e3
        return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"


class PacedFeed:
    """The synthetic market at a multiple of real time, for so many seconds of its own."""

    def __init__(self, market_s: int, pace: float) -> None:
        self._steps = round(market_s / STEP_S)
        self._pace = pace
        self.rss_mib: list[float] = []

    def admit(self, shard: Shard) -> None:
        """Nobody comes later."""
        raise NotImplementedError(shard.account)

    async def run(self, market: Sequencer, shards: Sequence[Shard], _on_bar: BarSink) -> None:
        """Give the market as `SyntheticFeed` does, and sample memory."""
        synthetic = SyntheticMarket(1)
        aggregator = BarAggregator(bar_intervals(shards))
        process = psutil.Process()
        begun = perf_counter()
        for n in range(self._steps):
            now_ns = START_NS + round(n * STEP_S * 1e9)
            fresh = synthetic.step(now_ns, STEP_S)
            for event in (*aggregator.advance(now_ns), *fresh):
                await market.put(event)
            for event in fresh:
                if isinstance(event, Trade):
                    aggregator.add(event)
            if n % max(1, self._steps // 100) == 0:
                self.rss_mib.append(process.memory_info().rss / 2**20)
            await asyncio.sleep(max(0.0, begun + (n + 1) * STEP_S / self._pace - perf_counter()))


class WideFeed:
    """Quotes of many pairs at a steady rate: each tenth of a second a share of them, in turn.

    Args:
        rate: quotes a second, of all pairs together.
    """

    def __init__(self, instruments: Sequence[Instrument], rate: int, seconds: int) -> None:
        self._instruments = instruments
        self._rate = rate
        self._seconds = seconds
        self.rss_mib: list[float] = []
        self.given = 0
        self.late_s = 0.0
        """How far the feed itself was behind at most."""

    def admit(self, shard: Shard) -> None:
        """Nobody comes later."""
        raise NotImplementedError(shard.account)

    async def run(self, market: Sequencer, shards: Sequence[Shard], _on_bar: BarSink) -> None:
        """Give quotes, and sample memory each second."""
        random = np.random.default_rng(1)
        prices = np.full(len(self._instruments), 100_00, dtype=np.int64)
        aggregator = BarAggregator(bar_intervals(shards))
        process = psutil.Process()
        begun, step_s = perf_counter(), 0.01
        for n in range(round(self._seconds / step_s)):
            now_ns = START_NS + round(n * step_s * 1e9)
            for event in aggregator.advance(now_ns):
                await market.put(event)
            chosen = [(self.given + k) % len(self._instruments) for k in range(round(self._rate * step_s))]
            for i, move in zip(chosen, random.integers(-2, 3, len(chosen)).tolist(), strict=True):
                prices[i] = max(1_000, prices[i] + move)
                quote = Quote(
                    ts_ns=now_ns,
                    instrument=self._instruments[i].id,
                    bid=int(prices[i]),
                    ask=int(prices[i]) + 1,
                    bid_size=10**9,
                    ask_size=10**9,
                )
                await market.put(quote)
                self.given += 1
            if n % 100 == 0:
                self.rss_mib.append(process.memory_info().rss / 2**20)
            self.late_s = max(self.late_s, perf_counter() - begun - (n + 1) * step_s)
            await asyncio.sleep(max(0.0, begun + (n + 1) * step_s - perf_counter()))


def wide_plans(accounts: int, instruments: tuple[Instrument, ...]) -> list[AccountPlan]:
    """Return so many accounts that each follow all of the instruments, and decide on one of them every few seconds."""
    first = synthetic_plans(1)[0]
    ids = tuple(i.id for i in instruments)
    assignment = StrategyAssignment(
        strategy=StrategyName("ema_cross"), instruments=ids, params={"fast": 2, "slow": 10}, bar_s=5
    )
    return [
        msgspec.structs.replace(
            first,
            config=msgspec.structs.replace(first.config, id=AccountId(f"w{n}"), strategies=(assignment,), seed=n),
            instruments=instruments,
            opened_ns=START_NS - 1,
        )
        for n in range(accounts)
    ]


def plans(accounts: int) -> list[AccountPlan]:
    """Return so many accounts, the reference firm's three over and over."""
    made = []
    for n in range(accounts):
        plan = synthetic_plans(n + 1)[n % 3]
        config = msgspec.structs.replace(plan.config, id=AccountId(f"a{n}"))
        made.append(msgspec.structs.replace(plan, config=config, opened_ns=START_NS - 1))
    return made


async def run_whole(node: Node) -> None:
    """Run a node until its feed has ended and every account has taken all of it."""
    stop = asyncio.Event()

    async def until_drained() -> None:
        await node.drain()
        stop.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(node.run(stop))
        group.create_task(until_drained())


async def bare_commit_ms(database: Database) -> float:
    """Return the median of a durable one-row insert."""
    connection = await database.connect("postgres")
    await connection.execute("CREATE TABLE IF NOT EXISTS baseline (n int)")
    times = []
    for n in range(BASELINE_COMMITS):
        started = perf_counter()
        await connection.execute("INSERT INTO baseline VALUES ($1)", n)
        times.append(perf_counter() - started)
    await connection.close()
    return median(times) * 1e3


async def measure(accounts: int, market_s: int, pace: float) -> list[tuple[str, str]]:
    """Return the figures of the synthetic market at a pace."""
    feed = PacedFeed(market_s, pace)
    name = f"{accounts} account{'s' if accounts > 1 else ''} x {market_s // 60} min at {pace:g} x real time"
    return await _measured(name, feed, plans(accounts))


async def measure_wide(accounts: int, pairs: int, rate: int, seconds: int) -> list[tuple[str, str]]:
    """Return the figures of many accounts on many pairs, in real time."""
    instruments = tuple(
        make_instrument(SYNTHETIC_VENUE, f"X{n}/USD", price_decimals=2, size_decimals=8) for n in range(pairs)
    )
    feed = WideFeed(instruments, rate, seconds)
    name = f"{accounts} accounts x {pairs} pairs x {rate:,} updates/s"
    found = await _measured(name, feed, wide_plans(accounts, instruments))
    return [*found, (f"{name}: the feed was late by at most", f"{feed.late_s:.2f} s")]


async def _measured(name: str, feed: PacedFeed | WideFeed, opened: list[AccountPlan]) -> list[tuple[str, str]]:
    decision, durable = Samples(), Samples()
    vars(shard_module).update(TICK_TO_DECISION=decision, DECISION_TO_DURABLE=durable)
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "postgresql")
        database = Database(server.start())
        await migrate(database.engine)
        baseline = await bare_commit_ms(database)
        node = Node(
            NodeStore(database.node),
            catalogue(),
            opened,
            make_paper_venue,
            feed,
            SYNTHETIC_FEED,
            LocalBus(),
            lambda: None,
            wall_clock=False,
            brake_folder=Path(folder) / "brake",
            holder="here",
        )
        await run_whole(node)
        await database.close()
        server.stop()
    warm = feed.rss_mib[len(feed.rss_mib) // 4 :]
    tail = median(warm[-5:])
    ratio = float(np.median(durable.values)) * 1e3 / baseline
    return [
        (f"{name}: events", f"{len(decision.values):,}"),
        (f"{name}: tick to decision", decision.text()),
        (f"{name}: decision to durable", durable.text()),
        (f"{name}: decision to durable, p50 against a bare commit of {baseline:.2f} ms", f"{ratio:.1f} x"),
        (f"{name}: memory after warm-up, then at the end", f"{warm[0]:.0f} MiB, {tail:.0f} MiB"),
    ]


def run() -> list[tuple[str, str]]:
    """Return the figures of all loads."""
    return [
        *asyncio.run(measure(1, 3_600, 120)),
        *asyncio.run(measure(50, 300, 10)),
        *asyncio.run(measure_wide(100, 20, 2_000, WIDE_S)),
    ]
