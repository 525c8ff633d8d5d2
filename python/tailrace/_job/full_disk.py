"""Chunks that failed because the disk is full: each further one would fail for it too."""

from __future__ import annotations

from pathlib import Path

from .._output.disk_space import find_free_space, shown_size
from .._spec.model import Chunk
from .._spec.outputs import output_paths
from .attempt import Failure
from .context import JobContext

_LEAST_SPACE = 1 << 20
"""With less free, in bytes, a disk is full: file systems keep some for themselves."""


class FullDisk:
    """Knows which chunks have waited for space already, and says what is free when that was in vain."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._waited: set[int] = set()

    async def name(self, failure: Failure, chunk: Chunk) -> Failure:
        """Return the failure with the category "disk", if nothing is known of it and where it writes is no space.

        Not every renderer says why it could not write.
        """
        if failure.category is not None or failure.result is None or not self._context.capabilities.shares_files:
            return failure
        folder = _folder(chunk, self._context.job_dir)
        free = await find_free_space(folder)
        if free is None or free >= _LEAST_SPACE:
            return failure
        reason = f"{failure.reason}; there is no space left in {folder}"
        return failure._replace(category="disk", reason=self._context.mask.text(reason), is_worth_retrying=True)

    def is_reason(self, failure: Failure) -> bool:
        """Return whether the chunk failed for the disk that all others write to as well.

        Workers that do not share files have disks of their own, and the next attempt may be at another worker.
        """
        return failure.category == "disk" and self._context.capabilities.shares_files

    def has_waited(self, chunk: Chunk) -> bool:
        """Return whether the chunk had failed for the disk before."""
        return chunk.id in self._waited

    def wait(self, chunk: Chunk) -> None:
        """Note that the chunk is tried again once there may be space."""
        self._waited.add(chunk.id)

    async def explain(self, chunk: Chunk) -> str:
        """Return why the job ends, to follow the reason of the failure: where there is too little space, and how much.

        A disk that does not say it within five seconds is named without.
        """
        folder = _folder(chunk, self._context.job_dir)
        free = await find_free_space(folder)
        told = "" if free is None else f", where {shown_size(free)} are free"
        return self._context.mask.text(
            f"; the job ends, since other chunks would fail for it too: make room in {folder}{told}, and run it again"
        )


def _folder(chunk: Chunk, job_dir: Path) -> Path:
    first = next(output_paths(chunk, job_dir), None)
    return job_dir if first is None else first.parent
