"""What happened in a job, counted."""

from __future__ import annotations

from tailrace import ChunkFailed, ChunkFinished, ChunkRetrying, JobEvent, JobStarted, MergeFinished, MergeStarted


class JobTally:
    """Counts the events of a job. The chunks in `unasked` are left out."""

    def __init__(self, unasked: frozenset[int]) -> None:
        self._unasked = unasked
        self.total = self.completed = 0
        self._skipped = self._retries = 0
        self._failed: list[int] = []
        self._merge: str | None = None

    def count(self, event: JobEvent) -> None:
        """Take the next event of the job."""
        match event:
            case JobStarted(total_chunks=total, skipped_chunk_ids=skipped):
                self.total = total - len(self._unasked)
                self.completed = self._skipped = len(set(skipped) - self._unasked)
            case ChunkFinished():
                self.completed += 1
            case ChunkRetrying():
                self._retries += 1
            case ChunkFailed(chunk_id=chunk_id):
                self._failed.append(chunk_id)
            case MergeStarted():
                self._merge = "not merged"
            case MergeFinished():
                self._merge = "merged"

    def summary(self, job_id: str, duration: float, *, interrupted: bool) -> str:
        """Return how the job went, in one line; `duration` is in seconds."""
        done = self.completed - self._skipped
        parts = [f"{done} {'chunk' if done == 1 else 'chunks'} done"]
        if self._skipped:
            parts.append(f"{self._skipped} skipped")
        if self._failed:
            parts.append(f"{len(self._failed)} failed ({', '.join(map(str, sorted(self._failed)))})")
        if self._retries:
            parts.append("1 retry" if self._retries == 1 else f"{self._retries} retries")
        if self._merge is not None:
            parts.append(self._merge)
        if interrupted:
            parts.append("interrupted")
        return f"job {job_id}: {', '.join(parts)}, {duration:.1f} s"
