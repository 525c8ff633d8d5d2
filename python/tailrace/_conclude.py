"""What comes out of a command that has ended: its result, or the error that its ending means."""

from __future__ import annotations

from typing import Literal

from ._errors import WorkerError, WorkerTimeoutError
from ._worker_job import WorkerJob
from ._worker_result import CapturedOutput, ResourceUsage, WorkerResult

NO_STATUS = 255
"""Stands in the result of an error for an exit code that nobody knows."""


def conclude(
    job: WorkerJob,
    *,
    exit_code: int | None,
    stdout: CapturedOutput,
    stderr: CapturedOutput,
    duration: float,
    usage: ResourceUsage | None,
    truncated: bool,
    limit: Literal["total", "idle"] | None,
    error: str | None,
) -> WorkerResult:
    """Return the result, or raise `WorkerTimeoutError` for a limit, `WorkerError` if output or status are lacking."""
    result = WorkerResult(
        NO_STATUS if exit_code is None else exit_code,
        stdout,
        stderr,
        duration=duration,
        usage=usage,
        truncated=truncated,
    )
    if limit is not None:
        raise limit_error(job, result, limit)
    if error is not None:
        raise incomplete_error(job, result, error)
    if exit_code is None:
        raise WorkerError(
            f"the exit status of {job.command} is unknown after {duration:.1f} s: something else in this process"
            " collected it (SIGCHLD is ignored, or os.waitpid(-1) was called)",
            result,
        )
    return result


def limit_error(job: WorkerJob, result: WorkerResult, limit: Literal["total", "idle"]) -> WorkerTimeoutError:
    """Return the error for a command that a limit of its job ended."""
    reason = f"ran longer than {job.timeout:g} s" if limit == "total" else f"wrote nothing for {job.idle_timeout:g} s"
    return WorkerTimeoutError(f"{job.command} was ended because it {reason}", result, limit)


def incomplete_error(job: WorkerJob, result: WorkerResult, reason: str) -> WorkerError:
    """Return the error for a command whose output could not be kept."""
    return WorkerError(f"the output of {job.command} is incomplete: {reason}", result)
