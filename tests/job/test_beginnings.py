"""A chunk that waits for a machine of an engine is pending until its command begins."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from support.jobs import job
from tailrace import (
    Capabilities,
    ChunkFailed,
    ChunkFailedError,
    ChunkFinished,
    ChunkOutput,
    ChunkRetrying,
    ChunkStarted,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobFinished,
    JobStarted,
    WorkerError,
    WorkerJob,
    WorkerResult,
)
from tailrace.testing import FakeAdapter, FakeExecution

pytestmark = pytest.mark.anyio

FAR = Capabilities(streams=True, tells_start=True, remote=True)


class Queue(FakeAdapter):
    """Has each command wait for its turn."""

    def __init__(self, script: Any, wait: float) -> None:
        super().__init__(script, capabilities=FAR)
        self.wait = wait

    async def execute(self, job: WorkerJob) -> WorkerResult:
        await anyio.sleep(self.wait)
        return await super().execute(job)


async def told_by(adapter: FakeAdapter, **options: Any) -> list[JobEvent]:
    events: list[JobEvent] = []
    with pytest.raises(ChunkFailedError) if options.pop("fails", False) else anyio.CancelScope():
        await JobExecutor(adapter).execute(job("render"), JobExecutionOptions(on_event=events.append, **options))
    return events


async def test_the_start_is_told_when_the_command_begins() -> None:
    events = await told_by(Queue(FakeExecution(["frame 1\n"]), wait=0.3))
    kinds = [type(event) for event in events]
    assert kinds == [JobStarted, ChunkStarted, ChunkOutput, ChunkFinished, JobFinished]
    assert events[1].monotonic - events[0].monotonic > 0.25


async def test_an_attempt_that_never_began_is_told_before_its_end() -> None:
    class Lost(FakeAdapter):
        async def execute(self, job: WorkerJob) -> WorkerResult:
            raise TimeoutError("no answer") if job.meta["chunk_id"] == 0 else WorkerError("no")

    events = await told_by(Lost(FakeExecution(), capabilities=FAR), retries=1, retry_delay=0, fails=True)
    kinds = [type(event) for event in events]
    assert kinds == [JobStarted, ChunkStarted, ChunkRetrying, ChunkStarted, ChunkFailed, JobFinished]


async def test_of_a_command_here_the_start_is_told_at_once() -> None:
    adapter = Queue(FakeExecution(), wait=0.3)
    adapter.capabilities = Capabilities(streams=True, tells_start=True)
    events = await told_by(adapter)
    assert isinstance(events[1], ChunkStarted)
    assert events[1].monotonic - events[0].monotonic < 0.25
