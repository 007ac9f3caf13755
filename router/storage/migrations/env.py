"""What Alembic runs: over the connection that `migrate` hands in."""

from __future__ import annotations

from alembic import context

from router.storage.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
