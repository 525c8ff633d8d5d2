"""What there is to say about an event."""

from __future__ import annotations

from typing import NamedTuple

from tailrace import ChunkFailed, ChunkFinished, ChunkRetrying, JobEvent, LogFailed, MergeStarted

from ._job_tally import JobTally


class Remark(NamedTuple):
    """One line about an event."""

    text: str
    is_trouble: bool
    """Whether something went wrong."""


def remark_on(event: JobEvent, tally: JobTally) -> Remark | None:
    """Return the remark on an event that the tally has counted; None for those that need none."""
    match event:
        case ChunkFinished(chunk_id=chunk_id, result=result):
            progress = f"{tally.completed} of {tally.total}"
            return Remark(f"chunk {chunk_id} done in {result.duration:.1f} s, {progress}", is_trouble=False)
        case ChunkRetrying(chunk_id=chunk_id, reason=reason, delay=delay):
            return Remark(f"chunk {chunk_id} failed: {reason}; next attempt in {delay:.1f} s", is_trouble=True)
        case ChunkFailed(error=error):
            return Remark(str(error), is_trouble=True)
        case LogFailed(path=path, reason=reason):
            return Remark(f"the log {path} cannot be written: {reason}; the job goes on without it", is_trouble=True)
        case MergeStarted():
            return Remark("merging", is_trouble=False)
    return None
