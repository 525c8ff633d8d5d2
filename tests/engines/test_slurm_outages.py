"""What becomes of chunks when a node or slurmctld dies: each test has a Slurm of its own, which is broken then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from support.jobs import job
from support.loops import on_one_loop
from support.processes import wait_until_none_is_marked
from support.slurm_cluster import SlurmCluster, running_slurm
from tailrace import JobExecutionOptions, JobExecutor, SlurmAdapter, WorkerJob, WorkerLostError

pytestmark = [pytest.mark.slurm, pytest.mark.anyio, on_one_loop]


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """Run Slurm for one test."""
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


async def test_a_node_whose_daemons_die_is_lost_and_its_command_ends_there(slurm: SlurmCluster, mark: str) -> None:
    begun = anyio.Event()

    async def kill() -> None:
        await begun.wait()
        await anyio.to_thread.run_sync(slurm.kill_slurmd, "alpha")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kill)
        script = f"echo begun; sh -c 'sleep 200; : {mark}' & wait; : {mark}"
        with (
            anyio.fail_after(120),
            pytest.raises(WorkerLostError, match=r"Slurm job 1 (on node alpha )?was lost: ") as caught,
        ):
            await SlurmAdapter().execute(WorkerJob("sh", ["-c", script], on_stdout=lambda _: begun.set()))
    assert (caught.value.node, caught.value.may_run) == ("alpha", True)
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


async def test_a_job_goes_on_without_the_node_and_renders_nothing_twice(slurm: SlurmCluster, tmp_path: Path) -> None:
    # The first two run side by side on the node that dies; the others come later.
    scripts = [f"echo begun; sleep 3; echo {number} >> {tmp_path}/done" for number in range(8)]
    begun = anyio.Event()

    async def kill() -> None:
        await begun.wait()
        await anyio.to_thread.run_sync(slurm.kill_slurmd, "alpha")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kill)
        options = JobExecutionOptions(
            job_dir=tmp_path, concurrency=2, record=False, on_chunk_stdout=lambda *_: begun.set()
        )
        with anyio.fail_after(200):
            report = await JobExecutor(SlurmAdapter()).execute(job(*scripts), options)
    assert sorted(report.results) == list(range(8))
    assert {report.results[number].node for number in range(2, 8)} == {"beta"}
    assert sorted((tmp_path / "done").read_text().split()) == [str(number) for number in range(8)]


async def test_without_slurmctld_what_runs_comes_to_its_end_and_what_begins_is_lost(slurm: SlurmCluster) -> None:
    begun = anyio.Event()
    warnings: list[str] = []

    async def kill() -> None:
        await begun.wait()
        slurm.controller.kill()
        slurm.controller.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kill)
        job = WorkerJob("sh", ["-c", "echo begun; sleep 2; echo done; exit 3"], on_warning=warnings.append)
        with anyio.fail_after(120):
            result = await SlurmAdapter().execute(replace(job, on_stdout=lambda _: begun.set()))
    assert (result.exit_code, result.stdout, result.truncated) == (3, "begun\ndone\n", False)
    assert "could not be ended: Slurm job 1 on node alpha, since Slurm does not answer" in warnings[0]
    assert "was not over 5 s after its command" in warnings[1]
    with anyio.fail_after(120), pytest.raises(WorkerLostError, match="Unable to contact slurm controller") as caught:
        await SlurmAdapter().execute(WorkerJob("true"))
    assert not caught.value.may_run
    slurm.start_controller()


async def test_what_is_cancelled_without_slurmctld_is_told_at_once_and_ends_when_that_is_back(
    slurm: SlurmCluster, mark: str
) -> None:
    begun = anyio.Event()
    warnings: list[str] = []
    script = f"echo begun; sh -c 'sleep 200; : {mark}' & wait; : {mark}"
    job = WorkerJob("sh", ["-c", script], on_stdout=lambda _: begun.set(), on_warning=warnings.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(SlurmAdapter().execute, job)
        await begun.wait()
        await anyio.to_thread.run_sync(slurm.wait_until_saved, "1")
        slurm.controller.kill()
        slurm.controller.wait()
        asked = time.monotonic()
        tasks.cancel_scope.cancel()
    assert time.monotonic() - asked < 20
    why = "since Slurm does not answer: it is cancelled as soon as that does"
    assert warnings == [f"could not be ended: Slurm job 1 on node alpha, {why}"]
    slurm.start_controller()
    await anyio.to_thread.run_sync(slurm.wait_until_idle, 90)
    assert "JobState=CANCELLED" in slurm.ask("scontrol", "show", "job", "1")
