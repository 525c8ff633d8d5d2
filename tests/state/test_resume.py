"""What is recorded is found again, and why a chunk runs again is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from support.jobs import count_lines, job, names_in
from tailrace import (
    ChunkFailedError,
    FrameRange,
    JobExecutionOptions,
    JobExecutor,
    JobSpec,
    LocalWorkerAdapter,
    completed_chunk_ids,
    plan_job,
    reasons_to_run,
)
from tailrace._cli.commands.run import run as run_command

SECOND = 10**9


def run(spec: JobSpec, job_dir: Path, **options: Any) -> None:
    anyio.run(JobExecutor(LocalWorkerAdapter()).execute, spec, JobExecutionOptions(job_dir=job_dir, **options))


def resume(spec: JobSpec, job_dir: Path) -> None:
    run(spec, job_dir, completed_chunk_ids=completed_chunk_ids(spec, job_dir))


def changed(spec: JobSpec, place: int, **fields: Any) -> JobSpec:
    chunks = list(spec.chunks)
    chunks[place] = chunks[place].model_copy(update=fields)
    return spec.model_copy(update={"chunks": tuple(chunks)})


def set_time(path: Path, time: int) -> None:
    os.utime(path, ns=(time, time))


def test_a_job_planned_again_for_more_frames_keeps_the_chunks_whose_command_is_the_same(tmp_path: Path) -> None:
    def plan(frames: str) -> JobSpec:
        script = "for frame in $(seq $0 $1); do echo > frame_$frame; done; echo $0 >> starts"
        return plan_job(f"sh -c '{script}' {{start}} {{end}}", frames, chunk_size=5, output="frame_##", job_id="shot")

    run(plan("20-34"), tmp_path)
    # In front, so that all ids are others, and behind, where a chunk becomes longer.
    longer = plan("10-37")
    assert completed_chunk_ids(longer, tmp_path) == {2, 3, 4}
    resume(longer, tmp_path)
    assert (tmp_path / "starts").read_text().split() == ["20", "25", "30", "10", "15", "35"]
    resume(plan("10-39"), tmp_path)
    assert (tmp_path / "starts").read_text().split()[6:] == ["35"]
    assert completed_chunk_ids(plan("15-29"), tmp_path) == {0, 1, 2}


def test_the_same_command_for_other_frames_is_not_done(tmp_path: Path) -> None:
    spec = job("echo > chunk_0")
    run(spec, tmp_path)
    assert reasons_to_run(changed(spec, 0, start_frame=1), tmp_path) == {0: "its frames changed since it was done"}
    assert reasons_to_run(changed(spec, 0, frame_step=2), tmp_path) == {0: "its frames changed since it was done"}


def test_of_numbered_outputs_only_what_shares_a_frame_is_the_reason(tmp_path: Path) -> None:
    script = "[ $0 != 5 ] || exit 1; for frame in $(seq $0 $1); do echo > $(printf frame_%04d $frame); done"
    spec = plan_job(f"sh -c '{script}' {{start}} {{end}}", "1-12", chunk_size=4, output="frame_####", job_id="shot")
    with pytest.raises(ChunkFailedError):
        run(spec, tmp_path, fail_fast=False)
    never = "it is not recorded as done"
    assert reasons_to_run(spec, tmp_path) == {0: None, 1: never, 2: None}
    other = changed(spec, 2, command="true")
    assert reasons_to_run(other, tmp_path) == {0: None, 1: never, 2: "its command changed since it was done"}
    more = changed(spec, 2, start_frame=12, frame_count=4)
    assert reasons_to_run(more, tmp_path) == {0: None, 1: never, 2: "its frames changed since it was done"}
    frames = FrameRange.parse("5,7,13-20")
    apart = changed(spec, 1, frames=frames, start_frame=5, frame_count=len(frames), frame_step=0)
    assert reasons_to_run(apart, tmp_path) == {0: None, 1: never, 2: None}
    frames = FrameRange.parse("3,13-20")
    shared = changed(spec, 1, frames=frames, start_frame=3, frame_count=len(frames), frame_step=0)
    assert reasons_to_run(shared, tmp_path) == {0: None, 1: "its command changed since it was done", 2: None}


@pytest.mark.parametrize(
    ("recorded", "found", "is_same"),
    [
        (5 * SECOND + 123456789, 5 * SECOND + 123456789, True),
        (5 * SECOND + 123456789, 5 * SECOND + 123456788, False),
        # NTFS and SMB; seconds, as through SFTP; FAT, whose even seconds are rounded in both directions.
        (5 * SECOND + 123456789, 5 * SECOND + 123456700, True),
        (5 * SECOND + 123456789, 5 * SECOND + 123456600, False),
        (5 * SECOND + 123456789, 5 * SECOND, True),
        (5 * SECOND + 123456789, 7 * SECOND, False),
        (5 * SECOND + 123456789, 4 * SECOND, True),
        (5 * SECOND + 123456789, 6 * SECOND, True),
        (5 * SECOND + 123456789, 8 * SECOND, False),
        # Both count seconds, so that one is a change.
        (5 * SECOND, 6 * SECOND, False),
        (5 * SECOND, 5 * SECOND, True),
    ],
)
def test_times_are_compared_as_the_coarser_file_system_keeps_them(
    recorded: int, found: int, is_same: bool, tmp_path: Path
) -> None:
    for then, now in ((recorded, found), (found, recorded)):
        script = f"echo > chunk_0; touch -d @{then // SECOND}.{then % SECOND:09} chunk_0"
        spec = job(script)
        run(spec, tmp_path)
        assert (tmp_path / "chunk_0").stat().st_mtime_ns == then
        set_time(tmp_path / "chunk_0", now)
        expected = None if is_same else "its output chunk_0 was written again since it was done"
        assert reasons_to_run(spec, tmp_path) == {0: expected}


def test_each_reason_is_told(tmp_path: Path) -> None:
    spec = job(*(f"echo > chunk_{number}" for number in range(5)), "echo > chunk_9")
    run(spec, tmp_path)
    (tmp_path / "chunk_1").unlink()
    (tmp_path / "chunk_2").write_text("longer")
    set_time(tmp_path / "chunk_3", 1)
    (tmp_path / "chunk_5").touch()
    again = changed(changed(spec, 4, command="sh -c 'echo   > chunk_4'"), 0, id=7)
    assert reasons_to_run(again, tmp_path) == {
        7: None,
        1: "its output chunk_1 is missing",
        2: "its output chunk_2 has 6 bytes, and had 1 when it was done",
        3: "its output chunk_3 was written again since it was done",
        4: "its command changed since it was done",
        5: "its output chunk_5 was missing when it was done",
    }
    assert reasons_to_run(changed(spec, 0, output_file="new"), tmp_path)[0] == "it is not recorded as done"
    assert reasons_to_run(spec, tmp_path / "elsewhere")[0] == "it is not recorded as done"


def test_an_entry_of_a_newer_version_is_left_untouched_and_told_as_the_reason(tmp_path: Path) -> None:
    spec = job("echo > chunk_0", "echo > chunk_1")
    run(spec, tmp_path)
    record = tmp_path / ".tailrace" / "job-1" / "completed.jsonl"
    newer, other = record.read_text().splitlines(keepends=True)
    newer = newer.replace('"version":1', '"version":2').replace('"command"', '"what"')
    record.write_text(newer + other)
    assert reasons_to_run(spec, tmp_path) == {0: "its record is of version 2, and only version 1 can be read", 1: None}
    # What this version does is recorded behind it, and counts.
    resume(spec, tmp_path)
    assert reasons_to_run(spec, tmp_path) == {0: None, 1: None}
    assert record.read_text().startswith(newer + other)
    # And so does what a newer one did after that.
    record.write_text(record.read_text() + newer)
    assert reasons_to_run(spec, tmp_path)[0] == "its record is of version 2, and only version 1 can be read"


def test_each_entry_of_a_record_tells_its_version_and_the_run_that_made_it(tmp_path: Path) -> None:
    spec = job("echo > chunk_0")
    options = JobExecutionOptions(job_dir=tmp_path)
    run_ids = [anyio.run(JobExecutor(LocalWorkerAdapter()).execute, spec, options).run_id for _ in range(2)]
    lines = (tmp_path / ".tailrace" / "job-1" / "completed.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [(entry["version"], entry["runId"]) for entry in entries] == [(1, run_id) for run_id in run_ids]


def test_a_dry_run_lists_each_chunk_with_the_reason_and_runs_nothing(tmp_path: Path) -> None:
    spec = job(*(f"echo run >> runs; echo > chunk_{number}" for number in range(3)), merge="touch merged")
    path = tmp_path / "job.json"
    path.write_text(spec.model_dump_json(by_alias=True))
    run(spec, tmp_path, completed_chunk_ids=[2], merge=False)
    (tmp_path / "chunk_1").unlink()
    before = names_in(tmp_path)
    command = [sys.executable, "-m", "tailrace", "job", "run", str(path), "--resume", "--dry-run"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert listed.returncode == 0
    assert listed.stdout.splitlines() == [
        "chunk 0: done",
        "chunk 1: to be run: its output chunk_1 is missing",
        "chunk 2: to be run: it is not recorded as done",
    ]
    assert listed.stderr == "tailrace: job job-1: 1 chunk done, 2 to be run\n"
    for options, line in {("--resume",): "chunk 0: done", (): "chunk 0: to be run"}.items():
        asked = CliRunner().invoke(run_command, [str(path), "--dry-run", "--chunk", "0", *options])
        assert (asked.exit_code, asked.stdout.splitlines()) == (0, [line])
    refused = CliRunner().invoke(run_command, [str(path), "--dry-run", "--events", "ndjson"])
    assert (refused.exit_code, "--dry-run nothing does" in refused.output) == (2, True)
    assert names_in(tmp_path) == before
    assert count_lines(tmp_path / "runs") == 2


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"version": 1, "command": [], "frames": [0, 10, 1], "outputFile": "chunk_0", "outputs": [[1, 1]]}',
        '{"version": 1, "command": "C", "frames": 3, "outputFile": "chunk_0", "outputs": [[1, 1]]}',
        '{"version": 1, "command": "C", "frames": [0, 10, 1], "outputFile": "chunk_0", "outputs": [[1]]}',
        '{"version": 1, "command": "C", "frames": [0, 10, 1], "outputFile": "chunk_0", "outputs": [[1, Infinity]]}',
        '{"version": 1, "command": "C", "frames": [0, 10, 1], "outputFile": "chunk_0", "outputs": "ab"}',
        '{"version": 1, "command": "C", "frames": [0, 10, 1], "outputFile": "chunk_0", "outputs": []}',
        '{"command": "C", "frames": [0, 10, 1], "outputFile": "chunk_0", "outputs": [[1, 1]]}',
        '{"version": "2", "command": "C", "frames": [0, 10, 1], "outputFile": "chunk_0", "outputs": [[1, 1]]}',
        '{"version": 2, "somethingElse": "chunk_0"}',
    ],
)
def test_what_is_no_entry_of_a_record_is_passed_over(line: str, tmp_path: Path) -> None:
    spec = changed(job("true"), 0, command="C")
    record = tmp_path / ".tailrace" / "job-1" / "completed.jsonl"
    record.parent.mkdir(parents=True)
    record.write_text(line + "\n")
    (tmp_path / "chunk_0").write_text("x")
    assert completed_chunk_ids(spec, tmp_path) == frozenset()
