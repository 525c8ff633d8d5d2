"""Nothing that hangs around a command holds up what is done with it, or with others. Run with `make stress`."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from support.jobs import job
from support.processes import DAEMON, PYTHON, descendants_marked, python, wait_until_none_is_marked
from support.sick_machine import LOCKS_ITS_MEMORY, SickMachine, state_of, wait_until

pytestmark = [pytest.mark.stress, pytest.mark.timeout(90)]

SLACK = 3.0
"""What more a busy machine may take than was promised, in seconds."""
UNKILLABLE = 12.0
"""How long after the grace a call may take whose command cannot be killed, in seconds."""

SLEEPING = "echo ready; sleep 1000 & wait"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1; done"


@pytest.fixture(params=["native", "python"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["as there are", "hidden"])
def cgroups(request: pytest.FixtureRequest) -> Any:
    return request.param


with_these_cgroups = pytest.mark.parametrize("cgroups", ["as there are"])
on_both_loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


@pytest.fixture
def machine(tmp_path: Path, cgroups: Literal["as there are", "hidden"], mark: str) -> Iterator[SickMachine]:
    """A sick machine, after which nothing with `mark` in its command line is left."""
    with SickMachine(tmp_path, cgroups) as machine:
        yield machine


def shell(script: str, mark: str) -> list[str]:
    return ["sh", "-c", script, mark]


def run_job(machine: SickMachine, backend: str, script: str, mark: str, *options: str) -> Any:
    path = machine.folder / "job.json"
    path.write_text(job(f"{script} # {mark}").model_dump_json(by_alias=True))
    return machine.tailrace(backend, "job", "run", str(path), *options)


# A process that cannot be looked at.

hanging = pytest.mark.parametrize("hung", ["environ", "cmdline", "stat", "memory"])
hanging_for_good = pytest.mark.parametrize("hung", ["environ", "memory"])


@hanging
def test_a_limit_of_a_job_ends_its_command_beside_a_process_that_cannot_be_looked_at(
    machine: SickMachine, backend: str, cgroups: str, hung: str, mark: str
) -> None:
    stranger = machine.stranger(hung)
    host = run_job(machine, backend, SLEEPING, mark, "--timeout", "3")
    assert host.ends(3 + 5 + 1 + SLACK) == 1
    machine.recover()
    assert descendants_marked(mark) == []
    assert "ran longer than 3 s" in host.stderr
    # The command's cgroup tells who belongs to it; nothing reads another's arguments.
    if cgroups == "hidden" and hung != "cmdline":
        assert str(stranger) in host.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@hanging_for_good
def test_a_signal_ends_a_job_beside_a_process_that_cannot_be_looked_at(
    machine: SickMachine, backend: str, hung: str, number: signal.Signals, status: int, mark: str
) -> None:
    machine.stranger(hung)
    host = run_job(machine, backend, SLEEPING, mark)
    host.says("ready")
    host.process.send_signal(number)
    assert host.ends(5 + 1 + SLACK) == status
    machine.recover()
    assert descendants_marked(mark) == []


@hanging_for_good
def test_a_second_ctrl_c_kills_at_once_beside_a_process_that_cannot_be_looked_at(
    machine: SickMachine, backend: str, hung: str, mark: str
) -> None:
    machine.stranger(hung)
    host = run_job(machine, backend, STUBBORN, mark)
    host.says("ready")
    host.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    host.process.send_signal(signal.SIGINT)
    assert host.ends(2 + SLACK) == 130
    machine.recover()
    wait_until_none_is_marked(mark)


@hanging_for_good
@on_both_loops
def test_a_cancellation_comes_out_beside_a_process_that_cannot_be_looked_at(
    machine: SickMachine, backend: str, cgroups: str, loop: str, hung: str, mark: str
) -> None:
    stranger = machine.stranger(hung)
    host = machine.host("cancellation", backend, loop, 0.5, 1, *shell(STUBBORN, mark))
    report = host.reports(30)
    machine.recover()
    assert descendants_marked(mark) == []
    assert report["elapsed"] < 1 + 1 + SLACK
    assert report["gap"] < 2
    if cgroups == "hidden":
        assert any(str(stranger) in warning for warning in report["warnings"])


@hanging_for_good
def test_a_daemon_is_found_beside_a_process_that_cannot_be_looked_at(
    machine: SickMachine, backend: str, hung: str, mark: str
) -> None:
    machine.stranger(hung)
    command, args = python(DAEMON, mark)
    report = machine.host("limit", backend, "asyncio", 3, 1, command, *args).reports(30)
    machine.recover()
    assert descendants_marked(mark) == []
    assert report["elapsed"] < 1 + 1 + SLACK


@hanging_for_good
def test_a_process_that_could_not_be_looked_at_is_waited_for_once(
    machine: SickMachine, backend: str, hung: str
) -> None:
    machine.stranger(hung)
    report = machine.host("repeated_limits", backend, "asyncio", 12).reports(40)
    assert report["elapsed"] < 5 + SLACK
    assert report["threads"] < 10


@hanging_for_good
def test_killing_the_host_leaves_no_daemon_beside_a_process_that_cannot_be_looked_at(
    machine: SickMachine, hung: str, mark: str
) -> None:
    machine.stranger(hung)
    command, args = python(DAEMON, mark)
    host = machine.host("for_ever", "native", "asyncio", command, *args)
    host.says("started")
    # The watchdog is started beside the first command.
    time.sleep(1)
    host.process.kill()
    host.ends(10)
    if hung == "memory":
        # Its arguments cannot be read from here either.
        time.sleep(10)
        machine.recover()
        assert descendants_marked(mark) == []
    else:
        wait_until_none_is_marked(mark)


@on_both_loops
def test_a_command_whose_memory_cannot_be_looked_at_holds_up_nothing(
    machine: SickMachine, backend: str, loop: str
) -> None:
    path = machine.hung_disk(memory=b"x" * 4096).path / "memory"
    command, args = python(LOCKS_ITS_MEMORY, str(path))
    report = machine.host("limit", backend, loop, 3, 1, command, *args).reports(40)
    assert report["elapsed"] < 1 + UNKILLABLE + SLACK
    assert report["gap"] < 2
    assert "could not be ended" in report["error"]


# A command that cannot be killed.


def test_a_limit_returns_though_the_command_cannot_be_killed_and_says_what_is_left(
    machine: SickMachine, backend: str, mark: str
) -> None:
    host = machine.host("limit", backend, "asyncio", 3, 1, *shell("echo ready; exec sleep 1000", mark))
    host.says("started")
    pid = frozen(machine, host.pid, b"sleep\0001000")
    report = host.reports(40)
    assert report["elapsed"] < 1 + UNKILLABLE + SLACK
    assert report["gap"] < 2
    assert report["stdout"] == "ready\n"
    assert f"process {pid} (sleep) in state D" in report["error"]
    machine.recover()
    wait_until(lambda: state_of(pid) in ("", "Z"), "what was frozen is dead")


@on_both_loops
def test_a_cancellation_returns_though_the_command_cannot_be_killed_and_says_what_is_left(
    machine: SickMachine, backend: str, loop: str, mark: str
) -> None:
    host = machine.host("cancellation", backend, loop, 2, 1, *shell("echo ready; exec sleep 1000", mark))
    host.says("started")
    pid = frozen(machine, host.pid, b"sleep\0001000")
    report = host.reports(40)
    assert report["elapsed"] < 1 + UNKILLABLE + SLACK
    assert report["gap"] < 2
    assert any(f"process {pid} (sleep) in state D" in warning for warning in report["warnings"])
    machine.recover()
    wait_until(lambda: state_of(pid) in ("", "Z"), "what was frozen is dead")


def test_a_job_says_what_is_left_of_a_command_that_cannot_be_killed(
    machine: SickMachine, backend: str, mark: str
) -> None:
    host = run_job(machine, backend, "echo ready; exec sleep 1000", mark)
    host.says("ready")
    pid = frozen(machine, host.pid, b"sleep\0001000")
    host.process.send_signal(signal.SIGINT)
    assert host.ends(5 + UNKILLABLE + SLACK) == 130
    assert f"process {pid} (sleep) in state D" in host.stderr


def frozen(machine: SickMachine, host: int, words: bytes) -> int:
    """Freeze the child of the host that has these words in its command line, and return its number."""

    def is_it(pid: str) -> bool:
        try:
            return words in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    found: list[str] = []

    def find() -> bool:
        found[:] = [pid for pid in children_of(host) if is_it(pid)]
        return bool(found)

    wait_until(find, "the command runs")
    machine.freezer().freeze(int(found[0]))
    return int(found[0])


def children_of(pid: int) -> list[str]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    children = [child for path in lists for child in path.read_text().split()]
    return children + [grandchild for child in children for grandchild in children_of(int(child))]


# A pipe that cannot be read.

READ = {"before\n", "before\nunread\n"}
"""What was to be had: the second only when the writer has been killed."""

stuck_writers = pytest.mark.parametrize("stuck", ["killable", "unkillable"])

# Its pipe is empty when it gets stuck, so that nobody reads before everything is over.
HANGS_WHEN_READ_AT_THE_END = """
import ctypes, mmap, os, sys, time
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE)
os.write(1, b"before\\n")
time.sleep(0.3)
ctypes.CDLL(None).write(1, ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(mapped))), len(mapped))
"""


@with_these_cgroups
def test_a_command_alone_ends_by_its_limit_though_its_pipe_cannot_be_read_at_the_end(
    machine: SickMachine, backend: str
) -> None:
    disk = machine.hung_disk(content=b"x" * 65536)
    command = [*PYTHON, "-c", HANGS_WHEN_READ_AT_THE_END, str(disk.path / "content")]
    report = machine.host("limited", backend, "asyncio", *command).reports(40)
    assert report["stdout"] == "before\n"
    assert report["elapsed"] < 1 + UNKILLABLE + SLACK


@stuck_writers
@on_both_loops
@with_these_cgroups
def test_a_pipe_that_cannot_be_read_holds_up_no_other_command(
    machine: SickMachine, backend: str, loop: str, stuck: str
) -> None:
    report = machine.host("stuck_pipes", backend, loop, 1, "limit", *machine.writer(stuck)).reports(40)
    assert report["gap"] < 2
    assert report["late"] < 1 + SLACK
    (end,) = report["ends"]
    assert end["stdout"] in READ
    assert end["elapsed"] < 1 + (UNKILLABLE if stuck == "unkillable" else 1) + SLACK
    if stuck == "unkillable":
        assert "could not be ended" in end["error"]


@stuck_writers
@with_these_cgroups
def test_twenty_pipes_that_cannot_be_read_hold_up_no_other_command(
    machine: SickMachine, backend: str, stuck: str
) -> None:
    report = machine.host("stuck_pipes", backend, "asyncio", 20, "limit", *machine.writer(stuck)).reports(50)
    assert report["gap"] < 2
    assert report["late"] < 1 + SLACK
    assert len(report["ends"]) == 20
    assert {end["stdout"] for end in report["ends"]} <= READ
    slowest = max(end["elapsed"] for end in report["ends"])
    assert slowest < 1 + (UNKILLABLE if stuck == "unkillable" else 1) + 2 * SLACK


@stuck_writers
@with_these_cgroups
def test_a_command_whose_pipe_cannot_be_read_is_cancelled_in_bounded_time(
    machine: SickMachine, backend: str, stuck: str
) -> None:
    report = machine.host("stuck_pipes", backend, "asyncio", 1, "cancellation", *machine.writer(stuck)).reports(40)
    assert report["ends"][0]["elapsed"] < 1 + (UNKILLABLE if stuck == "unkillable" else 1) + SLACK
    assert report["gap"] < 2


@with_these_cgroups
@pytest.mark.parametrize("seconds", [1, 5])
def test_a_pipe_that_could_not_be_read_for_a_while_loses_nothing(
    machine: SickMachine, backend: str, seconds: int
) -> None:
    content = bytes(range(33, 127)) * 20_000
    expected = machine.folder / "expected"
    expected.write_bytes(b"before\nunread\n" + content + b"after\n")
    host = machine.host("whole_output", backend, "asyncio", expected, *machine.writer("unkillable", content))
    host.says("started")
    time.sleep(seconds)
    machine.disk.release()
    report = host.reports(20)
    assert (report["exit_code"], report["is_whole"]) == (0, True)
    assert report["gap"] < 2
    assert host.ends(10) == 0


@stuck_writers
@with_these_cgroups
def test_a_child_that_is_stuck_when_its_command_exits_holds_up_nobody(
    machine: SickMachine, backend: str, stuck: str
) -> None:
    script = '"$@" & sleep 2; exit 0'
    command = ["sh", "-c", script, "sh", *machine.writer(stuck)]
    report = machine.host("ended_beside_others", backend, "asyncio", *command).reports(40)
    assert report["gap"] < 2
    assert report["stdout"] in READ
    assert report["truncated"]
    assert report["elapsed"] < 2 + 2 + 1 + (UNKILLABLE if stuck == "unkillable" else 1) + SLACK


@with_these_cgroups
def test_a_loaded_machine_is_no_sick_one(machine: SickMachine, backend: str) -> None:
    report = machine.host("under_load", backend, "asyncio", 40).reports(80)
    ended = [["sh was ended because it ran longer than 1 s", []]] * 5
    assert report == {"written": [10_000_000] * 4, "ticks": ["." * 10] * 4, "ended": ended}


# A program that is never loaded, a disk on which nothing can be made.


@pytest.mark.parametrize("how", ["limit", "cancellation"])
@pytest.mark.parametrize("why", ["disk", "lease"])
@with_these_cgroups
def test_a_program_that_loads_for_ever_holds_up_no_other_command(
    machine: SickMachine, backend: str, why: str, how: str
) -> None:
    if why == "disk":
        program = machine.hung_disk(program=b"#!/bin/sh\n").path / "program"
    else:
        program = machine.folder / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        machine.leased(program)
    report = machine.host("loading", backend, "asyncio", how, program).reports(40)
    assert report["start"] < 1
    assert report["cancellation"] < 1 + SLACK
    assert report["late"] < 1 + SLACK
    assert report["gap"] < 2
    assert report["fork"] < 0.5
    assert report["stuck"] < 1 + (UNKILLABLE if why == "disk" else 1) + SLACK


@with_these_cgroups
@on_both_loops
@pytest.mark.parametrize("then", ["; sleep 1000", ""], ids=["running", "exited"])
def test_a_hung_temporary_folder_holds_up_only_who_needs_it(
    machine: SickMachine, backend: str, loop: str, then: str
) -> None:
    folder = machine.hung_disk().path
    command = ["sh", "-c", f"head -c 1000000 /dev/zero{then}"]
    report = machine.host("spilling", backend, loop, *command, TMPDIR=str(folder)).reports(40)
    assert report["gap"] < 2
    assert report["elapsed"] < 1 + 1 + SLACK


# Logs.


def waits_for_disk(pid: int) -> bool:
    """Return whether a thread of the process waits for a file system in user space."""
    # For an answer, or for its turn to ask (fs/fuse/dev.c in Linux).
    places = ("request_wait_answer", "fuse_get_req")
    return any(path.read_text() in places for path in Path(f"/proc/{pid}/task").glob("*/wchan"))


def run_job_with_hung_logs(machine: SickMachine, mark: str) -> tuple[Any, Path]:
    """Return a job that waits for the disk of its logs, and their folder."""
    disk = machine.hung_disk()
    disk.fall_silent()
    host = run_job(machine, "native", "echo rendered", mark, "--log-dir", str(disk.path))
    wait_until(lambda: waits_for_disk(host.pid), "a thread hangs", 40)
    return host, disk.path


@with_these_cgroups
def test_a_job_runs_without_logs_on_a_hung_disk_and_says_so(machine: SickMachine, mark: str) -> None:
    host, logs = run_job_with_hung_logs(machine, mark)
    assert host.ends(30 + 1 + SLACK) == 0
    assert host.stdout == "rendered\n"
    assert re.search(rf"the log {logs} cannot be written: it did not answer for 3\d s", host.stderr)
    assert "1 chunk done, 1 log incomplete" in host.stderr


@with_these_cgroups
def test_ctrl_c_ends_a_job_whose_log_disk_hangs(machine: SickMachine, mark: str) -> None:
    host, _ = run_job_with_hung_logs(machine, mark)
    host.process.send_signal(signal.SIGINT)
    assert host.ends(1 + 1 + SLACK) == 130
    assert host.stdout == ""


# Numbers and namespaces.


# The host ignores SIGCHLD, so that the number of a command is free as soon as that has ended, and a stranger gets it.
REUSES_A_NUMBER = """
import os, signal, subprocess, sys, time
backend, way = sys.argv[1:]
source = '''
import anyio, signal, sys
from tailrace import LocalWorkerAdapter, WorkerError, WorkerJob
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
async def main():
    script = "echo $$; " + sys.argv[2]
    say = lambda text: print(text, end="", flush=True)
    job = WorkerJob("sh", ["-c", script], on_stdout=say, timeout=4, kill_grace=0.5)
    try:
        await LocalWorkerAdapter(backend=sys.argv[1]).execute(job)
    except WorkerError as error:
        print(type(error).__name__, flush=True)
anyio.run(main)
'''
host = subprocess.Popen([sys.executable, "-c", source, backend, way], stdout=subprocess.PIPE, text=True)
number = int(host.stdout.readline())
if way.startswith("sleep"):
    os.kill(host.pid, signal.SIGSTOP)
    time.sleep(1)
deadline = time.monotonic() + 3
stranger = 0
while stranger != number:
    assert time.monotonic() < deadline, "the number was not free"
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(number - 1))
    stranger = os.fork()
    if stranger == 0:
        if os.getpid() == number:
            os.setsid()
            time.sleep(100)
        os._exit(0)
    if stranger != number:
        os.waitpid(stranger, 0)
if way.startswith("sleep"):
    time.sleep(0.3)
    os.kill(host.pid, signal.SIGCONT)
host.wait(30)
is_alive = os.waitpid(stranger, os.WNOHANG) == (0, 0)
print("alive" if is_alive else "signalled", host.stdout.read().strip())
"""


@pytest.mark.parametrize(
    "way",
    ["setsid sleep 1000 & exit", "sleep 0.5", "setsid sh -c 'while :; do echo; sleep 0.2; done' & exit"],
    ids=["a daemon keeps the pipe", "the host was stopped", "a limit comes later"],
)
def test_a_stranger_that_got_the_number_of_an_ended_command_is_not_signalled(
    machine: SickMachine, backend: str, way: str
) -> None:
    options = ["--pid", "--fork", "--mount-proc", "--kill-child"]
    host = machine.start("unshare", *options, PYTHON[0], "-c", REUSES_A_NUMBER, backend, way)
    assert host.ends(40) == 0, host.stderr
    assert host.stdout.splitlines()[-1].split() == ["alive", "WorkerError"]


def test_a_limit_ends_the_tree_in_a_pid_namespace_with_the_outer_proc(
    machine: SickMachine, backend: str, mark: str
) -> None:
    command, args = python(DAEMON, mark)
    via = ("unshare", "--pid", "--fork", "--kill-child")
    report = machine.host("limit_and_rest", backend, "asyncio", 2, 1, command, *args, via=via).reports(40)
    # The namespace ends with the host; a daemon must have ended before.
    assert report["left"] == []
    assert report["elapsed"] < 1 + SLACK


@with_these_cgroups
def test_two_hundred_cancellations_at_once_take_little_processor_time(machine: SickMachine, backend: str) -> None:
    report = machine.host("cancellations", backend, "asyncio", 200).reports(80)
    assert 6 < report["elapsed"] < 25
    # 0.4 to 0.8 s; two to five before what is looked at served all of them.
    assert report["processor"] < (1.2 if backend == "native" else 2)
