"""The events of a job, as something to iterate over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio

from .._events.types import JobEvent
from .report import JobReport

Observer = Callable[[JobEvent], Awaitable[None]]


class JobEventStream:
    """Runs a job while its events are iterated over; made by `JobExecutor.stream`.

    An async context manager, and inside its block an async iterator, once. The job waits for who iterates: it is as
    fast as its events are taken, and none is lost. After the last event the iteration raises what
    `JobExecutor.execute` would have raised, if the job failed. Leaving the block earlier ends the job and everything
    it started, and how it ended is not told.
    """

    def __init__(self, run: Callable[[Observer], Awaitable[JobReport]]) -> None:
        self.report: JobReport | None = None
        """What `JobExecutor.execute` returns, once the iteration has come to its end."""
        self._run = run
        self._error: BaseException | None = None
        self._is_entered = False

    async def __aenter__(self) -> Self:
        self._send, self._receive = anyio.create_memory_object_stream[JobEvent](0)
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._run_job)
        self._is_entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, GeneratorExit):
            # The event loop is gone: there is nothing to wait for any more, and the commands end with their task.
            return
        self._tasks.cancel_scope.cancel()
        # Nobody takes what comes now.
        self._receive.close()
        # The task group is not told what left the block, or it would come out in an ExceptionGroup.
        await self._tasks.__aexit__(None, None, None)
        if error is None and self._error is not None and not isinstance(self._error, Exception):
            # Ctrl-C that hit the job's task.
            raise self._error

    def __aiter__(self) -> Self:
        if not self._is_entered:
            raise RuntimeError(
                "the job has not been started: write `async with executor.stream(spec) as events:` around the iteration"
            )
        return self

    async def __anext__(self) -> JobEvent:
        with suppress(anyio.EndOfStream):
            return await aiter(self)._receive.receive()
        if self._error is not None:
            error, self._error = self._error, None
            if isinstance(error, StopAsyncIteration):
                # It would end the loop as if all were well.
                raise RuntimeError("a callback raised StopAsyncIteration") from error
            raise error
        raise StopAsyncIteration

    async def _run_job(self) -> None:
        with self._send:
            try:
                self.report = await self._run(self._pass_on)
            except anyio.get_cancelled_exc_class() as error:
                # For who still iterates: then somebody has cancelled this task alone.
                self._error = RuntimeError("the job was cancelled")
                self._error.__cause__ = error
            except BaseException as error:  # noqa: BLE001
                # Out of here it would come in an ExceptionGroup.
                self._error = error

    async def _pass_on(self, event: JobEvent) -> None:
        with suppress(anyio.BrokenResourceError):
            await self._send.send(event)
