"""Twice the work costs about twice as much, not four times: whatever a job has many of."""

from __future__ import annotations

import gc
import itertools
import pickle
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest

from support.jobs import job
from tailrace import (
    Chunk,
    ChunkFailed,
    ChunkFailedError,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobSpec,
    JobState,
    WorkerJob,
    WorkerResult,
    completed_chunk_ids,
    lint_job,
    plan_job,
)
from tailrace._cli.display.report import failure_report, summary_line
from tailrace._concurrency.slices import at_once
from tailrace._spec.outputs import output_paths
from tailrace._state.inspection import FileInspector, fingerprint_of
from tailrace._state.job_outputs import JobOutputs
from tailrace._state.journal import CompletionRecord

FACTOR = 16
MOST = 3 * FACTOR
"""Linear is 16, with what is done once less; the square is 256."""

Task = Callable[[], object]
"""What is measured; it may be called once."""


class Adapter:
    """Ends each command at once, with this exit code, having written its frames where it is to."""

    streams = False

    def __init__(self, exit_code: int = 0, writes_to: Path | None = None) -> None:
        self._exit_code = exit_code
        self._writes_to = writes_to

    async def execute(self, job: WorkerJob) -> WorkerResult:
        if self._writes_to is not None:
            names = ("start_frame", "frame_count", "frame_step", "output_file", "command")
            fields = {name: job.meta[name] for name in names}
            for path in output_paths(Chunk(id=0, **fields), self._writes_to):  # type: ignore[arg-type]
                path.write_text("x")
        return WorkerResult(self._exit_code)


class Stitcher:
    """Does nothing."""

    async def stitch(self, inputs: Sequence[Path], output: Path) -> None:
        pass


def run(adapter: Adapter, spec: JobSpec, options: JobExecutionOptions) -> None:
    anyio.run(JobExecutor(adapter).execute, spec, options)


def fail(spec: JobSpec, options: JobExecutionOptions) -> ChunkFailedError:
    with pytest.raises(ChunkFailedError) as caught:
        run(Adapter(1), spec, options)
    assert len(caught.value.failures) == len(spec.chunks)
    return caught.value


def planned(count: int, chunk_size: int = 1) -> JobSpec:
    return plan_job("render {start} {output}", f"1-{count}", chunk_size=chunk_size, output="f_####")


def succeeding_chunks(count: int, folder: Path) -> Task:
    options = JobExecutionOptions(concurrency=8, on_event=lambda _: None)
    return partial(run, Adapter(), job(*["true"] * count), options)


def failing_chunks(count: int, folder: Path) -> Task:
    options = JobExecutionOptions(concurrency=8, fail_fast=False, on_event=lambda _: None)
    return partial(fail, job(*["true"] * count), options)


def retried_chunks(count: int, folder: Path) -> Task:
    options = JobExecutionOptions(concurrency=8, fail_fast=False, retries=1, retry_delay=0)
    return partial(fail, job(*["true"] * count), options)


def failures_between_processes(count: int, folder: Path) -> Task:
    error = fail(job(*["true"] * count), JobExecutionOptions(fail_fast=False))

    def copy() -> None:
        assert len(pickle.loads(pickle.dumps(error)).failures[-1].failures) == count

    return copy


def recorded_chunks(count: int, folder: Path) -> Task:
    spec = planned(count)

    def resume() -> None:
        record = CompletionRecord(spec, folder, run_id="r")
        record.open()
        for chunk in spec.chunks:
            next(output_paths(chunk, folder)).touch()
            record.add(chunk, fingerprint_of(at_once(FileInspector(folder).look(chunk))))
        record.close()
        assert len(completed_chunk_ids(spec, folder)) == count

    return resume


def interleaved_chunks(count: int, folder: Path) -> Task:
    chunks = tuple(
        Chunk(id=start, start_frame=start, frame_count=4, frame_step=count, output_file="f_####", command="true")
        for start in range(count)
    )
    spec = job("true").model_copy(update={"chunks": chunks})
    options = JobExecutionOptions(job_dir=folder, completed_chunk_ids=range(count))
    return partial(run, Adapter(), spec, options)


def chunks_interleaved_in_two_steps(count: int, folder: Path) -> Task:
    chunks = tuple(
        Chunk(id=id_, start_frame=start, frame_count=4, frame_step=step, output_file="f_####", command="true")
        for id_, (step, start) in enumerate(itertools.product((count, count + 2), range(0, count, 2)))
    )
    spec = job("true").model_copy(update={"chunks": chunks})
    options = JobExecutionOptions(job_dir=folder, completed_chunk_ids=range(count))
    return partial(run, Adapter(), spec, options)


def chunks_of_different_steps(count: int, folder: Path) -> Task:
    chunks = tuple(
        Chunk(id=id_, start_frame=id_, frame_count=3, frame_step=count + id_, output_file="f_####", command="true")
        for id_ in range(count)
    )
    spec = job("true").model_copy(update={"chunks": chunks})
    options = JobExecutionOptions(job_dir=folder, completed_chunk_ids=range(count))

    def run_and_compare() -> None:
        run(Adapter(), spec, options)
        JobOutputs.of(spec, folder).shared_with(JobOutputs.of(spec, folder))

    return run_and_compare


def names_that_begin_alike(count: int, folder: Path) -> Task:
    def outputs(suffix: str) -> JobOutputs:
        chunks = [
            Chunk(id=id_, start_frame=id_, frame_count=3, output_file=f"f_{suffix}_{id_}", command="true")
            for id_ in range(count)
        ]
        return JobOutputs.of(job("true").model_copy(update={"chunks": tuple(chunks)}), folder)

    def compare() -> None:
        assert outputs("####").shared_with(outputs("1")) is None

    return compare


def frames_of_a_chunk(count: int, folder: Path) -> Task:
    options = JobExecutionOptions(job_dir=folder, verify_output=True, stitcher=Stitcher(), output_file="all")
    return partial(run, Adapter(writes_to=folder), planned(count, chunk_size=count), options)


def planned_chunks(count: int, folder: Path) -> Task:
    def plan() -> None:
        frames = f"1-{count}x10,1-{count}"
        spec = plan_job("render {start} {output}", frames, chunk_size=1, output="f_####")
        assert len(JobSpec.parse(spec.model_dump_json(by_alias=True)).chunks) == count

    return plan


def chunks_on_the_command_line(count: int, folder: Path) -> Task:
    spec = planned(count)
    events: list[JobEvent] = []
    options = JobExecutionOptions(concurrency=8, fail_fast=False, on_event=events.append)
    with pytest.raises(ChunkFailedError):
        run(Adapter(1), spec, options)

    def show() -> None:
        assert lint_job(spec) == []
        state = JobState(spec.chunks)
        for event in events:
            state.apply(event)
        errors = {event.chunk_id: event.error for event in events if isinstance(event, ChunkFailed)}
        assert summary_line(state, 1, interrupted=False)
        assert list(failure_report(list(state.chunks.values()), errors, None, None))

    return show


def cost(task: Callable[[int, Path], Task], count: int, folder: Path) -> tuple[float, int]:
    """Return the seconds of processor time, and the bytes at the highest."""
    folder.mkdir()
    once = task(count, folder)
    tracemalloc.start()
    # It would go through all that earlier tests have left, the more often the more there is to do.
    gc.disable()
    try:
        began = time.process_time()
        once()
        return time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        gc.enable()
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("task", "count"),
    [
        (succeeding_chunks, 50),
        (failing_chunks, 150),
        (retried_chunks, 50),
        (failures_between_processes, 100),
        (recorded_chunks, 50),
        (interleaved_chunks, 200),
        (chunks_interleaved_in_two_steps, 200),
        (chunks_of_different_steps, 200),
        (names_that_begin_alike, 100),
        (frames_of_a_chunk, 50),
        (planned_chunks, 100),
        (chunks_on_the_command_line, 50),
    ],
)
def test_the_cost_grows_with_the_work_and_not_with_its_square(
    task: Callable[[int, Path], Task], count: int, tmp_path: Path
) -> None:
    small = [cost(task, count, tmp_path / f"small-{number}") for number in range(3)]
    seconds, peak = map(min, zip(*small, strict=True))
    large = [cost(task, FACTOR * count, tmp_path / f"large-{number}") for number in range(2)]
    more_seconds, higher_peak = map(min, zip(*large, strict=True))
    assert more_seconds < MOST * seconds, (seconds, more_seconds)
    assert higher_peak < MOST * peak, (peak, higher_peak)


@pytest.mark.anyio
async def test_a_look_at_millions_of_frames_is_broken_off_by_a_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace._concurrency.slices._SLICE", 0.1)
    chunk = Chunk(id=0, start_frame=0, frame_count=50_000_000, output_file="f_########", command="true")
    spec = job("true").model_copy(update={"chunks": (chunk,)})
    began = time.monotonic()
    options = [
        JobExecutionOptions(job_dir=tmp_path),
        JobExecutionOptions(job_dir=tmp_path, stitcher=Stitcher(), output_file="all", completed_chunk_ids=[0]),
    ]
    for one in options:
        with anyio.move_on_after(0.3) as scope:
            await JobExecutor(Adapter()).execute(spec, one)
        assert scope.cancelled_caught
    assert time.monotonic() - began < 20
