"""Whatever ends a command, nothing of it is left and the call returns in time."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest

from support.loops import on_asyncio, on_every_loop, on_one_loop
from support.processes import DAEMON, descendants_marked, descriptors_when_idle, python, wait_until_marked
from tailrace import (
    LocalWorkerAdapter,
    WorkerError,
    WorkerJob,
    WorkerResult,
    WorkerSpawnError,
    WorkerTimeoutError,
)

pytestmark = pytest.mark.anyio

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"ready")
time.sleep(60)
"""


backend: Literal["native", "python"]


@pytest.fixture(autouse=True, params=["native", "python"])
def _choose_backend(request: pytest.FixtureRequest) -> None:
    global backend
    backend = request.param


async def execute(command: tuple[str, list[str]], **options: Any) -> WorkerResult:
    return await LocalWorkerAdapter(backend=backend).execute(WorkerJob(*command, **options))


def shell(script: str, mark: str) -> tuple[str, list[str]]:
    return "/bin/bash", ["-c", script, mark]


async def test_exit_codes_are_those_of_subprocess() -> None:
    assert (await execute(("sh", ["-c", "exit 7"]))).exit_code == 7
    assert (await execute(("sh", ["-c", "kill -9 $$"]))).exit_code == -9


@on_every_loop
@pytest.mark.parametrize(("limit", "kind"), [("timeout", "total"), ("idle_timeout", "idle")])
async def test_a_limit_ends_the_whole_tree_and_keeps_the_output_so_far(limit: str, kind: str, mark: str) -> None:
    received: list[str] = []
    script = "echo before; sleep 60 & sleep 60"
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(shell(script, mark), on_stdout=received.append, **{limit: 1.0})
    assert caught.value.kind == kind
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "before\n" == "".join(received)
    assert caught.value.result.exit_code == -signal.SIGTERM


async def test_output_holds_the_idle_limit_off(mark: str) -> None:
    result = await execute(shell("for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done", mark), idle_timeout=0.8)
    assert result.exit_code == 0


async def test_the_idle_clock_stands_still_while_a_slow_callback_keeps_us_from_reading(mark: str) -> None:
    slept = False

    async def slow(_: memoryview) -> None:
        nonlocal slept
        if not slept:
            slept = True
            await anyio.sleep(1.5)

    source = "import os\nfor _ in range(40): os.write(1, b'x' * (1 << 20))"
    result = await execute(python(source, mark), stream="bytes", on_stdout=slow, idle_timeout=0.7)
    assert result.exit_code == 0


async def test_all_that_was_read_at_the_end_is_not_called_truncated(mark: str) -> None:
    async def slow(_: memoryview) -> None:
        await anyio.sleep(2)

    # More than is read ahead of a callback, and with what fits into the pipe all that is written.
    size = 76 << 16 if backend == "native" else 16 << 16
    source = f"import os, time\nfor _ in range({size >> 16}): os.write(1, b'x' * 65536)\ntime.sleep(60)"
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(python(source, mark), on_stdout=slow, stream="bytes", timeout=1, kill_grace=3)
    assert caught.value.result is not None
    assert len(caught.value.result.stdout_bytes) == size
    assert not caught.value.result.truncated


async def test_a_command_that_ignores_terminate_is_killed_after_the_grace(mark: str) -> None:
    started = time.monotonic()
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(python(STUBBORN, mark), timeout=1, kill_grace=0.5)
    assert 1.4 < time.monotonic() - started < 15
    assert caught.value.result is not None
    assert caught.value.result.exit_code == -signal.SIGKILL


async def test_a_command_may_say_its_last_words_within_the_grace(mark: str) -> None:
    received: list[str] = []
    script = "trap 'echo cleaned up; exit 3' TERM; echo started; while :; do sleep 0.05; done"
    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(shell(script, mark), timeout=0.5, on_stdout=received.append)
    assert "".join(received) == "started\ncleaned up\n"
    assert caught.value.result is not None
    assert caught.value.result.exit_code == 3


async def test_a_callback_still_running_after_the_grace_of_a_limit_is_cancelled(mark: str) -> None:
    async def forever(_: str) -> None:
        await anyio.sleep_forever()

    with pytest.raises(WorkerTimeoutError) as caught:
        await execute(shell("echo hello; sleep 60", mark), timeout=0.5, kill_grace=0.3, on_stdout=forever)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "hello\n"


@pytest.mark.parametrize("program", [STUBBORN, DAEMON], ids=["stubborn", "daemon"])
async def test_cancelling_a_scope_leaves_nothing(program: str, mark: str) -> None:
    with anyio.CancelScope() as scope:
        await execute(python(program, mark), kill_grace=0.3, on_stdout=lambda _: scope.cancel())
    assert scope.cancelled_caught
    assert descendants_marked(mark) == []


async def test_a_stopped_command_can_be_ended(mark: str) -> None:
    def stop(_: str) -> None:
        for pid in descendants_marked(mark):
            os.kill(pid, signal.SIGSTOP)
        scope.cancel()

    with anyio.CancelScope() as scope:
        await execute(shell("echo ready; sleep 60", mark), on_stdout=stop, kill_grace=5)
    assert scope.cancelled_caught


async def test_a_callback_that_raises_ends_the_command_and_its_exception_comes_out_bare(mark: str) -> None:
    class OwnError(Exception):
        pass

    error = OwnError("from the callback")

    def raising(_: str) -> None:
        raise error

    with pytest.raises(OwnError) as caught:
        await execute(shell("echo hello; sleep 60", mark), on_stdout=raising)
    assert caught.value is error
    assert descendants_marked(mark) == []


async def test_an_async_callback_that_raises_is_no_different(mark: str) -> None:
    async def raising(_: str) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("from the callback")

    with pytest.raises(ValueError, match="from the callback"):
        await execute(shell("echo hello; sleep 60", mark), on_stderr=None, on_stdout=raising)


async def test_nothing_is_delivered_after_an_error_of_a_callback() -> None:
    calls = 0

    def raising(_: str) -> None:
        nonlocal calls
        calls += 1
        raise ValueError("from the callback")

    with pytest.raises(ValueError, match="from the callback"):
        await execute(python("for i in range(100_000): print(i)"), stream="lines", on_stdout=raising)
    await anyio.sleep(0.05)
    assert calls == 1


async def test_a_grandchild_that_keeps_the_pipe_does_not_hold_the_result(mark: str) -> None:
    started = time.monotonic()
    warnings: list[str] = []
    result = await execute(shell("echo done; sleep 60 & exit 0", mark), on_warning=warnings.append)
    assert time.monotonic() - started < 20
    assert (result.exit_code, result.stdout, result.truncated) == (0, "done\n", True)
    assert descendants_marked(mark) == []
    [warning] = warnings
    assert "what it left running kept its output open, and was ended after 2 s" in warning


async def test_what_stood_in_the_pipe_at_the_exit_is_delivered_though_the_callback_is_slow(mark: str) -> None:
    size = 0

    async def slow(view: memoryview) -> None:
        nonlocal size
        if size == 0:
            await anyio.sleep(3)
        size += len(view)

    script = "head -c 9000000 /dev/zero; sleep 60 & exit 0"
    result = await execute(shell(script, mark), stream="bytes", on_stdout=slow)
    assert size == 9_000_000 == len(result.stdout_bytes)


async def test_what_is_left_of_the_group_is_terminated_when_the_command_has_ended(mark: str) -> None:
    started = time.monotonic()
    warnings: list[str] = []
    result = await execute(shell("sleep 60 >/dev/null 2>&1 & exit 4", mark), on_warning=warnings.append)
    assert warnings == []
    assert time.monotonic() - started < 1.9
    assert (result.exit_code, result.truncated) == (4, False)


@on_asyncio
async def test_cancelling_a_task_twice_does_not_shorten_the_end_of_the_tree(mark: str) -> None:
    task = asyncio.create_task(execute(python(STUBBORN, mark), kill_grace=0.7))
    await anyio.to_thread.run_sync(wait_until_marked, mark)
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert descendants_marked(mark) == []


@on_asyncio
async def test_asyncio_timeout_ends_the_tree(mark: str) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await execute(shell("sleep 60 & wait", mark))
    assert descendants_marked(mark) == []


async def test_a_cancellation_before_the_start_leaves_nothing(mark: str) -> None:
    for _ in range(50):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await execute(shell("sleep 60", mark))
        assert scope.cancelled_caught
    assert descendants_marked(mark) == []


async def test_an_exit_status_that_somebody_else_collected_is_an_error() -> None:
    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(WorkerError, match="exit status of sh is unknown") as caught:
            await execute(("sh", ["-c", "echo hello"]))
    finally:
        signal.signal(signal.SIGCHLD, previous)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "hello\n"


async def test_a_program_that_does_not_exist_is_a_clear_error() -> None:
    with pytest.raises(WorkerSpawnError) as caught:
        await execute(("no-such-program", []))
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOENT
    assert str(caught.value) == "cannot start no-such-program: no such program in the PATH it would run with"


async def test_reasons_for_which_a_command_cannot_start_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("not a program")
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "empty").write_text("\0\1\2")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "empty").chmod(0o755)
    cases: list[tuple[str, dict[str, Any], int, str]] = [
        ("./missing", {"cwd": tmp_path}, errno.ENOENT, "no such file"),
        ("./plain", {"cwd": tmp_path}, errno.EACCES, "may not be executed"),
        ("./script", {"cwd": tmp_path}, errno.ENOENT, "interpreter"),
        ("./empty", {"cwd": tmp_path}, errno.ENOEXEC, "neither a binary"),
        ("plain", {"env": {"PATH": str(tmp_path)}}, errno.EACCES, "may not be executed"),
        ("true", {"cwd": tmp_path / "missing"}, errno.ENOENT, "working folder"),
        ("true", {"cwd": tmp_path / "plain"}, errno.ENOTDIR, "is not a folder"),
    ]
    for command, options, number, reason in cases:
        with pytest.raises(WorkerSpawnError, match=reason) as caught:
            await execute((command, []), **options)
        assert caught.value.errno == number, command


async def test_too_long_an_argument_list_names_the_limit() -> None:
    with pytest.raises(WorkerSpawnError, match="kernel's limit is 131072") as caught:
        await execute(("true", ["x" * 200_000]))
    assert caught.value.errno == errno.E2BIG
    with pytest.raises(WorkerSpawnError, match=r"the kernel's limit is \d+") as caught:
        await execute(("true", ["x" * 100_000] * 100))
    assert caught.value.errno == errno.E2BIG


async def test_descriptors_are_given_back_whatever_the_ending(mark: str) -> None:
    async def each_ending() -> None:
        await execute(("true", []))
        with pytest.raises(WorkerSpawnError):
            await execute(("no-such-program", []))
        with pytest.raises(WorkerTimeoutError):
            await execute(shell("sleep 60", mark), timeout=0.05)
        with anyio.move_on_after(0.05):
            await execute(shell("sleep 60", mark))

    await each_ending()
    before = descriptors_when_idle()
    for _ in range(10):
        await each_ending()
    assert descriptors_when_idle() <= before


async def test_the_command_runs_in_a_clean_process(mark: str) -> None:
    source = """
import os, signal, sys
print(os.getsid(0) == os.getpid() == os.getpgid(0))
print(sorted(int(name) for name in os.listdir("/proc/self/fd"))[:3], len(os.listdir("/proc/self/fd")))
print(os.read(0, 10), os.readlink("/proc/self/fd/0"))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL)
"""
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        result = await execute(python(source))
    finally:
        os.close(inherited)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGUSR1, previous)
    lines = result.stdout.splitlines()
    assert lines[:3] == ["True", "[0, 1, 2] 4", "b'' /dev/null"]
    # What Python alone cannot do without running code between fork and exec, which is not safe beside threads.
    assert lines[3:] == ["set()", "True True"] or backend == "python"


async def test_the_environment_is_laid_over_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_TEST_KEPT", "kept")
    monkeypatch.setenv("TAILRACE_TEST_CHANGED", "old")
    script = 'echo "$TAILRACE_TEST_KEPT $TAILRACE_TEST_CHANGED"'
    result = await execute(("sh", ["-c", script]), env={"TAILRACE_TEST_CHANGED": "new"})
    assert result.stdout == "kept new\n"


async def test_pwd_is_the_folder_that_the_command_runs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    monkeypatch.setenv("PWD", "/elsewhere")
    # A shell would correct it.
    printenv = ("printenv", ["PWD"])
    assert (await execute(printenv, cwd=tmp_path / "link")).stdout == f"{tmp_path}/folder\n"
    assert (await execute(printenv, cwd=tmp_path, env={"PWD": "mine"})).stdout == "mine\n"
    assert (await execute(printenv)).stdout == "/elsewhere\n"


async def test_a_program_is_looked_up_in_the_path_it_will_run_with(tmp_path: Path) -> None:
    (tmp_path / "own-program").write_text("#!/bin/sh\necho found $0\n")
    (tmp_path / "own-program").chmod(0o755)
    result = await execute(("own-program", []), env={"PATH": f"/nowhere:{tmp_path}:/bin"})
    assert result.stdout == f"found {tmp_path}/own-program\n"
    relative = await execute(("./own-program", []), cwd=tmp_path)
    assert relative.stdout == "found ./own-program\n"


@on_one_loop
async def test_the_usage_is_that_of_the_command_and_not_of_this_process() -> None:
    ballast = bytearray(os.urandom(1 << 20)) * 256
    small = await execute(("/bin/true", []))
    assert small.usage is not None
    assert small.usage.max_rss is None or small.usage.max_rss < 16 << 20
    large = await execute(
        python(
            "b = b'x' * (600 << 20)\n"
            "for _ in range(1_000_000): pass\n"
            "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
        )
    )
    assert large.usage is not None
    # What the kernel counted, which a machine short of memory keeps below what the command asked for.
    assert large.usage.max_rss == pytest.approx(int(large.stdout) << 10, rel=0.05)
    assert int(large.stdout) > 512 << 10
    assert large.usage.cpu_user + large.usage.cpu_system > 0.05
    assert len(ballast) == 256 << 20
