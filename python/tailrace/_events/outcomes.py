"""How the chunks of a job ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from .._command.result import WorkerResult
from .._errors import ChunkFailedError, WorkerSpawnError, WorkerTimeoutError
from .types import (
    ChunkErrorReported,
    ChunkFailed,
    ChunkFinished,
    ChunkProgress,
    ChunkRetrying,
    ChunkStarted,
    ChunkUsage,
    JobEvent,
)

NOT_RETRIED = "not retried"


@dataclass(slots=True)
class ChunkOutcome:
    """How a chunk that was started ended, its last attempt that is."""

    chunk_id: int
    attempts: int
    started: float
    duration: float | None = None
    """In seconds; None while it runs."""
    used_memory: int | None = None
    """The most that it and all it started used at once, in bytes, if that was measured."""
    told_memory: int | None = None
    """The most that its renderer said it used, in bytes, if it did."""
    exit: str = "cancelled"
    """The exit status, or in a word what happened instead."""
    error: ChunkFailedError | None = None
    """Why it failed, if it did."""
    reported: str | None = None
    """The last error that its renderer reported."""

    @property
    def memory(self) -> int | None:
        """The most that it used, in bytes, if that is known: where nobody measured it, what its renderer said."""
        return self.told_memory if self.used_memory is None else self.used_memory

    @property
    def has_failed(self) -> bool:
        """Whether it failed for good, or for as long as the job went on."""
        return self.error is not None or self.exit == NOT_RETRIED


class ChunkOutcomes(dict[int, ChunkOutcome]):
    """Takes the events of a job; has the outcome of each chunk that was started."""

    def take(self, event: JobEvent) -> None:
        """Take the next event of the job."""
        match event:
            case ChunkStarted(chunk_id=chunk_id, attempt=attempt):
                self[chunk_id] = ChunkOutcome(chunk_id, attempt, event.monotonic)
            case ChunkUsage(chunk_id=chunk_id, memory=memory):
                self[chunk_id].used_memory = max(memory, self[chunk_id].used_memory or 0)
            case ChunkProgress(chunk_id=chunk_id, memory=int() as memory):
                self[chunk_id].told_memory = max(memory, self[chunk_id].told_memory or 0)
            case ChunkErrorReported(chunk_id=chunk_id, message=message):
                self[chunk_id].reported = message
            case ChunkRetrying(chunk_id=chunk_id):
                # Stands only if the job ends before the next attempt begins.
                self._end(chunk_id, event.monotonic, NOT_RETRIED, None)
            case ChunkFinished(chunk_id=chunk_id, result=result):
                self._end(chunk_id, event.monotonic, _describe_exit(result), result)
            case ChunkFailed(chunk_id=chunk_id, error=error):
                self._end(chunk_id, event.monotonic, _describe_failure(error), error.result)
                self[chunk_id].error = error

    def completed(self) -> set[int]:
        """Return the ids of the chunks that succeeded."""
        return {outcome.chunk_id for outcome in self.values() if outcome.exit == "0" and not outcome.has_failed}

    def end(self, now: float) -> None:
        """Have what runs no longer end now."""
        for outcome in self.values():
            if outcome.duration is None:
                outcome.duration = now - outcome.started

    def _end(self, chunk_id: int, now: float, exit_: str, result: WorkerResult | None) -> None:
        outcome = self[chunk_id]
        outcome.exit = exit_
        outcome.duration = now - outcome.started if result is None else result.duration
        usage = None if result is None else result.usage
        if usage is not None:
            outcome.used_memory = usage.tree_max_rss or usage.max_rss or outcome.used_memory


def _describe_failure(error: ChunkFailedError) -> str:
    match error.__cause__:
        case WorkerTimeoutError(kind="total"):
            return "timeout"
        case WorkerTimeoutError(kind=kind):
            return f"{kind} timeout"
        case WorkerSpawnError():
            return "not started"
    return "failed" if error.result is None else _describe_exit(error.result)


def _describe_exit(result: WorkerResult) -> str:
    try:
        return str(result.exit_code) if result.exit_code >= 0 else signal.Signals(-result.exit_code).name
    except ValueError:
        return f"signal {-result.exit_code}"
