"""What a chunk writes reaches the callbacks whole, in order, and at little cost for each line."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from support.jobs import job
from support.loops import on_one_loop
from tailrace import (
    Callback,
    ChunkFailedError,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    MergeFailedError,
    StreamMode,
    WorkerJob,
    WorkerResult,
)

pytestmark = pytest.mark.anyio

_LINES = 20_000

executor = JobExecutor(LocalWorkerAdapter())


@on_one_loop
@pytest.mark.parametrize("masked", [False, True])
async def test_of_python_a_line_costs_its_callback_alone(masked: bool) -> None:
    secrets: dict[str, Any] = {"slot_env": {"TOKEN": ["a secret"]}, "mask_env": ["TOKEN"]} if masked else {}
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    # Much at once, as from a command that is faster than we are.
    options = JobExecutionOptions(stream="lines", on_chunk_stdout=lambda *_: None, **secrets)
    sys.setprofile(count)
    try:
        await executor.execute(job(f"sleep 0.3; seq {_LINES}"), options)
    finally:
        sys.setprofile(None)
    assert _LINES <= calls < 1.5 * _LINES


async def test_lines_arrive_whole_and_in_order_whatever_is_returned() -> None:
    received: list[str] = []

    async def late(line: str) -> None:
        await anyio.lowlevel.checkpoint()
        received.append(line)

    def mixed(_: int, line: str) -> object:
        if line.endswith("7"):
            return late(line)
        received.append(line)
        return False if line.endswith("3") else len(line)

    await executor.execute(job(f"seq {_LINES}"), JobExecutionOptions(stream="lines", on_chunk_stdout=mixed))
    assert received == [str(number) for number in range(1, _LINES + 1)]


async def test_after_a_callback_has_raised_none_is_called_any_more() -> None:
    received: list[str] = []
    error = ValueError("mine")

    def refuse(_: int, line: str) -> None:
        received.append(line)
        if line == "100":
            raise error

    with pytest.raises(ValueError, match="mine") as caught:
        await executor.execute(job(f"seq {_LINES}"), JobExecutionOptions(stream="lines", on_chunk_stdout=refuse))
    assert caught.value is error
    assert received == [str(number) for number in range(1, 101)]


async def test_what_another_chunks_callback_raised_stops_the_lines_that_have_been_split() -> None:
    received: list[str] = []
    is_first = anyio.Event()

    async def on_line(chunk_id: int, line: str) -> None:
        if chunk_id == 1:
            await is_first.wait()
            raise ValueError("mine")
        is_first.set()
        received.append(line)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.5)

    options = JobExecutionOptions(stream="lines", concurrency=2, on_chunk_stdout=on_line)
    with pytest.raises(ValueError, match="mine"):
        await executor.execute(job("seq 9; sleep 60", "echo; sleep 60"), options)
    assert received == ["1"]


async def test_lines_that_take_long_leave_the_event_loop_to_others() -> None:
    run_steps, most = 0, 0

    async def watch() -> None:
        nonlocal run_steps, most
        while True:
            most, run_steps = max(most, run_steps), 0
            await anyio.lowlevel.checkpoint()

    def slow(_: int, line: str) -> None:
        nonlocal run_steps
        run_steps += 1
        time.sleep(0.0005)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        # At once, so that all of it is one block.
        script = "x=$(seq 2000); echo $x | tr ' ' '\\n'"
        await executor.execute(job(script), JobExecutionOptions(stream="lines", on_chunk_stdout=slow))
        tasks.cancel_scope.cancel()
    assert 0 < most < 100


class Speaking:
    """Hands on one piece of output, in a form of its own."""

    streams = True
    remote = False

    def __init__(self, piece: str | memoryview) -> None:
        self._piece = piece

    async def execute(self, job: WorkerJob) -> WorkerResult:
        assert job.on_stderr is not None
        job.on_stderr(self._piece)
        return WorkerResult(0)


@pytest.mark.parametrize(
    ("piece", "stream", "logs", "told"),
    [
        ("text", "bytes", False, 'with str where the job\'s stream is "bytes": memoryview is expected'),
        ("text", "text", True, 'with str where the job\'s stream is "bytes": memoryview is expected'),
        ("text", "lines", False, 'with str where the job\'s stream is "bytes": memoryview is expected'),
        (memoryview(b"data"), "text", False, 'with memoryview where the job\'s stream is "text": str is expected'),
    ],
)
async def test_an_adapter_that_hands_on_output_in_another_form_fails_the_chunk_and_is_named(
    piece: str | memoryview, stream: StreamMode, logs: bool, told: str, tmp_path: Path
) -> None:
    received: list[object] = []
    options = JobExecutionOptions(
        stream=stream,
        retries=2,
        log_dir=tmp_path / "logs" if logs else None,
        on_chunk_stderr=lambda _, piece: received.append(piece),
    )
    with anyio.fail_after(10), pytest.raises(ChunkFailedError) as failed:
        await JobExecutor(Speaking(piece)).execute(job("true"), options)
    assert f"Speaking called on_stderr {told}" in str(failed.value)
    assert isinstance(failed.value.__cause__, TypeError)
    assert (failed.value.attempts, received) == (1, [])


async def test_a_stitcher_that_hands_on_output_in_another_form_fails_the_merge_and_is_named(tmp_path: Path) -> None:
    class Joining:
        streams = True

        async def stitch(
            self,
            inputs: Sequence[Path],
            output: Path,
            *,
            stream: StreamMode = "text",
            on_stdout: Callback | None = None,
            on_stderr: Callback | None = None,
        ) -> None:
            del inputs, output, stream, on_stderr
            assert on_stdout is not None
            on_stdout("joined")

    options = JobExecutionOptions(stitcher=Joining(), output_file="whole", job_dir=tmp_path, log_dir=tmp_path / "logs")
    with pytest.raises(MergeFailedError, match="Joining called on_stdout with str"):
        await executor.execute(job("echo > chunk_0"), options)
