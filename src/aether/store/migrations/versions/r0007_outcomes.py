"""Whether a request with an Idempotency-Key did something, whatever became of its answer."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the mark."""
    op.execute("ALTER TABLE idempotency ADD COLUMN has_acted BOOLEAN NOT NULL DEFAULT false")
