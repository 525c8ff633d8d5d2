"""Commands on this machine, streamed by the native core."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Awaitable, Iterable

import anyio
import anyio.lowlevel

from .._command.callbacks import begin_last_words
from .._command.ending import NO_STATUS, ProcessNote, make_result, spawn_error, warn_beside_an_error, warnings_about
from .._command.job import WorkerJob, variables_of
from .._command.memory_report import MemoryReport, ProcessMemory
from .._command.result import ResourceUsage, UsageSample, WorkerResult
from .._concurrency.steps import TimeSlice
from .._errors import WorkerError, WorkerSpawnError
from .._native import (
    Execution,
    Mailbox,
    after_fork_in_child,
    after_fork_in_parent,
    before_fork,
    shut_down,
)
from .activity import Activity
from .early_ends import can_end_early, connect
from .wakeup import Listener, Notifications

PATIENCE = 20.0
"""How long after the grace a stopped command may take to be over, in seconds; the core itself gives up after 10."""

LOOK_AGAIN = 1.0
"""How often to look whether it is over when no news come, in seconds."""

os.register_at_fork(
    before=before_fork,
    after_in_parent=after_fork_in_parent,
    after_in_child=after_fork_in_child,
)

kill_all = shut_down


async def execute(job: WorkerJob) -> WorkerResult:
    """Run `job` to its end; see `LocalWorkerAdapter.execute`."""
    news = Notifications.current()
    execution = start(job, news.mailbox)
    listener = news.listen(execution.id)
    disconnect = None
    try:
        if can_end_early(job):
            disconnect = connect(job, Endable(execution))
        await _deliver(job, execution, listener)
    except GeneratorExit:
        # The event loop is gone, and with it everything that could be waited for.
        execution.stop()
        raise
    except BaseException:
        listens = begin_last_words(job.on_stdout, job.on_stderr)
        execution.stop(listens=listens)
        await _until_over(job, execution, listener, listens=listens)
        warn_of_rest(job, execution)
        raise
    finally:
        if disconnect is not None:
            disconnect()
    return to_result(job, execution)


async def _deliver(job: WorkerJob, execution: Execution, listener: Listener) -> None:
    tell_usage = UsageTeller(job, execution)
    time_slice = TimeSlice()
    started = None if job.on_started is None else job.on_started()
    if inspect.isawaitable(started) and not await _await_callback(started, job, execution, listener):
        return
    while True:
        awaitable = execution.deliver()
        if awaitable is not None:
            if not await _await_callback(awaitable, job, execution, listener):
                return
        elif execution.finished:
            return
        else:
            tell_usage()
            if not execution.backlog:
                await listener.wait()
                time_slice.begin()
        if time_slice.is_over:
            await time_slice.give_way()


async def _await_callback(
    awaitable: Awaitable[object], job: WorkerJob, execution: Execution, listener: Listener
) -> bool:
    """Await what a callback returned; False if a limit had ended the command and the callback took too long then."""
    # Outside of any task, where the news arrive, anyio cannot tell the time.
    offset = anyio.current_time() - time.monotonic()
    with anyio.CancelScope() as scope:

        def set_deadline() -> None:
            past_limit = execution.seconds_past_limit
            if past_limit is not None:
                scope.deadline = offset + time.monotonic() + max(0.0, job.kill_grace - past_limit)

        listener.also_call = set_deadline
        try:
            set_deadline()
            await awaitable
        finally:
            listener.also_call = None
    if scope.cancelled_caught:
        execution.stop()
        deadline = time.monotonic() + job.kill_grace + PATIENCE
        while not execution.over:
            if time.monotonic() >= deadline:
                raise _unheard_of(job)
            with anyio.move_on_after(LOOK_AGAIN):
                await listener.wait()
        return False
    return True


def _unheard_of(job: WorkerJob) -> WorkerError:
    return WorkerError(
        f"{job.command} was ended by a limit, but {_silence(job)}", WorkerResult(NO_STATUS, truncated=True)
    )


def _silence(job: WorkerJob) -> str:
    return f"nothing was heard of it for {job.kill_grace + PATIENCE:g} s"


async def _until_over(job: WorkerJob, execution: Execution, listener: Listener, *, listens: bool = False) -> None:
    # Ending the tree does not depend on this task, but nothing may come out before it is gone: neither the shield
    # nor the exceptions swallowed here are enough alone, since `Task.cancel` reaches through the one, and an anyio
    # scope repeats its cancellation as long as it is ignored.
    interruption: BaseException | None = None
    deadline = time.monotonic() + job.kill_grace + PATIENCE
    with anyio.CancelScope(shield=True):
        while not (execution.finished if listens else execution.over) and time.monotonic() < deadline:
            try:
                if listens:
                    # Nothing that could be awaited comes back.
                    execution.deliver()
                    if execution.backlog or execution.finished:
                        await anyio.lowlevel.checkpoint()
                        continue
                # Should news be lost, what they were about is seen all the same.
                with anyio.move_on_after(LOOK_AGAIN):
                    await listener.wait()
            except anyio.get_cancelled_exc_class():
                continue
            except BaseException as error:  # noqa: BLE001
                # Ctrl-C, on trio.
                interruption = error
    if interruption is not None:
        raise interruption


def start(job: WorkerJob, mailbox: Mailbox) -> Execution:
    """Have the core start the job's command; `mailbox` gets the news of it."""
    capture = job.capture
    try:
        return Execution(
            mailbox,
            job.command,
            job.args,
            env=list(variables_of(job).items()),
            cwd=job.cwd,
            timeout=job.timeout,
            idle_timeout=job.idle_timeout,
            kill_grace=job.kill_grace,
            stream=job.stream,
            merge_window=job.merge_window,
            keep=_bounded(capture.memory)
            if capture.kind == "full"
            else (_bounded(capture.head), _bounded(capture.tail_size)),
            on_stdout=job.on_stdout,
            on_stderr=job.on_stderr,
            wants_usage=job.on_usage is not None,
            wants_activity=job.cpu_idle_timeout is not None,
        )
    except OSError as error:
        raise WorkerSpawnError(error.errno or 0, f"cannot start {job.command}: {error.strerror or error}") from error


def _bounded(size: int) -> int:
    return min(size, sys.maxsize)


class Endable:
    """An execution as that sees it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def end_early(self) -> None:
        """End it with its result."""
        self._execution.end()

    def end_for_idleness(self) -> None:
        """End it by the limit."""
        self._execution.end(for_idleness=True)

    def activity(self) -> Activity:
        """Return what it has done so far."""
        return Activity(*self._execution.activity)


class UsageTeller:
    """Calls the job's `on_usage` with each new sample that it is called to look for."""

    def __init__(self, job: WorkerJob, execution: Execution) -> None:
        self._on_usage = job.on_usage
        self._execution = execution
        self._told: tuple[int, float] | None = None

    def __call__(self) -> None:
        if self._on_usage is None or self._execution.over:
            return
        usage = self._execution.usage
        if usage is not None and usage != self._told:
            self._told = usage
            self._on_usage(UsageSample(*usage))


def to_result(job: WorkerJob, execution: Execution) -> WorkerResult:
    """Return the result of an execution that is over, or raise the error that it ended with."""
    outcome = execution.outcome()
    if isinstance(outcome, tuple):
        raise spawn_error(job, *outcome)
    return make_result(
        job,
        exit_code=outcome.exit_code,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        duration=outcome.duration,
        usage=ResourceUsage(outcome.cpu_user, outcome.cpu_system, outcome.max_rss, outcome.tree_max_rss),
        truncated=outcome.truncated,
        pipe_held=outcome.pipe_held,
        limit=outcome.limit,
        error=outcome.error,
        memory=None if outcome.memory is None else _memory_report(*outcome.memory),
        left=_notes(outcome.left),
        unseen=_notes(outcome.unseen),
    )


def _memory_report(
    kernel_killed: bool,
    available: int | None,
    total: int | None,
    processes: Iterable[tuple[int, str, int]],
    machine_processes: Iterable[tuple[int, str, int]],
    age: float | None,
) -> MemoryReport:
    of_command, of_machine = (
        tuple(ProcessMemory(*process) for process in listed) for listed in (processes, machine_processes)
    )
    return MemoryReport(kernel_killed, available, total, of_command, of_machine, age)


def warn_of_rest(job: WorkerJob, execution: Execution) -> None:
    """Tell what is left of an execution that was stopped, and so has no result that could."""
    if not execution.over:
        warn_beside_an_error(
            job,
            [f"{job.command} was to be ended, but {_silence(job)}"],
        )
        return
    try:
        outcome = execution.outcome()
    except RuntimeError:
        # It had not been started.
        return
    if not isinstance(outcome, tuple):
        warn_beside_an_error(job, warnings_about(_notes(outcome.left), _notes(outcome.unseen)))


def _notes(processes: list[tuple[int, str, str, str]]) -> list[ProcessNote]:
    return [ProcessNote(*process) for process in processes]
