"""One command from a script that is not async."""

from __future__ import annotations

import inspect

import anyio

from .._command.callbacks import close_unused
from .._command.job import WorkerJob, is_async
from .._command.result import WorkerResult
from .adapter import LocalWorkerAdapter


def run(job: WorkerJob) -> WorkerResult:
    """Run `job` on this machine and block until it has ended; callbacks are called on this thread.

    Returns and raises what `LocalWorkerAdapter.execute` does. Ctrl-C ends the command and everything it started
    before `KeyboardInterrupt` comes out. Raises `TypeError` for what is no `WorkerJob`, and for an async callback:
    there is no event loop to run it.
    """
    if not isinstance(job, WorkerJob):
        raise TypeError(f'run() takes a WorkerJob, such as WorkerJob("ffmpeg", ["-version"]), not {job!r}')
    for callback in (job.on_started, job.on_stdout, job.on_stderr):
        if is_async(callback):
            raise _async_callback()
    try:
        from .blocking import blocking
    except ImportError:
        return anyio.run(LocalWorkerAdapter(backend="python").execute, job)
    with blocking(job) as command:
        if job.on_started is not None:
            _refuse_awaitable(job.on_started())
        while not command.is_finished:
            _refuse_awaitable(command.deliver())
            command.wait()
    return command.result()


def _refuse_awaitable(returned: object) -> None:
    if inspect.isawaitable(returned):
        close_unused(returned)
        raise _async_callback()


def _async_callback() -> TypeError:
    return TypeError("run() cannot await an async callback: use LocalWorkerAdapter in async code")
