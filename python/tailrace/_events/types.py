"""What happens in a job, as one stream of typed events."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .._command.result import WorkerResult
from .._errors import ChunkFailedError, ErrorCategory


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """The base of all events."""

    job_id: str
    run_id: str
    """Sixteen hexadecimal digits that no other run has, of this job or another."""
    sequence: int
    """Counts the events of one run of a job from 0, without gaps."""
    time: float
    """When it happened: seconds since the epoch, as `time.time`."""
    monotonic: float
    """The same by the clock that is never set: `time.monotonic`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(JobEvent):
    """The first event of a job."""

    total_chunks: int
    completed_chunk_ids: Collection[int]
    """The chunks that count as completed already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkEvent(JobEvent):
    """The base of the events of a chunk."""

    chunk_id: int
    attempt: int
    """Counts from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkStarted(ChunkEvent):
    """An attempt at a chunk begins."""

    slot: int
    command: str
    """As the specification has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkOutput(ChunkEvent):
    """A piece of a chunk's output."""

    stream: Literal["stdout", "stderr"]
    data: str | memoryview
    """As the callbacks receive it: `JobExecutionOptions.stream` says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkProgress(ChunkEvent):
    """How far a chunk is, as its output tells; twice a second at most, and each time something has changed."""

    renderer: str
    """What the output was read as, by the names of `tailrace.progress`."""
    frame: int | None
    """The number of the frame that is being rendered, as the renderer counts."""
    frame_fraction: float | None
    """How much of that frame is done, 0 to 1."""
    fraction: float | None
    """How much of the whole chunk is done, 0 to 1."""
    remaining: float | None
    """The renderer's own estimate of the time to the end, in seconds."""
    memory: int | None
    """What the renderer says it uses, in bytes; `ChunkUsage` has what it does use."""
    status: str | None
    """What it is doing, in its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkUsage(ChunkEvent):
    """What a chunk's command and all it started use now; twice a second at most, and when something has changed."""

    memory: int
    """In bytes, as in `UsageSample`: the same figure whatever the renderer is."""
    cpu: float
    """Seconds of processor time so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkWarning(ChunkEvent):
    """What is in no result or error: processes of a chunk that could not be ended, a worker that is busy."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFileSaved(ChunkEvent):
    """The renderer says that it has written a file."""

    path: str
    """As the renderer gives it."""


FrameLevel: TypeAlias = Literal["exist", "whole", "looks"]
"""How closely frames are looked at: whether they are there, can be read to their end, and look like the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFinished(ChunkEvent):
    """A frame is known to be whole: its file is there, or where it is not seen here, its renderer says so.

    Each frame of a job is told once, in the order in which it becomes known, and again only after a `FrameFlagged`.
    """

    frame: int
    path: str
    """The file; where it is not seen here, as the renderer gives it. A video is its chunk's last frame."""
    duration: float
    """Seconds since the frame before it of the same attempt, or since the attempt began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFlagged(ChunkEvent):
    """Something is wrong with a frame, or at least odd."""

    frame: int
    path: str
    level: FrameLevel
    """Which look at it has found that."""
    reason: str
    fatal: bool
    """Whether it has to be rendered again; its file is renamed to `NAME.damaged` then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkErrorReported(ChunkEvent):
    """The renderer wrote an error; whether the attempt fails is another matter."""

    message: str
    category: ErrorCategory | None
    """None if the error is none of the known kinds."""
    fatal: bool
    """Whether the frames cannot be right, whatever the exit code will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRetrying(ChunkEvent):
    """An attempt failed and another one will follow."""

    reason: str
    category: ErrorCategory | None
    """What kind of failure the output tells of."""
    delay: float
    """Seconds until the chunk is first in line again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFinished(ChunkEvent):
    """A chunk is completed."""

    result: WorkerResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFailed(ChunkEvent):
    """A chunk's last attempt failed."""

    error: ChunkFailedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSkipped(JobEvent):
    """A chunk is not run: it depends on one that has failed, or on one that depends on that."""

    chunk_id: int
    because_of: int
    """The chunk that has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeStarted(JobEvent):
    """All chunks are completed and are being put together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOutput(JobEvent):
    """A piece of the output of the merge command, or of a stitcher that streams."""

    stream: Literal["stdout", "stderr"]
    data: str | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeFinished(JobEvent):
    """The chunks have been put together."""

    result: WorkerResult | None
    """That of the merge command; None for a stitcher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFailed(JobEvent):
    """A log file cannot be written; the job goes on without the rest of it."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished(JobEvent):
    """The last event of a job that was started, however it ends; only an observer that raised is not called again.

    After a cancellation, and after a callback has raised, async observers have two seconds for it.
    """

    duration: float
    """Seconds since the job started."""
    error: BaseException | None
    """What the job raises, a cancellation too; None if it succeeded."""
