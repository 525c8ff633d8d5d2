"""A job's chunks run as its options say, and the callbacks tell what happens."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.jobs import FRAMES, job, names_in
from tailrace import (
    Capture,
    FfmpegStitcher,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerResult,
)

pytestmark = pytest.mark.anyio


class RecordingAdapter:
    """Keeps the jobs it was given and how many ran at a time; runs them for real."""

    streams = True
    remote = False

    def __init__(self) -> None:
        self.jobs: list[WorkerJob] = []
        self.running = 0
        self.most_running = 0
        self._local = LocalWorkerAdapter()

    async def execute(self, job: WorkerJob) -> WorkerResult:
        self.jobs.append(job)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._local.execute(job)
        finally:
            self.running -= 1


async def test_each_chunk_runs_and_reports_its_result_and_output() -> None:
    report = await JobExecutor(LocalWorkerAdapter()).execute(job("echo a", "echo b >&2", "echo c"))
    assert list(report.results) == [0, 1, 2]
    assert [result.stdout for result in report.results.values()] == ["a\n", "", "c\n"]
    assert report.results[1].stderr == "b\n"
    assert dict(report.attempts) == {0: 1, 1: 1, 2: 1}
    assert report.merge_result is None
    assert 0 < report.duration < 60


async def test_output_arrives_with_its_chunk_while_the_chunk_runs(tmp_path: Path) -> None:
    pieces: list[tuple[str, int, str]] = []

    def stdout(chunk_id: int, data: str) -> None:
        pieces.append(("stdout", chunk_id, data))
        # The chunk waits for this file: it can only end if its output was delivered while it ran.
        (tmp_path / f"seen_{chunk_id}").touch()

    script = "echo out $TAILRACE_SLOT; while ! [ -e seen_{0} ]; do sleep 0.01; done; echo err >&2"
    await JobExecutor(LocalWorkerAdapter()).execute(
        job(script.replace("{0}", "0"), script.replace("{0}", "1")),
        JobExecutionOptions(
            job_dir=tmp_path,
            on_chunk_stdout=stdout,
            on_chunk_stderr=lambda chunk_id, data: pieces.append(("stderr", chunk_id, data)),
            timeout=30,
        ),
    )
    assert pieces == [
        ("stdout", 0, "out 0\n"),
        ("stderr", 0, "err\n"),
        ("stdout", 1, "out 0\n"),
        ("stderr", 1, "err\n"),
    ]


async def test_stream_and_capture_reach_the_adapter() -> None:
    views: list[object] = []
    report = await JobExecutor(LocalWorkerAdapter()).execute(
        job("printf abcdef"),
        JobExecutionOptions(
            stream="bytes", capture=Capture.tail(2), on_chunk_stdout=lambda _, data: views.append(data)
        ),
    )
    assert all(isinstance(view, memoryview) for view in views)
    assert b"".join(views) == b"abcdef"  # type: ignore[arg-type]
    assert report.results[0].stdout == "ef"


async def test_the_adapter_gets_the_chunk_the_folder_the_limits_and_the_meta(tmp_path: Path) -> None:
    adapter = RecordingAdapter()
    spec = job("pwd", "true")
    report = await JobExecutor(adapter).execute(
        spec,
        JobExecutionOptions(
            job_dir=str(tmp_path), timeout=33, idle_timeout=22, cpu_idle_timeout=11, meta={"job_def_url": "u"}
        ),
    )
    first = adapter.jobs[0]
    assert (first.command, list(first.args)) == ("sh", ["-c", "pwd"])
    assert first.cwd == tmp_path
    assert (first.timeout, first.idle_timeout, first.cpu_idle_timeout) == (33, 22, 11)
    assert dict(first.meta) == {
        "job_def_url": "u",
        "chunk_id": 0,
        "start_frame": 0,
        "frame_count": FRAMES,
        "frame_step": 1,
        "output_file": "chunk_0",
        "command": spec.chunks[0].command,
        "slot": 0,
        "needs": {},
        "place": "",
        "avoid_nodes": (),
    }
    assert adapter.jobs[1].meta["chunk_id"] == 1
    assert report.results[0].stdout == f"{tmp_path}\n"


async def test_meta_that_each_chunk_would_overwrite_is_refused_before_any_is_run() -> None:
    adapter = RecordingAdapter()
    await JobExecutor(adapter).execute(job("true"))
    assert "slot" in adapter.jobs[0].meta
    for name in adapter.jobs[0].meta:
        with pytest.raises(ValueError, match=rf"^meta\['{name}'\] is set for each chunk by the executor: use another"):
            JobExecutionOptions(meta={name: 1})


async def test_every_job_that_an_adapter_gets_is_as_if_it_had_been_made_and_checked_alone(tmp_path: Path) -> None:
    adapter = RecordingAdapter()
    options = JobExecutionOptions(
        job_dir=tmp_path,
        concurrency=2,
        timeout=33,
        stream="bytes",
        capture=Capture.tail(7),
        slot_env={"GPU": ["a", "b"]},
        on_chunk_stderr=lambda chunk_id, data: None,
        on_event=lambda event: None,
        meta={"farm": "north"},
    )
    await JobExecutor(adapter).execute(job("true", "echo 1", "echo 2"), options)
    assert len(adapter.jobs) == 3
    names = [field.name for field in dataclasses.fields(WorkerJob)]
    for one in adapter.jobs:
        values = {name: getattr(one, name) for name in names}
        made = WorkerJob(values.pop("command"), values.pop("args"), **values)
        assert [getattr(made, name) for name in names] == [getattr(one, name) for name in names]
        slot = int(str(one.meta["slot"]))
        assert one.env == {"PWD": str(tmp_path), "TAILRACE_SLOT": str(slot), "GPU": "ab"[slot]}
        assert (one.timeout, one.stream, one.capture) == (33, "bytes", Capture.tail(7))
        assert all((one.on_stdout, one.on_stderr, one.on_warning, one.on_usage))
        assert one.meta["farm"] == "north"


async def test_without_a_folder_chunks_run_in_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = await JobExecutor(LocalWorkerAdapter()).execute(job("pwd"))
    assert report.results[0].stdout == f"{tmp_path}\n"
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("concurrency", [1, 3, 50])
async def test_no_more_chunks_run_at_a_time_than_concurrency_says(concurrency: int) -> None:
    adapter = RecordingAdapter()
    await JobExecutor(adapter).execute(job(*["sleep 0.05"] * 9), JobExecutionOptions(concurrency=concurrency))
    assert adapter.most_running == min(concurrency, 9)
    assert [one.meta["chunk_id"] for one in adapter.jobs] == list(range(9))


@pytest.mark.parametrize("is_recorded", [False, True])
async def test_a_job_whose_adapter_waits_for_nothing_leaves_the_event_loop_to_others(
    is_recorded: bool, tmp_path: Path
) -> None:
    class Cache:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            return WorkerResult(0)

    async def cancel_soon() -> None:
        for _ in range(5):
            await anyio.sleep(0.01)
        scope.cancel()

    completed: list[int] = []
    options = JobExecutionOptions(
        job_dir=tmp_path if is_recorded else None,
        on_chunk_complete=lambda chunk_id, result: completed.append(chunk_id),
    )
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_soon)
            await JobExecutor(Cache()).execute(job(*["true"] * 20_000), options)
    assert scope.cancelled_caught
    assert len(completed) < 20_000


async def test_chunks_that_run_together_hold_different_slots() -> None:
    held: set[object] = set()
    seen: set[object] = set()

    class Watch(RecordingAdapter):
        async def execute(self, job: WorkerJob) -> WorkerResult:
            slot = job.meta["slot"]
            assert slot not in held
            held.add(slot)
            seen.add(slot)
            result = await super().execute(job)
            held.remove(slot)
            assert result.stdout == f"{slot} gpu{slot} /nothing\n"
            return result

    await JobExecutor(Watch()).execute(
        job(*['sleep 0.02; echo "$TAILRACE_SLOT $CUDA_VISIBLE_DEVICES $HOME"'] * 12),
        JobExecutionOptions(
            concurrency=3,
            slot_env={"CUDA_VISIBLE_DEVICES": ["gpu0", "gpu1", "gpu2"], "HOME": ["/nothing"] * 5},
        ),
    )
    assert seen == {0, 1, 2}


async def test_progress_counts_each_completed_chunk_once_and_skipped_ones_as_completed() -> None:
    progress: list[tuple[int, int]] = []
    completed: list[int] = []
    adapter = RecordingAdapter()
    report = await JobExecutor(adapter).execute(
        job(*["true"] * 6),
        JobExecutionOptions(
            concurrency=3,
            completed_chunk_ids=[1, 4, 99],
            on_progress=lambda done, total: progress.append((done, total)),
            on_chunk_complete=lambda chunk_id, result: completed.append(chunk_id),
        ),
    )
    assert progress == [(3, 6), (4, 6), (5, 6), (6, 6)]
    assert sorted(completed) == [0, 2, 3, 5] == list(report.results) == list(report.attempts)
    assert len(adapter.jobs) == 4


async def test_a_job_of_completed_chunks_runs_nothing() -> None:
    adapter = RecordingAdapter()
    report = await JobExecutor(adapter).execute(job("true", "true"), JobExecutionOptions(completed_chunk_ids={0, 1}))
    assert (adapter.jobs, dict(report.results)) == ([], {})


async def test_async_callbacks_are_awaited_and_those_of_one_kind_do_not_overlap() -> None:
    progress: list[int] = []
    inside = {"progress": 0, "complete": 0}

    async def alone(kind: str) -> None:
        assert inside[kind] == 0
        inside[kind] += 1
        await anyio.sleep(0.01)
        inside[kind] -= 1

    async def on_progress(done: int, total: int) -> None:
        await alone("progress")
        progress.append(done)

    async def on_complete(chunk_id: int, result: WorkerResult) -> None:
        await alone("complete")

    await JobExecutor(LocalWorkerAdapter()).execute(
        job(*["true"] * 12),
        JobExecutionOptions(concurrency=6, on_progress=on_progress, on_chunk_complete=on_complete),
    )
    assert progress == list(range(1, 13))


async def test_a_plain_function_may_return_something_to_await() -> None:
    seen: list[str] = []

    async def later(data: str) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(data)

    await JobExecutor(LocalWorkerAdapter()).execute(
        job("printf x"), JobExecutionOptions(on_chunk_stdout=lambda _, data: later(data))
    )
    assert seen == ["x"]


async def test_slow_output_callbacks_of_one_chunk_do_not_hold_up_another() -> None:
    done = anyio.Event()

    async def stdout(chunk_id: int, data: str) -> None:
        if chunk_id == 0:
            await done.wait()
        else:
            done.set()

    with anyio.fail_after(30):
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("echo a", "echo b"), JobExecutionOptions(concurrency=2, on_chunk_stdout=stdout)
        )


async def test_an_adapter_that_never_waits_can_still_be_cancelled() -> None:
    class Immediate:
        streams = False

        async def execute(self, job: WorkerJob) -> WorkerResult:
            await anyio.lowlevel.checkpoint()
            return WorkerResult(0)

    counted = itertools.count()
    with anyio.move_on_after(0.05) as scope:
        await JobExecutor(Immediate()).execute(
            job(*["true"] * 20_000), JobExecutionOptions(on_progress=lambda *_: next(counted))
        )
    assert scope.cancelled_caught
    assert next(counted) < 20_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency must be at least 1: 0"),
        ({"retries": -1}, "retries must be at least 0: -1"),
        ({"fail_after": 0}, "fail_after must be at least 1: 0"),
        (
            {"fail_fast": True, "fail_after": 2},
            "fail_fast=True ends the job at the first failed chunk, fail_after after so many: use one of them",
        ),
        ({"retry_delay": -1}, "retry_delay must be a number of seconds, 0 or more: -1"),
        ({"retry_delay": float("nan")}, "retry_delay must be a number of seconds, 0 or more: nan"),
        ({"timeout": 0}, "timeout must be a positive number of seconds: 0"),
        ({"idle_timeout": float("nan")}, "idle_timeout must be a positive number of seconds: nan"),
        ({"stream": "words"}, "stream must be 'text', 'lines' or 'bytes', not 'words'"),
        ({"stitcher": FfmpegStitcher()}, "a stitcher needs an output_file"),
        ({"stitcher": FfmpegStitcher(), "output_file": ""}, "a stitcher needs an output_file"),
        ({"output_file": "all"}, "output_file is what a stitcher writes: give a stitcher too"),
        (
            {"stitcher": FfmpegStitcher(), "output_file": "all", "merge_adapter": LocalWorkerAdapter()},
            "merge_adapter runs the merge command, and a stitcher takes its place: give one of the two",
        ),
        ({"log_limit": 1 << 20}, "log_limit and log_compress are for the logs in log_dir: give that too"),
        ({"log_compress": True}, "log_limit and log_compress are for the logs in log_dir: give that too"),
        ({"merge_timeout": -1}, "merge_timeout must be a positive number of seconds: -1"),
        ({"log_dir": "a\0b"}, "log_dir must not contain a NUL byte"),
        (
            {"concurrency": 3, "slot_env": {"GPU": ["0", "1"]}},
            "slot_env['GPU'] has 2 values for 3 slots: give one for each chunk that may run at a time (concurrency)",
        ),
        ({"slot_env": {"A=B": ["0"]}}, "slot_env: 'A=B' cannot be the name of a variable"),
        ({"slot_env": {"A": ["\0"]}}, "slot_env['A'] must not contain a NUL byte"),
        (
            {"slot_env": {"TAILRACE_SLOT": ["7"]}},
            "slot_env['TAILRACE_SLOT'] would hide the number of the slot: use another name",
        ),
        (
            {"merge": False, "merge_timeout": 5},
            "merge_timeout is for the merge, and merge=False does without: use one of them",
        ),
        (
            {"merge": False, "merge_adapter": LocalWorkerAdapter()},
            "merge_adapter is for the merge, and merge=False does without: use one of them",
        ),
        (
            {"merge": False, "stitcher": FfmpegStitcher(), "output_file": "all"},
            "stitcher is for the merge, and merge=False does without: use one of them",
        ),
        ({"timeout": 10**400}, "timeout is too large for a number of seconds"),
        ({"merge_timeout": 10**5000}, "merge_timeout is too large for a number of seconds"),
        ({"retry_delay": Fraction(10**400)}, "retry_delay is too large for a number of seconds"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        JobExecutionOptions(**options)  # type: ignore[arg-type]
    assert str(caught.value) == message


WRONG: dict[str, list[object]] = {
    "concurrency": [1.5, True, "2", None],
    "capacity": [3, {"gpus": 1.5}, {"memory": "much"}],
    "enforce_memory": ["no"],
    "job_dir": [3, b"folder"],
    "record": ["no"],
    "state_dir": [3],
    "merge": ["no", None],
    "retries": [True, 1.0],
    "retry_delay": ["1", None],
    "retry_on": [OSError, [3], [KeyboardInterrupt]],
    "timeout": ["5", True],
    "idle_timeout": ["5"],
    "cpu_idle_timeout": ["5"],
    "no_progress_timeout": ["5"],
    "finish_timeout": ["5"],
    "stop_on_error": [1],
    "fail_on_error": [1],
    "resource_delay": [None],
    "fail_fast": ["false", 1],
    "fail_after": ["3", True, 1.0],
    "verify_output": [0],
    "check_frames": ["every", True],
    "chunk_frames": [[1], "1-4"],
    "on_progress": [3],
    "on_chunk_complete": [3],
    "on_chunk_stdout": [3],
    "on_chunk_stderr": ["print"],
    "on_event": [[]],
    "observers": [print, [None], iter([print]), "print"],
    "stream": [3],
    "progress": [3],
    "error_patterns": ["licence", [3]],
    "log_dir": [3],
    "log_limit": ["64M"],
    "log_compress": ["gzip"],
    "mask_env": ["TOKEN", [3], None],
    "capture": [1 << 20, None, Capture],
    "merge_adapter": [LocalWorkerAdapter, "local"],
    "stitcher": [FfmpegStitcher, object(), "ffmpeg"],
    "output_file": [3],
    "merge_timeout": ["5"],
    "completed_chunk_ids": [3, ["0"], [True], [0, 1.0], iter([0]), "0"],
    "slot_env": [["GPU"], {"GPU": "01"}, {"GPU": 0}, {3: ["0"]}],
    "meta": [[], None],
}


def test_every_option_of_the_wrong_type_is_refused_by_name() -> None:
    assert list(WRONG) == [field.name for field in dataclasses.fields(JobExecutionOptions)]
    for name, values in WRONG.items():
        for value in values:
            with pytest.raises((TypeError, ValueError), match=rf"^{name}\b") as caught:
                JobExecutionOptions(**{name: value})  # type: ignore[arg-type]
            assert isinstance(caught.value, TypeError) or name in ("capacity", "stream", "slot_env", "check_frames")


async def test_what_is_no_specification_no_adapter_or_no_options_says_what_to_write() -> None:
    executor = JobExecutor(LocalWorkerAdapter())
    for start in (executor.execute, executor.stream):
        with pytest.raises(TypeError, match=r"^spec must be a JobSpec, not 'job.json': JobSpec.load\('job.json'\)"):
            await start("job.json")  # type: ignore
        with pytest.raises(TypeError, match=r"^spec must be a JobSpec, not \{"):
            await start({"chunks": []})  # type: ignore
        with pytest.raises(TypeError, match=r"^options must be JobExecutionOptions, not \{'concurrency': 2\}"):
            await start(job("true"), {"concurrency": 2})  # type: ignore
    with pytest.raises(TypeError, match=r"not the class LocalWorkerAdapter: write LocalWorkerAdapter\(\)"):
        JobExecutor(LocalWorkerAdapter)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^adapter must have an async method execute\(\), and 'local' has none"):
        JobExecutor("local")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="adapter must be an object"):
        FfmpegStitcher(adapter=LocalWorkerAdapter)  # type: ignore[arg-type]


class ScriptedAdapter:
    """Ends each attempt as a plan says, after some turns of the event loop."""

    streams = True

    def __init__(self, plan: dict[int, list[int]], waits: list[int]) -> None:
        self._plan = {chunk_id: iter(codes) for chunk_id, codes in plan.items()}
        self._waits = itertools.cycle(waits)
        self.running: set[object] = set()
        self.slots: set[object] = set()
        self.starts: dict[object, int] = {}

    async def execute(self, job: WorkerJob) -> WorkerResult:
        chunk_id, slot = job.meta["chunk_id"], job.meta["slot"]
        assert isinstance(chunk_id, int)
        assert chunk_id not in self.running
        assert slot not in self.slots
        self.running.add(chunk_id)
        self.slots.add(slot)
        self.starts[chunk_id] = self.starts.get(chunk_id, 0) + 1
        for _ in range(next(self._waits)):
            await anyio.lowlevel.checkpoint()
        self.running.remove(chunk_id)
        self.slots.remove(slot)
        return WorkerResult(next(self._plan[chunk_id]))


@settings(max_examples=150)
@given(
    failures=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    concurrency=st.integers(1, 6),
    waits=st.lists(st.integers(0, 5), min_size=1, max_size=7),
    skipped=st.sets(st.integers(0, 11)),
)
def test_every_chunk_is_completed_once_whatever_the_order(
    failures: list[int], concurrency: int, waits: list[int], skipped: set[int]
) -> None:
    spec = job(*["true"] * len(failures))
    wanted = {number: count + 1 for number, count in enumerate(failures) if number not in skipped}

    async def execute() -> None:
        adapter = ScriptedAdapter({number: [1] * count + [0] for number, count in enumerate(failures)}, waits)
        progress: list[int] = []
        report = await JobExecutor(adapter).execute(
            spec,
            JobExecutionOptions(
                concurrency=concurrency,
                retries=3,
                retry_delay=0,
                completed_chunk_ids=skipped,
                on_progress=lambda done, total: progress.append(done),
            ),
        )
        assert dict(report.attempts) == wanted == adapter.starts
        assert list(report.results) == list(wanted)
        assert progress == list(range(len(spec.chunks) - len(wanted) + 1, len(spec.chunks) + 1))

    for backend in ("asyncio", "trio"):
        anyio.run(execute, backend=backend)
