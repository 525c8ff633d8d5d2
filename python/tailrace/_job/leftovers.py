"""What earlier attempts left where the next ones are going to write."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path

from .._concurrency.slices import in_slices
from .._spec.model import Chunk
from .._spec.outputs import output_paths, set_leftovers_aside
from .queue import Turn

_FRESH = 0.005
"""How long a look counts, in seconds: another command may write there at any time."""
_FEW = 8
"""How many files of a chunk are worth looking at ahead."""


class Leftovers:
    """Renames what earlier attempts left to `*.partial`, so that it cannot pass for the output of the next one."""

    def __init__(self, job_dir: Path) -> None:
        self._job_dir = job_dir
        self._clear: tuple[int, float] | None = None
        """The chunk that was seen to have no leftovers, and when."""

    async def set_aside(self, turn: Turn) -> list[str]:
        """Do so for a chunk that is about to start, and return what they were named.

        Raises `OSError` where one cannot be renamed.
        """
        chunk = turn.chunk
        clear, self._clear = self._clear, None
        # A later attempt may find what the one before has written since.
        if turn.attempt > 1 or clear is None or clear[0] != chunk.id or time.monotonic() - clear[1] > _FRESH:
            return await in_slices(set_leftovers_aside(chunk, self._job_dir))
        return []

    def look_ahead(self, following: Chunk, chunk: Chunk) -> None:
        """Look for those of the chunk that follows, in the thread that has just looked at the output of `chunk`.

        On the way to a thread and back more time is lost than in it, and the two come one right after the other.
        """
        # What lies elsewhere may be on a disk that does not answer.
        if os.path.dirname(following.output_file) == os.path.dirname(chunk.output_file):  # noqa: PTH120
            began = time.monotonic()
            paths = list(islice(output_paths(following, self._job_dir), _FEW + 1))
            if len(paths) <= _FEW and all(map(_is_missing, paths)):
                self._clear = following.id, began


def _is_missing(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        # Any other is for the chunk's own look to raise.
        return isinstance(error, FileNotFoundError)
    return False
