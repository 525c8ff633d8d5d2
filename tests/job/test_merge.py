"""The chunks are put together by the right program, once, after all of them are done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from support.jobs import job, names_in
from tailrace import (
    Chunk,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    MergeFailedError,
    MergeOutput,
    SpecError,
    WorkerJob,
    WorkerRemoteError,
    WorkerResult,
    WorkerSpawnError,
)
from tailrace._job.executor import Executor

pytestmark = pytest.mark.anyio


class NamedAdapter:
    """Says that it did everything itself."""

    streams = False

    def __init__(self, name: str, *, remote: bool, fail: Exception | None = None) -> None:
        self.name = name
        self.remote = remote
        self.jobs: list[WorkerJob] = []
        self._fail = fail

    async def execute(self, job: WorkerJob) -> WorkerResult:
        await anyio.lowlevel.checkpoint()
        self.jobs.append(job)
        if self._fail is not None:
            raise self._fail
        return WorkerResult(0, self.name)


class Stitching:
    """Joins the inputs, or fails."""

    def __init__(self, fail: Exception | None = None) -> None:
        self.inputs: list[Path] = []
        self._fail = fail

    async def stitch(self, inputs: Sequence[Path], output: Path) -> None:
        self.inputs = list(inputs)
        if self._fail is not None:
            raise self._fail
        await anyio.Path(output).write_bytes(b"".join([await anyio.Path(one).read_bytes() for one in inputs]))


def _unordered_job() -> tuple[Chunk, ...]:
    write = "sh -c 'printf %s {0} > {0}'"
    return (
        Chunk(id=0, start_frame=4, frame_count=1, output_file="c", command=write.format("c")),
        Chunk(
            id=1, start_frame=0, frame_count=2, output_file="a_##", command="sh -c 'printf 0 > a_00; printf 1 > a_01'"
        ),
        Chunk(id=2, start_frame=2, frame_count=2, output_file="b", command=write.format("b")),
    )


async def test_the_merge_command_runs_in_the_folder_after_all_chunks(tmp_path: Path) -> None:
    spec = job("echo a > chunk_0", "sleep 0.2; echo b > chunk_1", merge="cat chunk_0 chunk_1 > all; cat all")
    report = await JobExecutor(LocalWorkerAdapter()).execute(
        spec, JobExecutionOptions(job_dir=tmp_path, concurrency=2, meta={"a": 1})
    )
    assert report.merge_result is not None
    assert report.merge_result.stdout == "a\nb\n"


async def test_without_a_merge_command_or_with_merge_off_nothing_is_merged(tmp_path: Path) -> None:
    for spec, merge in ((job("true"), True), (job("true", merge="touch merged"), False)):
        options = JobExecutionOptions(job_dir=tmp_path, merge=merge)
        report = await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
        assert report.merge_result is None
    assert names_in(tmp_path) == set()


async def test_a_job_of_completed_chunks_is_still_merged(tmp_path: Path) -> None:
    spec = job("touch ran", merge="touch merged")
    await JobExecutor(LocalWorkerAdapter()).execute(
        spec, JobExecutionOptions(job_dir=tmp_path, completed_chunk_ids=[0])
    )
    assert names_in(tmp_path) == {"merged"}


async def test_a_remote_adapters_chunks_are_merged_here_unless_told_otherwise() -> None:
    spec = job("true", merge="printf here")
    far, other = NamedAdapter("far", remote=True), NamedAdapter("other", remote=True)
    report = await JobExecutor(far).execute(spec)
    assert report.merge_result is not None
    assert report.merge_result.stdout == "here"
    report = await JobExecutor(far).execute(spec, JobExecutionOptions(merge_adapter=other))
    assert report.merge_result is not None
    assert report.merge_result.stdout == "other"
    assert len(far.jobs) == 2
    near = NamedAdapter("near", remote=False)
    report = await JobExecutor(near).execute(spec)
    assert report.merge_result is not None
    assert report.merge_result.stdout == "near"


async def test_the_executor_merges_with_the_adapter_that_it_was_given_for_this_machine() -> None:
    far, near = NamedAdapter("far", remote=True), NamedAdapter("near", remote=False)
    report = await Executor(far, make_local=lambda: near).execute(job("true", merge="true"))
    assert report.merge_result is not None
    assert report.merge_result.stdout == "near"


async def test_merge_output_goes_to_on_event_and_never_to_the_chunks_callbacks() -> None:
    events: list[JobEvent] = []
    of_chunks: list[str] = []
    options = JobExecutionOptions(
        on_event=events.append,
        on_chunk_stdout=lambda chunk_id, data: of_chunks.append(data),
        on_chunk_stderr=lambda chunk_id, data: of_chunks.append(data),
    )
    await JobExecutor(LocalWorkerAdapter()).execute(job("printf chunk", merge="printf out; printf err >&2"), options)
    merged = [(event.stream, event.data) for event in events if isinstance(event, MergeOutput)]
    assert sorted(merged) == [("stderr", "err"), ("stdout", "out")]
    assert of_chunks == ["chunk"]


async def test_chunk_limits_do_not_apply_to_the_merge() -> None:
    adapter = NamedAdapter("near", remote=False)
    await JobExecutor(adapter).execute(job("true", merge="true"), JobExecutionOptions(timeout=1, idle_timeout=1))
    assert (adapter.jobs[0].timeout, adapter.jobs[1].timeout, adapter.jobs[1].idle_timeout) == (1, None, None)


async def test_a_merge_command_that_fails_is_told_with_its_result(tmp_path: Path) -> None:
    spec = job("true", merge="echo x >> tries; echo why >&2; exit 4")
    with pytest.raises(MergeFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(spec, JobExecutionOptions(job_dir=tmp_path, retries=3))
    assert str(caught.value) == "the merge failed: sh exited with status 4"
    assert caught.value.result is not None
    assert caught.value.result.stderr == "why\n"
    assert (tmp_path / "tries").read_text() == "x\n"


async def test_a_merge_command_that_cannot_run_is_told_with_its_cause() -> None:
    spec = job("true").model_copy(update={"merge_command": "no-such-program"})
    with pytest.raises(MergeFailedError, match="no-such-program") as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(spec)
    assert isinstance(caught.value.__cause__, WorkerSpawnError)
    adapter = NamedAdapter("x", remote=True, fail=WorkerRemoteError("gone", WorkerResult(1, "half")))
    with pytest.raises(MergeFailedError, match=r"^the merge failed: gone$") as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("true", merge="true"), JobExecutionOptions(merge_adapter=adapter)
        )
    assert caught.value.result is not None
    assert caught.value.result.stdout == "half"


async def test_what_on_event_raises_about_merge_output_comes_out_as_it_is() -> None:
    error = ValueError("of the callback")

    def fail(event: JobEvent) -> None:
        if isinstance(event, MergeOutput):
            raise error

    with pytest.raises(ValueError, match="of the callback") as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("true", merge="echo x; sleep 60"), JobExecutionOptions(on_event=fail)
        )
    assert caught.value is error


async def test_a_stitcher_gets_every_output_in_the_order_of_the_frames(tmp_path: Path) -> None:
    spec = job("true", merge="touch by_command").model_copy(update={"chunks": _unordered_job()})
    stitcher = Stitching()
    report = await JobExecutor(LocalWorkerAdapter()).execute(
        spec, JobExecutionOptions(job_dir=tmp_path, stitcher=stitcher, output_file="all")
    )
    assert report.merge_result is None
    assert [path.name for path in stitcher.inputs] == ["a_00", "a_01", "b", "c"]
    assert all(path.is_absolute() for path in stitcher.inputs)
    assert (tmp_path / "all").read_text() == "01bc"
    assert "by_command" not in names_in(tmp_path)


async def test_a_stitcher_gets_interleaved_frames_in_their_order(tmp_path: Path) -> None:
    chunks = [
        Chunk(id=start, start_frame=start, frame_count=3, output_file="f_##", command=command, frame_step=2)
        for start, command in ((1, "sh -c 'touch f_01 f_03 f_05'"), (2, "sh -c 'touch f_02 f_04 f_06'"))
    ]
    stitcher = Stitching()
    await JobExecutor(LocalWorkerAdapter()).execute(
        job("true").model_copy(update={"chunks": tuple(chunks)}),
        JobExecutionOptions(job_dir=tmp_path, stitcher=stitcher, output_file="all"),
    )
    assert [path.name for path in stitcher.inputs] == ["f_01", "f_02", "f_03", "f_04", "f_05", "f_06"]


async def test_a_stitcher_that_fails_is_the_cause() -> None:
    error = RuntimeError("cannot\nstitch")
    with pytest.raises(MergeFailedError, match=r"^the merge failed: cannot stitch$") as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("true"), JobExecutionOptions(stitcher=Stitching(error), output_file="all")
        )
    assert (caught.value.__cause__, caught.value.result) == (error, None)


@pytest.mark.parametrize("streams", [False, True])
async def test_a_stitcher_that_is_a_plain_function_has_done_its_work_when_it_returns(
    streams: bool, tmp_path: Path
) -> None:
    class Plain:
        def stitch(self, inputs: Sequence[Path], output: Path, **_: Any) -> None:
            output.write_text("".join(path.read_text() for path in inputs))

    stitcher: Any = Plain()
    stitcher.streams = streams
    options = JobExecutionOptions(job_dir=tmp_path, stitcher=stitcher, output_file="all")
    await JobExecutor(LocalWorkerAdapter()).execute(job("printf a > chunk_0", "printf b > chunk_1"), options)
    assert (tmp_path / "all").read_text() == "ab"


async def test_shared_output_cannot_be_stitched(tmp_path: Path) -> None:
    chunks = tuple(chunk.model_copy(update={"output_file": "same"}) for chunk in _unordered_job())
    with pytest.raises(SpecError, match="share output files"):
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("true").model_copy(update={"chunks": chunks}),
            JobExecutionOptions(job_dir=tmp_path, stitcher=Stitching(), output_file="all"),
        )


async def test_a_merge_may_not_take_longer_than_its_timeout(tmp_path: Path, mark: str) -> None:
    class Slow:
        async def stitch(self, inputs: Sequence[Path], output: Path) -> None:
            await LocalWorkerAdapter().execute(WorkerJob("sh", ["-c", "sleep 60; :", mark]))

    spec = job("echo a", merge=f"echo so far; sleep 60; : {mark}")
    began = time.monotonic()
    for options, said in (
        (JobExecutionOptions(merge_timeout=0.5), "sh was ended because it ran longer than 0.5 s"),
        (
            JobExecutionOptions(merge_timeout=0.5, stitcher=Slow(), output_file="all"),
            "the stitcher was ended because it ran longer than 0.5 s",
        ),
    ):
        with pytest.raises(MergeFailedError) as caught:
            await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
        assert str(caught.value) == f"the merge failed: {said}"
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert (caught.value.result is None) == (options.stitcher is not None)
        assert caught.value.report is not None
        assert caught.value.report.results[0].stdout == "a\n"
        assert caught.value.report.merge_result is caught.value.result
    assert time.monotonic() - began < 20
