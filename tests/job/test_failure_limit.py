"""A job ends when more chunks have failed than it is worth going on after."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.jobs import count_lines, job, names_in
from tailrace import ChunkFailedError, JobExecutionOptions, JobExecutor, LocalWorkerAdapter

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("fail_fast", [None, False])
async def test_a_job_ends_once_so_many_chunks_have_failed_for_good(tmp_path: Path, fail_fast: bool | None) -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("exit 1", "true", "echo x >> tries; exit 2", "touch fourth", "touch fifth"),
            JobExecutionOptions(job_dir=tmp_path, fail_fast=fail_fast, fail_after=2, retries=1, retry_delay=0),
        )
    assert caught.value.chunk_id == 2
    assert [failure.chunk_id for failure in caught.value.failures] == [0, 2]
    assert count_lines(tmp_path / "tries") == 2
    assert caught.value.report is not None
    assert list(caught.value.report.results) == [1]
    assert names_in(tmp_path) == {"tries"}


async def test_failures_are_listed_in_the_order_of_the_chunks_whichever_ended_the_job(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("until [ -e failed ]; do sleep 0.01; done; sleep 0.1; exit 1", "touch failed; exit 1", "sleep 60"),
            JobExecutionOptions(job_dir=tmp_path, fail_after=2, concurrency=3),
        )
    assert caught.value.chunk_id == 0
    assert [failure.chunk_id for failure in caught.value.failures] == [0, 1]


async def test_a_job_whose_failures_are_fewer_than_those_that_end_it_runs_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("exit 1", "touch second", merge="touch merged"), JobExecutionOptions(job_dir=tmp_path, fail_after=2)
        )
    assert [failure.chunk_id for failure in caught.value.failures] == [0]
    assert names_in(tmp_path) == {"second"}
