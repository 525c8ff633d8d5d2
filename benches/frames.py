"""Measures looks at frames against OpenImageIO's own program, and what they cost a render beside them.

`frames.py [--frames N] [--pairs N]`. Each ratio is the median over pairs of runs, one after the other.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from tailrace import check_frames
from tailrace._frames.checker import FrameChecker

SLICE = 2.0
"""Seconds."""
CORES = len(os.sched_getaffinity(0))
MAKE = """
import sys
import numpy as np
from OpenImageIO import ImageOutput, ImageSpec
folder, count = sys.argv[1], int(sys.argv[2])
y, x = np.mgrid[0:1080, 0:1920].astype("f4")
base = np.stack([x / 1920, y / 1080, np.sin(x / 37) * np.cos(y / 23) / 2 + 0.5, np.ones_like(x)], axis=2)
noise = np.random.default_rng(1)
spec = ImageSpec(1920, 1080, 4, "half")
spec.attribute("compression", "zip")
for number in range(count):
    pixels = base * (1 + number / 1000)
    pixels[..., :3] += noise.normal(0, 0.01, base[..., :3].shape)
    output = ImageOutput.create("a.exr")
    assert output.open(f"{folder}/f.{number:04}.exr", spec)
    assert output.write_image(pixels.astype("f2"))
    output.close()
"""
BUSY = """
import sys, time
end, count = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < end:
    count += 1
print(count)
"""
"""Counts what one thread of a render gets done."""


def main() -> None:
    """Make the frames, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=1000, help="how many frames are looked at")
    parser.add_argument("--made", type=int, default=20, help="how many of them are different files")
    parser.add_argument("--slices", type=int, default=20, help="how many pairs of a render's slices count")
    parser.add_argument("--pairs", type=int, default=3, help="how many pairs of runs count")
    arguments = parser.parse_args()
    table = Table("workload", "tailrace", "beside", "", "ratio", "min..max", "target", title="medians of pairs")
    with tempfile.TemporaryDirectory() as folder:
        paths = make_frames(Path(folder), arguments.frames, min(arguments.made, arguments.frames))
        for level, target in (("whole", 1.2), ("looks", None)):
            pairs = [(cost(whole, paths, level), cost(oiiotool, paths)) for _ in range(arguments.pairs + 1)][1:]
            name = f"{len(paths)} EXRs of 1920x1080, {level}"
            for place, unit in enumerate(("s", "s of processors")):
                values = [(ours[place], theirs[place]) for ours, theirs in pairs]
                add(table, name, values, f"{unit}, oiiotool --hash", target)
        pairs_ = anyio.run(render_beside, paths, arguments.slices)
        add(table, f"{CORES} threads of a render beside a look", pairs_, "loops, alone", -0.95)
    Console(width=120).print(table)


def make_frames(folder: Path, count: int, made: int) -> list[Path]:
    """Write frames of half floats, and as many more as names of them."""
    subprocess.run([sys.executable, "-c", MAKE, folder, str(made)], check=True)
    paths = [folder / f"f.{number:04}.exr" for number in range(count)]
    for number in range(made, count):
        paths[number].hardlink_to(paths[number % made])
    return paths


def cost(work: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Return how long something takes, and the processor time of the processes that it starts."""
    began, before = time.perf_counter(), os.times()
    work(*arguments)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


def whole(paths: Sequence[Path], level: str) -> None:
    """Have tailrace look at the frames."""

    async def look() -> None:
        found = await check_frames(paths, level=level)  # type: ignore[arg-type]
        assert all(one.ok for one in found)

    anyio.run(look)


def oiiotool(paths: Sequence[Path]) -> None:
    """Have OpenImageIO's program read them and add up their pixels, in a process for each core."""
    spec = find_spec("OpenImageIO")
    assert spec is not None and spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0]) / "bin" / "oiiotool"
    parts = [paths[first::CORES] for first in range(CORES)]
    processes = [
        subprocess.Popen([program, "--threads", "1", "--hash", *part], stdout=subprocess.DEVNULL) for part in parts
    ]
    assert [process.wait() for process in processes] == [0] * CORES


def render(length: float) -> float:
    """Return what a thread for each core gets done in so many seconds."""
    processes = [
        subprocess.Popen([sys.executable, "-c", BUSY, str(length)], stdout=subprocess.PIPE, text=True)
        for _ in range(CORES)
    ]
    return sum(int(process.communicate()[0]) for process in processes)


async def render_beside(paths: Sequence[Path], slices: int) -> list[tuple[float, float]]:
    """Return pairs of the same beside a look at frames, and alone: while the look stands still."""
    pairs = []
    async with FrameChecker() as checker, anyio.create_task_group() as tasks:

        async def forever(own: Sequence[Path]) -> None:
            while True:
                for path in own:
                    await checker.check(path)
                checker._kept.clear()

        for first in range(CORES):
            tasks.start_soon(forever, paths[first::CORES])
        await anyio.sleep(3.0)
        for _ in range(slices):
            beside = await anyio.to_thread.run_sync(render, SLICE)
            at_work = [decoder._process.pid for decoder in checker._pool._busy]
            for process in at_work:
                os.kill(process, signal.SIGSTOP)
            pairs.append((beside, await anyio.to_thread.run_sync(render, SLICE)))
            for process in at_work:
                os.kill(process, signal.SIGCONT)
        tasks.cancel_scope.cancel()
    return pairs


def add(table: Table, name: str, pairs: Sequence[tuple[float, float]], unit: str, target: float | None) -> None:
    """Add a row; a target is the greatest ratio, a negative one the least."""
    ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratios = [one / other for one, other in pairs]
    ratio = statistics.median(ratios)
    verdict = ""
    if target is not None:
        is_met = ratio <= target if target > 0 else ratio >= -target
        verdict = f"{'<=' if target > 0 else '>='} {abs(target)}: {'met' if is_met else 'MISSED'}"
    table.add_row(
        name, f"{ours:,.4g}", f"{theirs:,.4g}", unit, f"{ratio:.3f}", f"{min(ratios):.3f}..{max(ratios):.3f}", verdict
    )


if __name__ == "__main__":
    main()
