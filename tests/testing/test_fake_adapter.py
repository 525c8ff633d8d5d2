"""The fake adapter does what its script says, and keeps the contract of an adapter meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import trio.testing

from support.jobs import job
from tailrace import (
    Capabilities,
    Capture,
    ChunkFailedError,
    CommandEnding,
    JobExecutionOptions,
    JobExecutor,
    WorkerJob,
    WorkerRemoteError,
    WorkerTimeoutError,
)
from tailrace.testing import FakeAdapter, FakeExecution, FakeOutput, Script

pytestmark = pytest.mark.anyio

# Seconds pass at once, where nobody has anything else to do.
without_waiting = pytest.mark.parametrize(
    "anyio_backend", [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})], ids=["trio"]
)


def chunk(chunk_id: int, **fields: Any) -> WorkerJob:
    """Return the job of a chunk."""
    return WorkerJob("render", meta={"chunk_id": chunk_id}, **fields)


async def test_one_execution_is_done_each_time() -> None:
    adapter = FakeAdapter(FakeExecution(["frame 1\n", FakeOutput(b"\xff", stream="stderr")], exit_code=3))
    for _ in range(2):
        result = await adapter.execute(chunk(0))
        assert (result.exit_code, result.stdout, result.stderr_bytes) == (3, "frame 1\n", b"\xff")


async def test_a_list_is_done_in_its_order_and_no_more() -> None:
    adapter = FakeAdapter([FakeExecution(["one"]), FakeExecution(["two"])])
    assert [(await adapter.execute(chunk(0))).stdout for _ in range(2)] == ["one", "two"]
    with pytest.raises(LookupError, match="the script has 2 executions, and this is one more"):
        await adapter.execute(chunk(0))


async def test_a_mapping_tells_chunks_and_attempts_apart() -> None:
    adapter = FakeAdapter({(1, 2): FakeExecution(["again"]), 1: FakeExecution(["one"]), None: FakeExecution(["merge"])})
    outputs = [(await adapter.execute(chunk(1))).stdout for _ in range(3)]
    assert outputs == ["one", "again", "one"]
    assert (await adapter.execute(WorkerJob("join"))).stdout == "merge"
    assert [record.attempt for record in adapter.executions] == [1, 2, 3, 1]
    with pytest.raises(LookupError, match="the script has nothing for attempt 1 at chunk 7: add the key 7"):
        await adapter.execute(chunk(7))


async def test_a_function_is_asked_with_each_job() -> None:
    adapter = FakeAdapter(lambda job: FakeExecution([f"{job.command} {job.meta['chunk_id']}"]))
    assert (await adapter.execute(chunk(4))).stdout == "render 4"
    with pytest.raises(TypeError, match="the script must give a FakeExecution for attempt 1 at chunk 0, not None"):
        await FakeAdapter(lambda _: cast(Any, None)).execute(chunk(0))


@pytest.mark.parametrize(
    ("mode", "pieces"),
    [
        ("bytes", [b"gr\xc3", b"\xbcn\r\n", b"la", b"st"]),
        ("text", ["gr", "ün\r\n", "la", "st"]),
        ("lines", ["grün", "last"]),
    ],
)
async def test_callbacks_get_the_pieces_of_their_mode(mode: Any, pieces: list[Any]) -> None:
    received: list[Any] = []
    written = [b"gr\xc3", b"\xbcn\r\n", b"la", b"st"]
    adapter = FakeAdapter(FakeExecution([FakeOutput(data, stream="stderr") for data in written]))
    result = await adapter.execute(chunk(0, stream=mode, on_stderr=received.append))
    assert received == pieces
    assert all(isinstance(piece, memoryview) and piece.readonly for piece in received if mode == "bytes")
    assert result.stderr == "grün\r\nlast"


async def test_output_comes_in_its_order_and_async_callbacks_are_awaited() -> None:
    received: list[str] = []

    async def take(text: str) -> None:
        await anyio.sleep(0.01)
        received.append(text)

    output = [FakeOutput("late", at=0.1), FakeOutput("first"), FakeOutput("second", stream="stderr")]
    adapter = FakeAdapter(FakeExecution([*output, FakeOutput("third", at=0.05)]))
    await adapter.execute(chunk(0, on_stdout=take, on_stderr=take))
    assert received == ["first", "second", "third", "late"]


@without_waiting
async def test_an_hour_passes_at_once_under_a_mock_clock() -> None:
    came_at: list[float] = []
    began = anyio.current_time()
    adapter = FakeAdapter(FakeExecution([FakeOutput("half", at=1800)], duration=3600))
    result = await adapter.execute(chunk(0, on_stdout=lambda _: came_at.append(anyio.current_time() - began)))
    assert (came_at, result.duration) == ([1800], 3600)


async def test_the_result_keeps_what_the_capture_says() -> None:
    result = await FakeAdapter(FakeExecution(["012345", "6789"])).execute(chunk(0, capture=Capture.head_tail(2, 3)))
    assert (result.stdout, result.truncated) == ("01789", True)


async def test_the_error_of_the_script_comes_after_the_output() -> None:
    received: list[str] = []
    error = WorkerRemoteError("the worker is gone")
    adapter = FakeAdapter(FakeExecution(["begun"], error=error))
    with pytest.raises(WorkerRemoteError) as caught:
        await adapter.execute(chunk(0, stream="lines", on_stdout=received.append))
    assert str(caught.value) == str(error)
    # One for each execution: whoever catches it may add to it.
    assert caught.value is not error
    assert received == ["begun"]
    assert (adapter.executions[0].ending, adapter.executions[0].outcome) == ("raised", caught.value)


@without_waiting
@pytest.mark.parametrize(
    ("limits", "kind", "seconds", "output"),
    [
        ({"timeout": 25.0}, "total", 25, "ab"),
        ({"idle_timeout": 15.0}, "idle", 35, "ab"),
        # What comes in the moment of a limit comes before it.
        ({"idle_timeout": 10.0}, "idle", 30, "ab"),
        ({"timeout": 20.0}, "total", 20, "ab"),
    ],
)
async def test_limits_end_an_execution_with_the_output_so_far(
    limits: dict[str, float], kind: str, seconds: float, output: str
) -> None:
    received: list[str] = []
    outputs = [FakeOutput("a", at=10), FakeOutput("b", stream="stdout", at=20)]
    adapter = FakeAdapter(FakeExecution(outputs, duration=60))
    with pytest.raises(WorkerTimeoutError) as caught:
        await adapter.execute(chunk(0, stream="lines", on_stdout=received.append, **limits))
    assert caught.value.kind == kind
    assert caught.value.result is not None
    assert (caught.value.result.stdout, caught.value.result.duration) == (output, seconds)
    assert received == [output]


@without_waiting
async def test_a_slow_callback_does_not_count_as_silence_and_is_cancelled_after_the_grace_of_a_limit() -> None:
    adapter = FakeAdapter(FakeExecution(["a", FakeOutput("b", at=1)]))

    async def take(_: str) -> None:
        await anyio.sleep(30)

    result = await adapter.execute(chunk(0, idle_timeout=10, on_stdout=take))
    assert (result.stdout, result.duration) == ("ab", 60)
    with pytest.raises(WorkerTimeoutError) as caught:
        await adapter.execute(chunk(0, timeout=10, kill_grace=5, on_stdout=take))
    assert caught.value.result is not None
    assert (caught.value.result.stdout, caught.value.result.duration) == ("a", 15)


async def test_a_cancellation_comes_out_and_is_noted() -> None:
    adapter = FakeAdapter(FakeExecution(duration=60))
    with anyio.move_on_after(5) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(adapter.execute, chunk(0))
            while adapter.running < 1:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert [record.ending for record in adapter.executions] == ["cancelled"]
    assert adapter.running == 0


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_what_a_callback_raises_comes_out_unchanged_and_nothing_is_delivered_after_it(is_async: bool) -> None:
    error = KeyError("from the callback")
    received: list[str] = []

    def fail(text: str) -> None:
        received.append(text)
        raise error

    async def fail_later(text: str) -> None:
        fail(text)

    adapter = FakeAdapter(FakeExecution(["a\nb\n", FakeOutput("c", stream="stderr")]))
    callback: Callable[[str], object] = fail_later if is_async else fail
    with pytest.raises(KeyError) as caught:
        await adapter.execute(chunk(0, stream="lines", on_stdout=callback, on_stderr=callback))
    assert caught.value is error
    assert received == ["a"]


async def test_the_start_is_told_before_the_output() -> None:
    told: list[str] = []

    async def note() -> None:
        await anyio.sleep(0.01)
        told.append("started")

    adapter = FakeAdapter(FakeExecution(["output"]))
    await adapter.execute(chunk(0, on_started=note, on_stdout=told.append))
    assert told == ["started", "output"]


async def test_an_execution_can_be_ended_early_with_its_result() -> None:
    ending = CommandEnding()
    script = FakeExecution([FakeOutput("begun", at=0), FakeOutput("never", at=50)], error=RuntimeError("no"))
    adapter = FakeAdapter(script)
    result = await adapter.execute(chunk(0, ending=ending, on_stdout=lambda _: ending.end()))
    assert (result.exit_code, result.stdout, adapter.executions[0].ending) == (-15, "begun", "returned")
    deaf = FakeAdapter(FakeExecution(["all"]), capabilities=Capabilities(streams=True))
    assert (await deaf.execute(chunk(0, ending=ending))).stdout == "all"


async def test_what_it_cannot_do_is_quietly_left_undone() -> None:
    received: list[str] = []
    capabilities = Capabilities(streams=False, remote=True, honours_limits=False)
    adapter = FakeAdapter(FakeExecution([FakeOutput("done", at=0.1)]), capabilities=capabilities)
    limits = {"timeout": 0.01, "idle_timeout": 0.01}
    callbacks = {"on_started": lambda: received.append("started"), "on_stdout": received.append}
    result = await adapter.execute(chunk(0, **limits, **callbacks))
    assert (result.stdout, received) == ("done", [])
    assert Capabilities.of(adapter) is capabilities
    assert adapter.streams is False


async def test_a_job_is_retried_as_with_any_adapter_and_its_jobs_are_noted() -> None:
    script: Script = {0: FakeExecution(["ok"]), (1, 1): FakeExecution(exit_code=1), 1: FakeExecution(["better"])}
    adapter = FakeAdapter(script)
    report = await JobExecutor(adapter).execute(job("zero", "one"), JobExecutionOptions(retries=1, retry_delay=0.01))
    assert [report.results[number].stdout for number in range(2)] == ["ok", "better"]
    assert [job.meta["chunk_id"] for job in adapter.jobs] == [0, 1, 1]
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(FakeAdapter(FakeExecution(exit_code=9))).execute(job("zero"))
    assert caught.value.result is not None
    assert caught.value.result.exit_code == 9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FakeOutput(cast(Any, 3)), "data must be bytes or a str, not 3"),
        (lambda: FakeOutput("x", stream=cast(Any, "out")), "stream must be 'stdout' or 'stderr', not 'out'"),
        (lambda: FakeOutput("x", at=-1), "at must"),
        (lambda: FakeExecution(cast(Any, "x")), "output must be a list of FakeOutput, bytes or str, not 'x'"),
        (lambda: FakeExecution(cast(Any, [3])), "data must be bytes or a str, not 3"),
        (lambda: FakeExecution(exit_code=cast(Any, None)), "exit_code must be an int, not None"),
        (lambda: FakeExecution(error=cast(Any, ValueError)), "error must be an exception to raise, or None"),
        (lambda: FakeExecution([FakeOutput("x", at=2)], duration=1), "duration is 1 s, but there is output at 2 s"),
        (lambda: FakeAdapter(cast(Any, 3)), "script must be a FakeExecution, a list or a mapping"),
        (lambda: FakeAdapter(cast(Any, "x")), "script must be a FakeExecution, a list or a mapping"),
        (lambda: FakeAdapter([], capabilities=cast(Any, True)), "capabilities must be a Capabilities, not True"),
    ],
)
def test_a_script_that_cannot_be_followed_is_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
