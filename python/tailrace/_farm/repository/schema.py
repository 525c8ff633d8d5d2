"""The version of the tables: what is older is brought up to date, what is newer or somebody else's is refused."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from ..._errors import RepositoryError

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "tailrace_schema"


def refuse_unknown(connection: Connection, label: str, migrations: Path = MIGRATIONS) -> None:
    """Raise `RepositoryError` unless the database is empty, or one of ours that is not newer than this tailrace."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    versions = context.get_current_heads()
    if not versions:
        if inspect(connection).get_table_names():
            raise RepositoryError(f"{label} holds tables that are not tailrace's; name a database of its own")
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config(migrations)).walk_revisions()}
    if not known.issuperset(versions):
        raise RepositoryError(
            f"{label} was written by a newer tailrace (its version is {', '.join(versions)}, this one knows up to"
            f" {max(known)}); install that"
        )


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Bring the tables up to date, in the transaction that the connection is in."""
    config = _config(migrations)
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    command.upgrade(config, "head")


def _config(migrations: Path) -> Config:
    config = Config()
    # A `%` begins a variable there.
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
