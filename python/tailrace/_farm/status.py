"""What a farm says of its jobs and chunks, and tells when it changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .._command.result import ResourceUsage
from .._events.types import JobEvent
from .._spec.model import JobSpec
from .repository.rows import ChunkStateName, JobRow, JobStateName
from .settings import JobSettings

if TYPE_CHECKING:
    from .active_job import ActiveJob


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job as it was when it was asked for. Times are seconds since the epoch."""

    id: str
    name: str
    state: JobStateName
    priority: int
    after: Sequence[str]
    """The jobs that have to be completed before it begins."""
    settings: JobSettings
    total_chunks: int
    completed_chunks: int
    failed_chunks: int
    skipped_chunks: int
    """Those that depend on one that failed."""
    progress: float
    """How much is done, 0 to 1, by the frames that are rendered."""
    error: str | None
    """Why it failed, or what it waits for; None if there is nothing to say."""
    owner: str | None
    tags: Sequence[str]
    comment: str
    folder: str
    """The folder that its commands run in."""
    created_at: float
    not_before: float | None
    started_at: float | None
    """When it began, since it was retried if it was."""
    finished_at: float | None
    eta: float | None
    """When it is expected to end, by the rate at which it has rendered; None if nobody can say."""
    _load_spec: Callable[[], JobSpec] = field(repr=False, compare=False)

    @classmethod
    def of(cls, row: JobRow, active: ActiveJob | None, load_spec: Callable[[], JobSpec]) -> JobStatus:
        """Return that of a row; `active` is what runs the job, if anything does."""
        done, eta = float(row.finished_frames), None
        if active is not None:
            done += active.frames_done()
            # Of a paused one nobody knows when it goes on.
            remaining = None if row.state == "paused" else active.state.remaining(time.monotonic())
            eta = None if remaining is None else time.time() + remaining
        return cls(
            id=row.id,
            name=row.name,
            state=row.state,
            priority=row.priority,
            after=row.after,
            settings=JobSettings.model_validate_json(row.settings),
            total_chunks=row.total_chunks,
            completed_chunks=row.completed_chunks,
            failed_chunks=row.failed_chunks,
            skipped_chunks=row.skipped_chunks,
            progress=min(1.0, done / row.total_frames) if row.total_frames else 0.0,
            error=row.error,
            owner=row.owner,
            tags=row.tags,
            comment=row.comment,
            folder=row.folder or "",
            created_at=row.created_at,
            not_before=row.not_before,
            started_at=row.started_at,
            finished_at=row.finished_at,
            eta=eta,
            _load_spec=load_spec,
        )

    @property
    def spec(self) -> JobSpec:
        """What the job is. The first time blocks for reading it, which a list of jobs does without.

        Raises `JobNotFoundError` if it was deleted meanwhile, `RuntimeError` once the manager is closed.
        """
        return self._load_spec()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkStatus:
    """A chunk of a job as it was when it was asked for."""

    id: int
    state: ChunkStateName
    attempts: int
    exit_code: int | None
    started_at: float | None
    """When its last attempt began, in seconds since the epoch."""
    duration: float | None
    """How long that took, in seconds; None as long as it runs."""
    usage: ResourceUsage | None
    node: str | None
    error: str | None
    progress: float
    """How much of it is rendered, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """Another state of a job, or of one of its chunks. It is durable."""

    chunk_id: int | None
    """None: it is the job's state."""
    state: JobStateName | ChunkStateName | Literal["deleted"]
    """"deleted": the job is gone."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What goes with it, such as the `attempt`, the `exitCode` or the `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmEvent:
    """Something that happened in a farm."""

    id: int
    """Rises with each change of a state, also from one manager of the same repository to the next.

    What is not durable, such as progress, has that of the last change before it.
    """
    job_id: str
    time: float
    """In seconds since the epoch."""
    event: JobEvent | StateChange | None
    """None if `gap`."""
    gap: bool = False
    """Whether events were here that are no longer kept: what is shown has to be asked for anew."""

    @property
    def is_durable(self) -> bool:
        """Whether it is told again after a restart: a change of a state is, progress and output are not."""
        return not isinstance(self.event, JobEvent)
