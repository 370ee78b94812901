"""Alembic's entry: runs the migrations on the connection that `store.migrate` hands over."""

from alembic import context

import aether.store.control_schema
from aether.store.schema import metadata

assert aether.store.control_schema.users is not None, "its tables are part of the schema"
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
