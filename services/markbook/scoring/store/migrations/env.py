"""Alembic's entry point: runs the migrations on the connection that `engine.migrate` holds and
has locked.
"""

from alembic import context

from markbook.scoring.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
