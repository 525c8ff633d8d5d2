"""Keeps a second run out of a folder that a job is using."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import weakref
from pathlib import Path
from typing import NamedTuple

from .._errors import JobLockedError

_PATIENCE = 0.5
"""How long the holder may take to write down who it is, in seconds."""
_PAUSE = 0.01
_HELD = (BlockingIOError, PermissionError)
"""What flock raises when somebody else has the lock: where it is emulated by locks of ranges (NFS, SMB), either."""


class Holder(NamedTuple):
    """Who has a lock."""

    pid: int | None
    """None where it cannot be had: on SMB, what is locked cannot be read."""
    host: str | None

    def __str__(self) -> str:
        name = "another process" if self.pid is None else f"process {self.pid}"
        return name if self.host in (None, socket.gethostname()) else f"{name} on {self.host}"


class JobLock:
    """A lock in a folder, held until it is released or the process ends in whatever way.

    The renders do not inherit it: Python opens files so that they are closed in the commands it starts. Nor does a
    process that is forked from this one.
    """

    def __init__(self, path: Path, what: str, *, patience: float = 0) -> None:
        """Take the lock at `path`, waiting for it for `patience` seconds.

        Raises `JobLockedError` if another run has it, which says that `what` is in use; `OSError` if there can be none.
        """
        deadline = time.monotonic() + patience
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _locks.add(self)
        try:
            while not _try_to_take(self._fd, fcntl.LOCK_EX):
                if time.monotonic() >= deadline:
                    raise locked_error(what, _read_holder(self._fd), path)
                time.sleep(_PAUSE)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        except BaseException:
            self._close()
            raise

    def release(self) -> None:
        """Let others in."""
        if self._fd >= 0:
            # An explicit unlock, and before the file is closed: a process forked meanwhile shares the open file.
            os.ftruncate(self._fd, 0)
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)


def holder_of(path: Path) -> Holder | None:
    """Return who has the lock at `path`, None if nobody. Raises `OSError` if that cannot be told."""
    fd = os.open(path, os.O_RDONLY)
    try:
        # On NFS, a file that is only read can have no other.
        if not _try_to_take(fd, fcntl.LOCK_SH):
            return _read_holder(fd)
        fcntl.flock(fd, fcntl.LOCK_UN)
        return None
    finally:
        os.close(fd)


def locked_error(what: str, holder: Holder, path: Path) -> JobLockedError:
    """Return the error which says that `what` is in use by the holder of the lock at `path`."""
    return JobLockedError(f"{what} by {holder} already (the lock is {path})", holder.pid)


_locks: weakref.WeakSet[JobLock] = weakref.WeakSet()


def _let_go() -> None:
    """Close the locks in a forked child, which would hold them when the parent is gone; they are not unlocked."""
    for lock in list(_locks):
        if lock._fd >= 0:
            lock._close()


os.register_at_fork(after_in_child=_let_go)


def _try_to_take(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except _HELD:
        return False
    return True


def _read_holder(fd: int) -> Holder:
    deadline = time.monotonic() + _PATIENCE
    words: list[str] = []
    while not words and time.monotonic() < deadline:
        try:
            words = os.pread(fd, 1024, 0).decode(errors="replace").split()
        except PermissionError:
            break
        if not words:
            time.sleep(_PAUSE)
    pid = int(words[0]) if words and words[0].isdecimal() else None
    return Holder(pid, words[1] if len(words) > 1 else None)
