"""Callbacks and tasks that are slow, stuck, interrupted or gone."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest
import trio

from support.processes import descendants_marked, python, wait_until_marked, wait_until_none_is_marked
from tailrace import Capture, LocalWorkerAdapter, WorkerJob, WorkerResult, WorkerTimeoutError

Backend = Literal["native", "python"]


@pytest.fixture(params=["native", "python"])
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


async def execute(backend: Backend, command: tuple[str, list[str]], **options: Any) -> WorkerResult:
    return await LocalWorkerAdapter(backend=backend).execute(WorkerJob(*command, **options))


@pytest.mark.parametrize("runner", [asyncio.run, trio.run], ids=["asyncio.run", "trio.run"])
def test_a_stuck_callback_is_cancelled_also_where_anyio_did_not_start_the_loop(
    runner: Any, backend: Backend, mark: str
) -> None:
    async def forever(_: str) -> None:
        await anyio.sleep_forever()

    async def main() -> None:
        with anyio.fail_after(30):
            await execute(
                backend,
                ("bash", ["-c", "echo hello; sleep 60", mark]),
                timeout=0.4,
                kill_grace=0.3,
                on_stdout=forever,
            )

    with pytest.raises(WorkerTimeoutError) as caught:
        runner(main if runner is trio.run else main())
    assert caught.value.kind == "total"


@pytest.mark.anyio
async def test_a_busy_stream_does_not_keep_the_other_from_being_heard(backend: Backend) -> None:
    late: list[float] = []

    async def on_stdout(_: str) -> None:
        await anyio.lowlevel.checkpoint()

    source = """
import os, threading, time
def report():
    for _ in range(6):
        os.write(2, b"%f\\n" % time.time())
        time.sleep(0.2)
    os._exit(0)
threading.Thread(target=report).start()
while True: os.write(1, b"x" * 99 + b"\\n")
"""
    await execute(
        backend,
        python(source),
        stream="lines",
        capture=Capture.none(),
        on_stdout=on_stdout,
        on_stderr=lambda line: late.append(time.time() - float(line)),
    )
    assert len(late) == 6
    assert max(late) < 0.9


@pytest.mark.anyio
async def test_the_last_line_comes_at_the_end_of_its_stream_and_not_of_the_command(backend: Backend) -> None:
    seen: list[float] = []
    started = time.monotonic()
    await execute(
        backend,
        ("bash", ["-c", "printf abc; exec >&-; sleep 2"]),
        stream="lines",
        on_stdout=lambda _: seen.append(time.monotonic() - started),
    )
    assert len(seen) == 1
    assert seen[0] < 1.5


@pytest.mark.anyio
async def test_a_descendant_that_never_stops_writing_does_not_hold_the_result(backend: Backend, mark: str) -> None:
    def slow(view: memoryview) -> None:
        time.sleep(len(view) / 20e6)

    started = time.monotonic()
    result = await execute(
        backend,
        ("bash", ["-c", "yes & exit 3", mark]),
        stream="bytes",
        on_stdout=slow,
        capture=Capture.none(),
        kill_grace=0.5,
    )
    assert (result.exit_code, result.truncated) == (3, True)
    assert time.monotonic() - started < 20


@pytest.mark.anyio
async def test_only_the_group_is_ended_when_a_command_has_ended_by_itself(backend: Backend, mark: str) -> None:
    script = f"setsid bash -c ': {mark}; sleep 60; :' >/dev/null 2>&1 & sleep 61 >/dev/null 2>&1 & sleep 0.3; exit 0"
    result = await execute(backend, ("bash", ["-c", script]))
    assert result.exit_code == 0
    daemons = descendants_marked(mark)
    assert len(daemons) == 1
    os.killpg(daemons[0], signal.SIGKILL)
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


def test_ctrl_c_during_the_grace_of_a_cancellation_is_not_lost_on_trio() -> None:
    source = """
import anyio, os, threading, trio
from tailrace import LocalWorkerAdapter, WorkerJob
job = WorkerJob("bash", ["-c", "trap '' TERM; while :; do sleep 0.1; done"], kill_grace=1.5)
async def main():
    threading.Timer(1.0, lambda: os.kill(os.getpid(), 2)).start()
    with anyio.move_on_after(0.5):
        await LocalWorkerAdapter().execute(job)
    await anyio.sleep(1)
    print("lost")
try:
    trio.run(main)
except KeyboardInterrupt:
    print("came out")
"""
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=200)
    assert result.stdout == "came out\n"


def test_a_task_that_is_abandoned_with_its_loop_takes_its_command_with_it(mark: str) -> None:
    class Owner:
        task: asyncio.Future[WorkerResult]

        def on_stdout(self, _: str) -> None: ...

    async def main(owner: Owner) -> None:
        job = WorkerJob("bash", ["-c", "sleep 60 & wait", mark], on_stdout=owner.on_stdout, kill_grace=0.2)
        owner.task = asyncio.ensure_future(LocalWorkerAdapter(backend="native").execute(job))
        await asyncio.to_thread(wait_until_marked, mark)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(main(Owner()))
    loop.close()
    del loop
    deadline = time.monotonic() + 20
    while descendants_marked(mark) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)


@pytest.mark.anyio
async def test_a_tree_is_ended_though_this_process_has_no_descriptor_left(mark: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used: list[int] = []
    try:
        with anyio.CancelScope() as scope:

            def use_all_descriptors_and_cancel(_: str) -> None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
                try:
                    while True:
                        used.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    scope.cancel()

            job = ("bash", ["-c", "echo ready; sleep 60 & sleep 60", mark])
            await execute("native", job, kill_grace=1, on_stdout=use_all_descriptors_and_cancel)
    finally:
        for fd in used:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert scope.cancelled_caught
    assert descendants_marked(mark) == []


def test_nothing_is_started_any_more_once_everything_is_being_killed() -> None:
    mark = f"mark-{uuid.uuid4()}"
    source = """
import asyncio, os, sys, tailrace
async def main():
    job = tailrace.WorkerJob("bash", ["-c", "trap '' TERM; while :; do sleep 0.1; done", sys.argv[1]])
    tasks = [asyncio.ensure_future(tailrace.LocalWorkerAdapter().execute(job)) for _ in range(300)]
    await asyncio.sleep(0.05)
    tailrace.kill_all_commands(10)
    print("killed", flush=True)
    sys.stdin.read()
    os._exit(0)
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", source, mark], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "killed\n"
        time.sleep(0.5)
        left = set(descendants_marked(mark)) - {host.pid}
    assert left == set()
