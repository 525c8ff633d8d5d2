"""Chunks run side by side as far as what they need fits, with what is theirs, and after what they depend on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.loops import on_one_loop
from tailrace import (
    Capabilities,
    Capture,
    Chunk,
    ChunkFailed,
    ChunkFailedError,
    ChunkFinished,
    ChunkRetrying,
    ChunkSkipped,
    ChunkStarted,
    ChunkWarning,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobMetadata,
    JobSpec,
    JobState,
    LocalWorkerAdapter,
    ResourceUsage,
    SpecError,
    WorkerJob,
    WorkerResult,
)
from tailrace.testing import FakeAdapter, FakeExecution, FakeOutput

pytestmark = pytest.mark.anyio

_EAT = f"{sys.executable} -c \"import time; kept = b'x' * ({{}} << 20); time.sleep({{}})\""


def spec_of(*chunks: dict[str, Any], **fields: Any) -> JobSpec:
    made = tuple(
        Chunk(
            **{"id": id_, "start_frame": 1, "frame_count": 1, "output_file": f"{id_}.png", "command": "true", **chunk}
        )
        for id_, chunk in enumerate(chunks)
    )
    metadata = JobMetadata(total_frames=1, fps=24, width=1, height=1, duration=1)
    return JobSpec(metadata=metadata, chunks=made, **fields)


async def executed(spec: JobSpec, **options: Any) -> tuple[list[JobEvent], ChunkFailedError | None]:
    events: list[JobEvent] = []
    async with LocalWorkerAdapter() as adapter:
        try:
            await JobExecutor(adapter).execute(
                spec, JobExecutionOptions(concurrency=8, on_event=events.append, **options)
            )
        except ChunkFailedError as error:
            return events, error
    return events, None


async def test_the_needs_of_the_running_chunks_never_exceed_the_capacity(tmp_path: Path) -> None:
    needs = [1, 5, 3, 8, 2, 2, 7, 1, 4, 6]
    spec = spec_of(*({"command": "sleep 0.05", "needs": {"memory": need, "seat": 1}} for need in needs))
    events, _ = await executed(spec, capacity={"memory": 8, "seat": 3}, job_dir=tmp_path)
    running: set[int] = set()
    most = 0
    for event in events:
        if isinstance(event, ChunkStarted):
            running.add(event.chunk_id)
            most = max(most, len(running))
            assert sum(needs[id_] for id_ in running) <= 8
        elif isinstance(event, ChunkFinished):
            running.discard(event.chunk_id)
    assert 1 < most <= 3


async def test_chunks_run_after_those_that_they_depend_on(tmp_path: Path) -> None:
    spec = spec_of(
        {"command": "sh -c 'cat a b > ab'", "depends_on": (1, 2)},
        {"command": "sh -c 'sleep 0.2; echo 1 > a'"},
        {"command": "sh -c 'echo 2 > b'"},
    )
    _, error = await executed(spec, job_dir=tmp_path)
    assert error is None
    assert (tmp_path / "ab").read_text() == "1\n2\n"


async def test_what_depends_on_a_failed_chunk_is_skipped_and_the_others_run(tmp_path: Path) -> None:
    spec = spec_of({"command": "false"}, {"depends_on": (0,)}, {"depends_on": (1,)}, {})
    events, error = await executed(spec, job_dir=tmp_path, fail_fast=False)
    assert error is not None and error.report is not None
    assert error.report.skipped == {1: 0, 2: 0}
    assert list(error.report.results) == [3]
    told = [event for event in events if isinstance(event, ChunkSkipped | ChunkFailed)]
    assert [(type(event), event.chunk_id) for event in told] == [(ChunkFailed, 0), (ChunkSkipped, 1), (ChunkSkipped, 2)]
    state = JobState(spec.chunks)
    for event in events:
        state.apply(event)
    assert [chunk.status for chunk in state.chunks.values()] == ["failed", "skipped", "skipped", "completed"]
    assert (state.failed, state.skipped, state.completed) == (1, 2, 1)


async def test_what_is_skipped_is_told_also_where_the_first_failure_ends_the_job(tmp_path: Path) -> None:
    spec = spec_of({"command": "false"}, {"depends_on": (0,)}, {"depends_on": (1,)}, {"command": "sleep 60"})
    events, error = await executed(spec, job_dir=tmp_path)
    assert error is not None and error.report is not None
    assert error.report.skipped == {1: 0, 2: 0}
    assert [event.chunk_id for event in events if isinstance(event, ChunkSkipped)] == [1, 2]


async def test_a_chunk_that_is_done_before_is_not_waited_for(tmp_path: Path) -> None:
    events, error = await executed(spec_of({}, {"depends_on": (0,)}), completed_chunk_ids=[0], job_dir=tmp_path)
    assert error is None
    assert [event.chunk_id for event in events if isinstance(event, ChunkStarted)] == [1]


async def test_each_chunk_sees_the_gpus_that_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    show = "sh -c 'echo \"[$CUDA_VISIBLE_DEVICES]\"; sleep 0.2'"
    spec = spec_of(*({"command": show, "needs": {"gpus": gpus}} for gpus in (2, 1, 0)))
    seen: dict[int, str] = {}

    def note(id_: int, result: Any) -> None:
        seen[id_] = result.stdout

    _, error = await executed(spec, capacity={"gpus": 3}, on_chunk_complete=note, job_dir=tmp_path)
    assert error is None
    assert seen == {0: "[3,5]\n", 1: "[7]\n", 2: "[]\n"}


async def test_without_a_capacity_nothing_is_counted_and_variables_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    spec = spec_of({"command": "sh -c 'echo $CUDA_VISIBLE_DEVICES'", "needs": {"gpus": 9, "seat": 4}})
    seen: list[str] = []
    _, error = await executed(spec, on_chunk_complete=lambda _, result: seen.append(result.stdout), job_dir=tmp_path)
    assert (error, seen) == (None, ["3\n"])


@on_one_loop
async def test_memory_that_is_not_told_is_learned_from_the_first_chunk(tmp_path: Path) -> None:
    spec = spec_of(*({"command": _EAT.format(60, 0.7)} for _ in range(5)))
    events, error = await executed(spec, capacity={"memory": 200 << 20}, job_dir=tmp_path, capture=Capture.none())
    assert error is None
    running, most = 0, []
    for event in events:
        if isinstance(event, ChunkStarted | ChunkFinished):
            running += 1 if isinstance(event, ChunkStarted) else -1
            most.append(running)
    # Alone first; then two beside each other fit, or three where the interpreter is small.
    assert most[:2] == [1, 0]
    assert max(most) in (2, 3)


@pytest.mark.parametrize(("said", "is_alone"), [("MemoryError", True), ("CUDA error: out of memory", False)])
async def test_what_follows_want_of_memory_runs_alone_and_what_follows_that_of_a_gpu_does_not(
    said: str, is_alone: bool
) -> None:
    short = FakeExecution([FakeOutput(f"{said}\n", stream="stderr")], exit_code=1)
    rendered = FakeExecution(duration=0.05)
    adapter = FakeAdapter({(1, 1): short, **dict.fromkeys(range(12), rendered), (1, 2): rendered})
    events: list[JobEvent] = []
    options = JobExecutionOptions(
        concurrency=4, capacity={"memory": 1}, retries=1, retry_delay=0, resource_delay=0, on_event=events.append
    )
    await JobExecutor(adapter).execute(spec_of(*[{}] * 12), options)
    running, beside = 0, []
    for event in events:
        if isinstance(event, ChunkStarted):
            beside.append(running)
        running += isinstance(event, ChunkStarted) - isinstance(event, ChunkFinished | ChunkRetrying)
    assert (max(beside[-4:]) == 0) == is_alone


@on_one_loop
async def test_a_chunk_that_takes_more_memory_than_it_needs_is_told_of_once(tmp_path: Path) -> None:
    spec = spec_of({"command": _EAT.format(80, 2), "needs": {"memory": 50 << 20}})
    events, error = await executed(spec, job_dir=tmp_path)
    assert error is None
    (warning,) = [event for event in events if isinstance(event, ChunkWarning)]
    assert "MiB of memory, more than the 50.0 MiB of its needs" in warning.message


@on_one_loop
async def test_enforced_memory_ends_what_takes_more_than_it_needs(tmp_path: Path) -> None:
    spec = spec_of({"command": _EAT.format(80, 60), "needs": {"memory": 50 << 20}})
    with anyio.fail_after(30):
        _, error = await executed(spec, enforce_memory=True, retries=2, job_dir=tmp_path)
    assert error is not None
    assert error.category == "memory"
    assert "was ended: it takes" in str(error)
    # It would take as much again.
    assert error.attempts == 1


def test_gpus_are_counted_by_one_option_alone() -> None:
    with pytest.raises(ValueError, match="capacity counts gpus and sets CUDA_VISIBLE_DEVICES"):
        JobExecutionOptions(capacity={"gpus": 1}, slot_env={"CUDA_VISIBLE_DEVICES": ["0"]})


async def test_a_need_that_can_never_be_had_is_told_before_anything_starts(tmp_path: Path) -> None:
    spec = spec_of({"command": "touch started"}, {"needs": {"gpus": 3}})
    with pytest.raises(SpecError, match=r"chunks\[1\].needs: gpus: 3 can never be had: the capacity has 2"):
        await executed(spec, capacity={"gpus": 2}, job_dir=tmp_path)
    assert not (tmp_path / "started").exists()


def test_the_command_line_packs_by_its_capacity_and_tells_what_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    spec = spec_of({"command": "false", "needs": {"seat": 1}}, {"depends_on": (0,)}, {"needs": {"memory": "1G"}})
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    ran = _tailrace(tmp_path, "job", "run", "job.json", "--keep-going", "--capacity", "memory=2G,seat=1")
    assert ran.returncode == 1
    assert "chunk 1 is not run: it depends on chunk 0, which failed" in ran.stderr
    assert "1 chunk done, 1 failed (0), 1 skipped for it" in ran.stderr
    for capacity, problem in (
        ("memory=1M,seat=1", "chunks[2].needs: memory: 1G can never be had: the capacity has 1M"),
        ("memory=lots", "capacity: memory: 'lots' should be a number of bytes"),
        ("seat", "'seat' is not of the form NAME=N"),
        ("gpus=1.5", "gpus: 1.5 should be a whole number"),
        ("gpus=100000,seat=1,memory=2G", "capacity: gpus: 100000 are more than CUDA_VISIBLE_DEVICES has (0)"),
    ):
        for words in ([], ["--dry-run"]):
            refused = _tailrace(tmp_path, "job", "run", "job.json", *words, "--capacity", capacity)
            assert (refused.returncode, refused.stdout) == (2, "")
            assert problem in refused.stderr, refused.stderr


def test_a_capacity_may_be_given_in_parts_and_what_nobody_counts_or_needs_is_noted(tmp_path: Path) -> None:
    spec = spec_of({"needs": {"seat": 1, "memory": "1G"}})
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    for words, note in (
        (["--capacity", "seat=1", "--capacity", "memory=2G"], None),
        (["--capacity", "seat=1,memry=2"], "note: no chunk needs memry of the capacity"),
        ([], "note: the chunks need memory, seat, and nothing is counted: --capacity says what there is"),
    ):
        ran = _tailrace(tmp_path, "job", "run", "job.json", *words)
        assert ran.returncode == 0, ran.stderr
        assert (note in ran.stderr) if note else ("note: " not in ran.stderr), ran.stderr
    refused = _tailrace(tmp_path, "job", "run", "job.json", "--capacity", "seat=1", "--capacity", "seat=2")
    assert "seat is given twice" in refused.stderr


def test_the_command_line_ends_what_takes_more_memory_than_it_needs(tmp_path: Path) -> None:
    spec = spec_of({"command": _EAT.format(80, 60), "needs": {"memory": 50 << 20}})
    (tmp_path / "job.json").write_text(spec.model_dump_json(by_alias=True))
    ran = _tailrace(tmp_path, "job", "run", "job.json", "--enforce-memory")
    assert ran.returncode == 1
    assert "was ended: it takes" in ran.stderr


async def test_gpus_of_other_machines_are_counted_and_named_by_nobody_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    adapter = FakeAdapter(FakeExecution(), capabilities=Capabilities(streams=True, remote=True))
    spec = spec_of({"needs": {"gpus": 4}})
    await JobExecutor(adapter).execute(spec, JobExecutionOptions(capacity={"gpus": 4}))
    assert "CUDA_VISIBLE_DEVICES" not in (adapter.jobs[0].env or {})
    with pytest.raises(ValueError, match=r"gpus: 4 are more than CUDA_VISIBLE_DEVICES has \(0\)"):
        await JobExecutor(FakeAdapter(FakeExecution())).execute(spec, JobExecutionOptions(capacity={"gpus": 4}))


class HungryAdapter(FakeAdapter):
    """Says what a command has used at its end alone."""

    async def execute(self, job: WorkerJob) -> WorkerResult:
        result = await super().execute(job)
        result.usage = ResourceUsage(cpu_user=0, cpu_system=0, max_rss=3 << 30)
        return result


async def test_memory_that_no_sample_has_seen_is_told_of_at_the_end() -> None:
    events: list[JobEvent] = []
    await JobExecutor(HungryAdapter(FakeExecution())).execute(
        spec_of({"needs": {"memory": "2G"}}), JobExecutionOptions(on_event=events.append)
    )
    (warning,) = [event.message for event in events if isinstance(event, ChunkWarning)]
    assert warning.startswith("it takes 3.0 GiB of memory, more than the 2.0 GiB of its needs")


def test_planned_chunks_have_the_needs_that_were_asked_for(tmp_path: Path) -> None:
    words = ["job", "plan", "render {start} {end} {output}", "--frames", "1-4", "--chunk-size", "2", "--output"]
    done = _tailrace(tmp_path, *words, "f_####.png", "--needs", "memory=8G,nuke_i=1", "--to", "job.json")
    assert done.returncode == 0, done.stderr
    fields = json.loads((tmp_path / "job.json").read_text())
    assert fields["needs"] == {"memory": 8 << 30, "nuke_i": 1}
    assert "needs" not in fields["chunks"][0]
    refused = _tailrace(tmp_path, *words, "f_####.png", "--needs", "gpus=0.5")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--needs: gpus: 0.5 should be a whole number" in refused.stderr
    assert JobSpec.load(tmp_path / "job.json").chunks[1].needs == {"memory": 8 << 30, "nuke_i": 1}


def _tailrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *arguments],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
