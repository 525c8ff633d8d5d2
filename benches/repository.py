"""Measures what a farm's repository does on this machine, in SQLite and in PostgreSQL. Prints one table.

`repository.py [--quick]`. The PostgreSQL server is one of its own, on this disk, and shares the cores. What is durable
waits for the disk: the last row says how long that takes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from tailrace import JobSpec
from tailrace._farm.repository.changes import ChunkChanged, EventAdded, JobAdded, JobChanged
from tailrace._farm.repository.job_repository import JobRepository
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.owner import this_process
from tailrace._farm.repository.rows import JobRow
from tailrace._farm.repository.writer import Writer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.postgres import postgres_server

MOST_TO_PARSE = 1.5
"""In seconds, for 100,000 chunks."""
MOST_SECONDS = 3.0
"""To submit a parsed job of 100,000 chunks."""
LEAST_TRANSITIONS = 5000.0
"""Changes of a chunk's state, each with its event and its job's counts, that are durable, a second."""
IN_FLIGHT = 50
MOST_FOR_A_PAGE = 20.0
"""In ms, for the newest 100 of 10,000 jobs."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    size = 10_000 if parser.parse_args().quick else 100_000
    table = Table("what", "SQLite", "PostgreSQL", "target")
    print(f"parsing {size} chunks", file=sys.stderr)
    began = time.monotonic()
    spec = JobSpec.parse(_job(size))
    parsing = time.monotonic() - began
    table.add_row("parse, s", f"{parsing:.2f}", "", f"{MOST_TO_PARSE:g}")
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        sqlite = _measure(f"{folder}/farm.db", spec)
        postgres = _measure(server, spec)
        is_met = parsing <= MOST_TO_PARSE
        for name, figure in sqlite.items():
            is_good, target = _TARGETS.get(name, (lambda _: True, ""))
            is_met &= is_good(figure) and is_good(postgres[name])
            table.add_row(name, f"{figure:,.2f}", f"{postgres[name]:,.2f}", target)
        table.add_row("one sync of a file, ms", f"{_sync_time(Path(folder)):.2f}", "", "")
    Console(width=100).print(table)
    return 0 if is_met else 1


_TARGETS: dict[str, tuple[Callable[[float], bool], str]] = {
    "submit, s": (lambda figure: figure <= MOST_SECONDS, f"{MOST_SECONDS:g}"),
    "transitions/s, asyncio": (lambda figure: figure >= LEAST_TRANSITIONS, f"{LEAST_TRANSITIONS:,.0f}"),
    "transitions/s, trio": (lambda figure: figure >= LEAST_TRANSITIONS, f"{LEAST_TRANSITIONS:,.0f}"),
    "first page of 10,000 jobs, ms": (lambda figure: figure <= MOST_FOR_A_PAGE, f"{MOST_FOR_A_PAGE:g}"),
}


def _measure(where: str, spec: JobSpec) -> dict[str, float]:
    figures: dict[str, float] = {}
    repository = open_repository(where)
    repository.open(this_process())
    try:
        began = time.monotonic()
        text = spec.model_dump_json(by_alias=True, exclude_defaults=True)
        figures["- of it to JSON, s"] = time.monotonic() - began
        anyio.run(_submit, repository, 1, text, [chunk.id for chunk in spec.chunks])
        figures["submit, s"] = time.monotonic() - began
        for backend in ("asyncio", "trio"):
            repository.close()
            repository.open(this_process())
            rate = anyio.run(_transitions, repository, len(spec.chunks) // 4, backend=backend)
            figures[f"transitions/s, {backend}"] = rate
        repository.close()
        last_place = repository.open(this_process()).last_place
        jobs = [_added(last_place + 1 + number, "{}", []) for number in range(10_000)]
        repository.write(jobs)
        figures["first page of 10,000 jobs, ms"] = _median(repository.jobs)
        began = time.monotonic()
        read = repository.chunks("job-1")
        figures[f"all {len(read):,} chunks of a job, s"] = time.monotonic() - began
        repository.write([JobChanged("job-1", {"state": "completed", "finished_at": 1.0})])
        began = time.monotonic()
        repository.prune(jobs_before=2.0)
        # Half of it is a pause.
        figures["writing held up by the removal of that job, s"] = (time.monotonic() - began) / 2
    finally:
        repository.close()
    return figures


async def _submit(repository: JobRepository, place: int, text: str, chunk_ids: list[int]) -> None:
    async with Writer(repository) as writer:
        await writer.submit([_added(place, text, chunk_ids)])


def _added(place: int, text: str, chunk_ids: list[int]) -> JobAdded:
    row = JobRow(id=f"job-{place}", place=place, name="shot", created_at=time.time(), total_chunks=len(chunk_ids))
    return JobAdded(row, text, chunk_ids)


async def _transitions(repository: JobRepository, count: int) -> float:
    left = iter(range(count))
    last_event = max([0, *(event.id for event in repository.events(0, limit=10**6).events)])

    async def change() -> None:
        nonlocal last_event
        for number in left:
            last_event += 1
            await writer.submit(
                [
                    ChunkChanged("job-1", number, {"state": "running", "attempts": 1, "node": "a", "slot": 1}),
                    JobChanged("job-1", {"state": "running", "finished_frames": number}),
                    EventAdded(last_event, "job-1", time.time(), "chunk", '{"state":"running"}'),
                ]
            )

    async with Writer(repository) as writer:
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(IN_FLIGHT):
                group.start_soon(change)
        return count / (time.monotonic() - began)


def _median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(20):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * sorted(times)[len(times) // 2]


def _sync_time(folder: Path) -> float:
    with (folder / "sync").open("wb", buffering=0) as file:

        def write() -> None:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())

        return _median(write)


def _job(size: int) -> str:
    chunks = [
        {
            "id": number,
            "startFrame": number,
            "frameCount": 1,
            "outputFile": f"frame_{number:06}.exr",
            "command": f"blender -b scene.blend -o frame_###### -F OPEN_EXR -f {number}",
        }
        for number in range(size)
    ]
    metadata = {"totalFrames": size, "fps": 24, "width": 1920, "height": 1080, "duration": size / 24}
    return json.dumps({"metadata": metadata, "chunks": chunks})


if __name__ == "__main__":
    sys.exit(main())
