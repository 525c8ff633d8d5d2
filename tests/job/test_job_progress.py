"""What the output of a chunk tells of its progress and its errors, and what a job makes of it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.jobs import count_lines, job
from support.processes import resident_memory
from tailrace import (
    Capture,
    ChunkErrorReported,
    ChunkFailed,
    ChunkFailedError,
    ChunkFileSaved,
    ChunkProgress,
    ChunkRetrying,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerResult,
    WorkerTimeoutError,
)
from tailrace.progress import Renderer, Rule

pytestmark = pytest.mark.anyio

executor = JobExecutor(LocalWorkerAdapter())

TOY = Renderer(
    "toy",
    [
        Rule(r"frame (?P<frame>\d+): (?P<percent>\d+)%", "frame "),
        Rule(r"saved (?P<saved>.+)", "saved "),
        Rule(r"(?P<error>no licence)", "no licence", category="licence", fatal=True),
        Rule(r"(?P<error>out of memory)", "out of memory", category="memory", fatal=True),
        Rule(r"(?P<error>no file)", "no file", category="missing_asset", fatal=True),
        Rule(r"(?P<error>bad scene)", "bad scene", category="scene", fatal=True),
        Rule(r"(?P<error>no texture)", "no texture", category="missing_asset"),
        Rule(r"(?P<error>low memory)", "low memory", category="memory"),
    ],
)


async def events_of(*scripts: str, **options: Any) -> list[JobEvent]:
    """Run a job and return its events, whether it fails or not."""
    events: list[JobEvent] = []
    options = {"progress": TOY, "on_event": events.append, **options}
    with suppress(ChunkFailedError):
        await executor.execute(job(*scripts), JobExecutionOptions(**options))
    return events


@pytest.mark.parametrize("stream", ["text", "lines", "bytes"])
async def test_progress_and_saved_files_are_told_while_the_chunk_runs(stream: str) -> None:
    script = "echo frame 10: 50%; sleep 0.7; echo frame 14: 20%; echo saved 14.png >&2; sleep 0.7"
    events = await events_of("true", script, stream=stream)
    told = [event for event in events if isinstance(event, ChunkProgress)]
    assert [(event.chunk_id, event.attempt, event.frame, event.frame_fraction) for event in told] == [
        (1, 1, 10, 0.5),
        (1, 1, 14, 0.2),
        (1, 1, 14, 1),
    ]
    # Chunk 1 has the frames 10 to 19.
    assert [event.fraction for event in told] == pytest.approx([0.05, 0.42, 0.5])
    assert told[0].renderer == "toy"
    assert told[1].monotonic - told[0].monotonic > 0.3
    assert [event.path for event in events if isinstance(event, ChunkFileSaved)] == ["14.png"]


async def test_progress_that_comes_fast_is_told_twice_a_second_and_never_left_out_at_the_end() -> None:
    steadily = "for n in 1 2 3 4 5 6 7 8 9; do echo frame 1: $n%; sleep 0.1; done"
    events = await events_of(f"{steadily}; sleep 1; echo frame 1: 10%; echo frame 1: 11%")
    told = [(event.frame_fraction, event.monotonic) for event in events if isinstance(event, ChunkProgress)]
    assert told[0][0] == 0.01
    # The ninth came too soon after another, and was told while the command was silent.
    assert 0.09 in [fraction for fraction, _ in told]
    assert told[-1][0] == 0.11
    assert all(second - first > 0.4 for (_, first), (_, second) in pairwise(told[:-1]))


async def test_a_renderer_is_told_by_its_output_and_reading_can_be_turned_off() -> None:
    script = "echo 'Fra:3 Mem:12.00M (Peak 13.00M) | Time:00:01.00 | Sample 5/10'"
    events = await events_of(script, progress="auto")
    told = [event for event in events if isinstance(event, ChunkProgress)]
    assert [(event.renderer, event.frame, event.frame_fraction) for event in told] == [("blender", 3, 0.5)]
    events = await events_of(script, progress=None)
    assert not any(isinstance(event, ChunkProgress) for event in events)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("category", ["missing_asset", "scene"])
async def test_what_another_attempt_cannot_mend_fails_at_once(tmp_path: Path, category: str, live: bool) -> None:
    text = {"missing_asset": "no file", "scene": "bad scene"}[category]
    options = JobExecutionOptions(
        job_dir=tmp_path, retries=3, retry_delay=0, progress=TOY, on_event=(lambda event: None) if live else None
    )
    with pytest.raises(ChunkFailedError) as caught:
        await executor.execute(job(f"echo x >> runs; echo '{text}' >&2; exit 1"), options)
    assert count_lines(tmp_path / "runs") == 1
    assert caught.value.category == category
    assert caught.value.attempts == 1
    assert str(caught.value) == f"chunk 0 failed: sh exited with status 1: {text}"


@pytest.mark.parametrize(
    ("category", "text"), [("licence", "no licence"), ("memory", "out of memory"), ("memory", "low memory")]
)
async def test_what_may_be_free_later_is_waited_for(tmp_path: Path, category: str, text: str) -> None:
    script = f"if [ ! -e once ]; then touch once; echo '{text}'; exit 1; fi"
    events = await events_of(script, job_dir=tmp_path, retries=1, retry_delay=0, resource_delay=0.5)
    (retrying,) = [event for event in events if isinstance(event, ChunkRetrying)]
    assert (retrying.category, retrying.reason) == (category, f"sh exited with status 1: {text}")
    assert 0.5 <= retrying.delay <= 0.75


async def test_a_failure_of_no_known_kind_is_retried_after_the_ordinary_delay(tmp_path: Path) -> None:
    script = "echo x >> runs; echo 'no texture'; exit 1"
    events = await events_of(script, job_dir=tmp_path, retries=1, retry_delay=0, resource_delay=60)
    assert count_lines(tmp_path / "runs") == 2
    reported = [event for event in events if isinstance(event, ChunkErrorReported)]
    assert [(event.message, event.category, event.fatal) for event in reported] == [
        ("no texture", "missing_asset", False)
    ] * 2
    (failed,) = [event for event in events if isinstance(event, ChunkFailed)]
    assert failed.error.category is None


async def test_an_exit_code_of_0_after_a_fatal_error_is_a_failure_when_asked(tmp_path: Path) -> None:
    script = "echo bad scene; true"
    await executor.execute(job(script), JobExecutionOptions(progress=TOY))
    with pytest.raises(ChunkFailedError) as caught:
        await executor.execute(job(script), JobExecutionOptions(progress=TOY, fail_on_error=True))
    assert str(caught.value) == "chunk 0 failed: sh exited with status 0 after an error: bad scene"
    assert caught.value.category == "scene"
    assert caught.value.result is not None
    assert caught.value.result.exit_code == 0
    await executor.execute(job("echo no texture"), JobExecutionOptions(progress=TOY, fail_on_error=True))


async def test_a_render_without_progress_is_ended_though_it_writes(mark: str) -> None:
    script = f"echo frame 1: 1%; while :; do echo busy; sleep 0.05; done # {mark}"
    began = time.monotonic()
    with pytest.raises(ChunkFailedError, match="it made no progress for 1 s") as caught:
        await executor.execute(job(script), JobExecutionOptions(progress=TOY, no_progress_timeout=1))
    assert 1 <= time.monotonic() - began < 20
    error = caught.value.__cause__
    assert isinstance(error, WorkerTimeoutError)
    assert error.kind == "progress"
    assert caught.value.result is error.result
    assert error.result is not None
    assert error.result.stdout.startswith("frame 1: 1%\nbusy\n")


async def test_on_a_remote_worker_that_tells_no_start_the_limit_counts_from_the_first_output() -> None:
    class Remote:
        """Says nothing of when a command begins."""

        streams = True
        remote = True

        async def execute(self, job: WorkerJob) -> WorkerResult:
            return await LocalWorkerAdapter().execute(replace(job, on_started=None))

    waiting = JobExecutionOptions(progress=TOY, no_progress_timeout=0.3)
    await JobExecutor(Remote()).execute(job("sleep 1"), waiting)
    with pytest.raises(ChunkFailedError, match=r"it made no progress for 0\.3 s"):
        await JobExecutor(Remote()).execute(job("echo begun; sleep 60"), waiting)


async def test_progress_and_slow_callbacks_hold_the_limit_up() -> None:
    async def wait(*_: object) -> None:
        await anyio.sleep(1.2)

    moving = "for n in 1 2 3 4; do echo frame 1: $n%; sleep 0.4; done"
    await executor.execute(job(moving), JobExecutionOptions(progress=TOY, no_progress_timeout=1))
    options = JobExecutionOptions(progress=TOY, no_progress_timeout=1, on_chunk_stdout=wait, on_chunk_stderr=wait)
    await executor.execute(job("echo frame 1: 1%; echo x >&2; sleep 0.2"), options)


@pytest.mark.parametrize("stream", ["text", "lines", "bytes"])
async def test_what_an_adapter_gives_at_the_end_is_read_too(stream: Any) -> None:
    class Buffered:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            await anyio.sleep(0.2)
            return WorkerResult(1, "frame 3: 20%\n", "bad scene\n")

    events: list[JobEvent] = []
    options = JobExecutionOptions(
        progress=TOY, retries=5, on_event=events.append, no_progress_timeout=0.1, stream=stream
    )
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(Buffered()).execute(job("true"), options)
    assert caught.value.category == "scene"
    assert [event.frame for event in events if isinstance(event, ChunkProgress)] == [3]


async def test_a_callback_that_raises_at_an_event_of_progress_comes_out_and_ends_the_job() -> None:
    error = ValueError("mine")

    def refuse(event: JobEvent) -> None:
        if isinstance(event, ChunkProgress) and event.frame_fraction == 0.03:
            raise error

    # The third is told by nobody's output.
    script = "echo frame 1: 1%; sleep 0.1; echo frame 1: 3%; sleep 60"
    with pytest.raises(ValueError, match="mine") as caught:
        await executor.execute(job(script), JobExecutionOptions(progress=TOY, on_event=refuse))
    assert caught.value is error


async def test_a_job_whose_event_loop_stood_still_is_not_taken_for_one_without_progress() -> None:
    def block(chunk_id: int, _: str) -> None:
        if chunk_id == 0:
            time.sleep(2)

    moving = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo frame 11: $n% >&2; sleep 0.25; done"
    options = JobExecutionOptions(concurrency=2, progress=TOY, no_progress_timeout=1, on_chunk_stdout=block)
    await executor.execute(job("sleep 0.5; echo; echo frame 1: 1%", moving), options)


async def test_output_that_takes_long_to_deliver_is_not_taken_for_a_lack_of_progress() -> None:
    options = JobExecutionOptions(
        progress=TOY, no_progress_timeout=0.6, stream="lines", on_chunk_stdout=lambda *_: time.sleep(0.001)
    )
    await executor.execute(job("echo frame 1: 1%; seq 2000; echo frame 1: 2%; echo end"), options)


async def test_time_and_memory_that_a_stuck_renderer_tells_of_are_no_progress() -> None:
    line = "Fra:1 Mem:$n.00M | Time:00:0$n | Remaining:00:0$n | Sample 1/9"
    script = f'n=0; while :; do n=$((n+1)); echo "{line}"; sleep 0.1; done'
    with pytest.raises(ChunkFailedError, match="no progress"):
        await executor.execute(job(script), JobExecutionOptions(progress="blender", no_progress_timeout=1))


async def test_a_callback_that_hung_when_a_limit_came_is_not_called_again(tmp_path: Path) -> None:
    received: list[str] = []

    async def hang(_: int, text: str) -> None:
        received.append(text)
        await anyio.sleep(60)

    # What is left when it is over is half a character.
    options = JobExecutionOptions(timeout=0.5, on_chunk_stdout=hang, log_dir=tmp_path)
    with anyio.fail_after(40), pytest.raises(ChunkFailedError, match="ran longer"):
        await executor.execute(job(r"printf 'abc\303'; sleep 60"), options)
    assert received == ["abc"]


async def test_what_a_limit_or_a_signal_ended_is_retried_whatever_it_had_printed(tmp_path: Path) -> None:
    for ending in ("sleep 60", "kill -9 $$"):
        events = await events_of(f"echo bad scene; {ending}", timeout=0.5, retries=1, retry_delay=0)
        (retrying,) = [event for event in events if isinstance(event, ChunkRetrying)]
        assert retrying.category == "scene"


async def test_an_error_that_is_written_a_million_times_is_told_once() -> None:
    events = await events_of("yes no texture | head -n 300000; yes no texture | head -n 1000 >&2")
    assert len([event for event in events if isinstance(event, ChunkErrorReported)]) == 1


async def test_a_failure_is_looked_into_without_putting_all_its_output_together() -> None:
    script = "head -c 400000000 /dev/zero; echo; echo bad scene; exit 1"
    before = resident_memory()
    with pytest.raises(ChunkFailedError, match="bad scene") as caught:
        await executor.execute(job(script), JobExecutionOptions(progress=TOY, capture=Capture.full(memory=1 << 20)))
    assert resident_memory() - before < 100 << 20
    assert caught.value.category == "scene"


@pytest.mark.parametrize("stream", ["lines", "text"])
async def test_a_million_lines_do_not_hold_up_the_event_loop(tmp_path: Path, stream: Any) -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await anyio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        options = JobExecutionOptions(stream=stream, on_chunk_stdout=lambda *_: None, log_dir=tmp_path)
        await executor.execute(job("seq 1000000"), options)
        tasks.cancel_scope.cancel()
    # It is about 0.05.
    assert longest < 0.5


async def test_any_exception_from_progress_that_is_told_late_comes_out_bare() -> None:
    class Stop(BaseException):
        pass

    def refuse(event: JobEvent) -> None:
        if isinstance(event, ChunkProgress) and event.frame_fraction == 0.03:
            raise Stop

    with pytest.raises(Stop):
        await executor.execute(
            job("echo frame 1: 1%; sleep 0.1; echo frame 1: 3%; sleep 60"),
            JobExecutionOptions(progress=TOY, on_event=refuse),
        )


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(TypeError, match="progress must be the name of a renderer"):
        JobExecutionOptions(progress=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="blender"):
        JobExecutionOptions(progress="no such renderer")
    with pytest.raises(ValueError, match="progress is None"):
        JobExecutionOptions(progress=None, no_progress_timeout=1)
    with pytest.raises(ValueError, match="log_limit must be at least 65536: 10"):
        JobExecutionOptions(log_limit=10)
    with pytest.raises(TypeError, match="mask_env must be a collection of names"):
        JobExecutionOptions(mask_env="TOKEN")
    with pytest.raises(ValueError, match="resource_delay"):
        JobExecutionOptions(resource_delay=-1)


async def test_what_the_user_calls_a_missing_licence_is_waited_for() -> None:
    patterns = [("licence", "no seats? left")]
    delays = {"resource_delay": 0.2, "retry_delay": 0}
    events = await events_of("echo no seat left; exit 1", retries=1, error_patterns=patterns, **delays)
    (retrying,) = [event for event in events if isinstance(event, ChunkRetrying)]
    assert (retrying.category, retrying.reason) == ("licence", "sh exited with status 1: no seat left")
    assert retrying.delay >= 0.2


def test_an_error_pattern_that_cannot_be_used_is_refused_with_the_options() -> None:
    with pytest.raises(ValueError, match=r"error pattern '\(' is not a regular expression: "):
        JobExecutionOptions(error_patterns=[("licence", "(")])
    with pytest.raises(ValueError, match="error_patterns need the output to be read: progress is None"):
        JobExecutionOptions(progress=None, error_patterns=[("licence", "no seat")])
    with pytest.raises(TypeError, match="error_patterns must be a collection of pairs"):
        JobExecutionOptions(error_patterns="licence=no seat")  # type: ignore[arg-type]
