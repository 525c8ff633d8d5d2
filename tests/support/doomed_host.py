"""A host that is killed while its commands run, and what has to end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from support.processes import DAEMON, descendants_marked, wait_until_marked

DOOMED_HOST = """
import asyncio, sys, tailrace
async def main():
    script = "sleep 60 & env -i bash -c 'sleep 61 & wait' & wait"
    job = tailrace.WorkerJob("bash", ["-c", script, sys.argv[1]])
    daemon = tailrace.WorkerJob(sys.executable, ["-c", sys.argv[2], sys.argv[1]])
    adapter = tailrace.LocalWorkerAdapter()
    await asyncio.gather(*[adapter.execute(job) for _ in range(16)], adapter.execute(daemon))
asyncio.run(main())
"""


def kill_a_host() -> None:
    """Kill a host with 17 commands, and fail unless all that they started has ended within 10 s."""
    mark = f"mark-{uuid.uuid4()}"
    host = subprocess.Popen([sys.executable, "-c", DOOMED_HOST, mark, DAEMON], stderr=subprocess.DEVNULL)
    wait_until_marked(mark, 1 + 16 + 2)
    time.sleep(0.3)
    started = set(_children_of_marked(mark))
    assert len(started) > 16 * 2
    host.kill()
    host.wait()
    deadline = time.monotonic() + 20
    while (left := [pid for pid in started if _is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert time.monotonic() - deadline + 20 < 10
    assert (left, descendants_marked(mark)) == ([], [])


def _children_of_marked(mark: str) -> list[int]:
    """Return the processes with `mark` and what shares their session, all but the first of them."""
    sessions = {os.getsid(pid) for pid in descendants_marked(mark)} - {os.getsid(0)}
    names = [path.name for path in Path("/proc").iterdir()]
    return [int(name) for name in names if name.isdigit() and _session_of(int(name)) in sessions]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
