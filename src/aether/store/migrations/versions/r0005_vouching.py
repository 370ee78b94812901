"""Who was given an invitation's link, and roles that wait until somebody else has vouched for the person."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add what is known of links, and whether a role counts; those that there are count."""
    op.execute("ALTER TABLE invitations ADD COLUMN held_by TEXT NOT NULL DEFAULT ''")
    op.execute("DELETE FROM invitations")  # days old at most, by ids; another is made in a moment
    op.execute("CREATE UNIQUE INDEX invitations_by_email ON invitations (email)")
    op.execute("ALTER TABLE users ADD COLUMN link_held_by TEXT NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE roles ADD COLUMN waits_ns BIGINT NOT NULL DEFAULT 0")
    op.execute("DROP TRIGGER roles_announced ON roles")
    op.execute(
        "CREATE TRIGGER roles_announced AFTER INSERT OR DELETE OR UPDATE OF role, waits_ns ON roles "
        "FOR EACH STATEMENT EXECUTE FUNCTION aether_announce()"
    )
