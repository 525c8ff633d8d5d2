"""What is told of a command's memory and processor time is what the kernel says, within 5 %, whatever became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from support.processes import PYTHON
from tailrace import (
    Capture,
    LocalWorkerAdapter,
    ResourceUsage,
    UsageSample,
    WorkerJob,
    WorkerResult,
    WorkerTimeoutError,
    run,
)

# Says what the kernel counts of it once it has so many MiB: its number, its peak and its proportional set size.
RENDERER = """
import os, sys, time
held = b"x" * (int(sys.argv[1]) << 20)
size = lambda file, key: next(int(line.split()[1]) << 10 for line in open(f"/proc/self/{file}") if line.startswith(key))
print(os.getpid(), size("status", "VmHWM:"), size("smaps_rollup", "Pss:"), flush=True)
time.sleep(float(sys.argv[2]))
"""


def shell(script: str, mark: str, mebibytes: int = 300, seconds: float = 60) -> tuple[str, list[str]]:
    """Return the command that runs a script, in which `"$@"` is the renderer."""
    return "sh", ["-c", script, mark, *PYTHON, "-c", RENDERER, str(mebibytes), str(seconds), mark]


def renderer(mark: str, mebibytes: int = 300, seconds: float = 60) -> tuple[str, list[str]]:
    return PYTHON[0], [*PYTHON[1:], "-c", RENDERER, str(mebibytes), str(seconds), mark]


backend: Literal["native", "python"]


@pytest.fixture(autouse=True, params=["native", "python"])
def _choose_backend(request: pytest.FixtureRequest) -> None:
    global backend
    backend = request.param


def execute(command: tuple[str, list[str]], **options: Any) -> WorkerResult:
    """Return the result, also that of a limit."""
    try:
        return anyio.run(LocalWorkerAdapter(backend=backend).execute, WorkerJob(*command, **options))
    except WorkerTimeoutError as error:
        assert error.result is not None
        return error.result


def kill_later(count: int) -> Callable[[str], Awaitable[None]]:
    """Return what kills the renderers a while after so many have said that they have what they need."""
    numbers: list[int] = []

    async def on_line(line: str) -> None:
        numbers.append(int(line.split()[0]))
        if len(numbers) == count:
            await anyio.sleep(3)
            for number in numbers:
                os.kill(number, signal.SIGKILL)

    return on_line


def figures(result: WorkerResult) -> tuple[ResourceUsage, list[int], list[int]]:
    """Return what was told, and what the kernel told the renderers: their peaks and their set sizes."""
    assert result.usage is not None
    told = [tuple(map(int, line.split())) for line in result.stdout.splitlines()]
    return result.usage, [peak for _, peak, _ in told], [size for _, _, size in told]


@pytest.mark.parametrize("script", ['"$@"; :', 'setsid "$@"; :'], ids=["child", "setsid"])
def test_a_tree_that_a_limit_ended_has_the_memory_and_time_of_all_its_members(script: str, mark: str) -> None:
    usage, [peak], [size] = figures(execute(shell(script, mark), idle_timeout=5))
    assert usage.max_rss == pytest.approx(peak, rel=0.05)
    assert usage.tree_max_rss == pytest.approx(size, rel=0.05)
    assert usage.cpu_user + usage.cpu_system > 0.05


def test_the_members_of_a_tree_count_together(mark: str) -> None:
    command = shell('"$@" & "$@" & "$@" & wait', mark)
    usage, peaks, sizes = figures(execute(command, stream="lines", on_stdout=kill_later(3)))
    assert usage.tree_max_rss == pytest.approx(sum(sizes), rel=0.05)
    assert usage.max_rss == pytest.approx(max(peaks), rel=0.05)


def test_what_members_share_counts_once(mark: str) -> None:
    forks = RENDERER + "\nos.fork() and os.fork()\ntime.sleep(60)"
    command = PYTHON[0], [*PYTHON[1:], "-c", forks, "300", "0", mark]
    usage, _, [size] = figures(execute(command, idle_timeout=5))
    assert usage.tree_max_rss == pytest.approx(size, rel=0.05)


def test_a_member_that_lost_its_parent_still_counts(mark: str) -> None:
    # It becomes the renderer when nothing leads to it any more.
    script = """(sh -c 'sleep 2; exec "$@"' sh "$@" & sleep 1); sleep 60"""
    usage, _, [size] = figures(execute(shell(script, mark), idle_timeout=6))
    assert usage.tree_max_rss == pytest.approx(size, rel=0.05)


def test_a_command_that_was_killed_has_its_peak(mark: str) -> None:
    result = execute(renderer(mark), stream="lines", on_stdout=kill_later(1))
    assert result.exit_code == -signal.SIGKILL
    usage, [peak], [size] = figures(result)
    assert usage.max_rss == pytest.approx(peak, rel=0.05)
    assert usage.tree_max_rss == pytest.approx(size, rel=0.05)


def test_a_short_command_has_its_own_peak(mark: str) -> None:
    usage, [peak], _ = figures(execute(renderer(mark, mebibytes=20, seconds=0)))
    if backend == "python" and usage.max_rss != pytest.approx(peak, rel=0.05):
        # Smaller than this process: the core's absence leaves what was seen of it by chance, or nothing.
        assert usage.max_rss is None or 0 < usage.max_rss < peak
    else:
        assert usage.max_rss == pytest.approx(peak, rel=0.05)


HOST = """
import json, sys
import anyio
from tailrace import LocalWorkerAdapter, WorkerJob
ballast = b"x" * (700 << 20)
result = anyio.run(LocalWorkerAdapter(backend=sys.argv[1]).execute, WorkerJob(sys.argv[2], sys.argv[3:]))
print(json.dumps([result.stdout, result.usage.max_rss, result.usage.tree_max_rss]))
"""


def test_the_memory_of_a_large_host_is_not_its_commands(mark: str) -> None:
    command, args = renderer(mark, seconds=2)
    told = subprocess.check_output([sys.executable, "-c", HOST, backend, command, *args], timeout=200)
    output, max_rss, tree_max_rss = json.loads(told)
    _, peak, size = map(int, output.split())
    assert max_rss == pytest.approx(peak, rel=0.05)
    assert tree_max_rss == pytest.approx(size, rel=0.05)


BESIDE_ONE_THAT_HANGS = """
import os, subprocess, sys, time
import anyio
from tailrace import LocalWorkerAdapter, WorkerJob, WorkerTimeoutError
backend, fifo, mark, python, *args = sys.argv[1:]
execute = LocalWorkerAdapter(backend=backend).execute
growing = "import os, time; print(os.getpid(), flush=True); held = [time.sleep(.1) or b'x' * 2**20 for _ in range(600)]"
hung, samples = anyio.Event(), []

def hang(pid):
    # An open of a fifo waits for a writer: this one for ever.
    subprocess.run(["mount", "--bind", fifo, f"/proc/{int(pid)}/smaps_rollup"], check=True)
    hung.set()

async def main():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(execute, WorkerJob(python, ["-c", growing, mark], stream="lines", on_stdout=hang))
        await hung.wait()
        await anyio.sleep(1)
        result = await execute(WorkerJob(python, args, on_usage=samples.append))
        tasks.cancel_scope.cancel()
    print(result.stdout.split()[2], result.usage.tree_max_rss, len(samples))

anyio.run(main)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to put something that hangs in place of a file of /proc")
def test_a_process_that_cannot_be_looked_at_does_not_keep_others_from_it(tmp_path: Path, mark: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    command, args = renderer(mark, seconds=4)
    host = [sys.executable, "-c", BESIDE_ONE_THAT_HANGS, backend, str(tmp_path / "fifo"), mark, command, *args]
    told = subprocess.check_output(["unshare", "--mount", *host], timeout=200)
    size, tree_max_rss, samples = map(int, told.split())
    assert tree_max_rss == pytest.approx(size, rel=0.05)
    assert samples >= 2


def test_samples_come_while_the_command_runs_and_none_after_its_end(mark: str) -> None:
    samples: list[UsageSample] = []
    usage, _, [size] = figures(execute(renderer(mark, seconds=3), on_usage=samples.append))
    count = len(samples)
    assert 2 <= count <= 20
    # The last may be of a process that is giving its memory back.
    assert max(sample.memory for sample in samples) == pytest.approx(size, rel=0.05)
    assert 0 < samples[-1].cpu <= usage.cpu_user + usage.cpu_system + 0.02
    assert [sample.cpu for sample in samples] == sorted(sample.cpu for sample in samples)
    time.sleep(0.6)
    assert len(samples) == count


def test_samples_come_beside_output_that_never_stops(mark: str) -> None:
    samples: list[UsageSample] = []
    execute(("sh", ["-c", "timeout 2 yes; :", mark]), on_stdout=len, on_usage=samples.append, capture=Capture.none())
    assert len(samples) >= 2


def refuse(_: UsageSample) -> None:
    raise ZeroDivisionError("no thanks")


def test_what_the_callback_of_samples_raises_ends_the_command_and_comes_out_bare(mark: str) -> None:
    with pytest.raises(ZeroDivisionError, match="no thanks"):
        execute(("sh", ["-c", "sleep 60; :", mark]), on_usage=refuse)


def test_the_blocking_form_tells_of_usage_too(mark: str) -> None:
    samples: list[UsageSample] = []
    result = run(WorkerJob("sh", ["-c", "sleep 1", mark], on_usage=samples.append))
    assert result.usage is not None
    assert samples
    assert max(sample.memory for sample in samples) <= (result.usage.tree_max_rss or 0)
    with pytest.raises(ZeroDivisionError):
        run(WorkerJob("sh", ["-c", "sleep 60; :", mark], on_usage=refuse))
