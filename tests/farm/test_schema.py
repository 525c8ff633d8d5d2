"""A repository of an older version is brought up to date, a newer one or something else is left alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from support.farm_rows import added, ids, opened
from support.postgres import run_sql
from tailrace._errors import RepositoryError
from tailrace._farm.repository import tables
from tailrace._farm.repository.database import Database
from tailrace._farm.repository.owner import this_process
from tailrace._farm.repository.postgres import Postgres
from tailrace._farm.repository.schema import MIGRATIONS, VERSION_TABLE
from tailrace._farm.repository.sql_repository import SqlRepository
from tailrace._farm.repository.sqlite import SqliteFile

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

def upgrade():
    op.add_column("jobs", sa.Column("added", sa.Text, nullable=False, server_default="new"))
    with op.batch_alter_table("chunks") as chunks:
        chunks.alter_column("node", new_column_name="machine")
"""
BROKEN = NEXT + '    op.execute("nonsense")\n'


def database(where: str) -> Database:
    return Postgres(where) if "://" in where else SqliteFile(Path(where))


def with_next(folder: Path, text: str = NEXT) -> Path:
    """Return a folder with the migrations there are, and one more."""
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "v0002_next.py").write_text(text)
    return folder


def sql(where: str, statement: str) -> list[tuple[object, ...]]:
    if "://" in where:
        return run_sql(where, statement)
    with closing(sqlite3.connect(where)) as connection, connection:
        return connection.execute(statement).fetchall()


def test_the_migrations_make_the_tables_that_the_code_knows(where: str) -> None:
    with opened(where):
        pass
    known = database(where)
    connection = known.connect()
    try:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, tables.metadata) == []
    finally:
        known.disconnect()


def test_an_older_repository_is_brought_up_to_date_with_all_that_is_in_it(where: str, tmp_path: Path) -> None:
    with opened(where) as repository:
        repository.write([added(1), added(2)])
    newer = SqlRepository(database(where), migrations=with_next(tmp_path / "migrations"))
    newer.open(this_process())
    newer.close()
    assert sql(where, "SELECT id, added FROM jobs ORDER BY place") == [("job-1", "new"), ("job-2", "new")]
    assert sql(where, "SELECT count(*) FROM chunks WHERE machine IS NULL") == [(6,)]
    assert sql(where, f"SELECT version_num FROM {VERSION_TABLE}") == [("0002",)]


def test_a_migration_that_fails_leaves_everything_as_it_was(where: str, tmp_path: Path) -> None:
    with opened(where) as repository:
        repository.write([added(1)])
    broken = SqlRepository(database(where), migrations=with_next(tmp_path / "migrations", BROKEN))
    with pytest.raises(Exception, match="nonsense"):
        broken.open(this_process())
    with opened(where) as repository:
        assert ids(repository.jobs()) == ["job-1"]
        repository.write([added(2)])
    assert sql(where, f"SELECT version_num FROM {VERSION_TABLE}") == [("0001",)]


def test_a_newer_repository_is_refused_untouched(where: str, tmp_path: Path) -> None:
    newer = SqlRepository(database(where), migrations=with_next(tmp_path / "migrations"))
    newer.open(this_process())
    newer.close()
    before = sql(where, "SELECT * FROM repository"), None if "://" in where else Path(where).read_bytes()
    told = r"newer tailrace \(its version is 0002, this one knows up to 0001\); install that"
    with pytest.raises(RepositoryError, match=told) as caught, opened(where):
        pass
    assert "\n" not in str(caught.value)
    assert (sql(where, "SELECT * FROM repository"), before[1] and Path(where).read_bytes()) == before


def test_a_database_of_something_else_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    sql(str(path), "CREATE TABLE films (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(RepositoryError, match="tables that are not tailrace's"), opened(str(path)):
        pass
    assert path.read_bytes() == before


def test_other_tables_in_a_server_s_database_are_no_matter(postgres_url: str) -> None:
    run_sql(postgres_url, "CREATE TABLE public.jobs (name TEXT)")
    with opened(postgres_url) as repository:
        repository.write([added(1)])
    assert run_sql(postgres_url, "SELECT count(*) FROM public.jobs") == [(0,)]
