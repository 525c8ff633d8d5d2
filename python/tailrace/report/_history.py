"""One run of a job, from its events."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from .._command.result import WorkerResult
from .._events.json_values import message_of, type_name_of
from .._events.state import JobState
from .._events.types import (
    ChunkErrorReported,
    ChunkFailed,
    ChunkFinished,
    ChunkRetrying,
    ChunkStarted,
    FrameFinished,
    FrameFlagged,
    JobEvent,
    JobFinished,
    JobStarted,
    MergeStarted,
)
from ._data import MOST_FAILURES, AttemptReport, AttemptState, FrameReport, LogExcerpt, MergeReport, RunReport, RunState
from ._log_lines import excerpts_of_result

_MOST_ERRORS = 5
"""Of one attempt that are kept; a renderer may report one for each frame."""
_LONGEST_ERROR = 2000
"""In characters."""
_CANCELLATIONS = ("CancelledError", "Cancelled", "KeyboardInterrupt")
"""The classes, in asyncio and in trio, whatever ended the job so."""


class FrameKey(NamedTuple):
    """Names a frame: a number may be that of several chunks."""

    chunk_id: int
    frame: int


class RunHistory:
    """Takes the events of one run of a job, as they come or out of its log; keeps what a report tells of them."""

    def __init__(self, log_dir: Path | None = None) -> None:
        """Begin without any event; `log_dir` is where the logs of the run are, None if there are none."""
        self.log_dir = log_dir
        self.job_id = self.run_id = ""
        """Those of the events; "" before the first."""
        self.state = JobState()
        self.done_before: Collection[int] = ()
        self.attempts: dict[int, list[AttemptReport]] = {}
        self.commands: dict[int, str] = {}
        self.frames: dict[FrameKey, FrameReport] = {}
        self.excerpts: dict[int, list[LogExcerpt]] = {}
        """Of chunks that failed, where their results hold what they wrote: those of a log do not."""
        self.unreadable_lines = 0
        self._errors: dict[int, list[str]] = {}
        self._began = self._began_at = self._latest = 0.0
        self._merge_began: float | None = None
        self._goes_on = False
        self._end: RunState | None = None
        self._error: str | None = None

    def apply(self, event: JobEvent) -> None:
        """Take the next event. Takes a few microseconds."""
        if not self.run_id:
            # The beginning of a log may be damaged.
            self.job_id, self.run_id = event.job_id, event.run_id
            self._began, self._began_at = event.monotonic, event.time
        self._latest = event.monotonic
        # The state forgets with an end what it was the end of.
        running = dict(self.state.running) if isinstance(event, JobFinished) else self.state.running
        slot = 0
        if isinstance(event, ChunkFinished | ChunkFailed | ChunkRetrying) and event.chunk_id in running:
            slot = running[event.chunk_id].slot
        self.state.apply(event)
        match event:
            case ChunkStarted(chunk_id=chunk_id, command=command):
                self.commands[chunk_id] = command
                self._errors.pop(chunk_id, None)
            case ChunkErrorReported(chunk_id=chunk_id, message=message):
                errors = self._errors.setdefault(chunk_id, [])
                if len(errors) < _MOST_ERRORS and message not in errors:
                    errors.append(message[:_LONGEST_ERROR])
            case FrameFinished(chunk_id=chunk_id, frame=frame, path=path, duration=duration):
                known = self.frames.get(FrameKey(chunk_id, frame))
                # It may be known to be odd before.
                warnings = known.warnings if known is not None else ()
                self.frames[FrameKey(chunk_id, frame)] = FrameReport(
                    frame=frame, chunk_id=chunk_id, path=path, duration=duration, warnings=warnings
                )
            case FrameFlagged():
                self._flag(event)
            case ChunkFinished(chunk_id=chunk_id, result=result):
                self._add(chunk_id, "completed", slot, result)
            case ChunkRetrying(chunk_id=chunk_id):
                self._add(chunk_id, "retried", slot, None)
            case ChunkFailed(chunk_id=chunk_id, error=error):
                self._add(chunk_id, "failed", slot, error.result)
                if error.result is not None and len(self.excerpts) < MOST_FAILURES:
                    self.excerpts[chunk_id] = excerpts_of_result(error.result, self._errors.get(chunk_id, ()))
            case JobStarted(completed_chunk_ids=ids):
                self.done_before = frozenset(ids)
            case MergeStarted():
                self._merge_began = event.monotonic
            case JobFinished(error=failure):
                for chunk_id, cut in running.items():
                    self._add(chunk_id, "cancelled", cut.slot, None)
                self._error = None if failure is None else message_of(failure) or type_name_of(failure)
                is_cancelled = failure is not None and type_name_of(failure) in _CANCELLATIONS
                self._end = "completed" if failure is None else "cancelled" if is_cancelled else "failed"

    def go_on(self, monotonic: float | None) -> None:
        """Take it that the run goes on without an event until then, by the clock of `JobEvent.monotonic`.

        None is that it does not, as far as is known; so it is at first.
        """
        self._goes_on = monotonic is not None
        if monotonic is not None and not self.has_ended:
            self._latest = max(self._latest, monotonic)

    def report(self) -> RunReport:
        """Return what there is to say of the run by now, but for its chunks."""
        duration = self.state.duration
        return RunReport(
            run_id=self.run_id,
            state=self._end or self._open,
            started_at=self._began_at,
            duration=self._latest - self._began if duration is None else duration,
            total_chunks=self.state.total,
            done_before=len(self.done_before),
            error=self._error,
            merge=self._merge(),
            unreadable_lines=self.unreadable_lines,
            incomplete_logs=dict(self.state.incomplete_logs),
        )

    def unfinished(self) -> Mapping[int, AttemptReport]:
        """Return the attempts that have no end, or none yet, by the ids of their chunks."""
        return {
            chunk_id: self._attempt(chunk_id, self._open, command.slot, None, self._latest - command.started)
            for chunk_id, command in self.state.running.items()
        }

    @property
    def _open(self) -> Literal["running", "unfinished"]:
        """What is said of what has no end."""
        return "running" if self.goes_on else "unfinished"

    @property
    def goes_on(self) -> bool:
        """Whether it is known to run still."""
        return self._goes_on and not self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether its last event has come."""
        return self._end is not None

    def _add(self, chunk_id: int, state: AttemptState, slot: int, result: WorkerResult | None) -> None:
        duration = self.state.chunks[chunk_id].duration or 0.0
        attempt = self._attempt(chunk_id, state, slot, result, duration)
        self.attempts.setdefault(chunk_id, []).append(attempt)

    def _attempt(
        self, chunk_id: int, state: AttemptState, slot: int, result: WorkerResult | None, duration: float
    ) -> AttemptReport:
        chunk = self.state.chunks[chunk_id]
        usage = chunk.usage
        began = self._latest - duration if chunk.started is None else chunk.started
        return AttemptReport(
            attempt=chunk.attempts or 1,
            slot=slot,
            began=max(began - self._began, 0.0),
            duration=duration,
            state=state,
            ending=chunk.ending if state != "retried" else None,
            exit_code=chunk.exit_code,
            cpu=None if usage is None else usage.cpu_user + usage.cpu_system,
            memory=chunk.memory,
            node=None if result is None else result.node,
            reason=chunk.reason,
            category=chunk.category,
            errors=tuple(self._errors.get(chunk_id, ())),
        )

    def _flag(self, event: FrameFlagged) -> None:
        key = FrameKey(event.chunk_id, event.frame)
        known = self.frames.get(key)
        if event.fatal:
            damaged = FrameReport(frame=event.frame, chunk_id=event.chunk_id, path=event.path, damage=event.reason)
            self.frames[key] = damaged
        elif known is None:
            odd = FrameReport(frame=event.frame, chunk_id=event.chunk_id, path=event.path, warnings=(event.reason,))
            self.frames[key] = odd
        else:
            self.frames[key] = replace(known, warnings=(*known.warnings, event.reason))

    def _merge(self) -> MergeReport | None:
        merge = self.state.merge
        if merge is None or self._merge_began is None:
            return None
        state: AttemptState = "completed" if merge.status == "completed" else "failed"
        if state == "failed" and self._end != "failed":
            state = "cancelled" if self._end == "cancelled" else self._open
        usage = merge.usage
        return MergeReport(
            state=state,
            began=self._merge_began - self._began,
            duration=self._latest - self._merge_began if merge.duration is None else merge.duration,
            cpu=None if usage is None else usage.cpu_user + usage.cpu_system,
            memory=None if usage is None else usage.tree_max_rss or usage.max_rss,
        )
