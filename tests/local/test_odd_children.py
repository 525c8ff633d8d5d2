"""What commands do with their pipes, and hosts with themselves, that nobody expects of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import anyio
import pytest

from support.processes import descendants_marked, python
from tailrace import Capture, LocalWorkerAdapter, StreamMode, WorkerJob, WorkerTimeoutError


@pytest.fixture(params=["native", "python"])
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


# In packet mode each read() returns what one write() wrote, and drops what does not fit.
IN_PACKETS = """
import fcntl, os, random, sys
fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_DIRECT)
data = b"".join(b"%098d\\r\\n" % number for number in range(60_000))
choose, place = random.Random(1), 0
while place < len(data):
    size = 4096 if sys.argv[1] == "pages" else choose.randint(1, 4096)
    place += os.write(1, data[place : place + size])
"""


@pytest.mark.anyio
@pytest.mark.parametrize("stream", ["text", "lines", "bytes"])
@pytest.mark.parametrize("sizes", ["pages", "random"])
async def test_a_pipe_in_packet_mode_loses_nothing(backend: Any, stream: StreamMode, sizes: str) -> None:
    received: list[Any] = []
    command, args = python(IN_PACKETS, sizes)
    keep = (lambda view: received.append(bytes(view))) if stream == "bytes" else received.append
    result = await LocalWorkerAdapter(backend=backend).execute(WorkerJob(command, args, stream=stream, on_stdout=keep))
    lines = [f"{number:098}" for number in range(60_000)]
    whole = "".join(f"{line}\r\n" for line in lines)
    assert result.stdout == whole
    if stream == "bytes":
        assert b"".join(received) == whole.encode()
    else:
        assert received == lines if stream == "lines" else "".join(received) == whole


WITHOUT_BLOCKING = """
import os, select, sys
os.set_blocking(1, False)
data, written = bytes(range(256)) * 20_000, 0
while written < len(data):
    try:
        written += os.write(1, data[written : written + 70_000])
    except BlockingIOError:
        select.select([], [1], [])
"""


@pytest.mark.anyio
async def test_a_pipe_that_its_command_made_non_blocking_loses_nothing(backend: Any) -> None:
    size = 0

    async def slow(view: memoryview) -> None:
        nonlocal size
        size += len(view)
        await anyio.sleep(0.01)

    command, args = python(WITHOUT_BLOCKING)
    job = WorkerJob(command, args, stream="bytes", on_stdout=slow)
    result = await LocalWorkerAdapter(backend=backend).execute(job)
    assert (result.exit_code, size) == (0, 256 * 20_000)
    assert result.stdout_bytes == bytes(range(256)) * 20_000


@pytest.mark.anyio
@pytest.mark.parametrize(
    "capture", [Capture.full(memory=2**64), Capture.tail(2**64), Capture.head_tail(2**64, 2**64)], ids=repr
)
async def test_a_capture_may_be_larger_than_any_memory(backend: Any, capture: Capture) -> None:
    job = WorkerJob("sh", ["-c", "head -c 1000000 /dev/zero; echo end"], capture=capture)
    result = await LocalWorkerAdapter(backend=backend).execute(job)
    assert (len(result.stdout_bytes), result.stdout[-4:], result.truncated) == (1_000_004, "end\n", False)


# Fills stdout while stderr goes on for so many tenths of a second; then it is silent.
TWO_STREAMS = """
import os, sys, threading, time
def tick():
    for _ in range(int(sys.argv[1])):
        os.write(2, b".")
        time.sleep(0.1)
threading.Thread(target=tick).start()
for _ in range(16):
    os.write(1, b"x" * (1 << 20))
time.sleep(60)
"""


@pytest.mark.anyio
@pytest.mark.parametrize("ticks", [20, 45], ids=["for less", "for more"])
async def test_the_idle_clock_starts_when_a_slow_consumer_is_done_though_the_other_stream_was_live(
    backend: Any, ticks: int, mark: str
) -> None:
    last = 0.0
    size = 0

    async def slow(view: memoryview) -> None:
        nonlocal last, size
        # For longer than the limit; stderr goes on for less than that, or for more.
        await anyio.sleep(0 if size else 4)
        size += len(view)
        last = time.monotonic()

    def hear(_: memoryview) -> None:
        nonlocal last
        last = time.monotonic()

    command, args = python(TWO_STREAMS, str(ticks), mark)
    job = WorkerJob(command, args, stream="bytes", on_stdout=slow, on_stderr=hear, idle_timeout=1)
    with pytest.raises(WorkerTimeoutError):
        await LocalWorkerAdapter(backend=backend).execute(job)
    assert size == 16 << 20
    assert 0.3 < time.monotonic() - last < 10


@pytest.mark.anyio
async def test_the_idle_limit_is_not_late_because_a_slow_consumer_was_beside_a_live_stream(
    backend: Any, mark: str
) -> None:
    """What a callback slept through does not add up while the other stream is read."""
    last = 0.0

    async def slow(_: str) -> None:
        nonlocal last
        await anyio.sleep(0.3)
        last = time.monotonic()

    source = (
        "import os, time\n"
        "for _ in range(20):\n    os.write(1, b'out')\n    os.write(2, b'err')\n    time.sleep(0.1)\n"
        "time.sleep(60)"
    )
    command, args = python(source, mark)
    job = WorkerJob(command, args, on_stdout=slow, on_stderr=len, idle_timeout=1)
    with pytest.raises(WorkerTimeoutError):
        await LocalWorkerAdapter(backend=backend).execute(job)
    # One backend gathers what a slow callback is given, the other hands on each piece after the limit too.
    assert time.monotonic() - last < 10


STOPPED_HOST = """
import anyio, sys
from tailrace import LocalWorkerAdapter, WorkerJob
source = "import os, time\\nfor _ in range(20):\\n    os.write(1, b'.')\\n    time.sleep(0.3)"
say = lambda text: print(text, end="", flush=True)
job = WorkerJob(sys.executable, ["-c", source], on_stdout=say, idle_timeout=2)
print(anyio.run(LocalWorkerAdapter(backend=sys.argv[1]).execute, job).exit_code)
"""


@pytest.mark.parametrize("seconds", [3, 3.5])
def test_a_host_that_was_stopped_for_longer_than_the_idle_limit_does_not_end_a_command_that_wrote(
    backend: str, seconds: float
) -> None:
    host = subprocess.Popen([sys.executable, "-c", STOPPED_HOST, backend], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    assert host.stdout.read(1) == "."
    host.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    host.send_signal(signal.SIGCONT)
    rest, _ = host.communicate(timeout=30)
    assert "." + rest == "." * 20 + "0\n"


# What `run` uses: the native core, or Python alone.
CHOOSE = """
import sys
if sys.argv[1] == "python":
    sys.modules["tailrace._native"] = None
import os, tailrace, threading, time
"""

FORKING_HOST = (
    CHOOSE
    + """
job = tailrace.WorkerJob("sh", ["-c", "echo ready; sleep 2; echo done"], on_stdout=lambda _: ready.set())
ready, results = threading.Event(), []
thread = threading.Thread(target=lambda: results.append(tailrace.run(job)))
thread.start()
ready.wait(20)
pid = os.fork()
if pid == 0:
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread.join()
print(results[0].exit_code, repr(results[0].stdout))
"""
)


def test_a_forked_child_that_exits_leaves_its_parents_commands_running(backend: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING_HOST, backend]
    host = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (host.stdout, host.stderr) == ("5\n0 'ready\\ndone\\n'\n", "")


EXITING_HOST = (
    CHOOSE
    + """
def run(begun):
    job = tailrace.WorkerJob("sh", ["-c", "while :; do echo; done", sys.argv[2]], on_stdout=lambda _: begun.set())
    tailrace.run(job)
events = [threading.Event() for _ in range(4)]
for begun in events:
    threading.Thread(target=run, args=(begun,), daemon=True).start()
for begun in events:
    begun.wait()
print("over", flush=True)
"""
)


def test_a_daemon_thread_inside_run_is_no_harm_to_the_interpreters_exit(backend: str, mark: str) -> None:
    started = time.monotonic()
    command = [sys.executable, "-c", EXITING_HOST, backend, mark]
    host = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (host.returncode, host.stdout, host.stderr) == (0, "over\n", "")
    assert time.monotonic() - started < 20
    assert descendants_marked(mark) == []


SUBINTERPRETER = """
import sys
{before}
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
source = '''
try:
    from tailrace import LocalWorkerAdapter
except ImportError as error:
    print(str(error))
else:
    print("imported")
'''
run = getattr(interpreters, "run_string", None) or interpreters.exec
run(interpreters.create(), source)
"""


@pytest.mark.parametrize(
    "before", ["", "from tailrace import LocalWorkerAdapter"], ids=["alone", "beside the main one"]
)
def test_a_subinterpreter_is_told_that_it_cannot_use_this(before: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SUBINTERPRETER.format(before=before)]
    host = subprocess.run(command, capture_output=True, text=True, timeout=200)
    (line,) = host.stdout.splitlines()
    assert "subinterpreter" in line
    assert (host.returncode, host.stderr) == (0, "")
