"""One measurement in a process of its own: `measure.py WORKLOAD CONTENDER PARAMETER SIZE` prints what it took.

A process of its own, since memory that one contender touched or threads it left would count for the next. Each warms up
first, with a part of the work or all of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import uvloop

import contenders
from tailrace import (
    Capture,
    Chunk,
    JobExecutionOptions,
    JobExecutor,
    JobMetadata,
    JobSpec,
    LocalWorkerAdapter,
    StreamMode,
    WorkerJob,
)

PROGRAMS = Path(__file__).parent.parent / "target" / "benches" / "release"
WRITER, READER, SPAWNER, STAMPER, PROGRESS = (
    str(PROGRAMS / name) for name in ("writer", "reader", "spawner", "stamper", "progress")
)
NODE_READER = str(Path(__file__).parent / "node_reader.js")

NOBODY = 65534
LARGE_HOST = 2 << 30
WRITERS = 64
STEADY_WRITERS = 8
PACE = 2000
"""Microseconds between the lines of a writer whose latency is measured."""


class Measurement(NamedTuple):
    """A rate, a time or a size, and the seconds of processor time that the contender's own process used for it."""

    value: float
    cpu: float | None = None


def on_loop(loop: str, function: Callable[[], Awaitable[Any]]) -> Any:
    """Run an async function on the event loop that a contender stands for."""

    async def main() -> Any:
        return await function()

    if loop == "trio":
        return anyio.run(main, backend="trio")
    if loop == "uvloop":
        return anyio.run(main, backend="asyncio", backend_options={"loop_factory": uvloop.new_event_loop})
    return asyncio.run(main())


def streamer(contender: str, mode: StreamMode) -> Callable[[list[str], contenders.OnData], Any]:
    """Return a coroutine function that reads a command's output the contender's way."""
    if contender == "tailrace":
        return lambda command, on_data: contenders.tailrace_stream(command, mode, on_data)
    if contender in ("trio", "anyio"):
        return lambda command, on_data: contenders.anyio_stream(command, mode, on_data)
    return lambda command, on_data: contenders.asyncio_stream(command, mode, on_data)


def stream(contender: str, mode: StreamMode, size: int) -> Measurement:
    """Return the bytes per second of one writer."""
    if contender == "native":
        return native(READER, WRITER, str(size))
    total = 0

    def count(data: str | bytes | memoryview) -> None:
        nonlocal total
        total += len(data)

    def run(size: int) -> None:
        command = [WRITER, str(size)]
        if contender == "subprocess":
            contenders.subprocess_stream(command, mode, count)
        else:
            on_loop(contender, lambda: streamer(contender, mode)(command, count))

    run(size // 8)
    total = 0
    measurement = rate(size, lambda: run(size))
    # Lines come without their ends from some.
    assert size * 0.98 <= total <= size, f"{contender} lost {size - total} bytes"
    return measurement


def text_and_capture(contender: str, case: str, size: int) -> Measurement:
    """Return the bytes per second of text callbacks with all kept, and in the case "joined" put together as a `str`."""
    if contender == "node":
        return native("node", NODE_READER, WRITER, str(size))
    if contender != "tailrace":
        return stream(contender, "bytes", size)

    def run(*, joined: bool) -> None:
        job = WorkerJob(WRITER, [str(size)], on_stdout=len, capture=Capture.full(memory=size))
        result = asyncio.run(LocalWorkerAdapter().execute(job))
        assert not joined or len(result.stdout) == size

    run(joined=True)
    return rate(size, lambda: run(joined=case == "joined"))


def capture(contender: str, _: StreamMode, size: int) -> Measurement:
    """Return the bytes per second of a command whose whole output is wanted as `bytes`, and nothing else."""
    command = [WRITER, str(size)]

    async def captured() -> int:
        # Not the bytes themselves: `asyncio.run` formats what its task returns, which takes longer than the capture.
        return len(await contenders.tailrace_stream(command, "bytes", None, Capture.full(memory=size)))

    def run() -> None:
        if contender == "tailrace":
            length = asyncio.run(captured())
        else:
            length = len(subprocess.run(command, capture_output=True, check=True).stdout)
        assert length == size

    run()
    return rate(size, run)


def many_writers(contender: str, mode: StreamMode, size: int) -> Measurement:
    """Return the bytes per second of many writers together."""
    each = size // WRITERS
    total = 0

    def count(data: bytes | memoryview) -> None:
        nonlocal total
        total += len(data)

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(WRITERS):
                tasks.start_soon(streamer(contender, mode), [WRITER, str(each)], count)

    on_loop(contender, run)
    total = 0
    measurement = rate(each * WRITERS, lambda: on_loop(contender, run))
    assert total == each * WRITERS, f"{contender} lost {each * WRITERS - total} bytes"
    return measurement


def many_writers_unprivileged(contender: str, mode: StreamMode, size: int) -> Measurement:
    """The same for a user whose pipe memory is limited."""
    # What is imported late may lie where only root can read it.
    on_loop(contender, anyio.lowlevel.checkpoint)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        if not os.access(WRITER, os.X_OK):
            sys.exit(f"user {NOBODY} cannot run {WRITER}: give others access to the folders it is in")
    return many_writers(contender, mode, size)


def spawn(contender: str, at_once: int, count: int) -> Measurement:
    """Return how many commands that do nothing are run per second."""
    if contender == "native":
        return native(SPAWNER, str(count), str(at_once))

    def run(count: int) -> None:
        if contender == "subprocess":
            contenders.subprocess_spawn(count, at_once)
            return
        function = {
            "tailrace": contenders.tailrace_spawn,
            "trio": contenders.anyio_spawn,
            "anyio": contenders.anyio_spawn,
        }.get(contender, contenders.asyncio_spawn)
        on_loop(contender, lambda: function(count, at_once))

    run(count // 8)
    return rate(count, lambda: run(count))


def spawn_from_large_host(contender: str, at_once: int, count: int) -> Measurement:
    """Return the same for tailrace, in a process that holds much memory unless the contender is "small host"."""
    held = b"x" * (0 if contender == "small host" else LARGE_HOST)
    measurement = spawn("tailrace", at_once, count)
    del held
    return measurement


def quiet_commands(contender: str, _: object, count: int) -> Measurement:
    """Return how many percent of a core this process uses while so many commands run that say nothing."""
    assert contender == "tailrace"
    seconds = 10
    started = anyio.Semaphore(0)

    async def run() -> float:
        job = WorkerJob("/bin/sh", ["-c", "echo; exec sleep 60"], on_stdout=lambda _: started.release())
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(LocalWorkerAdapter().execute, job)
            for _ in range(count):
                await started.acquire()
            before = time.process_time()
            await anyio.sleep(seconds)
            used = time.process_time() - before
            tasks.cancel_scope.cancel()
        return used

    return Measurement(100 * on_loop("asyncio", run) / seconds)


def progress_events(contender: str, rate: int, count: int) -> Measurement:
    """Return how many percent of a core this process uses to watch so many chunks that report progress."""
    assert contender == "tailrace"
    seconds = 5
    spec = job_of(count, f"{PROGRESS} {rate} {seconds}")
    started, cpu = time.perf_counter(), time.process_time()
    with watched() as options:
        asyncio.run(JobExecutor(LocalWorkerAdapter()).execute(spec, replace(options, concurrency=count)))
    return Measurement(100 * (time.process_time() - cpu) / (time.perf_counter() - started))


def watched_text(contender: str, renderer: str, size: int) -> Measurement:
    """Return the bytes a second of ordinary text of one chunk that is watched, read as that of the renderer."""
    assert contender == "tailrace"

    def run(size: int) -> None:
        with watched() as options:
            options = replace(options, progress=renderer)
            asyncio.run(JobExecutor(LocalWorkerAdapter()).execute(job_of(1, f"{WRITER} {size}"), options))

    run(size // 8)
    return rate(size, lambda: run(size))


def watched_spawn(contender: str, at_once: int, count: int) -> Measurement:
    """Return how many chunks that do nothing are run per second, watched unless the contender is "unwatched"."""

    def run(count: int) -> None:
        with watched() as options:
            options = replace(options if contender == "tailrace" else JobExecutionOptions(), concurrency=at_once)
            asyncio.run(JobExecutor(LocalWorkerAdapter()).execute(job_of(count, "/bin/true"), options))

    run(count // 8)
    return rate(count, lambda: run(count))


def one_chunk(contender: str, case: str, size: int) -> Measurement:
    """Return the bytes per second of one chunk of a job, in lines or, if "masked", searched for a secret."""
    if contender == "native":
        return native(READER, WRITER, str(size))
    total = 0

    def count(_: int, data: str | memoryview) -> None:
        nonlocal total
        total += len(data)

    options = JobExecutionOptions(stream="lines", on_chunk_stdout=count, capture=Capture.none())
    if case == "masked":
        options = replace(options, stream="bytes", slot_env={"TOKEN": ["hunter2-hunter2"]}, mask_env=["TOKEN"])

    def run(size: int) -> None:
        asyncio.run(JobExecutor(LocalWorkerAdapter()).execute(job_of(1, f"{WRITER} {size}"), options))

    run(size // 8)
    total = 0
    measurement = rate(size, lambda: run(size))
    assert size * 0.98 <= total <= size, f"lost {size - total} bytes"
    return measurement


@contextmanager
def watched() -> Iterator[JobExecutionOptions]:
    """Have a job watched in every way: events, progress and log files."""
    with tempfile.TemporaryDirectory(dir=PROGRAMS) as folder:
        yield JobExecutionOptions(on_event=id, log_dir=folder, stream="bytes", capture=Capture.tail(65536))


def job_of(count: int, command: str) -> JobSpec:
    """Return a job of so many chunks that run the same command."""
    return JobSpec(
        metadata=JobMetadata(total_frames=count, fps=24, width=1, height=1, duration=count / 24),
        chunks=tuple(
            Chunk(id=id_, start_frame=id_, frame_count=1, output_file=f"{id_}", command=command) for id_ in range(count)
        ),
    )


def job_run(contender: str, options: list[str], size: int) -> Measurement:
    """Return the bytes a second that `job run` passes on of two chunks that write so much together, less its start."""
    if contender == "native":
        return native(READER, WRITER, str(size))
    started = seconds_of_job_run(job_of(2, f"{WRITER} 100"), options)
    return Measurement(size / (seconds_of_job_run(job_of(2, f"{WRITER} {size // 2}"), options) - started))


def job_run_spawn(contender: str, at_once: int, count: int) -> Measurement:
    """Return how many chunks that do nothing `job run` runs per second, less its start."""
    if contender == "xargs":
        numbers = "\n".join(map(str, range(count))).encode()
        command = ["xargs", "-n", "1", "-P", str(at_once), "/bin/true"]
        return rate(count, lambda: subprocess.run(command, input=numbers, check=True))
    options = ["--concurrency", str(at_once)]
    started = seconds_of_job_run(job_of(1, "/bin/true"), options)
    return Measurement(count / (seconds_of_job_run(job_of(count, "/bin/true"), options) - started))


def seconds_of_job_run(spec: JobSpec, options: list[str]) -> float:
    """Return how long `job run` takes when its output goes to a pipe that is read at once."""
    with tempfile.TemporaryDirectory(dir=PROGRAMS) as folder:
        path = Path(folder, "job.json")
        path.write_text(spec.model_dump_json(by_alias=True, exclude_none=True))
        memory = bytearray(1 << 20)
        started = time.perf_counter()
        command = [sys.executable, "-m", "tailrace", "job", "run", str(path), *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder) as process:
            assert process.stdout is not None
            while os.readv(process.stdout.fileno(), [memory]):
                pass
        assert process.returncode == 0
        return time.perf_counter() - started


def latency(contender: str, _: StreamMode, burst: int, *, writers: int = 1, percentile: int = 99) -> Measurement:
    """Return the percentile of the microseconds from a write to its callback, in a burst of starts if wanted."""
    seen: list[tuple[int, int]] = []
    span: list[int] = []
    seconds = 3 if burst else 1.2

    def on_line(line: str | bytes) -> None:
        seen.append((int(line), time.monotonic_ns()))

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(writers):
                tasks.start_soon(streamer(contender, "lines"), [STAMPER, str(seconds), str(PACE)], on_line)
            await anyio.sleep(0.3)
            span.append(time.monotonic_ns())
            await all_at_once(contender, streamer(contender, "bytes"), burst)
            if not burst:
                await anyio.sleep(0.6)
            span.append(time.monotonic_ns())

    on_loop(contender, run)
    assert max(written for written, _ in seen) > span[1], "the writer ended before the burst"
    # By the time of the write, not of the callback: what came late is what counts.
    values = [called - written for written, called in seen if span[0] <= written < span[1]]
    return Measurement(statistics.quantiles(values, n=100, method="inclusive")[percentile - 1] / 1000)


async def all_at_once(contender: str, stream: Callable[[list[str], contenders.OnData], Any], count: int) -> None:
    """Run so many commands that do nothing, on the event loop that the writers are read on."""
    if contender == "trio":
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(stream, ["/bin/true"], len)
    else:
        # With tasks of asyncio's own: making anyio's holds up the event loop for longer than what is measured.
        await asyncio.gather(*[stream(["/bin/true"], len) for _ in range(count)])


def memory(contender: str, case: str, size: int) -> Measurement:
    """Return by how many MiB the peak of this process's resident memory grows while a command streams `size` bytes."""
    assert contender == "tailrace"

    async def slow(_: memoryview) -> None:
        await anyio.sleep(0.002)

    on_data = slow if case == "slow callback" else len
    kept = Capture.tail(65536) if case == "tail" else Capture.none()
    asyncio.run(contenders.tailrace_stream([WRITER, "1000"], "bytes", len))
    # Writing 5 resets the peak (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_resident_memory()
    asyncio.run(contenders.tailrace_stream([WRITER, str(size)], "bytes", on_data, kept))
    return Measurement((peak_resident_memory() - before) / 1024)


def peak_resident_memory() -> int:
    """Return that of this process, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def native(*command: str) -> Measurement:
    """Return what another program prints: a rate, and its processor time."""
    value, cpu = subprocess.check_output(command).split()
    return Measurement(float(value), float(cpu))


def rate(amount: int, function: Callable[[], object]) -> Measurement:
    """Return how much of an amount the function does per second."""
    started, cpu = time.perf_counter(), time.process_time()
    function()
    return Measurement(amount / (time.perf_counter() - started), time.process_time() - cpu)


WORKLOADS: dict[str, Callable[[str, Any, int], Measurement]] = {
    "stream": stream,
    "text_and_capture": text_and_capture,
    "capture": capture,
    "many_writers": many_writers,
    "many_writers_unprivileged": many_writers_unprivileged,
    "spawn": spawn,
    "spawn_from_large_host": spawn_from_large_host,
    "one_chunk": one_chunk,
    "quiet_commands": quiet_commands,
    "progress_events": progress_events,
    "watched_text": watched_text,
    "watched_spawn": watched_spawn,
    "job_run": job_run,
    "job_run_spawn": job_run_spawn,
    "latency": latency,
    "latency_p50": lambda contender, mode, burst: latency(contender, mode, burst, percentile=50),
    "steady_writers": lambda contender, mode, burst: latency(contender, mode, burst, writers=STEADY_WRITERS),
    "memory": memory,
}


def main() -> None:
    """Measure what the arguments name."""
    workload, contender, parameter, size = sys.argv[1:]
    print(json.dumps(WORKLOADS[workload](contender, json.loads(parameter), int(size))))


if __name__ == "__main__":
    main()
