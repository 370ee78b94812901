"""Reading what the journal's projections say, for the API and the command line.

Rows come back as plain structs with whole numbers; whoever shows them scales them by the instrument.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from aether.domain.accounts import AccountConfig
from aether.domain.commands import Severity
from aether.domain.errors import UnknownNameError
from aether.domain.events import KillSwitchReleased
from aether.domain.identifiers import AccountId, InstrumentId
from aether.domain.instruments import Instrument
from aether.domain.records import EquityPoint
from aether.store.database import Row, Scope
from aether.store.schema import (
    accounts,
    alerts,
    balances,
    bars,
    equity,
    fills,
    flows,
    instruments,
    journal,
    orders,
    positions,
    verdicts,
)

OPEN_STATES = ("submitted", "accepted", "partially_filled", "pending_cancel")


class StoredAccount(msgspec.Struct, frozen=True):
    """An account's configuration, its instruments, and when it was opened."""

    config: AccountConfig
    instruments: dict[InstrumentId, Instrument]
    opened_ns: int


async def list_accounts(scope: Scope, feed: str | None = None) -> list[StoredAccount]:
    """Return the accounts, of one market if `feed` is given."""
    query = sa.select(accounts).order_by(accounts.c.opened_ns, accounts.c.account)
    if feed is not None:
        query = query.where(accounts.c.feed == feed)
    listed: dict[str, dict[InstrumentId, Instrument]] = {}
    for row in await scope.all(sa.select(instruments)):
        definition = msgspec.convert(row.definition, Instrument)
        listed.setdefault(row.account, {})[definition.id] = definition
    return [
        StoredAccount(msgspec.convert(row.config, AccountConfig), listed.get(row.account, {}), row.opened_ns)
        for row in await scope.all(query)
    ]


async def get_account(scope: Scope, account: str) -> StoredAccount:
    """Return one account. Raises UnknownNameError naming those that exist."""
    known = await list_accounts(scope)
    for stored in known:
        if stored.config.id == account:
            return stored
    names = ", ".join(s.config.id for s in known) or "none yet"
    raise UnknownNameError(f"There is no account {account!r}.", remedy=f"Known accounts: {names}.")


async def list_orders(
    scope: Scope, account: AccountId, *, only_open: bool, limit: int, before: int | None = None
) -> Sequence[Row]:
    """Return orders, newest first; `before` is the number of the last one already seen."""
    query = sa.select(orders).where(orders.c.account == account)
    if only_open:
        query = query.where(orders.c.state.in_(OPEN_STATES))
    if before is not None:
        query = query.where(orders.c.number < before)
    return await scope.all(query.order_by(orders.c.number.desc()).limit(limit))


async def list_fills(scope: Scope, account: AccountId, *, limit: int, before: int | None = None) -> Sequence[Row]:
    """Return fills, newest first; `before` is the journal sequence of the last one already seen."""
    query = sa.select(fills).where(fills.c.account == account)
    if before is not None:
        query = query.where(fills.c.seq < before)
    order = (fills.c.seq.desc(), fills.c.ts_ns.desc(), sa.func.length(fills.c.trade_id).desc(), fills.c.trade_id.desc())
    return await scope.all(query.order_by(*order).limit(limit))


async def list_positions(scope: Scope, account: AccountId) -> Sequence[Row]:
    """Return the positions that are not zero."""
    query = sa.select(positions).where(positions.c.account == account, positions.c.quantity != 0)
    return await scope.all(query.order_by(positions.c.instrument))


async def list_balances(scope: Scope, account: AccountId) -> Sequence[Row]:
    """Return all balances."""
    return await scope.all(sa.select(balances).where(balances.c.account == account).order_by(balances.c.key))


async def list_equity(scope: Scope, account: AccountId, *, since_ns: int, points: int) -> Sequence[Row]:
    """Return about `points` equity samples after `since_ns` in order, evenly thinned, the last one always among
    them."""
    numbered = (
        sa.select(
            equity,
            sa.func.row_number().over(order_by=equity.c.ts_ns.desc()).label("n"),
            sa.func.count().over().label("total"),
        )
        .where(equity.c.account == account, equity.c.ts_ns > since_ns)
        .subquery()
    )
    step = sa.func.greatest(sa.func.ceil(numbered.c.total / sa.cast(points, sa.Float)), 1)
    query = sa.select(numbered).where(sa.cast(numbered.c.n - 1, sa.Integer) % sa.cast(step, sa.Integer) == 0)
    return await scope.all(query.order_by(numbered.c.ts_ns))


async def last_equity(scope: Scope, account: AccountId) -> EquityPoint | None:
    """Return an account's last equity sample, None when it has none."""
    query = sa.select(equity).where(equity.c.account == account).order_by(equity.c.ts_ns.desc()).limit(1)
    for row in await scope.all(query):
        return EquityPoint(**{name: getattr(row, name) for name in EquityPoint.__struct_fields__})
    return None


class FillSums(NamedTuple):
    """What many fills come to; amounts are ledger amounts."""

    fills: int
    notional: int
    fees: int


async def sum_fills(scope: Scope, account: AccountId, since_ns: int) -> FillSums:
    """Return what an account's fills from a time on come to."""
    query = sa.select(
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(fills.c.notional), 0),
        sa.func.coalesce(sa.func.sum(fills.c.fee), 0),
    ).where(fills.c.account == account, fills.c.ts_ns >= since_ns)
    (row,) = await scope.all(query)
    return FillSums(*(int(value) for value in row))


async def capital_moved(scope: Scope, account: AccountId, since_ns: int, until_ns: int) -> int:
    """Return what came in, less what went out, after a time and until another, as it was worth then."""
    moved = sa.select(sa.func.coalesce(sa.func.sum(flows.c.value), 0)).where(
        flows.c.account == account, flows.c.kind == "capital", flows.c.ts_ns > since_ns, flows.c.ts_ns <= until_ns
    )
    return int((await scope.all(moved))[0][0])


async def find_flow(
    scope: Scope, account: AccountId, *, venue: str, asset: str, amount: int, reference: str
) -> Row | None:
    """Return what was booked of the same amount under a reference, if anything was."""
    query = sa.select(flows).where(
        flows.c.account == account,
        flows.c.venue == venue,
        flows.c.asset == asset,
        flows.c.amount == amount,
        flows.c.reference == reference,
    )
    found = await scope.all(query.limit(1))
    return found[0] if found else None


async def list_verdicts(scope: Scope, account: AccountId, *, limit: int, only_denied: bool) -> Sequence[Row]:
    """Return verdicts of the risk gate, newest first."""
    query = sa.select(verdicts).where(verdicts.c.account == account)
    if only_denied:
        query = query.where(verdicts.c.approved.is_(False))
    return await scope.all(query.order_by(verdicts.c.ts_ns.desc(), verdicts.c.order_id.desc()).limit(limit))


async def list_alerts(scope: Scope, account: AccountId, *, limit: int) -> Sequence[Row]:
    """Return alerts, newest first."""
    query = sa.select(alerts).where(alerts.c.account == account)
    return await scope.all(query.order_by(alerts.c.seq.desc(), alerts.c.part.desc()).limit(limit))


async def newest_alerts(scope: Scope, accounts: Sequence[str], *, limit: int) -> Sequence[Row]:
    """Return what accounts warned of, newest first; what only informs is left out."""
    query = sa.select(alerts).where(alerts.c.account.in_(accounts), alerts.c.severity != Severity.INFO)
    return await scope.all(
        query.order_by(alerts.c.ts_ns.desc(), alerts.c.seq.desc(), alerts.c.part.desc()).limit(limit)
    )


async def list_bars(scope: Scope, feed: str, instrument: str, *, interval_s: int, limit: int) -> Sequence[Row]:
    """Return the latest bars in order of time."""
    query = (
        sa.select(bars)
        .where(bars.c.feed == feed, bars.c.instrument == instrument, bars.c.interval_s == interval_s)
        .order_by(bars.c.ts_ns.desc())
        .limit(limit)
    )
    return list(reversed(await scope.all(query)))


async def last_prices(scope: Scope, feed: str) -> dict[InstrumentId, Decimal]:
    """Return the last known price of each instrument of a market, whatever the scale that its accounts keep it in."""
    query = (
        sa.select(bars.c.instrument, bars.c.close)
        .ext(distinct_on(bars.c.instrument))
        .where(bars.c.feed == feed)
        .order_by(bars.c.instrument, bars.c.ts_ns.desc())
    )
    decimals = {i.id: i.price_decimals for s in await list_accounts(scope, feed) for i in s.instruments.values()}
    closes = {InstrumentId(row.instrument): row.close for row in await scope.all(query)}
    return {i: Decimal(close).scaleb(-decimals[i]) for i, close in closes.items() if i in decimals}


async def list_journal(scope: Scope, account: AccountId, *, first: int, limit: int) -> Sequence[Row]:
    """Return journal rows from sequence `first` on."""
    query = sa.select(journal).where(journal.c.account == account, journal.c.seq >= first)
    return await scope.all(query.order_by(journal.c.seq).limit(limit))


async def journal_length(scope: Scope, account: AccountId) -> int:
    """Return the account's last journal sequence, 0 when it has none."""
    query = sa.select(sa.func.coalesce(sa.func.max(journal.c.seq), 0)).where(journal.c.account == account)
    return int((await scope.all(query))[0][0])


class KillWord(NamedTuple):
    """The journal's latest word on an account's kill switch.

    Attributes:
        reason: why it is engaged or was released.
        ts_ns: of the event that says so.
    """

    engaged: bool
    reason: str
    ts_ns: int


NO_KILL = KillWord(engaged=False, reason="", ts_ns=0)


async def kill_states(scope: Scope) -> dict[str, KillWord]:
    """Return for each account that was ever stopped the journal's latest word on its kill switch.

    A release that was meant for an earlier kill is in the journal, and releases nothing (`aether.engine.door`).
    """
    mine = sa.select(journal.c.account, journal.c.seq, journal.c.payload, journal.c.ts_ns)
    last = mine.ext(distinct_on(journal.c.account)).where(journal.c.kind == "KillSwitchEngaged")
    kills = last.order_by(journal.c.account, journal.c.seq.desc()).subquery()
    after = mine.join(kills, kills.c.account == journal.c.account).where(
        journal.c.kind == "KillSwitchReleased", journal.c.seq > kills.c.seq
    )
    found: dict[str, KillWord] = {}
    for row in await scope.all(sa.select(kills)):
        found[row.account] = KillWord(True, msgspec.json.decode(row.payload)["reason"], int(row.ts_ns))
    for row in await scope.all(after.order_by(journal.c.account, journal.c.seq)):
        told, kill = msgspec.json.decode(row.payload, type=KillSwitchReleased), found.get(row.account, NO_KILL)
        if kill.engaged and told.is_for(kill.ts_ns):
            found[row.account] = KillWord(False, told.reason, int(row.ts_ns))
    return found
