"""The market log: what the market told, once for all accounts of a node, by days; accounts' rows refer to it.

Rows and snapshots of before have no position: the market events stand in the account's own journal there.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

OPEN_DAY = """
CREATE FUNCTION open_market_day(wanted INT) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS public.market_log_%s PARTITION OF public.market_log FOR VALUES IN (%s)',
        wanted, wanted
    );
END $$
"""
DROP_DAY = """
CREATE FUNCTION drop_market_day(wanted INT) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.market_log AS kept WHERE kept.day = wanted AND NOT EXISTS (
            SELECT FROM public.market_archives AS a WHERE a.log = kept.log AND a.day = kept.day
        )
    ) THEN
        RAISE EXCEPTION 'the market of day % is not archived', wanted;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS public.market_log_%s', wanted);
END $$
"""


def upgrade() -> None:
    """Add the log, its heads and archives, and the position of an account's rows."""
    op.execute("""
    CREATE TABLE market_log (
        log TEXT NOT NULL,
        day INT NOT NULL,
        first BIGINT NOT NULL,
        events BIGINT NOT NULL,
        ts_ns BIGINT NOT NULL,
        payload BYTEA NOT NULL,
        hash BYTEA NOT NULL,
        PRIMARY KEY (log, day, first)
    ) PARTITION BY LIST (day)
    """)
    op.execute("""
    CREATE TABLE market_heads (
        log TEXT NOT NULL PRIMARY KEY,
        pos BIGINT NOT NULL,
        hash BYTEA NOT NULL
    )
    """)
    op.execute("""
    CREATE TABLE market_archives (
        log TEXT NOT NULL,
        day INT NOT NULL,
        first BIGINT NOT NULL,
        last BIGINT NOT NULL,
        ts_ns BIGINT NOT NULL,
        before BYTEA NOT NULL,
        hash BYTEA NOT NULL,
        file TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (log, day)
    )
    """)
    op.execute("ALTER TABLE journal ADD COLUMN market BIGINT, ADD COLUMN epoch BIGINT")
    op.execute("ALTER TABLE snapshots ADD COLUMN log TEXT NOT NULL DEFAULT '', ADD COLUMN market BIGINT")
    op.execute(OPEN_DAY)
    op.execute(DROP_DAY)
    op.execute("REVOKE ALL ON FUNCTION open_market_day(INT), drop_market_day(INT) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION open_market_day(INT), drop_market_day(INT) TO aether_node")
    op.execute("GRANT SELECT ON market_log, market_heads, market_archives TO aether_node, aether_control, aether_desk")
    op.execute("GRANT INSERT ON market_log, market_heads, market_archives TO aether_node")
    op.execute("GRANT UPDATE ON market_heads, snapshots TO aether_node")
