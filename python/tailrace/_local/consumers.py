"""The callbacks of one command, and what they are called with, where there is no native core."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Awaitable, Iterable
from typing import Any

import anyio
import anyio.lowlevel

from .._command.callbacks import begin_last_words
from .._command.job import Callback, WorkerJob
from .._command.output_stream import OutputStream
from .python_pipe import PipeReader


class Stream(OutputStream):
    """One pipe, and where its output goes."""

    def __init__(self, job: WorkerJob, callback: Callback | None) -> None:
        super().__init__(job, callback)
        self.reader: PipeReader | None = None
        self.is_delivered = callback is None

    @property
    def is_over(self) -> bool:
        """Whether the pipe has been read to its end and all of it handed on."""
        return self.is_delivered and (self.reader is None or self.reader.is_over)


class Consumers:
    """Calls the callbacks of both streams, until one of them raises or nobody wants the output any more."""

    def __init__(self, job: WorkerJob) -> None:
        self.streams = [Stream(job, callback) for callback in (job.on_stdout, job.on_stderr)]
        self.error: BaseException | None = None
        """What ends the command, such as what a callback raised."""
        self.is_stopped = False
        """Whether no callback is to be called any more."""
        self._hears_last_words = False
        self._on_started = job.on_started
        self._is_announced = job.on_started is None
        self._kill_grace = job.kill_grace
        self._changed = anyio.Event()
        self._limit_hit: float | None = None
        self._scopes: set[anyio.CancelScope] = set()

    @property
    def are_done(self) -> bool:
        """Whether the start has been told, and all output handed on."""
        return self._is_announced and all(stream.is_over for stream in self.streams)

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_for_change(self, seconds: float) -> None:
        """Return when there is news, or after so many seconds."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    def note_limit(self) -> None:
        """Say that a limit ends the command: from now on callbacks have as long for what is left as it has."""
        self._limit_hit = time.monotonic()
        for scope in self._scopes:
            scope.deadline = anyio.current_time() + self._kill_grace

    def begin_last_words(self) -> bool:
        """Call nobody any more, but for who takes what is written while the command is ended: True if that is done."""
        self.is_stopped = True
        self._hears_last_words = begin_last_words(*(stream.callback for stream in self.streams))
        return self._hears_last_words

    def take_last_words(self) -> None:
        """Hand on what came meanwhile."""
        if not self._hears_last_words:
            return
        for stream in self.streams:
            while stream.reader is not None and (piece := stream.reader.take()) is not None:
                for part in stream.splitter.feed(piece):
                    stream.call(part)

    async def announce(self) -> None:
        """Call `on_started`; keep what it raises as the `error`. Output is handed on when it is done."""
        try:
            started = None if self._on_started is None else self._on_started()
            if inspect.isawaitable(started):
                await self._await(started)
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001
            self.error = error
        self._is_announced = True
        self.notify()

    async def deliver_all(self, stream: Stream) -> None:
        """Hand on the output of a stream until it ends; keep what the callback raises as the `error`."""
        reader = stream.reader
        assert reader is not None  # noqa: S101
        try:
            while not self._is_announced:
                await self._changed.wait()
            while True:
                # In this order: the last piece comes before the end.
                is_over = reader.is_over
                piece = reader.take()
                if piece is not None:
                    await self._deliver(stream, stream.splitter.feed(piece))
                    await anyio.lowlevel.checkpoint()
                elif is_over:
                    break
                else:
                    await self._changed.wait()
            await self._deliver(stream, stream.splitter.finish())
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001
            self.error = error
        finally:
            stream.is_delivered = True
            self.notify()

    async def _deliver(self, stream: Stream, pieces: Iterable[Any]) -> None:
        for piece in pieces:
            if self.is_stopped or self.error is not None:
                return
            returned = stream.call(piece)
            if inspect.isawaitable(returned):
                await self._await(returned)

    async def _await(self, returned: Awaitable[object]) -> None:
        """Await what a callback returned, as long as the grace of a limit lasts if one has come."""
        deadline = math.inf
        if self._limit_hit is not None:
            past = time.monotonic() - self._limit_hit
            deadline = anyio.current_time() + max(0.0, self._kill_grace - past)
        with anyio.CancelScope(deadline=deadline) as scope:
            self._scopes.add(scope)
            try:
                await returned
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught:
            self.is_stopped = True
