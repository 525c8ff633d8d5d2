"""It is told when a command begins, and no limit counts the time that it waited before."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest

from support.jobs import job, shell
from support.raw_server import FrameStream, Request, answer, serving
from tailrace import (
    Capabilities,
    ChunkFailedError,
    HttpWorkerAdapter,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerPool,
    WorkerResult,
    WorkerTimeoutError,
    parse_command,
    run,
)
from tailrace.progress import Renderer, Rule

pytestmark = pytest.mark.anyio

TOY = Renderer("toy", [Rule(r"frame (?P<frame>\d+): (?P<percent>\d+)%", "frame ")])
on_both_backends = pytest.mark.parametrize("backend", ["native", "python"])


def command(script: str, **fields: Any) -> WorkerJob:
    """Return the job that has a shell run `script`."""
    return WorkerJob(*parse_command(shell(script)), **fields)


def announcing(told: list[str], *, is_async: bool) -> Callable[[], object]:
    """Return a callback that notes that it was called."""

    def plain() -> None:
        told.append("started")

    async def slow() -> None:
        await anyio.sleep(0.3)
        told.append("started")

    return slow if is_async else plain


class OnePlace:
    """Somebody's adapter that runs one command at a time on this machine."""

    streams = True
    capabilities = Capabilities(streams=True, tells_start=True)

    async def execute(self, job: WorkerJob) -> WorkerResult:
        return await LocalWorkerAdapter().execute(job)

    async def places(self) -> int | None:
        return 1


# On this machine


@on_both_backends
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_a_command_that_begins_is_told_once_before_its_output(
    backend: Literal["native", "python"], is_async: bool
) -> None:
    told: list[str] = []
    begun = command("echo out; sleep 0.1; echo err >&2", on_stdout=told.append, on_stderr=told.append)
    for on_started in (announcing(told, is_async=is_async), None):
        told.clear()
        job = WorkerJob(begun.command, begun.args, on_started=on_started, on_stdout=told.append, on_stderr=told.append)
        await LocalWorkerAdapter(backend=backend).execute(job)
        # What comes first of two streams is up to chance where both are waiting already.
        assert told[:-2] == (["started"] if on_started else [])
        assert sorted(told[-2:]) == ["err\n", "out\n"]


@on_both_backends
async def test_a_start_is_told_where_nobody_listens_to_output_and_is_over_before_the_result(
    backend: Literal["native", "python"],
) -> None:
    told: list[str] = []
    result = await LocalWorkerAdapter(backend=backend).execute(
        command("echo out", on_started=announcing(told, is_async=True))
    )
    assert (told, result.stdout) == (["started"], "out\n")


@on_both_backends
async def test_a_callback_for_the_start_that_raises_ends_the_command_and_its_exception_comes_out_bare(
    backend: Literal["native", "python"], mark: str
) -> None:
    async def refuse() -> None:
        await anyio.lowlevel.checkpoint()
        raise LookupError("mine")

    def refuse_at_once() -> None:
        raise LookupError("mine")

    for on_started in (refuse, refuse_at_once):
        with pytest.raises(LookupError, match="mine"):
            await LocalWorkerAdapter(backend=backend).execute(
                command(f"sh -c 'sleep 60; : {mark}'; true", on_started=on_started)
            )


@on_both_backends
async def test_a_slow_callback_for_the_start_costs_no_output(backend: Literal["native", "python"]) -> None:
    pieces: list[str] = []

    async def wait() -> None:
        # Longer than a pipe is read that nobody but a daemon has open.
        await anyio.sleep(3)

    job = command("head -c 3000000 /dev/zero; echo end >&2", on_started=wait, on_stdout=pieces.append)
    result = await LocalWorkerAdapter(backend=backend).execute(job)
    assert len("".join(pieces)) == len(result.stdout_bytes) == 3_000_000
    assert (result.stderr, result.truncated) == ("end\n", False)


@on_both_backends
async def test_a_callback_for_the_start_that_hangs_is_cancelled_after_the_grace_of_a_limit(
    backend: Literal["native", "python"], mark: str
) -> None:
    job = command(f"sh -c 'sleep 60; : {mark}'; true", timeout=0.3, kill_grace=0.3, on_started=anyio.sleep_forever)
    with anyio.fail_after(20), pytest.raises(WorkerTimeoutError):
        await LocalWorkerAdapter(backend=backend).execute(job)


def test_a_script_is_told_too_but_cannot_await() -> None:
    told: list[str] = []
    run(command("echo out", on_started=announcing(told, is_async=False), on_stdout=told.append))
    assert told == ["started", "out\n"]
    with pytest.raises(TypeError, match="cannot await an async callback"):
        run(command("true", on_started=announcing(told, is_async=True)))
    with pytest.raises(TypeError, match="cannot await an async callback"):
        # Only what it returns says that this one has to be awaited.
        run(command("true", on_started=lambda: anyio.lowlevel.checkpoint()))
    with pytest.raises(TypeError, match="on_started must be callable, not 5"):
        command("true", on_started=5)


# Waiting for a place


async def test_a_wait_in_a_pool_counts_neither_as_lack_of_progress_nor_as_time() -> None:
    spec = job(*["echo frame 1: 1%; sleep 0.7; echo frame 1: 2%"] * 4)
    options = JobExecutionOptions(concurrency=4, progress=TOY, no_progress_timeout=1.5, timeout=2)
    began = time.monotonic()
    report = await JobExecutor(WorkerPool([OnePlace()])).execute(spec, options)
    # The last waited for longer than either limit.
    assert time.monotonic() - began > 2.8
    assert set(report.attempts.values()) == {1}


async def test_once_begun_a_command_without_output_makes_no_progress() -> None:
    options = JobExecutionOptions(progress=TOY, no_progress_timeout=0.5)
    with pytest.raises(ChunkFailedError, match=r"it made no progress for 0\.5 s"):
        await JobExecutor(WorkerPool([OnePlace()])).execute(job("sleep 60"), options)


async def test_the_executor_asks_for_the_start_only_where_it_needs_it() -> None:
    jobs: list[WorkerJob] = []

    class Noting(LocalWorkerAdapter):
        async def execute(self, job: WorkerJob) -> WorkerResult:
            jobs.append(job)
            return await super().execute(job)

    for limit in (None, 5):
        options = JobExecutionOptions(no_progress_timeout=limit, on_event=lambda _: None)
        await JobExecutor(Noting()).execute(job("true"), options)
    assert [job.on_started is None for job in jobs] == [True, False]


# On a worker


async def test_what_a_worker_does_before_its_command_begins_does_not_count() -> None:
    told: list[str] = []

    def respond(connection: socket.socket, request: Request) -> None:
        if len(server.requests) == 1:
            answer(connection, "full", status="429 Too Many Requests", headers="Retry-After: 0\r\n")
            return
        assert request.json()["timeout"] == 0.5
        # It has a queue of its own, or starts cold.
        time.sleep(3)
        stream = FrameStream(connection)
        stream.stdout(b"done")
        stream.result()
        stream.end()

    with serving(respond) as server:
        adapter = HttpWorkerAdapter(server.url, job_def_url="job.json", streaming=True)
        assert Capabilities.of(adapter).tells_start
        for is_async in (False, True):
            told.clear()
            job = WorkerJob(
                "render",
                timeout=0.5,
                on_started=announcing(told, is_async=is_async),
                on_stdout=told.append,
                meta={"chunk_id": 0},
            )
            assert (await adapter.execute(job)).exit_code == 0
            assert told == ["started", "done"]


async def test_the_limit_counts_from_the_beginning_of_a_stream() -> None:
    began: list[float] = []

    def respond(connection: socket.socket, _: Request) -> None:
        time.sleep(1)
        stream = FrameStream(connection)
        with contextlib.suppress(ConnectionError):
            while not server.released.wait(0.05):
                stream.heartbeat()

    with serving(respond) as server:
        adapter = HttpWorkerAdapter(server.url, job_def_url="job.json", streaming=True)
        job = WorkerJob("render", timeout=0.5, on_started=lambda: began.append(time.monotonic()), meta={"chunk_id": 0})
        with anyio.fail_after(15), pytest.raises(WorkerTimeoutError, match=r"ran longer than 0\.5 s") as caught:
            await adapter.execute(job)
    # The worker has two seconds to say what it ended.
    assert 2.4 < time.monotonic() - began[0] < 10
    assert not caught.value.no_answer


@pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "cannot-stream"])
async def test_an_answer_that_comes_at_the_end_tells_no_start(streaming: bool) -> None:
    told: list[str] = []
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        adapter = HttpWorkerAdapter(server.url, job_def_url="job.json", streaming=streaming)
        assert Capabilities.of(adapter).tells_start == streaming
        await adapter.execute(WorkerJob("render", on_started=announcing(told, is_async=False), meta={"chunk_id": 0}))
    assert told == []


async def test_a_callback_for_the_start_on_a_worker_that_raises_closes_the_connection() -> None:
    def refuse() -> None:
        raise LookupError("mine")

    def respond(connection: socket.socket, _: Request) -> None:
        FrameStream(connection).heartbeat()
        server.wait_for_disconnect(connection)

    with serving(respond) as server:
        adapter = HttpWorkerAdapter(server.url, job_def_url="job.json", streaming=True)
        with pytest.raises(LookupError, match="mine"):
            await adapter.execute(WorkerJob("render", on_started=refuse, meta={"chunk_id": 0}))
        assert server.disconnected.wait(10)


async def test_a_worker_that_has_begun_and_sends_nothing_makes_no_progress() -> None:
    def respond(connection: socket.socket, _: Request) -> None:
        time.sleep(1)
        stream = FrameStream(connection)
        with contextlib.suppress(ConnectionError):
            while not server.released.wait(0.05):
                stream.heartbeat()

    with serving(respond) as server:
        adapter = HttpWorkerAdapter(server.url, job_def_url="job.json", streaming=True)
        options = JobExecutionOptions(progress=TOY, no_progress_timeout=0.5)
        with anyio.fail_after(15), pytest.raises(ChunkFailedError, match=r"it made no progress for 0\.5 s"):
            await JobExecutor(adapter).execute(job("true"), options)
