"""How each contender runs a command and reads its output: the same few jobs, in each one's own terms.

Every function is given commands to run and a function to call with each piece of output.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio

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

OnData = Callable[[Any], object]
Command = Sequence[str]

PIECE = 1 << 20
"""What is asked for at once where a contender lets one choose, in bytes."""


async def tailrace_stream(
    command: Command, mode: StreamMode, on_data: OnData | None, capture: Capture | None = None
) -> bytes:
    job = WorkerJob(command[0], command[1:], stream=mode, on_stdout=on_data, capture=capture or Capture.none())
    result = await LocalWorkerAdapter().execute(job)
    return result.stdout_bytes


async def asyncio_stream(command: Command, mode: StreamMode, on_data: OnData) -> None:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if mode == "lines":
        async for line in process.stdout:
            on_data(line)
    else:
        decode = decoder(mode)
        while data := await process.stdout.read(PIECE):
            on_data(decode(data))
    await process.wait()


async def anyio_stream(command: Command, mode: StreamMode, on_data: OnData) -> None:
    decode = decoder(mode)
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        rest = b""
        async for data in process.stdout:
            if mode != "lines":
                on_data(decode(data))
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                on_data(line)
        if rest:
            on_data(rest)


def decoder(mode: StreamMode) -> Callable[[bytes], str | bytes]:
    return codecs.getincrementaldecoder("utf-8")("replace").decode if mode == "text" else bytes


def subprocess_stream(command: Command, mode: StreamMode, on_data: OnData) -> None:
    if mode == "bytes":
        with subprocess.Popen(command, stdout=subprocess.PIPE, pipesize=PIECE, bufsize=0) as process:
            assert process.stdout is not None
            while data := os.read(process.stdout.fileno(), PIECE):
                on_data(data)
        return
    with subprocess.Popen(command, stdout=subprocess.PIPE, pipesize=PIECE, text=True) as text_process:
        assert text_process.stdout is not None
        if mode == "lines":
            for line in text_process.stdout:
                on_data(line)
        else:
            while text := text_process.stdout.read(PIECE):
                on_data(text)


async def tailrace_spawn(count: int, at_once: int) -> None:
    spec = JobSpec(
        metadata=JobMetadata(total_frames=count, fps=1, width=1, height=1, duration=1),
        chunks=tuple(
            Chunk(id=number, start_frame=number, frame_count=1, output_file=f"{number}.png", command="/bin/true")
            for number in range(count)
        ),
    )
    await JobExecutor(LocalWorkerAdapter()).execute(spec, JobExecutionOptions(concurrency=at_once))


async def asyncio_spawn(count: int, at_once: int) -> None:
    limiter = asyncio.Semaphore(at_once)

    async def run() -> None:
        async with limiter:
            process = await asyncio.create_subprocess_exec("/bin/true", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            await process.communicate()

    await asyncio.gather(*[run() for _ in range(count)])


async def anyio_spawn(count: int, at_once: int) -> None:
    limiter = anyio.CapacityLimiter(at_once)

    async def run() -> None:
        async with limiter:
            await anyio.run_process(["/bin/true"])

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(run)


def subprocess_spawn(count: int, at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(subprocess.run, ["/bin/true"], capture_output=True) for _ in range(count)]:
            future.result()
