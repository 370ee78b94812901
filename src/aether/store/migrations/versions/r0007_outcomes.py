"""Whether a request with an Idempotency-Key did something, whatever became of its answer; lists by time."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the mark, and the ways to find orders and fills of all accounts by their time."""
    op.execute("ALTER TABLE idempotency ADD COLUMN has_acted BOOLEAN NOT NULL DEFAULT false")
    op.execute("CREATE INDEX orders_by_time ON orders (created_ns, account, number)")
    op.execute("CREATE INDEX fills_by_time ON fills (ts_ns, account, order_id, trade_id)")
