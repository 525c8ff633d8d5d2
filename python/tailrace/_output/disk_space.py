"""How much is free on the disk of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import anyio

from .._concurrency.disk_threads import DiskThreads
from .._concurrency.in_thread import in_thread

_PATIENCE = 5.0
"""How long a disk may take to say how much is free, in seconds."""
_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")

_threads = DiskThreads()


def _begin_anew() -> None:
    global _threads
    _threads = DiskThreads()


# A forked process has none of the threads.
os.register_at_fork(after_in_child=_begin_anew)


def free_space(folder: str | os.PathLike[str]) -> int | None:
    """Return the bytes that this user may still write to the disk of `folder`; None where it cannot be told.

    A folder that is not there yet counts for the nearest one above that is. Quotas are not seen. Blocks.
    """
    path = Path(folder).absolute()
    for place in (path, *path.parents):
        try:
            found = os.statvfs(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
        # Some network disks and those in memory have no size at all.
        return found.f_bavail * found.f_frsize if found.f_blocks else None
    return None


async def find_free_space(folder: str | os.PathLike[str]) -> int | None:
    """Return the same; None too where the disk does not answer for five seconds."""
    with anyio.move_on_after(_PATIENCE):
        return await in_thread(_threads, lambda: free_space(folder))
    return None


def shown_size(size: float) -> str:
    """Return a number of bytes in short, in powers of 1000 as disks are sold: 512 bytes, 3.1 MB, 12 GB."""
    place = 0
    while size >= 999.5 and place < len(_UNITS) - 1:
        size /= 1000
        place += 1
    return f"{size:.1f} {_UNITS[place]}" if place and size < 9.95 else f"{size:.0f} {_UNITS[place]}"
