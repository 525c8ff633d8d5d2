"""The limit of open files: what the host needs, and what its commands are not to notice."""

from __future__ import annotations

import subprocess
import sys

HOST = """
import asyncio, os, resource, sys
from tailrace import LocalWorkerAdapter, WorkerJob, WorkerSpawnError

soft, hard, count = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

async def main():
    execute = LocalWorkerAdapter(backend="native").execute
    await execute(WorkerJob("true"))
    # What runs beside the first command, to start the watchdog, is over then.
    await asyncio.sleep(0.5)
    before = len(os.listdir("/proc/self/fd"))
    # Until all of them have been started.
    jobs = [WorkerJob("sh", ["-c", "ulimit -Sn; ulimit -Hn; sleep 4"]) for _ in range(count)]
    results = await asyncio.gather(*map(execute, jobs), return_exceptions=True)
    for result in results:
        error = isinstance(result, WorkerSpawnError)
        print(f"{result.errno} {result}" if error else result.stdout.replace("\\n", " "))
    again = await execute(WorkerJob("echo", ["and again"]))
    # The helper that starts commands ends a moment after the last start.
    await asyncio.sleep(0.5)
    leaked = len(os.listdir("/proc/self/fd")) - before
    print(again.stdout, leaked, resource.getrlimit(resource.RLIMIT_NOFILE))

asyncio.run(main())
"""


def run_host(soft: int, hard: int, count: int) -> list[str]:
    command = [sys.executable, "-c", HOST, str(soft), str(hard), str(count)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.splitlines()


def test_a_thousand_commands_run_at_once_and_have_the_limit_that_the_host_had() -> None:
    *outputs, again, end = run_host(256, 4096, 1000)
    assert (len(outputs), set(outputs), again) == (1000, {"256 4096 "}, "and again")
    assert end == " 0 (4096, 4096)"


def test_a_host_that_needs_few_descriptors_keeps_its_limit() -> None:
    *outputs, again, end = run_host(256, 4096, 8)
    assert (set(outputs), again, end) == ({"256 4096 "}, "and again", " 0 (256, 4096)")


def test_without_descriptors_a_command_is_refused_in_clear_words_and_nothing_is_leaked() -> None:
    *outputs, again, end = run_host(64, 64, 40)
    refused = [output for output in outputs if output != "64 64 "]
    assert 10 < len(refused) < 40
    assert set(refused) == {"24 cannot start sh: this process has no file descriptors left (see `ulimit -n`)"}
    assert (again, end) == ("and again", " 0 (64, 64)")
