"""What farms restrict: users without privileges, containers, and what of /proc can be seen."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from support.processes import DAEMON, descendants_marked, wait_until_marked

pytestmark = pytest.mark.skipif(
    os.getuid() != 0, reason="needs root, to restrict itself; everything else is tested as this user"
)

NOBODY = 65534
SOMEBODY = 65532
"""Has no other process, whatever else is being tested."""

# What is imported late may lie where only root can read it, so everything is imported before the rights are given up.
AS_NOBODY = f"""
import asyncio, fcntl, os, resource, sys, time, encodings.idna
import anyio._backends._asyncio
from tailrace import Capture, LocalWorkerAdapter, WorkerJob, WorkerSpawnError, WorkerTimeoutError
LocalWorkerAdapter(backend="python")
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
os.chdir("/")
"""

# The backend, a mark, and a daemon that does what `processes.DAEMON` does.
COMMON = """
import asyncio, os, sys, time
from tailrace import LocalWorkerAdapter, WorkerJob, WorkerTimeoutError
backend, mark, daemon = sys.argv[1:4]
execute = LocalWorkerAdapter(backend=backend).execute
"""

ENDS_A_TREE = """
async def main():
    result = await execute(WorkerJob("sh", ["-c", "echo out; echo err >&2; exit 3"]))
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\\n", "err\\n"), result
    script = "setsid sh -c 'sleep 60; :' \\"$0\\" >&- 2>&- & trap '' TERM; echo started; sleep 60 & wait; wait"
    try:
        await execute(WorkerJob("sh", ["-c", script, mark], timeout=1, kill_grace=0.5))
    except WorkerTimeoutError as error:
        print(error.kind, error.result.stdout, end="")

asyncio.run(main())
"""


def in_namespaces(
    *options: str, setup: str = ":", source: str, args: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """Run Python with new namespaces, in which the shell commands `setup` are run first."""
    inside = ["sh", "-c", setup + ' && exec "$@"', "sh", sys.executable, "-c", source, *args]
    command = ["unshare", "--mount", *options, *inside]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.fixture
def mark() -> str:
    return f"mark-{uuid.uuid4()}"


@pytest.fixture(params=["native", "python"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_a_user_without_privileges_has_everything(backend: str, mark: str) -> None:
    # The interpreter may lie where only root can read it, so what is run is a shell.
    command = [sys.executable, "-c", AS_NOBODY + COMMON + ENDS_A_TREE, backend, mark, DAEMON]
    host = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (host.stdout, host.stderr) == ("total started\n", "")
    assert descendants_marked(mark) == []


def test_a_user_without_privileges_leaves_nothing_when_the_host_is_killed(mark: str) -> None:
    source = """
async def main():
    execute = LocalWorkerAdapter(backend="native").execute
    script = "setsid sh -c 'sleep 60; :' \\"$0\\" & sleep 60 & wait"
    await asyncio.gather(*[execute(WorkerJob("sh", ["-c", script, sys.argv[1]])) for _ in range(4)])
asyncio.run(main())
"""
    host = subprocess.Popen([sys.executable, "-c", AS_NOBODY + source, mark])
    wait_until_marked(mark, 1 + 4 * 2)
    time.sleep(0.5)
    host.kill()
    host.wait()
    deadline = time.monotonic() + 20
    while descendants_marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert descendants_marked(mark) == []


def test_a_user_s_pipe_memory_is_shared_with_the_renders(backend: str) -> None:
    source = """
async def main():
    execute = LocalWorkerAdapter(backend=sys.argv[1]).execute
    script = "head -c 3000000 /dev/zero"
    jobs = [WorkerJob("sh", ["-c", script], stream="bytes", on_stdout=len, capture=Capture.none()) for _ in range(80)]
    slow = WorkerJob("sh", ["-c", "head -c 30000000 /dev/zero"], stream="bytes", capture=Capture.full())
    running = asyncio.gather(*map(execute, [*jobs, *[slow] * 80]))
    await asyncio.sleep(0.3)
    # What a user gets who has used all of his memory for pipes: one page (pipe(7)).
    sizes = {fcntl.fcntl(os.pipe()[1], fcntl.F_GETPIPE_SZ) for _ in range(20)}
    results = await running
    print(sizes, {result.exit_code for result in results}, {len(result.stdout_bytes) for result in results})
asyncio.run(main())
"""
    command = [sys.executable, "-c", AS_NOBODY + source, backend]
    host = subprocess.run(command, capture_output=True, text=True, timeout=200)
    # Where the machine is busy, the last of so much may come two seconds late, and that is told.
    assert host.stdout == "{65536} {0} {0, 30000000}\n", host.stderr


def test_without_processes_a_command_is_refused_in_clear_words_and_later_ones_run() -> None:
    source = """
async def main():
    execute = LocalWorkerAdapter(backend="native").execute
    await execute(WorkerJob("true"))
    await asyncio.sleep(0.5)
    resource.setrlimit(resource.RLIMIT_NPROC, (20, 20))
    results = await asyncio.gather(*[execute(WorkerJob("sleep", ["1"])) for _ in range(40)], return_exceptions=True)
    refused = {str(result) for result in results if isinstance(result, WorkerSpawnError)}
    print(refused, sum(result.exit_code == 0 for result in results if not isinstance(result, Exception)) > 3)
    print((await execute(WorkerJob("echo", ["and again"]))).stdout)
asyncio.run(main())
"""
    as_somebody = AS_NOBODY.replace(str(NOBODY), str(SOMEBODY))
    host = subprocess.run([sys.executable, "-c", as_somebody + source], capture_output=True, text=True, timeout=200)
    message = "cannot start sleep: no more processes are allowed (see `ulimit -u`)"
    assert (host.stdout, host.stderr) == (f"{{'{message}'}} True\nand again\n\n", "")


def test_the_first_process_of_a_container_ends_trees_and_keeps_no_zombies(backend: str, mark: str) -> None:
    source = (
        COMMON
        + ENDS_A_TREE
        + """
assert os.getpid() == 1
time.sleep(0.2)
states = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    states.append(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0])
print(len(states), states.count("Z"))
"""
    )
    options = ("--pid", "--fork", "--mount-proc", "--kill-child")
    host = in_namespaces(*options, source=source, args=(backend, mark, DAEMON))
    started, count = host.stdout.splitlines()
    assert (started, host.stderr) == ("total started", "")
    if backend == "native":
        # The host, and the watchdog with what it waits for.
        assert count in ("2 0", "3 0")


def test_the_command_line_as_the_first_process_of_a_container_obeys_sigterm(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(
        '{"metadata": {"totalFrames": 1, "fps": 1, "width": 1, "height": 1, "duration": 1}, "chunks": [{"id": 0,'
        ' "startFrame": 0, "frameCount": 1, "outputFile": "a", "command": "sh -c \'echo started; sleep 60\'"}]}'
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-m", "tailrace"]
    process = subprocess.Popen([*command, "job", "run", "job.json"], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), 15)
    assert process.wait(30) == 143
    process.stdout.close()


@pytest.mark.parametrize("missing", ["/proc/sys", "/proc"])
def test_commands_run_and_end_where_proc_is_missing(backend: str, missing: str, mark: str) -> None:
    source = (
        COMMON
        + """
async def main():
    result = await execute(WorkerJob("sh", ["-c", "echo out; head -c 3000000 /dev/zero >&2; exit 3"]))
    assert (result.exit_code, result.stdout, len(result.stderr)) == (3, "out\\n", 3_000_000), result
    started = time.monotonic()
    try:
        await execute(WorkerJob("sh", ["-c", "sleep 60 & echo started; wait", mark], timeout=1, kill_grace=0.5))
    except WorkerTimeoutError as error:
        print(error.kind, error.result.stdout, end="")
    # What closed its pipes is still of the group.
    await execute(WorkerJob("sh", ["-c", "sleep 60 >&- 2>&- & echo over", mark], kill_grace=0.5))
    assert time.monotonic() - started < 20
asyncio.run(main())
"""
    )
    host = in_namespaces(setup=f"mount -t tmpfs none {missing}", source=source, args=(backend, mark, DAEMON))
    assert (host.stdout, host.stderr) == ("total started\n", "")
    assert descendants_marked(mark) == []


def test_where_no_helper_can_be_executed_commands_start_without_it(backend: str, mark: str) -> None:
    # Only for the processes of the namespace. Kernels that do not know it execute what they like.
    setup = "{ test ! -e /proc/sys/vm/memfd_noexec || echo 2 > /proc/sys/vm/memfd_noexec; }"
    options = ("--pid", "--fork", "--mount-proc", "--kill-child")
    host = in_namespaces(*options, setup=setup, source=COMMON + ENDS_A_TREE, args=(backend, mark, DAEMON))
    assert (host.stdout, host.stderr) == ("total started\n", "")
    assert descendants_marked(mark) == []


def test_a_user_who_cannot_see_others_processes_ends_his_own(backend: str, mark: str) -> None:
    setup = "mount -t proc -o hidepid=2 proc /proc"
    host = in_namespaces(setup=setup, source=AS_NOBODY + COMMON + ENDS_A_TREE, args=(backend, mark, DAEMON))
    assert (host.stdout, host.stderr) == ("total started\n", "")
    assert descendants_marked(mark) == []
