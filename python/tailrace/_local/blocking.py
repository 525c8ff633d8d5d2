"""One command on the native core, for a thread that has no event loop."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .._native import Execution, Mailbox
from .early_ends import can_end_early, connect
from .native import LOOK_AGAIN, PATIENCE, Endable, UsageTeller, start, to_result, warn_of_rest


class BlockingCommand:
    """A command that runs; its callbacks are called by `deliver`."""

    def __init__(self, job: WorkerJob, execution: Execution, mailbox: Mailbox) -> None:
        self._job = job
        self._execution = execution
        self._mailbox = mailbox
        self._tell_usage = UsageTeller(job, execution)

    @property
    def is_finished(self) -> bool:
        """Whether it has ended and everything has been delivered."""
        return self._execution.finished

    def deliver(self) -> Awaitable[object] | None:
        """Call the callbacks with what has come; return what one of them returned that is to be awaited.

        Raises what a callback raises.
        """
        awaitable = self._execution.deliver()
        self._tell_usage()
        return awaitable

    def wait(self, seconds: float | None = None) -> None:
        """Return when there may be something to deliver, or after so many seconds.

        Raises what a signal handler raises.
        """
        if not self._execution.backlog and not self._execution.finished:
            self._mailbox.wait(seconds)

    def result(self) -> WorkerResult:
        """Return the result when everything is delivered, or raise the error that the command ended with."""
        return to_result(self._job, self._execution)


@contextmanager
def blocking(job: WorkerJob) -> Iterator[BlockingCommand]:
    """Run the command of `job`; what leaves the block before its end, ends it and all that it started.

    Raises `WorkerSpawnError` if it cannot be started.
    """
    mailbox = Mailbox()
    execution = start(job, mailbox)
    disconnect = None
    try:
        if can_end_early(job):
            disconnect = connect(job, Endable(execution))
        yield BlockingCommand(job, execution, mailbox)
    except BaseException:
        execution.stop()
        _wait_until_over(job, execution, mailbox)
        warn_of_rest(job, execution)
        raise
    finally:
        if disconnect is not None:
            disconnect()


def _wait_until_over(job: WorkerJob, execution: Execution, mailbox: Mailbox) -> None:
    deadline = time.monotonic() + job.kill_grace + PATIENCE
    while not execution.over and time.monotonic() < deadline:
        try:
            mailbox.wait(LOOK_AGAIN)
        except BaseException:  # noqa: BLE001, S112
            # A second Ctrl-C: the first is on its way out as soon as the tree is gone.
            continue
