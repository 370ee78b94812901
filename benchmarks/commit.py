"""A commit alone: an order's rows (journal, order, verdict, balance, lease) against a bare one-row insert, both durable."""

import asyncio
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from aether.domain.identifiers import AccountId
from aether.store.commit import Batch, commit
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.journal import JournalRow
from aether.store.leases import Held, take
from aether.store.migrate import migrate
from benchmarks.node import bare_commit_ms

COMMITS, WARM_UP = 400, 20
ACCOUNT, LOG = AccountId("one"), "market"


def order(n: int) -> Batch:
    """Return what an account's order number `n` makes durable."""
    made = Batch(ACCOUNT, [JournalRow(ACCOUNT, n, n, "Bar", b"x" * 300, b"h" * 32, b"d" * 16, n, 1)])
    made.orders = [
        (ACCOUNT, f"one-{n}", n, "kraken:BTC/USD", "buy", "limit", "gtc", "entry", "s", "submitted", 10, 10, 0, 0, 0, 0)
        + (10, "", "", n, n, "operator", 1, 1, 1, 1)
    ]
    made.verdicts = [(ACCOUNT, f"one-{n}", n, "kraken:BTC/USD", True, "[]")]
    made.balances = [(ACCOUNT, "kraken:USD", 10, n)]
    return made


async def measure() -> list[tuple[str, str]]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "postgresql")
        database = Database(server.start())
        await migrate(database.engine)
        baseline = await bare_commit_ms(database)
        connection = await database.node.connect()
        await take(connection, LOG, "here", 600.0)
        times = []
        for n in range(1, COMMITS):
            started = perf_counter()
            await commit(connection, [order(n)], lease=Held(LOG, 1))
            times.append((perf_counter() - started) * 1e3)
        await connection.close()
        await database.close()
        server.stop()
    steady = median(times[WARM_UP:])
    return [
        ("an order's commit, p50", f"{steady:.2f} ms"),
        (f"an order's commit, p50 against a bare commit of {baseline:.2f} ms", f"{steady / baseline:.1f} x"),
        ("the first commit of a kind on a connection", f"{times[0]:.1f} ms"),
    ]


def run() -> list[tuple[str, str]]:
    """Return the figures."""
    return asyncio.run(measure())
