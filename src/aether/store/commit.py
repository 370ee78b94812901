"""Writing: one statement takes what the market told, the journal rows of several accounts and all their projections.

A batch is what one account's shard wants durable at once. Batches of many shards share a statement (group commit),
which costs about as much as one, and the market log's blocks go with them: no row refers to what is not written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import msgspec

from aether.domain.events import Bar
from aether.domain.identifiers import AccountId
from aether.engine.changes import Changes
from aether.engine.core import Engine
from aether.store.archive import Block
from aether.store.journal import JournalRow
from aether.store.leases import LEASE_OVER, LOG_GONE_ON, Held, fenced
from aether.store.statement import Row, Statement

PROJECTIONS = (
    "accounts", "instruments", "orders", "positions", "holdings", "cleared", "breaks", "parents", "balances", "equity",
    "fills", "verdicts", "alerts", "flows", "applied",
)  # fmt: skip


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

    def project(self, changes: Changes, engine: Engine, seq: int, epoch: int) -> None:
        """Add the rows for what the engine changed; reads the engine as it is after journal row `seq`.

        Args:
            epoch: of the account's owner.
        """
        account, state = self.account, engine.state
        for order in changes.orders.values():
            r = order.request
            number = order.ordinal
            self.orders.append(
                (account, r.id, number, r.instrument, r.side, r.type, r.time_in_force, r.purpose)
                + (r.strategy, order.state, r.size, r.limit_price, r.trigger_price, order.filled)
                + (order.filled_notional, order.fees, order.arrival_price, order.venue_order_id, order.reason)
                + (order.created_ns, order.updated_ns, r.owner, order.decision_price, order.send_price)
                + (order.half_spread, epoch)
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
    connection: asyncpg.Connection,
    batches: list[Batch],
    blocks: Sequence[Block] = (),
    days: Iterable[int] = (),
    lease: Held | None = None,
) -> None:
    """Write all batches in one durable statement.

    Args:
        blocks: of the market log, that follow what is written of it.
        days: of the blocks, that may be new.
        lease: in which this is written; None where nobody else could write.

    Raises:
        FencedError: when the lease is over; when a row of that account and sequence exists already: another writer owns
            the account; or when the log has gone on without this writer.
        asyncpg.PostgresError, OSError: when the database cannot take it; nothing is written then.
    """
    for day in days:
        await connection.execute("SELECT open_market_day($1)", day)
    rows: dict[str, Sequence[Row]] = {t: [r for b in batches for r in getattr(b, t)] for t in PROJECTIONS}
    rows["snapshots"] = [(b.account, *b.snapshot) for b in batches if b.snapshot is not None]
    rows["market_log"] = list(blocks)
    rows["journal"] = [row for b in batches for row in b.rows]  # the last part is the first that PostgreSQL carries out
    statement = Statement(rows)
    if lease is not None:
        statement.ask("hold_lease", lease.log, lease.epoch)
    if blocks:
        first, last = blocks[0], blocks[-1]
        statement.ask("move_market_head", first.log, first.first - 1, last.last, last.hash)
    try:
        await connection.execute(statement.text, *statement.parameters)
    except asyncpg.UniqueViolationError as error:
        if error.table_name != "journal":
            raise
        raise fenced(f"journal sequence {error.detail or ''} was written already") from error
    except asyncpg.PostgresError as error:
        if error.sqlstate not in (LEASE_OVER, LOG_GONE_ON):
            raise
        raise fenced(str(error)) from error


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
    statement = Statement({"bars": rows})
    await connection.execute(statement.text, *statement.parameters)
