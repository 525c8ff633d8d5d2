"""The files of a worker that shares none: its word counts, and what lies here under the same names is left alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from support.jobs import count_lines, job, names_in
from support.workers import WorkerThread, running_worker
from tailrace import (
    Capabilities,
    ChunkFailedError,
    HttpWorkerAdapter,
    JobExecutionOptions,
    JobExecutor,
    JobSpec,
    LocalWorkerAdapter,
    completed_chunk_ids,
)
from tailrace._state.artifacts import reasons_to_run
from tailrace.testing import FakeAdapter, FakeExecution

OURS = {"chunk_0": "ours, not the worker's", "chunk_1": "", "chunk_1.partial": "of an earlier day"}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerThread]:
    """Run a worker that has no folder in common with us."""
    (tmp_path / "specs").mkdir()
    with running_worker(tmp_path / "specs") as worker:
        yield worker


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with files of ours that are called like the worker's."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name, text in OURS.items():
        (folder / name).write_text(text)
        os.utime(folder / name, ns=(10**18, 10**18))
    return folder


def are_untouched(folder: Path) -> bool:
    """Return whether the files are what they were, and there are no others."""
    return names_in(folder) == OURS.keys() and all(
        (folder / name).read_text() == text and (folder / name).stat().st_mtime_ns == 10**18
        for name, text in OURS.items()
    )


def flaky_job(tmp_path: Path, *, merge: str | None = None) -> JobSpec:
    """Return a job whose second chunk fails at first and whose third does until `mended` is there."""
    starts = shlex.quote(str(tmp_path / "starts"))
    failed = shlex.quote(str(tmp_path / "failed"))
    mended = shlex.quote(str(tmp_path / "mended"))
    return job(
        f"echo 0 >> {starts}; echo theirs > chunk_0",
        f"echo 1 >> {starts}; echo theirs > chunk_1; test -e {failed} || {{ touch {failed}; exit 3; }}",
        f"echo 2 >> {starts}; test -e {mended}",
        merge=merge,
    )


def adapter_of(worker: WorkerThread, spec: JobSpec, **options: Any) -> HttpWorkerAdapter:
    """Return the adapter of the worker, which has been given the job file."""
    path = worker.specs / "job.json"
    path.write_text(spec.model_dump_json(by_alias=True))
    return HttpWorkerAdapter(f"http://127.0.0.1:{worker.port}/", job_def_url=str(path), **options)


@pytest.mark.anyio
async def test_what_a_worker_said_succeeded_is_skipped_and_nothing_of_ours_is_touched(
    worker: WorkerThread, here: Path, tmp_path: Path
) -> None:
    spec = flaky_job(tmp_path)
    executor = JobExecutor(adapter_of(worker, spec))
    options = JobExecutionOptions(job_dir=here, retries=1, retry_delay=0, fail_fast=False)
    with pytest.raises(ChunkFailedError, match="chunk 2 failed after 2 attempts") as caught:
        await executor.execute(spec, options)
    assert caught.value.report is not None
    assert caught.value.report.attempts == {0: 1, 1: 2}
    assert are_untouched(here)
    assert completed_chunk_ids(spec, here) == {0, 1}
    assert reasons_to_run(spec, here)[2] == "it is not recorded as done"
    (tmp_path / "mended").touch()
    done = completed_chunk_ids(spec, here)
    report = await executor.execute(spec, JobExecutionOptions(job_dir=here, completed_chunk_ids=done))
    assert set(report.results) == {2}
    assert count_lines(tmp_path / "starts") == 6
    assert completed_chunk_ids(spec, here) == {0, 1, 2}
    assert are_untouched(here)


@pytest.mark.anyio
async def test_what_is_rendered_here_later_is_judged_by_its_files_again(worker: WorkerThread, tmp_path: Path) -> None:
    spec = job("echo 1 > chunk_0")
    options = JobExecutionOptions(job_dir=tmp_path)
    await JobExecutor(adapter_of(worker, spec)).execute(spec, options)
    assert completed_chunk_ids(spec, tmp_path) == {0}
    assert not (tmp_path / "chunk_0").exists()
    await JobExecutor(LocalWorkerAdapter()).execute(spec, options)
    assert completed_chunk_ids(spec, tmp_path) == {0}
    (tmp_path / "chunk_0").unlink()
    assert reasons_to_run(spec, tmp_path) == {0: "its output chunk_0 is missing"}


@pytest.mark.anyio
async def test_a_worker_in_the_same_folder_has_its_outputs_looked_for(tmp_path: Path) -> None:
    (tmp_path / "chunk_0").write_text("old")
    spec = job("echo new > chunk_0", "true")
    options = JobExecutionOptions(job_dir=tmp_path, verify_output=True, fail_fast=False)
    with running_worker(tmp_path, work_dir=tmp_path) as worker:
        adapter = adapter_of(worker, spec, shares_files=True)
        with pytest.raises(ChunkFailedError, match=r"chunk 1 failed: its output .*chunk_1 cannot be found"):
            await JobExecutor(adapter).execute(spec, options)
    assert (tmp_path / "chunk_0").read_text() == "new\n"
    assert completed_chunk_ids(spec, tmp_path) == {0}
    (tmp_path / "chunk_0").unlink()
    assert completed_chunk_ids(spec, tmp_path) == frozenset()


def test_outputs_that_are_not_seen_here_cannot_be_verified(worker: WorkerThread, here: Path) -> None:
    spec = job("true")
    executor = JobExecutor(adapter_of(worker, spec))
    options = JobExecutionOptions(job_dir=here, verify_output=True)
    with pytest.raises(ValueError, match=r"^verify_output looks at the output files here, .* shares_files=True if"):
        anyio.run(executor.execute, spec, options)
    with pytest.raises(ValueError, match=r"^verify_output looks at the output files here"):
        executor.stream(spec, options)
    assert are_untouched(here)


def test_the_command_line_resumes_by_the_workers_word(worker: WorkerThread, here: Path, tmp_path: Path) -> None:
    spec = flaky_job(tmp_path, merge="cat chunk_0 > merged")
    adapter_of(worker, spec)
    path = here / "job.json"
    path.write_text(spec.model_dump_json(by_alias=True))
    url = f"http://127.0.0.1:{worker.port}/"

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        where = ["--adapter", "http", "--url", url, "--job-def-url", str(worker.specs / "job.json")]
        words = [sys.executable, "-m", "tailrace", "job", "run", str(path), *where, *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    refused = run("--verify-output")
    assert refused.returncode == 2
    [line] = refused.stderr.splitlines()
    assert "--verify-output looks at the output files here, where those of --adapter http are not seen" in line
    assert "give --shares-files if" in line
    first = run("--keep-going", "--retries", "1", "--retry-delay", "0")
    assert first.returncode == 1, first.stderr
    assert run("--resume", "--dry-run").stdout.splitlines() == [
        "chunk 0: done",
        "chunk 1: done",
        "chunk 2: to be run: it is not recorded as done",
    ]
    path.rename(tmp_path / "job.json")
    assert are_untouched(here)
    (tmp_path / "job.json").rename(path)
    (tmp_path / "mended").touch()
    again = run("--resume")
    assert again.returncode == 0, again.stderr
    # The merge runs here, on whatever is here by now.
    assert (here / "merged").read_text() == OURS["chunk_0"]
    assert count_lines(tmp_path / "starts") == 6


@pytest.mark.anyio
async def test_a_workers_word_counts_no_more_once_another_command_was_to_write_the_file(tmp_path: Path) -> None:
    fine = job("render --fine > chunk_0")
    rough = job("render --rough > chunk_0")
    worker = FakeAdapter(FakeExecution(), capabilities=Capabilities(streams=True, remote=True, shares_files=False))
    for spec in (fine, rough):
        await JobExecutor(worker).execute(spec, JobExecutionOptions(job_dir=tmp_path))
    assert completed_chunk_ids(rough, tmp_path) == {0}
    assert reasons_to_run(fine, tmp_path) == {0: "another command has written its output since"}
    await JobExecutor(worker).execute(fine, JobExecutionOptions(job_dir=tmp_path))
    assert completed_chunk_ids(fine, tmp_path) == {0}


@pytest.mark.anyio
async def test_a_workers_word_is_not_enough_where_files_are_to_be_seen(worker: WorkerThread, tmp_path: Path) -> None:
    spec = job("echo 1 > chunk_0")
    await JobExecutor(adapter_of(worker, spec)).execute(spec, JobExecutionOptions(job_dir=tmp_path))
    assert completed_chunk_ids(spec, tmp_path) == {0}
    assert completed_chunk_ids(spec, tmp_path, shares_files=True) == frozenset()
    assert reasons_to_run(spec, tmp_path, shares_files=True) == {0: "it was done where its files are not seen"}
