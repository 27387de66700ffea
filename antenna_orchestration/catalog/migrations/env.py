"""Alembic's entry: runs the numbered migrations over the connection that `catalog.migrate` hands in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
