"""A full disk is waited for once, and then ends the job: each further chunk would fail for it too."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.jobs import count_lines, job
from support.small_disks import mounted_disk
from tailrace import (
    Capabilities,
    Chunk,
    ChunkFailedError,
    ChunkRetrying,
    ChunkWarning,
    JobEvent,
    JobExecutionOptions,
    JobExecutor,
    JobMetadata,
    JobSpec,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerResult,
)

pytestmark = pytest.mark.anyio

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small disk")
FILLS_THE_DISK = "echo x >> ../runs; cp /proc/self/exe chunk"
"""No program is as small as the disk."""


@pytest.fixture
def larger_disk(small_disk: Path) -> Path:
    """Have it hold 64 KiB."""
    subprocess.run(["mount", "-o", "remount,size=64k", small_disk], check=True)
    return small_disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 16 KiB."""
    with mounted_disk(tmp_path / "disk", "16k") as disk:
        yield disk


@needs_root
async def test_a_command_that_does_not_say_why_it_cannot_write_failed_for_a_full_disk(small_disk: Path) -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("sh -c 'cp /proc/self/exe chunk 2> /dev/null'"),
            JobExecutionOptions(job_dir=small_disk, state_dir=small_disk.parent, retries=5, resource_delay=0.2),
        )
    assert (caught.value.category, caught.value.attempts) == ("disk", 2)
    assert f"exited with status 1; there is no space left in {small_disk}; the job ends" in str(caught.value)


@needs_root
async def test_a_disk_that_stays_full_ends_the_job_and_says_how_much_is_free(small_disk: Path) -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("true", FILLS_THE_DISK, FILLS_THE_DISK, FILLS_THE_DISK),
            JobExecutionOptions(
                job_dir=small_disk,
                state_dir=small_disk.parent,
                retries=5,
                retry_delay=0,
                resource_delay=0.2,
                fail_fast=False,
            ),
        )
    error = caught.value
    assert (error.chunk_id, error.attempts, error.category) == (1, 2, "disk")
    assert [failure.chunk_id for failure in error.failures] == [1]
    assert error.report is not None
    assert list(error.report.results) == [0]
    assert re.search(
        rf"No space left on device; the job ends, .*: make room in {re.escape(str(small_disk))},"
        r" where \d[\d.]* (bytes|KB) are free",
        str(error),
    )
    assert count_lines(small_disk.parent / "runs") == 2


@needs_root
async def test_a_disk_on_which_there_is_room_again_costs_one_attempt(small_disk: Path) -> None:
    (small_disk / "old").write_bytes(bytes(12 << 10))
    write = "head -c 8192 /dev/zero > chunk && echo done >> ../runs"
    events: list[JobEvent] = []

    async def make_room(event: JobEvent) -> None:
        events.append(event)
        if isinstance(event, ChunkRetrying):
            (small_disk / "old").unlink()

    report = await JobExecutor(LocalWorkerAdapter()).execute(
        job(write, "rm chunk; " + write),
        JobExecutionOptions(
            job_dir=small_disk,
            state_dir=small_disk.parent,
            retries=1,
            retry_delay=0,
            resource_delay=0.3,
            on_event=make_room,
        ),
    )
    assert dict(report.attempts) == {0: 2, 1: 1}
    (retrying,) = [event for event in events if isinstance(event, ChunkRetrying)]
    assert retrying.category == "disk"
    assert 0.3 <= retrying.delay <= 0.45


async def test_no_chunk_begins_while_another_waits_for_space(tmp_path: Path) -> None:
    scripts = ["touch tried; cp /proc/self/exe /dev/full", *["touch other"] * 3]
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job(*scripts), JobExecutionOptions(job_dir=tmp_path, retries=1, retry_delay=0, resource_delay=0.3)
        )
    assert caught.value.attempts == 2
    assert (tmp_path / "tried").exists()
    assert not (tmp_path / "other").exists()


async def test_a_full_disk_ends_the_job_at_once_where_nothing_is_retried(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailedError, match="the job ends") as caught:
        await JobExecutor(LocalWorkerAdapter()).execute(
            job("cp /proc/self/exe /dev/full", "touch other"),
            JobExecutionOptions(job_dir=tmp_path, fail_after=2),
        )
    assert [failure.chunk_id for failure in caught.value.failures] == [0]
    assert not (tmp_path / "other").exists()


class Elsewhere:
    """A worker whose disk is full and that does not share files."""

    streams = False
    capabilities = Capabilities(streams=False, remote=True, shares_files=False)

    async def execute(self, job: WorkerJob) -> WorkerResult:
        return WorkerResult(1, stderr="cp: error writing 'x': No space left on device\n")


async def test_a_full_disk_elsewhere_is_retried_as_often_as_anything_and_ends_no_job(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailedError) as caught:
        await JobExecutor(Elsewhere()).execute(
            job("true", "true"),
            JobExecutionOptions(job_dir=tmp_path, retries=2, retry_delay=0, resource_delay=0.01, fail_fast=False),
        )
    assert [(failure.chunk_id, failure.attempts) for failure in caught.value.failures] == [(0, 3), (1, 3)]
    assert "the job ends" not in str(caught.value)


@needs_root
async def test_frames_that_will_not_fit_are_told_of_before_the_disk_is_full(larger_disk: Path) -> None:
    script = "for n in $(seq 1 24); do head -c 3000 /dev/zero > out_$(printf %04d $n).exr || exit 1; sleep 0.7; done"
    chunk = Chunk(
        id=0, start_frame=1, frame_count=24, output_file="out_####.exr", command=shlex.join(["sh", "-c", script])
    )
    metadata = JobMetadata(total_frames=24, fps=24, width=1, height=1, duration=1)
    events: list[JobEvent] = []
    with pytest.raises(ChunkFailedError):
        await JobExecutor(LocalWorkerAdapter()).execute(
            JobSpec(metadata=metadata, chunks=(chunk,)),
            JobExecutionOptions(job_dir=larger_disk, state_dir=larger_disk.parent, on_event=events.append),
        )
    warnings = [event for event in events if isinstance(event, ChunkWarning)]
    assert len(warnings) == 1
    assert re.fullmatch(
        rf"about \d\d KB are still to be written to {re.escape(str(larger_disk))}, and \d[\d.]* KB are free",
        warnings[0].message,
    )
    assert warnings[0].monotonic < events[-1].monotonic - 0.5
