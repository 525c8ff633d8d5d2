"""The contract between a farm and whatever remembers it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from .changes import Change
from .rows import ChunkRow, ChunkStateName, ChunkStates, EventPage, JobRow, JobStateName, Opened, Owner, Pruned


class JobRepository(Protocol):
    """Where a farm keeps its jobs, for one owner at a time, who alone decides what is written.

    All methods block. One thread writes; any number of them read meanwhile, and see what was written whole. All raise
    `RepositoryUnavailableError` where that is worth another try: it is full, locked or cannot be reached. Nothing has
    been written then, except that a `write` may have been.
    """

    def open(self, owner: Owner | None) -> Opened:
        """Take it, and bring it up to date; None is for a look alone, after which it is whose it was before.

        Raises `RepositoryLockedError` if a process that lives has it, `RepositoryError` if it cannot be used, as one of
        a newer version, which is left as it is.
        """

    def close(self, *, clean: bool = True) -> None:
        """Let others in; `clean` says that nothing runs any more. May be called again."""

    def write(self, changes: Sequence[Change], *, again: bool = False) -> None:
        """Write all changes or none; when it returns they are durable.

        `again` says that they are those of the call before, whose outcome is not known: they are written only if that
        did not write them. Raises `RepositoryLostError`, and writes nothing, if another owner came.
        """

    def job(self, job_id: str) -> JobRow | None:
        """Return the job, None if there is none."""

    def jobs(
        self, states: Collection[JobStateName] | None = None, *, limit: int = 100, before: int | None = None
    ) -> list[JobRow]:
        """Return jobs, the newest first; `before` is the place of the last one that is known already."""

    def unfinished(self) -> list[str]:
        """Return the ids of the jobs in no final state, the oldest first."""

    def ends_due(self) -> list[JobRow]:
        """Return the jobs whose `end_is_due`, the oldest first."""

    def find(self, prefix: str, *, limit: int = 10) -> list[str]:
        """Return the first ids that begin so."""

    def spec(self, job_id: str) -> str:
        """Return the specification as JSON. Raises `KeyError` if there is no such job."""

    def chunks(
        self,
        job_id: str,
        states: Collection[ChunkStateName] | None = None,
        *,
        chunk_ids: Collection[int] | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> list[ChunkRow]:
        """Return chunks of the job by their place; `after` is the place of the last one that is known already."""

    def chunk(self, job_id: str, chunk_id: int) -> ChunkRow | None:
        """Return a chunk of the job, None if there is none."""

    def chunk_states(self, job_id: str) -> ChunkStates:
        """Return the states of all chunks of the job, and until which event they are those."""

    def events(self, after: int, *, limit: int = 1000, job_id: str | None = None) -> EventPage:
        """Return the events with a higher id than `after`, those of one job if it is named."""

    def prune(
        self,
        *,
        jobs_before: float | None = None,
        events_before: float | None = None,
        events_up_to: int | None = None,
    ) -> Pruned:
        """Remove the jobs that were finished before a time, and events from before a time or up to an id.

        A job that an unfinished one comes after stays. The writing goes on meanwhile. Raises `RepositoryLostError`.
        """

    def backup(self, path: Path) -> None:
        """Write a copy of it as it is now; the writing goes on meanwhile.

        Raises `RepositoryError` where a program of the database's own does that.
        """

    def check(self) -> list[str]:
        """Return what is wrong with it, a line for each."""
