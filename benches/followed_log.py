"""Measures whether a render is slowed by those who follow its log over HTTP. Prints one table.

`followed_log.py [--quick]`. The render computes and writes 10,000 lines a second. It runs with nobody who reads, and
then with a plain reader, a process of its own that asks as the farm's page does or takes the stream, in pairs: what
counts is the median of the ratios. The server has a process of its own too; the page itself, a browser's, is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tailrace import Chunk, JobManager, JobMetadata, JobSpec, connect
from tailrace.server import ServerSettings, serve

TOKEN = "a-token-for-benches"
RATE = 10_000
"""Lines of a hundred bytes a second."""
MOST = 1.03
"""How many times as long a render may take."""
PAUSE = 0.2
"""Between two questions of the page, in seconds."""
RENDER = """
import sys, time
lines, work, wait = map(int, sys.argv[1:])
time.sleep(wait)
began = time.perf_counter()
for number in range(lines):
    for _ in range(work):
        pass
    sys.stderr.write("%08d %s\\n" % (number, "Rendering tile".ljust(90)))
print(time.perf_counter() - began)
"""
"""It writes each line at once, as renderers do, and tells at last how long it took."""
WAIT = 2
"""Until a reader has started, which takes a processor for a while, in seconds."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--read", nargs=3, metavar=("HOW", "PORT", "JOB"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(_serve(Path(arguments.serve)))
        return 0
    if arguments.read:
        how, port, job_id = arguments.read
        print({"questions": _ask, "stream": _take}[how](int(port), f"/api/v1/jobs/{job_id}/chunks/0/output"))
        return 0
    pairs, lines = (3, 20_000) if arguments.quick else (11, 60_000)
    work = _calibrated()
    table = Table("reader", "alone, s", "read, s", "lines/s", "ratio", "target")
    is_met = True
    with tempfile.TemporaryDirectory() as folder, _server(folder) as port:
        for how in ("questions", "stream"):
            measured = [asyncio.run(_pair(port, how, lines, work)) for _ in range(pairs)]
            ratio = median(read / alone for alone, read in measured)
            alone, read = (median(figures) for figures in zip(*measured, strict=True))
            is_met &= ratio <= MOST
            table.add_row(how, f"{alone:.2f}", f"{read:.2f}", f"{lines / read:,.0f}", f"{ratio:.3f}", f"{MOST:g}")
    Console(width=90).print(table)
    return 0 if is_met else 1


def _calibrated() -> int:
    """Return how much has to be computed for a line, for the render to write as many a second as are wanted."""
    work = 100
    while True:
        command = [sys.executable, "-c", RENDER, "5000", str(work), "0"]
        took = float(subprocess.check_output(command, stderr=subprocess.DEVNULL))
        if abs(took * RATE / 5000 - 1) < 0.1:
            return work
        work = max(1, int(work * 5000 / RATE / took))


async def _serve(folder: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    async with JobManager(repository=folder / "farm.db", slots=1) as manager:
        port = listener.getsockname()[1]
        await serve(manager, listener, ServerSettings(TOKEN), on_listening=lambda: print(port, flush=True))


@contextmanager
def _server(folder: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, __file__, "--serve", folder], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def _pair(port: int, how: str, lines: int, work: int) -> tuple[float, float]:
    """Return how long the render takes with nobody who reads, and with a reader."""
    return await _render(port, None, lines, work), await _render(port, how, lines, work)


async def _render(port: int, how: str | None, lines: int, work: int) -> float:
    command = shlex.join([sys.executable, "-c", RENDER, str(lines), str(work), str(WAIT)])
    metadata = JobMetadata(total_frames=1, fps=24, width=1920, height=1080, duration=1)
    chunk = Chunk(id=0, start_frame=1, frame_count=1, command=command, output_file="1.exr")
    async with connect(f"http://127.0.0.1:{port}", TOKEN) as farm:
        job_id = await farm.submit(JobSpec(id="shot", metadata=metadata, chunks=(chunk,)))
        reader = None
        if how is not None:
            arguments = [sys.executable, __file__, "--read", how, str(port), job_id]
            reader = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
        await farm.wait(job_id)
        took = b"".join([piece async for piece in farm.output(job_id, 0, "stdout")])
        if reader is not None:
            told, _ = await reader.communicate()
            if int(told) < 100 * lines:
                raise RuntimeError(f"the reader has had {int(told)} bytes of {100 * lines}")
        return float(took)


def _ask(port: int, path: str) -> int:
    """Ask for what is new until the end, and return how many bytes that was."""
    connection = HTTPConnection("127.0.0.1", port)
    offset = 0
    while True:
        connection.request("GET", f"{path}/next?offset={offset}&wait=20", headers={"Authorization": f"Bearer {TOKEN}"})
        with connection.getresponse() as response:
            offset += len(response.read())
            if response.headers["Tailrace-Ended"] == "true":
                return offset
        time.sleep(PAUSE)


def _take(port: int, path: str) -> int:
    """Take the stream until the end, and return how many bytes that was."""
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
    count = 0
    with connection.getresponse() as response:
        while data := response.read1(2**16):
            count += len(data)
    return count


if __name__ == "__main__":
    sys.exit(main())
