"""Which chunk is next."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import anyio

from .._scheduling.dependencies import Dependencies
from .._scheduling.packer import Packer
from .._spec.model import Chunk
from .._spec.needs import GPUS, MEMORY
from .capacity import Gpus

_AGAIN, _FIRST = 0, 1
"""How orders begin: those that are tried again come before the others."""
_RAISE = 2
"""By what the learned need is multiplied when memory was short for a chunk."""


class QueuedChunk(NamedTuple):
    """A chunk that may start, and which attempt at it this is, counted from 1."""

    chunk: Chunk
    attempt: int
    gpus: tuple[str, ...] | None = None
    """Those that are its own while it runs, as `CUDA_VISIBLE_DEVICES` names them; None: nobody counts them."""


class ChunkQueue:
    """Hands out chunks in their order, as soon as what they wait for is done and what they need is free.

    One that is to be tried again comes before the others when its delay is over. Each that was handed out must be ended
    by `succeed`, `fail` or `put_back`.
    """

    def __init__(
        self,
        chunks: Iterable[Chunk],
        *,
        slots: int,
        capacity: Mapping[str, float] | None = None,
        succeeded: Iterable[int] = (),
        gpus: Gpus | None = None,
    ) -> None:
        """Take chunks, and those that count as done; `capacity` is what the running ones have together."""
        self._chunks = {chunk.id: chunk for chunk in chunks}
        self._places = {id_: place for place, id_ in enumerate(self._chunks)}
        self._capacity = capacity or {}
        self._gpus = gpus
        self._packer: Packer[int] = Packer(self._capacity, slots=slots, clock=anyio.current_time)
        self._dependencies = Dependencies({chunk.id: chunk.depends_on for chunk in self._chunks.values()}, succeeded)
        self._untouched = dict(self._chunks)
        """Those that were not handed out yet."""
        self._unfinished = len(self._chunks)
        self._attempts: dict[int, int] = {}
        self._delayed: list[tuple[float, int, QueuedChunk]] = []
        self._held_until = -math.inf
        self._count = itertools.count()
        self._waiting: deque[anyio.Event] = deque()
        self._learned: float | None = None
        """The most memory that a chunk had which does not say how much it needs; None: none is over."""
        self._learning: set[frozenset[tuple[str, float]]] = set()
        """What else those need that do not say it, of which each is a group."""
        for chunk in self._chunks.values():
            if self._dependencies.is_ready(chunk.id):
                self._add(chunk, (_FIRST, self._places[chunk.id]))

    async def get(self) -> QueuedChunk | None:
        """Return the next one, waiting for one if need be, or None when all chunks are finished."""
        while self._unfinished:
            # Mostly there is nothing to wait for.
            now = anyio.current_time() if self._delayed or self._held_until > 0 else 0.0
            while self._delayed and self._delayed[0][0] <= now:
                queued = heapq.heappop(self._delayed)[2]
                self._attempts[queued.chunk.id] = queued.attempt
                self._add(queued.chunk, (_AGAIN, next(self._count)))
            is_held = now < self._held_until
            id_ = self._packer.take((_FIRST,) if is_held else None)
            if id_ is not None:
                # There may be room for another one.
                self._wake_one()
                return self._handed_out(self._chunks[id_])
            moments = [self._delayed[0][0]] if self._delayed else []
            if is_held and self._packer:
                moments.append(self._held_until)
            await self._wait(min(moments, default=math.inf) - now)
        return None

    def following(self, count: int) -> list[Chunk]:
        """Return up to so many of the chunks that have not been handed out yet, in their order."""
        return list(itertools.islice(self._untouched.values(), count))

    def put_back(self, queued: QueuedChunk, delay: float) -> None:
        """Have the chunk tried again after `delay` seconds."""
        self._release(queued)
        again = QueuedChunk(queued.chunk, queued.attempt + 1)
        heapq.heappush(self._delayed, (anyio.current_time() + delay, next(self._count), again))
        self._wake_all()

    def hold(self, delay: float) -> None:
        """Hand out no chunk for the first time before `delay` seconds have passed."""
        self._held_until = max(self._held_until, anyio.current_time() + delay)

    def succeed(self, queued: QueuedChunk) -> None:
        """Note that a chunk is done, so that what depends on it may start."""
        self._release(queued)
        for id_ in self._dependencies.succeed(queued.chunk.id):
            self._add(self._chunks[id_], (_FIRST, self._places[id_]))
        self._finish(1)

    def fail(self, queued: QueuedChunk) -> list[Chunk]:
        """Note that a chunk has failed for good; return those that will not start for it."""
        self._release(queued)
        skipped = [self._chunks[id_] for id_ in self._dependencies.fail(queued.chunk.id)]
        for chunk in skipped:
            self._untouched.pop(chunk.id, None)
        self._finish(1 + len(skipped))
        return skipped

    def learn_memory(self, chunk: Chunk, peak: int | None, *, was_short: bool) -> None:
        """Note the most memory that a chunk had, in bytes, for those that do not say how much they need."""
        if not self._is_learned(chunk):
            return
        most = self._capacity[MEMORY]
        known = 0.0 if self._learned is None else self._learned
        needed = float(peak or 0)
        if was_short:
            needed = max(needed, _RAISE * known)
        learned = min(max(known, needed), most)
        if learned != self._learned:
            self._learned = learned
            for others in self._learning:
                self._packer.change_needs(others, {**dict(others), MEMORY: learned})

    def _is_learned(self, chunk: Chunk) -> bool:
        """Return whether memory is counted, and the chunk does not say how much it needs."""
        return MEMORY in self._capacity and MEMORY not in chunk.needs

    def _add(self, chunk: Chunk, order: tuple[int, int]) -> None:
        if not self._is_learned(chunk):
            self._packer.add(chunk.id, order, chunk.needs)
            return
        others = frozenset(chunk.needs.items())
        self._learning.add(others)
        # As long as nothing is known of them, they run one at a time.
        memory = self._capacity[MEMORY] if self._learned is None else self._learned
        self._packer.add(chunk.id, order, {**chunk.needs, MEMORY: memory}, group=others)

    def _handed_out(self, chunk: Chunk) -> QueuedChunk:
        self._untouched.pop(chunk.id, None)
        gpus = None if self._gpus is None else self._gpus.take(int(chunk.needs.get(GPUS, 0)))
        return QueuedChunk(chunk, self._attempts.get(chunk.id, 1), gpus)

    def _release(self, queued: QueuedChunk) -> None:
        self._packer.release(queued.chunk.id)
        if self._gpus is not None and queued.gpus:
            self._gpus.give_back(queued.gpus)

    def _finish(self, count: int) -> None:
        self._unfinished -= count
        if self._unfinished:
            self._wake_one()
        else:
            self._wake_all()

    async def _wait(self, seconds: float) -> None:
        changed = anyio.Event()
        self._waiting.append(changed)
        try:
            with anyio.move_on_after(seconds):
                await changed.wait()
        finally:
            if not changed.is_set():
                self._waiting.remove(changed)

    def _wake_one(self) -> None:
        # Who wakes and finds something wakes the next one, so that a hundred slots do not look at each change.
        if self._waiting:
            self._waiting.popleft().set()

    def _wake_all(self) -> None:
        while self._waiting:
            self._waiting.popleft().set()
