"""Every exception that tailrace raises.

* `TailraceError`
    * `SpecError`: a job specification, or a command in it, cannot be used
    * `WorkerError`: an adapter could not carry a command through
        * `WorkerSpawnError`: the command could not be started (also an `OSError`)
        * `WorkerTimeoutError`: a limit ended the command (also a `TimeoutError`)
        * `WorkerRemoteError`: a remote worker did not answer as agreed
            * `WorkerBusyError`: it has no free place now
    * `ChunkFailedError`: a chunk used up its attempts
    * `MergeFailedError`: the chunks are done, putting them together failed
    * `StitchError`: a stitcher could not join files
    * `JobLockedError`: another process is running the same job, or one of the same folder that writes the same files
    * `JobNotFoundError`: a farm has no such job, or the job no such chunk
    * `JobStateError`: a job of a farm is in a state in which that cannot be done
    * `RepositoryError`: what a farm keeps its jobs in cannot be used
        * `RepositoryLockedError`: another process has it
        * `RepositoryLostError`: another process has taken it over
        * `RepositoryUnavailableError`: it is full, locked or cannot be reached now
    * `FarmServerError`: a farm's server cannot be reached, or does not know the token

A command that merely exits non-zero is not an error of an adapter: it is a `WorkerResult`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from ._command.result import WorkerResult
    from ._job.report import JobReport

ErrorCategory: TypeAlias = Literal["licence", "memory", "disk", "missing_asset", "scene"]
"""What a renderer's error is about.

No licence was free, too little memory, no space left on a disk or its quota used up, a file is not there, the scene is
wrong.
"""


def _restore(kind: type[TailraceError], args: tuple[Any, ...]) -> TailraceError:
    error = kind.__new__(kind, *args)
    error.args = args
    if isinstance(error, OSError):
        OSError.__init__(error, *args)
    return error


class TailraceError(Exception):
    """The base of every exception that tailrace raises for a reason of its own."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with `args` alone; our constructors take more. A worker process whose
        # exception cannot be unpickled hangs its pool.
        return _restore, (type(self), self.args), self.__dict__


class SpecError(TailraceError):
    """A job specification, or a command in it, cannot be used.

    The message is one line: the file, the place in it, what was found and what was expected. `problems` are all such
    lines where a specification was read whole, else empty.
    """

    problems: Sequence[str]

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class WorkerError(TailraceError):
    """An adapter could not carry a command through.

    `result` is the output so far, or None if the command never started.
    """

    result: WorkerResult | None

    def __init__(self, message: str, result: WorkerResult | None = None) -> None:
        super().__init__(message)
        self.result = result


class WorkerSpawnError(WorkerError, OSError):
    """The command could not be started; `errno` and `strerror` say why, as for any `OSError`."""

    def __init__(self, errno: int, message: str) -> None:
        OSError.__init__(self, errno, message)
        self.result = None

    def __str__(self) -> str:
        return str(self.strerror)


class WorkerTimeoutError(WorkerError, TimeoutError):
    """A limit ended the command and its whole process tree.

    `kind` is "total" (`WorkerJob.timeout`), "idle" (`idle_timeout`), "cpu" (`cpu_idle_timeout`) or "progress"
    (`JobExecutionOptions.no_progress_timeout`); `result` holds the output so far, for "progress" the end of it.
    `no_answer` is True where a remote worker had not begun to answer by then: it may be the worker that hangs.
    """

    kind: Literal["total", "idle", "cpu", "progress"]
    no_answer: bool

    def __init__(
        self,
        message: str,
        result: WorkerResult,
        kind: Literal["total", "idle", "cpu", "progress"],
        *,
        no_answer: bool = False,
    ) -> None:
        TimeoutError.__init__(self, message)
        self.result = result
        self.kind = kind
        self.no_answer = no_answer


class WorkerRemoteError(WorkerError):
    """A remote worker could not be reached, or did not answer as agreed.

    `nothing_began` is True where it is certain that the command was not started, so that another worker may be asked.
    """

    nothing_began: bool

    def __init__(self, message: str, result: WorkerResult | None = None, *, nothing_began: bool = False) -> None:
        super().__init__(message, result)
        self.nothing_began = nothing_began


class WorkerBusyError(WorkerRemoteError):
    """A remote worker has no free place now; the command was not started.

    `retry_after` is how many seconds the worker asks to wait, None if it does not say. Only `try_execute` of an adapter
    raises it; `execute` waits.
    """

    retry_after: float | None

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, nothing_began=True)
        self.retry_after = retry_after


class WorkerLostError(WorkerError):
    """What ran the command was lost: its node, the engine or the connection; the command itself has not failed.

    The executor runs the chunk again without counting an attempt, four times in a row. `node` names the machine, None
    if it is not known. `may_run` is True where nobody could see that all of the command has ended.
    """

    node: str | None
    may_run: bool

    def __init__(
        self, message: str, result: WorkerResult | None = None, *, node: str | None = None, may_run: bool = False
    ) -> None:
        super().__init__(message, result)
        self.node = node
        self.may_run = may_run


class ChunkFailedError(TailraceError):
    """A chunk used up its attempts.

    `result` is that of the last attempt. If that ended in an error, it is the output so far, or None where there is
    none, and the error is the `__cause__`.
    `category` is what the output tells of the reason, None if nothing.
    `failures` lists the failures of all chunks, this one included, when the job went on after the first
    (`fail_fast=False`, `fail_after`); else it holds this one alone.
    `report` has the results of the chunks that were completed; it is None until the job has ended.
    """

    chunk_id: int
    attempts: int
    result: WorkerResult | None
    category: ErrorCategory | None
    report: JobReport | None

    def __init__(
        self,
        message: str,
        *,
        chunk_id: int,
        attempts: int,
        result: WorkerResult | None = None,
        category: ErrorCategory | None = None,
    ) -> None:
        super().__init__(message)
        self.chunk_id = chunk_id
        self.attempts = attempts
        self.result = result
        self.category = category
        self.report = None
        self._failures = _Failures([self])

    @property
    def failures(self) -> Sequence[ChunkFailedError]:
        """The failures of all chunks."""
        return self._failures.errors

    @staticmethod
    def share(errors: Iterable[ChunkFailedError], report: JobReport) -> None:
        """Have each of the errors list all of them and have the report."""
        failures = _Failures(errors)
        for error in failures.errors:
            error._failures, error.report = failures, report


class _Failures:
    # Pickled as a list, which is put down once: a tuple is gone through for each of its elements that leads back to it.

    def __init__(self, errors: Iterable[ChunkFailedError]) -> None:
        self.errors = tuple(errors)

    def __getstate__(self) -> list[ChunkFailedError]:
        return list(self.errors)

    def __setstate__(self, errors: list[ChunkFailedError]) -> None:
        self.errors = tuple(errors)


class MergeFailedError(TailraceError):
    """The chunks are done, putting them together failed.

    `result` is that of the merge command, or of the command that a stitcher ran; None if there is none. An error that
    stopped the merge is the `__cause__`; a stitcher's always is. `report` has the results of the chunks.
    """

    result: WorkerResult | None
    report: JobReport | None

    def __init__(self, message: str, result: WorkerResult | None = None) -> None:
        super().__init__(message)
        self.result = result
        self.report = None


class StitchError(TailraceError):
    """A stitcher could not join files.

    `result` is that of the command which failed at it, or None if none was run.
    """

    result: WorkerResult | None

    def __init__(self, message: str, result: WorkerResult | None = None) -> None:
        super().__init__(message)
        self.result = result


class JobLockedError(TailraceError):
    """Another process is running the same job in the same folder, or one that writes the same files.

    `pid` is None where it cannot be had.
    """

    pid: int | None

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


class JobNotFoundError(TailraceError):
    """A farm has no job of this id, or the job no chunk of that one."""

    job_id: str

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobStateError(TailraceError):
    """A job of a farm is in a state in which what was asked for cannot be done, or another one is in its way."""

    job_id: str
    state: str
    """That of the job, such as "completed"."""

    def __init__(self, message: str, job_id: str, state: str) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.state = state


class RepositoryError(TailraceError):
    """What a farm keeps its jobs in cannot be used: the message says why, and what to do."""


class RepositoryLockedError(RepositoryError):
    """Another process, which lives, has the repository.

    `host` and `pid` say which one; they are None where that cannot be had.
    """

    host: str | None
    pid: int | None

    def __init__(self, message: str, host: str | None, pid: int | None) -> None:
        super().__init__(message)
        self.host = host
        self.pid = pid


class RepositoryLostError(RepositoryError):
    """Another process has taken the repository over; what this one wanted to write since was not written."""


class RepositoryUnavailableError(RepositoryError):
    """The repository is full, locked or cannot be reached now; the same may go through later."""


class FarmServerError(TailraceError):
    """A farm's server cannot be reached, does not allow what was asked for, or is none.

    `status` is that of its answer, such as 401 for a wrong token; None if there was no answer.
    """

    status: int | None

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
