"""How much output a worker keeps."""

from __future__ import annotations

from collections.abc import Callable


class KeptOutput:
    """The room for the output that all logs keep together, in bytes."""

    def __init__(self, limit: int, drop: Callable[[], bool]) -> None:
        """Take the limit, and what drops one log that is not needed and returns whether there was any."""
        self._room = limit
        self._drop = drop

    def take(self, size: int) -> bool:
        """Return whether there is room, and take it; others have to make way if they can."""
        while size > self._room:
            if not self._drop():
                return False
        self._room -= size
        return True

    def give_back(self, size: int) -> None:
        """Make room that was taken free again."""
        self._room += size
