"""Chunks of a farm's jobs, as they are told and as they are run again."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .._command.result import ResourceUsage
from .._errors import JobNotFoundError, JobStateError
from .._spec.model import JobSpec
from .active_job import ActiveJob
from .repository.changes import JobFields
from .repository.job_repository import JobRepository
from .repository.rows import ChunkRow, ChunkStateName, JobRow
from .status import ChunkStatus


def chunk_status(row: ChunkRow) -> ChunkStatus:
    """Return what is told of a chunk, but for the progress of one that runs."""
    return ChunkStatus(
        id=row.chunk_id,
        state=row.state,
        attempts=row.attempts,
        exit_code=row.exit_code,
        started_at=row.started_at,
        duration=row.duration,
        usage=None if row.usage is None else ResourceUsage(**json.loads(row.usage)),
        node=row.node,
        error=row.error,
        progress=1.0 if row.state == "completed" else 0.0,
    )


def read_chunks(
    repository: JobRepository,
    job: JobRow,
    states: Collection[ChunkStateName] | None,
    chunk_ids: Collection[int] | None,
    after: int | None,
    limit: int | None,
) -> Sequence[ChunkStatus]:
    """Return what `JobManager.chunks` says, but for the progress of those that run; blocks."""
    place = None
    if after is not None:
        last = repository.chunk(job.id, after)
        if last is None:
            raise no_such_chunk(job, after)
        place = last.place
    rows = repository.chunks(job.id, states, chunk_ids=chunk_ids, after=place, limit=limit)
    return [chunk_status(row) for row in rows]


def with_progress(chunks: Sequence[ChunkStatus], active: ActiveJob) -> Sequence[ChunkStatus]:
    """Return the same with the progress of those that run; `active` is what runs their job."""
    return [
        replace(chunk, progress=active.progress_of(chunk.id)) if chunk.state == "running" else chunk for chunk in chunks
    ]


def named_chunks(job: JobRow, rows: Sequence[ChunkRow], chunk_ids: Collection[int]) -> Sequence[ChunkRow]:
    """Return the chunks of these ids. Raises `JobNotFoundError` for one that the job does not have."""
    known = {row.chunk_id: row for row in rows}
    for chunk_id in chunk_ids:
        if chunk_id not in known:
            raise no_such_chunk(job, chunk_id)
    return [known[chunk_id] for chunk_id in dict.fromkeys(chunk_ids)]


def no_such_chunk(job: JobRow, chunk_id: int) -> JobNotFoundError:
    """Return the error for a chunk that the job does not have."""
    return JobNotFoundError(f"job {job.id}, which is {job.state}, has no chunk {chunk_id}", job.id)


def chunks_to_retry(
    job: JobRow, spec: JobSpec, rows: Sequence[ChunkRow], asked: Collection[int] | None, *, done: bool
) -> Sequence[ChunkRow]:
    """Return the chunks of an ended job, whose specification this is, that are to be run again.

    Raises `JobNotFoundError` for one that it does not have, `JobStateError` for one that is completed and not asked for
    as such, or that depends on one that is not completed and not run again, and if there is nothing to do.
    """
    if asked is None:
        if job.state == "completed":
            message = f"job {job.id} is completed: to run chunks again, name them, with `done`"
            raise JobStateError(message, job.id, job.state)
        return [row for row in rows if row.state != "completed"]
    again = named_chunks(job, rows, asked)
    states = {row.chunk_id: row.state for row in rows} | {row.chunk_id: "completed" for row in again}
    depends_on = {chunk.id: chunk.depends_on for chunk in spec.chunks}
    for row in again:
        if row.state == "completed" and not done:
            message = f"job {job.id} is {job.state} and its chunk {row.chunk_id} is completed: `done` runs it again"
            raise JobStateError(message, job.id, job.state)
        for other in depends_on[row.chunk_id]:
            if states[other] != "completed":
                message = (
                    f"job {job.id} is {job.state}: its chunk {row.chunk_id} depends on chunk {other}, which is"
                    f" {states[other]}: retry that too"
                )
                raise JobStateError(message, job.id, job.state)
    return again


def counts_after(
    rows: Sequence[ChunkRow], changes: Mapping[int, ChunkStateName], frames: Mapping[int, int]
) -> JobFields:
    """Return the counts of a job once some of its chunks, which are these, are in other states; each has `frames`."""
    states = {row.chunk_id: row.state for row in rows} | dict(changes)
    all_states = list(states.values())
    return {
        "completed_chunks": all_states.count("completed"),
        "failed_chunks": all_states.count("failed"),
        "skipped_chunks": all_states.count("skipped"),
        "finished_frames": sum(frames[chunk_id] for chunk_id, state in states.items() if state == "completed"),
    }
