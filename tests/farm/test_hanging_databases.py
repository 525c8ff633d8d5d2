"""A farm whose database neither does what it is asked nor says why waits for it, and can be left."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from support.farms import begins_nothing_and_loses_nothing, begun, shown, until
from support.postgres import run_sql
from tailrace._farm import farm_run
from tailrace._farm.manager import JobManager
from tailrace._farm.repository import writer

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it noticed soon."""
    monkeypatch.setattr(writer, "_SILENCE", 0.5)
    monkeypatch.setattr(farm_run, "_PATIENCE", 1.0)


@contextmanager
def frozen(url: str) -> Iterator[None]:
    """Have the server's processes that serve this database stand still."""
    who = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
    pids = [int(str(pid)) for (pid,) in run_sql(url, who)]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_nothing_is_begun_until_the_database_answers_again(
    postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with JobManager(repository=postgres_url, slots=1, log_dir=tmp_path / "logs") as manager:
        with caplog.at_level(logging.WARNING, "tailrace"):
            await begins_nothing_and_loses_nothing(
                manager,
                tmp_path,
                frozen(postgres_url),
                lambda: "cannot be written: the repository does not answer" in caplog.text,
            )
    assert "the farm goes on" in caplog.text


async def test_a_farm_can_be_left_whose_database_does_not_answer(
    postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as until_left, anyio.fail_after(20):
        async with JobManager(repository=postgres_url, slots=1, log_dir=tmp_path / "logs") as manager:
            await manager.submit(shown(tmp_path, "a", tail="sleep 60"), folder=tmp_path / "shot")
            await until(lambda: begun(tmp_path) == ["a"])
            until_left.enter_context(frozen(postgres_url))
    # Now it can be.
    await anyio.to_thread.run_sync(manager._farm.repository.close)
    assert "the repository does not answer, and is left as it is" in caplog.text
