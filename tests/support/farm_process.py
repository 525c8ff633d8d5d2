"""A manager in a process of its own, which can be killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import ROOT
from tailrace._farm.settings import JobSettings

_SETTINGS = JobSettings(fail_fast=False)

_MANAGER = """
import os, sys, anyio
from tailrace import JobSpec
from tailrace._farm.manager import JobManager
from tailrace._farm.settings import JobSettings

where, folder, slots, loop, settings, *specs = sys.argv[1:]

async def main():
    async with JobManager(repository=where, slots=int(slots), log_dir=folder + "/logs") as manager:
        after = ()
        for spec in specs:
            job_id = await manager.submit(JobSpec.load(spec), JobSettings.model_validate_json(settings))
            print(job_id, flush=True)
        print("ready", flush=True)
        await anyio.sleep_forever()

anyio.run(main, backend=loop)
"""


@contextmanager
def manager_process(
    where: str, folder: Path, *specs: Path, slots: int = 2, loop: str = "asyncio", settings: JobSettings = _SETTINGS
) -> Iterator[subprocess.Popen[str]]:
    """Start a manager that submits these jobs, and prints their ids and then "ready"; kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MANAGER, where, str(folder), str(slots), loop, settings.to_json(), *map(str, specs)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT / "tests",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def printed_ids(process: subprocess.Popen[str]) -> list[str]:
    """Return the ids of the jobs that the process has submitted."""
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    ids = []
    for line in lines:
        if line == "ready\n":
            break
        ids.append(line.strip())
    return ids
