"""The jobs of a farm that have not ended, and what they wait for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import anyio

from .._scheduling.packer import Lane
from .farm_job import FarmJob
from .ledger import Ledger
from .repository.changes import JobChanged, JobFields
from .repository.rows import FINAL_JOB_STATES, JobRow, JobStateName

EndedState: TypeAlias = JobStateName | Literal["deleted"]


class JobTable:
    """Knows all jobs that have not ended, and of the others how those ended that one of them comes after.

    Each change is noted in the ledger, and wakes who waits for `changed`.
    """

    def __init__(self, ledger: Ledger, *, on_end: Callable[[JobRow], object]) -> None:
        """Have changes noted there, and `on_end` told of each job that has ended and has a command for it."""
        self.changed = anyio.Event()
        """Set at the next change, and another one by then."""
        self._ledger = ledger
        self._on_end = on_end
        self._jobs: dict[str, FarmJob] = {}
        self._by_lane: dict[Lane, FarmJob] = {}
        self._ended: dict[str, EndedState] = {}
        """Of jobs that others come after which have not ended."""
        self._turns = itertools.count(1)

    def __iter__(self) -> Iterator[FarmJob]:
        return iter(self._jobs.values())

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs

    def get(self, job_id: str) -> FarmJob | None:
        """Return the job; None if there is none that has not ended."""
        return self._jobs.get(job_id)

    def add(self, job: FarmJob, ended: Mapping[str, EndedState]) -> None:
        """Take a job, and how those ended that it comes after, where they have."""
        self._jobs[job.row.id] = job
        self._by_lane[job.lane] = job
        self._ended.pop(job.row.id, None)
        self._ended |= {id_: state for id_, state in ended.items() if id_ not in self._jobs}
        self.wake()

    def took_turn(self, lane: Lane) -> None:
        """Note that a chunk of the job with that lane got a slot."""
        if (job := self._by_lane.get(lane)) is not None:
            job.take_turn(next(self._turns))
            if not job.wants_more:
                # Another may take turns in its place.
                self.wake()

    def note(self, job: FarmJob, state: JobStateName, fields: JobFields, details: Mapping[str, Any]) -> None:
        """Have the job in another state, and forget it where that is a final one."""
        has_ended = state in FINAL_JOB_STATES
        if has_ended:
            fields = {**fields, "end_is_due": job.settings.on_end is not None}
        job.change({"state": state, **fields})
        self._ledger.job(job.row.id, state, fields, details)
        if has_ended:
            self._forget(job, state)
            if job.row.end_is_due:
                self._on_end(job.row)
        self.wake()

    def count(self, job: FarmJob, fields: JobFields) -> None:
        """Have other counts for the job, which nobody waits for."""
        job.change(fields)
        self._ledger.note(JobChanged(job.row.id, fields))

    def change(self, job: FarmJob, fields: JobFields) -> None:
        """Have other values for fields of the job."""
        self.count(job, fields)
        self.wake()

    def delete(self, job_id: str) -> None:
        """Forget a job for good, one that has ended too."""
        job = self._jobs.get(job_id)
        if job is not None:
            self._forget(job, "deleted")
        elif job_id in self._ended:
            self._ended[job_id] = "deleted"
        self._ledger.deleted(job_id)
        self.wake()

    def wake(self) -> None:
        """Wake who waits for a change."""
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    def is_ready(self, job: FarmJob, now: float) -> bool:
        """Return whether a job may begin."""
        row = job.row
        if row.state != "pending" or job.active is not None or (row.not_before is not None and row.not_before > now):
            return False
        return not job.is_put_off and self.awaited(job) is None

    def update_obstacles(self) -> None:
        """Have each job that waits for one that will not be completed say so in its error."""
        for job in list(self._jobs.values()):
            if job.row.after and job.row.state == "pending":
                obstacle = self._obstacle(job.row)
                # What else keeps one from beginning, `ActiveJob` says.
                if obstacle != job.row.error and self.awaited(job) is not None:
                    self.note(job, "pending", {"error": obstacle}, {"error": obstacle})

    def awaited(self, job: FarmJob) -> str | None:
        """Return the first job that keeps one from beginning, since it comes after that; None if none does."""
        if job.has_begun:
            return None
        return next((other for other in job.row.after if self._ended.get(other) != "completed"), None)

    def comes_after(self, ids: Collection[str]) -> set[str]:
        """Return these jobs, and those that they come after, and so on, as far as they have neither begun nor ended."""
        found: set[str] = set()
        left = list(ids)
        while left:
            id_ = left.pop()
            if id_ not in found:
                found.add(id_)
                job = self._jobs.get(id_)
                if job is not None and not job.has_begun:
                    left += job.row.after
        return found

    def _obstacle(self, row: JobRow) -> str | None:
        for other in row.after:
            match self._ended.get(other):
                case "failed" | "cancelled" as state:
                    reason = "failed" if state == "failed" else "was cancelled"
                    return f"it comes after job {other}, which {reason}: retry that, or resume this one to do without"
                case "deleted":
                    return f"it comes after job {other}, which was deleted: resume it to do without"
        return None

    def _forget(self, job: FarmJob, state: EndedState) -> None:
        del self._jobs[job.row.id]
        del self._by_lane[job.lane]
        self._ended[job.row.id] = state
        awaited = {id_ for other in self._jobs.values() for id_ in other.row.after}
        self._ended = {id_: ended for id_, ended in self._ended.items() if id_ in awaited}
