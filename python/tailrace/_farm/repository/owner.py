"""Who opens a repository."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ..._local.process_files import start_time
from .rows import Owner

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> Owner:
    """Return the running process as the owner of a repository."""
    return Owner(socket.gethostname(), os.getpid(), process_start(os.getpid()))


def process_start(pid: int) -> str:
    """Return what only the process that has this pid now has. Raises `OSError` if there is none."""
    return f"{_BOOT_ID.read_text().strip()}/{start_time(pid)}"
