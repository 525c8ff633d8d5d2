"""What ends a command before its time beside the limits of its output and its duration."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from .._command.job import WorkerJob
from .._errors import WorkerSpawnError
from .activity import Activity


class Endable(Protocol):
    """A command that can be ended; each of these may be called by any thread, and when it is over."""

    def end_early(self) -> object:
        """End it with its result."""

    def end_for_idleness(self) -> object:
        """End it by the limit for one that uses no processor."""

    def activity(self) -> Activity:
        """Return what it has done so far."""


def can_end_early(job: WorkerJob) -> bool:
    """Whether anything of these may end the command."""
    return job.cpu_idle_timeout is not None or job.ending is not None


def connect(job: WorkerJob, command: Endable) -> Callable[[], None]:
    """Have the command of `job` ended when its `ending` asks, or when it is idle; return what takes that back.

    Raises `WorkerSpawnError` where no thread can be had that looks at it.
    """
    watched = None
    if job.cpu_idle_timeout is not None:
        # Loaded by who needs it: few do.
        from . import cpu_idleness

        watched = cpu_idleness.Watched(job.cpu_idle_timeout, command.activity, command.end_for_idleness)
        try:
            cpu_idleness.add(watched)
        except RuntimeError as error:
            raise WorkerSpawnError(errno.EAGAIN, f"cannot start {job.command}: {error}") from None
    if job.ending is not None:
        job.ending.connect(command.end_early)

    def disconnect() -> None:
        if watched is not None:
            cpu_idleness.remove(watched)
        if job.ending is not None:
            job.ending.disconnect()

    return disconnect
