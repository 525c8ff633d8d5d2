"""A command that uses no processor is ended, and one that works is not."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any, Literal

import anyio
import pytest

from support.loops import on_every_loop
from support.processes import descendants_marked, fork_beside_threads, python
from tailrace import LocalWorkerAdapter, WorkerJob, WorkerResult, WorkerTimeoutError, run

pytestmark = pytest.mark.anyio

WORKING = """
import subprocess, sys, time
end = time.monotonic() + 4
while time.monotonic() < end:
    {work}
    time.sleep(0.1)
"""
"""For longer than the limit of these tests, a little each time."""

backend: Literal["native", "python"]


@pytest.fixture(autouse=True, params=["native", "python"])
def _choose_backend(request: pytest.FixtureRequest) -> None:
    global backend
    backend = request.param


async def execute(command: tuple[str, list[str]], **options: Any) -> WorkerResult:
    return await LocalWorkerAdapter(backend=backend).execute(WorkerJob(*command, **options))


@on_every_loop
async def test_a_command_that_uses_no_processor_is_ended_by_its_limit(mark: str) -> None:
    received: list[str] = []
    began = time.monotonic()
    with pytest.raises(WorkerTimeoutError, match="used less than 1 % of a processor for 3 s") as caught:
        script = "echo before; sleep 60 & sleep 60"
        await execute(("/bin/bash", ["-c", script, mark]), on_stdout=received.append, cpu_idle_timeout=3)
    assert 3 <= time.monotonic() - began < 15
    assert (caught.value.kind, isinstance(caught.value, TimeoutError)) == ("cpu", True)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "before\n" == "".join(received)
    assert caught.value.result.exit_code == -signal.SIGTERM
    assert not descendants_marked(mark)


@pytest.mark.parametrize(
    "work",
    ["sum(range(300_000))", "subprocess.run([sys.executable, '-c', 'sum(range(300_000))'], check=True)"],
    ids=["itself", "what_it_starts"],
)
async def test_a_little_work_now_and_then_holds_the_limit_off(work: str, mark: str) -> None:
    assert (await execute(python(WORKING.format(work=work), mark), cpu_idle_timeout=1.5)).exit_code == 0


async def test_a_command_that_exits_in_time_is_left_alone(mark: str) -> None:
    result = await execute(("/bin/sh", ["-c", "echo done; exit 4", mark]), cpu_idle_timeout=0.1)
    assert (result.exit_code, result.stdout) == (4, "done\n")


async def test_a_command_that_waits_for_a_callback_is_not_taken_for_one_that_hangs(mark: str) -> None:
    is_first = True

    async def slow(_: memoryview) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            await anyio.sleep(4)

    # More than all that is read ahead, so that it has to wait inside of a write.
    source = "import os\nfor _ in range(64): os.write(1, bytes(2**18))"
    result = await execute(python(source, mark), stream="bytes", on_stdout=slow, cpu_idle_timeout=1.5)
    assert (result.exit_code, len(result.stdout_bytes)) == (0, 2**24)


async def test_a_stopped_command_counts_as_idle(mark: str) -> None:
    source = "import os, signal, time\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass"
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(python(source, mark), cpu_idle_timeout=1.5)
    assert caught.value.kind == "cpu"
    assert not descendants_marked(mark)


async def test_the_limit_holds_though_a_callback_keeps_the_event_loop(mark: str) -> None:
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(
            ("/bin/bash", ["-c", "echo go; sleep 60; :", mark]), on_stdout=lambda _: time.sleep(4), cpu_idle_timeout=1
        )
    assert caught.value.kind == "cpu"
    assert caught.value.result is not None
    # Without the core the loop itself has commands ended.
    assert backend == "python" or caught.value.result.duration < 3.5


def test_a_script_has_the_limit_too() -> None:
    with pytest.raises(WorkerTimeoutError) as caught:
        run(WorkerJob("sleep", ["60"], cpu_idle_timeout=1))
    assert caught.value.kind == "cpu"


@fork_beside_threads
def test_a_forked_copy_keeps_the_limit_of_its_own_commands() -> None:
    source = """
import os
from tailrace import WorkerJob, WorkerTimeoutError, run

def kind_of_end():
    try:
        run(WorkerJob("sleep", ["60"], cpu_idle_timeout=0.5))
    except WorkerTimeoutError as error:
        return error.kind

assert kind_of_end() == "cpu"
if os.fork() == 0:
    os._exit(7 if kind_of_end() == "cpu" else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert run(WorkerJob(sys.executable, ["-c", source])).stdout == "7\n"
