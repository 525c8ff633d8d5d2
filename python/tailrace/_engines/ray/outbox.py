"""Output between the thread that reads it and the one that sends it off."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from .output_items import LARGEST

_T = TypeVar("_T")

_MOST = 2 * LARGEST
"""How many bytes wait; behind that the command is held up."""

_MUCH = LARGEST // 16
_GATHER = 0.005
"""How long to wait for a large item, in seconds, where so many bytes have come at once."""


class Outbox(Generic[_T]):
    """Holds what a command wrote until it is taken, and at last how it ended."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pieces: deque[tuple[int, memoryview]] = deque()
        self._notes: deque[object] = deque()
        self._size = 0
        self._end: _T | None = None
        self._is_discarding = False

    def put(self, stream: int, piece: memoryview) -> None:
        """Add output; waits while there is too much."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _MOST or self._is_discarding)
            if not self._is_discarding:
                self._pieces.append((stream, piece))
                self._size += len(piece)
                self._changed.notify_all()

    def note(self, item: object) -> None:
        """Add something else that is to be sent off."""
        with self._changed:
            self._notes.append(item)
            self._changed.notify_all()

    def finish(self, end: _T) -> None:
        """Say how it ended, after everything else."""
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def discard(self) -> None:
        """Drop the output that is there and what still comes: nobody takes it any more."""
        with self._changed:
            self._is_discarding = True
            self._pieces.clear()
            self._size = 0
            self._changed.notify_all()

    def take(self, patience: float) -> tuple[list[tuple[int, memoryview]], list[object], _T | None]:
        """Return some output, other items and the end, if it comes after these; nothing after `patience` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._notes or self._end is not None, patience)
            if self._size >= _MUCH:
                self._changed.wait_for(lambda: self._size >= LARGEST or self._end is not None, _GATHER)
            notes, taken = list(self._notes), []
            self._notes.clear()
            size = 0
            while self._pieces and size < LARGEST:
                piece = self._pieces.popleft()
                taken.append(piece)
                size += len(piece[1])
            self._size -= size
            self._changed.notify_all()
            return taken, notes, None if self._pieces else self._end
