"""Programs for commands to run, and what is left of them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

# Python 3.12 and newer warn of a fork beside threads; that it works is what these tests show.
fork_beside_threads = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

PYTHON = (sys.executable, "-I", "-S")
"""An interpreter that starts quickly."""

# Forks a child that takes a session of its own and loses its parent: nothing but the environment tells whose it is.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3): os.dup2(null, stream)
        time.sleep(60)
    os._exit(0)
os.wait()
os.write(1, b"ready")
time.sleep(60)
"""

# Writes as many mebibytes as it is told, no two alike, and their digest to the other stream.
FAST_WRITER = """
import hashlib, os, sys
block, digest = os.urandom(1 << 20), hashlib.sha256()
for number in range(int(sys.argv[1])):
    piece = number.to_bytes(8, "big") + block
    digest.update(piece)
    view = memoryview(piece)
    while view:
        view = view[os.write(1, view):]
os.write(2, digest.hexdigest().encode())
"""


def python(source: str, *args: str) -> tuple[str, list[str]]:
    """Return the command and arguments that run `source`."""
    return PYTHON[0], [*PYTHON[1:], "-c", source, *args]


def descendants_marked(mark: str) -> list[int]:
    """Return the living processes whose command line holds `mark`, except this one."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark.encode() in command and state not in "ZX":
                found.append(int(folder.name))
    return found


def wait_until_marked(mark: str, count: int = 1) -> None:
    """Return when `count` processes with `mark` in their command line are running."""
    deadline = time.monotonic() + 20
    while len(descendants_marked(mark)) < count:
        assert time.monotonic() < deadline, f"fewer than {count} processes started"
        time.sleep(0.01)


def wait_until_none_is_marked(mark: str) -> None:
    """Return when no process with `mark` in its command line is left."""
    deadline = time.monotonic() + 20
    while descendants_marked(mark):
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.01)


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def descriptors_when_idle() -> int:
    """Return the same once the helper that starts commands has ended, and control groups are tidied away."""
    time.sleep(0.5)
    return open_descriptors()


def resident_memory() -> int:
    """Return the resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
