"""Keeps jobs from writing each other's files."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import anyio
import anyio.to_thread

from .._errors import JobStateError
from .._spec.model import JobSpec
from .._state.job_outputs import JobOutputs
from .job_table import JobTable
from .repository.job_repository import JobRepository
from .repository.rows import JobRow
from .settings import JobSettings


class OutputClaims:
    """Looks for files that two jobs of one folder would write, neither of which comes after the other."""

    def __init__(self, table: JobTable, repository: JobRepository) -> None:
        """Take the jobs that have not ended, and where they are."""
        self._table = table
        self._repository = repository
        self._known: dict[tuple[str, str], JobOutputs] = {}
        """What jobs with such settings write, once it has been asked for."""

    async def check(
        self, job_id: str, spec: JobSpec, settings: JobSettings, folder: Path, after: Collection[str]
    ) -> None:
        """Raise `JobStateError` if a job that has not ended writes a file that this one will write too."""
        rivals = self._rivals(folder, {job_id, *self._table.comes_after(after)})
        if not rivals:
            return
        outputs = await anyio.to_thread.run_sync(JobOutputs.of, spec, folder, settings.output_file)
        for rival in rivals:
            key = (rival.id, rival.settings)
            if key not in self._known:
                self._known[key] = await anyio.to_thread.run_sync(self._outputs_of, rival)
            shared = outputs.shared_with(self._known[key])
            if shared is not None and rival.id in self._table:
                raise JobStateError(
                    f"job {rival.id} is {rival.state} and writes {shared} in {folder} too: submit this one with"
                    f" after=[{rival.id!r}], or with another folder",
                    rival.id,
                    rival.state,
                )
        self._known = {key: known for key, known in self._known.items() if key[0] in self._table}

    def _rivals(self, folder: Path, others: Collection[str]) -> list[JobRow]:
        key = os.path.realpath(folder)
        return [job.row for job in self._table if job.folder_key == key and job.row.id not in others]

    def _outputs_of(self, row: JobRow) -> JobOutputs:
        settings = JobSettings.model_validate_json(row.settings)
        spec = JobSpec.parse(self._repository.spec(row.id))
        return JobOutputs.of(spec, Path(row.folder or "."), settings.output_file)
