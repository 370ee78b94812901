"""The tables. `migrations/` brings a database to this; a test compares the two.

Money, prices and sizes are whole numbers in the units of the domain (NUMERIC, so that nothing overflows), times are
nanoseconds since 1970 UTC.
"""

from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

REVISION = "0011"
"""The revision of the schema that this is."""

metadata = sa.MetaData()


class Units(sa.TypeDecorator[int]):
    """A whole number of any size, NUMERIC in the database, int in Python."""

    impl = sa.Numeric()
    cache_ok = True

    def process_bind_param(self, value: int | None, _dialect: sa.Dialect) -> Decimal | None:
        """Return what the driver takes."""
        return None if value is None else Decimal(value)

    def process_result_value(self, value: Decimal | None, _dialect: sa.Dialect) -> int | None:
        """Return what the domain takes."""
        return None if value is None else int(value)


def _text(name: str, *, key: bool = False, default: str | None = None) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, primary_key=key, nullable=False, server_default=default)


def _units(name: str, *, default: str | None = None) -> "sa.Column[int]":
    return sa.Column(name, Units, nullable=False, server_default=default)


def _ns(name: str, *, key: bool = False, default: str | None = None) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger, primary_key=key, nullable=False, autoincrement=False, server_default=default)


accounts = sa.Table(
    "accounts",
    metadata,
    _text("account", key=True),
    _text("feed"),
    sa.Column("config", JSONB, nullable=False),
    _ns("opened_ns"),
)

journal = sa.Table(
    "journal",
    metadata,
    _text("account", key=True),
    _ns("seq", key=True),
    _ns("ts_ns"),
    _text("kind"),
    sa.Column("payload", BYTEA, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    sa.Column("decided", BYTEA),
    sa.Column("market", sa.BigInteger),
    sa.Column("epoch", sa.BigInteger),
    sa.Index(
        "journal_kill_switch",
        "account",
        "seq",
        postgresql_where=sa.text("kind IN ('KillSwitchEngaged', 'KillSwitchReleased')"),
    ),
)

snapshots = sa.Table(
    "snapshots",
    metadata,
    _text("account", key=True),
    _ns("seq", key=True),
    sa.Column("engine", BYTEA, nullable=False),
    sa.Column("venue", BYTEA, nullable=False),
    _ns("market_taken"),
    _text("log", default=""),
    sa.Column("market", sa.BigInteger),
)

market_log = sa.Table(
    "market_log",
    metadata,
    _text("log", key=True),
    sa.Column("day", sa.Integer, primary_key=True, nullable=False, autoincrement=False),
    _ns("first", key=True),
    _ns("events"),
    _ns("ts_ns"),
    sa.Column("payload", BYTEA, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    postgresql_partition_by="LIST (day)",
)

market_heads = sa.Table(
    "market_heads",
    metadata,
    _text("log", key=True),
    _ns("pos"),
    sa.Column("hash", BYTEA, nullable=False),
)

market_archives = sa.Table(
    "market_archives",
    metadata,
    _text("log", key=True),
    sa.Column("day", sa.Integer, primary_key=True, nullable=False, autoincrement=False),
    _ns("first"),
    _ns("last"),
    _ns("ts_ns"),
    sa.Column("before", BYTEA, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    _text("file"),
    _text("digest"),
)

leases = sa.Table(
    "leases",
    metadata,
    _text("log", key=True),
    _ns("epoch", key=True),
    _text("holder"),
    _text("version"),
    _text("schema"),
    sa.Column("taken_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("ended_at", sa.TIMESTAMP(timezone=True)),
)

instruments = sa.Table(
    "instruments",
    metadata,
    _text("account", key=True),
    _text("instrument", key=True),
    sa.Column("definition", JSONB, nullable=False),
)

orders = sa.Table(
    "orders",
    metadata,
    _text("account", key=True),
    _text("id", key=True),
    _ns("number"),
    _text("instrument"),
    _text("side"),
    _text("type"),
    _text("time_in_force"),
    _text("purpose"),
    _text("strategy"),
    _text("state"),
    _units("size"),
    _units("limit_price"),
    _units("trigger_price"),
    _units("filled"),
    _units("filled_notional"),
    _units("fees"),
    _units("arrival_price"),
    _text("venue_order_id"),
    _text("reason"),
    _ns("created_ns"),
    _ns("updated_ns"),
    _text("owner", default=""),
    _units("decision_price", default="0"),
    _units("send_price", default="0"),
    _units("half_spread", default="0"),
    _ns("epoch", default="0"),
    sa.Index("orders_by_account_number", "account", "number"),
    sa.Index("orders_by_time", "created_ns", "account", "number"),
)

fills = sa.Table(
    "fills",
    metadata,
    _text("account", key=True),
    _text("order_id", key=True),
    _text("trade_id", key=True),
    _ns("seq"),
    _ns("ts_ns"),
    _text("instrument"),
    _text("side"),
    _units("price"),
    _units("size"),
    _units("notional"),
    _units("fee"),
    _units("realized"),
    _text("liquidity"),
    _text("purpose"),
    _text("strategy"),
    _text("owner", default=""),
    _ns("venue_ns", default="0"),
    _text("fee_asset", default=""),
    _units("fee_amount", default="0"),
    sa.Index("fills_by_account_seq", "account", "seq"),
    sa.Index("fills_by_time", "ts_ns", "account", "order_id", "trade_id"),
)

positions = sa.Table(
    "positions",
    metadata,
    _text("account", key=True),
    _text("instrument", key=True),
    _units("quantity"),
    _units("cost"),
    _units("realized"),
    _units("fees"),
)

holdings = sa.Table(
    "holdings",
    metadata,
    _text("account", key=True),
    _text("instrument", key=True),
    _text("owner", key=True),
    _units("quantity"),
    _units("cost"),
)

balances = sa.Table(
    "balances",
    metadata,
    _text("account", key=True),
    _text("key", key=True),
    _units("free"),
    _units("locked"),
)

equity = sa.Table(
    "equity",
    metadata,
    _text("account", key=True),
    _ns("ts_ns", key=True),
    _units("nav"),
    _units("cash"),
    _units("exposure"),
    _units("realized"),
    _units("fees"),
    _units("capital"),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    _text("account", key=True),
    _text("order_id", key=True),
    _ns("ts_ns"),
    _text("instrument"),
    sa.Column("approved", sa.Boolean, nullable=False),
    sa.Column("breaches", JSONB, nullable=False),
)

alerts = sa.Table(
    "alerts",
    metadata,
    _text("account", key=True),
    _ns("seq", key=True),
    _ns("part", key=True),
    _ns("ts_ns"),
    _text("severity"),
    _text("code"),
    _text("message"),
    sa.Index("alerts_by_time", "ts_ns", postgresql_where=sa.text("severity <> 'info'")),
)

breaks = sa.Table(
    "breaks",
    metadata,
    _text("account", key=True),
    _text("name", key=True),
    _text("kind"),
    _text("subject"),
    _units("amount"),
    _text("evidence"),
    _ns("since_ns", key=True),
    _ns("seen_ns"),
    _ns("times"),
    _text("owner"),
    _ns("cleared_ns"),
)

flows = sa.Table(
    "flows",
    metadata,
    _text("account", key=True),
    _ns("seq", key=True),
    _ns("part", key=True),
    _ns("ts_ns"),
    _text("kind"),
    _text("venue"),
    _text("asset"),
    _units("amount"),
    _units("value"),
    _text("reference"),
    _text("reason"),
    _text("actor"),
)

parents = sa.Table(
    "parents",
    metadata,
    _text("account", key=True),
    _text("id", key=True),
    _text("symbol"),
    _text("side"),
    _text("algorithm"),
    _units("amount"),
    _text("state"),
    _units("filled"),
    _units("notional"),
    _units("fees"),
    _units("decision_mid"),
    _units("end_mid"),
    _ns("started_ns"),
    _ns("ended_ns"),
    _text("reason"),
)

operator_requests = sa.Table(
    "operator_requests",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _text("account"),
    sa.Column("event", JSONB, nullable=False),
    _ns("requested_ns"),
    sa.Column("applied_seq", sa.BigInteger),
    _text("refusal", default=""),
    sa.Index("operator_requests_pending", "id", postgresql_where=sa.text("applied_seq IS NULL")),
    sa.Index(
        "operator_requests_reference",
        "account",
        *(sa.text(f"(event ->> '{field}')") for field in ("venue", "asset", "amount", "reference")),
        unique=True,
        postgresql_where=sa.text("length(event ->> 'reference') > 0 AND length(refusal) = 0"),
    ),
)

datasets = sa.Table(
    "datasets",
    metadata,
    _text("name", key=True),
    _text("digest"),
    _text("kind"),
    _text("symbol"),
    sa.Column("price_decimals", sa.Integer, nullable=False),
    sa.Column("size_decimals", sa.Integer, nullable=False),
    sa.Column("interval_s", sa.Integer, nullable=False),
    _ns("rows"),
    _ns("first_ns"),
    _ns("last_ns"),
    _text("source"),
    _ns("imported_ns"),
)

bars = sa.Table(
    "bars",
    metadata,
    _text("feed", key=True),
    _text("instrument", key=True),
    sa.Column("interval_s", sa.Integer, primary_key=True, nullable=False, autoincrement=False),
    _ns("ts_ns", key=True),
    _units("open"),
    _units("high"),
    _units("low"),
    _units("close"),
    _units("volume"),
)

trades = sa.Table(
    "trades",
    metadata,
    _text("feed", key=True),
    _text("instrument", key=True),
    _ns("ts_ns", key=True),
    _ns("part", key=True),
    _units("price"),
    _units("size"),
    sa.Column("side", sa.SmallInteger, nullable=False),
)

REQUEST_CHANNEL = "aether_operator_requests"
"""The channel on which new operator requests are announced."""
