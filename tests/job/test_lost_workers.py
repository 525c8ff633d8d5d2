"""A chunk whose node, engine or connection is lost is run again, and that is none of its attempts."""

from __future__ import annotations

import pytest

from support.jobs import job
from tailrace import (
    ChunkFailedError,
    ChunkRetrying,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    WorkerLostError,
    event_from_json,
    event_to_json,
)
from tailrace.testing import FakeAdapter, FakeExecution

pytestmark = pytest.mark.anyio

LOST = FakeExecution(error=WorkerLostError("node a-1 was lost", node="a-1"))


async def test_a_lost_worker_takes_no_retry_of_its_chunk() -> None:
    adapter = FakeAdapter([LOST, LOST, LOST, LOST, FakeExecution(exit_code=3), LOST, FakeExecution()])
    events: list[JobEvent] = []
    report = await JobExecutor(adapter).execute(
        job("render"), JobExecutionOptions(retries=1, retry_delay=0, on_event=events.append)
    )
    assert report.attempts == {0: 7}
    reasons = [event.reason for event in events if isinstance(event, ChunkRetrying)]
    assert reasons == [*["node a-1 was lost"] * 4, "sh exited with status 3", "node a-1 was lost"]


async def test_a_chunk_whose_worker_is_lost_five_times_in_a_row_has_failed() -> None:
    adapter = FakeAdapter(LOST)
    with pytest.raises(ChunkFailedError, match="chunk 0 failed after 5 attempts: node a-1 was lost") as caught:
        await JobExecutor(adapter).execute(job("render"), JobExecutionOptions(retries=100, retry_delay=0))
    assert isinstance(caught.value.__cause__, WorkerLostError)
    assert caught.value.__cause__.node == "a-1"


async def test_a_failure_after_lost_workers_uses_up_the_retries_it_had() -> None:
    adapter = FakeAdapter([LOST, LOST, FakeExecution(exit_code=1), FakeExecution()])
    with pytest.raises(ChunkFailedError, match="failed after 3 attempts: sh exited with status 1"):
        await JobExecutor(adapter).execute(job("render"), JobExecutionOptions(retry_delay=0))


async def test_the_node_that_was_lost_is_read_back_from_a_log() -> None:
    events: list[JobEvent] = []
    with pytest.raises(ChunkFailedError):
        await JobExecutor(FakeAdapter(LOST)).execute(
            job("render"), JobExecutionOptions(retry_delay=0, on_event=events.append)
        )
    (failed,) = [event for event in map(event_from_json, map(event_to_json, events)) if hasattr(event, "error")][:1]
    cause = failed.error.__cause__
    assert isinstance(cause, WorkerLostError) and cause.node == "a-1"
