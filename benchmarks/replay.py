"""Coming back: a long history of the market and an account's journal replayed from PostgreSQL, and with a snapshot.

An account trades the synthetic market through a node; then it is replayed through engine and paper venue with every hash
and every decision proven. The baselines, in the same run: proving the market log and the journal alone, and a bare
`SELECT` of all payloads.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from aether.bus.local import LocalBus
from aether.compose.accounts import synthetic_plans
from aether.compose.trading import make_paper_venue
from aether.domain.accounts import AccountPlan
from aether.domain.events import MarketEvent
from aether.market.bars import with_bars
from aether.market.synthetic import SYNTHETIC_FEED, SyntheticMarket
from aether.node.feeds import BarSink
from aether.node.recovery import END, replay_until
from aether.node.runtime import Node
from aether.node.sequencer import Sequencer
from aether.node.shard import Shard
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.history import StoredHistory
from aether.store.journal import verify
from aether.store.market_log import verify_log
from aether.store.migrate import migrate
from aether.store.node_store import NodeStore
from aether.strategies import catalogue
from benchmarks.node import run_whole

EVENTS = 1_000_000
START_NS = 1_700_000_000_000_000_000


class LongFeed:
    """So many events of the synthetic market, as fast as they are taken."""

    def __init__(self, plan: AccountPlan, events: int) -> None:
        self._known = {i.id for i in plan.instruments}
        self._events = events

    def _market(self) -> Iterator[MarketEvent]:
        market = SyntheticMarket(1)
        seconds = range(self._events)
        ticks = (e for n in seconds for e in market.step(START_NS + n * 10**9, 1.0) if e.instrument in self._known)
        return iter(with_bars(ticks, [60]))

    def admit(self, shard: Shard) -> None:
        """Nobody comes later."""
        raise NotImplementedError(shard.account)

    async def run(self, market: Sequencer, _shards: object, _on_bar: BarSink) -> None:
        """Give the market."""
        for event in self._market():
            await market.put(event)
            if market.pos % 256 == 0:
                await asyncio.sleep(0)
            if market.pos >= self._events:
                return


async def measure(events: int) -> list[tuple[str, str]]:
    """Return the figures for a history of so many events."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "postgresql")
        database = Database(server.start())
        await migrate(database.engine)
        plan = synthetic_plans(1)[0]
        account = plan.config.id
        node = Node(
            NodeStore(database.node), catalogue(), [plan], make_paper_venue, LongFeed(plan, events), SYNTHETIC_FEED, LocalBus(),
            lambda: None, wall_clock=False, brake_folder=Path(folder) / "brake", holder="here",
        )  # fmt: skip
        begun = perf_counter()
        await run_whole(node)
        written_s = perf_counter() - begun
        state_hash = node.shards[account].engine.state_hash()

        owner = await database.connect("postgres")
        await owner.execute("CREATE TABLE kept AS SELECT * FROM snapshots")
        await owner.execute("TRUNCATE snapshots")
        begun = perf_counter()
        await owner.fetch("SELECT payload FROM market_log")
        rows = len(await owner.fetch("SELECT payload FROM journal WHERE account = $1", account))
        select_s = perf_counter() - begun
        begun = perf_counter()
        await verify_log(StoredHistory(database.node), SYNTHETIC_FEED)
        await verify(StoredHistory(database.node), account)
        verify_s = perf_counter() - begun

        async def back() -> float:
            since = perf_counter()
            store = NodeStore(database.node)
            found = await replay_until(
                store, account, catalogue(), lambda s: make_paper_venue(plan.config, s), END, from_snapshot=True
            )
            assert found.engine.state_hash() == state_hash
            return perf_counter() - since

        replay_s = await back()
        await owner.execute("INSERT INTO snapshots SELECT * FROM kept")
        snapshot_s = await back()
        await owner.close()
        await database.close()
        server.stop()
    name = f"replay of {events:,} events, {rows:,} rows"
    return [
        (f"{name}: everything proven", f"{replay_s:.1f} s"),
        (f"{name}: against proving the chains alone", f"{replay_s / verify_s:.1f} x"),
        (f"{name}: against a bare SELECT of the payloads", f"{replay_s / select_s:.1f} x"),
        (f"{name}: against trading through them", f"{replay_s / written_s:.2f} x"),
        (f"{name}: with a snapshot", f"{snapshot_s * 1e3:.0f} ms"),
    ]


def run() -> list[tuple[str, str]]:
    """Return the figures."""
    return asyncio.run(measure(EVENTS))
