"""The output of chunks whose worker sends it when they have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

from .._command.adapter import Capabilities, WorkerAdapter, open_adapters
from .._command.callbacks import await_if_needed
from .._command.capture import PythonCapture
from .._command.job import WorkerJob
from .._command.pieces import OutputSplitter
from .._command.result import Capture, WorkerResult
from .._concurrency.kept_open import Enterable, KeptOpen
from .._errors import WorkerError

_UNEXPECTED = Capture.tail(16 * 2**20)
"""What is kept while a worker streams, in case that it does not: its answer may be far longer than ought to be kept."""


class LateOutput(Enterable):
    """An adapter around another one, whose output is shown, logged and understood as any, though it comes at the end.

    The callbacks of a job are called with the output that came with the result, before `execute` returns. A worker
    that was asked to stream may not be able to; what it does stream is passed on at once.
    """

    streams = True
    """To the executor: it need not look for output in the results."""

    def __init__(self, adapter: WorkerAdapter) -> None:
        """Run commands with `adapter`."""
        self._adapter = adapter
        inner = Capabilities.of(adapter)
        self.capabilities = replace(inner, streams=True)
        self.remote = inner.remote
        self._may_be_live = inner.streams
        self._kept_open = KeptOpen(lambda: open_adapters([adapter]))

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run the command, and call the callbacks at its end with what they have not been called with before.

        Returns and raises what the adapter does, and what a callback raises; the result holds as much output as the
        job wants kept.
        """
        stdout, stderr = _Listener(job.on_stdout), _Listener(job.on_stderr)
        capture = _UNEXPECTED if self._may_be_live else Capture.full()
        asked = replace(job, capture=capture, on_stdout=stdout.callback, on_stderr=stderr.callback)
        try:
            result = await self._adapter.execute(asked)
        except WorkerError as error:
            if error.result is not None:
                error.result = await _hand_over(job, error.result, stdout, stderr)
            raise
        return await _hand_over(job, result, stdout, stderr)


class _Listener:
    """A callback that knows whether it was called."""

    def __init__(self, function: Callable[[Any], object] | None) -> None:
        self.function = function
        self.was_called = False

    @property
    def callback(self) -> Callable[[Any], object] | None:
        function = self.function
        if function is None:
            return None

        def call(piece: Any) -> object:
            self.was_called = True
            return function(piece)

        return call


async def _hand_over(job: WorkerJob, result: WorkerResult, *listeners: _Listener) -> WorkerResult:
    """Call the callbacks; return the result with as much output as the job wants kept."""
    kept = []
    for data, listener in zip((result.stdout_bytes, result.stderr_bytes), listeners, strict=True):
        capture = PythonCapture(job.capture)
        capture.push(data)
        kept.append(capture)
        if data and listener.function is not None and not listener.was_called:
            splitter = OutputSplitter(job.stream)
            for piece in chain(splitter.feed(data), splitter.finish()):
                await await_if_needed(listener.function(piece))
    return WorkerResult(
        result.exit_code,
        *kept,
        duration=result.duration,
        usage=result.usage,
        truncated=result.truncated or any(capture.truncated for capture in kept),
        lingered=result.lingered,
        killed_for_memory=result.killed_for_memory,
        node=result.node,
    )
