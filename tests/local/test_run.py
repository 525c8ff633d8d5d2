"""The blocking form, and what becomes of commands when their host ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from support.doomed_host import kill_a_host
from support.processes import (
    descendants_marked,
    fork_beside_threads,
    python,
    wait_until_marked,
    wait_until_none_is_marked,
)
from tailrace import WorkerJob, WorkerResult, WorkerSpawnError, WorkerTimeoutError, run

OPEN = Path("/proc/self/fd")


def test_a_command_runs_and_its_output_streams_on_the_calling_thread() -> None:
    threads, received = set(), []

    def on_line(line: str) -> None:
        threads.add(threading.get_ident())
        received.append(line)

    result = run(WorkerJob("sh", ["-c", "echo one; echo two; exit 3"], stream="lines", on_stdout=on_line))
    assert (result.exit_code, received, threads) == (3, ["one", "two"], {threading.get_ident()})


def test_errors_are_those_of_the_adapter() -> None:
    with pytest.raises(WorkerSpawnError):
        run(WorkerJob("no-such-program"))
    with pytest.raises(WorkerTimeoutError):
        run(WorkerJob("sleep", ["60"], timeout=0.1))


def test_an_async_callback_is_a_type_error() -> None:
    async def callback(_: str) -> None: ...

    with pytest.raises(TypeError, match="cannot await an async callback"):
        run(WorkerJob("echo", ["hello"], on_stdout=callback))
    with pytest.raises(TypeError, match="cannot await an async callback"):
        run(WorkerJob("echo", ["hello"], on_stdout=lambda text: callback(text)))


def test_a_callback_that_raises_ends_the_command() -> None:
    mark = f"mark-{uuid.uuid4()}"

    def raising(_: str) -> None:
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        run(WorkerJob("bash", ["-c", "echo hello; sleep 60", mark], on_stdout=raising))
    assert descendants_marked(mark) == []


HOST = """
import sys, tailrace
try:
    tailrace.run(tailrace.WorkerJob("bash", ["-c", "trap '' TERM; sleep 60 & wait", sys.argv[1]], kill_grace=0.5))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_the_tree_before_keyboard_interrupt_comes_out() -> None:
    mark = f"mark-{uuid.uuid4()}"
    host = subprocess.Popen([sys.executable, "-c", HOST, mark], stdout=subprocess.PIPE, text=True)
    wait_until_marked(mark, 2)
    time.sleep(0.3)
    host.send_signal(signal.SIGINT)
    assert host.stdout is not None
    assert host.stdout.readline() == "interrupted\n"
    assert set(descendants_marked(mark)) <= {host.pid}
    host.stdout.close()
    assert host.wait(20) == 0


ABANDONING_HOST = """
import asyncio, sys, tailrace
job = tailrace.WorkerJob("bash", ["-c", "trap '' TERM; sleep 60 & wait", sys.argv[1]])
async def main():
    tasks = [asyncio.ensure_future(tailrace.LocalWorkerAdapter().execute(job)) for _ in range(5)]
    await asyncio.sleep(0.5)
    return tasks
loop = asyncio.new_event_loop()
abandoned = loop.run_until_complete(main())
"""


def test_the_interpreter_exits_at_once_with_commands_running_and_leaves_none() -> None:
    mark = f"mark-{uuid.uuid4()}"
    started = time.monotonic()
    host = subprocess.run([sys.executable, "-c", ABANDONING_HOST, mark], timeout=200, stderr=subprocess.PIPE, text=True)
    assert host.returncode == 0
    assert "ignored GeneratorExit" not in host.stderr
    assert time.monotonic() - started < 20
    assert descendants_marked(mark) == []


@fork_beside_threads
def test_a_forked_child_can_run_commands_beside_a_busy_parent() -> None:
    busy = threading.Thread(target=run, args=(WorkerJob("sleep", ["1"]),))
    busy.start()
    time.sleep(0.1)
    pid = os.fork()
    if pid == 0:
        try:
            result = run(WorkerJob("echo", ["from the child"]))
            os._exit(0 if result.stdout == "from the child\n" else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert run(WorkerJob("echo", ["from the parent"])).stdout == "from the parent\n"
    busy.join()


@fork_beside_threads
def test_forking_while_commands_are_started_keeps_none_of_them_from_ending() -> None:
    children: list[int] = []
    results: list[WorkerResult] = []

    def start() -> None:
        results.extend(run(WorkerJob("true")) for _ in range(100))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            pid = os.fork()
            if pid == 0:
                # In the way of whatever it has a writing end of.
                time.sleep(60)
                os._exit(0)
            children.append(pid)
            time.sleep(0.005)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert len(children) > 5
    assert {(result.exit_code, result.truncated) for result in results} == {(0, False)}


@fork_beside_threads
def test_a_forked_child_has_no_descriptor_of_its_parents_commands() -> None:
    threads = [threading.Thread(target=run, args=(WorkerJob("sleep", ["2"]),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)

    def pidfds() -> int:
        links = [str(path.readlink()) for path in OPEN.iterdir() if path.is_symlink()]
        return links.count("anon_inode:[pidfd]")

    before = len(list(OPEN.iterdir()))
    assert pidfds() == 8
    pid = os.fork()
    if pid == 0:
        try:
            # Two pipes and one descriptor of its process each.
            gone = before - len(list(OPEN.iterdir()))
            os._exit(0 if pidfds() == 0 and gone >= 8 * 3 else 2)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for thread in threads:
        thread.join()


@fork_beside_threads
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_results_and_errors_travel_between_processes(method: str) -> None:
    assert run(WorkerJob("true")).exit_code == 0
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.map(echo, ["one", "two"])
        assert [result.stdout for result in results] == ["one\n", "two\n"]
        with pytest.raises(WorkerSpawnError, match="no such program"):
            pool.apply(missing)
        with pytest.raises(WorkerTimeoutError) as caught:
            pool.apply(too_slow)
    assert caught.value.result is not None
    assert (caught.value.kind, caught.value.result.stdout) == ("total", "started\n")


def echo(text: str) -> WorkerResult:
    return run(WorkerJob("echo", [text]))


def missing() -> WorkerResult:
    return run(WorkerJob("no-such-program"))


def too_slow() -> WorkerResult:
    return run(WorkerJob("sh", ["-c", "echo started; sleep 60"], timeout=0.3))


def test_a_host_without_standard_streams_can_run_commands() -> None:
    source = """
import os, sys
import tailrace
for stream in range(3): os.close(stream)
result = tailrace.run(tailrace.WorkerJob("sh", ["-c", "echo out; echo err >&2"]))
os._exit(0 if (result.stdout, result.stderr) == ("out\\n", "err\\n") else 1)
"""
    assert subprocess.run([sys.executable, "-c", source], check=False, timeout=200).returncode == 0


def test_a_command_may_be_run_from_any_thread() -> None:
    results: list[WorkerResult] = []
    command, args = python("print('x' * 100_000)")
    threads = [threading.Thread(target=lambda: results.append(run(WorkerJob(command, args)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(result.stdout) for result in results] == [100_001] * 8


def test_killing_the_host_leaves_no_render_behind() -> None:
    for _ in range(3):
        kill_a_host()


def test_a_host_that_dies_at_its_first_command_s_first_output_leaves_nothing(mark: str) -> None:
    source = """
import os, signal, sys, tailrace
job = tailrace.WorkerJob(
    "sh", ["-c", "echo; sleep 60", sys.argv[1]], on_stdout=lambda _: os.kill(os.getpid(), signal.SIGKILL)
)
tailrace.run(job)
"""
    # At once, so that some of them are slow.
    hosts = [subprocess.Popen([sys.executable, "-c", source, mark]) for _ in range(12)]
    assert [host.wait(60) for host in hosts] == [-signal.SIGKILL] * len(hosts)
    wait_until_none_is_marked(mark)


def test_the_watchdog_is_there_before_the_first_command() -> None:
    source = """
import pathlib, tailrace
script = "echo $$ $TAILRACE_COMMAND"
number, mark = tailrace.run(tailrace.WorkerJob("sh", ["-c", script])).stdout.split()
prefix = mark.rpartition("-")[0].encode()
for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    words = file.read_bytes().split(b"\\0")
    if b"tailrace-watchdog" in words and any(word.startswith(prefix) for word in words):
        print(int(file.parent.name) < int(number))
"""
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=200)
    # Numbers of processes grow.
    assert (told.stdout, told.stderr) == ("True\n", "")


@fork_beside_threads
def test_a_forked_child_does_not_keep_the_watchdog_from_seeing_its_parent_die() -> None:
    mark = f"mark-{uuid.uuid4()}"
    source = """
import os, sys, threading, time, tailrace
job = tailrace.WorkerJob("bash", ["-c", "sleep 60 & wait", sys.argv[1]])
threading.Thread(target=tailrace.run, args=(job,), daemon=True).start()
time.sleep(0.5)
if os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
time.sleep(60)
"""
    host = subprocess.Popen([sys.executable, "-c", source, mark], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    child = int(host.stdout.readline())
    host.kill()
    host.wait()
    try:
        deadline = time.monotonic() + 20
        while set(descendants_marked(mark)) != {child} and time.monotonic() < deadline:
            time.sleep(0.02)
        assert descendants_marked(mark) == [child]
    finally:
        os.kill(child, signal.SIGKILL)
        host.stdout.close()


def test_a_host_that_ends_leaves_no_watchdog_and_no_child_of_its_own_behind() -> None:
    source = """
import os, tailrace
tailrace.run(tailrace.WorkerJob("true"))
print(tailrace.run(tailrace.WorkerJob("sh", ["-c", "echo $TAILRACE_COMMAND"])).stdout, end="")
try:
    # The helper that made the commands may end a moment later, or be killed if it takes longer.
    while os.waitpid(-1, 0): pass
except ChildProcessError:
    print("no children")
"""
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=200)
    mark, *told = result.stdout.splitlines()
    assert told == ["no children"]
    # Other hosts have watchdogs too: this one's is told by what the marks of its commands begin with.
    wait_until_none_is_marked(mark.rpartition("-")[0])


def test_a_command_line_is_no_job() -> None:
    with pytest.raises(TypeError, match=r"run\(\) takes a WorkerJob, .* not 'ffmpeg -version'"):
        run("ffmpeg -version")  # type: ignore[arg-type]
