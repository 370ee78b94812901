"""Writing: one transaction takes the journal rows of several accounts and all their projections.

A batch is what one account's shard wants durable at once. Batches of many shards share a transaction (group commit),
which costs about as much as one.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import msgspec

from aether.domain.errors import FencedError
from aether.domain.events import Bar
from aether.domain.identifiers import AccountId
from aether.engine.core import Changes, Engine
from aether.store.journal import JournalRow

SNAPSHOTS_KEPT = 3

_UPSERT_ORDER = """
INSERT INTO orders (account, id, number, instrument, side, type, time_in_force, purpose, strategy, state, size,
    limit_price, trigger_price, filled, filled_notional, fees, arrival_price, venue_order_id, reason, created_ns,
    updated_ns)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
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
_INSERT_BAR = """
INSERT INTO bars (feed, instrument, interval_s, ts_ns, open, high, low, close, volume)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
"""

# Whole columns at once: COPY, which would be as fast, does not go with row-level security.
_INSERT = {
    table: f"INSERT INTO {table} SELECT * FROM unnest({', '.join(f'${n}::{t}[]' for n, t in enumerate(types, 1))})"  # noqa: S608
    for table, types in {
        "journal": ("text", "bigint", "bigint", "text", "bytea", "bytea"),
        "fills": ("text", "text", "text", "bigint", "bigint", "text", "text")
        + ("numeric",) * 5
        + ("text", "text", "text"),
        "verdicts": ("text", "text", "bigint", "text", "boolean", "jsonb"),
        "alerts": ("text", "bigint", "bigint", "bigint", "text", "text", "text"),
    }.items()
}

Row = tuple[object, ...]


class Snapshot(NamedTuple):
    """An account's state after journal row `seq`, with the market events taken from its feed by then."""

    seq: int
    engine: bytes
    venue: bytes
    market_taken: int


@dataclass
class Batch:
    """What one shard makes durable at once, as rows ready to write.

    Attributes:
        rows: journal rows in order.
        applied: ids of operator requests with the sequence at which each was applied.
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
    instruments: list[Row] = field(default_factory=list)
    accounts: list[Row] = field(default_factory=list)
    applied: list[tuple[int, int]] = field(default_factory=list)
    snapshot: Snapshot | None = None

    def project(self, changes: Changes, engine: Engine) -> None:
        """Add the rows for what the engine changed; reads the engine as it is after the last journal row."""
        account, seq, state = self.account, self.rows[-1].seq, engine.state
        for order in changes.orders.values():
            r = order.request
            self.orders.append(
                (account, r.id, int(r.id.rsplit("-", 1)[1]), r.instrument, r.side, r.type, r.time_in_force, r.purpose)
                + (r.strategy, order.state, r.size, r.limit_price, r.trigger_price, order.filled)
                + (order.filled_notional, order.fees, order.arrival_price, order.venue_order_id, order.reason)
                + (order.created_ns, order.updated_ns)
            )
        for fill in changes.fills:
            self.fills.append(
                (account, fill.order_id, fill.trade_id, seq, fill.ts_ns, fill.instrument, fill.side, fill.price)
                + (fill.size, fill.notional, fill.fee, fill.realized, fill.liquidity, fill.purpose, fill.strategy)
            )
        for v in changes.verdicts:
            breaches = msgspec.json.encode(v.breaches).decode()
            self.verdicts.append((account, v.order_id, v.ts_ns, v.instrument, v.approved, breaches))
        for p in changes.equity:
            self.equity.append((account, p.ts_ns, p.nav, p.cash, p.exposure, p.realized, p.fees, p.capital))
        for instrument, held in changes.positions.items():
            self.positions.append((account, instrument, held.quantity, held.cost, held.realized, held.fees))
        for key in sorted(changes.balances):
            b = state.ledger.balance(key)
            self.balances.append((account, key, b.free, b.locked))
        for part, a in enumerate(changes.alerts):
            self.alerts.append((account, seq, part, a.ts_ns, a.severity, a.code, a.message))

    def describe_account(self, engine: Engine) -> None:
        """Add the rows that describe the account and its instruments as they are now."""
        config = engine.config
        text = msgspec.json.encode(config).decode()
        self.accounts.append((self.account, config.feed, text, self.rows[0].ts_ns))
        for instrument in engine.state.instruments.values():
            definition = msgspec.json.encode(instrument).decode()
            self.instruments.append((self.account, instrument.id, definition))


async def commit(connection: asyncpg.Connection, batches: list[Batch]) -> None:
    """Write all batches in one durable transaction.

    Raises:
        FencedError: when a row of that account and sequence exists already: another writer owns the account.
        asyncpg.PostgresError, OSError: when the database cannot take it; nothing is written then.
    """
    try:
        async with connection.transaction():
            rows = [row for b in batches for row in b.rows]
            if rows:
                await connection.execute(_INSERT["journal"], *zip(*rows, strict=True))
            await _many(connection, _UPSERT_ACCOUNT, [r for b in batches for r in b.accounts])
            await _many(connection, _UPSERT_INSTRUMENT, [r for b in batches for r in b.instruments])
            await _many(connection, _UPSERT_ORDER, [r for b in batches for r in b.orders])
            await _many(connection, _UPSERT_POSITION, [r for b in batches for r in b.positions])
            await _many(connection, _UPSERT_BALANCE, [r for b in batches for r in b.balances])
            await _many(connection, _UPSERT_EQUITY, [r for b in batches for r in b.equity])
            for table in ("fills", "verdicts", "alerts"):
                records = [r for b in batches for r in getattr(b, table)]
                if records:
                    await connection.execute(_INSERT[table], *zip(*records, strict=True))
            for batch in batches:
                await _finish(connection, batch)
    except asyncpg.UniqueViolationError as error:
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
            "UPDATE operator_requests SET applied_seq = $2 WHERE id = $1 AND applied_seq IS NULL", batch.applied
        )
    if batch.snapshot is not None:
        await connection.execute(
            "INSERT INTO snapshots (account, seq, engine, venue, market_taken) VALUES ($1, $2, $3, $4, $5) "
            "ON CONFLICT DO NOTHING",
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
    await connection.executemany(
        _INSERT_BAR,
        [(feed, b.instrument, b.interval_s, b.ts_ns, b.open, b.high, b.low, b.close, b.volume) for b in bars],
    )
