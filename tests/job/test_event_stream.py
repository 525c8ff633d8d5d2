"""A job's events can be iterated over while it runs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import anyio
import pytest

from support.jobs import job
from tailrace import (
    ChunkFailedError,
    ChunkFinished,
    ChunkOutput,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobFinished,
    JobLockedError,
    LocalWorkerAdapter,
)

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])

executor = JobExecutor(LocalWorkerAdapter())


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_iterating_gives_every_event_and_then_the_report() -> None:
    listened: list[JobEvent] = []
    options = JobExecutionOptions(concurrency=3, on_event=listened.append)
    async with executor.stream(job(*["echo a; echo b >&2"] * 9), options) as events:
        iterated = [event async for event in events]
    assert [event.sequence for event in iterated] == list(range(len(iterated)))
    assert iterated == listened
    assert isinstance(iterated[-1], JobFinished)
    assert sum(isinstance(event, ChunkFinished) for event in iterated) == 9
    assert events.report is not None
    assert len(events.report.results) == 9


async def test_a_failed_job_raises_after_its_last_event() -> None:
    seen: list[JobEvent] = []
    with pytest.raises(ChunkFailedError) as caught:
        async with executor.stream(job("exit 3")) as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401
    assert isinstance(seen[-1], JobFinished)
    assert seen[-1].error is caught.value
    assert caught.value.__context__ is None
    assert events.report is None


async def test_what_keeps_a_job_from_starting_comes_out_of_the_iteration(tmp_path: Path) -> None:
    options = JobExecutionOptions(job_dir=tmp_path)
    async with executor.stream(job("sleep 60"), options) as first:
        assert await anext(first)
        with pytest.raises(JobLockedError):
            async with executor.stream(job("true"), options) as second:
                await anext(second)


async def test_leaving_the_block_ends_the_job(tmp_path: Path) -> None:
    began = time.monotonic()
    async with executor.stream(job("echo $$; sleep 60"), JobExecutionOptions(job_dir=tmp_path)) as events:
        async for event in events:
            if isinstance(event, ChunkOutput):
                pid = int(event.data)
                assert is_running(pid)
                break
    assert not is_running(pid)
    assert time.monotonic() - began < 30


async def test_an_error_in_the_block_comes_out_bare_and_ends_the_job() -> None:
    with pytest.raises(ZeroDivisionError):
        async with executor.stream(job("echo $$; sleep 60")) as events:
            async for event in events:
                if isinstance(event, ChunkOutput):
                    pid = int(event.data)
                    raise ZeroDivisionError
    assert not is_running(pid)


async def test_cancelling_who_iterates_ends_the_job() -> None:
    pid = 0
    with anyio.move_on_after(30) as scope:
        async with executor.stream(job("echo $$; sleep 60")) as events:
            async for event in events:
                if isinstance(event, ChunkOutput):
                    pid = int(event.data)
                    scope.cancel()
    assert scope.cancelled_caught
    assert pid
    assert not is_running(pid)


async def test_a_callback_that_raises_comes_out_of_the_iteration() -> None:
    error = ValueError("mine")

    def refuse(chunk_id: int, data: str) -> None:
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        async with executor.stream(job("echo a"), JobExecutionOptions(on_chunk_stdout=refuse)) as events:
            async for _ in events:
                pass
    assert caught.value is error


async def test_a_slow_consumer_holds_the_job_up_and_loses_nothing() -> None:
    total = 64 << 20
    wanted = job(f"head -c {total} /dev/zero; echo done >&2")
    received = 0
    options = JobExecutionOptions(stream="bytes")
    async with executor.stream(wanted, options) as events:
        async for event in events:
            if not isinstance(event, ChunkOutput):
                continue
            if received == 0:
                # It cannot have written all: nobody takes it.
                await anyio.sleep(0.5)
                assert event.stream == "stdout"
            if event.stream == "stdout":
                received += len(event.data)
            else:
                assert received > total // 2
    assert received == total


async def test_entering_and_leaving_at_once_starts_nothing_that_stays() -> None:
    async with executor.stream(job("sleep 60")):
        pass


async def test_a_callback_that_raises_stop_async_iteration_does_not_end_the_iteration_as_if_all_were_well() -> None:
    error = StopAsyncIteration()

    def stop(chunk_id: int, data: str) -> None:
        raise error

    with pytest.raises(RuntimeError, match="a callback raised StopAsyncIteration") as caught:
        async with executor.stream(job("echo a"), JobExecutionOptions(on_chunk_stdout=stop)) as events:
            async for _ in events:
                pass
    assert caught.value.__cause__ is error
    assert events.report is None


@on_asyncio
async def test_awaiting_what_was_cancelled_does_not_end_the_iteration_as_if_all_were_well() -> None:
    async def wait_for_cancelled(*_: object) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(RuntimeError, match="something was awaited that had been cancelled"):
        async with executor.stream(job("echo a"), JobExecutionOptions(on_chunk_stdout=wait_for_cancelled)) as events:
            async for _ in events:
                pass


@on_asyncio
async def test_cancelling_the_tasks_of_the_job_alone_is_told_to_who_iterates() -> None:
    with pytest.raises(RuntimeError, match="the job was cancelled"):
        async with executor.stream(job("sleep 60")) as events:
            assert await anext(events)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                if "_run_job" in repr(task):
                    task.cancel()
            async for _ in events:
                pass


async def test_iterating_without_entering_says_what_to_write() -> None:
    with pytest.raises(RuntimeError, match="`async with executor"):
        async for _ in executor.stream(job("true")):
            pass
    with pytest.raises(RuntimeError, match="`async with executor"):
        await anext(executor.stream(job("true")))


async def test_a_listener_hears_of_the_end_of_a_job_whose_block_was_left(tmp_path: Path) -> None:
    listened: list[JobEvent] = []
    options = JobExecutionOptions(job_dir=tmp_path, on_event=listened.append)
    async with executor.stream(job("sleep 60"), options) as events:
        await anext(events)
    assert isinstance(listened[-1], JobFinished)
    assert isinstance(listened[-1].error, anyio.get_cancelled_exc_class())
