"""Measures commands on a Ray cluster of this machine beside bare tasks of Ray's. Prints one table.

`ray_cluster.py [--quick] [--streams N]`, in a network of its own: `scripts/in_own_network.sh python
benches/ray_cluster.py`. What is compared runs in turn; the medians are told, and that of the pairs' ratios. The bare
tasks yield as many bytes in pieces of 1 MiB, without a command, and run `true` by `subprocess`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import anyio
import ray
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table

from tailrace import Capture, RayAdapter, WorkerJob

PIECE = 2**20
STREAMS = 16
LINES_A_SECOND = 200
LINES = f"""
import sys, time
begin = time.monotonic()
for number in range(int(sys.argv[1])):
    time.sleep(max(0, begin + number / {LINES_A_SECOND} - time.monotonic()))
    print(time.monotonic_ns(), flush=True)
"""
CHUNKS = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--streams", type=int, metavar="N", help="measure so many streams at a time, and nothing else")
    options = parser.parse_args()
    size, lines, rounds = (256, 400, 3) if options.quick else (1024, 2000, 5)
    counts = (1, STREAMS) if options.streams is None else (options.streams,)
    # It would tell its makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster()
    cluster.add_node(num_cpus=STREAMS, object_store_memory=2**30, include_dashboard=False)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        rows = anyio.run(_measure, counts, size, None if options.streams else lines, rounds)
    finally:
        ray.shutdown()
        cluster.shutdown()
    table = Table("", "ours", "bare", "ratio", "target")
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)
    return 0 if all("MISSED" not in row[-1] for row in rows) else 1


async def _measure(counts: Sequence[int], size: int, lines: int | None, rounds: int) -> list[list[str]]:
    rows = []
    async with RayAdapter() as adapter:
        for streams in counts:
            each = size if streams == 1 else size // 4
            await _ours(adapter, streams, 1)
            _bare(streams, 1)
            ours, bare, ratio = await _in_pairs(
                rounds, partial(_ours, adapter, streams, each), partial(_bare, streams, each)
            )
            rows.append(
                [
                    f"{streams} streams, MB/s",
                    f"{ours:.0f}",
                    f"{bare:.0f}",
                    f"{ratio:.2f}",
                    _verdict(ratio >= 0.8, "0.8"),
                ]
            )
        if lines is None:
            return rows
        delay = await _delay(adapter, lines)
        rows.append([f"{LINES_A_SECOND} lines/s, p99 ms", f"{delay:.1f}", "", "", _verdict(delay < 20, "20")])
        ours, bare, ratio = await _in_pairs(rounds, lambda: _ours_short(adapter), _bare_short)
        rows.append([f"{CHUNKS} x true, per s", f"{ours:.0f}", f"{bare:.0f}", f"{ratio:.2f}", "-"])
    return rows


async def _in_pairs(
    rounds: int, ours: Callable[[], Awaitable[float]], bare: Callable[[], float]
) -> tuple[float, float, float]:
    pairs = [(await ours(), await anyio.to_thread.run_sync(bare)) for _ in range(rounds)]
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[0] / pair[1] for pair in pairs),
    )


def _verdict(is_met: bool, target: str) -> str:
    return f"{target} {'met' if is_met else 'MISSED'}"


async def _ours(adapter: RayAdapter, streams: int, mebibytes: int) -> float:
    size = 0

    def count(data: memoryview) -> None:
        nonlocal size
        size += len(data)

    job = WorkerJob(
        "head", ["-c", f"{mebibytes}M", "/dev/zero"], stream="bytes", on_stdout=count, capture=Capture.none()
    )
    begin = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for _ in range(streams):
            tasks.start_soon(adapter.execute, job)
    assert size == streams * mebibytes * 2**20
    return size / (time.monotonic() - begin) / 1e6


def _bare(streams: int, mebibytes: int) -> float:
    def generate(count: int) -> Any:
        data = bytes(PIECE)
        for _ in range(count):
            yield data

    task = ray.remote(generate).options(num_returns="streaming", max_retries=0, _generator_backpressure_num_objects=8)

    def read() -> None:
        for reference in task.remote(mebibytes):
            ray.get(reference)

    begin = time.monotonic()
    threads = [threading.Thread(target=read) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return streams * mebibytes * 2**20 / (time.monotonic() - begin) / 1e6


async def _delay(adapter: RayAdapter, lines: int) -> float:
    delays: list[float] = []

    def note(line: str) -> None:
        delays.append((time.monotonic_ns() - int(line)) / 1e6)

    await adapter.execute(
        WorkerJob(sys.executable, ["-I", "-S", "-c", LINES, str(lines)], stream="lines", on_stdout=note)
    )
    return statistics.quantiles(delays, n=100)[98]


async def _ours_short(adapter: RayAdapter) -> float:
    begin = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for _ in range(CHUNKS):
            tasks.start_soon(adapter.execute, WorkerJob("/bin/true"))
    return CHUNKS / (time.monotonic() - begin)


def _bare_short() -> float:
    def run() -> int:
        return subprocess.run(["/bin/true"], check=False).returncode

    task = ray.remote(run)
    begin = time.monotonic()
    ray.get([task.remote() for _ in range(CHUNKS)])
    return CHUNKS / (time.monotonic() - begin)


if __name__ == "__main__":
    sys.exit(main())
