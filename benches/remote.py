"""Measures a streaming HTTP worker on this machine: bytes a second, and how late lines are. Prints one table.

`remote.py [--quick]`. The worker is `tailrace worker serve` in a process of its own, and with the writer there are
three on the cores of this machine.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.table import Table

from tailrace import Capture, HttpWorkerAdapter, WorkerJob

LEAST_RATE = 150.0
"""In MB a second."""
GREATEST_DELAY = 20.0
"""From the write of a line to the callback, in ms, for 99 of 100 lines."""
LINES_A_SECOND = 200

LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}

LINES = f"""
import sys, time
begin = time.monotonic()
for number in range(int(sys.argv[1])):
    time.sleep(max(0, begin + number / {LINES_A_SECOND} - time.monotonic()))
    print(time.monotonic_ns(), flush=True)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    is_quick = parser.parse_args().quick
    size, lines = (256, 400) if is_quick else (2048, 2000)
    table = Table("loop", "MB/s", f"target {LEAST_RATE:g}", "p99 ms", f"target {GREATEST_DELAY:g}")
    is_met = True
    with tempfile.TemporaryDirectory() as folder:
        spec = _write_job(Path(folder), size, lines)
        with _serving(folder) as url:
            adapter = HttpWorkerAdapter(url, job_def_url=spec, streaming=True)
            for name, (backend, options) in LOOPS.items():
                rate = anyio.run(_rate, adapter, backend=backend, backend_options=options)
                delay = anyio.run(_delay, adapter, backend=backend, backend_options=options)
                verdicts = rate >= LEAST_RATE, delay <= GREATEST_DELAY
                is_met &= all(verdicts)
                said = ["met" if verdict else "MISSED" for verdict in verdicts]
                table.add_row(name, f"{rate:.0f}", said[0], f"{delay:.1f}", said[1])
    Console(width=100).print(table)
    return 0 if is_met else 1


async def _rate(adapter: HttpWorkerAdapter) -> float:
    size = 0

    def count(data: memoryview) -> None:
        nonlocal size
        size += len(data)

    begin = time.monotonic()
    await adapter.execute(
        WorkerJob("bytes", stream="bytes", on_stdout=count, capture=Capture.none(), meta={"chunk_id": 0})
    )
    return size / (time.monotonic() - begin) / 1e6


async def _delay(adapter: HttpWorkerAdapter) -> float:
    delays: list[float] = []

    def note(line: str) -> None:
        delays.append((time.monotonic_ns() - int(line)) / 1e6)

    await adapter.execute(WorkerJob("lines", stream="lines", on_stdout=note, meta={"chunk_id": 1}))
    return statistics.quantiles(delays, n=100)[98]


def _write_job(folder: Path, size: int, lines: int) -> str:
    script = folder / "lines.py"
    script.write_text(LINES)
    commands = [f"head -c {size}M /dev/zero", f"{sys.executable} -I -S {script} {lines}"]
    chunks = [
        {"id": number, "startFrame": number, "frameCount": 1, "outputFile": f"chunk_{number}", "command": command}
        for number, command in enumerate(commands)
    ]
    metadata = {"totalFrames": 2, "fps": 1, "width": 1, "height": 1, "duration": 2}
    path = folder / "job.json"
    path.write_text(json.dumps({"metadata": metadata, "chunks": chunks}))
    return str(path)


@contextmanager
def _serving(folder: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tailrace", "worker", "serve", "--port", "0", "--allow-spec", folder]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        found = re.search(r"http://\S+:\d+", told)
        try:
            assert found is not None, told
            yield found[0]
        finally:
            process.terminate()
            process.stderr.read()


if __name__ == "__main__":
    sys.exit(main())
