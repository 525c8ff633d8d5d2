"""Telling whether a file or a folder has changed."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

_SETTLED = 2 * 10**9
"""How old its time has to be, in nanoseconds, for the next change to be sure to give it another one."""


class FileState(NamedTuple):
    """Of two that are alike, the contents are the same, of a folder the names in it."""

    identity: tuple[int, int]
    size: int
    times: tuple[int, int]

    @classmethod
    def of(cls, descriptor: int) -> FileState | None:
        """Return the state of an open file or folder; None if the next change might not show."""
        now = time.time_ns()
        status = os.fstat(descriptor)
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls((status.st_dev, status.st_ino), status.st_size, times) if now - max(times) > _SETTLED else None
