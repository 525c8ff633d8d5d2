"""What a command has done, and whether that is too little."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

SHARE = 0.01
"""What part of a processor's time is work."""
_MARKS = 32
"""How finely the time of a limit is divided."""


class Activity(NamedTuple):
    """What was seen of a command's tree so far."""

    seen: float
    """The seconds for which it was watched."""
    work: float
    """The seconds of processor time that it used meanwhile."""
    processes: Sequence[int]
    """Who was there at the last look."""


NOTHING_DONE = Activity(0.0, 0.0, ())


class IdleWindow:
    """Tells whether less than the share was worked in the last `limit` seconds that were watched."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        # A step that is longer tells that this process stood still, and did not read what the command wrote.
        self._longest_step = max(1.0, limit / 4)
        self._last_seen = self._watched = 0.0
        self._marks: deque[tuple[float, float]] = deque([(0.0, 0.0)])
        """How long it had been watched, and what it had worked by then, the oldest first."""

    def is_idle(self, seen: float, work: float) -> bool:
        """Take what was seen and worked so far; return whether that was too little."""
        self._watched += min(seen - self._last_seen, self._longest_step)
        self._last_seen = seen
        while len(self._marks) > 1 and self._marks[1][0] <= self._watched - self._limit:
            self._marks.popleft()
        began, done = self._marks[0]
        passed = self._watched - began
        if self._watched - self._marks[-1][0] >= self._limit / _MARKS:
            self._marks.append((self._watched, work))
        return passed >= self._limit and work - done < SHARE * passed
