"""How long output waits on its node for more: an item costs far more than the bytes in it."""

from __future__ import annotations

import time

from .output_items import Item, pack

LARGEST = 4 * 2**20
"""How much output is an item, in bytes; what comes at once may go beyond."""
_MUCH = LARGEST // 16
_GATHER = 0.05
"""How long to wait for a large item, in seconds, where so many bytes have come at once.

Many commands at a time come to have a processor as seldom as that."""


class Gathering:
    """Holds what a command wrote until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, memoryview]] = []
        self._size = self._last_size = 0
        self._began_at = 0.0
        self.is_discarding = False

    def add(self, stream: int, piece: memoryview) -> None:
        """Add output of stream 0 or 1."""
        if self.is_discarding:
            return
        if not self._pieces:
            self._began_at = time.monotonic()
        self._pieces.append((stream, piece))
        self._size += len(piece)

    def discard(self) -> None:
        """Drop the output that is there and what still comes: nobody takes it any more."""
        self.is_discarding = True
        self.take()

    @property
    def patience(self) -> float | None:
        """For how many seconds more can be waited for; 0 if it is time to `take`, None if there is nothing."""
        if not self._pieces:
            return None
        if self._size >= LARGEST or max(self._size, self._last_size) < _MUCH:
            return 0.0
        return max(0.0, self._began_at + _GATHER - time.monotonic())

    def take(self) -> Item:
        """Return all there is, and begin anew."""
        pieces, self._pieces = self._pieces, []
        self._size, self._last_size = 0, self._size
        return pack(pieces)
