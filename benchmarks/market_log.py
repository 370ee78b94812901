"""One market log: what the market and an account cost on disk, for few accounts and for many, and against a copy for each.

Nodes trade the synthetic market for an hour of its time; sizes are those of the tables and indexes on disk, the copies
are what each account took in the form that its own journal had before there was a log.
"""

import asyncio
import tempfile
from pathlib import Path

from aether.bus.local import LocalBus
from aether.compose.trading import make_paper_venue
from aether.market.synthetic import SYNTHETIC_FEED
from aether.node.appetite import Appetite
from aether.node.runtime import Node
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.history import StoredHistory
from aether.store.market_log import LogReader
from aether.store.migrate import migrate
from aether.store.node_store import NodeStore
from aether.store.retention import archive_before
from aether.strategies import catalogue
from benchmarks.node import PacedFeed, plans, run_whole

MARKET_S = 3_600
DAY_S = 86_400
OLD_ROW_BYTES = 285
"""Measured on disk with indexes, of a row that held a market event."""


async def measure(accounts: int) -> tuple[float, float, float, float]:
    """Return megabytes of a day: the log, its archive, an account, and an account's own copy of what it took."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "postgresql")
        database = Database(server.start())
        await migrate(database.engine)
        owner = await database.connect("postgres")
        empty = await _sizes(owner)
        node = Node(
            NodeStore(database.node), catalogue(), plans(accounts), make_paper_venue, PacedFeed(MARKET_S, 1_000_000), SYNTHETIC_FEED,
            LocalBus(), lambda: None, wall_clock=False, brake_folder=Path(folder) / "brake", holder="here",
        )  # fmt: skip
        await run_whole(node)
        full = await _sizes(owner)
        taken = await _taken(database, node)
        archived = await archive_before(database.node, Path(folder), 100_000)
        file_bytes = sum((Path(folder) / day.file).stat().st_size for day in archived)
        await owner.close()
        await database.close()
        server.stop()
    day = DAY_S / MARKET_S / 1e6
    own = (full[1] - empty[1]) / accounts
    return (full[0] - empty[0]) * day, file_bytes * day, own * day, taken * OLD_ROW_BYTES / accounts * day


async def _sizes(owner: object) -> tuple[int, int]:
    """Return the bytes of the market log, and of everything that accounts write."""
    log = "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_partition_tree('market_log')"
    own = (
        "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relkind = 'r' AND c.relname IN "
        "('journal', 'orders', 'fills', 'verdicts', 'equity', 'alerts', 'positions', 'balances')"
    )
    return int(await owner.fetchval(log)), int(await owner.fetchval(own))  # type: ignore[attr-defined]


async def _taken(database: Database, node: Node) -> int:
    """Return how many events the accounts took in all."""
    appetites = [Appetite(shard.config) for shard in node.shards.values()]
    reader = LogReader(StoredHistory(database.node), SYNTHETIC_FEED, 0)
    count = 0
    while (logged := await reader.next()) is not None:
        count += sum(appetite.wants(logged.event) for appetite in appetites)
    await reader.close()
    return count


def run() -> list[tuple[str, str]]:
    """Return the figures."""
    few, many = asyncio.run(measure(3)), asyncio.run(measure(50))
    found = []
    for accounts, (log, archived, own, copy) in ((3, few), (50, many)):
        name = f"market log, {accounts} accounts, a day"
        found += [
            (f"{name}: the market, once", f"{log:.0f} MB, archived {archived:.0f} MB"),
            (f"{name}: an account besides", f"{own:.1f} MB"),
            (f"{name}: an account, with its part of the market", f"{own + log / accounts:.0f} MB"),
            (f"{name}: an account with a copy of its own, as before", f"{copy:.0f} MB"),
            (f"{name}: all, against copies", f"{(log + own * accounts) / (copy * accounts):.3f} x"),
        ]
    return found
