"""Commands for the end of jobs: they are run for every end, a few at a time, and no job depends on them."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest

from support.farms import farm, held, open_gate, until
from support.jobs import count_lines, job
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
