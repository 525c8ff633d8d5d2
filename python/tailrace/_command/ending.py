"""How a command ended, in a result or an error, and in words."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from .._errors import SpecError, WorkerError, WorkerSpawnError, WorkerTimeoutError
from .._spec.command import parse_command
from .job import WorkerJob
from .memory_report import MemoryReport
from .result import CapturedOutput, ResourceUsage, WorkerResult

Limit: TypeAlias = Literal["total", "idle", "cpu"]
"""The limits of a `WorkerJob`, as the kinds of `WorkerTimeoutError` call them."""


class ProcessNote(NamedTuple):
    """A process, and what it was last seen doing."""

    pid: int
    name: str
    """Empty where it could not be had."""
    state: str
    """One letter, as ps shows it; D is an uninterruptible sleep. Empty where it could not be had."""
    wait_channel: str
    """The kernel's function that it sleeps in; empty where there is none, or it is not told."""

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        state = f" in state {self.state}" if self.state else ""
        channel = f" at {self.wait_channel}" if self.wait_channel else ""
        return f"process {self.pid}{name}{state}{channel}"


def warnings_about(left: Sequence[ProcessNote], unseen: Sequence[ProcessNote]) -> list[str]:
    """Return a line each for what is left of a command's tree, and for strangers that may belong to it or not."""
    warnings = []
    if left:
        warnings.append(f"could not be ended: {_listed(left)}")
    if unseen:
        warnings.append(f"could not be looked at, and may be part of it: {_listed(unseen)}")
    return warnings


_MOST = 5
"""How many processes are named."""


def _listed(processes: Sequence[ProcessNote]) -> str:
    named: Iterable[str] = map(str, processes[:_MOST])
    more = f" and {len(processes) - _MOST} more" if len(processes) > _MOST else ""
    return ", ".join(named) + more


def describe_exit(command: str, exit_code: int, killed_for_memory: MemoryReport | None = None) -> str:
    """Return the reason for an exit code other than 0; `killed_for_memory` is that of the result."""
    described = _describe_exit_code(command, exit_code)
    if killed_for_memory is None:
        return described
    who = "it" if exit_code < 0 else "what it ran"
    seen = str(killed_for_memory)
    return f"{described}: {who} was killed because the memory was full" + (f" ({seen})" if seen else "")


def _describe_exit_code(command: str, exit_code: int) -> str:
    if exit_code >= 0:
        return f"{command} exited with status {exit_code}"
    try:
        name = f" ({signal.Signals(-exit_code).name})"
    except ValueError:
        name = ""
    return f"{command} was ended by signal {-exit_code}{name}"


def describe_error(error: BaseException) -> str:
    """Return what an error says, or its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


_log = logging.getLogger("tailrace")

_NOT_FOUND = ("no such file", "no such program in the PATH it would run with")
"""How the backends end what they say of a command that there is not."""

_PIPE_HELD = (
    "what it left running kept its output open, and was ended after 2 s"
    " (what is to go on has to write elsewhere, as with >file 2>&1)"
)

NO_STATUS = 255
"""Stands in the result of an error for an exit code that nobody knows."""


def make_result(
    job: WorkerJob,
    *,
    exit_code: int | None,
    stdout: CapturedOutput,
    stderr: CapturedOutput,
    duration: float,
    usage: ResourceUsage | None,
    truncated: bool,
    pipe_held: bool = False,
    limit: Limit | None,
    error: str | None,
    memory: MemoryReport | None = None,
    warnings: Sequence[str] = (),
    left: Sequence[ProcessNote] = (),
    unseen: Sequence[ProcessNote] = (),
) -> WorkerResult:
    """Return the result, or raise `WorkerTimeoutError` for a limit, `WorkerError` if output or status are lacking.

    `memory` is what the result says of it. `left` are the processes of the command that could not be ended, `unseen`
    those that could not be looked at, and with `pipe_held` the rest of the tree was ended, since it kept a pipe open:
    the error says so, and what is in `warnings`, or the job's `on_warning` is told where there is none.
    """
    warnings = [*([_PIPE_HELD] if pipe_held else []), *warnings, *warnings_about(left, unseen)]
    noted = "".join(f"; {warning}" for warning in warnings)
    result = WorkerResult(
        NO_STATUS if exit_code is None else exit_code,
        stdout,
        stderr,
        duration=duration,
        usage=usage,
        truncated=truncated,
        killed_for_memory=memory,
    )
    if limit is not None:
        missing = "" if error is None else f"; its output is incomplete: {error}"
        raise limit_error(job, result, limit, missing + noted)
    if error is not None:
        raise incomplete_error(job, result, error + noted)
    if exit_code is None and not (left and job.ending is not None and job.ending.is_asked):
        raise WorkerError(
            f"the exit status of {job.command} is unknown after {duration:.1f} s: something else in this process"
            f" collected it (SIGCHLD is ignored, or os.waitpid(-1) was called){noted}",
            result,
        )
    warn(job, warnings)
    return result


def spawn_error(job: WorkerJob, number: int, message: str) -> WorkerSpawnError:
    """Return the error for a command that was not started; one that holds its arguments too is told where they go."""
    words = job.command.split()
    if number == errno.ENOENT and len(words) > 1 and not job.args and message.endswith(_NOT_FOUND):
        with contextlib.suppress(SpecError):
            command, args = parse_command(job.command)
            message += f": arguments are given apart from it, WorkerJob({command!r}, {args!r})"
    return WorkerSpawnError(number, message)


def warn(job: WorkerJob, warnings: Sequence[str]) -> None:
    """Tell the job's `on_warning`, or the log where there is none. Raises what `on_warning` raises."""
    for warning in warnings:
        if job.on_warning is not None:
            job.on_warning(warning)
        else:
            _log.warning("%s: %s", job.command, warning)


def warn_beside_an_error(job: WorkerJob, warnings: Sequence[str]) -> None:
    """Do the same while an exception is on its way, which nothing may replace: what `on_warning` raises is logged."""
    for warning in warnings:
        try:
            warn(job, [warning])
        except Exception:  # noqa: BLE001
            _log.exception("%s: on_warning raised when it was told: %s", job.command, warning)


def limit_error(job: WorkerJob, result: WorkerResult, limit: Limit, noted: str = "") -> WorkerTimeoutError:
    """Return the error for a command that a limit of its job ended."""
    match limit:
        case "total":
            reason = f"ran longer than {job.timeout:g} s"
        case "idle":
            reason = f"wrote nothing for {job.idle_timeout:g} s"
        case "cpu":
            reason = f"used less than 1 % of a processor for {job.cpu_idle_timeout:g} s"
    return WorkerTimeoutError(f"{job.command} was ended because it {reason}{noted}", result, limit)


def incomplete_error(job: WorkerJob, result: WorkerResult, reason: str) -> WorkerError:
    """Return the error for a command whose output could not be kept."""
    return WorkerError(f"the output of {job.command} is incomplete: {reason}", result)
