"""What fails is tried again or ends the job, what raises comes out as it is, and nothing is left running."""

from __future__ import annotations

import asyncio
import errno
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from support.jobs import count_lines, job, names_in
from support.loops import on_asyncio
from support.processes import descendants_marked, wait_until_marked
from tailrace import (
    Chunk,
    ChunkFailedError,
    ChunkRetrying,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobFinished,
    LocalWorkerAdapter,
    MemoryReport,
    ProcessMemory,
    WorkerError,
    WorkerJob,
    WorkerRemoteError,
    WorkerResult,
    WorkerSpawnError,
    WorkerTimeoutError,
)

pytestmark = pytest.mark.anyio

FAIL_TWICE = "echo x >> tries; [ $(wc -l < tries) -gt 2 ]"


class FailingAdapter:
    """Raises a given error at the first attempts of each chunk."""

    streams = False

    def __init__(self, make_error: Callable[[], Exception], times: int) -> None:
        self._make_error = make_error
        self._times = times
        self.started = 0

    async def execute(self, job: WorkerJob) -> WorkerResult:
        await anyio.lowlevel.checkpoint()
        self.started += 1
        if self.started <= self._times:
            raise self._make_error()
        return WorkerResult(0)


async def test_a_chunk_that_fails_is_tried_again_until_it_succeeds(tmp_path: Path) -> None:
    report = await JobExecutor(LocalWorkerAdapter()).execute(
        job(FAIL_TWICE), JobExecutionOptions(job_dir=tmp_path, retries=5, retry_delay=0.01)
    )
    assert dict(report.attempts) == {0: 3}
    assert report.results[0].exit_code == 0


async def test_a_chunk_that_used_up_its_attempts_ends_the_job_with_its_last_result(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("true", "echo x >> tries; wc -l < tries; exit 7"),
            JobExecutionOptions(job_dir=tmp_path, retries=2, retry_delay=0),
        )
    error = caught.value
    assert str(error) == "chunk 1 failed after 3 attempts: sh exited with status 7"
    assert (error.chunk_id, error.attempts, tuple(error.failures)) == (1, 3, (error,))
    assert error.result is not None
    assert (error.result.exit_code, error.result.stdout.strip()) == (7, "3")
    assert error.__cause__ is None


async def test_a_chunk_ended_by_a_signal_says_which() -> None:
    with pytest.raises(ChunkFailedError, match=r"^chunk 0 failed: sh was ended by signal 9 \(SIGKILL\)$"):
        await JobExecutor(LocalWorkerAdapter()).execute(job("kill -9 $$"))


@pytest.mark.parametrize(
    "make_error",
    [
        lambda: WorkerTimeoutError("too slow", WorkerResult(-15), "total"),
        lambda: WorkerRemoteError("no answer"),
        lambda: WorkerSpawnError(errno.EAGAIN, "too many processes"),
        lambda: OSError(errno.EMFILE, "too many files"),
        lambda: OSError(errno.ENFILE, "too many files"),
        lambda: WorkerSpawnError(errno.ENOMEM, "no memory"),
        lambda: ExceptionGroup("of tasks", [WorkerRemoteError("no answer")]),
    ],
)
async def test_errors_that_may_pass_are_retried(make_error: Callable[[], Exception]) -> None:
    adapter = FailingAdapter(make_error, 2)
    report = await JobExecutor(adapter).execute(job("true"), JobExecutionOptions(retries=2, retry_delay=0))
    assert dict(report.attempts) == {0: 3}


@pytest.mark.parametrize(
    "make_error",
    [
        lambda: WorkerSpawnError(errno.ENOENT, "no such program"),
        lambda: WorkerSpawnError(errno.E2BIG, "too long"),
        lambda: WorkerError("the exit status is unknown"),
        lambda: ZeroDivisionError("in the adapter"),
        lambda: ExceptionGroup("of tasks", [ZeroDivisionError()]),
        # What another attempt cannot mend stays, whatever went wrong beside it.
        lambda: ExceptionGroup("of tasks", [WorkerSpawnError(errno.ENOENT, "no such program"), OSError()]),
    ],
)
async def test_errors_that_stay_are_final_and_the_cause(make_error: Callable[[], Exception]) -> None:
    adapter = FailingAdapter(make_error, 1)
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(adapter).execute(job("true"), JobExecutionOptions(retries=5, retry_delay=0))
    assert (caught.value.attempts, caught.value.result, adapter.started) == (1, None, 1)
    assert type(caught.value.__cause__) is type(make_error())
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "retry_on", "attempts"),
    [
        (ConnectionResetError("by peer"), None, 2),
        (TimeoutError("of something else"), None, 2),
        (ExceptionGroup("of tasks", [ExceptionGroup("of tasks", [OSError("stale")])]), None, 2),
        (ExceptionGroup("of tasks", [ValueError("noticed"), OSError("stale")]), None, 2),
        (ZeroDivisionError(), (ArithmeticError,), 2),
        (ExceptionGroup("of tasks", [ZeroDivisionError()]), [ArithmeticError], 2),
        (OSError("stale"), (ArithmeticError,), 1),
        (OSError("stale"), (), 1),
        # Ours keep their rules.
        (WorkerSpawnError(errno.ENOENT, "no such program"), (Exception,), 1),
        (WorkerRemoteError("no answer"), (), 2),
    ],
)
async def test_what_an_adapter_raises_is_retried_if_it_is_of_the_kinds_that_may_pass(
    error: Exception, retry_on: Any, attempts: int
) -> None:
    adapter = FailingAdapter(lambda: error, 9)
    asked = {} if retry_on is None else {"retry_on": retry_on}
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(adapter).execute(job("true"), JobExecutionOptions(retries=1, retry_delay=0, **asked))
    assert (caught.value.attempts, caught.value.__cause__) == (attempts, error)


async def test_what_a_callback_raises_is_not_retried_though_it_is_of_the_kinds_that_may_pass() -> None:
    started = 0

    class InGroups:
        """Makes a group of whatever its tasks raise."""

        streams = True

        async def execute(self, job: WorkerJob) -> WorkerResult:
            nonlocal started
            started += 1
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(LocalWorkerAdapter().execute, job)
            return WorkerResult(0)

    def refuse(*_: object) -> None:
        raise BrokenPipeError

    options = JobExecutionOptions(retries=3, retry_delay=0, on_chunk_stdout=refuse)
    with pytest.raises(BrokenPipeError):
        await JobExecutor(InGroups()).execute(job("echo a"), options)
    assert started == 1


@pytest.mark.parametrize("retry_on", [OSError, "OSError", ["OSError"], (OSError, KeyboardInterrupt)])
def test_what_cannot_be_retried_on_is_refused(retry_on: Any) -> None:
    with pytest.raises(TypeError, match=r"^retry_on must be a collection of exception classes"):
        JobExecutionOptions(retry_on=retry_on)


async def test_a_missing_program_is_not_tried_again() -> None:
    spec = job("true").model_copy(
        update={"chunks": (Chunk(id=0, start_frame=0, frame_count=1, output_file="a", command="no-such-program"),)}
    )
    with pytest.raises(ChunkFailedError, match=r"^chunk 0 failed: .*no-such-program") as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(spec, JobExecutionOptions(retries=3, retry_delay=60))
    assert caught.value.attempts == 1
    assert isinstance(caught.value.__cause__, WorkerSpawnError)


async def test_the_output_before_a_timeout_comes_with_the_error() -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("echo so far; sleep 60"), JobExecutionOptions(timeout=1, retries=1, retry_delay=0)
        )
    assert caught.value.attempts == 2
    assert caught.value.result is not None
    assert caught.value.result.stdout == "so far\n"
    assert isinstance(caught.value.__cause__, WorkerTimeoutError)


async def test_a_stuck_chunk_does_not_make_the_whole_job_wait(tmp_path: Path) -> None:
    started = time.monotonic()
    report = await JobExecutor(LocalWorkerAdapter()).execute(
        job("[ -e once ] || { touch once; sleep 600; }", "true"),
        JobExecutionOptions(job_dir=tmp_path, idle_timeout=1, retries=1, retry_delay=0),
    )
    assert dict(report.attempts) == {0: 2, 1: 1}
    assert time.monotonic() - started < 60


async def test_a_chunk_that_was_killed_for_memory_says_so_and_waits_longer_for_its_next_attempt() -> None:
    report = MemoryReport(True, 2**20, 2**30, (ProcessMemory(7, "blender", 2**30),), (), 0.5)

    class Adapter:
        streams = False

        def __init__(self) -> None:
            self.begun: list[float] = []

        async def execute(self, job: WorkerJob) -> WorkerResult:
            self.begun.append(time.monotonic())
            # What its output says is not why it was killed.
            return WorkerResult(-9, b"License error", killed_for_memory=report)

    adapter = Adapter()
    events: list[JobEvent] = []
    options = JobExecutionOptions(
        retries=1, retry_delay=0, resource_delay=0.5, progress="redshift", on_event=events.append
    )
    with pytest.raises(ChunkFailedError, match=r"it was killed because the memory was full .*blender \(7\)") as caught:
        await JobExecutor(adapter).execute(job("render"), options)
    assert caught.value.category == "memory"
    assert adapter.begun[1] - adapter.begun[0] >= 0.5
    [retrying] = [event for event in events if isinstance(event, ChunkRetrying)]
    assert retrying.category == "memory"


async def test_a_chunk_that_waits_for_its_retry_leaves_its_place_to_others_and_is_first_in_line_then() -> None:
    order: list[tuple[object, object]] = []

    class Adapter:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            order.append((job.meta["chunk_id"], job.meta["slot"]))
            await anyio.sleep(0.1)
            return WorkerResult(int(order.count((0, 0)) == 1 and job.meta["chunk_id"] == 0))

    await JobExecutor(Adapter()).execute(job(*["true"] * 10), JobExecutionOptions(retries=1, retry_delay=0.25))
    again = order.index((0, 0), 1)
    assert order[0] == (0, 0)
    assert 2 <= again < 9, order
    assert [chunk_id for chunk_id, _ in order if chunk_id != 0] == list(range(1, 10))


async def test_delays_grow_and_are_never_shorter_than_asked() -> None:
    starts: list[float] = []

    class Adapter:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            await anyio.lowlevel.checkpoint()
            starts.append(anyio.current_time())
            return WorkerResult(1)

    with pytest.raises(ChunkFailedError):
        await JobExecutor(Adapter()).execute(job("true"), JobExecutionOptions(retries=3, retry_delay=0.05))
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(wait >= least * 0.99 for wait, least in zip(waits, [0.05, 0.1, 0.2], strict=True)), waits


async def test_idle_slots_wait_for_a_retry_that_may_still_come() -> None:
    adapter = FailingAdapter(lambda: WorkerRemoteError("no answer"), 1)
    with anyio.fail_after(30):
        report = await JobExecutor(adapter).execute(
            job("true", "true"), JobExecutionOptions(concurrency=2, retries=1, retry_delay=0.2)
        )
    assert sorted(report.attempts.values()) == [1, 2]


async def test_the_first_failure_ends_what_is_running(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    with pytest.raises(ChunkFailedError, match="chunk 1 failed"):
        await JobExecutor(LocalWorkerAdapter()).execute(
            job(f"sleep 60; : {mark}", "sleep 0.3; exit 1", "touch third"),
            JobExecutionOptions(concurrency=2, job_dir=tmp_path),
        )
    assert descendants_marked(mark) == []
    assert names_in(tmp_path) == set()


async def test_keep_going_runs_the_rest_and_lists_every_failure(tmp_path: Path) -> None:
    completed: list[int] = []
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("exit 1", "true", "exit 3", "true", merge="touch merged"),
            JobExecutionOptions(
                job_dir=tmp_path,
                fail_fast=False,
                concurrency=2,
                on_chunk_complete=lambda chunk_id, result: completed.append(chunk_id),
            ),
        )
    assert caught.value.chunk_id == 0
    assert [failure.chunk_id for failure in caught.value.failures] == [0, 2]
    assert caught.value.failures[1].failures is caught.value.failures
    assert sorted(completed) == [1, 3]
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("fail_fast", [True, False])
async def test_a_failed_chunk_does_not_lose_the_results_of_the_others(fail_fast: bool) -> None:
    events: list[JobEvent] = []
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("echo a", "exit 1", "echo c", "exit 3"),
            JobExecutionOptions(fail_fast=fail_fast, on_event=events.append),
        )
    report = caught.value.report
    assert report is not None
    assert [result.stdout for result in report.results.values()] == (["a\n"] if fail_fast else ["a\n", "c\n"])
    assert list(report.attempts) == list(report.results)
    assert all(failure.report is report for failure in caught.value.failures)
    end = events[-1]
    assert isinstance(end, JobFinished)
    assert end.error is caught.value
    assert end.duration >= report.duration > 0


class CallbackError(Exception):
    """Nothing of tailrace's own."""


CALLBACKS = ["on_chunk_stdout", "on_chunk_stderr", "on_chunk_complete", "on_progress", "on_event"]
ERRORS: list[Callable[[], BaseException]] = [
    CallbackError,
    lambda: OSError(errno.EAGAIN, "of the callback"),
    lambda: WorkerTimeoutError("of the callback", WorkerResult(0), "idle"),
    lambda: ChunkFailedError("of the callback", chunk_id=7, attempts=7),
    lambda: SystemExit(3),
    StopAsyncIteration,
]


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("make_error", ERRORS)
@pytest.mark.parametrize("name", CALLBACKS)
async def test_what_a_callback_raises_comes_out_as_it_is_and_causes_no_retry(
    name: str, make_error: Callable[[], BaseException], kind: str, tmp_path: Path
) -> None:
    error = make_error()
    calls = 0

    def plain(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise error

    async def later(*_: object) -> None:
        await anyio.lowlevel.checkpoint()
        plain()

    options: dict[str, Any] = {name: plain if kind == "plain" else later}
    mark = uuid.uuid4().hex
    with pytest.raises(type(error)) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("echo x >> tries; echo out; echo err >&2", f"sleep 60; : {mark}"),
            JobExecutionOptions(job_dir=tmp_path, concurrency=2, retries=3, retry_delay=0, **options),
        )
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert calls == 1
    assert count_lines(tmp_path / "tries") <= 1
    assert descendants_marked(mark) == []


async def test_an_adapter_cannot_hide_what_a_callback_raised() -> None:
    started: list[object] = []

    class Swallowing:
        streams = True

        async def execute(self, job: WorkerJob) -> WorkerResult:
            started.append(job.meta["chunk_id"])
            assert job.on_stdout is not None
            try:
                job.on_stdout("x")
            except CallbackError:
                if job.meta["wrap"]:
                    raise WorkerRemoteError("lost") from None
            return WorkerResult(0)

    def fail(*_: object) -> None:
        raise CallbackError

    for wrap in (False, True):
        completed: list[int] = []
        with pytest.raises(CallbackError):
            await JobExecutor(Swallowing()).execute(
                job("true", "true"),
                JobExecutionOptions(
                    retries=1,
                    retry_delay=0,
                    on_chunk_stdout=fail,
                    meta={"wrap": wrap},
                    on_chunk_complete=lambda chunk_id, result: completed.append(chunk_id),  # noqa: B023
                ),
            )
        assert completed == []
        assert started == [0]
        started.clear()


async def test_a_callback_cancelled_by_the_adapters_limit_is_not_an_error_of_the_callback() -> None:
    calls = 0

    class Impatient:
        streams = True

        async def execute(self, job: WorkerJob) -> WorkerResult:
            assert job.on_stdout is not None
            with anyio.move_on_after(0.05):
                awaitable = job.on_stdout("x")
                assert isinstance(awaitable, Awaitable)
                await awaitable
                return WorkerResult(0)
            raise WorkerTimeoutError("too slow", WorkerResult(-15), "total")

    async def slow_at_first(*_: object) -> None:
        nonlocal calls
        calls += 1
        await anyio.sleep(60 if calls == 1 else 0)

    report = await JobExecutor(Impatient()).execute(
        job("true"), JobExecutionOptions(retries=1, retry_delay=0, on_chunk_stdout=slow_at_first)
    )
    assert dict(report.attempts) == {0: 2}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("name", CALLBACKS)
async def test_a_callback_that_awaits_what_was_cancelled_is_an_error_and_no_cancellation(name: str, kind: str) -> None:
    """As a cancellation it would end the task group's task as if all were well."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()

    async def wait(*_: object) -> None:
        await future

    def look(*_: object) -> None:
        future.result()

    options: dict[str, Any] = {name: look if kind == "plain" else wait}
    executed = asyncio.ensure_future(
        JobExecutor(LocalWorkerAdapter()).execute(job("echo x; echo y >&2", "true"), JobExecutionOptions(**options))
    )
    with pytest.raises(RuntimeError, match="something was awaited that had been cancelled") as caught:
        await executed
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert not executed.cancelled()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_adapter_or_a_stitcher_that_awaits_what_was_cancelled_is_an_error() -> None:
    class Cancelling:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            raise asyncio.CancelledError

        async def stitch(self, inputs: Sequence[Path], output: Path) -> None:
            raise asyncio.CancelledError

    for adapter, options in (
        (Cancelling(), JobExecutionOptions()),
        (LocalWorkerAdapter(), JobExecutionOptions(stitcher=Cancelling(), output_file="all")),
    ):
        with pytest.raises(RuntimeError, match="something was awaited that had been cancelled"):
            await JobExecutor(adapter).execute(job("true"), options)


async def _started(mark: str, count: int) -> None:
    await anyio.to_thread.run_sync(wait_until_marked, mark, count)


async def test_a_cancel_scope_ends_every_chunk_before_it_is_left(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    async with anyio.create_task_group() as group:

        async def execute() -> None:
            await JobExecutor(LocalWorkerAdapter()).execute(
                job(*[f"sleep 60; : {mark}"] * 3), JobExecutionOptions(concurrency=3, job_dir=tmp_path)
            )

        group.start_soon(execute)
        await _started(mark, 3)
        group.cancel_scope.cancel()
    assert descendants_marked(mark) == []


@on_asyncio
@pytest.mark.parametrize("times", [1, 2, 5])
async def test_cancelling_the_task_even_again_ends_every_chunk_and_lets_the_job_go(times: int, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    spec = job(*[f"trap '' TERM; sleep 60 & sleep 60; : {mark}"] * 2)
    options = JobExecutionOptions(concurrency=2, job_dir=tmp_path)

    class ShortGrace(LocalWorkerAdapter):
        async def execute(self, job: WorkerJob) -> WorkerResult:
            return await super().execute(
                WorkerJob(job.command, job.args, env=job.env, cwd=job.cwd, kill_grace=0.5, meta=job.meta)
            )

    task = asyncio.ensure_future(JobExecutor(ShortGrace()).execute(spec, options))
    await _started(mark, 2)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert descendants_marked(mark) == []
    # The lock is free again: the same job can be run in the same folder.
    await JobExecutor(LocalWorkerAdapter()).execute(
        spec, JobExecutionOptions(completed_chunk_ids=[0, 1], job_dir=tmp_path)
    )


@on_asyncio
async def test_cancelling_again_and_again_at_any_moment_never_keeps_the_job_locked(tmp_path: Path) -> None:
    spec = job("true", "sleep 0.01", "true")
    options = JobExecutionOptions(concurrency=2, job_dir=tmp_path)
    for step in range(60):
        task = asyncio.ensure_future(JobExecutor(LocalWorkerAdapter()).execute(spec, options))
        await asyncio.sleep(step * 0.0005)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        if not task.cancelled():
            assert task.exception() is None


@on_asyncio
async def test_asyncio_timeout_ends_every_chunk() -> None:
    mark = uuid.uuid4().hex
    started = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.5):
            await JobExecutor(LocalWorkerAdapter()).execute(job(f"sleep 60; : {mark}"))
    assert type(caught.value) is TimeoutError
    assert time.monotonic() - started < 10
    assert descendants_marked(mark) == []


async def test_a_merge_command_is_not_run_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailedError):
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("exit 1", merge="touch merged"), JobExecutionOptions(job_dir=tmp_path)
        )
    assert names_in(tmp_path) == set()
