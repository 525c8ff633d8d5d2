"""Measures what a manager costs: chunks a second beside the bare executor, and memory. Prints one table.

`manager.py [--quick]`. Executor and manager run as many commands at a time, keep a record and write logs; each command
writes a small file. The memory is that of a process whose manager has many jobs, of which some run.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median

import anyio
import anyio.to_process
import anyio.to_thread
from rich.console import Console
from rich.table import Table

from tailrace import (
    Chunk,
    JobExecutionOptions,
    JobExecutor,
    JobManager,
    JobMetadata,
    JobSpec,
    LocalWorkerAdapter,
    StateChange,
)
from tailrace._farm.repository.changes import JobAdded
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.owner import this_process
from tailrace._farm.repository.rows import JobRow

SLOTS = 4
LEAST = 0.8
"""Of the chunks a second that run without a manager."""
MOST_MEMORY = 200.0
"""In MB."""
STORED, ACTIVE = 1000, 10
"""Jobs, of as many chunks each as there are jobs."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    quick = parser.parse_args().quick
    table = Table("what", "executor", "manager", "ratio", "target")
    is_met = True
    for jobs, chunks in ((1, 1000), (20, 50)):
        name = f"{jobs} x {chunks} chunks, chunks/s"
        print(name, file=sys.stderr)
        pairs = [anyio.run(_measure, jobs, chunks) for _ in range(1 if quick else 5)]
        ratio = median(managed / bare for bare, managed in pairs)
        is_met &= ratio >= LEAST
        bare, managed = (median(figures) for figures in zip(*pairs, strict=True))
        table.add_row(name, f"{bare:,.0f}", f"{managed:,.0f}", f"{ratio:.2f}", f"{LEAST:g}")
    stored = STORED // 10 if quick else STORED
    print(f"{stored} stored jobs", file=sys.stderr)
    memory = anyio.run(anyio.to_process.run_sync, _memory, stored)
    is_met &= memory <= MOST_MEMORY
    name = f"{stored:,} jobs of {stored:,} chunks, {ACTIVE} active, MB"
    table.add_row(name, "", f"{memory:,.0f}", "", f"{MOST_MEMORY:g}")
    Console(width=100).print(table)
    return 0 if is_met else 1


async def _measure(jobs: int, chunks: int) -> tuple[float, float]:
    """Return how many chunks a second the executor runs, job by job, and how many a manager."""

    async def timed(run: Callable[[Sequence[JobSpec], Path], Awaitable[None]]) -> float:
        # The garbage of the one is not to be collected in the other's time.
        gc.collect()
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            await run(specs, Path(folder))
            return jobs * chunks / (time.monotonic() - began)

    specs = [_spec(f"job {number}", chunks, "sh -c 'echo frame > {}'") for number in range(jobs)]
    return await timed(_execute), await timed(_manage)


async def _execute(specs: Sequence[JobSpec], folder: Path) -> None:
    executor = JobExecutor(LocalWorkerAdapter())
    for spec in specs:
        job_dir = folder / spec.id
        job_dir.mkdir()
        options = JobExecutionOptions(concurrency=SLOTS, job_dir=job_dir, log_dir=folder / "logs" / spec.id)
        await executor.execute(spec, options)


async def _manage(specs: Sequence[JobSpec], folder: Path) -> None:
    async with JobManager(repository=folder / "farm.db", slots=SLOTS) as manager:
        ids = [await manager.submit(spec, folder=folder / spec.id) for spec in specs]
        for job_id in ids:
            status = await manager.wait(job_id)
            if status.state != "completed":
                raise RuntimeError(f"{status.name}: {status.error}")


def _memory(stored: int) -> float:
    """Return how much memory this process has, in MB, once a manager of so many jobs runs some of them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "farm.db")
        _store(path, stored, folder)
        return anyio.run(_memory_of_manager, path)


def _store(path: Path, count: int, folder: str) -> None:
    spec = _spec("shot", count, "sleep 999")
    text, ids = spec.model_dump_json(by_alias=True), [chunk.id for chunk in spec.chunks]
    repository = open_repository(path)
    repository.open(this_process())
    try:
        for place in range(1, count + 1):
            row = JobRow(
                id=f"job{place}",
                place=place,
                name="shot",
                created_at=time.time(),
                folder=f"{folder}/{place}",
                total_chunks=count,
                total_frames=count,
            )
            repository.write([JobAdded(row, text, ids)])
    finally:
        repository.close()


async def _memory_of_manager(path: Path) -> float:
    async with JobManager(repository=path, slots=ACTIVE) as manager, manager.events(after=0) as events:
        begun = set()
        async for event in events:
            if isinstance(event.event, StateChange) and event.event.state == "running":
                begun.add(event.job_id)
            if len(begun) == ACTIVE:
                return await anyio.to_thread.run_sync(_resident)
    raise RuntimeError("the manager was closed")


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _spec(name: str, count: int, command: str) -> JobSpec:
    chunks = [
        Chunk(
            id=number,
            start_frame=number,
            frame_count=1,
            output_file=f"{number}.png",
            command=command.format(f"{number}.png"),
        )
        for number in range(count)
    ]
    metadata = JobMetadata(total_frames=count, fps=24, width=1920, height=1080, duration=count / 24)
    return JobSpec(id=name, metadata=metadata, chunks=tuple(chunks))


if __name__ == "__main__":
    sys.exit(main())
