"""What an adapter tells of a command besides its output becomes events, whatever ends the command."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from support.jobs import job
from tailrace import (
    ChunkFinished,
    ChunkUsage,
    ChunkWarning,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    UsageSample,
    WorkerJob,
    WorkerResult,
    event_to_json,
)

pytestmark = pytest.mark.anyio

WARNING = "could not be ended: process 4711 (blender) in state D"


class Leaving(LocalWorkerAdapter):
    """Runs a command of which something is left."""

    async def execute(self, job: WorkerJob) -> WorkerResult:
        try:
            return await super().execute(job)
        finally:
            assert job.on_warning is not None
            job.on_warning(WARNING)


class Counting:
    """Tells of its use a hundred times a second."""

    streams = True

    async def execute(self, job: WorkerJob) -> WorkerResult:
        for number in range(130):
            if job.on_usage is not None:
                job.on_usage(UsageSample(memory=number, cpu=number / 100))
            await anyio.sleep(0.01)
        return WorkerResult(0)


def listener(events: list[JobEvent], *, is_async: bool) -> Callable[[JobEvent], object]:
    """Return what collects events; an async one takes its time."""
    if not is_async:
        return events.append

    async def listen(event: JobEvent) -> None:
        await anyio.sleep(0.01)
        events.append(event)

    return listen


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_what_a_chunk_uses_is_an_event_twice_a_second_at_most(tmp_path: Path, is_async: bool) -> None:
    events: list[JobEvent] = []
    options = JobExecutionOptions(concurrency=2, on_event=listener(events, is_async=is_async), log_dir=tmp_path)
    started = time.monotonic()
    await JobExecutor(Counting()).execute(job("one", "two"), options)
    elapsed = time.monotonic() - started
    for chunk_id in range(2):
        mine = [event for event in events if getattr(event, "chunk_id", None) == chunk_id]
        usages = [event for event in mine if isinstance(event, ChunkUsage)]
        assert 2 <= len(usages) <= 1 + elapsed / 0.49
        assert all(later.monotonic - one.monotonic >= 0.49 for one, later in itertools.pairwise(usages))
        assert [usage.memory for usage in usages] == sorted({usage.memory for usage in usages})
        assert isinstance(mine[-1], ChunkFinished)
    assert "chunk_usage" not in (tmp_path / "job.ndjson").read_text()


async def test_without_a_listener_no_samples_are_asked_for() -> None:
    asked: list[object] = []

    class Noting(Counting):
        async def execute(self, job: WorkerJob) -> WorkerResult:
            asked.append(job.on_usage)
            return WorkerResult(0)

    await JobExecutor(Noting()).execute(job("one"))
    assert asked == [None]


async def test_a_running_command_of_this_machine_has_events_of_its_use() -> None:
    events: list[JobEvent] = []
    await JobExecutor(LocalWorkerAdapter()).execute(job("sleep 1"), JobExecutionOptions(on_event=events.append))
    usages = [event for event in events if isinstance(event, ChunkUsage)]
    assert usages
    assert all(0 < usage.memory < 64 << 20 for usage in usages)
    [result] = [event.result for event in events if isinstance(event, ChunkFinished)]
    assert result.usage is not None
    assert result.usage.tree_max_rss is not None
    assert json.loads(event_to_json(events[-2]))["result"]["tree_max_rss"] == result.usage.tree_max_rss


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_a_warning_reaches_listener_and_log_though_the_job_is_being_cancelled(
    tmp_path: Path, mark: str, is_async: bool
) -> None:
    events: list[JobEvent] = []
    options = JobExecutionOptions(on_event=listener(events, is_async=is_async), log_dir=tmp_path)
    with anyio.move_on_after(0.5) as scope:
        await JobExecutor(Leaving()).execute(job(f"sleep 60; : {mark}"), options)
    assert scope.cancelled_caught
    assert [event.message for event in events if isinstance(event, ChunkWarning)] == [WARNING]
    assert WARNING in (tmp_path / "job.ndjson").read_text()


async def test_a_warning_beside_a_result_comes_before_the_chunk_is_finished() -> None:
    events: list[JobEvent] = []
    options = JobExecutionOptions(on_event=listener(events, is_async=True))
    await JobExecutor(Leaving()).execute(job("true"), options)
    assert [type(event).__name__ for event in events][1:4] == ["ChunkStarted", "ChunkWarning", "ChunkFinished"]


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_a_warning_is_told_while_the_command_runs_and_in_its_place_among_the_events(
    tmp_path: Path, is_async: bool
) -> None:
    told = anyio.Event()
    events: list[JobEvent] = []
    collect = listener(events, is_async=is_async)

    class Busy:
        streams = True

        async def execute(self, job: WorkerJob) -> WorkerResult:
            assert job.on_warning is not None
            assert job.on_stdout is not None
            job.on_warning("waiting for a place")
            with anyio.fail_after(30):
                await told.wait()
            return WorkerResult(0)

    async def note(event: JobEvent, collected: Awaitable[None]) -> None:
        await collected
        if isinstance(event, ChunkWarning):
            told.set()

    def listen(event: JobEvent) -> Awaitable[None] | None:
        collected = collect(event)
        if isinstance(collected, Awaitable):
            return note(event, collected)
        if isinstance(event, ChunkWarning):
            told.set()
        return None

    await JobExecutor(Busy()).execute(job("true", "true"), JobExecutionOptions(on_event=listen, log_dir=tmp_path))
    assert [event.message for event in events if isinstance(event, ChunkWarning)] == ["waiting for a place"] * 2
    assert [event.sequence for event in events] == list(range(len(events)))
    logged = [json.loads(line)["sequence"] for line in (tmp_path / "job.ndjson").read_text().splitlines()]
    assert logged == list(range(len(events)))


async def test_what_a_listener_raises_at_a_warning_ends_the_job_and_comes_out_bare() -> None:
    def listen(event: JobEvent) -> None:
        if isinstance(event, ChunkWarning):
            raise ZeroDivisionError("no thanks")

    with pytest.raises(ZeroDivisionError, match="no thanks"):
        await JobExecutor(Leaving()).execute(job("true"), JobExecutionOptions(on_event=listen))


async def test_a_secret_is_masked_in_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDER_TOKEN", "4711 (blender)")
    events: list[JobEvent] = []
    options = JobExecutionOptions(on_event=events.append, mask_env=["RENDER_TOKEN"])
    await JobExecutor(Leaving()).execute(job("true"), options)
    [message] = [event.message for event in events if isinstance(event, ChunkWarning)]
    assert message == "could not be ended: process *** in state D"


COMMAND_LINE = f"""
from tailrace import LocalWorkerAdapter
execute = LocalWorkerAdapter.execute
async def warning(self, job):
    try:
        return await execute(self, job)
    finally:
        job.on_warning({WARNING!r})
LocalWorkerAdapter.execute = warning
from tailrace._cli.main import main
main()
"""


@pytest.mark.parametrize("options", [(), ("--quiet",), ("--events", "ndjson")], ids=["plain", "quiet", "events"])
def test_a_warning_is_told_on_standard_error_after_ctrl_c(tmp_path: Path, mark: str, options: tuple[str, ...]) -> None:
    spec = tmp_path / "job.json"
    ready = tmp_path / "ready"
    spec.write_text(job(f": {mark}; touch ready; sleep 60; :").model_dump_json(by_alias=True))
    command = [sys.executable, "-c", COMMAND_LINE, "job", "run", str(spec), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"tailrace: chunk 0: {WARNING}\n" in errors
    if "--events" in options:
        assert "chunk_warning" in [json.loads(line)["event"] for line in output.splitlines()]
