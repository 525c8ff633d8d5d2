"""What the output of one attempt at a chunk tells of its progress."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable

import anyio

from ._events import ChunkErrorReported, ChunkFileSaved, ChunkProgress
from ._in_turn import Steps
from ._reported_errors import ReportedErrors
from ._worker_job import StreamName
from .progress import FileSaved, Progress, ProgressParser, RenderError, Report

PROGRESS_INTERVAL = 0.5
"""The least time between two events of a chunk's progress, in seconds: renderers print it far more often."""

Emit = Callable[..., Awaitable[None] | None]
"""Takes the class of an event and its fields, but for those that every event has."""


class ProgressWatch:
    """Reads the output, emits events of what it finds, and cancels `scope` when there was no progress for too long."""

    def __init__(self, parser: ProgressParser, emit: Emit, *, limit: float | None) -> None:
        self.errors = ReportedErrors()
        self.scope = anyio.CancelScope()
        self._parser = parser
        self._emit = emit
        self._limit = math.inf if limit is None else limit
        self._pauses = 0
        self._left = self._limit
        self._unseen = False
        self._next_event = -math.inf

    def start(self) -> None:
        """Start the clock of the limit."""
        self.scope.deadline = anyio.current_time() + self._limit

    def read(self, data: str | bytes | memoryview, stream: StreamName) -> Steps:
        """Take the next piece of a stream."""
        return self._take(self._parser.feed(data, stream))

    def finish(self) -> Steps:
        """Take the end of the output: what is still to be told is told."""
        yield from self._take(self._parser.finish())
        if self._unseen:
            yield self._tell()

    def tell_what_is_due(self) -> Steps:
        """Tell the progress that came too soon after the last event of it, when it is time."""
        if self._unseen and anyio.current_time() >= self._next_event:
            yield self._tell()

    async def while_standing_still(self, pending: Awaitable[None]) -> None:
        """Await something for which the clock of the limit stands still."""
        if not self._pauses:
            self._left = self.scope.deadline - anyio.current_time()
            self.scope.deadline = math.inf
        self._pauses += 1
        try:
            await pending
        finally:
            self._pauses -= 1
            if not self._pauses:
                self.scope.deadline = anyio.current_time() + self._left

    def _take(self, reports: Iterable[Report]) -> Steps:
        for report in reports:
            match report:
                case Progress():
                    self._unseen = True
                    yield from self.tell_what_is_due()
                case FileSaved(path=path):
                    yield self._emit(ChunkFileSaved, path=path)
                case RenderError(message=message, category=category, fatal=fatal):
                    self.errors.add(report)
                    yield self._emit(ChunkErrorReported, message=message, category=category, fatal=fatal)
            if not isinstance(report, RenderError):
                self._restart_clock()

    def _restart_clock(self) -> None:
        if self._pauses:
            self._left = self._limit
        elif self._limit < math.inf:
            self.scope.deadline = anyio.current_time() + self._limit

    def _tell(self) -> Awaitable[None] | None:
        self._unseen = False
        self._next_event = anyio.current_time() + PROGRESS_INTERVAL
        progress = self._parser.progress
        return self._emit(
            ChunkProgress,
            renderer=self._parser.renderer,
            frame=progress.frame,
            frame_fraction=progress.frame_fraction,
            fraction=progress.fraction,
            remaining=progress.remaining,
            memory=progress.memory,
            status=progress.status,
        )
