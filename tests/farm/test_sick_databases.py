"""A farm whose database is really full or locked waits for it, and loses nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support.farms import begins_nothing_and_loses_nothing
from support.small_disks import full, mounted_disk
from tailrace._farm.manager import JobManager

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small disk"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small disk."""
    with mounted_disk(tmp_path / "disk", "8M") as disk:
        yield disk


@contextmanager
def locked(disk: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(disk / "farm.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize("sick", [full, locked])
async def test_nothing_is_begun_or_lost_until_it_is_well_again(
    disk: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    sick: Callable[[Path], AbstractContextManager[None]],
) -> None:
    async with JobManager(repository=disk / "farm.db", slots=1, log_dir=tmp_path / "logs") as manager:
        with caplog.at_level(logging.ERROR, "tailrace"):
            await begins_nothing_and_loses_nothing(
                manager, tmp_path, sick(disk), lambda: "nothing new is started" in caplog.text
            )
        assert manager._farm.repository.check() == []
