"""A command that is killed because the memory is full is told apart from others that are killed."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

from support.processes import python
from tailrace import LocalWorkerAdapter, MemoryReport, ProcessMemory, WorkerJob, WorkerResult
from tailrace._command.ending import describe_exit
from tailrace._local.memory_watch import MemoryWatch, largest

pytestmark = pytest.mark.anyio

MIB = 2**20
LIMIT = 128 * MIB

GREEDY = """
import sys, time
time.sleep(0.5)
blocks = []
for _ in range(512):
    blocks.append(bytearray(b"x" * 2**20))
    time.sleep(0.01)
"""


@pytest.fixture
def small_group() -> Iterator[Path]:
    """Return a control group with little memory."""
    for top, limit, swap in (
        (Path("/sys/fs/cgroup"), "memory.max", "memory.swap.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    ):
        folder = top / f"tailrace-test-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
        except OSError:
            continue
        # Where the groups are of version 1, the folder above them is none.
        if not (folder / limit).exists():
            folder.rmdir()
            continue
        (folder / limit).write_text(str(LIMIT))
        if (folder / swap).exists():
            (folder / swap).write_text(str(LIMIT) if "memsw" in swap else "0")
        yield folder
        folder.rmdir()
        return
    pytest.skip("no control group with a limit for memory can be made here: that takes root, and the controller")


async def execute(backend: Literal["native", "python"], words: list[str], **options: Any) -> WorkerResult:
    return await LocalWorkerAdapter(backend=backend).execute(WorkerJob(words[0], words[1:], **options))


def in_group(folder: Path, script: str) -> list[str]:
    return ["sh", "-c", f'echo $$ > "{folder}/cgroup.procs"; {script}', "sh", *_flat(python(GREEDY))]


def _flat(command: tuple[str, list[str]]) -> list[str]:
    return [command[0], *command[1]]


@pytest.mark.parametrize("backend", ["native", "python"])
async def test_a_command_that_the_kernel_kills_for_its_memory_is_told_apart(
    backend: Literal["native", "python"], small_group: Path
) -> None:
    result = await execute(backend, in_group(small_group, 'exec "$@"'))
    report = result.killed_for_memory
    assert result.exit_code == -signal.SIGKILL
    assert report is not None
    assert report.kernel_killed
    [process] = report.processes
    assert process.name.startswith("python")
    assert LIMIT // 4 < process.memory < LIMIT * 1.2
    assert report.age is not None
    assert report.age < 10
    assert "it was killed because the memory was full" in describe_exit("greedy", result.exit_code, report)


@pytest.mark.parametrize("backend", ["native", "python"])
async def test_what_a_shell_ran_is_named_too(backend: Literal["native", "python"], small_group: Path) -> None:
    result = await execute(backend, in_group(small_group, '"$@"; exit $?'))
    report = result.killed_for_memory
    assert result.exit_code == 137
    assert report is not None
    assert report.processes[0].name.startswith("python")
    assert describe_exit("sh", 137, report).startswith(
        "sh exited with status 137: what it ran was killed because the memory was full ("
    )


@pytest.mark.parametrize("backend", ["native", "python"])
@pytest.mark.parametrize("script", ["kill -9 $$", "exit 137"])
async def test_who_is_killed_by_somebody_else_was_not_killed_for_memory(
    script: str, backend: Literal["native", "python"]
) -> None:
    # Another test's death of this kind is not to count.
    before = _oom_kills()
    result = await execute(backend, ["sh", "-c", f"sleep 1; {script}"])
    assert _oom_kills() > before or result.killed_for_memory is None or result.killed_for_memory.kernel_killed


@pytest.mark.parametrize("backend", ["native", "python"])
async def test_who_is_killed_by_a_limit_was_not_killed_for_memory(backend: Literal["native", "python"]) -> None:
    with pytest.raises(Exception, match="ran longer") as caught:
        await execute(backend, ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], timeout=1, kill_grace=0.1)
    result = getattr(caught.value, "result", None)
    assert isinstance(result, WorkerResult)
    assert (result.exit_code, result.killed_for_memory) == (-signal.SIGKILL, None)


def _oom_kills() -> int:
    lines = Path("/proc/vmstat").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


class Machine:
    """A /proc and control groups that a test writes."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.group = folder / "groups/farm/job"
        (self.proc / "self").mkdir(parents=True)
        self.group.mkdir(parents=True)
        (self.proc / "self/cgroup").write_text("0::/farm/job\n")
        mount = f"30 23 0:26 / {folder / 'groups'} rw - cgroup2 cgroup2 rw\n"
        (self.proc / "self/mountinfo").write_text(mount)
        self.set_memory(available=900)
        self.set_kills(5)
        self.now = 1000.0

    def watch(self) -> MemoryWatch:
        return MemoryWatch(self.proc, lambda: self.now)

    def set_memory(self, *, available: int) -> None:
        (self.proc / "meminfo").write_text(f"MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n")

    def set_kills(self, count: int) -> None:
        (self.proc / "vmstat").write_text(f"oom_kill_x 9\noom_kill {count}\npgfault 3\n")

    def set_group(self, folder: Path, *, current: int, files: int = 0, kills: int = 0) -> None:
        (folder / "memory.max").write_text("1000\n")
        (folder / "memory.current").write_text(f"{current}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\nactive_file 0\n")
        (folder / "memory.events").write_text(f"oom 9\noom_kill {kills}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_death_that_the_machine_counted_just_now_counts(machine: Machine) -> None:
    watch = machine.watch()
    watch.glance()
    assert watch.report([], certain=True) is None
    machine.set_kills(6)
    machine.now += 1
    watch.glance()
    report = watch.report([ProcessMemory(7, "greedy", 3)], certain=True)
    assert report == MemoryReport(True, 900 * 1024, 1000 * 1024, (ProcessMemory(7, "greedy", 3),), (), 0.0)


def test_a_death_of_long_ago_does_not_count(machine: Machine) -> None:
    watch = machine.watch()
    watch.glance()
    machine.set_kills(6)
    for _ in range(12):
        machine.now += 2
        watch.glance()
    assert watch.report([], certain=True) is None


def test_a_death_in_the_own_control_group_counts_where_the_machine_tells_of_none(
    machine: Machine,
) -> None:
    (machine.proc / "vmstat").unlink()
    machine.set_group(machine.group, current=100)
    watch = machine.watch()
    watch.glance()
    machine.set_group(machine.group, current=100, kills=1)
    report = watch.report([], certain=True)
    assert report is not None
    assert report.kernel_killed


def test_who_is_killed_while_nearly_nothing_is_left_was_killed_for_that(machine: Machine) -> None:
    machine.set_memory(available=40)
    watch = machine.watch()
    assert watch.glance()
    watch.tell(ProcessMemory(number, f"p{number}", number) for number in range(1, 9))
    machine.now += 1.5
    report = watch.report([], certain=False)
    assert report is not None
    assert not report.kernel_killed
    assert [process.pid for process in report.machine_processes] == [8, 7, 6, 5, 4]
    assert report.age == 1.5
    # A shell's 137 may be anything, and what was seen long ago too.
    assert watch.report([], certain=True) is None
    machine.now += 10
    assert watch.report([], certain=False) is None


def test_a_control_group_that_is_full_counts_as_a_full_machine(machine: Machine) -> None:
    machine.set_group(machine.group.parent, current=970)
    watch = machine.watch()
    watch.glance()
    report = watch.report([], certain=False)
    assert report is not None
    assert (report.available, report.total) == (30, 1000)


def test_what_a_group_keeps_of_files_is_not_used(machine: Machine) -> None:
    machine.set_group(machine.group, current=970, files=400)
    watch = machine.watch()
    assert not watch.glance()
    assert watch.report([], certain=False) is None


def test_the_largest_are_looked_at_only_while_memory_is_low_and_seldom(machine: Machine) -> None:
    watch = machine.watch()
    told = []
    for second in range(12):
        machine.set_memory(available=90 if second >= 4 else 200)
        machine.now += 1
        told.append(watch.glance())
        if told[-1]:
            watch.tell([])
    assert told == [False] * 4 + [True, False] * 4


def test_a_machine_that_tells_nothing_has_no_report(tmp_path: Path) -> None:
    watch = MemoryWatch(tmp_path)
    assert not watch.glance()
    assert watch.report([], certain=False) is None


def test_a_report_is_told_in_one_line() -> None:
    processes = largest([ProcessMemory(1, "a", 5), ProcessMemory(2, "blender", 60 * 2**30)])
    report = MemoryReport(True, 200 * MIB, 64 * 2**30, tuple(processes), (ProcessMemory(9, "x", MIB),), 0.44)
    assert describe_exit("blender", -9, report) == (
        "blender was ended by signal 9 (SIGKILL): it was killed because the memory was full (0.4 s before: 200.0 MiB of"
        " 64.0 GiB available; its largest processes: blender (2) 60.0 GiB, a (1) 0.0 KiB;"
        " the largest here: x (9) 1.0 MiB)"
    )
    assert describe_exit("blender", -9, MemoryReport(True)).endswith("because the memory was full")


def test_a_sample_costs_next_to_nothing() -> None:
    watch = MemoryWatch()
    began = os.times()
    for _ in range(200):
        watch._glanced = None
        watch.glance()
    used = os.times()
    # Twice a second: less than a thousandth of a processor.
    assert (used.user + used.system - began.user - began.system) / 200 < 0.002


async def test_it_is_looked_at_only_while_commands_run() -> None:
    from tailrace._local import usage_sampler

    await execute("python", ["sleep", "0.3"])
    await anyio.sleep(1)
    glanced = usage_sampler._sampler.memory._glanced
    await anyio.sleep(1.5)
    assert usage_sampler._sampler.memory._glanced == glanced
