"""A database that cannot be written pauses a farm and loses nothing; one that was taken over ends it."""

from __future__ import annotations

import logging
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import Connection

from support.farm_process import manager_process, printed_ids
from support.farms import begun, held, open_gate, shown, until
from support.jobs import count_lines, job
from support.processes import descendants_marked
from tailrace._errors import RepositoryError, RepositoryLostError, RepositoryUnavailableError
from tailrace._farm.manager import JobManager
from tailrace._farm.repository.sql_repository import SqlRepository
from tailrace._farm.repository.sqlite import SqliteFile
from tailrace._farm.settings import JobSettings
from tailrace._state.folder import job_folder
from tailrace._state.lock import JobLock

pytestmark = pytest.mark.anyio


class Moody(SqlRepository):
    """Cannot be written for as long as there is an error."""

    error: Exception | None = None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if self.error is not None:
            raise self.error
        with super()._writing() as connection:
            yield connection


def moody(folder: Path) -> tuple[Moody, JobManager]:
    repository = Moody(SqliteFile(folder / "farm.db"))
    return repository, JobManager(repository=repository, slots=1, log_dir=folder / "logs")


async def test_nothing_new_is_started_while_nothing_can_be_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository, manager = moody(tmp_path)
    async with manager:
        with caplog.at_level(logging.WARNING, "tailrace"):
            spec = shown(tmp_path, "a", "b", tail=held(tmp_path, "go"))
            job_id = await manager.submit(spec, folder=tmp_path / "shot")
            await until(lambda: begun(tmp_path) == ["a"])
            await manager.get(job_id)
            repository.error = RepositoryUnavailableError("the disk is full")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(manager.set_priority, job_id, 3)
                await until(lambda: "the disk is full" in caplog.text)
                open_gate(tmp_path, "go")
                await anyio.sleep(0.5)
                # The one has ended meanwhile; the other is not begun.
                assert begun(tmp_path) == ["a"]
                with anyio.fail_after(5):
                    # What is told is what is written.
                    status = await manager.get(job_id)
                    assert (status.state, status.priority, status.completed_chunks) == ("running", 0, 0)
                    assert [one.priority for one in await manager.list()] == [0]
                    assert [one.state for one in await manager.chunks(job_id)] == ["running", "pending"]
                repository.error = None
            status = await manager.wait(job_id)
        assert (status.state, status.priority, status.completed_chunks) == ("completed", 3, 2)
        assert [chunk.attempts for chunk in await manager.chunks(job_id)] == [1, 1]
        assert repository.check() == []
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "nothing new is started, for the repository cannot be written: the disk is full" in caplog.text
    assert "it goes on" not in errors[0].getMessage() and "the farm goes on" in caplog.text


async def test_nothing_is_merged_or_told_of_while_nothing_can_be_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository, manager = moody(tmp_path)
    folder = tmp_path / "shot"
    async with manager:
        job_id = await manager.submit(
            job(held(tmp_path, "go"), merge="touch merged"), JobSettings(on_end="touch ended"), folder=folder
        )
        told = JobSettings(on_end="touch ended")
        other = await manager.submit(job("true"), told, folder=tmp_path / "other", not_before=time.time() + 999)
        await until(lambda: _has_begun(manager, job_id))
        repository.error = RepositoryUnavailableError("the disk is full")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.cancel, other)
            await until(lambda: "the disk is full" in caplog.text)
            open_gate(tmp_path, "go")
            await anyio.sleep(0.7)
            assert not (folder / "merged").exists() and not (tmp_path / "other" / "ended").exists()
            repository.error = None
        assert (await manager.wait(job_id)).state == "completed"
        await until((tmp_path / "other" / "ended").exists)
        await until((folder / "ended").exists)
    assert (folder / "merged").exists()


async def _has_begun(manager: JobManager, job_id: str) -> bool:
    return (await manager.get(job_id)).state == "running"


async def test_a_farm_that_was_taken_over_ends_all_and_says_so(tmp_path: Path, mark: str) -> None:
    repository, manager = moody(tmp_path)
    told: list[str] = []
    with pytest.raises(RepositoryLostError, match="another has it"):
        async with manager:
            script = f"echo x >> ran; sleep 60; : {mark}"
            job_id = await manager.submit(job(script), folder=tmp_path / "shot")
            await until(lambda: count_lines(tmp_path / "shot" / "ran") == 1)
            await manager.get(job_id)
            repository.error = RepositoryLostError("another has it")
            try:
                await manager.set_priority(job_id, 3)
            except RepositoryLostError as error:
                told.append(str(error))
                raise
    assert told == ["another has it"]
    assert descendants_marked(mark) == []


async def test_a_block_that_waits_for_something_else_is_left_when_the_farm_is_lost(tmp_path: Path) -> None:
    repository, manager = moody(tmp_path)
    with anyio.fail_after(20), pytest.raises(RepositoryLostError):
        async with manager:
            await manager.submit(job("sleep 0.3"), folder=tmp_path / "shot")
            repository.error = RepositoryLostError("another has it")
            await anyio.sleep_forever()


async def test_leaving_runs_no_command_for_the_end_of_a_job_that_could_not_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace._farm.farm_run._PATIENCE", 0.5)
    monkeypatch.setattr("tailrace._farm.end_commands._PATIENCE", 0.2)
    repository, manager = moody(tmp_path)
    ends, folder = JobSettings(on_end="touch ended"), tmp_path / "shot"
    with anyio.fail_after(20):
        async with manager:
            job_id = await manager.submit(job("true"), ends, folder=folder, not_before=time.time() + 999)
            repository.error = RepositoryUnavailableError("the disk is full")
            with anyio.move_on_after(0.3):
                await manager.cancel(job_id)
    repository.error = None
    async with JobManager(repository=tmp_path / "farm.db") as manager:
        assert (await manager.get(job_id)).state == "pending"
    assert not (folder / "ended").exists()


async def test_who_waits_elsewhere_is_told_what_ended_the_farm_whatever_it_was(tmp_path: Path) -> None:
    repository, manager = moody(tmp_path)
    told: list[str] = []

    async def wait(job_id: str) -> None:
        try:
            await manager.wait(job_id)
        except RepositoryError as error:
            told.append(str(error))

    async with anyio.create_task_group() as tasks:
        with pytest.raises(UnicodeDecodeError, match="no letters"):
            async with manager:
                job_id = await manager.submit(job("sleep 60"), folder=tmp_path / "shot")
                tasks.start_soon(wait, job_id)
                await anyio.sleep(0.1)
                repository.error = UnicodeDecodeError("utf-8", b"x", 0, 1, "no letters")
                await manager.set_priority(job_id, 1)
    assert len(told) == 1 and "no letters" in told[0]


async def test_leaving_does_not_wait_for_ever_for_a_disk_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tailrace._farm.farm_run._PATIENCE", 2)
    repository, manager = moody(tmp_path)
    with anyio.fail_after(20):
        async with manager:
            job_id = await manager.submit(job("echo x >> ran; sleep 60"), folder=tmp_path / "shot")
            await until(lambda: count_lines(tmp_path / "shot" / "ran") == 1)
            await manager.get(job_id)
            repository.error = RepositoryUnavailableError("the disk is full")
            began = time.monotonic()
    # The one time, not once for each of those that wait.
    assert time.monotonic() - began < 3.5
    assert "changes could not be written before the manager was closed" in caplog.text
    # What was not written down counts as after a crash.
    with closing(sqlite3.connect(tmp_path / "farm.db")) as connection:
        assert connection.execute("SELECT state FROM chunks").fetchall() == [("running",)]


async def test_a_job_whose_files_another_run_has_waits_for_that(tmp_path: Path) -> None:
    folder = tmp_path / "shot"
    spec = job("true")
    lock_folder = job_folder(folder, spec.id)
    lock_folder.mkdir(parents=True)
    lock = JobLock(lock_folder / "lock", "job job-1 is being run")
    async with JobManager(repository=tmp_path / "farm.db", slots=1, log_dir=tmp_path / "logs") as manager:
        first = await manager.wait(await manager.submit(job("true")))
        job_id = await manager.submit(spec, folder=folder, after=[first.id])

        async def says_so() -> bool:
            return "is being run by process" in ((await manager.get(job_id)).error or "")

        await until(says_so)
        assert (await manager.get(job_id)).state == "pending"
        # Others are none the worse.
        assert (await manager.wait(await manager.submit(job("true"), priority=-1))).state == "completed"
        lock.release()
        status = await manager.wait(job_id)
        assert (status.state, status.error) == ("completed", None)


async def test_a_frozen_manager_that_was_taken_over_writes_nothing_and_ends(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    monkeypatch.setattr("tailrace._farm.former_commands._PATIENCE", 0.5)
    folder = tmp_path / "shot"
    folder.mkdir()
    path = folder / "job.json"
    # A chunk that runs twice at a time says so.
    scripts = [
        f"exec 9> lock{number}; flock -n 9 || touch twice; echo {number} >> ran; {held(tmp_path, 'go')}; : {mark}"
        for number in range(3)
    ]
    path.write_text(job(*scripts).model_dump_json(by_alias=True))

    async def waits() -> bool:
        status = await manager.get(job_id)
        return status.state == "pending" and f"is being run by process {process.pid} already" in (status.error or "")

    with manager_process(postgres_url, tmp_path, path) as process:
        (job_id,) = await anyio.to_thread.run_sync(printed_ids, process)
        await until(lambda: count_lines(folder / "ran") == 2)
        await anyio.sleep(0.3)
        process.send_signal(signal.SIGSTOP)
        await anyio.to_thread.run_sync(_drop_locks, postgres_url)
        async with JobManager(repository=postgres_url, slots=2, log_dir=tmp_path / "logs2") as manager:
            # What the one before had begun is gone, and it has the folder as long as it does not go on.
            assert descendants_marked(mark) == []
            await until(waits)
            await anyio.sleep(1)
            process.send_signal(signal.SIGCONT)
            assert await anyio.to_thread.run_sync(process.wait) != 0
            await until(lambda: count_lines(folder / "ran") == 4)
            # It has not begun the third one, for which it had a slot.
            assert sorted((folder / "ran").read_text().split()) == ["0", "0", "1", "1"]
            open_gate(tmp_path, "go")
            status = await manager.wait(job_id)
            assert (status.state, status.completed_chunks) == ("completed", 3)
            assert manager._farm.repository.check() == []
    assert count_lines(folder / "ran") == 5
    assert not (folder / "twice").exists()


def _drop_locks(url: str) -> None:
    from support.postgres import run_sql

    run_sql(
        url,
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks"
        " WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
