"""What a job came to that did not simply end by itself."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence

from ..._command.ending import incomplete_error, limit_error, warn
from ..._command.memory_report import MemoryReport
from ..._command.result import WorkerResult
from ..._errors import WorkerError, WorkerLostError, WorkerSpawnError
from .execution import DRAIN, Execution
from .queue import Known

_MEMORY = re.compile(r"oom.?kill|out of memory|exceeded (?:step |job )?memory limit|exceeded job memory", re.IGNORECASE)
_CANCELLED = re.compile(r"\*\*\* .*CANCELLED AT \S+(?: DUE TO ([^*]+?))? \*\*\*")
_TIME_LIMIT = "TIME LIMIT"
_NODE_FAILED = "NODE_FAIL"
_FULL = MemoryReport(kernel_killed=False)
"""Slurm says that the job took more than it had, and no figures."""

_UNREACHABLE = re.compile(
    r"unable to contact slurm controller|socket timed out|connect failure|communication connection failure"
    r"|zero bytes were transmitted|controller.* not responding",
    re.IGNORECASE,
)
_LOST = re.compile(
    r"has been revoked|force terminated|task launch .*failed|node failure|error launching|aborting, (?:job|step)"
    r"|job/step already completing|allocation .* (?:expired|revoked)|timed out waiting for job step to complete",
    re.IGNORECASE,
)
_REFUSALS = {
    "no-program": (errno.ENOENT, "no such program in the PATH it would run with"),
    "no-permission": (errno.EACCES, "it may not be executed"),
    "no-folder": (errno.ENOENT, "the node has no folder {folder}, which has to be shared with it"),
}

_PATIENCE = 5.0
"""How long to wait for the end of what may still run, in seconds."""


async def conclude(execution: Execution, said: Sequence[str]) -> WorkerResult:
    """Return the result, or raise the error that the ending means; `said` is what srun itself had to say.

    Raises `WorkerSpawnError`, `WorkerTimeoutError`, `WorkerLostError` and `WorkerError`, and what a callback raised.
    """
    job, result = execution.job, execution.result()
    messages = [*execution.marked["stdout"].messages, *said]
    if execution.delivery.error is not None:
        await _see_to_it(execution)
        raise execution.delivery.error
    if execution.failure is not None:
        raise execution.failure
    if execution.delivery.fault is not None:
        raise incomplete_error(job, result, execution.delivery.fault)
    refused = execution.marked["stdout"].refused
    if refused is not None:
        number, reason = _REFUSALS[refused]
        raise WorkerSpawnError(number, f"cannot start {job.command}: {reason.format(folder=job.cwd)}")
    if execution.reason in ("total", "idle"):
        await _see_to_it(execution)
        raise limit_error(job, result, "total" if execution.reason == "total" else "idle")
    if execution.reason == "early":
        await _see_to_it(execution)
        return result
    if execution.reason == "held":
        warn(job, [f"{execution.queued} was not over {DRAIN:g} s after its command, and what was left of it was ended"])
        return result
    cancelled = next((found for found in map(_CANCELLED.search, messages) if found is not None), None)
    has_memory_message = any(map(_MEMORY.search, messages))
    # A command that has come to a good end may have printed what looks like Slurm's own words, such as an old log.
    if execution.is_complete and (cancelled is None or result.exit_code == 0):
        if has_memory_message and result.exit_code in (-9, 137):
            result.killed_for_memory = _FULL
        return result
    return await _interrupted(execution, result, messages, cancelled, has_memory_message)


async def _interrupted(
    execution: Execution,
    result: WorkerResult,
    messages: Sequence[str],
    cancelled: re.Match[str] | None,
    has_memory_message: bool,
) -> WorkerResult:
    """Do the same where the command did not come to its own end, or its end was not told."""
    queued, job = execution.queued, execution.job
    known = await queued.what_became_of_it()
    if has_memory_message or known.state == "OUT_OF_MEMORY":
        await _see_to_it(execution)
        result.exit_code, result.killed_for_memory = -9, _FULL
        return result
    if known.state in ("TIMEOUT", "DEADLINE") or (cancelled is not None and cancelled[1] == _TIME_LIMIT):
        await _see_to_it(execution)
        raise WorkerError(f"{job.command} was ended by Slurm: it reached the time limit of {queued}", result)
    why = _last(messages)
    if queued.step is None and not any(map(_LOST.search, messages)) and not any(map(_UNREACHABLE.search, messages)):
        raise WorkerError(f"Slurm did not run {job.command}: {why or 'srun ended without a word'}", result)
    await queued.cancel()
    may_run = queued.step is not None and not await queued.is_gone(_PATIENCE)
    if known.state.startswith(_NODE_FAILED):
        may_run = True
    raise WorkerLostError(_how_lost(execution, known, cancelled, why), result, node=execution.node, may_run=may_run)


def _how_lost(execution: Execution, known: Known, cancelled: re.Match[str] | None, why: str) -> str:
    queued, srun = execution.queued, execution.srun
    where = "" if execution.node is None else f" on node {execution.node}"
    if cancelled is not None or known.state.startswith("CANCELLED"):
        cause = None if cancelled is None else cancelled[1]
        return f"{queued}{where} was cancelled" + (f" because of {cause.lower()}" if cause else "")
    if known.state.startswith(_NODE_FAILED):
        return f"{queued} was lost: node {execution.node} failed"
    if not why:
        why = "srun had to be ended" if srun is None else f"srun ended with {srun.exit_code}"
    return f"{queued}{where} was lost: {why}"


async def _see_to_it(execution: Execution) -> None:
    """Warn if Slurm has not ended all that runs, though it was asked to."""
    queued = execution.queued
    if not await queued.is_gone(_PATIENCE):
        await queued.cancel()
        if not await queued.is_gone(_PATIENCE):
            warn(
                execution.job,
                [f"could not be ended: {queued}" + (f" on node {execution.node}" if execution.node else "")],
            )


def _last(messages: Sequence[str]) -> str:
    """Return the last of Slurm's messages that says what went wrong, or else the first of all."""
    telling = [line for line in messages if "error: " in line or "fatal: " in line][-1:] or messages[:1]
    return re.sub(r"^\S+: (error: |fatal: )?", "", "".join(telling))
