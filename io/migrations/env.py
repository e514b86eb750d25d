"""Alembic's way in. The connection is handed in by io/migrate.py, inside its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
