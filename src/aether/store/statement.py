"""The one statement that makes a commit durable: every table's rows as whole columns, in one round trip and one flush.

Each table is a part of a `WITH`; all parts see the tables as they were before, so no two of them touch the same row.
(COPY, which would take rows as fast, does not go with row-level security.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

Row = tuple[object, ...]


@dataclass(frozen=True)
class _Table:
    """How rows go into a table.

    Attributes:
        columns: names and types, in the order of the rows.
        key: of rows that may be there already; where one comes twice in a commit, the last counts.
        updates: what such a row replaces there; without any, the one that is there stays.
        constants: columns with a value that is always the same.
    """

    columns: str
    key: str = ""
    updates: str = ""
    constants: str = ""

    @cached_property
    def names(self) -> list[str]:
        return [column.split()[0] for column in self.columns.split(", ")]

    @cached_property
    def types(self) -> list[str]:
        return [column.split()[1] for column in self.columns.split(", ")]

    def insert(self, table: str, relation: str) -> str:
        fixed = dict(pair.split("=") for pair in self.constants.split(", ") if pair)
        names = ", ".join([*self.names, *fixed])
        values = ", ".join(["r.*", *fixed.values()])
        text = f"INSERT INTO {table} ({names}) SELECT {values} FROM {relation}"  # noqa: S608  names of this file
        if self.updates:
            changes = ", ".join(f"{c} = excluded.{c}" for c in self.updates.split(", "))
            return f"{text} ON CONFLICT ({self.key}) DO UPDATE SET {changes}"
        return f"{text} ON CONFLICT ({self.key}) DO NOTHING" if self.key else text


_TABLES = {
    "market_log": _Table(
        "log text, day int, first bigint, events bigint, ts_ns bigint, payload bytea, hash bytea",
    ),
    "journal": _Table(
        "account text, seq bigint, ts_ns bigint, kind text, payload bytea, hash bytea, decided bytea, market bigint, "
        "epoch bigint",
    ),
    "accounts": _Table("account text, feed text, config jsonb, opened_ns bigint", "account", "config"),
    "instruments": _Table("account text, instrument text, definition jsonb", "account, instrument", "definition"),
    "orders": _Table(
        "account text, id text, number bigint, instrument text, side text, type text, time_in_force text, "
        "purpose text, strategy text, state text, size numeric, limit_price numeric, trigger_price numeric, "
        "filled numeric, filled_notional numeric, fees numeric, arrival_price numeric, venue_order_id text, "
        "reason text, created_ns bigint, updated_ns bigint, owner text, decision_price numeric, send_price numeric, "
        "half_spread numeric, epoch bigint",
        "account, id",
        "state, filled, filled_notional, fees, venue_order_id, reason, updated_ns",
    ),
    "positions": _Table(
        "account text, instrument text, quantity numeric, cost numeric, realized numeric, fees numeric",
        "account, instrument",
        "quantity, cost, realized, fees",
    ),
    "holdings": _Table(
        "account text, instrument text, owner text, quantity numeric, cost numeric",
        "account, instrument, owner",
        "quantity, cost",
    ),
    "breaks": _Table(
        "account text, name text, kind text, subject text, amount numeric, evidence text, since_ns bigint, "
        "seen_ns bigint, times bigint, owner text",
        "account, name, since_ns",
        "amount, evidence, seen_ns, times, owner, cleared_ns",
        "cleared_ns=0",
    ),
    "parents": _Table(
        "account text, id text, symbol text, side text, algorithm text, amount numeric, state text, filled numeric, "
        "notional numeric, fees numeric, decision_mid numeric, end_mid numeric, started_ns bigint, ended_ns bigint, "
        "reason text",
        "account, id",
        "state, filled, notional, fees, end_mid, ended_ns, reason",
    ),
    "balances": _Table("account text, key text, free numeric, locked numeric", "account, key", "free, locked"),
    "equity": _Table(
        "account text, ts_ns bigint, nav numeric, cash numeric, exposure numeric, realized numeric, fees numeric, "
        "capital numeric",
        "account, ts_ns",
        "nav, cash, exposure, realized, fees, capital",
    ),
    "fills": _Table(
        "account text, order_id text, trade_id text, seq bigint, ts_ns bigint, instrument text, side text, "
        "price numeric, size numeric, notional numeric, fee numeric, realized numeric, liquidity text, purpose text, "
        "strategy text, owner text, venue_ns bigint, fee_asset text, fee_amount numeric",
    ),
    "verdicts": _Table(
        "account text, order_id text, ts_ns bigint, instrument text, approved boolean, breaches jsonb",
        "account, order_id",
    ),
    "alerts": _Table("account text, seq bigint, part bigint, ts_ns bigint, severity text, code text, message text"),
    "flows": _Table(
        "account text, seq bigint, part bigint, ts_ns bigint, kind text, venue text, asset text, amount numeric, "
        "value numeric, reference text, reason text, actor text",
    ),
    "snapshots": _Table(
        "account text, seq bigint, engine bytea, venue bytea, market_taken bigint, log text, market bigint",
        "account, seq",
        "engine, venue, market_taken, log, market",
    ),
    "bars": _Table(
        "feed text, instrument text, interval_s bigint, ts_ns bigint, open numeric, high numeric, low numeric, "
        "close numeric, volume numeric",
        "feed, instrument, interval_s, ts_ns",
    ),
    "applied": _Table("id bigint, seq bigint, refusal text"),
    "cleared": _Table("account text, name text, at bigint"),
}
SNAPSHOTS_KEPT = 3

_APPLY = """
UPDATE operator_requests AS q SET applied_seq = r.seq, refusal = r.refusal
FROM {applied} WHERE q.id = r.id AND q.applied_seq IS NULL
"""
_CLEAR = """
UPDATE breaks AS b SET cleared_ns = r.at FROM {cleared} WHERE b.account = r.account AND b.name = r.name
AND b.cleared_ns = 0 AND NOT EXISTS (
    SELECT FROM {breaks} WHERE r.account = b.account AND r.name = b.name AND r.since_ns = b.since_ns
)
"""
_LET_GO = """
DELETE FROM holdings AS h USING {positions} WHERE h.account = r.account AND h.instrument = r.instrument
AND NOT EXISTS (
    SELECT FROM {holdings} WHERE r.account = h.account AND r.instrument = h.instrument AND r.owner = h.owner
)
"""
_FORGET = """
DELETE FROM snapshots AS s USING {snapshots} WHERE s.account = r.account AND s.seq < r.seq AND (
    SELECT count(*) FROM snapshots AS n WHERE n.account = s.account AND n.seq > s.seq AND n.seq < r.seq
) >= %d
"""
_SPECIAL = {"applied": [_APPLY], "cleared": [_CLEAR]}
"""Instead of an insert."""
_BESIDES = {"positions": [_LET_GO], "snapshots": [_FORGET % (SNAPSHOTS_KEPT - 1)]}
"""With the insert."""
_NEEDS = {"cleared": "breaks", "positions": "holdings"}
"""Tables whose rows a part looks at, though there be none."""


class Statement:
    """The statement of a commit.

    Args:
        rows: by table; tables without any are left out.
    """

    def __init__(self, rows: Mapping[str, Sequence[Row]]) -> None:
        self.parameters: list[object] = []
        self._relations: dict[str, str] = {}
        self._asked: list[str] = []
        used = {name: found for name, found in rows.items() if found}
        for name in [*used, *(_NEEDS[n] for n in used if n in _NEEDS)]:
            if name not in self._relations:
                self._relations[name] = self._bind(_TABLES[name], used.get(name, ()))
        self._parts: list[str] = []
        for name in used:
            if name not in _SPECIAL:
                self._parts.append(_TABLES[name].insert(name, self._relations[name]))
            for part in (*_SPECIAL.get(name, ()), *_BESIDES.get(name, ())):
                self._parts.append(part.format_map(self._relations))

    def ask(self, function: str, *arguments: object) -> None:
        """Ask a function that raises when the commit may not be."""
        numbers = ", ".join(f"${self._number(argument)}" for argument in arguments)
        self._asked.append(f"{function}({numbers})")

    @property
    def text(self) -> str:
        """The statement."""
        parts = ", ".join(f"p{n} AS ({part})" for n, part in enumerate(self._parts))
        select = f"SELECT {', '.join(self._asked) or 'true'}"
        return f"WITH {parts} {select}" if parts else select

    def _number(self, argument: object) -> int:
        self.parameters.append(argument)
        return len(self.parameters)

    def _bind(self, table: _Table, rows: Sequence[Row]) -> str:
        """Take rows as columns; return the relation that they are."""
        if table.updates:
            at = [table.names.index(name) for name in table.key.split(", ")]
            rows = list({tuple(row[n] for n in at): row for row in rows}.values())
        columns = zip(*rows, strict=True) if rows else ([] for _ in table.types)
        bound = [f"${self._number(list(column))}::{kind}[]" for column, kind in zip(columns, table.types, strict=True)]
        return f"unnest({', '.join(bound)}) AS r ({', '.join(table.names)})"
