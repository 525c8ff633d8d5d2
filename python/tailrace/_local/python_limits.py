"""When a command is to end before its time, where there is no native core."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Literal, TypeAlias

from .._command.ending import Limit
from .._command.job import WorkerJob
from .python_pipe import PausableClock, PipeReader

EarlyEnd: TypeAlias = Limit | Literal["asked"]
"""A limit of the job, or that its `ending` was asked for."""


class EarlyEnds:
    """What may end one command before its time."""

    def __init__(self, job: WorkerJob) -> None:
        self.began = time.monotonic()
        self.silence = PausableClock()
        """Counts from the last byte, but not while nobody reads."""
        self.is_asked = False
        """Whether it is to end with its result."""
        self.is_idle = False
        """Whether it has used no processor for too long."""
        self._job = job

    def due_limit(self, readers: Iterable[PipeReader]) -> Limit | None:
        """Return the limit that has been reached, if one has."""
        now = time.monotonic()
        if self._job.timeout is not None and now >= self.began + self._job.timeout:
            return "total"
        # Where this process was stopped, or had no processor, there may be something that has not been read. In this
        # order: what was read meanwhile has restarted the clock.
        if self._is_silent() and not any(reader.has_more() for reader in readers) and self._is_silent():
            return "idle"
        return "cpu" if self.is_idle else None

    def next_deadline(self) -> float:
        """Return when to ask again, on the monotonic clock."""
        total = math.inf if self._job.timeout is None else self.began + self._job.timeout
        idle = None if self._job.idle_timeout is None else self.silence.reaches(self._job.idle_timeout)
        return min(total, math.inf if idle is None else idle)

    def _is_silent(self) -> bool:
        if self._job.idle_timeout is None:
            return False
        silent_from = self.silence.reaches(self._job.idle_timeout)
        return silent_from is not None and time.monotonic() >= silent_from
