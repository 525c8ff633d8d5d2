"""Measures what a job costs the one process that runs it: for each chunk, each line and each event. Prints one table.

`scaling.py [--quick]`. Processor time of this process alone, with an adapter that does nothing; memory and descriptors
with chunks that sleep. docs/scaling.md reckons with these figures.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.table import Table

from tailrace import (
    Capabilities,
    Chunk,
    JobExecutionOptions,
    JobExecutor,
    JobMetadata,
    JobSpec,
    JobState,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerResult,
    event_to_json,
)

LINE = memoryview(b"Fra:12 Mem:123.45M | Sample 64/128\n")


class Writer:
    """Does nothing but hand on lines."""

    streams = True
    capabilities = Capabilities(streams=True)

    def __init__(self, lines: int, result: WorkerResult) -> None:
        self._lines = lines
        self._result = result

    async def execute(self, job: WorkerJob) -> WorkerResult:
        for _ in range(self._lines):
            assert job.on_stdout is not None
            returned: Any = job.on_stdout(LINE)
            if returned is not None:
                await returned
        return self._result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    table = Table("of the process that runs a job", "figure")
    for row in anyio.run(_measure, 5 if parser.parse_args().quick else 1):
        table.add_row(*row)
    Console(width=100).print(table)
    return 0


async def _measure(part: int) -> list[tuple[str, str]]:
    result = await LocalWorkerAdapter().execute(WorkerJob("true"))
    chunks, lines, sleeping = 20_000 // part, 400_000 // part, 400 // part
    spec = _job(4, "true")
    ways: dict[str, dict[str, Any]] = {
        "a line to on_chunk_stdout": {"on_chunk_stdout": lambda *_: None},
        "a line to a JobState": {"on_event": JobState(spec.chunks).apply},
        "a line as NDJSON": {"on_event": event_to_json},
    }
    # First, since what others leave would be used again.
    memory, descriptors = await _held(_job(sleeping, "sleep 6"), sleeping)
    with tempfile.TemporaryDirectory() as folder:
        taken = await _processor_time(_job(chunks, "true"), Writer(0, result), concurrency=8, job_dir=folder)
    rows = [("a chunk, and its record", f"{taken / chunks * 1e6:.0f} us")]
    for name, options in ways.items():
        taken = await _processor_time(spec, Writer(lines // 4, result), concurrency=4, stream="lines", **options)
        rows.append((name, f"{taken / lines * 1e6:.1f} us"))
    rows.append(("memory of a chunk that runs here", f"{memory / sleeping / 1024:.0f} KiB"))
    rows.append(("descriptors of a chunk that runs here", f"{descriptors / sleeping:.1f}"))
    return rows


def _job(count: int, command: str) -> JobSpec:
    metadata = JobMetadata(total_frames=count, fps=24, width=64, height=36, duration=count / 24)
    made = (
        Chunk(id=id_, start_frame=id_, frame_count=1, output_file=f"{id_}.png", command=command) for id_ in range(count)
    )
    return JobSpec(metadata=metadata, chunks=tuple(made))


async def _processor_time(spec: JobSpec, adapter: Writer, **options: Any) -> float:
    begin = time.process_time()
    await JobExecutor(adapter).execute(spec, JobExecutionOptions(**options))
    return time.process_time() - begin


async def _held(spec: JobSpec, count: int) -> tuple[float, float]:
    """Return the memory and the descriptors that this process has more of while so many chunks run."""
    before = _resident(), _open_files()
    during: list[tuple[int, int]] = []

    async def look() -> None:
        await anyio.sleep(4)
        during.append((_resident(), _open_files()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        options = JobExecutionOptions(concurrency=count, on_event=JobState(spec.chunks).apply)
        await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
    return during[0][0] - before[0], during[0][1] - before[1]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


if __name__ == "__main__":
    raise SystemExit(main())
