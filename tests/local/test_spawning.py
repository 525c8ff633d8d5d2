"""How commands are started: by a helper process that shares nothing with the host but what they inherit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from support.processes import PYTHON, fork_beside_threads, python
from tailrace import LocalWorkerAdapter, WorkerJob, WorkerSpawnError, WorkerTimeoutError, run

MIB = 1 << 20

RUN = """
import os, resource, sys, time
from tailrace import WorkerJob, run
"""


def host(source: str, *args: str) -> str:
    """Run Python in a process of its own, and return what it wrote."""
    command = [sys.executable, "-c", RUN + source, *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=200).stdout


def helpers(of: int) -> list[int]:
    """Return the helper processes there are of a process, and nothing that one of them is just making."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            if name == "tailrace-spawn" and int(rest.split()[1]) == of and len(list((folder / "fd").iterdir())) == 4:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.fixture
def never_loaded(tmp_path: Path) -> Iterator[str]:
    """A program that is not loaded as long as somebody may write to it."""
    program = tmp_path / "program"
    shutil.copy(shutil.which("true") or "", program)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with program.open("r+b") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield str(program)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    signal.signal(signal.SIGIO, before)


@pytest.mark.parametrize("duration", [0, 1.5])
def test_a_command_s_peak_is_its_own_however_large_the_host(duration: float) -> None:
    touch = (
        "import time; b = b'1' * (300 << 20); time.sleep(float(__import__('sys').argv[1]));"
        " print(*[l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')])"
    )
    source = """
large = b"1" * (700 << 20)
print(run(WorkerJob("/bin/true")).usage.max_rss)
result = run(WorkerJob(sys.argv[1], sys.argv[2:]))
print(result.usage.max_rss, result.stdout)
"""
    program, args = python(touch, str(duration))
    small, large, by_kernel = map(int, host(source, program, *args).split())
    assert small < 16 * MIB
    assert large == pytest.approx(by_kernel * 1024, rel=0.05)
    assert large > 300 * MIB


def test_what_the_host_changes_reaches_the_next_command(tmp_path: Path) -> None:
    source = """
job = WorkerJob("sh", ["-c", "umask; pwd; ulimit -c; cat /proc/self/oom_score_adj"])
first = run(job).stdout
os.umask(0o027)
os.chdir(sys.argv[1])
resource.setrlimit(resource.RLIMIT_CORE, (4096, resource.getrlimit(resource.RLIMIT_CORE)[1]))
print(run(job).stdout)
open("/proc/self/oom_score_adj", "w").write("321")
end = time.monotonic() + 20
while not run(job).stdout.endswith("321\\n") and time.monotonic() < end:
    pass
print(time.monotonic() < end)
"""
    assert host(source, str(tmp_path)).split() == ["0027", str(tmp_path), "8", "0", "True"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give its rights up")
def test_rights_that_the_host_gave_up_are_not_those_of_the_next_command() -> None:
    source = """
job = WorkerJob("/bin/sh", ["-c", "id -u; id -g; id -G"], cwd="/")
run(job)
os.setgroups([65533])
os.setgid(65534)
os.setuid(65534)
print(run(job).stdout)
print(run(job).usage.max_rss < 16 << 20)
"""
    assert host(source).split() == ["65534", "65534", "65534", "65533", "True"]


def test_a_host_that_waits_for_all_its_children_waits_no_longer_than_for_its_commands() -> None:
    source = """
run(WorkerJob("true"))
began = time.monotonic()
try:
    while True:
        os.wait()
except ChildProcessError:
    print(time.monotonic() - began < 2)
print(run(WorkerJob("echo", ["again"])).stdout)
"""
    assert host(source).split() == ["True", "again"]


def test_a_helper_that_is_killed_is_replaced_and_every_command_runs_once(tmp_path: Path) -> None:
    over = threading.Event()
    killed = 0

    def kill() -> None:
        nonlocal killed
        while not over.is_set():
            for helper in helpers(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(helper, signal.SIGKILL)
                    killed += 1
            time.sleep(0.002)

    killer = threading.Thread(target=kill)
    killer.start()
    ran = tmp_path / "ran"
    number = 0
    try:
        while killed < 10 or number < 100:
            number += 1
            result = run(WorkerJob("sh", ["-c", 'echo "$0" >> "$1"', str(number), str(ran)]))
            assert (result.exit_code, result.truncated) == (0, False)
    finally:
        over.set()
        killer.join()
    assert list(map(int, ran.read_text().split())) == list(range(1, number + 1))


def test_the_helper_ends_with_its_host() -> None:
    # Again and again, or the helper would end for want of work.
    command = [sys.executable, "-c", RUN + "while True: run(WorkerJob('true')); print(flush=True)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        helper: list[int] = []
        while not helper:
            assert process.stdout.readline() == b"\n"
            helper = helpers(process.pid)
        process.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/comm").exists() for pid in helper):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@fork_beside_threads
def test_a_program_that_is_never_loaded_holds_up_nobody_else(never_loaded: str) -> None:
    # More than the helper can have on their way at once.
    threads = [
        threading.Thread(target=pytest.raises, args=(WorkerTimeoutError, run, WorkerJob(never_loaded, timeout=10)))
        for _ in range(40)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    for _ in range(10):
        assert run(WorkerJob("true")).exit_code == 0
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert time.monotonic() - began < 8
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 60


@pytest.mark.anyio
async def test_a_program_that_is_never_loaded_can_be_ended(never_loaded: str) -> None:
    began = time.monotonic()
    with anyio.move_on_after(0.5) as scope:
        await LocalWorkerAdapter(backend="native").execute(WorkerJob(never_loaded))
    assert scope.cancelled_caught
    assert time.monotonic() - began < 10


def test_the_first_that_can_be_executed_is_taken(tmp_path: Path) -> None:
    for name in ("folder", "plain", "first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "program").mkdir()
    (tmp_path / "plain" / "program").write_text("#!/bin/sh\necho plain\n")
    for name in ("first", "second"):
        (tmp_path / name / "program").write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name / "program").chmod(0o755)
    path = "missing:folder:plain:first:second"
    result = run(WorkerJob("program", env={"PATH": path}, cwd=tmp_path))
    assert result.stdout == "first\n"
    with pytest.raises(WorkerSpawnError, match="may not be executed"):
        run(WorkerJob("program", env={"PATH": "missing:plain:folder"}, cwd=tmp_path))


def test_arguments_may_be_as_long_as_the_kernel_takes_them() -> None:
    args = ["x" * 100_000] * 15
    result = run(WorkerJob(PYTHON[0], [*PYTHON[1:], "-c", "import sys; print(sum(map(len, sys.argv)))", *args]))
    assert int(result.stdout) == 1_500_000 + len("-c")
    assert run(WorkerJob("echo", ["again"])).stdout == "again\n"
