"""One execution of a fake adapter, while it runs."""

from __future__ import annotations

import copy
import inspect
import math
import signal
from collections.abc import Iterable
from typing import Any, Literal

import anyio
import anyio.lowlevel

from .._command.adapter import Capabilities
from .._command.capture import PythonCapture
from .._command.ending import make_result
from .._command.job import Callback, WorkerJob
from .._command.pieces import OutputSplitter
from .._command.result import WorkerResult
from ._script import FakeExecution


class _Stream:
    def __init__(self, job: WorkerJob, callback: Callback | None, capabilities: Capabilities) -> None:
        self.capture = PythonCapture(job.capture)
        self.splitter = OutputSplitter(job.stream)
        self.callback = callback if capabilities.streams else None


class _LimitReachedError(Exception):
    def __init__(self, kind: Literal["total", "idle"]) -> None:
        self.kind = kind


class _EndAskedError(Exception):
    """Somebody wants the result now."""


class Performance:
    """Does what a `FakeExecution` says for one job, from now on."""

    def __init__(self, job: WorkerJob, execution: FakeExecution, capabilities: Capabilities) -> None:
        self._job = job
        self._on_started = job.on_started if capabilities.tells_start else None
        self._execution = execution
        self._streams = {
            "stdout": _Stream(job, job.on_stdout, capabilities),
            "stderr": _Stream(job, job.on_stderr, capabilities),
        }
        self._began = self._last_output = anyio.current_time()
        timeout = job.timeout if capabilities.honours_limits else None
        idle_timeout = job.idle_timeout if capabilities.honours_limits and capabilities.streams else None
        self._limit = math.inf if timeout is None else self._began + timeout
        self._idle_timeout = math.inf if idle_timeout is None else idle_timeout
        self._ending = job.ending if capabilities.ends_early else None
        self._end_asked = anyio.Event()

    async def run(self) -> WorkerResult:
        """Return the result. Raises the script's error, a limit's, and what a callback raises."""
        # Whatever the script says, it can be cancelled.
        await anyio.lowlevel.checkpoint()
        limit: Literal["total", "idle"] | None = None
        is_ended = False
        if self._ending is not None:
            self._ending.connect(self._end_asked.set)
        try:
            await self._await(None if self._on_started is None else self._on_started())
            # The clock of `idle_timeout` begins when somebody listens.
            self._last_output = anyio.current_time()
            for output in self._execution.timeline:
                await self._wait_until(self._began + output.at)
                await self._write(self._streams[output.stream], output.encoded)
            if self._execution.duration is not None:
                await self._wait_until(self._began + self._execution.duration)
            await self._finish()
        except _LimitReachedError as reached:
            limit, is_ended = reached.kind, True
        except _EndAskedError:
            is_ended = True
        finally:
            if self._ending is not None:
                self._ending.disconnect()
        if not is_ended and self._execution.error is not None:
            raise _copied(self._execution.error)
        stdout, stderr = (stream.capture for stream in self._streams.values())
        return make_result(
            self._job,
            exit_code=-signal.SIGTERM if is_ended else self._execution.exit_code,
            stdout=stdout,
            stderr=stderr,
            duration=anyio.current_time() - self._began,
            usage=None,
            truncated=stdout.truncated or stderr.truncated,
            limit=limit,
            error=None,
        )

    async def _wait_until(self, moment: float) -> None:
        """Return at `moment`, or raise `_LimitReachedError`; what comes in the moment of a limit comes before it."""
        # It may have passed while a callback was slow.
        moment = max(moment, anyio.current_time())
        idle_limit = self._last_output + self._idle_timeout
        limit = min(self._limit, idle_limit)
        with anyio.CancelScope(deadline=min(moment, limit)):
            await self._end_asked.wait()
        if self._end_asked.is_set():
            await self._finish()
            raise _EndAskedError
        if limit < moment:
            await self._finish()
            raise _LimitReachedError("total" if limit == self._limit else "idle")

    async def _write(self, stream: _Stream, data: bytes) -> None:
        if data:
            stream.capture.push(data)
            await self._deliver(stream, stream.splitter.feed(data))
            # The clock of `idle_timeout` stands still while a callback is slow.
            self._last_output = anyio.current_time()

    async def _finish(self) -> None:
        for stream in self._streams.values():
            await self._deliver(stream, stream.splitter.finish())

    async def _deliver(self, stream: _Stream, pieces: Iterable[Any]) -> None:
        if stream.callback is None:
            return
        for piece in pieces:
            await self._await(stream.callback(piece))

    async def _await(self, returned: object) -> None:
        """Await what a callback returned, if it is awaitable; no longer than `kill_grace` beyond `timeout`."""
        if inspect.isawaitable(returned):
            with anyio.CancelScope(deadline=self._limit + self._job.kill_grace) as scope:
                await returned
            if scope.cancelled_caught:
                raise _LimitReachedError("total")


def _copied(error: BaseException) -> BaseException:
    """Return one for each execution: it keeps its traceback, and whoever catches it adds what he knows."""
    try:
        copied = copy.copy(error).with_traceback(None)
    except TypeError:
        # Its class wants other arguments than it keeps.
        return error
    copied.__cause__ = error.__cause__
    return copied
