"""What earlier attempts left where the next ones are going to write."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from ._chunk_queue import Turn
from ._in_slices import Work, in_slices
from ._output_files import output_paths, set_leftovers_aside
from ._spec import Chunk

_AHEAD = 64
"""How many chunks are looked at together: on the way to a thread and back more time is lost than in it."""
_TIME_AHEAD = 0.002
"""How long a chunk may wait for the others to be looked at, in seconds."""
_FRESH = 1.0
"""How long a look counts, in seconds."""
_FEW = 8
"""How many files of a chunk are worth looking at ahead."""


class Leftovers:
    """Renames what earlier attempts left to `*.partial`, so that it cannot pass for the output of the next one."""

    def __init__(self, job_dir: Path, upcoming: Callable[[int], Sequence[Chunk]]) -> None:
        self._job_dir = job_dir
        self._upcoming = upcoming
        self._clear_at: dict[int, float] = {}
        """When each chunk that was looked at ahead was clear of leftovers; minus infinity if it was not."""

    async def set_aside(self, turn: Turn) -> None:
        """Do so for a chunk that is about to start. Raises `OSError` where a leftover cannot be renamed."""
        chunk = turn.chunk
        age = time.monotonic() - self._clear_at.pop(chunk.id, -math.inf)
        # A later attempt may find what the one before has written since.
        if turn.attempt > 1 or age > _FRESH:
            await in_slices(self._look(chunk, self._upcoming(_AHEAD)))

    def _look(self, chunk: Chunk, upcoming: Sequence[Chunk]) -> Work[None]:
        yield from set_leftovers_aside(chunk, self._job_dir)
        # What lies elsewhere may be on a disk that does not answer.
        folder = os.path.dirname(chunk.output_file)  # noqa: PTH120
        began = time.monotonic()
        for following in upcoming:
            if os.path.dirname(following.output_file) == folder and following.id not in self._clear_at:  # noqa: PTH120
                now = time.monotonic()
                if now - began > _TIME_AHEAD:
                    return
                self._clear_at[following.id] = now if self._is_clear(following) else -math.inf

    def _is_clear(self, chunk: Chunk) -> bool:
        paths = list(islice(output_paths(chunk, self._job_dir), _FEW + 1))
        return len(paths) <= _FEW and all(map(_is_missing, paths))


def _is_missing(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        # Any other is for the chunk's own look to raise.
        return isinstance(error, FileNotFoundError)
    return False
