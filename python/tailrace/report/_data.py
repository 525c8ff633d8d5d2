"""What a report tells, without how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .._errors import ErrorCategory
from .._events.chunk_state import ChunkEnding

AttemptState: TypeAlias = Literal["completed", "retried", "failed", "cancelled", "running", "unfinished"]
ChunkStatus: TypeAlias = Literal["completed", "failed", "skipped", "cancelled", "running", "unfinished", "pending"]
RunState: TypeAlias = Literal["completed", "failed", "cancelled", "running", "unfinished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReport:
    """One attempt at a chunk."""

    run: int = 0
    """The index of its run in `JobReportData.runs`."""
    attempt: int
    """Counts from 1 in each run."""
    slot: int
    began: float
    """Seconds since its run began."""
    duration: float
    """In seconds; of a "running" one until now, of an "unfinished" one to the last event of its run."""
    state: AttemptState
    """"retried" failed and had another attempt, "cancelled" was ended with its run; of an "unfinished" one the log has
    no end: it runs still, or its host was killed. A farm knows that, and tells the former as "running"."""
    ending: ChunkEnding | None = None
    exit_code: int | None = None
    """-N if signal N ended it; None where there is none, and where the log does not tell: of retried ones."""
    cpu: float | None = None
    """Seconds of processor time, of all its processes; None where that is not known."""
    memory: int | None = None
    """The most that it used, in bytes: what was measured, or else what its renderer said; else None."""
    node: str | None = None
    """The machine, where an engine or a worker names it."""
    reason: str | None = None
    """Why it failed, if it did."""
    category: ErrorCategory | None = None
    errors: Sequence[str] = ()
    """What its renderer reported, the first few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkReport:
    """A chunk, over all runs that the logs tell of."""

    chunk_id: int
    state: ChunkStatus
    """As the last run left it. "completed" without attempts was done before the first run."""
    attempts: Sequence[AttemptReport] = ()
    """All of them, in their order."""
    frames: int = 0
    """How many of its frames are known to be whole."""
    command: str | None = None
    """That of the last attempt, with secrets masked as in the logs."""
    reason: str | None = None
    """Why it failed or was skipped, if it was."""

    @property
    def last(self) -> AttemptReport | None:
        """The last attempt, if there was one."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameReport:
    """A frame that was finished or flagged."""

    frame: int
    chunk_id: int
    path: str
    duration: float | None = None
    """Seconds since the frame before it of the same attempt; None of one that is damaged."""
    damage: str | None = None
    """What is wrong with it, if it could not be used and was not rendered again."""
    warnings: Sequence[str] = ()
    """What is odd about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogExcerpt:
    """The lines of a stream that tell why a chunk failed: its last, and those of errors that its renderer reported."""

    stream: Literal["stdout", "stderr"]
    path: str | None
    """The log; None where the lines are from the result."""
    lines: Sequence[str]
    """As the command wrote them, control characters too."""
    marked: Sequence[int] = ()
    """The indices of those that hold a reported error."""
    gaps: Sequence[int] = ()
    """The indices of those before which lines were left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """Why a chunk failed."""

    chunk_id: int
    attempt: AttemptReport
    excerpts: Sequence[LogExcerpt] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """The merge of a run."""

    state: AttemptState
    began: float
    """Seconds since the run began."""
    duration: float
    cpu: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run of the job."""

    run_id: str
    state: RunState
    started_at: float
    """Seconds since the epoch."""
    duration: float
    """In seconds; of a "running" one until now, of an "unfinished" one to its last event."""
    total_chunks: int
    done_before: int
    """How many chunks counted as done when it began."""
    error: str | None = None
    """What ended it, if it did not succeed."""
    merge: MergeReport | None = None
    unreadable_lines: int = 0
    """How many lines of its log are damaged, or of a newer version."""
    incomplete_logs: Mapping[str, str] = field(default_factory=dict)
    """The log files that could not be written to their end, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReportData:
    """What became of a job. Times are seconds, sizes bytes."""

    job_id: str
    """The one that the logs tell; of a job of a farm, its id there."""
    name: str | None = None
    """Of a job of a farm, its name there."""
    runs: Sequence[RunReport]
    """In their order; the last one says how it went."""
    chunks: Sequence[ChunkReport]
    """By id; a chunk that no event names is not among them."""
    frames: Sequence[FrameReport]
    """By number."""
    failures: Sequence[FailureReport]
    """Of the chunks that failed, the first 20, in the order in which they did."""

    @property
    def total_chunks(self) -> int:
        """How many chunks the job has."""
        return max(self.runs[-1].total_chunks, len(self.chunks))

    def counts(self) -> Counter[str]:
        """Return how many chunks there are in each state; those that no event names are "pending"."""
        counts = Counter[str](chunk.state for chunk in self.chunks)
        counts["pending"] += self.total_chunks - len(self.chunks)
        return counts


MOST_FAILURES = 20
"""Of so many the lines that explain them are kept."""
