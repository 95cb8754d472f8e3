"""Where alembic enters: it runs this file, and the connection to use comes with the configuration."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
