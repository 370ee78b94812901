"""Coming back: a journal of a million rows replayed from PostgreSQL, and the same start with a snapshot.

The rows are what an account of the synthetic market writes, chained and with digests, replayed through engine and paper
venue with every hash and every decision proven. The baselines, in the same run: reading the rows and proving the chain
alone, and a bare `SELECT` of all payloads.
"""

import asyncio
import tempfile
from pathlib import Path
from time import perf_counter

from aether.compose.accounts import DEFAULT_CASH, synthetic_plans
from aether.compose.trading import make_paper_venue
from aether.domain.events import Event, encode_event, opening_events
from aether.engine.core import CHECKPOINT_EVERY, Engine
from aether.engine.step import step
from aether.market.bars import with_bars
from aether.market.synthetic import SyntheticMarket
from aether.node.recovery import recover
from aether.store.commit import Batch, Snapshot, commit
from aether.store.database import Database
from aether.store.embedded import EmbeddedServer
from aether.store.journal import GENESIS, JournalRow, row_hash, verify
from aether.store.migrate import migrate
from aether.strategies import catalogue

ROWS = 1_000_000
BATCH = 20_000
START_NS = 1_700_000_000_000_000_000


def _market(seconds: int) -> list[Event]:
    market = SyntheticMarket(1)
    known = {i.id for i in synthetic_plans(1)[0].instruments}
    ticks = (e for n in range(seconds) for e in market.step(START_NS + n * 10**9, 1.0) if e.instrument in known)
    return list(with_bars(ticks, [60]))


async def measure(rows: int) -> list[tuple[str, str]]:
    """Return the figures for a journal of so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "postgresql")
        database = Database(server.start())
        await migrate(database.engine)
        plan = synthetic_plans(1)[0]
        account = plan.config.id
        engine, venue = Engine(catalogue()), make_paper_venue(plan.config, None)
        connection = await database.node.connect()
        seq, head, batch = 0, GENESIS, Batch(account, [])
        begun = perf_counter()
        events = [*opening_events(plan.config, list(plan.instruments), DEFAULT_CASH, START_NS - 1)]
        source = iter([*events, *_market(rows // 5)])
        while seq < rows:
            for taken in step(venue, engine, next(source)):
                seq += 1
                payload, kind = encode_event(taken.event), type(taken.event).__name__
                head = row_hash(head, account, seq, taken.event.ts_ns, kind, payload, taken.decided)
                batch.rows.append(JournalRow(account, seq, taken.event.ts_ns, kind, payload, head, taken.decided))
            if len(batch.rows) >= BATCH:
                await commit(connection, [batch])
                batch = Batch(account, [])
            if seq % CHECKPOINT_EVERY == 0:
                engine.take_changes()
        if batch.rows:
            await commit(connection, [batch])
        written_s = perf_counter() - begun

        begun = perf_counter()
        await connection.fetch("SELECT payload FROM journal WHERE account = $1", account)
        select_s = perf_counter() - begun
        begun = perf_counter()
        await verify(database.node, account)
        verify_s = perf_counter() - begun
        begun = perf_counter()
        found = await recover(database.node, account, catalogue(), lambda s: make_paper_venue(plan.config, s))
        replay_s = perf_counter() - begun
        assert found.engine.state_hash() == engine.state_hash()
        snapshot = Snapshot(seq, engine.snapshot(), venue.snapshot(), found.market_taken)
        await commit(connection, [Batch(account, [], snapshot=snapshot)])
        begun = perf_counter()
        await recover(database.node, account, catalogue(), lambda s: make_paper_venue(plan.config, s))
        snapshot_s = perf_counter() - begun
        await connection.close()
        await database.close()
        server.stop()
    name = f"replay of {seq:,} rows"
    return [
        (f"{name}: everything proven", f"{replay_s:.1f} s"),
        (f"{name}: against proving the chain alone", f"{replay_s / verify_s:.1f} x"),
        (f"{name}: against a bare SELECT of the payloads", f"{replay_s / select_s:.1f} x"),
        (f"{name}: against making and writing them", f"{replay_s / written_s:.2f} x"),
        (f"{name}: with a snapshot", f"{snapshot_s * 1e3:.0f} ms"),
    ]


def run() -> list[tuple[str, str]]:
    """Return the figures."""
    return asyncio.run(measure(ROWS))
