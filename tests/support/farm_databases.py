"""Each test of a repository runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real server."""
    # Only tests of farms wait for what it loads.
    from support.postgres import postgres_server

    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of an empty database."""
    from support.postgres import new_database

    with new_database(postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What names a repository that is not there yet."""
    if request.param == "sqlite":
        return str(tmp_path / "farm.db")
    url: str = request.getfixturevalue("postgres_url")
    return url
