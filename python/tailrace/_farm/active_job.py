"""A job of a farm while its chunks run."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import fields as fields_of
from typing import Any, Literal, TypeAlias

import anyio

from .._command.result import ResourceUsage, WorkerResult
from .._errors import ChunkFailedError, JobLockedError, TailraceError
from .._events.state import JobState
from .._events.types import (
    ChunkFailed,
    ChunkFinished,
    ChunkRetrying,
    ChunkSkipped,
    ChunkStarted,
    JobEvent,
    JobStarted,
    MergeFinished,
    MergeStarted,
)
from .._spec.model import Chunk
from .farm_job import FarmJob
from .job_table import JobTable
from .ledger import Ledger
from .repository.changes import ChunkChanged, ChunkFields, ChunksChanged, JobFields
from .repository.rows import ChunkRow, ChunkStateName

Ending: TypeAlias = Literal["paused", "cancelled", "pending"]
"""What a job is to be that is ended before its time."""

_SHORTEST_DELAY = 1.0
_LONGEST_DELAY = 10.0
"""For how long a job is put off at most, in seconds: what it takes to try is much where it has many chunks."""

_NEW_ATTEMPT: ChunkFields = {
    "exit_code": None,
    "duration": None,
    "node": None,
    "error": None,
    "category": None,
    "usage": None,
    "outputs": None,
    "skipped_because": None,
}
_USAGE = [field.name for field in fields_of(ResourceUsage)]


class ActiveJob:
    """Takes the events of a running job and notes what they change; ends it where that is asked for."""

    def __init__(
        self,
        job: FarmJob,
        table: JobTable,
        ledger: Ledger,
        publish: Callable[[str, JobEvent], object],
        node_of: Callable[[int], str],
    ) -> None:
        """Take the job, where changes are noted, who is told of all events, and who knows where a chunk runs."""
        self._node_of = node_of
        self.state = JobState()
        """What is known of this run of it."""
        self.has_begun = False
        """Whether its chunks take part in the slots."""
        self.failure_limit: int | None = None
        """How many chunks have to fail in this run before it ends by itself."""
        self._job = job
        self._table = table
        self._ledger = ledger
        self._publish = publish
        self._lost: dict[int, int] = {}
        self._frames: dict[int, int] = {}
        self._running: dict[int, int] = {}
        """The attempts at the chunks that run."""
        self._attempts: dict[int, int] = {}
        """How many attempts at each chunk have begun."""
        self._failed = 0
        self._scope = anyio.CancelScope()
        self._ending: Ending | None = None
        self._pauses = False

    def expect(self, chunks: Sequence[Chunk], rows: Collection[ChunkRow]) -> None:
        """Take the chunks that may run, and what became of them before."""
        self.state = JobState(chunks)
        self._frames = {chunk.id: chunk.frame_count for chunk in chunks}
        self._lost = {row.chunk_id: row.lost for row in rows if row.lost}
        self._attempts = {row.chunk_id: row.attempts for row in rows if row.attempts}

    async def run(self, execute: Callable[[], Awaitable[object]]) -> None:
        """Run it to its end, and note how that was; where another run has its files, it is to be tried again later."""
        error: Exception | None = None
        is_over = False
        try:
            with self._scope:
                try:
                    await execute()
                    is_over = True
                except Exception as raised:  # noqa: BLE001 (whatever it is, the other jobs go on)
                    error = raised
        finally:
            self._job.active = None
            if is_over:
                self._end("completed", None)
            elif isinstance(error, JobLockedError) and self._ending != "cancelled":
                self._put_off(str(error))
            elif error is not None and self._ending != "cancelled":
                self._fail(error)
            else:
                self._end_early(self._ending or "pending")
        if self._job.is_put_off:
            await anyio.sleep(self._job.delay)
            self._job.is_put_off = False
            self._table.wake()

    def end(self, ending: Ending) -> None:
        """End what runs, and have the job be that."""
        # That it is cancelled is not taken back.
        if self._ending != "cancelled":
            self._ending = ending
        self._scope.cancel()

    def pause(self) -> None:
        """Start no more of its chunks, and end it when those that run are over."""
        self._pauses = True
        self._job.lane.is_open = False
        self._end_if_idle()

    def resume(self) -> bool:
        """Have it go on, and return True; False if it is being ended."""
        if self._ending is not None:
            return False
        self._pauses = False
        self._job.lane.is_open = True
        return True

    @property
    def is_ending(self) -> bool:
        """Whether it is being ended, or ends by itself now that it is paused and no chunk of it runs."""
        return self._ending is not None or (self._pauses and not self._running)

    def runs(self, chunk_id: int, attempt: int) -> bool:
        """Return whether that attempt at the chunk is running."""
        return self._running.get(chunk_id) == attempt

    def last_attempt(self, chunk_id: int) -> int:
        """Return the number of the last attempt at the chunk that began; 0 if none has."""
        return self._attempts.get(chunk_id, 0)

    def frames_done(self) -> float:
        """Return how many frames of chunks that run are rendered, in parts too."""
        return sum(self.progress_of(chunk_id) * self._frames[chunk_id] for chunk_id in self._running)

    def progress_of(self, chunk_id: int) -> float:
        """Return how much of a chunk that runs is rendered, 0 to 1."""
        command, chunk = self.state.running.get(chunk_id), self.state.chunks.get(chunk_id)
        if command is None or chunk is None:
            return 0.0
        return min(1.0, max(command.fraction or 0.0, chunk.frames_done / max(1, chunk.frames)))

    def lost(self, chunk_id: int) -> None:
        """Take that what ran a chunk was lost, which is no attempt at it, in later runs neither."""
        lost = self._lost[chunk_id] = self._lost.get(chunk_id, 0) + 1
        self._ledger.note(ChunkChanged(self._job.row.id, chunk_id, {"lost": lost}))

    def on_event(self, event: JobEvent) -> None:
        """Take an event of the executor's."""
        self.state.apply(event)
        self._publish(self._job.row.id, event)
        row = self._job.row
        match event:
            case JobStarted():
                self.has_begun = True
                self._job.delay = 0.0
                if row.state == "pending":
                    began: JobFields = {"error": None}
                    if row.started_at is None:
                        began["started_at"] = event.time
                    self._table.note(self._job, "running", began, {})
            case ChunkStarted(chunk_id=chunk_id, attempt=attempt, slot=slot):
                self._running[chunk_id] = self._attempts[chunk_id] = attempt
                fields: ChunkFields = {**_NEW_ATTEMPT, "attempts": attempt, "started_at": event.time, "slot": slot}
                # The only node has no name.
                fields["node"] = self._node_of(chunk_id) or None
                self._chunk(chunk_id, "running", fields, {"attempt": attempt})
            case ChunkRetrying(chunk_id=chunk_id, reason=reason):
                self._running.pop(chunk_id, None)
                self._chunk(chunk_id, "pending", {"error": reason}, {"error": reason})
                self._end_if_idle()
            case ChunkFinished(chunk_id=chunk_id, result=result):
                self._running.pop(chunk_id, None)
                frames = row.finished_frames + self._frames[chunk_id]
                self._table.count(self._job, {"completed_chunks": row.completed_chunks + 1, "finished_frames": frames})
                ended: ChunkFields = {**_ended(result), "frames_again": None}
                self._chunk(chunk_id, "completed", ended, {"exitCode": result.exit_code})
                self._end_if_idle()
            case ChunkFailed(chunk_id=chunk_id, error=error):
                self._running.pop(chunk_id, None)
                self._table.count(self._job, {"failed_chunks": row.failed_chunks + 1})
                fields = {**_ended(error.result), "error": str(error), "category": error.category}
                self._chunk(chunk_id, "failed", fields, {"error": str(error)})
                self._failed += 1
                if self._failed != self.failure_limit:
                    self._end_if_idle()
            case ChunkSkipped(chunk_id=chunk_id, because_of=because_of):
                self._table.count(self._job, {"skipped_chunks": row.skipped_chunks + 1})
                self._chunk(chunk_id, "skipped", {"skipped_because": because_of}, {"becauseOf": because_of})
            case MergeStarted():
                if row.state == "running":
                    self._table.note(self._job, "merging", {}, {})
            case MergeFinished():
                # What is asked for now comes too late.
                self._pauses = False

    def _end_if_idle(self) -> None:
        if self._pauses and not self._running and self.state.merge is None:
            self.end("paused")

    def _end_early(self, ending: Ending) -> None:
        """Note what has become of a job that was ended; what ran of it is pending again, and that was no attempt."""
        if ending == "cancelled":
            self._end("cancelled", None)
            return
        for chunk_id in self._running:
            self._chunk(chunk_id, "pending", {"lost": self._lost.get(chunk_id, 0) + 1}, {})
        self._job.lane.is_open = True
        if self._job.row.state in ("running", "merging"):
            self._table.note(self._job, "pending", {}, {})
        self._table.wake()

    def _put_off(self, reason: str) -> None:
        """Have it be pending for a while, and say why."""
        job = self._job
        self._end_early("pending")
        if job.row.state == "pending" and job.row.error != reason:
            self._table.note(job, "pending", {"error": reason}, {"error": reason})
        job.is_put_off, job.delay = True, min(2 * job.delay or _SHORTEST_DELAY, _LONGEST_DELAY)

    def _fail(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, TailraceError | ValueError) else f"{type(error).__name__}: {error}"
        if isinstance(error, ChunkFailedError) and len(error.failures) > 1:
            reason = f"{reason} (and {len(error.failures) - 1} more)"
        self._end("failed", reason)

    def _end(self, state: Literal["completed", "failed", "cancelled"], error: str | None) -> None:
        if state != "completed":
            for chunk_id in self._running:
                self._chunk(chunk_id, "cancelled", {}, {})
            # What has not begun is not told one by one: there may be a hundred thousand.
            self._ledger.note(ChunksChanged(self._job.row.id, ("pending", "running"), {"state": "cancelled"}))
        details = {} if error is None else {"error": error}
        self._table.note(self._job, state, {"finished_at": time.time(), "error": error}, details)

    def _chunk(self, chunk_id: int, state: ChunkStateName, fields: ChunkFields, details: Mapping[str, Any]) -> None:
        self._ledger.chunk(self._job.row.id, chunk_id, state, fields, details)


def _ended(result: WorkerResult | None) -> ChunkFields:
    if result is None:
        return {}
    used = result.usage
    # Not by `asdict`, which copies each number.
    usage = None if used is None else json.dumps({name: getattr(used, name) for name in _USAGE})
    return {"exit_code": result.exit_code, "duration": result.duration, "usage": usage, "node": result.node}
