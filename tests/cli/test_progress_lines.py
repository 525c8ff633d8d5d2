"""A quiet run whose standard error is a log tells its progress now and then."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from support.jobs import job
from tailrace import ChunkFinished, ChunkStarted, FrameFinished, JobEvent, JobStarted, JobState, WorkerResult
from tailrace._cli.display.progress_lines import ProgressLines

pytestmark = pytest.mark.anyio


def happen(state: JobState, kind: type[JobEvent], **fields: Any) -> None:
    state.apply(kind(job_id="j", run_id="r", sequence=0, time=0, monotonic=0, **fields))


async def test_the_counts_come_when_they_have_changed_and_at_no_other_time(capfd: pytest.CaptureFixture[str]) -> None:
    state = JobState(job("a", "b").chunks)

    async def run() -> None:
        happen(state, JobStarted, total_chunks=2, completed_chunk_ids=())
        happen(state, ChunkStarted, chunk_id=0, attempt=1, slot=0, command="a")
        for frame in range(3):
            happen(state, FrameFinished, chunk_id=0, attempt=1, frame=frame, path="", duration=1)
        await anyio.sleep(1)
        happen(state, ChunkFinished, chunk_id=0, attempt=1, result=WorkerResult(0))
        await anyio.sleep(1)

    await ProgressLines(state, first=0.1, interval=0.1).run(run)
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(", about")[0] for line in lines] == [
        "tailrace: 15 % done: 3 of 20 frames, 0 of 2 chunks, 1 running",
        "tailrace: 50 % done: 10 of 20 frames, 1 of 2 chunks, 0 running",
    ]


async def test_a_job_that_is_over_soon_has_no_such_line_and_its_error_comes_out(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await ProgressLines(JobState(job("a").chunks)).run(fail)
    assert capfd.readouterr().err == ""
