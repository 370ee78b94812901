"""Who may do what is announced when it changes, whoever changes it: the roster follows.

Only what ends or changes a right is announced; a session's last use is not.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

WATCHED = {"sessions": "ended_ns", "users": "disabled_ns", "roles": "role", "tokens": "ended_ns"}


def upgrade() -> None:
    """Announce changes of sessions, people, roles and tokens."""
    op.execute(
        "CREATE FUNCTION aether_announce() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NOTIFY aether_control; RETURN NULL; END $$"
    )
    for table, column in WATCHED.items():
        op.execute(
            f"CREATE TRIGGER {table}_announced AFTER INSERT OR DELETE OR UPDATE OF {column} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION aether_announce()"
        )
