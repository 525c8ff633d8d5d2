"""Which repository a text means."""

from __future__ import annotations

import os
from pathlib import Path

from ..._errors import RepositoryError
from ..._extras import missing_extra
from .job_repository import JobRepository


def open_repository(where: str | os.PathLike[str]) -> JobRepository:
    """Return the repository in a file (SQLite) or at a `postgresql://` URL; it is not opened yet.

    Raises `RepositoryError` if it is another kind of URL or cannot be read, `ImportError` without the extra "farm".
    """
    try:
        from .sql_repository import SqlRepository

        text = os.fspath(where)
        if "://" not in text:
            from .sqlite import SqliteFile

            return SqlRepository(SqliteFile(Path(text)))
        kind = text.partition("://")[0]
        if kind in ("postgresql", "postgres"):
            from .postgres import Postgres

            return SqlRepository(Postgres(text))
    except ImportError as error:
        raise missing_extra("A repository of jobs", "farm", error) from error
    raise RepositoryError(f"a repository is a file or a postgresql:// URL, not a {kind}:// one")
