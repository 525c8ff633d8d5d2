"""What is known of one chunk, and of the merge, in the middle of a job and after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .._command.result import ResourceUsage, WorkerResult
from .._errors import (
    ChunkFailedError,
    ErrorCategory,
    WorkerError,
    WorkerRemoteError,
    WorkerSpawnError,
    WorkerTimeoutError,
)
from .running import RunningCommand
from .types import ChunkErrorReported

ChunkEnding: TypeAlias = Literal[
    "exit",
    "timeout",
    "idle timeout",
    "cpu timeout",
    "progress timeout",
    "not started",
    "error",
    "not retried",
    "cancelled",
]


@dataclass(slots=True)
class ChunkState:
    """What is known of a chunk. `JobState` changes it with the events: only read it."""

    chunk_id: int
    frames: int = 1
    """How many it has: so much does it count for the progress of the job."""
    frames_done: int = 0
    """How many of them are done: that are known to be whole, or that its progress tells of.

    With another attempt it is those that are known to be whole.
    """
    status: Literal["pending", "running", "completed", "failed", "skipped"] = "pending"
    """"pending" also while it waits for another attempt, and when the job has ended before it was done.

    "completed" without `attempts` was done before this run; "skipped" depends on one that failed.
    """
    attempts: int = 0
    """How often it was started. All below is of the latest attempt."""
    started: float | None = None
    """When it began, by the clock of `JobEvent.monotonic`."""
    duration: float | None = None
    """In seconds; None before it has ended."""
    ending: ChunkEnding | None = None
    """What ended it: "exit", a limit, an "error" of the adapter, or that it could not be started.

    "cancelled" has the job ended with it, "not retried" before its next attempt. None before it has ended.
    """
    exit_code: int | None = None
    """-N if signal N ended it; None where there is none."""
    usage: ResourceUsage | None = None
    """What it used in all, if its result tells."""
    reason: str | None = None
    """Why it failed, if it did; it may have another attempt."""
    category: ErrorCategory | None = None
    """What kind of failure the output told of."""
    reported_error: str | None = None
    """The last error that its renderer reported, whether it failed or not; one that is fatal stays."""
    reported_errors: int = 0
    """How many its renderer reported, the same one once."""
    has_fatal_error: bool = False
    """Whether after one of them the frames cannot be right."""
    used_memory: int | None = None
    """The most that it and all it started were seen to use at once, in bytes."""
    told_memory: int | None = None
    """The most that its renderer said it used, in bytes."""

    @property
    def memory(self) -> int | None:
        """The most that it used, in bytes: what was measured, or else what its renderer said; else None."""
        return self.told_memory if self.used_memory is None else self.used_memory


@dataclass(slots=True)
class MergeState:
    """What is known of the merge. `JobState` changes it with the events: only read it."""

    command: RunningCommand | None
    """What is known of it while it runs, else None."""
    status: Literal["running", "completed", "failed"] = "running"
    """"failed" also if the job was cancelled meanwhile."""
    duration: float | None = None
    """In seconds; None before it has ended."""
    exit_code: int | None = None
    """That of the merge command; None for a stitcher, and where there is none."""
    usage: ResourceUsage | None = None
    """What the merge command used in all, if its result tells."""


def begin_attempt(chunk: ChunkState, attempt: int, now: float) -> None:
    """Have an attempt at the chunk begin."""
    chunk.status, chunk.attempts, chunk.started = "running", attempt, now
    chunk.duration = chunk.ending = chunk.exit_code = chunk.usage = None
    chunk.reason = chunk.category = chunk.reported_error = chunk.used_memory = chunk.told_memory = None
    chunk.reported_errors, chunk.has_fatal_error = 0, False


def end_attempt(chunk: ChunkState, now: float, result: WorkerResult | None = None) -> None:
    """Have the attempt end now, with the figures of its result if there is one."""
    if result is None:
        chunk.duration = None if chunk.started is None else now - chunk.started
        return
    chunk.duration, chunk.exit_code, chunk.usage = result.duration, result.exit_code, result.usage
    if result.usage is not None:
        chunk.used_memory = result.usage.tree_max_rss or result.usage.max_rss or chunk.used_memory


def report_error(chunk: ChunkState, event: ChunkErrorReported) -> None:
    """Take an error that the chunk's renderer reported."""
    chunk.reported_errors += 1
    if event.fatal or not chunk.has_fatal_error:
        chunk.reported_error = event.message
    chunk.has_fatal_error |= event.fatal


def ending_of(error: ChunkFailedError) -> ChunkEnding:
    """Return what ended the last attempt at a chunk that failed."""
    match error.__cause__:
        case WorkerTimeoutError(kind="total"):
            return "timeout"
        case WorkerTimeoutError(kind="idle"):
            return "idle timeout"
        case WorkerTimeoutError(kind="cpu"):
            return "cpu timeout"
        case WorkerTimeoutError():
            return "progress timeout"
        case WorkerSpawnError() | WorkerRemoteError(nothing_began=True):
            return "not started"
        case WorkerError():
            # The exit code in its result may stand for one that nobody knows.
            return "error"
    return "error" if error.result is None else "exit"
