"""Long runs: nothing is lost, nothing is left, nothing grows. Run with `make stress`."""

from __future__ import annotations

import gc
import hashlib
import random
import threading
from typing import Any

import anyio
import pytest

from support.doomed_host import kill_a_host
from support.jobs import job
from support.loops import on_one_loop
from support.processes import DAEMON, FAST_WRITER, descendants_marked, open_descriptors, python, resident_memory
from tailrace import (
    Capture,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerSpawnError,
    WorkerTimeoutError,
)

pytestmark = [pytest.mark.stress, pytest.mark.anyio, pytest.mark.timeout(1200)]

ENDINGS = 2000
AT_ONCE = 16
CHUNKS = 20_000


async def test_ten_gibibytes_through_one_pipe_lose_no_byte_and_take_no_memory() -> None:
    digest = hashlib.sha256()
    command, args = python(FAST_WRITER, "10240")
    base = resident_memory()
    result = await LocalWorkerAdapter().execute(
        WorkerJob(command, args, stream="bytes", on_stdout=digest.update, capture=Capture.tail(65536))
    )
    assert digest.hexdigest() == result.stderr
    assert resident_memory() - base < 16 << 20


async def test_twenty_thousand_chunks_leave_nothing_behind() -> None:
    executor = JobExecutor(LocalWorkerAdapter())
    options = JobExecutionOptions(concurrency=8)
    await executor.execute(job(*["exit 0"] * 500), options)
    gc.collect()
    before = (open_descriptors(), threading.active_count())
    base = resident_memory()
    report = await executor.execute(job(*["exit 0"] * CHUNKS), options)
    assert len(report.results) == CHUNKS
    del report
    gc.collect()
    assert (open_descriptors(), threading.active_count()) <= before
    assert resident_memory() - base < 64 << 20


async def test_thousands_of_random_endings_leave_nothing_behind(mark: str) -> None:
    choose = random.Random(17)
    adapter = LocalWorkerAdapter()
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def execute(command: str, args: list[str], **options: Any) -> None:
        await adapter.execute(WorkerJob(command, args, kill_grace=0.2, **options))

    async def end_somehow(kind: int, delay: float) -> None:
        async with limiter:
            with anyio.move_on_after(delay if kind in (0, 1) else 60):
                try:
                    match kind:
                        case 0:
                            await execute("bash", ["-c", "sleep 60 & sleep 60", mark])
                        case 1:
                            await execute(*python(DAEMON, mark))
                        case 2:
                            await execute("bash", ["-c", "trap '' TERM; echo x; sleep 60", mark], timeout=delay + 0.001)
                        case 3:
                            await execute("no-such-program", [])
                        case 4:
                            await execute("bash", ["-c", "sleep 60 >&- 2>&- & exit 1", mark])
                        case 5:
                            await execute("bash", ["-c", "echo hello; sleep 60", mark], on_stdout=fail)
                        case _:
                            await execute("bash", ["-c", "head -c 300000 /dev/zero", mark], on_stdout=len)
                except (WorkerSpawnError, WorkerTimeoutError, LookupError):
                    pass

    async def end_many(count: int) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(end_somehow, choose.randrange(8), choose.random() * 0.1)

    await end_many(50)
    gc.collect()
    before = (open_descriptors(), threading.active_count())
    base = resident_memory()
    await end_many(ENDINGS)
    gc.collect()
    assert descendants_marked(mark) == []
    assert (open_descriptors(), threading.active_count()) <= before
    assert resident_memory() - base < 64 << 20


def fail(_: str) -> None:
    raise LookupError("from the callback")


@on_one_loop
async def test_killing_the_host_ten_times_leaves_no_render_behind() -> None:
    for _ in range(10):
        await anyio.to_thread.run_sync(kill_a_host)
