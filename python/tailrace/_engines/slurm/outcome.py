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
from .queue import UNREACHABLE

_MEMORY = re.compile(r"oom.?kill|out of memory|exceeded (?:step |job )?memory limit|exceeded job memory", re.IGNORECASE)
_CANCELLED = re.compile(r"\*\*\* .*CANCELLED AT \S+(?: DUE TO ([^*]+?))? \*\*\*")
_TIME_LIMIT = "TIME LIMIT"
_NODE_FAILED = "NODE_FAIL"
_ENDED_BY_SLURM = ("CANCELLED", "PREEMPTED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", _NODE_FAILED)
_KILLED = (-9, -15, 128 + 9, 128 + 15)
"""The exit codes of what is ended from outside."""
_CONFIGURE = "put the cluster's slurm.conf into /etc/slurm, or name it in SLURM_CONF"
_FULL = MemoryReport(kernel_killed=False)
"""Slurm says that the job took more than it had, and no figures."""

_LOST = re.compile(
    r"has been revoked|force terminated|task launch .*failed|node failure|error launching|aborting, (?:job|step)"
    r"|job/step already completing|allocation .* (?:expired|revoked)|timed out waiting for job step to complete",
    re.IGNORECASE,
)
_UNCONFIGURED = re.compile(
    r"could not establish a configuration source|unable to process configuration file", re.IGNORECASE
)
_REFUSALS = {
    "no-program": (errno.ENOENT, "no such program in the PATH it would run with"),
    "no-permission": (errno.EACCES, "it may not be executed"),
    "no-folder": (errno.ENOENT, "the node has no folder {folder}, which has to be shared with it"),
}


async def conclude(execution: Execution, said: Sequence[str]) -> WorkerResult:
    """Return the result, or raise the error that the ending means; `said` is what srun itself had to say.

    Raises `WorkerSpawnError`, `WorkerTimeoutError`, `WorkerLostError` and `WorkerError`, and what a callback raised.
    """
    job, queued, result = execution.job, execution.queued, execution.result()
    messages = [*execution.marked["stdout"].messages, *said]
    if execution.reason is not None:
        await queued.see_to_its_end(job)
    if execution.delivery.error is not None:
        raise execution.delivery.error
    if execution.failure is not None:
        raise execution.failure
    if execution.delivery.fault is not None:
        raise incomplete_error(job, result, execution.delivery.fault)
    refused = execution.marked["stdout"].refused
    if refused is not None:
        queued.is_over = True
        number, reason = _REFUSALS[refused]
        raise WorkerSpawnError(number, f"cannot start {job.command}: {reason.format(folder=job.cwd)}")
    if execution.reason == "total" or execution.reason == "idle":
        raise limit_error(job, result, execution.reason)
    if execution.reason == "early":
        return result
    if execution.reason == "held":
        warn(job, [f"{queued} was not over {DRAIN:g} s after its command, and what was left of it was ended"])
        return result
    cancelled = next((found for found in map(_CANCELLED.search, messages) if found is not None), None)
    has_memory_message = any(map(_MEMORY.search, messages))
    if execution.is_complete and (result.exit_code == 0 or not await _is_by_slurm(execution, result, cancelled)):
        if has_memory_message and result.exit_code in (-9, 137):
            result.killed_for_memory = _FULL
        return result
    return await _interrupted(execution, result, messages, cancelled, has_memory_message)


async def _is_by_slurm(execution: Execution, result: WorkerResult, cancelled: re.Match[str] | None) -> bool:
    """Whether Slurm ended the command, which could come to its own end over that; its message may get lost."""
    if cancelled is not None:
        return True
    return result.exit_code in _KILLED and (await execution.queued.state()).startswith(_ENDED_BY_SLURM)


async def _interrupted(
    execution: Execution,
    result: WorkerResult,
    messages: Sequence[str],
    cancelled: re.Match[str] | None,
    has_memory_message: bool,
) -> WorkerResult:
    """Do the same where the command did not come to its own end, or its end was not told."""
    queued, job = execution.queued, execution.job
    why = _last(messages)
    if queued.step is None and not any(_LOST.search(line) or UNREACHABLE.search(line) for line in messages):
        if any(map(_UNCONFIGURED.search, messages)):
            raise WorkerSpawnError(errno.ENOENT, f"cannot start srun: {why}: {_CONFIGURE}")
        raise WorkerError(f"Slurm did not run {job.command}: {why or 'srun ended without a word'}", result)
    state = await queued.state()
    if has_memory_message or state == "OUT_OF_MEMORY":
        await queued.see_to_its_end(job)
        result.exit_code, result.killed_for_memory = -9, _FULL
        return result
    if state in ("TIMEOUT", "DEADLINE") or (cancelled is not None and cancelled[1] == _TIME_LIMIT):
        await queued.see_to_its_end(job)
        raise WorkerError(f"{job.command} was ended by Slurm: it reached the time limit of {queued}", result)
    is_gone = await queued.see_to_its_end(job, patience=0)
    # Nobody can ask a node that has failed; where nothing began, nothing runs.
    may_run = state.startswith(_NODE_FAILED) or (queued.step is not None and not is_gone)
    raise WorkerLostError(_how_lost(execution, state, cancelled, why), result, node=queued.node, may_run=may_run)


def _how_lost(execution: Execution, state: str, cancelled: re.Match[str] | None, why: str) -> str:
    queued, srun = execution.queued, execution.srun
    if srun is not None and srun.exit_code < 0:
        # What Slurm makes of that is a cancellation.
        return f"{queued} was lost: srun ended with {srun.exit_code}"
    if cancelled is not None or state.startswith("CANCELLED"):
        cause = None if cancelled is None else cancelled[1]
        return f"{queued} was cancelled" + (f" because of {cause.lower()}" if cause else "")
    if state.startswith(_NODE_FAILED):
        return f"{queued} was lost: the node failed"
    if not why:
        why = "srun had to be ended" if srun is None else f"srun ended with {srun.exit_code}"
    return f"{queued} was lost: {why}"


def _last(messages: Sequence[str]) -> str:
    """Return the last of Slurm's messages that says what went wrong, or else the first of all."""
    telling = [line for line in messages if "error: " in line or "fatal: " in line][-1:] or messages[:1]
    return re.sub(r"^\S+: (error: |fatal: )?", "", "".join(telling))
