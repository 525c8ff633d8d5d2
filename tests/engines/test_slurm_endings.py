"""Whatever happens to a command on a real Slurm, it is told, and nothing of it goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

from support.loops import on_one_loop
from support.processes import descendants_marked, wait_until_none_is_marked
from support.slurm_cluster import GPUS, NODES, SlurmCluster, running_slurm
from tailrace import SlurmAdapter, WorkerError, WorkerJob, WorkerLostError, WorkerTimeoutError

pytestmark = [pytest.mark.slurm, pytest.mark.anyio, on_one_loop]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """Run Slurm for all tests."""
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def slurm(cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """Lend it to a test that leaves it idle."""
    yield cluster
    cluster.wait_until_idle()


def lasting(mark: str) -> WorkerJob:
    """Return a job that writes a line and goes on for a minute."""
    return WorkerJob("sh", ["-c", f"echo begun; sh -c 'sleep 60; : {mark}' & wait; : {mark}"])


async def lost(job: WorkerJob, adapter: SlurmAdapter, do: Callable[[], object]) -> WorkerLostError:
    """Run a job, do something when it runs, and return the error that this makes."""
    begun = anyio.Event()

    async def do_it() -> None:
        await begun.wait()
        await anyio.to_thread.run_sync(do)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(do_it)
        with pytest.raises(WorkerLostError) as caught:
            await adapter.execute(replace(job, on_stdout=lambda _: begun.set()))
    assert caught.value.result is not None
    assert caught.value.result.stdout == "begun\n"
    # What its own shell says of a signal may be there.
    assert "srun" not in caught.value.result.stderr and "slurm" not in caught.value.result.stderr
    return caught.value


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("scancel {}", "was cancelled"),
        # What slurmstepd says of it may be lost with the step.
        ("scancel {}.0", "was (cancelled|lost: alpha: task 0: Killed)"),
        ("scancel --signal=KILL {}.0", "was lost: alpha: task 0: Killed"),
    ],
    ids=["job", "step", "kill"],
)
async def test_what_an_administrator_cancels_is_lost_and_has_ended(
    command: str, reason: str, slurm: SlurmCluster, mark: str
) -> None:
    error = await lost(lasting(mark), SlurmAdapter(), lambda: slurm.ask(*command.format(slurm.job_ids()[0]).split()))
    assert re.search(reason, str(error))
    assert (error.node, error.may_run) == ("alpha", False)
    assert descendants_marked(mark) == []


async def test_a_job_that_is_cancelled_while_it_waits_is_lost(slurm: SlurmCluster) -> None:
    adapter = SlurmAdapter(options=["--begin=now+1hour"])

    async def cancel() -> None:
        await anyio.to_thread.run_sync(slurm.wait_for_jobs, 1)
        await anyio.to_thread.run_sync(slurm.ask, "scancel", slurm.job_ids()[0])

    started: list[None] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        with pytest.raises(WorkerLostError, match="was lost") as caught:
            await adapter.execute(WorkerJob("true", timeout=0.1, on_started=lambda: started.append(None)))
    assert (caught.value.node, caught.value.may_run, started) == (None, False, [])


async def test_a_killed_srun_is_a_lost_connection_and_its_command_is_ended(slurm: SlurmCluster, mark: str) -> None:
    def kill() -> None:
        listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)
        processes = [line.split() for line in listed.stdout.splitlines()]
        (srun,) = [int(pid) for pid, parent, name in processes if int(parent) == os.getpid() and name == "srun"]
        os.kill(srun, signal.SIGKILL)

    error = await lost(lasting(mark), SlurmAdapter(), kill)
    assert "srun ended with -9" in str(error)
    assert (error.node, error.may_run) == ("alpha", False)
    assert descendants_marked(mark) == []


async def test_a_command_whose_slurmstepd_is_killed_is_lost_and_ended_on_its_node(
    slurm: SlurmCluster, mark: str
) -> None:
    def kill() -> None:
        (stepd,) = slurm.stepds("alpha", slurm.job_ids()[0])
        os.kill(stepd, signal.SIGKILL)

    error = await lost(lasting(mark), SlurmAdapter(), kill)
    assert (error.node, error.may_run) == ("alpha", False)
    assert descendants_marked(mark) == []


async def test_a_command_that_takes_more_memory_than_it_has_is_told_apart(slurm: SlurmCluster) -> None:
    script = f"echo begun; exec {sys.executable} -c 'import time; kept = bytearray(500_000_000); time.sleep(60)'"
    result = await SlurmAdapter().execute(WorkerJob("sh", ["-c", script], meta={"needs": {"memory": 100_000_000}}))
    assert (result.exit_code, result.stdout, result.stderr) == (-9, "begun\n", "")
    assert result.killed_for_memory is not None
    result = await SlurmAdapter().execute(WorkerJob("sh", ["-c", "kill -9 $$"]))
    assert (result.exit_code, result.killed_for_memory) == (-9, None)


async def test_slurm_s_time_limit_is_no_limit_of_the_job(slurm: SlurmCluster, mark: str) -> None:
    job = WorkerJob("sh", ["-c", f"echo begun; sleep 290; : {mark}"])
    with pytest.raises(WorkerError, match="was ended by Slurm: it reached the time limit of Slurm job") as caught:
        await SlurmAdapter(time_limit=1).execute(job)
    assert type(caught.value) is WorkerError
    assert caught.value.result is not None and caught.value.result.stdout == "begun\n"
    with pytest.raises(WorkerTimeoutError):
        await SlurmAdapter(time_limit=600).execute(WorkerJob("sleep", ["60"], timeout=0.5))


@pytest.mark.parametrize(
    ("adapter", "needs", "reason"),
    [
        (SlurmAdapter(partition="no-such"), {}, "Invalid partition name specified"),
        (SlurmAdapter(), {"memory": 2**40}, "Requested node configuration is not available"),
        (SlurmAdapter(options=["--no-such-option"]), {}, "unrecognized option '--no-such-option'"),
        (SlurmAdapter(), {"no_such_licence": 1}, "Invalid license specification"),
    ],
    ids=["partition", "memory", "option", "licence"],
)
async def test_what_slurm_refuses_it_says(
    adapter: SlurmAdapter, needs: dict[str, float], reason: str, slurm: SlurmCluster
) -> None:
    with pytest.raises(WorkerError, match=reason) as caught:
        await adapter.execute(WorkerJob("true", meta={"needs": needs}))
    assert type(caught.value) is WorkerError


async def test_a_job_that_waits_counts_for_no_limit_and_is_taken_back(slurm: SlurmCluster, mark: str) -> None:
    adapter = SlurmAdapter(options=["--begin=now+1hour"])
    with anyio.move_on_after(1) as scope:
        await adapter.execute(WorkerJob("true", timeout=0.2, idle_timeout=0.2))
    assert scope.cancelled_caught
    assert slurm.job_ids() == []


async def test_needs_are_what_slurm_gives(slurm: SlurmCluster) -> None:
    needs = {"cpus": 2, "memory": 200 * 2**20, "gpus": 2, "nuke_i": 1}
    script = 'echo "$SLURM_CPUS_PER_TASK $CUDA_VISIBLE_DEVICES"; scontrol show job $SLURM_JOB_ID'
    result = await SlurmAdapter().execute(WorkerJob("sh", ["-c", script], meta={"needs": needs}))
    given, _, shown = result.stdout.partition("\n")
    assert given == f"2 {','.join(map(str, range(len(GPUS))))}"
    assert "Licenses=nuke_i:1" in shown
    assert "MinMemoryNode=200M" in shown


async def test_a_node_that_is_to_be_avoided_is_unless_no_other_is_left(slurm: SlurmCluster) -> None:
    for avoided, expected in [(["alpha"], {"beta"}), (["beta"], {"alpha"}), (list(NODES), set(NODES))]:
        result = await SlurmAdapter().execute(WorkerJob("hostname", meta={"avoid_nodes": tuple(avoided)}))
        assert result.node in expected
        assert result.stdout == f"{result.node}\n"


async def test_secrets_are_on_no_command_line(slurm: SlurmCluster) -> None:
    result = await SlurmAdapter().execute(
        WorkerJob("sh", ["-c", 'echo "$SECRET"; cat /proc/*/cmdline | tr "\\0" " "'], env={"SECRET": "a,b=c\nd"})
    )
    assert result.stdout.startswith("a,b=c\nd\n")
    assert "a,b=c" not in result.stdout.removeprefix("a,b=c\nd\n")


async def test_messages_of_slurm_s_are_not_in_the_output(slurm: SlurmCluster) -> None:
    result = await SlurmAdapter().execute(WorkerJob("sh", ["-c", "echo out; echo err >&2"], env={"TMPDIR": "/no/such"}))
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


async def test_what_keeps_the_output_open_is_ended_and_told(slurm: SlurmCluster, mark: str) -> None:
    warnings: list[str] = []
    began = time.monotonic()
    script = f"echo begun; sh -c 'sleep 60; : {mark}' & exit 3"
    result = await SlurmAdapter().execute(WorkerJob("sh", ["-c", script], on_warning=warnings.append))
    assert (result.exit_code, result.stdout) == (3, "begun\n")
    assert time.monotonic() - began < 10
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


_HOST = """
import sys, anyio
from tailrace import SlurmAdapter, WorkerJob
mark = sys.argv[1]
async def main():
    script = f"sh -c 'sleep 60; : {mark}' & echo begun; wait; : {mark}"
    job = WorkerJob("sh", ["-c", script], stream="lines", on_stdout=lambda line: print(line, flush=True))
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(SlurmAdapter().execute, job)
        tasks.start_soon(SlurmAdapter(options=["--begin=now+1hour"]).execute, job)
anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_host_that_is_killed_or_interrupted_leaves_nothing(
    number: signal.Signals, backend: str, slurm: SlurmCluster
) -> None:
    # Not the fixture's mark: it is in the host's own command line.
    mark = f"host-{number}-{backend}-{os.getpid()}"

    def end_a_host() -> None:
        command = [sys.executable, "-c", _HOST, mark, backend]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        ) as host:
            assert host.stdout is not None
            assert [host.stdout.readline() for _ in range(3)] == [b"begun\n"] * 3
            slurm.wait_for_jobs(4)
            os.killpg(host.pid, number)
            host.wait(30)
        wait_until_none_is_marked(mark)

    await anyio.to_thread.run_sync(end_a_host)


_IN_ALLOCATION = """
import anyio, sys
from tailrace import SlurmAdapter, WorkerJob
async def main():
    async def run(chunk, script, **meta):
        job = WorkerJob("sh", ["-c", script], meta={"chunk_id": chunk, **meta})
        result = await SlurmAdapter().execute(job)
        print(chunk, result.exit_code, result.node, result.stdout, end="", flush=True)
    async with anyio.create_task_group() as tasks:
        for chunk in range(4):
            tasks.start_soon(run, chunk, "sleep 1; echo $SLURM_JOB_ID")
    await run(4, "echo ${CUDA_VISIBLE_DEVICES-none}")
    await run(5, "echo ${CUDA_VISIBLE_DEVICES-none}", needs={"gpus": 1})
    await run(6, "echo", avoid_nodes=("alpha",))
    await run(7, "echo", avoid_nodes=("alpha", "beta"))
    with anyio.move_on_after(1):
        await run(8, f"sh -c 'sleep 60; : {sys.argv[1]}' & wait; : {sys.argv[1]}")
anyio.run(main)
"""


async def test_in_an_allocation_chunks_are_steps_side_by_side(slurm: SlurmCluster) -> None:
    mark = f"step-{os.getpid()}"
    began = time.monotonic()
    told = await anyio.to_thread.run_sync(
        lambda: slurm.ask(
            *["salloc", "--nodes=2", "--ntasks=4", "--mem=1000", "--gres=gpu:1"],
            sys.executable,
            "-c",
            _IN_ALLOCATION,
            mark,
        )
    )
    lines = sorted(told.splitlines())
    assert time.monotonic() - began < 15
    jobs = {line.split()[3] for line in lines[:4]}
    assert len(jobs) == 1, "they were no steps of one job"
    assert [line.split()[:2] for line in lines] == [[str(chunk), "0"] for chunk in range(8)]
    assert [line.split()[3] for line in lines[4:6]] == ["none", "0"]
    assert lines[6].split()[2] == "beta"
    assert descendants_marked(mark) == []
