"""Warnings of all accounts by their time, for the page's bell."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the way to find them."""
    op.execute("CREATE INDEX alerts_by_time ON alerts (ts_ns) WHERE severity <> 'info'")
