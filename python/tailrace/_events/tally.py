"""What happened in a job, counted."""

from __future__ import annotations

from .._spec.notes import counted
from .types import (
    ChunkFailed,
    ChunkFinished,
    ChunkRetrying,
    ChunkStarted,
    JobEvent,
    JobStarted,
    LogFailed,
    MergeFinished,
    MergeStarted,
)


class JobTally:
    """Counts the events of a job. The chunks in `unasked` are left out."""

    def __init__(self, unasked: frozenset[int]) -> None:
        self._unasked = unasked
        self.total = self.completed = 0
        self._skipped = self._retries = 0
        self._failed: set[int] = set()
        self._waiting: set[int] = set()
        self._incomplete_logs: set[str] = set()
        self._merge: str | None = None

    def count(self, event: JobEvent) -> None:
        """Take the next event of the job."""
        match event:
            case JobStarted(total_chunks=total, skipped_chunk_ids=skipped):
                self.total = total - len(self._unasked)
                self.completed = self._skipped = len(set(skipped) - self._unasked)
            case ChunkFinished():
                self.completed += 1
            case ChunkStarted(chunk_id=chunk_id, attempt=attempt):
                self._retries += attempt > 1
                self._waiting.discard(chunk_id)
            case ChunkRetrying(chunk_id=chunk_id):
                self._waiting.add(chunk_id)
            case ChunkFailed(chunk_id=chunk_id):
                self._failed.add(chunk_id)
            case LogFailed(path=path):
                self._incomplete_logs.add(path)
            case MergeStarted():
                self._merge = "not merged"
            case MergeFinished():
                self._merge = "merged"

    def summary(self, job_id: str, duration: float, *, interrupted: bool) -> str:
        """Return how the job went, in one line; `duration` is in seconds."""
        # Those that wait for another attempt now will not get it.
        failed = self._failed | self._waiting
        parts = [f"{counted(self.completed - self._skipped, 'chunk')} done"]
        if self._skipped:
            parts.append(f"{self._skipped} skipped")
        if failed:
            parts.append(f"{len(failed)} failed ({', '.join(map(str, sorted(failed)))})")
        if self._retries:
            parts.append("1 retry" if self._retries == 1 else f"{self._retries} retries")
        if self._merge is not None:
            parts.append(self._merge)
        if self._incomplete_logs:
            parts.append(f"{counted(len(self._incomplete_logs), 'log')} incomplete")
        if interrupted:
            parts.append("interrupted")
        return f"job {job_id}: {', '.join(parts)}, {duration:.1f} s"
