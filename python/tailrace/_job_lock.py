"""Keeps a second run of the same job out."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from ._errors import JobLockedError

_FILE_NAME = "lock"
_PATIENCE = 0.5
"""How long the holder may take to write down who it is, in seconds."""


class JobLock:
    """A lock on a job's folder, held until it is released or the process ends in whatever way.

    The renders do not inherit it: Python opens files so that they are closed in the commands it starts.
    """

    def __init__(self, folder: Path, job_id: str) -> None:
        """Take the lock without waiting; raises `JobLockedError` if another run has it, `OSError` if there is none."""
        path = folder / _FILE_NAME
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _locked(self._fd, job_id, folder) from None
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        except BaseException:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Let others in."""
        # In this order, and with an explicit unlock: a process forked meanwhile shares the open file.
        os.ftruncate(self._fd, 0)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)


def _locked(fd: int, job_id: str, folder: Path) -> JobLockedError:
    deadline = time.monotonic() + _PATIENCE
    while not (words := os.pread(fd, 1024, 0).decode(errors="replace").split()) and time.monotonic() < deadline:
        time.sleep(0.01)
    pid = int(words[0]) if words and words[0].isdecimal() else None
    holder = "another process" if pid is None else f"process {pid}"
    if len(words) > 1 and words[1] != socket.gethostname():
        holder += f" on {words[1]}"
    return JobLockedError(f"job {job_id} is being run by {holder} already (its lock is in {folder})", pid)
