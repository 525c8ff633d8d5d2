"""Measures a farm's page in a real Chromium: a job of 100,000 chunks, and one of fifty listeners. Prints one table.

`page.py [--quick]`. Each farm is served by a process of its own. Its adapter waits in place of running commands, so
that two processors are enough for the server, the browser and 49 clients. Needs Debian's chromium, and the group "web".
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import anyio
from playwright.async_api import Page, async_playwright
from rich.console import Console
from rich.table import Table

from tailrace import Chunk, JobManager, JobMetadata, JobSpec, RemoteFarm, WorkerJob, WorkerResult, connect
from tailrace.server import ServerSettings, serve

TOKEN = "a-token-for-benches"
CHROMIUM = "/usr/bin/chromium"
MANY = 100_000
CLIENTS = 49
EVENTS = 2000
"""A second: four for each chunk, of which two change its state."""
CHUNK_SECONDS = 0.1
SHOWN, FRAMES, PAGE_MEMORY, LATENCY, SERVER_MEMORY, CORES = 2.0, 50.0, 300.0, 100.0, 200.0, 0.5
"""Seconds, frames a second, MB, ms, MB, processors."""


class WaitingAdapter:
    """Takes a while for each command and runs none."""

    streams = False

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Return that it went well."""
        del job
        await anyio.sleep(CHUNK_SECONDS)
        return WorkerResult(0, b"", b"", duration=CHUNK_SECONDS)


class Figure(NamedTuple):
    """What was measured, and what is wanted."""

    name: str
    value: float
    target: float
    more_is_better: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it is what is wanted."""
        return self.value >= self.target if self.more_is_better else self.value <= self.target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(_serve(Path(arguments.serve)))
        return 0
    seconds = 5 if arguments.quick else 30
    figures = [*asyncio.run(_with_page(_many_chunks)), *asyncio.run(_with_page(partial(_many_clients, seconds)))]
    table = Table("what", "measured", "target")
    for figure in figures:
        wanted = f"{'at least' if figure.more_is_better else 'at most'} {figure.target:g}"
        table.add_row(figure.name, f"{figure.value:,.2f}", wanted)
    Console(width=110).print(table)
    return 0 if all(figure.is_met for figure in figures) else 1


async def _serve(folder: Path) -> None:
    slots = int(EVENTS / 4 * CHUNK_SECONDS)
    listener = socket.create_server(("127.0.0.1", 0))
    async with JobManager(WaitingAdapter(), repository=folder / "farm.db", slots=slots) as manager:
        port = listener.getsockname()[1]
        await serve(manager, listener, ServerSettings(TOKEN), on_listening=lambda: print(port, flush=True))


class _Server:
    """The process with the farm."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self._pid = process.pid

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return the most that it has used, in MB."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


@contextmanager
def _server() -> Iterator[_Server]:
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([sys.executable, __file__, "--serve", folder], stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            yield _Server(process, int(process.stdout.readline()))
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


async def _with_page(measure: Callable[[_Server, Page, RemoteFarm], Awaitable[Sequence[Figure]]]) -> Sequence[Figure]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(_server())
        playwright = await stack.enter_async_context(async_playwright())
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        stack.push_async_callback(browser.close)
        page = await browser.new_page(viewport={"width": 1400, "height": 900})
        await page.goto(f"{server.url}/#{TOKEN}")
        await page.get_by_role("status").filter(has_text="Live").wait_for()
        client = await stack.enter_async_context(connect(server.url, TOKEN))
        return await measure(server, page, client)


def _spec(count: int) -> JobSpec:
    chunks = [
        Chunk(id=number, start_frame=number + 1, frame_count=1, command="true", output_file=f"{number}.exr")
        for number in range(count)
    ]
    metadata = JobMetadata(total_frames=count, fps=24, width=1920, height=1080, duration=count / 24)
    return JobSpec(id="shot", metadata=metadata, chunks=tuple(chunks))


async def _many_chunks(server: _Server, page: Page, client: RemoteFarm) -> Sequence[Figure]:
    del server
    job_id = await client.submit(_spec(MANY), name="big")
    await client.pause(job_id, now=True)
    times = []
    for _ in range(5):
        await page.evaluate("location.hash = '#/'")
        await page.locator(".jobs a.job").first.wait_for()
        began = time.monotonic()
        await page.evaluate("path => { location.hash = path }", f"#/job/{job_id}")
        await page.locator(".legend button:not([hidden])").first.wait_for()
        times.append(time.monotonic() - began)
    rate = await page.evaluate("""async () => {
        const scroller = document.querySelector(".grid-scroller");
        const [count, range] = [300, scroller.scrollHeight - scroller.clientHeight];
        const began = performance.now();
        for (let number = 0; number < count; number += 1) {
            scroller.scrollTop = (number * 97) % range;
            await new Promise(requestAnimationFrame);
        }
        return (1000 * count) / (performance.now() - began);
    }""")
    return [
        Figure(f"{MANY:,} chunks on the page, s", median(times), SHOWN),
        Figure("frames/s while they are scrolled", rate, FRAMES, more_is_better=True),
        Figure("memory of the page's process, MB", await _memory_of(page), PAGE_MEMORY),
    ]


async def _memory_of(page: Page) -> float:
    """Return the memory of the largest of the browser's processes of pages, in MB: it has only this page."""
    assert page.context.browser is not None
    session = await page.context.browser.new_browser_cdp_session()
    found = await session.send("SystemInfo.getProcessInfo")
    pids = [process["id"] for process in found["processInfo"] if process["type"] == "renderer"]
    return max(map(_share, pids))


def _share(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("\nPss:")[2].split()[0]) * 1024 / 1e6


async def _many_clients(seconds: int, server: _Server, page: Page, client: RemoteFarm) -> Sequence[Figure]:
    counts = [_Count() for _ in range(CLIENTS)]
    async with anyio.create_task_group() as tasks:
        for count in counts:
            await tasks.start(count.listen, server.port)
        before, began = server.cpu(), time.monotonic()
        alone = await client.submit(_spec(int(EVENTS / 4 * seconds)), name="events")
        await page.evaluate("path => { location.hash = path }", f"#/job/{alone}")
        await page.evaluate(f"jobId => {{ {_LISTEN} }}", alone)
        await client.wait(alone)
        took, cpu = time.monotonic() - began, server.cpu() - before
        await anyio.sleep(1)
        late = sorted(await page.evaluate("window.late"))
        states = {chunk.state for chunk in await client.chunks(alone)}
        shown = await page.locator(".legend button:not([hidden])").all_inner_texts()
        tasks.cancel_scope.cancel()
    expected = 2 * int(EVENTS / 4 * seconds)
    changes = [count.changes[alone] for count in counts]
    if states != {"completed"} or min(changes) < expected or min(changes) != max(changes):
        raise RuntimeError(f"something was lost: {states}, {min(changes)} to {max(changes)} changes of {expected}")
    if shown != [f"{expected // 2:,} completed"]:
        raise RuntimeError(f"the page shows {shown}")
    rate = 2 * expected / took
    return [
        Figure(f"events/s beside {CLIENTS} clients", rate, 0.75 * EVENTS, more_is_better=True),
        Figure("p99 from the event to the page, ms", late[int(0.99 * len(late))], LATENCY),
        Figure("processors of the server, with its farm", cpu / took, CORES),
        Figure("memory of the server, MB", server.memory(), SERVER_MEMORY),
    ]


_LISTEN = """
    window.late = [];
    import("/page/feed.js").then(({ listen }) => listen((messages) => {
        for (const { time, jobId: ofJob, change } of messages) {
            if (change && ofJob === jobId) window.late.push(Date.now() - 1000 * time);
        }
    }));
"""


class _Count:
    """One client of the protocol, which counts the changes of each job."""

    def __init__(self) -> None:
        self.changes: dict[str, int] = {}

    async def listen(self, port: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Count until it is cancelled."""
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            request = f"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            await stream.send(request.encode())
            await stream.receive()
            task_status.started()
            rest = b""
            async for data in stream:
                *lines, rest = (rest + data).split(b"\n\n")
                for line in lines:
                    # Parsing all of them, 49 times, would take what the server needs.
                    if b'"change":{"chunkId":' in line and b'"chunkId":null' not in line:
                        job_id = line[line.index(b'"jobId":"') + 9 :].split(b'"', 1)[0].decode()
                        self.changes[job_id] = self.changes.get(job_id, 0) + 1


if __name__ == "__main__":
    sys.exit(main())
