"""Which chunk is next."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import anyio

from .._spec.model import Chunk


class QueuedChunk(NamedTuple):
    """A chunk that may start, and which attempt at it this is, counted from 1."""

    chunk: Chunk
    attempt: int


class ChunkQueue:
    """Hands out chunks in their order; one that is to be tried again comes before the others when its delay is over.

    Each that was handed out must be ended by `finish` or `put_back`.
    """

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._fresh = deque(chunks)
        self._unfinished = len(self._fresh)
        self._waiting: list[tuple[float, int, QueuedChunk]] = []
        self._held_until = -math.inf
        self._tie_breaker = itertools.count()
        self._changed = anyio.Event()

    async def get(self) -> QueuedChunk | None:
        """Return the next one, waiting for one if need be, or None when all chunks are finished."""
        while self._unfinished:
            delay = math.inf
            if self._waiting:
                delay = self._waiting[0][0] - anyio.current_time()
                if delay <= 0:
                    return heapq.heappop(self._waiting)[2]
            if self._fresh:
                held = self._held_until - anyio.current_time()
                if held <= 0:
                    return QueuedChunk(self._fresh.popleft(), 1)
                delay = min(delay, held)
            with anyio.move_on_after(delay):
                await self._changed.wait()
        return None

    def following(self, count: int) -> list[Chunk]:
        """Return up to so many of the chunks that have not been handed out yet, the next first."""
        return list(itertools.islice(self._fresh, count))

    def put_back(self, queued: QueuedChunk, delay: float) -> None:
        """Have the chunk tried again after `delay` seconds."""
        again = QueuedChunk(queued.chunk, queued.attempt + 1)
        heapq.heappush(self._waiting, (anyio.current_time() + delay, next(self._tie_breaker), again))
        self._notify()

    def hold(self, delay: float) -> None:
        """Hand out no chunk for the first time before `delay` seconds have passed."""
        self._held_until = max(self._held_until, anyio.current_time() + delay)

    def finish(self) -> None:
        """Note that a chunk needs no more turns."""
        self._unfinished -= 1
        if not self._unfinished:
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
