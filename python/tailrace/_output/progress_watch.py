"""What the output of one attempt at a chunk tells of its progress and of errors."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

import anyio

from .._command.job import StreamName
from .._concurrency.steps import Steps
from .._events.head import EmitChunkEvent
from .._events.types import ChunkErrorReported, ChunkFileSaved, ChunkProgress
from ..progress import FileSaved, FrameRendered, Progress, ProgressParser, RenderError, Report

_MOST_TOLD = 1000


class ReportedErrors:
    """Remembers of the errors that a renderer reports what explains the end of its command."""

    def __init__(self) -> None:
        self.fatal: RenderError | None = None
        """The first after which the frames cannot be right."""
        self._waited_for: RenderError | None = None
        self._told: set[RenderError] = set()

    def add(self, error: RenderError) -> bool:
        """Take the next one; return whether it is worth telling: not once more, and not after so many others.

        A texture that is missing may be told of for each of a million samples.
        """
        if error.fatal and self.fatal is None:
            self.fatal = error
        elif error.category in ("licence", "memory", "disk"):
            self._waited_for = error
        if error in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add(error)
        return True

    @property
    def of_failure(self) -> RenderError | None:
        """What a failure is put down to.

        A renderer that goes on without a texture and fails later does not fail for that, as far as anybody knows; if it
        was short of memory or space or had no licence, it probably does, and to wait costs little where it does not.
        """
        return self.fatal or self._waited_for


PROGRESS_INTERVAL = 0.5
"""The least time between two events of a chunk's progress, in seconds: renderers print it far more often."""


class ProgressWatch:
    """Reads the output, emits events of what it finds, and cancels `scope` when there was no progress for too long.

    Progress is another frame, another part of it or of all, another status, or a file that was saved: not the time or
    the memory that a renderer tells of, which change as well when it is stuck.
    """

    def __init__(
        self,
        make_parser: Callable[[], ProgressParser],
        emit: EmitChunkEvent,
        *,
        limit: float | None,
        waits_for_start: bool = False,
        done_before: float = 0.0,
        on_frame: Callable[[int | None, str | None], object] | None = None,
    ) -> None:
        """Take the limit in seconds; with `waits_for_start` its clock stands still until `begin` is called.

        `make_parser` is called for the first output: many commands have none. `done_before` is how much of the chunk,
        0 to 1, need not be rendered. `on_frame` is called with the number or the file of each frame that is finished.
        """
        self.errors = ReportedErrors()
        self.scope = anyio.CancelScope()
        self._make_parser = make_parser
        self._parser: ProgressParser | None = None
        self._emit = emit
        self._done_before = done_before
        self._on_frame = on_frame
        self._limit = math.inf if limit is None else limit
        self._left = self._limit
        self._waits = waits_for_start
        self._pauses = 1 + waits_for_start
        self._reached: tuple[object, ...] = ()
        self._unseen = False
        self._next_event = -math.inf

    @property
    def frame(self) -> int | None:
        """The frame that is being rendered, if the output tells."""
        return None if self._parser is None else self._parser.progress.frame

    @property
    def is_complete(self) -> bool:
        """Whether all is done as far as the output tells, or it does not tell."""
        fraction = None if self._parser is None else self._parser.progress.fraction
        return fraction is None or fraction >= 1

    def read(self, data: str | bytes | memoryview, stream: StreamName) -> Steps:
        """Take the next piece of a stream."""
        if self._parser is None:
            self._parser = self._make_parser()
        return self._take(self._parser, self._parser.feed(data, stream))

    def finish(self) -> Steps:
        """Take the end of the output: what is still to be told is told."""
        if self._parser is not None:
            yield from self._take(self._parser, self._parser.finish())
            if self._unseen:
                yield self._tell(self._parser)

    def begin(self) -> None:
        """Say that the command has begun: its adapter says so, or output has come.

        Nobody else knows when a command began that had to wait for a place, or whether it will.
        """
        if self._waits:
            self._waits = False
            self._pauses -= 1

    def emit_due(self) -> Steps:
        """Tell the progress that came too soon after the last event of it, when it is time."""
        if self._parser is not None and self._unseen and time.monotonic() >= self._next_event:
            yield self._tell(self._parser)

    def advance(self, seconds: float) -> None:
        """Have time pass on the clock of the limit; less than none was time that the command had to wait for us."""
        if not self._pauses:
            self._left = min(self._limit, self._left - seconds)
            if self._left <= 0:
                self.scope.cancel()

    @contextmanager
    def limiting(self) -> Iterator[None]:
        """Have the clock of the limit run, and `scope` cover what is done."""
        self._pauses -= 1
        try:
            with self.scope:
                yield
        finally:
            self._pauses += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have the clock of the limit stand still."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1

    def _take(self, parser: ProgressParser, reports: Iterable[Report]) -> Steps:
        for report in reports:
            match report:
                case Progress():
                    self._note(report)
                    yield from self.emit_due()
                case FileSaved():
                    self._left = self._limit
                    yield self._tell_file(report)
                case FrameRendered():
                    if self._on_frame is not None:
                        self._on_frame(report.frame, report.path)
                case RenderError():
                    if self.errors.add(report):
                        yield self._tell_error(report)

    def _note(self, progress: Progress) -> None:
        self._unseen = True
        reached = progress.frame, progress.frame_fraction, progress.fraction, progress.status
        if reached != self._reached:
            self._reached = reached
            self._left = self._limit

    def _tell(self, parser: ProgressParser) -> Awaitable[None] | None:
        self._unseen = False
        self._next_event = time.monotonic() + PROGRESS_INTERVAL
        progress = parser.progress
        fraction = progress.fraction
        if fraction is not None and self._done_before:
            fraction = self._done_before + fraction * (1 - self._done_before)
        return self._emit(
            lambda head: ChunkProgress(
                **head,
                renderer=parser.renderer,
                frame=progress.frame,
                frame_fraction=progress.frame_fraction,
                fraction=fraction,
                remaining=progress.remaining,
                memory=progress.memory,
                status=progress.status,
            )
        )

    def _tell_file(self, saved: FileSaved) -> Awaitable[None] | None:
        return self._emit(lambda head: ChunkFileSaved(**head, path=saved.path))

    def _tell_error(self, error: RenderError) -> Awaitable[None] | None:
        return self._emit(
            lambda head: ChunkErrorReported(**head, message=error.message, category=error.category, fatal=error.fatal)
        )
