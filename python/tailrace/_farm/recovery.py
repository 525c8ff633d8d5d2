"""What a manager finds of the jobs that an earlier one has left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from .farm_job import FarmJob
from .job_table import EndedState
from .repository.job_repository import JobRepository
from .repository.rows import FINAL_JOB_STATES, ChunkRow


class LeftJob(NamedTuple):
    """A job that has not ended."""

    job: FarmJob
    ended: Mapping[str, EndedState]
    """How those ended that it comes after, where they have."""
    running: Collection[ChunkRow]
    """Its chunks that ran when the earlier manager ended."""


def left_jobs(repository: JobRepository) -> list[LeftJob]:
    """Return them, the oldest first. Blocks."""
    rows = filter(None, map(repository.job, repository.unfinished()))
    return [
        LeftJob(FarmJob.of(row), ended_of(repository, row.after), repository.chunks(row.id, ["running"]))
        for row in rows
    ]


def ended_of(repository: JobRepository, job_ids: Collection[str]) -> dict[str, EndedState]:
    """Return how those of the jobs ended that have. Blocks."""
    rows = {id_: repository.job(id_) for id_ in job_ids}
    states: dict[str, EndedState] = {id_: "deleted" if row is None else row.state for id_, row in rows.items()}
    return {id_: state for id_, state in states.items() if state == "deleted" or state in FINAL_JOB_STATES}
