"""The output of a step on its way to the callbacks and the result of its job."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio

from ..._command.callbacks import begin_last_words
from ..._command.capture import describe_write_error
from ..._command.job import WorkerJob
from ..._command.output_stream import OutputStream
from ..._concurrency.loop_clock import LoopClock


class Delivery:
    """Calls the callbacks of a job, until one raises or nobody wants the output any more."""

    def __init__(self, job: WorkerJob, clock: LoopClock, on_change: Callable[[], object]) -> None:
        """Have `on_change` called whenever something here is new."""
        self._clock = clock
        self.stdout, self.stderr = OutputStream(job, job.on_stdout), OutputStream(job, job.on_stderr)
        self.error: BaseException | None = None
        """What a callback raised."""
        self.fault: str | None = None
        """Why the output could not be kept."""
        self.last_active = clock.now()
        """When output came last, or a callback was done with it, by the clock."""
        self._on_started = job.on_started
        self._on_change = on_change
        self._is_stopped = self._hears_last_words = False
        # Both streams may have something to be awaited at a time.
        self._scopes: set[anyio.CancelScope] = set()
        self._deadline = math.inf

    @property
    def is_busy(self) -> bool:
        """Whether a callback is being awaited."""
        return bool(self._scopes)

    async def announce(self) -> None:
        """Call `on_started`."""
        self.last_active = self._clock.now()
        if self._on_started is not None:
            await self._call(self._on_started)

    async def take(self, stream: OutputStream, data: bytes) -> None:
        """Keep some output, and call the callback with it."""
        if not data:
            return
        self.last_active = self._clock.now()
        if self.fault is None:
            try:
                stream.capture.push(data)
            except OSError as error:
                self.fault = describe_write_error(error)
                self._on_change()
        await self._hand_on(stream, stream.splitter.feed(data))

    async def finish(self, stream: OutputStream) -> None:
        """Hand on what the end of the output completes."""
        await self._hand_on(stream, stream.splitter.finish())

    def stop(self) -> None:
        """Call no callback any more, but those that take last words; what is awaited of one is cancelled."""
        self._is_stopped = True
        self._hears_last_words = begin_last_words(self.stdout.callback, self.stderr.callback)
        for scope in self._scopes:
            scope.cancel()

    def limit(self, deadline: float) -> None:
        """Have callbacks done by then: they are cancelled, and called no more."""
        self._deadline = deadline
        for scope in self._scopes:
            scope.deadline = deadline

    async def _hand_on(self, stream: OutputStream, pieces: Iterable[Any]) -> None:
        if stream.callback is None:
            return
        for piece in pieces:
            if not self._is_stopped:
                await self._call(stream.callback, piece)
            elif self._hears_last_words:
                stream.callback(piece)

    async def _call(self, callback: Callable[..., object], *args: object) -> None:
        try:
            outcome = callback(*args)
            if outcome is not None and inspect.isawaitable(outcome):
                await self._await(outcome)
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001
            self.error = error
            self.stop()
            self._on_change()

    async def _await(self, outcome: Awaitable[object]) -> None:
        scope = anyio.CancelScope(deadline=self._deadline)
        self._scopes.add(scope)
        try:
            with scope:
                await outcome
        finally:
            self._scopes.discard(scope)
            self.last_active = self._clock.now()
            self._on_change()
        if scope.cancelled_caught:
            self._is_stopped = True
