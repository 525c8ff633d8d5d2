"""The state of a job, made of its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from .._errors import MergeFailedError
from .chunk_state import ChunkState, MergeState, begin_attempt, end_attempt, ending_of, report_error
from .json_values import message_of, type_name_of
from .pace import Pace, Unfinished
from .running import RunningCommand, add_output
from .types import (
    ChunkErrorReported,
    ChunkFailed,
    ChunkFinished,
    ChunkOutput,
    ChunkProgress,
    ChunkRetrying,
    ChunkSkipped,
    ChunkStarted,
    ChunkUsage,
    FrameFinished,
    FrameFlagged,
    JobEvent,
    JobFinished,
    JobStarted,
    LogFailed,
    MergeFinished,
    MergeOutput,
    MergeStarted,
)

if TYPE_CHECKING:
    from .._command.result import WorkerResult
    from .._spec.model import Chunk


class JobState:
    """What is known of one run of a job: `apply` takes its events, the rest only reads.

    The events may be those of a job that runs (`JobExecutionOptions(observers=[state.apply])`) or come out of its log
    through `event_from_json`. In the end both give the same: states are equal if all is that they tell, but a log does
    not have what a chunk that was cancelled, or waited for another attempt, was seen to use (`ChunkState.used_memory`).
    Neither output nor results are kept.
    """

    def __init__(self, chunks: Iterable[Chunk] = (), *, frames_before: int = 0) -> None:
        """Take the chunks that count: those of the specification, or some of them.

        Without them a chunk is known from when an event first names it, and each counts as one frame. `frames_before`
        is how many frames count beside theirs that were done before: those of which a run renders only the others.
        """
        self._chunks = {chunk.id: ChunkState(chunk.id, chunk.frame_count) for chunk in chunks}
        self._is_specified = bool(self._chunks)
        self._total = len(self._chunks)
        self._pace = Pace(frames_before + sum(chunk.frames for chunk in self._chunks.values()), frames_before)
        self._job_id = self._run_id = ""
        self._started: float | None = None
        self._started_at: float | None = None
        self._duration: float | None = None
        self._error: str | None = None
        self._has_ended = False
        self._completed = self._done_before = self._failed = self._skipped = self._retries = 0
        self._running: dict[int, RunningCommand] = {}
        self._waiting: dict[int, float] = {}
        self._frames_of_failed = 0
        self._finished: dict[int, set[int]] = {}
        """The frames that are known to be whole, of chunks that are neither completed nor failed."""
        self._merge: MergeState | None = None
        self._incomplete_logs: dict[str, str] = {}

    def apply(self, event: JobEvent) -> None:
        """Take the next event of the run. Takes a few microseconds, however long its output is."""
        # The most frequent ones come first.
        match event:
            case ChunkOutput(chunk_id=chunk_id, stream=stream, data=data):
                if (command := self._running.get(chunk_id)) is not None:
                    add_output(command, stream, data)
            case ChunkUsage(chunk_id=chunk_id, memory=memory):
                if (command := self._running.get(chunk_id)) is not None:
                    command.usage = event
                    chunk = self._chunks[chunk_id]
                    chunk.used_memory = max(memory, chunk.used_memory or 0)
            case ChunkProgress(chunk_id=chunk_id, memory=memory):
                if (command := self._running.get(chunk_id)) is not None:
                    command.progress = event
                    self._pace.move()
                    chunk = self._chunks[chunk_id]
                    if event.fraction is not None:
                        # A third of three is a hair less than one.
                        chunk.frames_done = max(chunk.frames_done, int(event.fraction * chunk.frames + 1e-6))
                    if memory is not None:
                        chunk.told_memory = max(memory, chunk.told_memory or 0)
            case FrameFinished(chunk_id=chunk_id, frame=frame):
                finished = self._finished.setdefault(chunk_id, set())
                finished.add(frame)
                chunk = self._chunk(chunk_id)
                chunk.frames_done = max(chunk.frames_done, len(finished))
                self._pace.move()
            case FrameFlagged(chunk_id=chunk_id, fatal=True, frame=frame):
                finished = self._finished.get(chunk_id, set())
                finished.discard(frame)
                self._chunk(chunk_id).frames_done = len(finished)
            case ChunkStarted():
                self._start(event)
            case ChunkFinished(chunk_id=chunk_id, result=result):
                chunk = self._end_chunk(chunk_id, event.monotonic, result, is_completed=True)
                chunk.ending = "exit"
            case ChunkRetrying():
                self._wait(event)
            case ChunkFailed(chunk_id=chunk_id, error=error):
                chunk = self._end_chunk(chunk_id, event.monotonic, error.result, is_completed=False)
                chunk.ending, chunk.reason, chunk.category = ending_of(error), str(error), error.category
                if chunk.ending == "not started":
                    chunk.exit_code = None
            case ChunkSkipped(chunk_id=chunk_id, because_of=failed):
                chunk = self._chunk(chunk_id)
                chunk.status, chunk.reason = "skipped", f"it depends on chunk {failed}, which failed"
                self._skipped += 1
                self._pace.failed += chunk.frames
                self._pace.move()
            case ChunkErrorReported(chunk_id=chunk_id):
                report_error(self._chunk(chunk_id), event)
            case MergeOutput(stream=stream, data=data):
                if self._merge is not None and (command := self._merge.command) is not None:
                    add_output(command, stream, data)
            case LogFailed(path=path, reason=reason):
                self._incomplete_logs[path] = reason
            case JobStarted():
                self._begin(event)
            case MergeStarted():
                self._merge = MergeState(RunningCommand(event.monotonic))
            case MergeFinished(result=result):
                self._end_merge(event.monotonic, "completed", result)
            case JobFinished(duration=duration, error=failure):
                self._duration = duration
                self._error = None if failure is None else message_of(failure) or type_name_of(failure)
                if isinstance(failure, MergeFailedError):
                    self._end_merge(event.monotonic, "failed", failure.result)
                self.end(event.monotonic)

    def end(self, now: float) -> None:
        """Take it that the run is over, as `JobFinished` tells; for the log of a host that was killed, say.

        `now` is by the clock of `JobEvent.monotonic`. What runs has been cancelled, what waits for another attempt has
        failed. Does nothing the second time.
        """
        if self._has_ended:
            return
        self._has_ended = True
        for chunk_id, command in self._running.items():
            chunk = self._chunks[chunk_id]
            chunk.status, chunk.ending = "pending", "cancelled"
            chunk.duration = now - command.started
        for chunk_id in self._waiting:
            chunk = self._chunks[chunk_id]
            chunk.status, chunk.ending = "failed", "not retried"
        self._failed += len(self._waiting)
        self._running.clear()
        self._waiting.clear()
        self._end_merge(now, "failed", None)

    def remaining(self, now: float) -> float | None:
        """Return the estimated time until the last chunk is done, in seconds.

        `now` is by the clock of `JobEvent.monotonic`. None where nothing can be estimated: before a hundredth of the
        work and three seconds are over, when nothing runs, and when it takes longer than was estimated.
        """
        if self._started is None or not (self._running or self._waiting):
            return None
        return self._pace.remaining(self._started, self._unfinished(), now)

    @property
    def job_id(self) -> str:
        """That of the events; "" before the first."""
        return self._job_id

    @property
    def run_id(self) -> str:
        """That of the events; "" before the first."""
        return self._run_id

    @property
    def started(self) -> float | None:
        """When the run began, by the clock of `JobEvent.monotonic`; None before that is told."""
        return self._started

    @property
    def started_at(self) -> float | None:
        """The same in seconds since the epoch."""
        return self._started_at

    @property
    def has_ended(self) -> bool:
        """Whether the run is over."""
        return self._has_ended

    @property
    def duration(self) -> float | None:
        """How long it took, in seconds; None before `JobFinished`."""
        return self._duration

    @property
    def error(self) -> str | None:
        """The message of what the job raised, or the name of its class if it has none; None if it raised nothing."""
        return self._error

    @property
    def chunks(self) -> Mapping[int, ChunkState]:
        """The chunks by id, in the order of the specification if that was given."""
        return MappingProxyType(self._chunks)

    @property
    def total(self) -> int:
        """How many chunks there are; without the specification, as `JobStarted` tells."""
        return self._total

    @property
    def completed(self) -> int:
        """How many chunks this run has completed."""
        return self._completed

    @property
    def done_before(self) -> int:
        """How many were done before this run."""
        return self._done_before

    @property
    def done(self) -> int:
        """How many are done, whoever did it: `completed` and `done_before`."""
        return self._completed + self._done_before

    @property
    def failed(self) -> int:
        """How many have failed for good."""
        return self._failed

    @property
    def skipped(self) -> int:
        """How many are not run since they depend on one that has failed."""
        return self._skipped

    @property
    def retries(self) -> int:
        """How many further attempts there were, of all chunks."""
        return self._retries

    @property
    def running(self) -> Mapping[int, RunningCommand]:
        """The attempts that run, by chunk."""
        return MappingProxyType(self._running)

    @property
    def waiting(self) -> Mapping[int, float]:
        """The chunks that wait for another attempt, and when that is due, by the clock of `JobEvent.monotonic`."""
        return MappingProxyType(self._waiting)

    @property
    def progress(self) -> float:
        """How much of the job is done, 0 to 1: of the frames of its chunks, without those that failed."""
        return self._pace.fraction(self._unfinished())

    @property
    def frames(self) -> int:
        """How many frames the chunks have, with those done before; without the specification, each counts as one."""
        return self._pace.total

    @property
    def frames_done(self) -> int:
        """How many of them are done, whoever did it; see `ChunkState.frames_done`."""
        partly = sum(min(one.chunk.frames_done, one.chunk.frames) for one in self._unfinished())
        return self._pace.done_before + self._pace.completed + partly + self._frames_of_failed

    @property
    def merge(self) -> MergeState | None:
        """The merge; None before it has begun."""
        return self._merge

    @property
    def incomplete_logs(self) -> Mapping[str, str]:
        """The log files that could not be written to their end, and why."""
        return MappingProxyType(self._incomplete_logs)

    def __eq__(self, other: object) -> bool:
        """Return whether the other is the state of the same run, and tells the same of it."""
        return isinstance(other, JobState) and self._told() == other._told()

    def __repr__(self) -> str:
        """Return the counts in one line."""
        counts = f"{self.done} of {self._total} chunks done, {len(self._running)} running, {self._failed} failed"
        return f"<JobState {self._job_id!r} {self._run_id}: {counts}>"

    def _told(self) -> tuple[object, ...]:
        told = (self._job_id, self._run_id, self._started, self._started_at, self._duration, self._error)
        done = (self._has_ended, self._total, self._completed, self._done_before)
        counts = (*done, self._failed, self._skipped, self._retries)
        return *told, *counts, self._chunks, self._running, self._waiting, self._merge, self._incomplete_logs

    def _unfinished(self) -> list[Unfinished]:
        whole, running = self._finished, self._running
        ids = running.keys() | whole.keys()
        return [Unfinished(self._chunks[id_], len(whole.get(id_, ())), running.get(id_)) for id_ in ids]

    def _chunk(self, chunk_id: int) -> ChunkState:
        """Return the chunk, which may be none of those that were given."""
        chunk = self._chunks.get(chunk_id)
        if chunk is None:
            chunk = self._chunks[chunk_id] = ChunkState(chunk_id)
            if len(self._chunks) > self._total:
                self._total += 1
                self._pace.total += 1
        return chunk

    def _begin(self, event: JobStarted) -> None:
        self._job_id, self._run_id = event.job_id, event.run_id
        self._started, self._started_at = event.monotonic, event.time
        if not self._is_specified:
            self._total = self._pace.total = event.total_chunks
        for chunk_id in event.completed_chunk_ids:
            # Those that were not given do not count.
            if chunk_id in self._chunks or not self._is_specified:
                chunk = self._chunk(chunk_id)
                chunk.status, chunk.frames_done = "completed", chunk.frames
                self._done_before += 1
                self._pace.done_before += chunk.frames

    def _start(self, event: ChunkStarted) -> None:
        chunk_id, attempt, now = event.chunk_id, event.attempt, event.monotonic
        chunk = self._chunk(chunk_id)
        begin_attempt(chunk, attempt, now)
        chunk.frames_done = len(self._finished.get(chunk_id, ()))
        self._retries += attempt > 1
        self._waiting.pop(chunk_id, None)
        self._running[chunk_id] = RunningCommand(now, chunk_id, attempt, event.slot)

    def _wait(self, event: ChunkRetrying) -> None:
        chunk = self._chunk(event.chunk_id)
        self._running.pop(event.chunk_id, None)
        self._waiting[event.chunk_id] = event.monotonic + event.delay
        end_attempt(chunk, event.monotonic)
        chunk.status, chunk.reason, chunk.category = "pending", event.reason, event.category
        chunk.frames_done = len(self._finished.get(event.chunk_id, ()))

    def _end_chunk(self, chunk_id: int, now: float, result: WorkerResult | None, *, is_completed: bool) -> ChunkState:
        chunk = self._chunk(chunk_id)
        command = self._running.pop(chunk_id, None)
        self._waiting.pop(chunk_id, None)
        self._pace.end_chunk(chunk.frames, 0 if command is None else now - command.started, is_completed=is_completed)
        end_attempt(chunk, now, result)
        if is_completed:
            chunk.status, chunk.frames_done = "completed", chunk.frames
            self._completed += 1
        else:
            chunk.status = "failed"
            self._failed += 1
            chunk.frames_done = len(self._finished.get(chunk_id, ()))
            self._frames_of_failed += min(chunk.frames_done, chunk.frames)
        self._finished.pop(chunk_id, None)
        return chunk

    def _end_merge(self, now: float, status: Literal["completed", "failed"], result: WorkerResult | None) -> None:
        merge = self._merge
        if merge is None or merge.command is None:
            return
        merge.status, merge.duration, merge.command = status, now - merge.command.started, None
        if result is not None:
            merge.exit_code, merge.usage = result.exit_code, result.usage
