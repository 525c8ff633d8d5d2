"""Which backend runs commands, and what is there without the native core."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from support.loops import ASYNCIO, TRIO, UVLOOP
from support.processes import descriptors_when_idle
from tailrace import LocalWorkerAdapter, WorkerJob, WorkerResult

WITHOUT_CORE = """
import sys
sys.modules["tailrace._native"] = None
import anyio, tailrace
job = tailrace.WorkerJob("sh", ["-c", "echo one; echo two"], stream="lines", on_stdout=print)
print(tailrace.run(job).exit_code)
print(anyio.run(tailrace.LocalWorkerAdapter().execute, job).stdout_bytes)
try:
    tailrace.LocalWorkerAdapter(backend="native")
except ImportError as error:
    print(error)
"""


def test_everything_works_where_the_core_is_missing() -> None:
    result = subprocess.run([sys.executable, "-c", WITHOUT_CORE], capture_output=True, text=True, timeout=200)
    assert result.stdout.splitlines() == [
        "one",
        "two",
        "0",
        "one",
        "two",
        "b'one\\ntwo\\n'",
        "tailrace was installed without its native core: use backend='python'",
    ]
    assert result.stderr == ""


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend must be 'auto', 'native' or 'python', not 'rust'"):
        LocalWorkerAdapter(backend="rust")  # type: ignore[arg-type]


@pytest.mark.parametrize(("loop", "options"), [ASYNCIO, UVLOOP, TRIO])
def test_an_event_loop_that_is_gone_leaves_no_descriptor(loop: str, options: dict[str, Any]) -> None:
    def run_once() -> None:
        anyio.run(LocalWorkerAdapter().execute, WorkerJob("true"), backend=loop, backend_options=options)

    run_once()
    gc.collect()
    before = descriptors_when_idle()
    for _ in range(20):
        run_once()
    gc.collect()
    assert descriptors_when_idle() <= before


@pytest.mark.parametrize(("loop", "options"), [ASYNCIO, UVLOOP])
def test_an_event_loop_is_freed_though_commands_waited_there_for_their_turn(loop: str, options: dict[str, Any]) -> None:
    async def run_many() -> weakref.ref[asyncio.AbstractEventLoop]:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(LocalWorkerAdapter().execute, WorkerJob("true"))
        return weakref.ref(asyncio.get_running_loop())

    gone = anyio.run(run_many, backend=loop, backend_options=options)
    gc.collect()
    assert gone() is None


@pytest.mark.anyio
async def test_commands_that_are_cancelled_while_they_wait_for_their_turn_keep_nobody_from_theirs() -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(LocalWorkerAdapter().execute, WorkerJob("sleep", ["60"]))
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(LocalWorkerAdapter().execute, WorkerJob("true"))


def test_trio_may_be_a_guest_in_an_event_loop_of_asyncio() -> None:
    async def main() -> WorkerResult:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            LocalWorkerAdapter().execute,
            WorkerJob("echo", ["hello"]),
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=outcome.set_result,
        )
        result: WorkerResult = (await outcome).unwrap()
        return result

    assert asyncio.run(main()).stdout == "hello\n"
