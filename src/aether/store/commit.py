"""Writing: one transaction takes what the market told, the journal rows of several accounts and all their projections.

A batch is what one account's shard wants durable at once. Batches of many shards share a transaction (group commit),
which costs about as much as one, and the market log's blocks go with them: no row refers to what is not written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import msgspec

from aether.domain.errors import FencedError
from aether.domain.events import Bar
from aether.domain.identifiers import AccountId
from aether.engine.changes import Changes
from aether.engine.core import Engine
from aether.store.archive import Block
from aether.store.journal import JournalRow
from aether.store.market_log import write_blocks

SNAPSHOTS_KEPT = 3

_UPSERT_ORDER = """
INSERT INTO orders (account, id, number, instrument, side, type, time_in_force, purpose, strategy, state, size,
    limit_price, trigger_price, filled, filled_notional, fees, arrival_price, venue_order_id, reason, created_ns,
    updated_ns, owner, decision_price, send_price, half_spread)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25)
ON CONFLICT (account, id) DO UPDATE SET state = excluded.state, filled = excluded.filled,
    filled_notional = excluded.filled_notional, fees = excluded.fees, venue_order_id = excluded.venue_order_id,
    reason = excluded.reason, updated_ns = excluded.updated_ns
"""
_UPSERT_POSITION = """
INSERT INTO positions (account, instrument, quantity, cost, realized, fees) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (account, instrument) DO UPDATE SET quantity = excluded.quantity, cost = excluded.cost,
    realized = excluded.realized, fees = excluded.fees
"""
_UPSERT_BALANCE = """
INSERT INTO balances (account, key, free, locked) VALUES ($1, $2, $3, $4)
ON CONFLICT (account, key) DO UPDATE SET free = excluded.free, locked = excluded.locked
"""
_DELETE_LOTS = "DELETE FROM holdings WHERE account = $1 AND instrument = $2"
_INSERT_LOT = "INSERT INTO holdings (account, instrument, owner, quantity, cost) VALUES ($1, $2, $3, $4, $5)"
_UPSERT_BREAK = """
INSERT INTO breaks (account, name, kind, subject, amount, evidence, since_ns, seen_ns, times, owner, cleared_ns)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)
ON CONFLICT (account, name, since_ns) DO UPDATE SET amount = excluded.amount, evidence = excluded.evidence,
    seen_ns = excluded.seen_ns, times = excluded.times, owner = excluded.owner, cleared_ns = 0
"""
_CLEAR_BREAK = "UPDATE breaks SET cleared_ns = $3 WHERE account = $1 AND name = $2 AND cleared_ns = 0"
_UPSERT_PARENT = """
INSERT INTO parents (account, id, symbol, side, algorithm, amount, state, filled, notional, fees, decision_mid, end_mid,
    started_ns, ended_ns, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (account, id) DO UPDATE SET state = excluded.state, filled = excluded.filled, notional = excluded.notional,
    fees = excluded.fees, end_mid = excluded.end_mid, ended_ns = excluded.ended_ns, reason = excluded.reason
"""
_UPSERT_EQUITY = """
INSERT INTO equity (account, ts_ns, nav, cash, exposure, realized, fees, capital) VALUES ($1, $2, $3, $4, $5, $6, $7,
$8) ON CONFLICT (account, ts_ns) DO UPDATE SET nav = excluded.nav, cash = excluded.cash, exposure = excluded.exposure,
    realized = excluded.realized, fees = excluded.fees, capital = excluded.capital
"""
_UPSERT_INSTRUMENT = """
INSERT INTO instruments (account, instrument, definition) VALUES ($1, $2, $3)
ON CONFLICT (account, instrument) DO UPDATE SET definition = excluded.definition
"""
_UPSERT_ACCOUNT = """
INSERT INTO accounts (account, feed, config, opened_ns) VALUES ($1, $2, $3, $4)
ON CONFLICT (account) DO UPDATE SET config = excluded.config
"""
# Whole columns at once: COPY, which would be as fast, does not go with row-level security.
_INSERT = {
    table: f"INSERT INTO {table} SELECT * FROM unnest({', '.join(f'${n}::{t}[]' for n, t in enumerate(types, 1))})"  # noqa: S608
    for table, types in {
        "journal": ("text", "bigint", "bigint", "text", "bytea", "bytea", "bytea", "bigint", "bigint"),
        "fills": ("text", "text", "text", "bigint", "bigint", "text", "text")
        + ("numeric",) * 5
        + ("text",) * 4
        + ("bigint", "text", "numeric"),
        "verdicts": ("text", "text", "bigint", "text", "boolean", "jsonb"),
        "alerts": ("text", "bigint", "bigint", "bigint", "text", "text", "text"),
        "bars": ("text", "text", "bigint", "bigint") + ("numeric",) * 5,
        "flows": ("text", "bigint", "bigint", "bigint", "text", "text", "text", "numeric", "numeric") + ("text",) * 3,
    }.items()
}

Row = tuple[object, ...]


class Snapshot(NamedTuple):
    """An account's state after journal row `seq` and position `market` of a log.

    Attributes:
        market_taken: market events that the account had taken before it followed a log.
        log: its name; empty, with no `market`, where it follows none yet.
    """

    seq: int
    engine: bytes
    venue: bytes
    market_taken: int
    log: str
    market: int | None


@dataclass
class Batch:
    """What one shard makes durable at once, as rows ready to write.

    Attributes:
        rows: journal rows in order.
        applied: ids of operator requests with the sequence at which each was applied, and why it was refused, if so.
        snapshot: when one is due, or alone with no rows.
    """

    account: AccountId
    rows: list[JournalRow]
    orders: list[Row] = field(default_factory=list)
    fills: list[Row] = field(default_factory=list)
    verdicts: list[Row] = field(default_factory=list)
    equity: list[Row] = field(default_factory=list)
    positions: list[Row] = field(default_factory=list)
    balances: list[Row] = field(default_factory=list)
    alerts: list[Row] = field(default_factory=list)
    flows: list[Row] = field(default_factory=list)
    holdings: list[Row] = field(default_factory=list)
    breaks: list[Row] = field(default_factory=list)
    cleared: list[Row] = field(default_factory=list)
    parents: list[Row] = field(default_factory=list)
    instruments: list[Row] = field(default_factory=list)
    accounts: list[Row] = field(default_factory=list)
    applied: list[tuple[int, int, str]] = field(default_factory=list)
    snapshot: Snapshot | None = None

    def project(self, changes: Changes, engine: Engine, seq: int) -> None:
        """Add the rows for what the engine changed; reads the engine as it is after journal row `seq`."""
        account, state = self.account, engine.state
        for order in changes.orders.values():
            r = order.request
            number = order.number or int(r.id.rsplit("-", 1)[1])
            self.orders.append(
                (account, r.id, number, r.instrument, r.side, r.type, r.time_in_force, r.purpose)
                + (r.strategy, order.state, r.size, r.limit_price, r.trigger_price, order.filled)
                + (order.filled_notional, order.fees, order.arrival_price, order.venue_order_id, order.reason)
                + (order.created_ns, order.updated_ns, r.owner, order.decision_price, order.send_price)
                + (order.half_spread,)
            )
        for fill in changes.fills:
            self.fills.append(
                (account, fill.order_id, fill.trade_id, seq, fill.ts_ns, fill.instrument, fill.side, fill.price)
                + (fill.size, fill.notional, fill.fee, fill.realized, fill.liquidity, fill.purpose, fill.strategy)
                + (fill.owner, fill.venue_ns, fill.fee_asset, fill.fee_amount)
            )
        for v in changes.verdicts:
            breaches = msgspec.json.encode(v.breaches).decode()
            self.verdicts.append((account, v.order_id, v.ts_ns, v.instrument, v.approved, breaches))
        for e in changes.equity:
            self.equity.append((account, e.ts_ns, e.nav, e.cash, e.exposure, e.realized, e.fees, e.capital))
        for instrument, held in changes.positions.items():
            self.positions.append((account, instrument, held.quantity, held.cost, held.realized, held.fees))
            self.holdings += [
                (account, instrument, owner, holding.quantity, holding.cost) for owner, holding in held.holdings.items()
            ]
        for key in sorted(changes.balances):
            held_there = state.ledger.balance(key)
            self.balances.append((account, key, held_there.free, held_there.locked))
        for part, a in enumerate(changes.alerts):
            self.alerts.append((account, seq, part, a.ts_ns, a.severity, a.code, a.message))
        for part, f in enumerate(changes.flows):
            self.flows.append(
                (account, seq, part, f.ts_ns, f.kind, f.venue, f.asset, f.amount, f.value, f.reference, f.reason)
                + (f.actor,)
            )
        self.cleared += [(account, name, state.now_ns) for name in changes.cleared]
        for b in changes.breaks.values():
            self.breaks.append(
                (account, b.name, b.kind, b.subject, b.amount, b.evidence, b.since_ns, b.seen_ns, b.times, b.owner)
            )
        for parent in changes.parents.values():
            q = parent.request
            self.parents.append(
                (account, q.id, q.symbol, q.side, q.algorithm, q.amount, parent.state, parent.filled, parent.notional)
                + (parent.fees, parent.decision_mid, parent.end_mid, parent.started_ns, parent.ended_ns)
                + (parent.reason,)
            )

    def describe_account(self, engine: Engine) -> None:
        """Add the rows that describe the account and its instruments as they are now."""
        config = engine.config
        text = msgspec.json.encode(config).decode()
        self.accounts.append((self.account, config.feed, text, self.rows[0].ts_ns))
        for instrument in engine.state.instruments.values():
            definition = msgspec.json.encode(instrument).decode()
            self.instruments.append((self.account, instrument.id, definition))


async def commit(
    connection: asyncpg.Connection, batches: list[Batch], blocks: Sequence[Block] = (), days: Iterable[int] = ()
) -> None:
    """Write all batches in one durable transaction.

    Args:
        blocks: of the market log, that follow what is written of it.
        days: of the blocks, that may be new.

    Raises:
        FencedError: when a row of that account and sequence exists already: another writer owns the account; or when
            the log has gone on without this writer.
        asyncpg.PostgresError, OSError: when the database cannot take it; nothing is written then.
    """
    try:
        async with connection.transaction():
            if blocks:
                await write_blocks(connection, blocks, days)
            rows = [row for b in batches for row in b.rows]
            if rows:
                await connection.execute(_INSERT["journal"], *zip(*rows, strict=True))
            await _many(connection, _UPSERT_ACCOUNT, [r for b in batches for r in b.accounts])
            await _many(connection, _UPSERT_INSTRUMENT, [r for b in batches for r in b.instruments])
            await _many(connection, _UPSERT_ORDER, [r for b in batches for r in b.orders])
            await _many(connection, _UPSERT_POSITION, [r for b in batches for r in b.positions])
            await _many(connection, _DELETE_LOTS, [(r[0], r[1]) for b in batches for r in b.positions])
            await _many(connection, _INSERT_LOT, [r for b in batches for r in b.holdings])
            await _many(connection, _CLEAR_BREAK, [r for b in batches for r in b.cleared])
            await _many(connection, _UPSERT_BREAK, [r for b in batches for r in b.breaks])
            await _many(connection, _UPSERT_PARENT, [r for b in batches for r in b.parents])
            await _many(connection, _UPSERT_BALANCE, [r for b in batches for r in b.balances])
            await _many(connection, _UPSERT_EQUITY, [r for b in batches for r in b.equity])
            for table in ("fills", "verdicts", "alerts", "flows"):
                records = [r for b in batches for r in getattr(b, table)]
                again = " ON CONFLICT DO NOTHING" if table == "verdicts" else ""
                if records:
                    await connection.execute(_INSERT[table] + again, *zip(*records, strict=True))
            for batch in batches:
                await _finish(connection, batch)
    except asyncpg.UniqueViolationError as error:
        if error.table_name != "journal":
            raise
        raise FencedError(
            f"Journal sequence {error.detail or ''} was written by another process.",
            remedy="Stop this process: another one trades the account.",
        ) from error


async def _many(connection: asyncpg.Connection, statement: str, rows: list[Row]) -> None:
    if rows:
        await connection.executemany(statement, rows)


async def _finish(connection: asyncpg.Connection, batch: Batch) -> None:
    if batch.applied:
        await connection.executemany(
            "UPDATE operator_requests SET applied_seq = $2, refusal = $3 WHERE id = $1 AND applied_seq IS NULL",
            batch.applied,
        )
    if batch.snapshot is not None:
        await connection.execute(
            "INSERT INTO snapshots (account, seq, engine, venue, market_taken, log, market) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7) "
            "ON CONFLICT (account, seq) DO UPDATE SET engine = excluded.engine, venue = excluded.venue, "
            "market_taken = excluded.market_taken, log = excluded.log, market = excluded.market",
            batch.account,
            *batch.snapshot,
        )
        await connection.execute(
            "DELETE FROM snapshots WHERE account = $1 AND seq NOT IN "
            "(SELECT seq FROM snapshots WHERE account = $1 ORDER BY seq DESC LIMIT $2)",
            batch.account,
            SNAPSHOTS_KEPT,
        )


async def was_committed(connection: asyncpg.Connection, batch: Batch) -> bool:
    """Return whether a batch whose commit ended in doubt is in the journal, by the hash of its last row."""
    if not batch.rows:
        return False
    last = batch.rows[-1]
    found = await connection.fetchval(
        "SELECT hash FROM journal WHERE account = $1 AND seq = $2", batch.account, last.seq
    )
    return found is not None and bytes(found) == last.hash


async def write_bars(connection: asyncpg.Connection, feed: str, bars: list[Bar]) -> None:
    """Keep the market's bars for charts; a bar that is there already stays."""
    rows = [(feed, b.instrument, b.interval_s, b.ts_ns, b.open, b.high, b.low, b.close, b.volume) for b in bars]
    await connection.execute(f"{_INSERT['bars']} ON CONFLICT DO NOTHING", *zip(*rows, strict=True))
