"""What earlier attempts left where the next ones are going to write."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from .._concurrency.slices import in_slices
from .._spec.model import Chunk
from .._spec.outputs import output_paths, set_leftovers_aside
from .queue import QueuedChunk

_FRESH = 0.005
"""How long a look counts, in seconds: another command may write there at any time."""
AHEAD = 4
"""How many chunks are worth looking at ahead: several may end before the next one starts."""
_FEW = 8
"""How many files of a chunk are worth it."""


class Leftovers:
    """Renames what earlier attempts left to `*.partial`, so that it cannot pass for the output of the next one."""

    def __init__(self, job_dir: Path) -> None:
        self._job_dir = job_dir
        self._clear: dict[int, float] = {}
        """The chunks that were seen to have no leftovers at the last look, and when that was."""

    async def set_aside(self, queued: QueuedChunk, frames: Iterable[int] | None = None) -> list[str]:
        """Do so for a chunk, or for some of its frames, that is about to start; return what they were named.

        Raises `OSError` where one cannot be renamed.
        """
        chunk = queued.chunk
        age = time.monotonic() - self._clear.pop(chunk.id, -math.inf)
        # A later attempt may find what the one before has written since.
        if queued.attempt > 1 or age > _FRESH:
            return await in_slices(set_leftovers_aside(chunk, self._job_dir, frames))
        return []

    def look_ahead(self, following: Iterable[Chunk], chunk: Chunk) -> None:
        """Look for those of the chunks that follow, in the thread that has just looked at the output of `chunk`.

        On the way to a thread and back more time is lost than in it, and they come one right after the other.
        """
        # What lies elsewhere may be on a disk that does not answer.
        folders = _folders(chunk)
        now = time.monotonic()
        self._clear = {other.id: now for other in following if _folders(other) <= folders and self._is_clear(other)}

    def _is_clear(self, chunk: Chunk) -> bool:
        paths = list(islice(output_paths(chunk, self._job_dir), _FEW + 1))
        return len(paths) <= _FEW and all(map(_is_missing, paths))


def _folders(chunk: Chunk) -> set[str]:
    return set(map(os.path.dirname, chunk.output_files))


def _is_missing(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        # Any other is for the chunk's own look to raise.
        return isinstance(error, FileNotFoundError)
    return False
