"""Commands for the end of jobs: they are run for every end, a few at a time, and no job depends on them."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from support.farm_process import manager_process
from support.farms import farm, held, open_gate, until
from support.jobs import count_lines, job
from support.processes import descendants_marked
from tailrace._errors import RepositoryLostError
from tailrace._farm.manager import JobManager
from tailrace._farm.repository.sql_repository import SqlRepository
from tailrace._farm.repository.sqlite import SqliteFile
from tailrace._farm.settings import JobSettings

pytestmark = pytest.mark.anyio


async def test_what_a_command_cannot_be_told_ends_no_job(tmp_path: Path) -> None:
    settings = JobSettings(on_end="sh -c 'echo $TAILRACE_JOB_NAME > ../../told'")
    async with farm(tmp_path) as manager:
        other = await manager.submit(job(held(tmp_path, "go")))
        await manager.wait(await manager.submit(job("true"), settings, name="a\0b"))
        await until(lambda: count_lines(tmp_path / "told") == 1)
        open_gate(tmp_path, "go")
        assert (await manager.wait(other)).state == "completed"
    assert (tmp_path / "told").read_text() == "a\\x00b\n"


async def test_whatever_goes_wrong_with_one_is_told_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(
            job("true"), JobSettings(on_end="true"), folder=tmp_path / "file", not_before=time.time() + 999
        )
        await manager.cancel(job_id)
        await until(lambda: f"the command for the end of job {job_id} failed: " in caplog.text)


async def test_one_is_run_for_a_job_that_was_cancelled_before_it_began(tmp_path: Path) -> None:
    async with farm(tmp_path) as manager:
        job_id = await manager.submit(job("true"), JobSettings(on_end="touch ended"), not_before=time.time() + 999)
        await manager.cancel(job_id)
        await until((tmp_path / "jobs" / job_id / "ended").exists)


async def test_those_of_many_jobs_are_run_a_few_at_a_time(tmp_path: Path) -> None:
    settings = JobSettings(on_end=f"sh -c 'echo x >> {tmp_path}/begun; {held(tmp_path, 'go')}'")
    async with farm(tmp_path) as manager:
        ids = [await manager.submit(job("true"), settings, not_before=time.time() + 999) for _ in range(9)]
        for job_id in ids:
            await manager.cancel(job_id)
        await until(lambda: count_lines(tmp_path / "begun") == 4)
        await anyio.sleep(0.3)
        assert count_lines(tmp_path / "begun") == 4
        open_gate(tmp_path, "go")
        await until(lambda: count_lines(tmp_path / "begun") == 9)


async def test_those_of_jobs_that_have_ended_are_run_before_the_block_is_left(tmp_path: Path) -> None:
    ends = JobSettings(on_end="sh -c 'sleep 0.5; touch ended'")
    async with farm(tmp_path) as manager:
        done = await manager.wait(await manager.submit(job("true"), ends))
    assert (Path(done.folder) / "ended").exists()
    # Once is enough.
    (Path(done.folder) / "ended").unlink()
    async with farm(tmp_path):
        await anyio.sleep(0.3)
    assert not (Path(done.folder) / "ended").exists()


@pytest.mark.parametrize("how", ["cancelled", "interrupted"])
async def test_one_that_is_cut_short_is_run_again_by_the_next_manager(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mark: str, how: str
) -> None:
    ends = JobSettings(on_end=f"sh -c 'echo x >> {tmp_path}/begun; {held(tmp_path, 'go')}; : {mark}; touch ended'")
    with anyio.CancelScope() as scope, contextlib.suppress(KeyboardInterrupt):
        async with farm(tmp_path) as manager:
            done = await manager.wait(await manager.submit(job("true"), ends))
            await until(lambda: count_lines(tmp_path / "begun") == 1)
            if how == "interrupted":
                raise KeyboardInterrupt
            scope.cancel()
    assert descendants_marked(mark) == []
    assert "commands for the ends of jobs that are left to the next manager: 1" in caplog.text
    open_gate(tmp_path, "go")
    async with farm(tmp_path) as manager:
        assert (await manager.get(done.id)).state == "completed"
    assert (Path(done.folder) / "ended").exists()
    assert count_lines(tmp_path / "begun") == 2


async def test_after_a_kill_those_that_are_due_are_run(where: str, tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(job("true").model_dump_json(by_alias=True))
    on_end = f"sh -c 'echo x >> {tmp_path}/begun; {held(tmp_path, 'go')}; touch {tmp_path}/ended'"
    with manager_process(where, tmp_path, spec, settings=JobSettings(on_end=on_end)) as process:
        await until(lambda: count_lines(tmp_path / "begun") == 1)
        process.kill()
        process.wait()
    open_gate(tmp_path, "go")
    async with JobManager(repository=where, slots=1, log_dir=tmp_path / "logs") as manager:
        (status,) = await manager.list()
        assert status.state == "completed"
    assert (tmp_path / "ended").exists()
    assert count_lines(tmp_path / "begun") == 2


async def test_that_of_a_job_which_ends_again_is_run_again(tmp_path: Path) -> None:
    ends = JobSettings(on_end=f"sh -c 'echo $TAILRACE_JOB_STATE >> {tmp_path}/told; {held(tmp_path, 'go')}'")
    async with farm(tmp_path) as manager:
        first = await manager.wait(await manager.submit(job("test -e again || { touch again; exit 1; }"), ends))
        await until(lambda: count_lines(tmp_path / "told") == 1)
        await manager.retry(first.id)
        assert (await manager.wait(first.id)).state == "completed"
        await until(lambda: count_lines(tmp_path / "told") == 2)
        open_gate(tmp_path, "go")
    assert (tmp_path / "told").read_text().split() == ["failed", "completed"]


async def test_a_repository_that_is_lost_ends_those_that_run(tmp_path: Path, mark: str) -> None:
    ends = JobSettings(on_end=f"sh -c 'touch {tmp_path}/begun; sleep 60; : {mark}'")
    repository = SqlRepository(SqliteFile(tmp_path / "farm.db"))
    with anyio.fail_after(20), pytest.raises(RepositoryLostError):
        async with JobManager(repository=repository, slots=1, log_dir=tmp_path / "logs") as manager:
            await manager.wait(await manager.submit(job("true"), ends, folder=tmp_path / "shot"))
            await until((tmp_path / "begun").exists)
            with closing(sqlite3.connect(tmp_path / "farm.db")) as connection, connection:
                connection.execute("UPDATE repository SET epoch = epoch + 1")
            await manager.submit(job("true"), ends, folder=tmp_path / "other")
    assert descendants_marked(mark) == []
