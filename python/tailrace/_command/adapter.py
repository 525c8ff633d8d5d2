"""What runs a command somewhere."""

from __future__ import annotations

from typing import Protocol

from .job import WorkerJob
from .result import WorkerResult


class WorkerAdapter(Protocol):
    """Executes one command somewhere and returns its exit code and output.

    An adapter may also have `remote: bool`, True where the command runs on another machine; without it the
    command is taken to run here. For a `WorkerPool` it may have `try_execute`, which does what `execute` does but
    raises `WorkerBusyError` rather than wait for a place, and `async places() -> int | None`: how many commands may run
    at a time, None if nobody can say.
    """

    streams: bool
    """True where `on_stdout` and `on_stderr` are called while the command runs."""

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` to its end.

        Returns its result whatever the exit code. Raises `WorkerError` when the command could not be carried
        through, and whatever a callback of the job raised, unchanged.
        """
        ...
