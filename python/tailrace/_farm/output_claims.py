"""Keeps jobs from writing each other's files."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread

from .._errors import JobStateError
from .._spec.model import JobSpec
from .._state.job_outputs import JobOutputs
from .farm_job import FarmJob
from .job_table import JobTable
from .repository.job_repository import JobRepository
from .repository.rows import JobRow
from .settings import JobSettings

_Read: TypeAlias = "Callable[[Callable[[], JobOutputs]], Awaitable[JobOutputs]]"


class OutputClaims:
    """Looks for files that two jobs of one folder would write, neither of which comes after the other."""

    def __init__(self, table: JobTable, repository: JobRepository, read: _Read) -> None:
        """Take the jobs that have not ended, where they are, and what reads there once all is written until now."""
        self._table = table
        self._repository = repository
        self._read = read
        self._known: dict[tuple[str, str], JobOutputs] = {}
        """What jobs with such settings write, once it has been asked for."""

    async def check(self, row: JobRow, spec: JobSpec | None = None) -> None:
        """Raise `JobStateError` if a job that has not ended writes a file that the job will write, as it is in `row`.

        A job that is not in the repository yet comes with its specification. Whoever calls this lets nobody else add a
        job, or change what one writes or waits for, until it is done.
        """
        folder = await anyio.to_thread.run_sync(os.path.realpath, row.folder or ".")
        if not self._rivals(row, folder):
            return
        outputs = await self._outputs(row, spec)
        for rival in self._rivals(row, folder):
            shared = outputs.shared_with(await self._outputs(rival))
            # It may have ended meanwhile.
            if shared is not None and rival.id in self._table:
                if spec is None:
                    remedy = "that one has to end before"
                else:
                    remedy = "submit this one to come after it (`after`), or with another folder"
                message = f"job {rival.id} is {rival.state} and writes {shared} in {row.folder} too: {remedy}"
                raise JobStateError(message, rival.id, rival.state)
        self._known = {key: known for key, known in self._known.items() if key[0] in self._table or key[0] == row.id}

    def _rivals(self, row: JobRow, folder: str) -> list[JobRow]:
        """Return the jobs of its folder, which has no links in it, that may run beside it."""
        before = self._table.comes_after(row.after)
        return [
            job.row
            for job in self._table
            if job.folder_key == folder
            and job.row.id != row.id
            and job.row.id not in before
            and not self._waits_for(job, row.id)
        ]

    def _waits_for(self, job: FarmJob, job_id: str) -> bool:
        """Return whether a job does not begin, or go on, before the other one is completed."""
        if job.active is not None or job.has_begun:
            return False
        return job_id in self._table.comes_after(job.row.after)

    async def _outputs(self, row: JobRow, spec: JobSpec | None = None) -> JobOutputs:
        key = (row.id, row.settings)
        if key not in self._known:
            of_row = partial(self._outputs_of, row, spec)
            # A job that was just added may not be written yet.
            self._known[key] = await (self._read(of_row) if spec is None else anyio.to_thread.run_sync(of_row))
        return self._known[key]

    def _outputs_of(self, row: JobRow, spec: JobSpec | None) -> JobOutputs:
        settings = JobSettings.model_validate_json(row.settings)
        spec = spec or JobSpec.parse(self._repository.spec(row.id))
        return JobOutputs.of(spec, Path(row.folder or "."), settings.output_file)
