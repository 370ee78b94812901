"""The first schema: accounts, journal, snapshots, projections, operator requests, market data."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

HYPERTABLES = {"bars": 7 * 86_400_000_000_000, "trades": 86_400_000_000_000}
"""What is of no account: the policies of a table do not reach its chunks, which roles of accounts could read then."""


def upgrade() -> None:
    """Create every table; make hypertables of the time series where TimescaleDB is available and loaded."""
    op.execute(
        """
        CREATE TABLE accounts (
            account TEXT NOT NULL,
            feed TEXT NOT NULL,
            config JSONB NOT NULL,
            opened_ns BIGINT NOT NULL,
            PRIMARY KEY (account)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE alerts (
            account TEXT NOT NULL,
            seq BIGINT NOT NULL,
            part BIGINT NOT NULL,
            ts_ns BIGINT NOT NULL,
            severity TEXT NOT NULL,
            code TEXT NOT NULL,
            message TEXT NOT NULL,
            PRIMARY KEY (account, seq, part)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE balances (
            account TEXT NOT NULL,
            key TEXT NOT NULL,
            free NUMERIC(38, 0) NOT NULL,
            locked NUMERIC(38, 0) NOT NULL,
            PRIMARY KEY (account, key)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE bars (
            feed TEXT NOT NULL,
            instrument TEXT NOT NULL,
            interval_s INTEGER NOT NULL,
            ts_ns BIGINT NOT NULL,
            open NUMERIC(38, 0) NOT NULL,
            high NUMERIC(38, 0) NOT NULL,
            low NUMERIC(38, 0) NOT NULL,
            close NUMERIC(38, 0) NOT NULL,
            volume NUMERIC(38, 0) NOT NULL,
            PRIMARY KEY (feed, instrument, interval_s, ts_ns)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE datasets (
            name TEXT NOT NULL,
            digest TEXT NOT NULL,
            kind TEXT NOT NULL,
            symbol TEXT NOT NULL,
            price_decimals INTEGER NOT NULL,
            size_decimals INTEGER NOT NULL,
            interval_s INTEGER NOT NULL,
            rows BIGINT NOT NULL,
            first_ns BIGINT NOT NULL,
            last_ns BIGINT NOT NULL,
            source TEXT NOT NULL,
            imported_ns BIGINT NOT NULL,
            PRIMARY KEY (name)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE equity (
            account TEXT NOT NULL,
            ts_ns BIGINT NOT NULL,
            nav NUMERIC(38, 0) NOT NULL,
            cash NUMERIC(38, 0) NOT NULL,
            exposure NUMERIC(38, 0) NOT NULL,
            realized NUMERIC(38, 0) NOT NULL,
            fees NUMERIC(38, 0) NOT NULL,
            capital NUMERIC(38, 0) NOT NULL,
            PRIMARY KEY (account, ts_ns)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE fills (
            account TEXT NOT NULL,
            order_id TEXT NOT NULL,
            trade_id TEXT NOT NULL,
            seq BIGINT NOT NULL,
            ts_ns BIGINT NOT NULL,
            instrument TEXT NOT NULL,
            side TEXT NOT NULL,
            price NUMERIC(38, 0) NOT NULL,
            size NUMERIC(38, 0) NOT NULL,
            notional NUMERIC(38, 0) NOT NULL,
            fee NUMERIC(38, 0) NOT NULL,
            realized NUMERIC(38, 0) NOT NULL,
            liquidity TEXT NOT NULL,
            purpose TEXT NOT NULL,
            strategy TEXT NOT NULL,
            PRIMARY KEY (account, order_id, trade_id)
        )
        """
    )
    op.execute(
        """
        CREATE INDEX fills_by_account_seq ON fills (account, seq)
        """
    )
    op.execute(
        """
        CREATE TABLE instruments (
            account TEXT NOT NULL,
            instrument TEXT NOT NULL,
            definition JSONB NOT NULL,
            PRIMARY KEY (account, instrument)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE journal (
            account TEXT NOT NULL,
            seq BIGINT NOT NULL,
            ts_ns BIGINT NOT NULL,
            kind TEXT NOT NULL,
            payload BYTEA NOT NULL,
            hash BYTEA NOT NULL,
            PRIMARY KEY (account, seq)
        )
        """
    )
    op.execute(
        """
        CREATE INDEX journal_kill_switch ON journal (account, seq) WHERE kind IN ('KillSwitchEngaged', 'KillSwitchReleased')
        """
    )
    op.execute(
        """
        CREATE TABLE operator_requests (
            id BIGINT GENERATED ALWAYS AS IDENTITY,
            account TEXT NOT NULL,
            event JSONB NOT NULL,
            requested_ns BIGINT NOT NULL,
            applied_seq BIGINT,
            PRIMARY KEY (id)
        )
        """
    )
    op.execute(
        """
        CREATE INDEX operator_requests_pending ON operator_requests (id) WHERE applied_seq IS NULL
        """
    )
    op.execute(
        """
        CREATE TABLE orders (
            account TEXT NOT NULL,
            id TEXT NOT NULL,
            number BIGINT NOT NULL,
            instrument TEXT NOT NULL,
            side TEXT NOT NULL,
            type TEXT NOT NULL,
            time_in_force TEXT NOT NULL,
            purpose TEXT NOT NULL,
            strategy TEXT NOT NULL,
            state TEXT NOT NULL,
            size NUMERIC(38, 0) NOT NULL,
            limit_price NUMERIC(38, 0) NOT NULL,
            trigger_price NUMERIC(38, 0) NOT NULL,
            filled NUMERIC(38, 0) NOT NULL,
            filled_notional NUMERIC(38, 0) NOT NULL,
            fees NUMERIC(38, 0) NOT NULL,
            arrival_price NUMERIC(38, 0) NOT NULL,
            venue_order_id TEXT NOT NULL,
            reason TEXT NOT NULL,
            created_ns BIGINT NOT NULL,
            updated_ns BIGINT NOT NULL,
            PRIMARY KEY (account, id)
        )
        """
    )
    op.execute(
        """
        CREATE INDEX orders_by_account_number ON orders (account, number)
        """
    )
    op.execute(
        """
        CREATE TABLE positions (
            account TEXT NOT NULL,
            instrument TEXT NOT NULL,
            quantity NUMERIC(38, 0) NOT NULL,
            cost NUMERIC(38, 0) NOT NULL,
            realized NUMERIC(38, 0) NOT NULL,
            fees NUMERIC(38, 0) NOT NULL,
            PRIMARY KEY (account, instrument)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE snapshots (
            account TEXT NOT NULL,
            seq BIGINT NOT NULL,
            engine BYTEA NOT NULL,
            venue BYTEA NOT NULL,
            market_taken BIGINT NOT NULL,
            PRIMARY KEY (account, seq)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE trades (
            feed TEXT NOT NULL,
            instrument TEXT NOT NULL,
            ts_ns BIGINT NOT NULL,
            part BIGINT NOT NULL,
            price NUMERIC(38, 0) NOT NULL,
            size NUMERIC(38, 0) NOT NULL,
            side SMALLINT NOT NULL,
            PRIMARY KEY (feed, instrument, ts_ns, part)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE verdicts (
            account TEXT NOT NULL,
            order_id TEXT NOT NULL,
            ts_ns BIGINT NOT NULL,
            instrument TEXT NOT NULL,
            approved BOOLEAN NOT NULL,
            breaches JSONB NOT NULL,
            PRIMARY KEY (account, order_id)
        )
        """
    )
    if _has_timescale():
        op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        for table, chunk_ns in HYPERTABLES.items():
            op.execute(f"SELECT create_hypertable('{table}', 'ts_ns', chunk_time_interval => {chunk_ns}::bigint)")


def _has_timescale() -> bool:
    query = sa.text(
        "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb' "
        "AND current_setting('shared_preload_libraries') LIKE '%timescaledb%'"
    )
    return bool(op.get_bind().execute(query).scalar_one())
