"""Versions of settings hold the parameters of the account's strategies; until now those were as it was opened with."""

from alembic import op

revision = "0008"
down_revision = "0007"

FILL = """
    UPDATE configurations SET document = document || jsonb_build_object('strategies', coalesce(
        (SELECT jsonb_object_agg(s ->> 'strategy', coalesce(s -> 'params', '{}'))
         FROM accounts, jsonb_array_elements(accounts.config -> 'strategies') AS s
         WHERE accounts.account = configurations.account),
        '{}'))
"""


def upgrade() -> None:
    """Write into each version what was in force then."""
    op.execute(FILL)
