"""What `submit` returned outlives the process, whenever that is killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import ROOT
from support.farm_rows import count_states, ids, opened

_WRITER = """
import sys, anyio
from support.farm_rows import added, changed, chunk, event, opened
from tailrace._farm.repository.changes import JobDeleted
from tailrace._farm.repository.owner import this_process
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.writer import Writer

CHUNKS = 20

async def main():
    repository = open_repository(sys.argv[1])
    found = repository.open(this_process())
    place, last_event = found.last_place, found.last_event
    async with Writer(repository) as writer:
        async def work():
            nonlocal place, last_event
            while True:
                place += 1
                mine = place
                last_event += 1
                await writer.submit([added(mine, chunks=CHUNKS), event(last_event, job=mine)])
                print("added", mine, flush=True)
                for done in range(CHUNKS):
                    last_event += 1
                    await writer.submit([
                        chunk(mine, 10 + done, state="completed"),
                        changed(mine, completed_chunks=done + 1),
                        event(last_event, job=mine),
                    ])
                    print("done", mine, done + 1, flush=True)
                if mine % 5 == 0:
                    await writer.submit([JobDeleted(f"job-{mine}")])
                    print("deleted", mine, flush=True)
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(work)

anyio.run(main, backend=sys.argv[2])
"""


def crash(where: str, backend: str, lifetime: float, folder: Path) -> Sequence[list[str]]:
    """Have a process write, kill it, and return what it said was durable."""
    said = folder / "said"
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, where, backend],
            stdout=output,
            env={"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT / "python")]), "PATH": ""},
        )
        with process:
            try:
                deadline = time.monotonic() + 60
                while not said.stat().st_size and time.monotonic() < deadline:
                    time.sleep(0.005)
                time.sleep(lifetime)
                assert process.poll() is None
            finally:
                process.kill()
    # The last line may be torn.
    return [line.split() for line in said.read_text().splitlines(keepends=True) if line.endswith("\n")]


def crash_again_and_again(where: str, folder: Path, times: int, seed: int) -> None:
    dice = random.Random(seed)
    durable: dict[str, int | None] = {}
    for number in range(times):
        said = crash(where, ["asyncio", "trio"][number % 2], dice.uniform(0, 0.4), folder)
        assert said
        for what, place, *done in said:
            # None once it was deleted.
            durable[f"job-{place}"] = {"added": 0, "deleted": None}.get(what, int(done[0]) if done else 0)
        # All of them at the end; those of earlier rounds are too many for each.
        touched = durable if number == times - 1 else {f"job-{place}" for _, place, *_ in said}
        with opened(where) as repository:
            assert repository.check() == []
            for job_id in touched:
                least = durable[job_id]
                job = repository.job(job_id)
                if least is None:
                    assert job is None
                    assert repository.events(0, job_id=job_id).events == []
                elif job is None:
                    # It was deleted, which could not be said any more.
                    assert least == 20
                    durable[job_id] = None
                else:
                    assert job.completed_chunks >= least
                    assert count_states(repository, job_id)["completed"] == job.completed_chunks
                    assert len(repository.events(0, job_id=job_id).events) == 1 + job.completed_chunks
                    durable[job_id] = job.completed_chunks
            # Nor is there anything that it only began to say.
            assert set(ids(repository.jobs(limit=100_000))) >= {name for name, least in durable.items() if least}


def test_what_was_submitted_outlives_the_process(where: str, tmp_path: Path) -> None:
    crash_again_and_again(where, tmp_path, times=4, seed=1)


@pytest.mark.stress
@pytest.mark.timeout(1200)
def test_what_was_submitted_outlives_the_process_200_times(where: str, tmp_path: Path) -> None:
    crash_again_and_again(where, tmp_path, times=200, seed=2)
