"""What was decided stands beside what came in; fees as charged, owners of holdings, mids, flows, breaks, parents.

`journal.decided` is NULL in rows of before this revision: of those nothing says what was decided on them. Whole numbers
lose their bound of 38 digits: what the books hold, the tables hold.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

NEW_TABLES = {
    "breaks": """
    CREATE TABLE breaks (
        account TEXT NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        amount NUMERIC NOT NULL,
        evidence TEXT NOT NULL,
        since_ns BIGINT NOT NULL,
        seen_ns BIGINT NOT NULL,
        times BIGINT NOT NULL,
        owner TEXT NOT NULL,
        cleared_ns BIGINT NOT NULL,
        PRIMARY KEY (account, name, since_ns)
    )
    """,
    "flows": """
    CREATE TABLE flows (
        account TEXT NOT NULL,
        seq BIGINT NOT NULL,
        part BIGINT NOT NULL,
        ts_ns BIGINT NOT NULL,
        kind TEXT NOT NULL,
        venue TEXT NOT NULL,
        asset TEXT NOT NULL,
        amount NUMERIC NOT NULL,
        value NUMERIC NOT NULL,
        reference TEXT NOT NULL,
        reason TEXT NOT NULL,
        actor TEXT NOT NULL,
        PRIMARY KEY (account, seq, part)
    )
    """,
    "holdings": """
    CREATE TABLE holdings (
        account TEXT NOT NULL,
        instrument TEXT NOT NULL,
        owner TEXT NOT NULL,
        quantity NUMERIC NOT NULL,
        cost NUMERIC NOT NULL,
        PRIMARY KEY (account, instrument, owner)
    )
    """,
    "parents": """
    CREATE TABLE parents (
        account TEXT NOT NULL,
        id TEXT NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        amount NUMERIC NOT NULL,
        state TEXT NOT NULL,
        filled NUMERIC NOT NULL,
        notional NUMERIC NOT NULL,
        fees NUMERIC NOT NULL,
        decision_mid NUMERIC NOT NULL,
        end_mid NUMERIC NOT NULL,
        started_ns BIGINT NOT NULL,
        ended_ns BIGINT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (account, id)
    )
    """,
}

NEW_COLUMNS = {
    "journal": ("decided BYTEA",),
    "orders": (
        "owner TEXT NOT NULL DEFAULT ''",
        "decision_price NUMERIC NOT NULL DEFAULT 0",
        "send_price NUMERIC NOT NULL DEFAULT 0",
        "half_spread NUMERIC NOT NULL DEFAULT 0",
    ),
    "fills": (
        "owner TEXT NOT NULL DEFAULT ''",
        "venue_ns BIGINT NOT NULL DEFAULT 0",
        "fee_asset TEXT NOT NULL DEFAULT ''",
        "fee_amount NUMERIC NOT NULL DEFAULT 0",
    ),
}

WIDEN = """
DO $$
DECLARE
    found RECORD;
BEGIN
    FOR found IN
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type = 'numeric' AND numeric_precision = 38
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE NUMERIC', found.table_name, found.column_name);
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Add the columns and tables, with the policies that every account's table has."""
    op.execute(WIDEN)
    for table, columns in NEW_COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for table, statement in NEW_TABLES.items():
        op.execute(statement)
        op.execute(f"GRANT SELECT ON {table} TO aether_reader, aether_node")
        op.execute(f"GRANT INSERT, UPDATE ON {table} TO aether_node")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY in_scope ON {table} FOR SELECT TO aether_reader "
            "USING (account = ANY ((SELECT aether_in_scope())::TEXT[]))"
        )
        op.execute(f"CREATE POLICY of_the_platform ON {table} TO aether_node, aether_control USING (true)")
    op.execute("GRANT DELETE ON holdings TO aether_node")
