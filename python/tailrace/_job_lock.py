"""Keeps a second run out of a folder that a job is using."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from ._errors import JobLockedError

_PATIENCE = 0.5
"""How long the holder may take to write down who it is, in seconds."""


class JobLock:
    """A lock in a folder, held until it is released or the process ends in whatever way.

    The renders do not inherit it: Python opens files so that they are closed in the commands it starts.
    """

    def __init__(self, path: Path, what: str) -> None:
        """Take the lock at `path` without waiting.

        Raises `JobLockedError` if another run has it, which says that `what` is in use; `OSError` if there can be none.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _locked(self._fd, path, what) from None
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


def _locked(fd: int, path: Path, what: str) -> JobLockedError:
    deadline = time.monotonic() + _PATIENCE
    while not (words := os.pread(fd, 1024, 0).decode(errors="replace").split()) and time.monotonic() < deadline:
        time.sleep(0.01)
    pid = int(words[0]) if words and words[0].isdecimal() else None
    holder = "another process" if pid is None else f"process {pid}"
    if len(words) > 1 and words[1] != socket.gethostname():
        holder += f" on {words[1]}"
    return JobLockedError(f"{what} by {holder} already (the lock is {path})", pid)
