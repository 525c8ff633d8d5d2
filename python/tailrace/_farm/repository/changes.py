"""What is written to a repository: changes that were found valid before, and say nothing of what was there.

In texts, half a character (a lone surrogate) and NUL are kept as their escapes: not every database takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

from .rows import ChunkStateName, JobRow, JobStateName


class JobFields(TypedDict, total=False):
    """What may change of a `JobRow`."""

    name: str
    settings: str
    owner: str | None
    tags: tuple[str, ...]
    comment: str
    folder: str | None
    priority: int
    state: JobStateName
    started_at: float | None
    finished_at: float | None
    not_before: float | None
    error: str | None
    after: tuple[str, ...]
    total_chunks: int
    completed_chunks: int
    failed_chunks: int
    skipped_chunks: int
    total_frames: int
    finished_frames: int
    max_running: int | None
    end_is_due: bool


class ChunkFields(TypedDict, total=False):
    """What may change of a `ChunkRow`."""

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


@dataclass(frozen=True, slots=True)
class JobAdded:
    """A job with its specification (JSON) and chunks, all of them pending; of others the state follows as a change."""

    job: JobRow
    spec: str
    chunk_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class JobChanged:
    """Other values for some fields of a job; nothing if it is not there."""

    job_id: str
    fields: JobFields


@dataclass(frozen=True, slots=True)
class ChunkChanged:
    """Other values for some fields of a chunk; nothing if it is not there."""

    job_id: str
    chunk_id: int
    fields: ChunkFields


@dataclass(frozen=True, slots=True)
class ChunksChanged:
    """Other values for some fields of all chunks of a job that are in one of some states."""

    job_id: str
    states: Sequence[ChunkStateName]
    fields: ChunkFields


@dataclass(frozen=True, slots=True)
class EventAdded:
    """An event; ids rise. `payload` is JSON."""

    id: int
    job_id: str | None
    time: float
    kind: str
    payload: str


@dataclass(frozen=True, slots=True)
class JobDeleted:
    """A job goes, with its chunks, its specification and the events so far; jobs that come after it keep its id."""

    job_id: str


Change: TypeAlias = JobAdded | JobChanged | ChunkChanged | ChunksChanged | EventAdded | JobDeleted
