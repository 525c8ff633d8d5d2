"""Whether what a job has yet to write will fit on the disk."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict, deque
from pathlib import Path

from .disk_space import free_space, shown_size

_FEWEST_FRAMES = 3
"""Of how many frames the sizes have to be known: the first one may be like no other."""
_INTERVAL = 5.0
"""How long nobody asks again how much is free, in seconds."""


class SpaceForecast:
    """Adds up what finished frames took, and tells once for each file system that those left will not fit on it.

    `add` is for the event loop; `warning` blocks and is for one thread at a time. Both may run at once.
    """

    def __init__(self, *, interval: float = _INTERVAL) -> None:
        """Look at the disk at most every `interval` seconds."""
        self._interval = interval
        self._looked_at = -math.inf
        self._added: deque[tuple[str, int, float]] = deque()
        self._frames = 0.0
        self._devices: dict[str, int] = {}
        """The file system of each folder."""
        self._sizes: defaultdict[int, int] = defaultdict(int)
        """How many bytes were written to each file system."""
        self._folders: dict[int, str] = {}
        """Where on each file system the first of them lie."""
        self._told: set[int] = set()

    def add(self, path: str | os.PathLike[str], size: int, *, frames: float = 1) -> None:
        """Note a finished output file of `size` bytes, by its full name.

        `frames` is how many frames it finishes: all those of a video, and 0 for another file of a frame that was
        counted already.
        """
        self._added.append((os.fspath(path), size, frames))

    def warning(self, frames_left: int) -> str | None:
        """Return a line once the disk has too little space for so many frames more, which are like those so far.

        None if they fit, were told of on this file system, or it is too early to say: fewer than three frames are
        known, or less than the interval has passed. Where two disks are short, the next call returns the other.
        Quotas, and what other programs will write, are not known. Blocks.
        """
        now = time.monotonic()
        if frames_left <= 0 or now - self._looked_at < self._interval:
            return None
        self._take_in()
        if self._frames < _FEWEST_FRAMES:
            return None
        self._looked_at = now
        for device, size in self._sizes.items():
            if device in self._told:
                continue
            folder = self._folders[device]
            needed = size / self._frames * frames_left
            free = free_space(folder)
            if free is not None and needed > free:
                self._told.add(device)
                # The other disk, if there is one, is not put off.
                self._looked_at = -math.inf
                return (
                    f"about {shown_size(needed)} are still to be written to {folder}, and {shown_size(free)} are free"
                )
        return None

    def _take_in(self) -> None:
        while self._added:
            path, size, frames = self._added.popleft()
            self._frames += frames
            folder = str(Path(path).parent)
            if folder not in self._devices:
                try:
                    self._devices[folder] = Path(folder).stat().st_dev
                except OSError:
                    # It was deleted since, or cannot be looked at: then nothing can be said of its disk.
                    continue
            device = self._devices[folder]
            self._folders.setdefault(device, folder)
            self._sizes[device] += size
