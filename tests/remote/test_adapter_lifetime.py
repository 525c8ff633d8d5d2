"""`async with adapter:` keeps open what is worth it, and nobody has to write it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread
import pytest

from support.jobs import job
from support.processes import wait_until_marked, wait_until_none_is_marked
from support.raw_server import answer, serving
from support.workers import WorkerThread, running_worker, wait_until
from tailrace import (
    AwsLambdaAdapter,
    CloudRunAdapter,
    HttpWorkerAdapter,
    JobExecutor,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerPool,
    WorkerResult,
)
from tailrace._command.adapter import open_adapters
from tailrace._remote.late_output import LateOutput
from tailrace.worker import _http_server

URL = "http://127.0.0.1:9"
ADAPTERS: dict[str, Callable[[], Any]] = {
    "local": LocalWorkerAdapter,
    "http": lambda: HttpWorkerAdapter(URL),
    "gcp": lambda: CloudRunAdapter(URL),
    "aws": lambda: AwsLambdaAdapter("shots", endpoint_url=URL),
    "pool": lambda: WorkerPool([LocalWorkerAdapter(), HttpWorkerAdapter(URL)]),
    "late": lambda: LateOutput(HttpWorkerAdapter(URL)),
}
both_ways = pytest.mark.parametrize("streaming", [False, True], ids=["buffered", "streaming"])
CHUNK = WorkerJob("render", meta={"chunk_id": 0})

pytestmark = pytest.mark.anyio


class Connections:
    """Counts those that were made to a worker of this process."""

    made = 0
    open = 0


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Return the counts."""
    counts = Connections()
    kind = _http_server.Connection
    made, lost = kind.connection_made, kind.connection_lost

    def connection_made(self: Any, transport: Any) -> None:
        counts.made += 1
        counts.open += 1
        made(self, transport)

    def connection_lost(self: Any, error: Exception | None) -> None:
        counts.open -= 1
        lost(self, error)

    monkeypatch.setattr(kind, "connection_made", connection_made)
    monkeypatch.setattr(kind, "connection_lost", connection_lost)
    return counts


@pytest.fixture
def worker(connections: Connections, tmp_path: Path) -> Iterator[WorkerThread]:
    """Run a worker that takes jobs from the test's folder."""
    with running_worker(tmp_path) as worker:
        yield worker


def adapter_of(worker: WorkerThread, *scripts: str, **options: Any) -> HttpWorkerAdapter:
    """Return the adapter of the worker, for a job whose chunks run the scripts."""
    return HttpWorkerAdapter(f"http://127.0.0.1:{worker.port}/", job_def_url=worker.write_job(*scripts), **options)


class Counting:
    """Somebody's adapter that has to be entered."""

    streams = True

    def __init__(self) -> None:
        self.is_entered = False
        self.entries = 0

    async def __aenter__(self) -> Self:
        self.is_entered = True
        self.entries += 1
        return self

    async def __aexit__(self, *_: object) -> bool:
        self.is_entered = False
        return True

    async def execute(self, job: WorkerJob) -> WorkerResult:
        assert self.is_entered
        return await LocalWorkerAdapter().execute(job)


@pytest.mark.parametrize("name", ADAPTERS)
async def test_every_adapter_can_be_entered_and_again_when_it_was_left(name: str) -> None:
    adapter = ADAPTERS[name]()
    for _ in range(2):
        async with adapter as same, adapter:
            assert same is adapter


@both_ways
async def test_in_the_block_connections_are_used_again_and_closed_at_its_end(
    streaming: bool, worker: WorkerThread, connections: Connections
) -> None:
    adapter = adapter_of(worker, "echo done", streaming=streaming)
    async with adapter:
        for _ in range(5):
            assert (await adapter.execute(CHUNK)).stdout == "done\n"
        # The worker has to say first that it keeps them.
        assert connections.made == 2
        assert await adapter.places() is not None
        assert (connections.made, connections.open) == (2, 1)
    await anyio.to_thread.run_sync(wait_until, lambda: connections.open == 0)
    for _ in range(2):
        assert (await adapter.execute(CHUNK)).exit_code == 0
    assert connections.made == 4


async def test_a_connection_is_open_until_the_last_one_has_left(worker: WorkerThread, connections: Connections) -> None:
    adapter = adapter_of(worker, "true")
    async with adapter:
        async with WorkerPool([adapter]) as pool:
            for _ in range(2):
                await pool.execute(CHUNK)
            made = connections.made
        await adapter.execute(CHUNK)
        assert connections.made == made
    await anyio.to_thread.run_sync(wait_until, lambda: connections.open == 0)


async def test_what_is_open_in_one_event_loop_is_not_used_in_another(
    worker: WorkerThread, connections: Connections
) -> None:
    adapter = adapter_of(worker, "true")
    async with adapter:
        for _ in range(2):
            await adapter.execute(CHUNK)
        assert (await anyio.to_thread.run_sync(anyio.run, adapter.execute, CHUNK)).exit_code == 0
        assert connections.made == 3
        await adapter.execute(CHUNK)
    assert connections.made == 3


async def test_a_worker_that_does_not_say_that_it_keeps_connections_gets_a_new_one_each_time() -> None:
    # This one closes them without a word.
    with serving(lambda connection, _: answer(connection, {"exitCode": 0})) as server:
        adapter = HttpWorkerAdapter(server.url, job_def_url="job.json")
        async with adapter:
            for _ in range(20):
                assert (await adapter.execute(CHUNK)).exit_code == 0
    assert len(server.requests) == 20


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    worker: WorkerThread, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace._remote.http_transport._KEPT_FOR", 0.1)
    adapter = adapter_of(worker, "true")
    async with adapter:
        for _ in range(3):
            await adapter.execute(CHUNK)
            await anyio.sleep(0.3)
    assert connections.made == 3


@both_ways
async def test_in_the_block_too_a_cancellation_ends_the_command_and_nothing_else(
    streaming: bool, worker: WorkerThread, tmp_path: Path
) -> None:
    mark = f"mark-{tmp_path.name}"
    adapter = adapter_of(worker, "true", f"sh -c 'sleep 60; : {mark}'; true", streaming=streaming)
    async with adapter:
        for _ in range(2):
            await adapter.execute(CHUNK)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(adapter.execute, WorkerJob("render", meta={"chunk_id": 1}))
            await anyio.to_thread.run_sync(wait_until_marked, mark, 1)
            began = time.monotonic()
            tasks.cancel_scope.cancel()
        await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)
        assert time.monotonic() - began < 15
        assert (await adapter.execute(CHUNK)).exit_code == 0


async def test_more_run_at_a_time_than_a_client_would_connect_for_by_itself() -> None:
    # A request that waited for a connection would lose the time of its limits.
    all_are_there = threading.Barrier(120, timeout=60)

    def respond(connection: Any, _: object) -> None:
        if len(server.requests) > 1:
            all_are_there.wait()
        answer(connection, {"exitCode": 0}, headers="Connection: keep-alive\r\n")

    with serving(respond) as server:
        adapter = HttpWorkerAdapter(server.url, job_def_url="job.json")
        async with adapter:
            await adapter.execute(CHUNK)
            async with anyio.create_task_group() as tasks:
                for _ in range(120):
                    tasks.start_soon(adapter.execute, CHUNK)


async def test_a_pool_enters_what_can_be_entered() -> None:
    class Plain:
        streams = True

        async def execute(self, job: WorkerJob) -> WorkerResult:
            return await LocalWorkerAdapter().execute(job)

    counting = Counting()
    async with WorkerPool([Plain(), counting]) as pool:
        async with pool:
            assert (await JobExecutor(pool).execute(job("true", "true"))).attempts == {0: 1, 1: 1}
        assert counting.is_entered
    assert (counting.is_entered, counting.entries) == (False, 1)


async def test_an_adapter_that_swallows_errors_at_its_end_keeps_none_from_coming_out() -> None:
    counting = Counting()
    with pytest.raises(LookupError, match="mine"):
        async with open_adapters([counting]):
            raise LookupError("mine")
    assert not counting.is_entered


async def test_an_adapter_that_cannot_be_closed_keeps_no_error_from_coming_out() -> None:
    class Unclosable(Counting):
        async def __aexit__(self, *_: object) -> bool:
            raise RuntimeError("lost")

    with pytest.raises(LookupError, match="mine") as caught:
        async with open_adapters([Unclosable()]):
            raise LookupError("mine")
    assert caught.value.__notes__ == ["closing the adapter raised RuntimeError('lost')"]
    with pytest.raises(RuntimeError, match="lost"):
        async with open_adapters([Unclosable()]):
            pass


async def test_who_comes_while_an_adapter_is_being_opened_finds_it_open() -> None:
    class Slow(Counting):
        async def __aenter__(self) -> Self:
            await anyio.sleep(0.2)
            return await super().__aenter__()

    slow = Slow()
    pool = WorkerPool([slow])
    seen: list[bool] = []

    async def use() -> None:
        async with pool:
            seen.append(slow.is_entered)
            await anyio.sleep(0.2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        await anyio.sleep(0.05)
        tasks.start_soon(use)
    assert seen == [True, True]
    assert (slow.is_entered, slow.entries) == (False, 1)
