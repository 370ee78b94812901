"""What became of operators' requests: why one was refused; an amount is booked once under a reference."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the refusal; of bookings from now on, none is another over again."""
    op.execute("ALTER TABLE operator_requests ADD COLUMN refusal TEXT NOT NULL DEFAULT ''")
    op.execute("GRANT UPDATE (refusal) ON operator_requests TO aether_node")
    op.execute(
        """
        DO $$ BEGIN EXECUTE format(
            'CREATE UNIQUE INDEX operator_requests_reference ON operator_requests '
            '(account, (event->>''venue''), (event->>''asset''), (event->>''amount''), (event->>''reference'')) '
            'WHERE length(event->>''reference'') > 0 AND length(refusal) = 0 AND id > %s',
            (SELECT coalesce(max(id), 0) FROM operator_requests)
        ); END $$
        """
    )
