"""What Python alone has to get right where the native core has other means."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from support.processes import (
    PYTHON,
    descendants_marked,
    fork_beside_threads,
    python,
    wait_until_marked,
    wait_until_none_is_marked,
)
from tailrace import Capture, LocalWorkerAdapter, UsageSample, WorkerError, WorkerJob, WorkerResult, WorkerTimeoutError
from tailrace._command.capture import PythonCapture
from tailrace._command.ending import ProcessNote
from tailrace._local import python as backend
from tailrace._local import python_pipe
from tailrace._local.event_fd import EventFd
from tailrace._local.python_pipe import PausableClock, PipeReader
from tailrace._local.tree_ending import Ending

pytestmark = pytest.mark.anyio


async def execute(command: tuple[str, list[str]], **options: Any) -> WorkerResult:
    return await LocalWorkerAdapter(backend="python").execute(WorkerJob(*command, **options))


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What does not happen before the test is over."""
    event = threading.Event()
    yield event
    event.set()


# Clocks.


def test_a_held_clock_goes_on_where_it_stood_and_from_zero_if_it_was_restarted_meanwhile() -> None:
    clock = PausableClock()
    clock.hold()
    assert clock.reaches(1) is None
    time.sleep(0.2)
    clock.release()
    shown = clock.reaches(1)
    assert shown is not None
    assert shown > time.monotonic() + 0.9
    clock.hold()
    clock.restart()
    clock.hold()
    clock.release()
    assert clock.reaches(1) is None
    time.sleep(0.2)
    now = time.monotonic()
    clock.release()
    shown = clock.reaches(1)
    assert shown is not None
    assert now + 1 <= shown < now + 1.15


async def test_a_slow_consumer_does_not_put_an_idle_limit_off_that_the_other_stream_has_kept_from_it(mark: str) -> None:
    """The silence begins when the command falls silent, not later by how long a callback took."""
    source = """
import os, threading, time
def fill():
    for _ in range(4): os.write(1, b"x" * (1 << 20))
thread = threading.Thread(target=fill)
thread.start()
while thread.is_alive():
    os.write(2, b".")
    time.sleep(0.05)
time.sleep(60)
"""
    silent_since = 0.0

    async def slow(_: memoryview) -> None:
        nonlocal silent_since
        await anyio.sleep(0.03)
        silent_since = time.monotonic()

    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(python(source, mark), stream="bytes", on_stdout=slow, idle_timeout=1, capture=Capture.none())
    assert caught.value.kind == "idle"
    assert time.monotonic() - silent_since < 10


def test_a_host_that_was_stopped_reads_before_it_declares_a_command_idle(mark: str) -> None:
    source = """
import anyio, sys
from tailrace import LocalWorkerAdapter, WorkerJob
script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.7; done"
job = WorkerJob("sh", ["-c", script, sys.argv[1]], idle_timeout=3)
print("started", flush=True)
print(anyio.run(LocalWorkerAdapter(backend="python").execute, job).exit_code)
"""
    with subprocess.Popen([sys.executable, "-c", source, mark], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        host.stdout.readline()
        wait_until_marked(mark, 2)
        host.send_signal(signal.SIGSTOP)
        time.sleep(4)
        host.send_signal(signal.SIGCONT)
        assert host.stdout.readline() == "0\n"


# Pipes.


@pytest.mark.parametrize("flag", [os.O_NONBLOCK, os.O_DIRECT], ids=["O_NONBLOCK", "O_DIRECT"])
async def test_what_a_command_does_to_its_end_of_the_pipe_loses_nothing(flag: int) -> None:
    source = f"""
import fcntl, os, select
fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | {flag})
poll = select.poll()
poll.register(1, select.POLLOUT)
for number in range(1000):
    view = memoryview(b"%05d" % number * 1200)
    while view:
        try:
            view = view[os.write(1, view):]
        except BlockingIOError:
            poll.poll()
"""
    result = await execute(python(source))
    assert result.stderr == ""
    assert result.stdout_bytes == b"".join(b"%05d" % number * 1200 for number in range(1000))


WRITES_FROM_NOWHERE = """
import ctypes, fcntl, mmap, os, platform, struct
userfault = ctypes.CDLL(None).syscall(323 if platform.machine() == "x86_64" else 282, os.O_CLOEXEC)
fcntl.ioctl(userfault, 0xC018AA3F, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
mapped = mmap.mmap(-1, 1 << 16)
address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
fcntl.ioctl(userfault, 0xC020AA00, bytearray(struct.pack("QQQQ", address, len(mapped), 1, 0)))
os.write(1, b"before")
ctypes.CDLL(None).write(1, ctypes.c_void_p(address), len(mapped))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, for memory that nobody provides")
async def test_a_command_that_is_stuck_while_it_writes_ends_by_its_limit_and_holds_up_no_other(mark: str) -> None:
    others: list[WorkerResult] = []

    async def run_others() -> None:
        await anyio.sleep(1)
        others.extend([await execute(("echo", ["hello"])) for _ in range(5)])

    started = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_others)
        with pytest.raises(WorkerTimeoutError) as caught:
            await execute(python(WRITES_FROM_NOWHERE, mark), timeout=2, kill_grace=1)
    assert time.monotonic() - started < 10
    assert caught.value.result is not None
    assert (caught.value.result.stdout, caught.value.result.stderr) == ("before", "")
    assert [result.stdout for result in others] == ["hello\n"] * 5


@pytest.mark.parametrize("size", [2**63, 2**64, 2**100])
async def test_captures_may_be_larger_than_any_memory(size: int) -> None:
    for capture in (Capture.full(memory=size), Capture.tail(size), Capture.head_tail(size, size)):
        result = await execute(("echo", ["hello"]), capture=capture)
        assert (result.stdout, result.truncated) == ("hello\n", False)


# Starting and spilling.


def never_answering(never: threading.Event) -> Callable[..., object]:
    def make(**_: object) -> object:
        never.wait()
        raise OSError(5, "Input/output error")

    return make


@pytest.fixture
def hung_program(tmp_path: Path) -> Iterator[str]:
    """A program that cannot be opened for as long as another process holds a lease on it."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho loaded\n")
    program.chmod(0o755)
    source = f"""
import fcntl, os, signal, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open({str(program)!r}, os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
os.write(1, b"leased\\n")
time.sleep(60)
"""
    with subprocess.Popen([*PYTHON, "-c", source], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"leased\n"
        yield str(program)
        holder.kill()


async def test_a_program_that_loads_for_ever_holds_up_nothing_else_and_ends_by_its_limit(hung_program: str) -> None:
    others_took = 99.0

    async def others() -> None:
        nonlocal others_took
        for _ in range(5):
            await execute(("true", []))
        others_took = time.monotonic() - started

    started = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        with pytest.raises(WorkerTimeoutError):
            await execute((hung_program, []), timeout=1)
        assert time.monotonic() - started < 8
    assert others_took < 8
    assert loaded_from(hung_program) == []


async def test_a_program_that_loads_for_ever_can_be_cancelled_and_leaves_nothing(hung_program: str) -> None:
    started = time.monotonic()
    with anyio.move_on_after(0.5):
        await execute((hung_program, []))
    assert time.monotonic() - started < 5
    assert loaded_from(hung_program) == []


def loaded_from(program: str) -> list[str]:
    """Return the children of this process that are loading a program, and have the command line of their parent."""
    own = Path("/proc/self/cmdline").read_bytes()
    children = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
    loaded = []
    for pid in children:
        # It may be gone by now.
        with contextlib.suppress(OSError):
            if Path("/proc", pid, "cmdline").read_bytes() in (own, program.encode()):
                loaded.append(pid)
    return loaded


async def test_a_temporary_folder_that_does_not_answer_holds_up_no_other_command_and_no_cancellation(
    monkeypatch: pytest.MonkeyPatch, never: threading.Event, mark: str
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", never_answering(never))
    spilling = python("import os, time\nos.write(1, b'x' * 100_000)\ntime.sleep(60)", mark)
    started = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: execute(spilling, capture=Capture.full(memory=10), kill_grace=1))
        await anyio.sleep(1)
        assert (await execute(("echo", ["hello"]))).stdout == "hello\n"
        tasks.cancel_scope.cancel()
    assert time.monotonic() - started < 8


async def test_output_that_could_not_be_kept_in_time_is_missing_from_the_result_of_a_limit(
    monkeypatch: pytest.MonkeyPatch, never: threading.Event, mark: str
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", never_answering(never))
    spilling = python("import os, time\nos.write(1, b'x' * 100_000)\ntime.sleep(60)", mark)
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(spilling, capture=Capture.full(memory=10), timeout=1, kill_grace=1)
    assert caught.value.result is not None
    assert caught.value.result.truncated
    assert caught.value.result.stdout == "x" * 10
    assert "its output is incomplete: a temporary file" in str(caught.value)


async def test_what_went_to_a_file_is_kept_though_the_pipe_cannot_be_read_any_more(
    monkeypatch: pytest.MonkeyPatch, never: threading.Event, mark: str
) -> None:
    monkeypatch.setattr(python_pipe, "_state", lambda _: "D")
    read = PipeReader._read

    def read_until_stuck(reader: PipeReader, poll: select.poll) -> bytes | None:
        if len(reader._capture) == 200_000:
            reader._do("read")
            never.wait()
        return read(reader, poll)

    monkeypatch.setattr(PipeReader, "_read", read_until_stuck)
    command = python("import os, time\nos.write(1, b'x' * 200_000)\ntime.sleep(60)", mark)
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(command, capture=Capture.full(memory=1000), timeout=2, kill_grace=1)
    assert caught.value.result is not None
    assert caught.value.result.truncated
    assert caught.value.result.stdout_bytes == b"x" * 200_000


async def test_nothing_is_missing_though_the_disk_was_slow_when_the_command_exited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = tempfile.TemporaryFile

    def make_slowly(**options: Any) -> Any:
        time.sleep(3.5)
        return make(**options)

    monkeypatch.setattr(tempfile, "TemporaryFile", make_slowly)
    result = await execute(("head", ["-c", "60000", "/dev/zero"]), capture=Capture.full(memory=10))
    assert (result.truncated, len(result.stdout_bytes)) == (False, 60000)


async def test_a_disk_that_hangs_when_the_command_has_exited_is_an_error_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", never_answering(never))
    with anyio.fail_after(50):
        with pytest.raises(WorkerError, match="could not be written: it does not answer"):
            await execute(("head", ["-c", "60000", "/dev/zero"]), capture=Capture.full(memory=10))


def test_a_pipe_of_which_somebody_else_reads_has_an_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x" * 100)
    stop = EventFd()
    over = threading.Event()
    reader = PipeReader(
        reading,
        PythonCapture(Capture.full()),
        is_heard=False,
        silence=PausableClock(),
        drain=PausableClock(),
        stop=stop,
        notify=over.set,
    )
    count = reader._count

    def count_and_steal() -> int:
        counted = count()
        os.read(reading, 60)
        return counted

    reader._count = count_and_steal  # type: ignore[method-assign]
    reader.stop()
    stop.set()
    reader.start()
    assert over.wait(10)
    assert reader.is_over
    assert reader.is_abandoned
    os.close(writing)
    stop.close()


# What is used.


async def test_a_tree_that_a_limit_ends_is_told_with_all_its_members(mark: str) -> None:
    source = "b = b'x' * (150 << 20)\nfor _ in range(5_000_000): pass\nimport time; time.sleep(60)"
    command = " ".join([*PYTHON, "-c", f'"{source}"'])
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(("bash", ["-c", f"{command} & {command} & setsid {command} & wait; :", mark]), timeout=8)
    assert caught.value.result is not None
    usage = caught.value.result.usage
    assert usage is not None
    assert usage.max_rss is not None
    assert usage.tree_max_rss is not None
    assert 150 << 20 <= usage.max_rss < 180 << 20
    assert 450 << 20 <= usage.tree_max_rss < 500 << 20
    assert usage.cpu_user + usage.cpu_system > 0.1


async def test_what_a_running_command_uses_is_told_while_it_runs(mark: str) -> None:
    samples: list[UsageSample] = []
    tasks = set()

    def on_usage(sample: UsageSample) -> None:
        samples.append(sample)
        tasks.add(threading.get_ident())

    source = "b = b'x' * (100 << 20)\nimport time; time.sleep(3)"
    result = await execute(python(source, mark), on_usage=on_usage)
    assert tasks == {threading.get_ident()}
    assert max(sample.memory for sample in samples) >= 100 << 20
    assert result.usage is not None
    assert result.usage.tree_max_rss is not None
    assert result.usage.tree_max_rss >= 100 << 20


async def test_what_a_callback_for_usage_raises_ends_the_command(mark: str) -> None:
    def raising(_: UsageSample) -> None:
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        await execute(("sleep", ["60"]), on_usage=raising)


async def test_the_memory_of_a_command_is_known_though_that_of_the_host_is_larger(mark: str) -> None:
    ballast = b"x" * (300 << 20)
    result = await execute(python("b = b'x' * (50 << 20)\nimport time; time.sleep(1)", mark))
    assert result.usage is not None
    assert result.usage.max_rss is not None
    assert 50 << 20 <= result.usage.max_rss < 80 << 20
    assert len(ballast) == 300 << 20


# Endings.


@fork_beside_threads
def test_the_exit_of_a_fork_leaves_the_commands_of_its_parent_alone() -> None:
    source = """
import asyncio, os, sys
from tailrace import LocalWorkerAdapter, WorkerJob
async def main():
    task = asyncio.create_task(LocalWorkerAdapter(backend="python").execute(WorkerJob("sleep", ["3"])))
    await asyncio.sleep(1)
    if os.fork() == 0:
        import atexit
        atexit._run_exitfuncs()
        os._exit(0)
    os.wait3(0)
    print((await task).exit_code)
asyncio.run(main())
"""
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True, timeout=200)
    assert (told.stdout, told.stderr) == ("0\n", "")


async def test_a_tree_is_seen_to_be_gone_where_there_are_no_descriptors_of_processes(
    monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    started = time.monotonic()
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(("sh", ["-c", "sleep 60 & setsid sleep 60 & wait", mark]), timeout=0.5, kill_grace=1)
    assert time.monotonic() - started < 5
    assert str(caught.value) == "sh was ended because it ran longer than 0.5 s"


def complain(_: str) -> None:
    raise LookupError("from the callback")


async def test_a_warning_that_nobody_can_take_replaces_no_cancellation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    note = ProcessNote(4711, "blender", "D", "")
    monkeypatch.setattr(backend._Execution, "_left_and_unseen", lambda _: ([note], []))
    with anyio.move_on_after(0.5) as scope:
        await execute(("sleep", ["60"]), on_warning=complain)
    assert scope.cancelled_caught
    assert "could not be ended: process 4711 (blender) in state D" in caplog.text
    with pytest.raises(LookupError, match="from the callback"):
        await execute(("true", []), on_warning=complain)


async def test_a_limit_is_told_of_as_one_though_the_end_was_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    monkeypatch.setattr(Ending, "latest", property(lambda ending: ending.kill_at - 0.9))
    command = ("sh", ["-c", "trap '' TERM; while :; do sleep 1; done", mark])
    with pytest.raises(WorkerTimeoutError, match="gave up waiting for the end of the command"):
        await execute(command, timeout=0.5, kill_grace=1, on_warning=complain)
    await anyio.to_thread.run_sync(wait_until_none_is_marked, mark)


def test_a_signal_handler_may_kill_everything_while_a_tree_is_about_to_be_ended() -> None:
    source = """
import anyio, os, signal
from tailrace import LocalWorkerAdapter, WorkerJob, kill_all_commands
from tailrace._local import tree_ending
signal.signal(signal.SIGTERM, lambda *_: (kill_all_commands(1), os._exit(9)))
class Endings(list):
    def append(self, ending):
        super().append(ending)
        os.kill(os.getpid(), signal.SIGTERM)
async def main():
    tree_ending._get()._endings = Endings()
    with anyio.move_on_after(0.5):
        await LocalWorkerAdapter(backend="python").execute(WorkerJob("sleep", ["60"]))
anyio.run(main)
"""
    assert subprocess.run([sys.executable, "-c", source], check=False, timeout=30).returncode == 9


async def test_before_linux_6_9_what_is_left_of_a_group_is_ended_without_a_look_by_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    send, scan = signal.pidfd_send_signal, os.scandir

    def refuse_flags(pidfd: int, number: int, info: None = None, flags: int = 0) -> None:
        if flags:
            raise OSError(errno.EINVAL, "Invalid argument")
        send(pidfd, number, info, flags)

    def scan_elsewhere(path: str) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return scan(path)

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse_flags)
    monkeypatch.setattr(os, "scandir", scan_elsewhere)
    started = time.monotonic()
    for _ in range(10):
        await execute(("true", []))
    assert (await execute(("sh", ["-c", "sh -c 'sleep 60; :' \"$0\" > /dev/null 2>&1 & exit 3", mark]))).exit_code == 3
    assert time.monotonic() - started < 5
    monkeypatch.undo()
    assert descendants_marked(mark) == []


async def test_commands_that_run_keep_no_other_from_ending_where_processes_have_no_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    async with anyio.create_task_group() as tasks:
        for _ in range(45):
            tasks.start_soon(execute, ("sleep", ["60"]))
        await anyio.sleep(1)
        with anyio.fail_after(20):
            assert (await execute(("true", []))).exit_code == 0
        tasks.cancel_scope.cancel()


async def test_many_trees_are_ended_at_once_in_the_time_of_one(mark: str) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                script = "trap 'sleep 1; exit' TERM; while :; do sleep 0.1; done"
                tasks.start_soon(execute, ("bash", ["-c", script, mark]))
            await anyio.to_thread.run_sync(wait_until_marked, mark, 40)
            await anyio.sleep(0.5)
            started = time.monotonic()
            scope.cancel()
    assert time.monotonic() - started < 10
    assert descendants_marked(mark) == []
