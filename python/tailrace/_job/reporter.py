"""Tells whoever wants to know what happens in a job: the user's callbacks and the log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import anyio

from .._command.callbacks import UserCallback, await_if_needed
from .._command.job import StreamName
from .._command.result import WorkerResult
from .._concurrency.steps import Steps, run_steps
from .._errors import TailraceError
from .._events.head import EmitChunkEvent, MakeChunkEvent, MakeEvent
from .._events.types import ChunkFinished, ChunkOutput, ChunkSkipped, JobFinished, LogFailed, MergeOutput
from .._output.job_logs import JobLogs
from .._output.pipeline import OutputCallback
from .context import JobContext
from .observers import Observers

_PATIENCE = 2.0
"""How long a log and an async listener may take for the end of a job that was cancelled, in seconds."""


class JobReporter:
    """The callbacks and the log of one run of a job. Once a callback has raised, none is called but for the last event.

    `error` is what it raised, and `on_error` is told at once, whatever the adapter makes of the exception.
    """

    def __init__(
        self,
        context: JobContext,
        *,
        done_before: int,
        on_error: Callable[[BaseException], object],
    ) -> None:
        spec, options = context.spec, context.options
        self.error: BaseException | None = None
        self._on_error = on_error
        self._job_id = spec.id
        self._run_id = context.run_id
        self._logs = context.logs
        self._is_told = context.is_told
        self._sequence = 0
        self._completed = done_before
        self._total = len(spec.chunks)
        self._observers = Observers(options, self._fail)
        self._on_chunk_complete = self._callback(options.on_chunk_complete, one_at_a_time=True)
        self._on_progress = self._callback(options.on_progress, one_at_a_time=True)
        # Of one chunk, the adapter sees to the order; chunks do not wait for one another's callbacks.
        self._on_output = {
            "stdout": self._callback(options.on_chunk_stdout, one_at_a_time=False),
            "stderr": self._callback(options.on_chunk_stderr, one_at_a_time=False),
        }

    async def emit(self, make: MakeEvent) -> None:
        """Have an event made and hand it to the log and to the observers, if there are such."""
        await await_if_needed(self.emit_now(make))

    def emit_now(self, make: MakeEvent) -> Awaitable[None] | None:
        """Do the same; return what is still to be awaited."""
        if self.error is not None or not self._is_told:
            return None
        return run_steps(self._emit_steps(make))

    def of_chunk(self, chunk_id: int, attempt: int) -> EmitChunkEvent:
        """Return what does the same for the events of one attempt at a chunk."""

        def emit(make: MakeChunkEvent) -> Awaitable[None] | None:
            return self.emit_now(lambda head: make({**head, "chunk_id": chunk_id, "attempt": attempt}))

        return emit

    async def job_finished(self, duration: float, error: BaseException | None) -> None:
        """Tell of the job's end, if its beginning was told: whatever it is, and all but an observer that raised.

        No observer's exception replaces it, and what a callback raised, or a cancellation, is not held up for long.
        """
        if not self._sequence:
            return
        steps = self._last_steps(lambda head: JobFinished(**head, duration=duration, error=error))
        if error is None:
            await await_if_needed(run_steps(steps))
            return
        is_failure = isinstance(error, TailraceError) and error is not self.error
        if not is_failure and self._logs is not None:
            self._logs.hurry()
        with nullcontext() if is_failure else anyio.move_on_after(_PATIENCE, shield=True):
            try:
                await await_if_needed(run_steps(steps))
            except Exception as raised:  # noqa: BLE001
                error.add_note(f"{self._observers.failed or 'the log'} raised {raised!r} when it was told")

    def log_failed(self, path: str, reason: str) -> Awaitable[None] | None:
        """Report that a log file cannot be written."""
        return self.emit_now(lambda head: LogFailed(**head, path=path, reason=reason))

    async def chunk_skipped(self, chunk_id: int, because_of: int) -> None:
        """Report a chunk that is not run since it depends on a failed one."""
        await self.emit(lambda head: ChunkSkipped(**head, chunk_id=chunk_id, because_of=because_of))

    async def chunk_completed(self, chunk_id: int, attempt: int, result: WorkerResult) -> None:
        """Report a completed chunk to all who want to know."""
        await await_if_needed(self._call(self._on_chunk_complete, chunk_id, result))
        await self.emit(lambda head: ChunkFinished(**head, chunk_id=chunk_id, attempt=attempt, result=result))
        # Counted where the call is made: with any wait between the two the numbers could come in another order.
        self._completed += 1
        await await_if_needed(self._call(self._on_progress, self._completed, self._total))

    def chunk_output(self, chunk_id: int, attempt: int, stream: StreamName) -> OutputCallback | None:
        """Return the callback for a stream of an attempt at a chunk; None if nobody listens."""
        callback = self._on_output[stream]
        if not self._observers:
            return None if callback is None else partial(self._call_with_each, callback, chunk_id)

        def tell(data: str | memoryview) -> Awaitable[None] | None:
            return self.emit_now(
                lambda head: ChunkOutput(**head, chunk_id=chunk_id, attempt=attempt, stream=stream, data=data)
            )

        def steps(pieces: Sequence[str | memoryview]) -> Steps:
            for data in pieces:
                yield self._call(callback, chunk_id, data)
                yield tell(data)

        return steps

    def merge_output(self, stream: StreamName) -> OutputCallback | None:
        """Return the callback for a stream of the merge command; None if nobody listens."""
        if not self._observers:
            return None

        def tell(data: str | memoryview) -> Awaitable[None] | None:
            return self.emit_now(lambda head: MergeOutput(**head, stream=stream, data=data))

        return lambda pieces: map(tell, pieces)

    def _last_steps(self, make: MakeEvent) -> Steps:
        if self._logs is not None:
            # What of the log is lost is told before.
            yield self._logs.settle_events()
            yield from self._tell_log_failure(self._logs)
        yield from self._emit_steps(make)

    def _emit_steps(self, make: MakeEvent) -> Steps:
        event = make(
            {
                "job_id": self._job_id,
                "run_id": self._run_id,
                "sequence": self._sequence,
                "time": time.time(),
                "monotonic": time.monotonic(),
            }
        )
        self._sequence += 1
        logs = self._logs if self._logs is not None and self._logs.write_event(event) else None
        # Nothing is awaited before, or events would come in another order.
        yield self._observers(event)
        if logs is not None:
            yield logs.room_for_events()
            yield from self._tell_log_failure(logs)

    def _tell_log_failure(self, logs: JobLogs) -> Steps:
        failure = logs.take_failure()
        if failure is not None:
            yield self.log_failed(*failure)

    def _call(self, callback: UserCallback | None, *args: object) -> Awaitable[None] | None:
        return None if callback is None or self.error is not None else callback(*args)

    def _call_with_each(self, callback: UserCallback, chunk_id: int, pieces: Sequence[Any]) -> Steps:
        if self.error is None:
            for pending in callback.with_each(chunk_id, pieces):
                yield pending
                if self.error is not None:
                    # That of another chunk's callback.
                    return

    def _callback(self, function: Callable[..., object] | None, *, one_at_a_time: bool) -> UserCallback | None:
        return None if function is None else UserCallback(function, self._fail, one_at_a_time=one_at_a_time)

    def _fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
            self._on_error(error)
