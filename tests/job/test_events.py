"""Everything that happens in a job is told as one ordered stream of events."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from support.jobs import job
from tailrace import (
    ChunkEvent,
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
    JobLockedError,
    JobStarted,
    LocalWorkerAdapter,
    MergeFinished,
    MergeOutput,
    MergeStarted,
)

pytestmark = pytest.mark.anyio


def _names(events: Sequence[JobEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_a_job_tells_its_story_from_start_to_finish(tmp_path: Path) -> None:
    events: list[JobEvent] = []
    began = time.time(), time.monotonic()
    report = await JobExecutor(LocalWorkerAdapter()).execute(
        job("printf a; if [ ! -e once ]; then touch once; exit 1; fi", "true", merge="printf m >&2"),
        JobExecutionOptions(
            job_dir=tmp_path, retries=1, retry_delay=0, completed_chunk_ids=[1], on_event=events.append
        ),
    )
    assert _names(events) == [
        "JobStarted",
        "ChunkStarted",
        "ChunkOutput",
        "ChunkRetrying",
        "ChunkStarted",
        "ChunkOutput",
        "ChunkFinished",
        "MergeStarted",
        "MergeOutput",
        "MergeFinished",
        "JobFinished",
    ]
    start, started, output, retrying, _, _, finished, merging, merge_output, merged, end = events
    assert isinstance(start, JobStarted)
    assert (start.total_chunks, start.completed_chunk_ids) == (2, (1,))
    assert isinstance(started, ChunkStarted)
    assert (started.chunk_id, started.attempt, started.slot) == (0, 1, 0)
    assert isinstance(output, ChunkOutput)
    assert (output.chunk_id, output.attempt, output.stream, output.data) == (0, 1, "stdout", "a")
    assert isinstance(retrying, ChunkRetrying)
    assert (retrying.attempt, retrying.reason, retrying.delay) == (1, "sh exited with status 1", 0)
    assert isinstance(finished, ChunkFinished)
    assert (finished.attempt, finished.result) == (2, report.results[0])
    assert isinstance(merging, MergeStarted)
    assert isinstance(merge_output, MergeOutput)
    assert (merge_output.stream, merge_output.data) == ("stderr", "m")
    assert isinstance(merged, MergeFinished)
    assert merged.result is report.merge_result
    assert isinstance(end, JobFinished)
    assert (end.error, end.duration) == (None, report.duration)

    assert [event.sequence for event in events] == list(range(len(events)))
    assert {event.job_id for event in events} == {"job-1"}
    clocks = [(event.time, event.monotonic) for event in events]
    assert clocks == sorted(clocks)
    assert began[0] <= clocks[0][0]
    assert began[1] <= clocks[0][1]
    assert clocks[-1][1] <= time.monotonic()


async def test_a_failure_is_told_before_it_comes_out() -> None:
    events: list[JobEvent] = []
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(job("exit 1"), JobExecutionOptions(on_event=events.append))
    assert _names(events) == ["JobStarted", "ChunkStarted", "ChunkFailed", "JobFinished"]
    failed, end = events[2:]
    assert isinstance(failed, ChunkFailed)
    assert isinstance(end, JobFinished)
    assert failed.error is end.error is caught.value


async def test_async_listeners_get_one_event_at_a_time_in_order() -> None:
    sequences: list[int] = []
    inside = 0

    async def listen(event: JobEvent) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await anyio.sleep(0.001 if event.sequence % 2 else 0)
        inside -= 1
        sequences.append(event.sequence)

    await JobExecutor(LocalWorkerAdapter()).execute(
        job(*["echo a; echo b >&2; echo c"] * 12), JobExecutionOptions(concurrency=6, on_event=listen)
    )
    assert sequences == list(range(len(sequences)))
    assert len(sequences) >= 2 + 12 * 4


async def test_events_of_output_come_with_the_output_callbacks() -> None:
    order: list[str] = []

    async def stdout(chunk_id: int, data: str) -> None:
        order.append(f"callback {data}")

    def listen(event: JobEvent) -> None:
        if isinstance(event, ChunkOutput):
            order.append(f"event {event.data!s}")

    await JobExecutor(LocalWorkerAdapter()).execute(
        job("printf a; sleep 0.3; printf b"), JobExecutionOptions(on_chunk_stdout=stdout, on_event=listen)
    )
    assert "".join(step.split()[1] for step in order if step.startswith("callback")) == "ab"
    assert [step.split()[0] for step in order] == ["callback", "event"] * (len(order) // 2)


async def test_a_cancelled_listener_that_waits_for_its_turn_leaves_no_trace() -> None:
    async def listen(event: JobEvent) -> None:
        if isinstance(event, ChunkEvent):
            await anyio.sleep(60)

    with anyio.move_on_after(0.3) as scope:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job(*["true"] * 4), JobExecutionOptions(concurrency=4, on_event=listen)
        )
    assert scope.cancelled_caught


async def test_a_job_that_may_not_start_tells_nothing(tmp_path: Path) -> None:
    events: list[JobEvent] = []
    inner: list[JobLockedError] = []

    async def run_again(*_: object) -> None:
        with pytest.raises(JobLockedError) as caught:
            await JobExecutor(LocalWorkerAdapter()).execute(
                job("true"), JobExecutionOptions(job_dir=tmp_path, on_event=events.append)
            )
        inner.append(caught.value)

    await JobExecutor(LocalWorkerAdapter()).execute(
        job("true"), JobExecutionOptions(job_dir=tmp_path, on_progress=run_again)
    )
    assert (len(inner), events) == (1, [])


async def test_every_job_that_was_started_tells_of_its_end_and_what_comes_out() -> None:
    events: list[JobEvent] = []
    error = ValueError("of another callback")

    def fail(*_: object) -> None:
        raise error

    options = JobExecutionOptions(on_event=events.append, on_progress=fail, concurrency=2)
    with pytest.raises(ValueError, match="of another callback"):
        await JobExecutor(LocalWorkerAdapter()).execute(job("true", "sleep 60"), options)
    assert isinstance(events[-1], JobFinished)
    assert events[-1].error is error
    assert [event.sequence for event in events] == list(range(len(events)))


@pytest.mark.parametrize("patience", [0.0, 60.0])
async def test_a_cancelled_job_tells_of_its_end_and_waits_little_for_who_listens(patience: float) -> None:
    events: list[JobEvent] = []

    async def listen(event: JobEvent) -> None:
        await anyio.sleep(patience if isinstance(event, JobFinished) else 0)
        events.append(event)

    began = time.monotonic()
    with anyio.move_on_after(0.3) as scope:
        await JobExecutor(LocalWorkerAdapter()).execute(job("sleep 60"), JobExecutionOptions(on_event=listen))
    assert scope.cancelled_caught
    assert time.monotonic() - began < 20
    if patience:
        assert not isinstance(events[-1], JobFinished)
    else:
        assert isinstance(events[-1], JobFinished)
        assert isinstance(events[-1].error, anyio.get_cancelled_exc_class())


async def test_nothing_that_a_listener_raises_at_the_end_replaces_what_comes_out() -> None:
    def refuse_the_end(event: JobEvent) -> None:
        if isinstance(event, JobFinished):
            raise ZeroDivisionError

    def fail(*_: object) -> None:
        raise ValueError("of another callback")

    options = JobExecutionOptions(on_event=refuse_the_end, on_progress=fail)
    with pytest.raises(ValueError, match="of another callback") as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(job("true"), options)
    assert caught.value.__notes__ == ["on_event raised ZeroDivisionError() when it was told"]
    with anyio.move_on_after(0.3) as scope:
        await JobExecutor(LocalWorkerAdapter()).execute(job("sleep 60"), JobExecutionOptions(on_event=refuse_the_end))
    assert scope.cancelled_caught


async def test_the_log_of_events_has_the_end_though_on_event_raised(tmp_path: Path) -> None:
    def fail(event: JobEvent) -> None:
        raise ValueError("of the listener")

    options = JobExecutionOptions(log_dir=tmp_path, on_event=fail)
    with pytest.raises(ValueError, match="of the listener"):
        await JobExecutor(LocalWorkerAdapter()).execute(job("true"), options)
    events = [json.loads(line) for line in (tmp_path / "job.ndjson").read_text().splitlines()]
    assert [event["event"] for event in events] == ["job_started", "job_finished"]
    assert events[-1]["error"] == {"type": "ValueError", "message": "of the listener"}
