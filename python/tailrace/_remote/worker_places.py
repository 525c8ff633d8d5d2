"""The places of one worker, as far as they are known."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio

from .._command.job import WorkerJob
from .._command.result import WorkerResult

Execute: TypeAlias = Callable[[WorkerJob], Awaitable[WorkerResult]]
"""Has the worker run a job; raises `WorkerBusyError` where it has no place for it."""
FindPlaces: TypeAlias = Callable[[], Awaitable[int | None]]
"""Asks the worker how many places it has; returns None if it cannot say."""

_PAUSE = 2.0
"""How long a worker that is busy is left in peace if it does not say how long it wants to be, in seconds."""
_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 3600.0
_JITTER = 0.25
"""The random part of a pause: without it, those who were refused together would meet again."""
_FIRST_REST = 30.0
_LONGEST_REST = 600.0
"""How long a worker that failed is left, in seconds: doubled each time that it fails again."""


class WorkerPlaces:
    """One worker, and how many jobs it takes: what it says, or else what it does not refuse."""

    def __init__(self, execute: Execute, find: FindPlaces | None = None) -> None:
        """Take what has the worker run a job, and what asks for its places where it can be asked."""
        self.execute = execute
        self.running = 0
        """How many jobs it has of us."""
        self.rests_until = -math.inf
        """Until when it is left for others because it failed."""
        self._find = find
        self._must_ask = find is not None
        self._is_being_asked = False
        self._places = math.inf
        self._accepted = math.inf
        """How many jobs of ours it has not refused, or is not expected to by now."""
        self._pause = _PAUSE
        self._open_again = -math.inf
        self._failures = 0

    def opens_at(self) -> float:
        """Return when it may be given another job; infinity if one has to end before."""
        if self._is_being_asked or self.running >= self._places:
            return math.inf
        return -math.inf if self.running < self._accepted else self._open_again

    def begin(self) -> None:
        """Count a job that it is given, which `end` takes back."""
        if self.running >= self._accepted:
            # As many again, and not all that wait: most of a thousand would be refused.
            self._accepted = 2 * self._accepted + 1
            self._open_again = anyio.current_time() + self._pause
        self.running += 1

    def end(self) -> None:
        """Note that a job has left its place, however it ended."""
        self.running -= 1

    async def find_places(self) -> None:
        """Ask for its places, unless it has answered since it last failed. Raises what the question raises."""
        if self._find is None or not self._must_ask:
            return
        self._is_being_asked = True
        try:
            places = await self._find()
        finally:
            self._is_being_asked = False
        self._must_ask = False
        self._places = math.inf if places is None else max(places, 1)

    def note_refusal(self, retry_after: float | None) -> None:
        """Note that it has refused a job, which has not ended yet: it takes no more until one of ours has ended."""
        asked = _PAUSE if retry_after is None else min(max(retry_after, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        self._pause = asked * random.uniform(1, 1 + _JITTER)  # noqa: S311
        self._open_again = anyio.current_time() + self._pause
        self._accepted = self.running - 1

    def note_failure(self) -> None:
        """Note that it failed: it rests, and is asked before it is used again."""
        now = anyio.current_time()
        if now >= self.rests_until:
            # What fails together counts once.
            self.rests_until = now + min(_FIRST_REST * 2.0**self._failures, _LONGEST_REST)
            self._failures = min(self._failures + 1, 64)
        self._must_ask = self._find is not None
        self._accepted = math.inf

    def note_success(self) -> None:
        """Note that it works."""
        self._failures = 0
        self.rests_until = -math.inf
