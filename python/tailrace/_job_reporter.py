"""Tells the user's callbacks what happens in a job."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Literal

from ._events import ChunkFinished, ChunkOutput, JobEvent, MergeOutput
from ._execution_options import JobExecutionOptions
from ._spec import JobSpec
from ._user_callback import UserCallback, await_if_needed
from ._worker_job import Callback
from ._worker_result import WorkerResult


class JobReporter:
    """The callbacks of one run of a job. After one has raised, none is called any more.

    `error` is what it raised, and `on_error` is told at once, whatever the adapter makes of the exception.
    """

    def __init__(
        self, spec: JobSpec, options: JobExecutionOptions, *, skipped: int, on_error: Callable[[BaseException], object]
    ) -> None:
        self.error: BaseException | None = None
        self._on_error = on_error
        self._job_id = spec.id
        self._sequence = 0
        self._completed = skipped
        self._total = len(spec.chunks)
        self._on_event = self._callback(options.on_event, one_at_a_time=True)
        self._on_chunk_complete = self._callback(options.on_chunk_complete, one_at_a_time=True)
        self._on_progress = self._callback(options.on_progress, one_at_a_time=True)
        # Of one chunk, the adapter sees to the order; chunks do not wait for one another's callbacks.
        self._on_output = {
            "stdout": self._callback(options.on_chunk_stdout, one_at_a_time=False),
            "stderr": self._callback(options.on_chunk_stderr, one_at_a_time=False),
        }

    async def emit(self, kind: type[JobEvent], **fields: object) -> None:
        """Build an event and hand it to `on_event`, if there is one."""
        pending = self._emit_now(kind, **fields)
        if pending is not None:
            await pending

    async def chunk_completed(self, chunk_id: int, attempt: int, result: WorkerResult) -> None:
        """Report a completed chunk to all who want to know."""
        await await_if_needed(self._call(self._on_chunk_complete, chunk_id, result))
        await self.emit(ChunkFinished, chunk_id=chunk_id, attempt=attempt, result=result)
        # Counted where the call is made: with any wait between the two the numbers could come in another order.
        self._completed += 1
        await await_if_needed(self._call(self._on_progress, self._completed, self._total))

    def chunk_output(self, chunk_id: int, attempt: int, stream: Literal["stdout", "stderr"]) -> Callback | None:
        """Return the callback for a stream of an attempt at a chunk; None if nobody listens."""
        callback = self._on_output[stream]
        if self._on_event is None:
            return None if callback is None else lambda data: self._call(callback, chunk_id, data)

        def deliver(data: str | memoryview) -> Awaitable[None] | None:
            first = self._call(callback, chunk_id, data)
            if first is not None:
                return _in_turn(first, emit, data)
            return emit(data)

        def emit(data: str | memoryview) -> Awaitable[None] | None:
            return self._emit_now(ChunkOutput, chunk_id=chunk_id, attempt=attempt, stream=stream, data=data)

        return deliver

    def merge_output(self, stream: Literal["stdout", "stderr"]) -> Callback | None:
        """Return the callback for a stream of the merge command; None if nobody listens."""
        if self._on_event is None:
            return None
        return lambda data: self._emit_now(MergeOutput, stream=stream, data=data)

    def _emit_now(self, kind: type[JobEvent], **fields: object) -> Awaitable[None] | None:
        if self._on_event is None or self.error is not None:
            return None
        event = kind(
            job_id=self._job_id,
            sequence=self._sequence,
            time=time.time(),
            monotonic=time.monotonic(),
            **fields,
        )
        self._sequence += 1
        return self._on_event(event)

    def _call(self, callback: UserCallback | None, *args: object) -> Awaitable[None] | None:
        return None if callback is None or self.error is not None else callback(*args)

    def _callback(self, function: Callable[..., object] | None, *, one_at_a_time: bool) -> UserCallback | None:
        return None if function is None else UserCallback(function, self._fail, one_at_a_time=one_at_a_time)

    def _fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
            self._on_error(error)


async def _in_turn(
    first: Awaitable[None], then: Callable[[str | memoryview], Awaitable[None] | None], data: str | memoryview
) -> None:
    await first
    await await_if_needed(then(data))
