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
from .._scheduling.packer import Lane
from .._spec.model import Chunk
from .._spec.needs import MEMORY
from .slots import Slot, Slots

_AGAIN, _FIRST = 0, 1
"""How orders begin: those that are tried again come before the others."""
_RAISE = 2
"""By what the learned need is multiplied when memory was short for a chunk."""


class QueuedChunk(NamedTuple):
    """A chunk that may start, where, and which attempt at it this is, counted from 1."""

    chunk: Chunk
    attempt: int
    slot: Slot
    memory: float | None = None
    """How much it was taken to need, in bytes, where it does not say so itself and it is counted."""


class ChunkQueue:
    """Hands out chunks in their order, as soon as what they wait for is done and what they need is free.

    One that is to be tried again comes before the others when its delay is over. Each that was handed out must be ended
    by `succeed`, `fail` or `put_back`.
    """

    def __init__(
        self,
        chunks: Iterable[Chunk],
        slots: Slots,
        *,
        lane: Lane | None = None,
        succeeded: Iterable[int] = (),
        attempts: Mapping[int, int] | None = None,
    ) -> None:
        """Take chunks, what they run in and the lane to it, those that count as done, and how often each was tried."""
        self._chunks = {chunk.id: chunk for chunk in chunks}
        self._places = {id_: place for place, id_ in enumerate(self._chunks)}
        self._slots = slots
        self._lane = Lane() if lane is None else lane
        self._most_memory = slots.most(MEMORY)
        """What there is of it at most; None: it is not counted."""
        self._dependencies = Dependencies({chunk.id: chunk.depends_on for chunk in self._chunks.values()}, succeeded)
        self._untouched = dict(self._chunks)
        """Those that were not handed out yet."""
        self._unfinished = len(self._chunks)
        self._attempts = {id_: 1 + tried for id_, tried in (attempts or {}).items()}
        self._ready = 0
        """How many wait for their turn alone."""
        self._delayed: list[tuple[float, int, Chunk]] = []
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
        slots.join(self._lane, self._wake_one)

    def close(self) -> None:
        """Leave the slots to others."""
        self._slots.leave(self._lane)

    async def get(self) -> QueuedChunk | None:
        """Return the next one, waiting for one if need be, or None when all chunks are finished."""
        while self._unfinished:
            # Mostly there is nothing to wait for.
            now = anyio.current_time() if self._delayed or self._held_until > 0 else 0.0
            while self._delayed and self._delayed[0][0] <= now:
                self._add(heapq.heappop(self._delayed)[2], (_AGAIN, next(self._count)))
            is_held = now < self._held_until
            self._lane.before = (_FIRST,) if is_held else None
            taken = self._slots.take(self._lane)
            if taken is not None:
                id_, slot = taken
                self._ready -= 1
                self._untouched.pop(id_, None)
                chunk = self._chunks[id_]
                return QueuedChunk(chunk, self._attempts.get(id_, 1), slot, self._learned_memory(chunk))
            moments = [self._delayed[0][0]] if self._delayed else []
            if is_held and self._ready:
                moments.append(self._held_until)
            await self._wait(min(moments, default=math.inf) - now)
        return None

    def following(self, count: int) -> list[Chunk]:
        """Return up to so many of the chunks that have not been handed out yet, in their order."""
        return list(itertools.islice(self._untouched.values(), count))

    def put_back(self, queued: QueuedChunk, delay: float) -> None:
        """Have the chunk tried again after `delay` seconds."""
        id_ = queued.chunk.id
        self._attempts[id_] = queued.attempt + 1
        heapq.heappush(self._delayed, (anyio.current_time() + delay, next(self._count), queued.chunk))
        self._slots.give_back(self._lane, id_)
        self._slots.changed()
        self._wake_all()

    def hold(self, delay: float) -> None:
        """Hand out no chunk for the first time before `delay` seconds have passed."""
        self._held_until = max(self._held_until, anyio.current_time() + delay)

    def succeed(self, queued: QueuedChunk) -> None:
        """Note that a chunk is done, so that what depends on it may start."""
        self._slots.give_back(self._lane, queued.chunk.id)
        for id_ in self._dependencies.succeed(queued.chunk.id):
            self._add(self._chunks[id_], (_FIRST, self._places[id_]))
        self._finish()

    def fail(self, queued: QueuedChunk) -> list[Chunk]:
        """Note that a chunk has failed for good; return those that will not start for it.

        Its slot is free once `end_failed` has been called.
        """
        skipped = [self._chunks[id_] for id_ in self._dependencies.fail(queued.chunk.id)]
        for chunk in skipped:
            self._untouched.pop(chunk.id, None)
        self._unfinished -= len(skipped)
        return skipped

    def end_failed(self, queued: QueuedChunk) -> None:
        """Have the slot of a failed chunk free for others."""
        self._slots.give_back(self._lane, queued.chunk.id)
        self._finish()

    def learn_memory(self, queued: QueuedChunk, peak: int | None, *, was_short: bool) -> None:
        """Note the most memory that a chunk had, in bytes, for those that do not say how much they need.

        Where it was short for one, they are taken to need twice as much as that one was. Several that ran out of it
        together, which were taken to need the same, say no more than one.
        """
        if self._most_memory is None or queued.memory is None:
            return
        needed = float(peak or 0)
        if was_short:
            needed = max(needed, _RAISE * queued.memory) or self._most_memory
        learned = min(max(needed, self._learned or 0), self._most_memory)
        if learned != self._learned:
            self._learned = learned
            for others in self._learning:
                self._slots.change_needs(self._lane, others, {**dict(others), MEMORY: learned})

    def _learned_memory(self, chunk: Chunk) -> float | None:
        """Return how much memory a chunk is taken to need; None if it says so itself, or nobody counts it."""
        if self._most_memory is None or MEMORY in chunk.needs:
            return None
        # As long as nothing is known of them, they run one at a time.
        return self._most_memory if self._learned is None else self._learned

    def _add(self, chunk: Chunk, order: tuple[int, int]) -> None:
        self._ready += 1
        memory = self._learned_memory(chunk)
        if memory is None:
            self._slots.add(self._lane, chunk.id, order, chunk.needs)
            return
        others = frozenset(chunk.needs.items())
        self._learning.add(others)
        self._slots.add(self._lane, chunk.id, order, {**chunk.needs, MEMORY: memory}, group=others)

    def _finish(self) -> None:
        self._unfinished -= 1
        self._slots.changed()
        if not self._unfinished:
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
