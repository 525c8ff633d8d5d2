"""The state of a job is made of its events, whether they come from the run or from its log."""

from __future__ import annotations

import pickle
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.jobs import job
from tailrace import (
    Chunk,
    ChunkErrorReported,
    ChunkFailed,
    ChunkFailedError,
    ChunkFinished,
    ChunkOutput,
    ChunkProgress,
    ChunkRetrying,
    ChunkSkipped,
    ChunkStarted,
    ChunkUsage,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobFinished,
    JobSpec,
    JobStarted,
    JobState,
    LocalWorkerAdapter,
    LogFailed,
    MergeFailedError,
    MergeFinished,
    MergeOutput,
    MergeStarted,
    ResourceUsage,
    TailraceError,
    WorkerResult,
    WorkerTimeoutError,
    event_from_json,
    event_to_json,
)


class Told:
    """A state of a job whose events are made up, at times that are made up."""

    def __init__(self, chunks: Iterable[Chunk] = ()) -> None:
        self.state = JobState(chunks)

    def happen(self, kind: type[JobEvent], at: float = 0, **fields: Any) -> None:
        self.state.apply(kind(job_id="j", run_id="r", sequence=0, time=at, monotonic=at, **fields))

    def begin(self, total: int, done_before: Iterable[int] = ()) -> None:
        self.happen(JobStarted, 0, total_chunks=total, completed_chunk_ids=tuple(done_before))

    def start(self, chunk: int, at: float = 0, attempt: int = 1, slot: int = 0) -> None:
        self.happen(ChunkStarted, at, chunk_id=chunk, attempt=attempt, slot=slot, command="render")

    def write(self, chunk: int, data: str | memoryview, stream: str = "stdout") -> None:
        self.happen(ChunkOutput, chunk_id=chunk, attempt=1, stream=stream, data=data)

    def advance(self, chunk: int, fraction: float | None, at: float = 0, memory: int | None = None) -> None:
        unknown: dict[str, Any] = dict.fromkeys(("frame", "frame_fraction", "remaining", "status"))
        news = {"renderer": "r", "fraction": fraction, "memory": memory}
        self.happen(ChunkProgress, at, chunk_id=chunk, attempt=1, **news, **unknown)

    def retry(self, chunk: int, at: float = 0, delay: float = 5) -> None:
        self.happen(ChunkRetrying, at, chunk_id=chunk, attempt=1, reason="r", category=None, delay=delay)

    def finish(self, chunk: int, at: float = 0, result: WorkerResult | None = None) -> None:
        self.happen(ChunkFinished, at, chunk_id=chunk, attempt=1, result=result or WorkerResult(0, duration=1.5))

    def fail(self, chunk: int, at: float = 0, result: WorkerResult | None = None) -> None:
        error = ChunkFailedError(f"chunk {chunk} failed", chunk_id=chunk, attempts=1, result=result, category="scene")
        self.happen(ChunkFailed, at, chunk_id=chunk, attempt=1, error=error)

    def skip(self, chunk: int, at: float = 0) -> None:
        self.happen(ChunkSkipped, at, chunk_id=chunk, because_of=9)

    def over(self, at: float = 0, error: BaseException | None = None) -> None:
        self.happen(JobFinished, at, duration=at, error=error)


def chunks(*frames: int) -> list[Chunk]:
    found = job(*["render"] * len(frames)).chunks
    return [chunk.model_copy(update={"frame_count": count}) for chunk, count in zip(found, frames, strict=True)]


def statuses(state: JobState) -> list[str]:
    return [chunk.status for chunk in state.chunks.values()]


def test_a_chunk_is_pending_until_it_starts_and_while_it_waits_and_done_for_good_then() -> None:
    told = Told(chunks(10, 10, 10, 10))
    state = told.state
    assert (state.job_id, state.run_id, state.started, statuses(state)) == ("", "", None, ["pending"] * 4)
    told.begin(4, done_before=[3])
    assert (state.job_id, state.run_id, state.started, state.started_at) == ("j", "r", 0, 0)
    told.start(0, at=1)
    told.start(1, at=1, slot=1)
    assert statuses(state) == ["running", "running", "pending", "completed"]
    assert [(id_, command.slot, command.started) for id_, command in state.running.items()] == [(0, 0, 1), (1, 1, 1)]
    told.finish(0, at=9)
    told.retry(1, at=9, delay=5)
    assert statuses(state) == ["completed", "pending", "pending", "completed"]
    assert (dict(state.running), dict(state.waiting)) == ({}, {1: 14})
    assert (state.chunks[1].attempts, state.chunks[1].duration, state.chunks[1].reason) == (1, 8, "r")
    told.start(1, at=15, attempt=2)
    assert (state.chunks[1].attempts, state.chunks[1].reason, dict(state.waiting)) == (2, None, {})
    told.fail(1, at=20)
    assert statuses(state) == ["completed", "failed", "pending", "completed"]
    assert (state.total, state.completed, state.done_before, state.done, state.failed) == (4, 1, 1, 2, 1)
    assert (state.chunks[3].attempts, state.skipped) == (0, 0)
    assert state.retries == 1
    assert not state.has_ended


def test_what_runs_or_waits_when_the_job_ends_is_cancelled_or_not_retried() -> None:
    told = Told(chunks(10, 10, 10))
    told.begin(3)
    for chunk in range(2):
        told.start(chunk, at=1)
    told.retry(1, at=2)
    told.over(at=5, error=KeyboardInterrupt())
    state = told.state
    assert statuses(state) == ["pending", "failed", "pending"]
    assert [chunk.ending for chunk in state.chunks.values()] == ["cancelled", "not retried", None]
    assert (state.chunks[0].duration, state.failed, dict(state.running), dict(state.waiting)) == (4, 1, {}, {})
    assert (state.has_ended, state.duration, state.error) == (True, 5, "KeyboardInterrupt")


def test_a_log_without_an_end_can_be_ended() -> None:
    told = Told(chunks(10))
    told.begin(1)
    told.start(0, at=1)
    told.state.end(3)
    told.state.end(8)
    assert (told.state.chunks[0].ending, told.state.chunks[0].duration) == ("cancelled", 2)
    assert (told.state.has_ended, told.state.duration) == (True, None)


def test_a_result_gives_its_figures_and_a_failure_its_reason() -> None:
    told = Told()
    told.begin(2)
    told.start(0)
    told.start(1)
    told.happen(ChunkErrorReported, chunk_id=1, attempt=1, message="no scene", category="scene", fatal=True)
    usage = ResourceUsage(1.5, 0.5, 100, 200)
    told.finish(0, at=9, result=WorkerResult(0, duration=8.5, usage=usage))
    told.fail(1, at=9, result=WorkerResult(-9, duration=8.5, usage=usage))
    first, second = told.state.chunks.values()
    assert (first.exit_code, first.duration, first.usage, first.memory, first.ending) == (0, 8.5, usage, 200, "exit")
    assert (second.exit_code, second.reason, second.category) == (-9, "chunk 1 failed", "scene")
    assert (first.reported_error, second.reported_error) == (None, "no scene")


def test_the_memory_is_what_was_measured_and_else_what_the_renderer_said() -> None:
    told = Told()
    for chunk in range(2):
        told.start(chunk)
        told.advance(chunk, 0.5, memory=900)
        told.advance(chunk, 0.6, memory=700)
    for memory in (200, 500, 300):
        told.happen(ChunkUsage, chunk_id=0, attempt=1, memory=memory, cpu=1.0)
    assert [command.memory for command in told.state.running.values()] == [300, 700]
    assert [chunk.memory for chunk in told.state.chunks.values()] == [500, 900]


def test_progress_is_of_the_frames_and_larger_chunks_count_for_more() -> None:
    told = Told(chunks(30, 10, 40, 20))
    told.begin(4, done_before=[3])
    assert told.state.progress == 0.2
    for chunk in range(3):
        told.start(chunk)
    told.finish(0)
    assert told.state.progress == 0.5
    told.advance(2, 0.5)
    assert told.state.progress == 0.7
    told.fail(1)
    assert told.state.progress == 0.7
    told.finish(2)
    assert told.state.progress == 0.9


def test_the_time_left_is_estimated_from_the_frames_that_are_done() -> None:
    told = Told(chunks(10, 30))
    told.begin(2)
    assert told.state.remaining(0) is None
    told.start(0)
    told.finish(0, at=100)
    assert told.state.remaining(100) is None
    told.start(1, at=100)
    assert told.state.remaining(100) == 300
    assert told.state.remaining(150) == 250
    assert told.state.remaining(500) is None


def test_only_the_chunks_that_were_given_count() -> None:
    told = Told(chunks(10, 10, 10)[:2])
    told.begin(3, done_before=[1, 2])
    assert (told.state.total, told.state.done_before, list(told.state.chunks)) == (2, 1, [0, 1])
    assert told.state.progress == 0.5


def test_without_a_specification_each_chunk_counts_alike_and_is_known_once_it_is_named() -> None:
    told = Told()
    told.begin(4, done_before=[7])
    assert (told.state.total, list(told.state.chunks), told.state.progress) == (4, [7], 0.25)
    told.start(5)
    told.finish(5)
    assert (told.state.total, list(told.state.chunks), told.state.progress) == (4, [7, 5], 0.5)


def test_the_merge_has_a_state_of_its_own() -> None:
    told = Told()
    assert told.state.merge is None
    told.happen(MergeStarted, 10)
    told.happen(MergeOutput, 11, stream="stderr", data="joining\n")
    assert told.state.merge is not None
    assert told.state.merge.command is not None
    assert (told.state.merge.status, told.state.merge.command.latest_line) == ("running", "joining")
    told.happen(MergeFinished, 14, result=WorkerResult(0))
    merge = told.state.merge
    assert (merge.status, merge.command, merge.duration, merge.exit_code) == ("completed", None, 4, 0)


def test_a_merge_that_did_not_come_to_its_end_has_failed() -> None:
    told = Told()
    told.happen(MergeStarted, 10)
    told.over(14, MergeFailedError("the merge failed", WorkerResult(3)))
    assert told.state.merge is not None
    assert (told.state.merge.status, told.state.merge.duration, told.state.merge.exit_code) == ("failed", 4, 3)
    assert told.state.error == "the merge failed"


def test_a_log_that_cannot_be_written_is_named_with_the_reason() -> None:
    told = Told()
    for _ in range(2):
        told.happen(LogFailed, path="a.log", reason="no space")
    assert told.state.incomplete_logs == {"a.log": "no space"}


@pytest.mark.parametrize("to_data", [str, lambda text: memoryview(text.encode())], ids=["text", "bytes"])
def test_the_latest_line_is_the_last_that_is_not_blank_of_the_stream_that_wrote_last(to_data: Any) -> None:
    told = Told()
    told.start(0)
    command = told.state.running[0]
    assert command.latest_line == ""
    for text, latest in {"one\ntw": "tw", "o\n": "two", "\r10%\r20%\r": "20%", "é" * 2000: "é" * 512}.items():
        told.write(0, to_data(text))
        assert command.latest_line.removeprefix("\ufffd") == latest
        assert len(command.tail) <= 1024
    told.write(0, to_data("to stderr\n \n"), "stderr")
    assert command.latest_line == "to stderr"


def test_neither_output_nor_results_are_kept() -> None:
    told = Told()
    told.start(0)
    told.write(0, "output " * 10)
    told.advance(0, 0.5)
    told.fail(0, result=WorkerResult(1, b"output " * 1000))
    assert b"output" not in pickle.dumps(told.state)


def test_a_state_survives_pickling_and_equals_its_copy_until_more_is_known() -> None:
    told = Told(chunks(10, 10))
    told.begin(2)
    told.start(0)
    told.advance(0, 0.5)
    copy: JobState = pickle.loads(pickle.dumps(told.state))
    assert copy == told.state
    assert copy != JobState(chunks(10, 10))
    told.finish(0)
    assert copy != told.state


def test_what_is_read_cannot_be_changed_by_mistake() -> None:
    state = JobState(chunks(10))
    views: list[Any] = [state.chunks, state.running, state.waiting, state.incomplete_logs]
    for view in views:
        with pytest.raises(TypeError):
            view[0] = None


@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["start", "retry", "finish", "fail", "skip", "advance"]))),
    st.sets(st.integers(0, 5)),
)
def test_whatever_order_events_come_in_each_chunk_has_one_state(
    is_specified: bool, happenings: list[tuple[int, str]], done_before: set[int]
) -> None:
    told = Told(chunks(*range(10, 16)) if is_specified else ())
    state = told.state
    told.begin(6, done_before)
    ended: set[int] = set(done_before)
    begun: set[int] = set()
    for at, (chunk, what) in enumerate(happenings):
        # What has begun is not skipped any more.
        if chunk in ended or (what == "skip" and chunk in begun):
            continue
        if what != "skip":
            begun.add(chunk)
        if what == "advance":
            told.advance(chunk, 0.5, at=at)
        else:
            getattr(told, what)(chunk, at=at)
        if what in ("finish", "fail", "skip"):
            ended.add(chunk)
        counts = Counter(statuses(state))
        counted = (state.done, state.failed, state.skipped)
        assert counted == (counts["completed"], counts["failed"], counts["skipped"])
        assert state.done_before == len(done_before)
        assert set(state.running) == {chunk.chunk_id for chunk in state.chunks.values() if chunk.status == "running"}
        assert not state.running.keys() & state.waiting.keys()
        assert 0 <= state.progress <= 1
        assert len(state.chunks) <= state.total == 6
    told.over(at=100)
    assert "running" not in statuses(state)
    assert state.failed == Counter(statuses(state))["failed"]


def test_the_state_of_many_chunks_is_small() -> None:
    count = 20_000
    spec = job("render")
    planned = [spec.chunks[0].model_copy(update={"id": number}) for number in range(count)]
    order = random.Random(1).sample(range(count), count)
    data = memoryview(b"x" * 100_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        told = Told(planned)
        told.begin(count)
        for at, chunk in enumerate(order):
            told.start(chunk, at=at + 0.25)
            told.write(chunk, data)
            told.advance(chunk, 0.5, at=at + 0.5)
            usage = ResourceUsage(at + 0.1, at + 0.2, at << 20, at << 21)
            told.finish(chunk, at=at + 0.75, result=WorkerResult(0, b"x" * 1000, duration=at + 0.3, usage=usage))
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert told.state.completed == count
    assert used / count < 600


async def _run(spec: JobSpec, folder: Path, **others: Any) -> tuple[list[JobEvent], JobState, JobState]:
    """Run the job; return its events, and the states that were made meanwhile with the specification and without."""
    events: list[JobEvent] = []
    specified, alone = JobState(spec.chunks), JobState()
    options = JobExecutionOptions(
        job_dir=folder, log_dir=folder / "logs", observers=[events.append, specified.apply, alone.apply], **others
    )
    with pytest.raises(TailraceError):
        await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
    return events, specified, alone


def _replay(lines: Iterable[str], *states: JobState) -> None:
    for line in lines:
        event = event_from_json(line)
        for state in states:
            state.apply(event)


@pytest.mark.anyio
async def test_the_state_of_a_log_is_that_of_the_run(tmp_path: Path) -> None:
    spec = job(
        "echo a; sleep 0.7",
        "if [ ! -e once ]; then touch once; exit 1; fi; echo 'Fra:12 Mem:49.06M (Peak 49.60M) | Time:00:27.91 | A'",
        "echo 'Error: Cannot read file' >&2; exit 3",
        "sleep 60",
        "done before",
        "kill -9 $$",
    )
    nowhere = spec.chunks[0].model_copy(update={"id": 6, "command": "no-such-program", "output_file": "chunk_6"})
    spec = spec.model_copy(update={"chunks": (*spec.chunks, nowhere)})
    events, specified, alone = await _run(
        spec,
        tmp_path,
        concurrency=3,
        retries=1,
        retry_delay=0,
        timeout=2,
        fail_fast=False,
        completed_chunk_ids=[4],
        stream="bytes",
        progress="blender",
    )
    read, read_alone = JobState(spec.chunks), JobState()
    _replay((tmp_path / "logs" / "job.ndjson").read_text().splitlines(), read, read_alone)
    assert read == specified
    assert read_alone == alone
    written, written_alone = JobState(spec.chunks), JobState()
    _replay(map(event_to_json, events), written, written_alone)
    assert written == specified
    assert written_alone == alone
    # And it is all there.
    assert statuses(read) == ["completed", "completed", "failed", "failed", "completed", "failed", "failed"]
    assert [chunk.ending for chunk in read.chunks.values()] == [
        "exit",
        "exit",
        "exit",
        "timeout",
        None,
        "exit",
        "not started",
    ]
    assert [chunk.exit_code for chunk in read.chunks.values()][:3] == [0, 0, 3]
    assert read.chunks[5].exit_code == -9
    assert (read.total, read.done, read.failed) == (7, 3, 4)
    assert read.error is not None
    assert read.run_id == events[0].run_id


@pytest.mark.anyio
async def test_the_state_of_a_log_is_that_of_the_run_whose_merge_failed(tmp_path: Path) -> None:
    spec = job("true", merge="exit 4")
    _, specified, alone = await _run(spec, tmp_path)
    read, read_alone = JobState(spec.chunks), JobState()
    _replay((tmp_path / "logs" / "job.ndjson").read_text().splitlines(), read, read_alone)
    assert (read, read_alone) == (specified, alone)
    assert read.merge is not None
    assert (read.merge.status, read.merge.exit_code) == ("failed", 4)


@pytest.mark.anyio
async def test_the_state_of_the_log_of_a_cancelled_job_is_that_of_the_run_but_for_what_was_seen_used(
    tmp_path: Path,
) -> None:
    spec = job("sleep 60", "true")
    live = JobState(spec.chunks)
    options = JobExecutionOptions(job_dir=tmp_path, log_dir=tmp_path / "logs", observers=[live.apply], concurrency=2)
    with anyio.move_on_after(1):
        await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
    read = JobState(spec.chunks)
    _replay((tmp_path / "logs" / "job.ndjson").read_text().splitlines(), read)
    assert read.chunks[0].used_memory is None
    read.chunks[0].used_memory = live.chunks[0].used_memory
    assert read == live
    assert (read.chunks[0].status, read.chunks[0].ending, read.has_ended) == ("pending", "cancelled", True)


def test_a_limit_is_told_apart_from_an_exit() -> None:
    told = Told()
    for chunk, kind in enumerate(("total", "idle", "cpu", "progress")):
        told.start(chunk)
        error = ChunkFailedError("failed", chunk_id=chunk, attempts=1, result=WorkerResult(-15))
        error.__cause__ = WorkerTimeoutError("late", WorkerResult(-15), kind)  # type: ignore[arg-type]
        told.happen(ChunkFailed, chunk_id=chunk, attempt=1, error=error)
    endings = [chunk.ending for chunk in told.state.chunks.values()]
    assert endings == ["timeout", "idle timeout", "cpu timeout", "progress timeout"]
