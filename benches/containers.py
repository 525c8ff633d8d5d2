"""Measures containers beside the engine's own client: bytes a second, and a hundred commands. Prints one table.

`containers.py [--engine docker|podman] [--quick]`, as root: it makes an image and starts the engine with storage of its
own, as the tests do (`make test-containers` installs all). `--image I` takes an image and the engine as they are, with
`sh`, `head` and `true` in it. Both sides get the same options and take turns; the median of their ratios counts.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from tailrace import Capture, DockerAdapter, WorkerJob

LEAST_RATIO = 0.9
"""Of the rate of `podman run | cat`."""
COMMANDS = 100
CONCURRENCY = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="docker", choices=("docker", "podman"))
    parser.add_argument("--image", help="one that the engine has")
    parser.add_argument("--option", action="append", default=[], help="an option of `docker run`; may be given again")
    parser.add_argument("--quick", action="store_true", help="measure less")
    arguments = parser.parse_args()
    if arguments.image is not None:
        return _measure(arguments)
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
    from support.container_engines import IMAGE, running_engine

    arguments.image = IMAGE
    with tempfile.TemporaryDirectory(prefix="containers-") as folder, running_engine(arguments.engine, Path(folder)):
        return _measure(arguments)


def _measure(arguments: argparse.Namespace) -> int:
    size, commands, pairs = (256, 20, 3) if arguments.quick else (1024, COMMANDS, 5)
    adapter = DockerAdapter(arguments.image, engine=arguments.engine, options=arguments.option)
    client = shlex.join(
        [arguments.engine, "run", "--rm", "--log-driver=none", "--network=none", *arguments.option, arguments.image]
    )
    write = ["head", "-c", str(size * 2**20), "/dev/zero"]
    with tempfile.TemporaryDirectory() as folder:
        streaming = _pairs(
            pairs,
            lambda: _shell(f"{client} {shlex.join(write)} | cat > /dev/null"),
            lambda: anyio.run(_stream, adapter, folder, write),
        )
        many = _pairs(
            1 if arguments.quick else 3,
            lambda: _shell(f"seq {commands} | xargs -P {CONCURRENCY} -I NUMBER {client} true"),
            lambda: anyio.run(_run_many, adapter, folder, commands),
        )
    table = Table("", "client", "adapter", "client's time to the adapter's", "target")
    ratio = statistics.median(bare / own for bare, own in streaming)
    bare, own = (statistics.median(times) for times in zip(*streaming, strict=True))
    is_met = ratio >= LEAST_RATIO
    rates = [f"{size * 2**20 / seconds / 1e6:.0f} MB/s" for seconds in (bare, own)]
    table.add_row(f"{size} MiB", *rates, f"{ratio:.2f}", f"{LEAST_RATIO:g} {'met' if is_met else 'MISSED'}")
    ratio = statistics.median(bare / own for bare, own in many)
    bare, own = (statistics.median(times) for times in zip(*many, strict=True))
    table.add_row(f"{commands} commands, {CONCURRENCY} at a time", f"{bare:.1f} s", f"{own:.1f} s", f"{ratio:.2f}", "")
    Console(width=100).print(table)
    return 0 if is_met else 1


def _pairs(count: int, *sides: Callable[[], object]) -> list[list[float]]:
    """Return what each side took, in seconds, so many times; the first round, which fills caches, is left out."""
    return [[_time(side) for side in sides] for _ in range(count + 1)][1:]


def _time(side: Callable[[], object]) -> float:
    begin = time.monotonic()
    side()
    return time.monotonic() - begin


def _shell(line: str) -> None:
    subprocess.run(["sh", "-c", line], check=True, stdout=subprocess.DEVNULL)


async def _stream(adapter: DockerAdapter, folder: str, words: list[str]) -> None:
    size = 0

    def count(data: memoryview) -> None:
        nonlocal size
        size += len(data)

    job = WorkerJob(words[0], words[1:], cwd=folder, stream="bytes", on_stdout=count, capture=Capture.none())
    result = await adapter.execute(job)
    assert (result.exit_code, size) == (0, int(words[2]))


async def _run_many(adapter: DockerAdapter, folder: str, count: int) -> None:
    places = anyio.CapacityLimiter(CONCURRENCY)

    async def run() -> None:
        async with places:
            assert (await adapter.execute(WorkerJob("true", cwd=folder))).exit_code == 0

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(run)


if __name__ == "__main__":
    sys.exit(main())
