"""Jobs for tests of repositories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tailrace._farm.repository.changes import ChunkChanged, ChunkFields, EventAdded, JobAdded, JobChanged, JobFields
from tailrace._farm.repository.job_repository import JobRepository
from tailrace._farm.repository.opening import open_repository
from tailrace._farm.repository.owner import this_process
from tailrace._farm.repository.rows import JobRow


@contextmanager
def opened(where: str) -> Iterator[JobRepository]:
    """Open the repository for the block, and close it cleanly."""
    repository = open_repository(where)
    repository.open(this_process())
    try:
        yield repository
    finally:
        repository.close()


def added(number: int, chunks: int = 3, **fields: Any) -> JobAdded:
    """Return a new job with that place and chunks from 10 on."""
    job_id = f"job-{number}"
    row = JobRow(
        id=job_id, place=number, name=f"shot {number}", created_at=float(number), total_chunks=chunks, **fields
    )
    return JobAdded(row, f'{{"job":{number}}}', range(10, 10 + chunks))


def changed(number: int, **fields: Any) -> JobChanged:
    return JobChanged(f"job-{number}", JobFields(**fields))  # type: ignore[typeddict-item]


def chunk(number: int, chunk_id: int, **fields: Any) -> ChunkChanged:
    return ChunkChanged(f"job-{number}", chunk_id, ChunkFields(**fields))  # type: ignore[typeddict-item]


def event(number: int, job: int | None = 1) -> EventAdded:
    return EventAdded(number, None if job is None else f"job-{job}", float(number), "state", f'{{"n":{number}}}')


def count_states(repository: JobRepository, job_id: str) -> Counter[str]:
    """Return how many chunks the job has in each state."""
    return Counter(row.state for row in repository.chunks(job_id))


def ids(rows: Sequence[Any]) -> list[Any]:
    return [row.id for row in rows]
