"""Commands on this machine, streamed by the native core."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Awaitable
from typing import Literal

import anyio
import anyio.lowlevel

from ._errors import WorkerError, WorkerSpawnError, WorkerTimeoutError
from ._native import Ended, Execution, Mailbox, after_fork, shut_down
from ._news import News
from ._worker_job import WorkerJob
from ._worker_result import ResourceUsage, WorkerResult

_EXIT_PATIENCE = 5.0
"""How long the interpreter's exit may take for commands that are still running, in seconds."""
_TIME_SLICE = 0.005
"""How long callbacks that never wait may keep the event loop, in seconds."""


class LocalWorkerAdapter:
    """Runs commands on this machine and streams their output, on asyncio and on trio.

    A command runs in a session of its own, with nothing on its standard input. Whatever ends it before its time, a
    limit, a cancellation or a callback that raises, ends every process it started too: they are asked to terminate,
    and killed after `WorkerJob.kill_grace`; only then does `execute` return or raise.
    """

    streams = True
    remote = False

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` to its end.

        Raises `WorkerSpawnError` if the command could not be started, `WorkerTimeoutError` if a limit ended it, and
        `WorkerError` if its output or exit status could not be had. What a callback raises comes out unchanged.
        """
        news = News.current()
        execution = start(job, news.mailbox)
        try:
            await _deliver(job, execution, news)
        except BaseException:
            execution.stop()
            await _until_over(execution, news)
            raise
        return to_result(job, execution)


def kill_all_commands(patience: float = _EXIT_PATIENCE) -> None:
    """Kill everything that this process runs through tailrace, and start nothing any more.

    For a program that has to end at once. Returns when all is gone, or after `patience` seconds. The interpreter's
    normal exit does the same.
    """
    shut_down(patience)


atexit.register(kill_all_commands)
os.register_at_fork(after_in_child=after_fork)


async def _deliver(job: WorkerJob, execution: Execution, news: News) -> None:
    turn_began = time.monotonic()
    while True:
        awaitable = execution.deliver()
        if awaitable is not None:
            if not await _await_callback(awaitable, job, execution, news):
                return
        elif execution.finished:
            return
        elif not execution.backlog:
            await news.wait(execution.id)
            turn_began = time.monotonic()
        if time.monotonic() - turn_began > _TIME_SLICE:
            await anyio.lowlevel.checkpoint()
            turn_began = time.monotonic()


async def _await_callback(awaitable: Awaitable[object], job: WorkerJob, execution: Execution, news: News) -> bool:
    """Await what a callback returned; False if a limit had ended the command and the callback took too long then."""
    with anyio.CancelScope() as scope:

        def set_deadline() -> None:
            past_limit = execution.seconds_past_limit
            if past_limit is not None:
                scope.deadline = anyio.current_time() + max(0.0, job.kill_grace - past_limit)

        with news.listening(execution.id, set_deadline):
            set_deadline()
            await awaitable
    if scope.cancelled_caught:
        execution.stop()
        await _until_over(execution, news)
        return False
    return True


async def _until_over(execution: Execution, news: News) -> None:
    # Ending the tree does not depend on this task, but nothing may come out before it is gone: neither the shield
    # nor the exceptions swallowed here are enough alone, since `Task.cancel` reaches through the one, and an anyio
    # scope repeats its cancellation as long as it is ignored.
    with anyio.CancelScope(shield=True):
        while not execution.over:
            try:
                await news.wait(execution.id)
            except BaseException:  # noqa: BLE001, S112
                continue


def start(job: WorkerJob, mailbox: Mailbox) -> Execution:
    """Have the core start the job's command; `mailbox` gets the news of it."""
    capture = job.capture
    try:
        return Execution(
            mailbox,
            job.command,
            job.args,
            env=None if job.env is None else list(job.env.items()),
            cwd=job.cwd,
            timeout=job.timeout,
            idle_timeout=job.idle_timeout,
            kill_grace=job.kill_grace,
            stream=job.stream,
            keep=capture.memory if capture.kind == "full" else (capture.head, capture.tail_size),
            on_stdout=job.on_stdout,
            on_stderr=job.on_stderr,
        )
    except OSError as error:
        raise WorkerSpawnError(error.errno or 0, f"cannot start {job.command}: {error.strerror or error}") from error


def to_result(job: WorkerJob, execution: Execution) -> WorkerResult:
    """Return the result of an execution that is over, or raise the error that it ended with."""
    outcome = execution.outcome()
    if isinstance(outcome, tuple):
        raise WorkerSpawnError(*outcome)
    result = WorkerResult(
        255 if outcome.exit_code is None else outcome.exit_code,
        outcome.stdout,
        outcome.stderr,
        duration=outcome.duration,
        usage=ResourceUsage(outcome.cpu_user, outcome.cpu_system, outcome.max_rss),
        truncated=outcome.truncated,
    )
    if outcome.limit is not None:
        raise WorkerTimeoutError(_describe_limit(job, outcome.limit), result, outcome.limit)
    if outcome.error is not None:
        raise WorkerError(f"the output of {job.command} is incomplete: {outcome.error}", result)
    if outcome.exit_code is None:
        raise WorkerError(_describe_lost_status(job, outcome), result)
    return result


def _describe_limit(job: WorkerJob, limit: Literal["total", "idle"]) -> str:
    if limit == "total":
        return f"{job.command} was ended because it ran longer than {job.timeout:g} s"
    return f"{job.command} was ended because it wrote nothing for {job.idle_timeout:g} s"


def _describe_lost_status(job: WorkerJob, outcome: Ended) -> str:
    return (
        f"the exit status of {job.command} is unknown after {outcome.duration:.1f} s: something else in this process"
        " collected it (SIGCHLD is ignored, or os.waitpid(-1) was called)"
    )
