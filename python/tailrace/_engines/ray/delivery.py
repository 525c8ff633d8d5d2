"""Output on its way from a node to the callbacks, and into the result."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Iterable
from typing import Any

import anyio

from ..._command.capture import describe_write_error
from ..._command.ending import NO_STATUS, incomplete_error
from ..._command.job import Callback, WorkerJob
from ..._command.output_stream import OutputStream
from ..._command.result import WorkerResult
from ..._concurrency.steps import TimeSlice
from .output_items import Item, unpack


class Delivery:
    """Keeps the output of one command, and calls its callbacks one piece at a time."""

    def __init__(self, job: WorkerJob) -> None:
        self._job = job
        self._streams = [_Stream(job, callback) for callback in (job.on_stdout, job.on_stderr)]
        self._time_slice = TimeSlice()
        self._scope: anyio.CancelScope | None = None
        self._deadline = math.inf
        self._is_stopped = False

    def allow_until(self, deadline: float) -> None:
        """Cancel what a callback still does at that time of the event loop, and then call none any more."""
        self._deadline = deadline
        if self._scope is not None:
            self._scope.deadline = deadline

    def rested(self) -> None:
        """Take note that the task has just waited for something."""
        self._time_slice.begin()

    async def take(self, item: Item) -> None:
        """Keep the output in an item and hand it on.

        Raises what a callback raises, and `WorkerError` where output cannot be kept.
        """
        for number, view in unpack(item):
            stream = self._streams[number]
            try:
                stream.keep(view)
            except OSError as error:
                raise incomplete_error(
                    self._job, self.result(WorkerResult(NO_STATUS)), describe_write_error(error)
                ) from None
            if stream.callback is not None and not self._is_stopped:
                await self._call(stream.callback, stream.splitter.feed(view))
        if self._time_slice.is_over:
            await self._time_slice.give_way()

    async def finish(self) -> None:
        """Hand on what the end of the output completes."""
        for stream in self._streams:
            if stream.callback is not None:
                await self._call(stream.callback, stream.splitter.finish())

    def take_last_words(self, item: Item) -> None:
        """Hand output on to callbacks that are made for that, and keep nothing."""
        for number, view in unpack(item):
            stream = self._streams[number]
            if stream.callback is not None:
                for piece in stream.splitter.feed(view):
                    stream.call(piece)

    async def wait_for(self, returned: Awaitable[object]) -> None:
        """Await what a callback returned, for as long as it may take."""
        with anyio.CancelScope(deadline=self._deadline) as scope:
            self._scope = scope
            try:
                await returned
            finally:
                self._scope = None
        self._is_stopped = self._is_stopped or scope.cancelled_caught
        self._time_slice.begin()

    def result(self, told: WorkerResult, *, is_cut: bool = False) -> WorkerResult:
        """Return what the node told, with the output that has come."""
        captures = [stream.capture for stream in self._streams]
        kept = iter(captures)
        result = told.wrapped(lambda _: next(kept))
        result.truncated = is_cut or any(capture.truncated for capture in captures)
        return result

    async def _call(self, callback: Callback, pieces: Iterable[Any]) -> None:
        for piece in pieces:
            if self._is_stopped:
                return
            returned = callback(piece)
            if returned is not None and inspect.isawaitable(returned):
                await self.wait_for(returned)


class _Stream(OutputStream):
    def __init__(self, job: WorkerJob, callback: Callback | None) -> None:
        super().__init__(job, callback)
        self._most = job.capture.tail_size if job.capture.kind in ("tail", "none") else None

    def keep(self, view: memoryview) -> None:
        """Have the capture keep it. Raises `OSError` if a temporary file that this takes cannot be written."""
        if self._most is not None and len(view) > self._most:
            # It would be copied to be dropped.
            self.capture.truncated = True
            view = view[len(view) - self._most :]
        self.capture.push(bytes(view))
