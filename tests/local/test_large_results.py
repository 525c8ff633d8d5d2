"""A large result is complete, and in memory once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import anyio
import pytest

from support.processes import python
from tailrace import Capture, LocalWorkerAdapter, WorkerJob, WorkerResult, run

MIB = 1 << 20

# Writes so many bytes, none of which is told by where it stands, and says on its standard error what they were.
WRITER = """
import hashlib, os, sys
block, digest, left = os.urandom(1 << 20), hashlib.sha256(), int(sys.argv[1])
number = 0
while left:
    piece = (number.to_bytes(8, "big") + block)[:left]
    number, left = number + 1, left - len(piece)
    digest.update(piece)
    view = memoryview(piece)
    while view:
        view = view[os.write(1, view):]
os.write(2, digest.hexdigest().encode())
"""

PEAK = """
import re, sys
from pathlib import Path
from tailrace import WorkerJob, run
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
run(WorkerJob("true"))
before = peak()
source = "import os\\nfor _ in range(200): os.write(1, b'x' * (1 << 20))"
result = run(WorkerJob(sys.executable, ["-c", source]))
assert len(result.stdout_bytes) == 200 << 20
print(peak() - before)
"""


def digest_of(result: WorkerResult) -> str:
    return hashlib.sha256(result.stdout_bytes).hexdigest()


def test_a_large_result_is_in_memory_once() -> None:
    grown = int(subprocess.check_output([sys.executable, "-c", PEAK]))
    assert grown < 300 * MIB


@pytest.mark.parametrize("size", [5 * MIB + 7, 64 * MIB - 1, 64 * MIB, 64 * MIB + 1])
def test_a_result_is_complete_whatever_its_size(size: int) -> None:
    result = run(WorkerJob(*python(WRITER, str(size)), capture=Capture.full(memory=64 * MIB)))
    assert len(result.stdout_bytes) == size
    assert digest_of(result) == result.stderr
    assert result.ends(1000)[0] == result.stdout_bytes[-1000:]
    assert result.stdout == result.stdout_bytes.decode(errors="replace")


def test_a_large_result_is_complete_though_the_event_loop_was_busy() -> None:
    """What is read while nobody answers goes elsewhere, and so much of it that it stays there."""
    results: list[WorkerResult] = []

    async def collect() -> None:
        results.append(await LocalWorkerAdapter().execute(WorkerJob(*python(WRITER, str(100 * MIB)))))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect)
            while not results:
                await anyio.sleep(0.01)
                time.sleep(0.05)  # noqa: ASYNC251

    anyio.run(main)
    assert digest_of(results[0]) == results[0].stderr


def test_views_that_are_kept_outlive_a_large_result() -> None:
    held: list[memoryview] = []
    digest = hashlib.sha256()

    def hold(view: memoryview) -> None:
        digest.update(view)
        if len(held) < 40:
            held.append(view)

    result = run(WorkerJob(*python(WRITER, str(30 * MIB)), stream="bytes", on_stdout=hold))
    assert digest.hexdigest() == digest_of(result) == result.stderr
    start = result.stdout_bytes[: sum(map(len, held))]
    del result
    # What the result had is used for other things now, if it was given back too early.
    again = run(WorkerJob(*python(WRITER, str(30 * MIB))))
    assert b"".join(held) == start
    assert digest_of(again) == again.stderr


def test_a_large_result_of_a_blocking_run_is_its_text_and_its_bytes() -> None:
    source = "import os\nfor number in range(3000): os.write(1, b'%09d\\n' % number * 1000)"
    result = run(WorkerJob(*python(source)))
    written = b"".join(b"%09d\n" % number * 1000 for number in range(3000))
    assert result.stdout == written.decode()
    assert result.stdout_bytes == written
    assert result.stdout_bytes is result.stdout_bytes
