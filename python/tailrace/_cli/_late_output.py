"""The output of chunks whose worker sends it when they have ended."""

from __future__ import annotations

import inspect
from dataclasses import replace
from itertools import chain

from tailrace import Capture, WorkerAdapter, WorkerError, WorkerJob, WorkerResult
from tailrace._output_splitter import OutputSplitter
from tailrace._python_capture import PythonCapture


class LateOutput:
    """Hands the output that comes with a result to the callbacks, so that it is shown, logged and understood as any."""

    streams = True
    """To the executor: it need not look for output in the results. Limits on silence make no sense with it."""
    remote = True

    def __init__(self, adapter: WorkerAdapter) -> None:
        self._adapter = adapter

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run the command, and call the callbacks at its end."""
        try:
            result = await self._adapter.execute(replace(job, capture=Capture.full()))
        except WorkerError as error:
            if error.result is not None:
                error.result = await _hand_over(job, error.result)
            raise
        return await _hand_over(job, result)


async def _hand_over(job: WorkerJob, result: WorkerResult) -> WorkerResult:
    """Call the callbacks; return the result with as much output as the job wants kept."""
    kept = []
    for data, callback in ((result.stdout_bytes, job.on_stdout), (result.stderr_bytes, job.on_stderr)):
        capture = PythonCapture(job.capture)
        capture.push(data)
        kept.append(capture)
        if data and callback is not None:
            splitter = OutputSplitter(job.stream)
            for piece in chain(splitter.feed(data), splitter.finish()):
                returned = callback(piece)
                if inspect.isawaitable(returned):
                    await returned
    return WorkerResult(
        result.exit_code,
        *kept,
        duration=result.duration,
        usage=result.usage,
        truncated=result.truncated or any(capture.truncated for capture in kept),
    )
