"""Measures chunks on Slurm against srun itself: bytes a second, and how long many short ones take. Prints one table.

`slurm.py [--quick]`, as root: it starts a Slurm of its own, as the tests do (`make test-slurm` installs it), in a
network namespace of its own. Daemons, srun, the writer and the reader share the cores of this machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from tailrace import Capture, SlurmAdapter, WorkerJob

LEAST_RATIO = 0.9
"""Of what `srun | cat` brings."""
CONCURRENCY = 4
_APART = "TAILRACE_BENCH_APART"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    is_quick = parser.parse_args().quick
    if _APART not in os.environ:
        os.environ[_APART] = "1"
        script = 'ip link set lo up && exec "$0" "$@"'
        os.execvp("unshare", ["unshare", "--net", "sh", "-c", script, sys.executable, *sys.argv])
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
    from support.slurm_cluster import running_slurm

    size, pairs, count = (128, 2, 20) if is_quick else (1024, 3, 100)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, running_slurm(Path(folder), tracking="linuxproc"):
        rates = [(_by_srun(size), anyio.run(_by_adapter, size)) for _ in range(pairs)]
        loops = [(_loop_of_srun(count), anyio.run(_chunks, count)) for _ in range(pairs)]
    ratio = statistics.median(ours / theirs for theirs, ours in rates)
    slower = statistics.median(ours / theirs for theirs, ours in loops)
    table = Table("what", "srun", "adapter", "ratio", "target")
    bytes_row = [f"{size} MiB, MB/s", *(f"{statistics.median(rate):.0f}" for rate in zip(*rates, strict=True))]
    table.add_row(*bytes_row, f"{ratio:.2f}", f"{LEAST_RATIO:g} " + ("met" if ratio >= LEAST_RATIO else "MISSED"))
    times = (f"{statistics.median(taken):.2f}" for taken in zip(*loops, strict=True))
    table.add_row(f"{count} x true, {CONCURRENCY} at a time, s", *times, f"{slower:.2f}", "")
    Console(width=100).print(table)
    return 0 if ratio >= LEAST_RATIO else 1


def _writer(size: int) -> list[str]:
    return ["head", "-c", f"{size}M", "/dev/zero"]


def _timed(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def _by_srun(size: int) -> float:
    """Return the MB a second that come through `srun | cat`."""
    script = 'srun --ntasks=1 --input=none "$@" | cat > /dev/null'
    return size * 2**20 / 1e6 / _timed(lambda: subprocess.run(["sh", "-c", script, "sh", *_writer(size)], check=True))


async def _by_adapter(size: int) -> float:
    received = 0

    def count(data: memoryview) -> None:
        nonlocal received
        received += len(data)

    begin = time.monotonic()
    job = WorkerJob("head", _writer(size)[1:], stream="bytes", on_stdout=count, capture=Capture.none())
    await SlurmAdapter().execute(job)
    taken = time.monotonic() - begin
    assert received == size * 2**20
    return received / 1e6 / taken


def _loop_of_srun(count: int) -> float:
    """Return how long it takes srun alone, in seconds."""

    def run(_: int) -> None:
        subprocess.run(["srun", "--ntasks=1", "--input=none", "/bin/true"], check=True)

    def all_of_them() -> None:
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(run, range(count)))

    return _timed(all_of_them)


async def _chunks(count: int) -> float:
    begin = time.monotonic()
    limiter = anyio.CapacityLimiter(CONCURRENCY)

    async def run() -> None:
        async with limiter:
            assert (await SlurmAdapter().execute(WorkerJob("/bin/true"))).exit_code == 0

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(run)
    return time.monotonic() - begin


if __name__ == "__main__":
    sys.exit(main())
