"""Hosts that run commands on a sick machine, and report what came of it: `-m support.sick_hosts HOST BACKEND LOOP`.

Each runs in a process of its own, so that one that hangs is seen and ended.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from support.processes import descendants_marked, python
from tailrace import Capture, LocalWorkerAdapter, WorkerJob, WorkerResult, WorkerTimeoutError

Execute = Callable[[WorkerJob], Coroutine[Any, Any, WorkerResult]]
Report = dict[str, Any]

_TICKING = "import os, time\nwhile True:\n    os.write(1, b'.')\n    time.sleep(0.1)"


async def limit(execute: Execute, seconds: str, grace: str, *command: str) -> Report:
    """Have a limit end a command, while others tick."""
    async with ticking(execute, 3) as largest_gap:
        report = await _ended(execute, command, timeout=float(seconds), kill_grace=float(grace))
        return {**report, "gap": largest_gap()}


async def limit_and_rest(execute: Execute, seconds: str, grace: str, *command: str) -> Report:
    """Have a limit end a command; report what is left with its last argument in the command line."""
    report = await _ended(execute, command, timeout=float(seconds), kill_grace=float(grace))
    return {**report, "left": descendants_marked(command[-1])}


async def cancellation(execute: Execute, after: str, grace: str, *command: str) -> Report:
    """Cancel a command so many seconds after its first output, while others tick."""
    warnings: list[str] = []
    async with ticking(execute, 3) as largest_gap:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                said = anyio.Event()
                job = _job(command, kill_grace=float(grace), on_stdout=_say(said), on_warning=warnings.append)
                tasks.start_soon(execute, job)
                await said.wait()
                await anyio.sleep(float(after))
                started = time.monotonic()
                scope.cancel()
        return {"elapsed": time.monotonic() - started, "warnings": warnings, "gap": largest_gap()}


async def repeated_limits(execute: Execute, count: str) -> Report:
    """Have a limit end one command after the other, and count the threads that are left."""
    await execute(WorkerJob("true"))
    threads = _threads()
    started = time.monotonic()
    for _ in range(int(count)):
        await _ended(execute, ("sleep", "1000"), timeout=0.3, kill_grace=1)
    return {"elapsed": time.monotonic() - started - int(count) * 0.3, "threads": _threads() - threads}


async def for_ever(execute: Execute, *command: str) -> Report:
    """Run a command to its end."""
    result = await execute(_job(command, on_stdout=_say(anyio.Event())))
    return {"exit_code": result.exit_code}


async def stuck_pipes(execute: Execute, count: str, how: str, *command: str) -> Report:
    """Run `count` commands whose pipes cannot be read, and end them, by a limit or a cancellation.

    Meanwhile twenty others tick, and one of them has a limit of its own.
    """
    ends: list[Report] = []
    late = 0.0

    async def run_stuck() -> None:
        ends.append(await _ended(execute, command, timeout=3 if how == "limit" else None, kill_grace=1))

    async def run_limited() -> None:
        nonlocal late
        late = (await _ended(execute, ("sleep", "1000"), timeout=2, kill_grace=1))["elapsed"]

    async with ticking(execute, 20) as largest_gap:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_limited)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as stuck:
                    for _ in range(int(count)):
                        stuck.start_soon(run_stuck)
                    if how == "cancellation":
                        await anyio.sleep(3)
                        cancelled = time.monotonic()
                        scope.cancel()
            if how == "cancellation":
                ends.append({"elapsed": time.monotonic() - cancelled})
        return {"gap": largest_gap(), "late": late, "ends": ends}


async def whole_output(execute: Execute, expected: str, *command: str) -> Report:
    """Run a command to its end, while others tick; `expected` is a file with what it has to have written."""
    async with ticking(execute, 20) as largest_gap:
        whole = await anyio.Path(expected).read_bytes()
        result = await execute(_job(command, on_stdout=_say(anyio.Event()), stream="bytes"))
        is_whole = result.stdout_bytes == whole
        return {"exit_code": result.exit_code, "is_whole": is_whole, "gap": largest_gap()}


async def loading(execute: Execute, how: str, program: str) -> Report:
    """Start a program that is never loaded, and end it, by a limit or a cancellation.

    Meanwhile others are started, cancelled and limited, and this process is forked.
    """
    report: Report = {}

    async def run_stuck() -> None:
        report["limit"] = await _ended(execute, (program,), timeout=3 if how == "limit" else None, kill_grace=1)

    async def run_limited() -> None:
        report["late"] = (await _ended(execute, ("sleep", "1000"), timeout=1.5, kill_grace=1))["elapsed"]

    async def run_cancelled() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(execute, WorkerJob("sleep", ["1000"]))
                await anyio.sleep(1.5)
                started = time.monotonic()
                scope.cancel()
        report["cancellation"] = time.monotonic() - started

    async def start_others() -> None:
        starts = []
        for _ in range(10):
            started = time.monotonic()
            await execute(WorkerJob("true"))
            starts.append(time.monotonic() - started)
        report["start"] = max(starts)

    async with ticking(execute, 3) as largest_gap:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_limited)
            tasks.start_soon(run_cancelled)
            await anyio.sleep(0.5)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as stuck:
                    stuck.start_soon(run_stuck)
                    await anyio.sleep(0.3)
                    tasks.start_soon(start_others)
                    report["fork"] = _time_to_fork()
                    if how == "cancellation":
                        await anyio.sleep(2.5)
                        cancelled = time.monotonic()
                        scope.cancel()
            if how == "cancellation":
                report["stuck"] = time.monotonic() - cancelled
            else:
                report["stuck"] = report["limit"]["elapsed"]
        return {**report, "gap": largest_gap()}


async def limited(execute: Execute, *command: str) -> Report:
    """Run a command alone until its limit ends it, so that nothing else wakes anybody."""
    return await _ended(execute, command, timeout=1.5, kill_grace=1)


async def spilling(execute: Execute, *command: str) -> Report:
    """Cancel a command whose output has to go to a temporary file, while others tick."""
    async with ticking(execute, 3) as largest_gap:
        job = _job(command, capture=Capture.full(memory=65536), kill_grace=1)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(execute, job)
                await anyio.sleep(3)
                started = time.monotonic()
                scope.cancel()
        return {"elapsed": time.monotonic() - started, "gap": largest_gap()}


async def under_load(execute: Execute, loops: str) -> Report:
    """Run commands with limits beside so many busy loops; some are ended by theirs."""
    report: Report = {"written": [], "ticks": [], "ended": []}

    async def write() -> None:
        command = python("import os\nfor _ in range(100): os.write(1, b'x' * 99_999 + b'\\n')")
        result = await execute(WorkerJob(*command, stream="lines", on_stdout=len, idle_timeout=10))
        report["written"].append(len(result.stdout_bytes))

    async def tick() -> None:
        command = python("import os, time\nfor _ in range(10):\n    os.write(1, b'.')\n    time.sleep(0.3)")
        result = await execute(WorkerJob(*command, on_stdout=len, idle_timeout=10))
        report["ticks"].append(result.stdout)

    async def be_ended() -> None:
        for _ in range(5):
            end = await _ended(execute, ("sh", "-c", "setsid sleep 1000 & wait"), timeout=1, kill_grace=5)
            report["ended"].append([end["error"], end["warnings"]])

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as load:
            for _ in range(int(loops)):
                load.start_soon(execute, WorkerJob("sh", ["-c", "while :; do :; done"]))
            await anyio.sleep(0.5)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(be_ended)
                for _ in range(4):
                    tasks.start_soon(write)
                    tasks.start_soon(tick)
            scope.cancel()
    return report


async def cancellations(execute: Execute, count: str) -> Report:
    """Cancel commands all at once that take about 5 s each to clean up; report the processor time that this took."""
    source = (
        "import os, signal, sys, time\n"
        "def clean_up(*_):\n    time.sleep(3 + os.getpid() % 200 / 50)\n    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, clean_up)\nos.write(1, b'ready')\ntime.sleep(1000)"
    )
    ready = 0
    all_ready = anyio.Event()

    def count_ready(_: str) -> None:
        nonlocal ready
        ready += 1
        if ready == int(count):
            all_ready.set()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            for _ in range(int(count)):
                tasks.start_soon(execute, WorkerJob(*python(source), on_stdout=count_ready, kill_grace=30))
            await all_ready.wait()
            started, used = time.monotonic(), time.process_time()
            scope.cancel()
    return {"elapsed": time.monotonic() - started, "processor": time.process_time() - used}


async def ended_beside_others(execute: Execute, *command: str) -> Report:
    """Run a command to its end, while twenty others tick."""
    async with ticking(execute, 20) as largest_gap:
        started = time.monotonic()
        result = await execute(_job(command, kill_grace=1))
        elapsed = time.monotonic() - started
        _check(result)
        return {"elapsed": elapsed, "stdout": result.stdout, "truncated": result.truncated, "gap": largest_gap()}


@asynccontextmanager
async def ticking(execute: Execute, count: int) -> AsyncIterator[Callable[[], float]]:
    """Run `count` commands that write ten times a second; yields what returns the longest that one was not heard."""
    last: dict[int, float] = {}
    largest = 0.0
    all_heard = anyio.Event()

    def hear(number: int) -> None:
        nonlocal largest
        now = time.monotonic()
        largest = max(largest, now - last.get(number, now))
        last[number] = now
        if len(last) == count:
            all_heard.set()

    def largest_gap() -> float:
        now = time.monotonic()
        return max(largest, *[now - heard for heard in last.values()])

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            job = WorkerJob(
                *python(_TICKING),
                capture=Capture.none(),
                kill_grace=1,
                on_stdout=functools.partial(lambda number, _: hear(number), number),
            )
            tasks.start_soon(execute, job)
        await all_heard.wait()
        yield largest_gap
        tasks.cancel_scope.cancel()


async def _ended(execute: Execute, command: tuple[str, ...], **options: Any) -> Report:
    """Return how a limit ended it: `elapsed` is by how much later than the limit."""
    warnings: list[str] = []
    started = time.monotonic()
    job = _job(command, on_warning=warnings.append, on_stdout=_say(anyio.Event()), **options)
    try:
        result = await execute(job)
    except WorkerTimeoutError as error:
        elapsed = time.monotonic() - started - options["timeout"]
        assert error.result is not None
        _check(error.result)
        return {"elapsed": elapsed, "error": str(error), "warnings": warnings, "stdout": error.result.stdout}
    raise AssertionError(f"{command} ended by itself: {result.exit_code}, {result.stderr}")


def _check(result: WorkerResult) -> None:
    assert not result.stderr, result.stderr


def _job(command: tuple[str, ...], **options: Any) -> WorkerJob:
    return WorkerJob(command[0], command[1:], **options)


def _say(said: anyio.Event) -> Callable[[object], None]:
    """Return a callback that says once that something was written."""

    def say(_: object) -> None:
        if not said.is_set():
            said.set()
            print("started", flush=True)

    return say


def _time_to_fork() -> float:
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    elapsed = time.monotonic() - started
    os.waitpid(pid, 0)
    return elapsed


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _main(name: str, backend: str, loop: str) -> None:
    args = json.loads(os.environ.pop("SICK_HOST_ARGUMENTS"))
    # For its commands.
    os.environ["SICK_HOST"] = str(os.getpid())

    async def report() -> None:
        execute = LocalWorkerAdapter(backend=backend).execute  # type: ignore[arg-type]
        print(json.dumps(await globals()[name](execute, *args)), flush=True)

    anyio.run(report, backend=loop)


if __name__ == "__main__":
    _main(*sys.argv[1:])
