"""Attempts that came to nothing for no fault of their chunk: its node, the engine or the connection was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from .._spec.model import Chunk

MOST_LOST = 5
"""So many times lost, a chunk may be what its nodes are lost for."""


class LostAttempts:
    """Counts them, since they are none of a chunk's retries."""

    def __init__(self, uncounted: Mapping[int, int], on_lost: Callable[[int], object]) -> None:
        """Take how many attempts at each chunk took no retry before, and who is told of each that is lost."""
        self._on_lost = on_lost
        self._uncounted = uncounted
        self._lost: Counter[int] = Counter()
        self._in_a_row: Counter[int] = Counter()

    def add(self, chunk: Chunk) -> int:
        """Count another one, and return how many that are in a row."""
        self._lost[chunk.id] += 1
        self._in_a_row[chunk.id] += 1
        self._on_lost(chunk.id)
        return self._in_a_row[chunk.id]

    def end_row(self, chunk: Chunk) -> None:
        """Note an attempt at the chunk that came to an end of its own."""
        self._in_a_row.pop(chunk.id, None)

    def of(self, chunk: Chunk) -> int:
        """Return how many attempts at the chunk were lost in this run."""
        return self._lost[chunk.id]

    def counted(self, chunk: Chunk, attempt: int) -> int:
        """Return how many of the attempts up to this one are to be held against the chunk."""
        return attempt - self._lost[chunk.id] - self._uncounted.get(chunk.id, 0)
