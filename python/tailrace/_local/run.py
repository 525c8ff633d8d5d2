"""One command from a script that is not async."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import anyio

from .._command.job import WorkerJob, is_async
from .._command.result import WorkerResult
from .adapter import LocalWorkerAdapter
from .early_ends import can_end_early, connect

if TYPE_CHECKING:
    from .._native import Execution, Mailbox


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
        from .._native import Mailbox
        from .native import Endable, UsageTeller, start, to_result, warn_of_rest
    except ImportError:
        return anyio.run(LocalWorkerAdapter(backend="python").execute, job)
    mailbox = Mailbox()
    execution = start(job, mailbox)
    tell_usage = UsageTeller(job, execution)
    disconnect = None
    try:
        if can_end_early(job):
            disconnect = connect(job, Endable(execution))
        if job.on_started is not None and inspect.isawaitable(started := job.on_started()):
            _close(started)
            raise _async_callback()
        while not execution.finished:
            awaitable = execution.deliver()
            if awaitable is not None:
                _close(awaitable)
                raise _async_callback()
            tell_usage()
            if not execution.backlog and not execution.finished:
                mailbox.wait()
    except BaseException:
        execution.stop()
        _until_over(job, execution, mailbox)
        warn_of_rest(job, execution)
        raise
    finally:
        if disconnect is not None:
            disconnect()
    return to_result(job, execution)


def _until_over(job: WorkerJob, execution: Execution, mailbox: Mailbox) -> None:
    from .native import LOOK_AGAIN, PATIENCE

    deadline = time.monotonic() + job.kill_grace + PATIENCE
    while not execution.over and time.monotonic() < deadline:
        try:
            mailbox.wait(LOOK_AGAIN)
        except BaseException:  # noqa: BLE001, S112
            # A second Ctrl-C: the first is on its way out as soon as the tree is gone.
            continue


def _async_callback() -> TypeError:
    return TypeError("run() cannot await an async callback: use LocalWorkerAdapter in async code")


def _close(awaitable: Awaitable[object]) -> None:
    # A coroutine that is dropped without having been awaited warns about it.
    if inspect.iscoroutine(awaitable):
        awaitable.close()
