"""The version of the tables: what is older is brought up to date, what is newer or somebody else's is refused."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Text, column, inspect, select, table

from ..._errors import RepositoryError

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "tailrace_schema"


def refuse_unknown(connection: Connection, label: str, migrations: Path = MIGRATIONS) -> None:
    """Raise `RepositoryError` unless the database is empty, or one of ours that is not newer than this tailrace."""
    versions = _versions(connection)
    if not versions:
        if inspect(connection).get_table_names():
            raise RepositoryError(f"{label} holds tables that are not tailrace's; name a database of its own")
        return
    known = _known(migrations)
    if not known.issuperset(versions):
        raise RepositoryError(
            f"{label} was written by a newer tailrace (its version is {', '.join(versions)}, this one knows up to"
            f" {max(known)}); install that"
        )


def upgrade(connection: Connection, migrations: Path = MIGRATIONS) -> None:
    """Bring the tables up to date, in the transaction that the connection is in."""
    if _versions(connection) == [max(_known(migrations))]:
        return
    # Not at each start: it logs what it does, where whoever logs would wonder.
    from alembic import command
    from alembic.config import Config

    config = Config()
    # A `%` begins a variable there.
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    command.upgrade(config, "head")


def _versions(connection: Connection) -> list[str]:
    if not inspect(connection).has_table(VERSION_TABLE):
        return []
    return list(connection.scalars(select(column("version_num", Text)).select_from(table(VERSION_TABLE))))


def _known(migrations: Path) -> set[str]:
    """Return the versions that there are migrations to: `v0001_name.py` leads to version 0001."""
    return {path.stem[1:].partition("_")[0] for path in (migrations / "versions").glob("v*_*.py")}
