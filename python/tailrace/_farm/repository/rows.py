"""What is read from a repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

JobStateName: TypeAlias = Literal["pending", "running", "paused", "merging", "completed", "failed", "cancelled"]
ChunkStateName: TypeAlias = Literal["pending", "running", "completed", "failed", "cancelled", "skipped"]

JOB_STATES: Sequence[JobStateName] = (
    "pending",
    "running",
    "paused",
    "merging",
    "completed",
    "failed",
    "cancelled",
)
CHUNK_STATES: Sequence[ChunkStateName] = ("pending", "running", "completed", "failed", "cancelled", "skipped")
MARKED_DONE = '"marked"'
"""The `outputs` of a chunk that was completed by hand."""
FINAL_JOB_STATES: Sequence[JobStateName] = ("completed", "failed", "cancelled")


class JobRow(NamedTuple):
    """A job without its specification. Times are seconds since the epoch.

    `place` is its place in the order of creation, `settings` is JSON, `after` are the ids of the jobs it comes after,
    some of which may have been deleted. `max_running` is how many of its chunks may run at once, None for no limit,
    `end_is_due` whether it has ended and the command for that has still to be run.
    """

    id: str
    place: int
    name: str
    created_at: float
    settings: str = "{}"
    owner: str | None = None
    tags: tuple[str, ...] = ()
    comment: str = ""
    folder: str | None = None
    priority: int = 0
    state: JobStateName = "pending"
    started_at: float | None = None
    finished_at: float | None = None
    not_before: float | None = None
    error: str | None = None
    after: tuple[str, ...] = ()
    total_chunks: int = 0
    completed_chunks: int = 0
    failed_chunks: int = 0
    skipped_chunks: int = 0
    total_frames: int = 0
    finished_frames: int = 0
    max_running: int | None = None
    end_is_due: bool = False


class ChunkRow(NamedTuple):
    """A chunk of a job; `place` counts from 0 in the order of the specification.

    `lost` is how many times what ran it was lost, `duration` is seconds, `usage` and `outputs` are JSON,
    `skipped_because` is the chunk that it depended on, `frames_again` a range of those that are rendered though they
    are there.
    """

    job_id: str
    chunk_id: int
    place: int
    state: ChunkStateName
    attempts: int
    lost: int
    exit_code: int | None
    started_at: float | None
    duration: float | None
    node: str | None
    slot: int | None
    error: str | None
    category: str | None
    usage: str | None
    outputs: str | None
    skipped_because: int | None
    frames_again: str | None


class ChunkStates(NamedTuple):
    """In which states the chunks of a job were at one moment, in the order of the specification."""

    last_event: int
    """The id of the last event by then: what changed later has a higher one."""
    ids: Sequence[int]
    states: Sequence[ChunkStateName]


class EventRow(NamedTuple):
    """Something that happened. `job_id` is None for what is no job's; `payload` is JSON."""

    id: int
    job_id: str | None
    time: float
    kind: str
    payload: str


class EventPage(NamedTuple):
    """Some events, by rising id."""

    events: Sequence[EventRow]
    pruned: int
    """The highest id that housekeeping has removed, else 0: who asks for what follows a lower one has missed some."""


class Owner(NamedTuple):
    """A process that owns, or owned, a repository."""

    host: str
    pid: int
    start: str
    """When the process began, in words that no other process with its pid on that host has."""


class Opened(NamedTuple):
    """What a new owner finds."""

    epoch: int
    previous: Owner | None
    """Who did not close it and may have left chunks that run; None if nothing runs."""
    last_event: int
    """The highest id that an event ever had."""
    last_place: int
    """The highest place that a job ever had."""


class Pruned(NamedTuple):
    """What housekeeping removed."""

    job_ids: Sequence[str]
    events: int
    """How many beside those of the jobs."""
