"""What an adapter says that it can do, and what is made of one that says little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from support.jobs import job, names_in
from tailrace import (
    AwsLambdaAdapter,
    Capabilities,
    ChunkFailedError,
    CloudRunAdapter,
    HttpWorkerAdapter,
    JobExecutionOptions,
    JobExecutor,
    LocalWorkerAdapter,
    WorkerJob,
    WorkerPool,
    WorkerResult,
    completed_chunk_ids,
)
from tailrace._remote.late_output import LateOutput

URL = "http://127.0.0.1:9"


class Elsewhere:
    """Somebody's adapter that says only that it streams, and from another machine."""

    streams = True
    remote = True

    def __init__(self) -> None:
        self.jobs: list[WorkerJob] = []

    async def execute(self, job: WorkerJob) -> WorkerResult:
        self.jobs.append(job)
        return await LocalWorkerAdapter().execute(job)


def function(**options: Any) -> AwsLambdaAdapter:
    """Return an adapter for Lambda that needs no settings of AWS."""
    return AwsLambdaAdapter("shots", endpoint_url=URL, **options)


def test_a_command_on_this_machine_has_all_capabilities() -> None:
    assert Capabilities.of(LocalWorkerAdapter()) == Capabilities(streams=True, tells_start=True, ends_early=True)


@pytest.mark.parametrize(
    "make",
    [lambda **options: HttpWorkerAdapter(URL, **options), lambda **options: CloudRunAdapter(URL, **options), function],
    ids=["http", "gcp", "aws"],
)
def test_a_worker_that_is_told_a_chunk_has_neither_the_command_nor_its_variables(make: Any) -> None:
    told = {"remote": True, "runs_any_command": False, "honours_env": False, "honours_slots": False}
    assert Capabilities.of(make()) == Capabilities(streams=False, shares_files=False, **told)
    assert Capabilities.of(make(streaming=True, shares_files=True)) == Capabilities(
        streams=True, tells_start=True, **told
    )
    with pytest.raises(TypeError, match="shares_files must be True or False, not 'yes'"):
        make(shares_files="yes")


def test_a_pool_can_do_what_all_its_workers_can() -> None:
    shared, apart = HttpWorkerAdapter(URL, streaming=True, shares_files=True), HttpWorkerAdapter(URL, streaming=True)
    assert WorkerPool([shared, shared]).capabilities == shared.capabilities
    assert WorkerPool([shared, apart]).capabilities == apart.capabilities
    mixed = WorkerPool([LocalWorkerAdapter(), function()])
    assert mixed.capabilities == function().capabilities
    assert (mixed.streams, mixed.remote) == (False, True)
    assert WorkerPool([LocalWorkerAdapter()]).capabilities == LocalWorkerAdapter().capabilities


def test_output_that_is_handed_over_at_the_end_changes_nothing_else() -> None:
    late = LateOutput(HttpWorkerAdapter(URL))
    assert (late.capabilities.streams, late.remote) == (True, True)
    assert (late.capabilities.runs_any_command, late.capabilities.shares_files) == (False, False)


@pytest.mark.anyio
async def test_an_adapter_that_says_only_where_it_runs_has_its_outputs_looked_for_here(tmp_path: Path) -> None:
    adapter = Elsewhere()
    (tmp_path / "chunk_0").write_text("old")
    (tmp_path / "chunk_1").write_text("old")
    spec = job("echo new > chunk_0", "true", merge="cat chunk_0 > all")
    options = JobExecutionOptions(job_dir=tmp_path, verify_output=True, fail_fast=False)
    with pytest.raises(ChunkFailedError, match=r"chunk 1 failed: its output .*chunk_1 cannot be found"):
        await JobExecutor(adapter).execute(spec, options)
    assert names_in(tmp_path) == {"chunk_0", "chunk_1.partial"}
    assert completed_chunk_ids(spec, tmp_path) == {0}
    # It has no PWD of ours, since its folder may be called otherwise there.
    assert adapter.jobs[0].env is not None
    assert "PWD" not in adapter.jobs[0].env
    (tmp_path / "chunk_1").write_text("there")
    await JobExecutor(adapter).execute(spec, JobExecutionOptions(job_dir=tmp_path, completed_chunk_ids=[0, 1]))
    # The merge ran here.
    assert (tmp_path / "all").read_text() == "new\n"
    assert len(adapter.jobs) == 2


@pytest.mark.anyio
async def test_a_merge_is_not_given_to_what_runs_chunks_alone(tmp_path: Path) -> None:
    class Cache:
        streams = False
        capabilities = Capabilities(streams=False, runs_any_command=False)

        async def execute(self, job: WorkerJob) -> WorkerResult:
            await anyio.lowlevel.checkpoint()
            return WorkerResult(0, str(job.meta["chunk_id"]))

    report = await JobExecutor(Cache()).execute(job("true", merge="printf here"), JobExecutionOptions(job_dir=tmp_path))
    assert report.merge_result is not None
    assert report.merge_result.stdout == "here"
