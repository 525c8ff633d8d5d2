"""What becomes of a job around its command, by programs that stand in for Slurm's and run it here."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import pytest

from tailrace import CommandEnding, LocalWorkerAdapter, SlurmAdapter, WorkerError, WorkerJob, WorkerSpawnError
from tailrace._engines.slurm import execution
from tailrace._engines.slurm.on_node import REQUEST
from tailrace._engines.slurm.queue import QueuedJob
from tailrace._engines.slurm.watchdog import Watchdog

pytestmark = pytest.mark.anyio

RUNS = """
while [ "$1" != -- ]; do shift; done
shift
export SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURMD_NODENAME=alpha
exec "$@" 2>&3
"""
"""srun: the standard error of a step is its descriptor 3."""
LOSES = RUNS.replace("exec", "timeout --signal=KILL 1")
LISTS_UNTIL_CANCELLED = """
! grep -q '^scancel --user' "$0.calls" || exit 0
while [ $# -gt 0 ]; do [ "$1" != --name ] || echo "7 $2"; shift; done
"""
"""squeue."""

Programs = Callable[..., Path]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Return what puts programs of these names and scripts before Slurm's; each call is noted in the file returned.

    Slurm's others do nothing.
    """
    calls = tmp_path / "squeue.calls"
    calls.touch()

    def put(**scripts: str) -> Path:
        for name in ("srun", "scancel", "squeue", "scontrol", "sinfo", *scripts):
            path = tmp_path / name
            path.write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n{scripts.get(name, "")}\n')
            path.chmod(0o755)
        return calls

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return put


def wait_for_call(calls: Path, program: str) -> None:
    """Return when a program has been called."""
    deadline = time.monotonic() + 20
    while not re.search(rf"^{program}\b", calls.read_text(), re.MULTILINE):
        assert time.monotonic() < deadline, f"nobody calls {program}"
        time.sleep(0.05)


@pytest.mark.parametrize("backend", ["native", "python"])
async def test_output_is_held_up_while_on_started_takes_its_time(
    backend: Literal["native", "python"], programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "LocalWorkerAdapter", partial(LocalWorkerAdapter, backend=backend))
    programs(srun=RUNS)
    written = tmp_path / "written"
    seen: list[object] = []

    async def start() -> None:
        await anyio.sleep(2)
        seen.append(written.exists())

    job = WorkerJob(
        "sh",
        ["-c", f"head -c 100000000 /dev/zero >&2; : > {written}"],
        on_started=start,
        stream="bytes",
        on_stderr=lambda data: seen.append(len(data)),
    )
    with anyio.fail_after(60):
        await SlurmAdapter().execute(job)
    assert seen[0] is False, "all of its output was taken before on_started was done"
    assert sum(size for size in seen[1:] if isinstance(size, int)) == 100_000_000


async def test_an_event_loop_that_stands_still_does_not_make_a_command_silent(programs: Programs) -> None:
    programs(srun=RUNS)
    started = anyio.Event()

    async def stall() -> None:
        await started.wait()
        await anyio.sleep(0.2)
        time.sleep(2)  # noqa: ASYNC251

    script = "for each in 1 2 3 4 5 6 7 8 9 10 11 12; do echo; sleep 0.25; done"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stall)
        with anyio.fail_after(60):
            job = WorkerJob("sh", ["-c", script], idle_timeout=1, on_started=started.set)
            result = await SlurmAdapter().execute(job)
    assert (result.exit_code, result.stdout) == (0, "\n" * 12)


async def test_what_is_to_end_while_it_waits_for_its_node_is_withdrawn_at_once(programs: Programs) -> None:
    programs(srun="exec sleep 60")
    ending = CommandEnding()
    started: list[None] = []
    began = time.monotonic()
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await anyio.sleep(0.5)
            ending.end()

        tasks.start_soon(end)
        job = WorkerJob("true", ending=ending, on_started=lambda: started.append(None))
        result = await SlurmAdapter().execute(job)
    assert time.monotonic() - began < 10
    assert (result.exit_code, result.stdout, result.duration, started) == (-9, "", 0, [])


@pytest.mark.parametrize("kills", ["cancelled", "killed"])
async def test_a_job_that_comes_into_the_queue_after_its_srun_was_killed_is_cancelled(
    kills: str, programs: Programs
) -> None:
    late = f"""[ "$(grep -c ^squeue "$0.calls")" -gt 1 ] || exit 0{LISTS_UNTIL_CANCELLED}"""
    calls = programs(srun="exec sleep 60" if kills == "cancelled" else "kill -KILL $$", squeue=late)
    with anyio.fail_after(30):
        if kills == "cancelled":
            with anyio.move_on_after(1):
                await SlurmAdapter().execute(WorkerJob("true"))
        else:
            with pytest.raises(WorkerError, match="Slurm did not run true"):
                await SlurmAdapter().execute(WorkerJob("true"))
    assert "scancel --user" in calls.read_text()


async def test_where_no_watchdog_can_be_started_nothing_is_kept_open(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = programs()

    def fail(*_: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(Watchdog, "add", fail)
    with anyio.fail_after(30), pytest.raises(OSError, match="temporarily unavailable"):
        await SlurmAdapter().execute(WorkerJob("true"))
    assert "srun" not in calls.read_text()
    assert not any("tailrace-srun" in each for each in open_files())


def open_files() -> list[str]:
    """Return what this process has open."""
    return [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]


async def test_a_cancellation_while_slurm_is_asked_how_it_ended_leaves_no_job_behind(programs: Programs) -> None:
    calls = programs(srun=LOSES, scontrol="sleep 60", squeue=LISTS_UNTIL_CANCELLED)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(SlurmAdapter().execute, WorkerJob("sleep", ["60"]))
            await anyio.to_thread.run_sync(wait_for_call, calls, "scontrol")
            tasks.cancel_scope.cancel()
    assert "scancel --user" in calls.read_text()


async def test_where_slurm_has_no_configuration_the_error_says_what_to_do(programs: Programs) -> None:
    # As srun 22.05 says it.
    calls = programs(
        srun="""
echo 'srun: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host' >&2
echo 'srun: error: fetch_config: DNS SRV lookup failed' >&2
echo 'srun: error: _establish_config_source: failed to fetch config' >&2
echo 'srun: fatal: Could not establish a configuration source' >&2
exit 1
"""
    )
    with pytest.raises(WorkerSpawnError, match=r"cannot start srun: .*configuration.* name it in SLURM_CONF$"):
        await SlurmAdapter().execute(WorkerJob("true"))
    assert "squeue" not in calls.read_text(), "there is nothing to look for"


async def test_a_callback_that_raises_at_the_end_of_the_output_leaves_no_job_behind(programs: Programs) -> None:
    calls = programs(srun=RUNS)

    def fail(_: str) -> None:
        raise WorkerError("of the callback's own")

    # The last line is told when srun has ended.
    job = WorkerJob("printf", ["no end of line"], stream="lines", on_stdout=fail)
    with anyio.fail_after(30), pytest.raises(WorkerError, match="of the callback's own"):
        await SlurmAdapter().execute(job)
    assert "squeue" in calls.read_text(), "nobody has looked"


ANSWERS_LATER = """
[ "$(grep -c ^squeue "$0.calls")" -gt 3 ] || exit 1
! grep -q '^scancel --ctld' "$0.calls" || exit 0
case " $* " in
    *" --steps "*) echo "7.0 tailrace-1-ours"; echo "8.0 tailrace-1-others" ;;
    *) echo "7 tailrace-1-ours"; echo "8 tailrace-1-others"; echo "9 tailrace-2-ours"; echo "10 a b" ;;
esac
"""
"""squeue: it fails for three times, and what is listed then has gone when a step has been killed."""


@pytest.mark.parametrize("is_dead", [True, False], ids=["dead", "alive"])
def test_what_slurm_cannot_be_asked_to_end_is_ended_when_it_answers(is_dead: bool, programs: Programs) -> None:
    calls = programs(squeue=ANSWERS_LATER, sleep="exec /bin/sleep 0.1")
    watchdog = Watchdog()
    for name in ("tailrace-1-ours", "tailrace-2-ours", "tailrace-3-ours"):
        watchdog.add(name)
    watchdog.remove("tailrace-3-ours")
    if not is_dead:
        watchdog.end("tailrace-1-ours")
        watchdog.end("tailrace-2-ours")
        wait_for_call(calls, "scancel --ctld")
    watchdog.forget()
    wait_for_call(calls, "scancel --ctld")
    asked = [line.split(maxsplit=1)[1] for line in calls.read_text().splitlines() if line.startswith("scancel")]
    assert asked[0] == f"--signal={REQUEST} 7.0"
    assert asked[1] == "--state=PENDING 7 9"
    assert asked[2] == "--ctld --signal=KILL 7.0"
    assert not any(number in line.split() for line in asked for number in ("8", "8.0", "10"))


LISTS_UNTIL_TOLD = """
[ ! -e "$0.down" ] || exit 1
for each in 1 2; do
    grep ^scancel "$0.calls" | grep -qw $each || echo "$each tailrace-$each"
done
"""
"""squeue: what has these numbers is listed until a scancel names them, and nothing while there is a file."""


def test_a_watchdog_that_was_killed_is_replaced_by_one_that_is_told_all(programs: Programs) -> None:
    calls = programs(squeue=LISTS_UNTIL_TOLD, sleep="exec /bin/sleep 0.1")
    is_down = calls.with_name("squeue.down")
    is_down.touch()
    watchdog = Watchdog()
    with killing_what_is_started():
        watchdog.add("tailrace-1")
    with killing_what_is_started():
        watchdog.add("tailrace-2")
    with killing_what_is_started():
        watchdog.end("tailrace-1")
        wait_for_call(calls, "squeue")
    is_down.unlink()
    assert "scancel" not in calls.read_text()
    watchdog.end("tailrace-3")
    wait_for_call(calls, "scancel --state=PENDING 1")
    watchdog.forget()
    wait_for_call(calls, "scancel --state=PENDING 2")


@contextlib.contextmanager
def killing_what_is_started() -> Iterator[None]:
    """Kill the one process that the block starts, and those that it has started itself."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = set(children.read_text().split())
    yield
    (pid,) = map(int, set(children.read_text().split()) - before)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_where_no_watchdog_can_be_started_the_warning_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Watchdog, "end", fail)
    warnings: list[str] = []
    QueuedJob("tailrace-1-ours", None).leave_to_watchdog(WorkerJob("render", on_warning=warnings.append))
    assert len(warnings) == 1
    assert warnings[0].endswith("Too many open files): cancel it with scancel --name=tailrace-1-ours")
