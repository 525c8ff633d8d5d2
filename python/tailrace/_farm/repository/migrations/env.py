"""What alembic runs to bring a database up to date; `schema.py` gives it the connection."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    # SQLite can change a table only by making another.
    render_as_batch=True,
)
context.run_migrations()
