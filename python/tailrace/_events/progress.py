"""How far a job is, as its events tell."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .types import (
    ChunkFailed,
    ChunkFinished,
    ChunkOutput,
    ChunkProgress,
    ChunkRetrying,
    ChunkStarted,
    ChunkUsage,
    JobEvent,
    JobStarted,
    MergeFinished,
    MergeOutput,
    MergeStarted,
)

_TAIL = 1024
"""How much of a command's newest output is kept, in bytes: a row of a screen."""

_LEAST_TIME = 3.0
_LEAST_SHARE = 0.01
"""No time is estimated before this many seconds and this share of the work: the estimates would jump."""


@dataclass(slots=True)
class RunningCommand:
    """A chunk's attempt, or the merge, that runs now."""

    started: float
    chunk_id: int | None = None
    slot: int = 0
    progress: ChunkProgress | None = None
    used_memory: int | None = None
    """What it and all it started use, in bytes, if that is measured."""
    tail: bytes = b""
    """The end of what it wrote, to the stream that it wrote to last."""
    _stream: str = ""

    def add_output(self, stream: str, data: memoryview) -> None:
        """Take a piece of output; the cost does not depend on its length."""
        if len(data) >= _TAIL:
            self.tail = bytes(data[-_TAIL:])
        elif stream == self._stream:
            self.tail = (self.tail + data)[-_TAIL:]
        else:
            self.tail = bytes(data)
        self._stream = stream

    @property
    def memory(self) -> int | None:
        """What it uses, in bytes, if that is known: where nobody measures it, as on other machines, what it says."""
        if self.used_memory is None and self.progress is not None:
            return self.progress.memory
        return self.used_memory

    @property
    def fraction(self) -> float | None:
        """How much is done, 0 to 1, if that is known."""
        return None if self.progress is None else self.progress.fraction

    def remaining(self, now: float) -> float | None:
        """Return the estimated time to the end, in seconds, if there is one and it is not over yet."""
        # What the renderer says is left may be that of its frame, as Blender's is.
        if self.progress is None or (self.progress.fraction or 0) < _LEAST_SHARE:
            return None
        fraction, elapsed = self.progress.fraction or 0, self.progress.monotonic - self.started
        end = self.started + elapsed / fraction
        return None if elapsed < _LEAST_TIME or end < now else end - now


@dataclass(slots=True)
class JobProgress:
    """Takes the events of a job, one after the other."""

    frames: Mapping[int, int]
    """How many frames each chunk has that the user asked for: so much does it count."""
    job_id: str = ""
    running: dict[int, RunningCommand] = field(default_factory=dict)
    """By chunk."""
    merge: RunningCommand | None = None
    started: float = field(default_factory=time.monotonic)
    """When the job began; until that is told, when this was made."""
    completed: int = 0
    failed: int = 0
    retrying: dict[int, float] = field(default_factory=dict)
    """The chunks that wait for their next attempt, and when it is due."""
    knows_memory: bool = False
    """Whether it is told what commands use."""
    _skipped_frames: int = 0
    _completed_frames: int = 0
    _failed_frames: int = 0
    _ended_time: float = 0
    _has_moved: bool = False
    _end: float | None = None

    def take(self, event: JobEvent) -> None:
        """Take the next event of the job."""
        match event:
            case ChunkOutput(chunk_id=chunk_id, stream=stream, data=memoryview() as data):
                if (command := self.running.get(chunk_id)) is not None:
                    command.add_output(stream, data)
            case MergeOutput(stream=stream, data=memoryview() as data):
                if self.merge is not None:
                    self.merge.add_output(stream, data)
            case ChunkProgress(chunk_id=chunk_id):
                if (command := self.running.get(chunk_id)) is not None:
                    command.progress = event
                    self._has_moved = True
                    self.knows_memory |= event.memory is not None
            case ChunkUsage(chunk_id=chunk_id, memory=memory):
                if (command := self.running.get(chunk_id)) is not None:
                    command.used_memory = memory
                    self.knows_memory = True
            case JobStarted(skipped_chunk_ids=skipped):
                self.job_id, self.started = event.job_id, event.monotonic
                asked_and_skipped = self.frames.keys() & set(skipped)
                self.completed = len(asked_and_skipped)
                self._completed_frames = self._skipped_frames = self._frames_of(asked_and_skipped)
            case ChunkStarted(chunk_id=chunk_id, slot=slot):
                self.retrying.pop(chunk_id, None)
                self.running[chunk_id] = RunningCommand(event.monotonic, chunk_id, slot)
            case ChunkRetrying(chunk_id=chunk_id, delay=delay):
                self.running.pop(chunk_id, None)
                self.retrying[chunk_id] = event.monotonic + delay
            case ChunkFinished(chunk_id=chunk_id):
                self._end_chunk(chunk_id, event.monotonic)
                self.completed += 1
                self._completed_frames += self.frames[chunk_id]
            case ChunkFailed(chunk_id=chunk_id):
                self._end_chunk(chunk_id, event.monotonic)
                self.failed += 1
                self._failed_frames += self.frames[chunk_id]
            case MergeStarted():
                self.merge = RunningCommand(event.monotonic)
            case MergeFinished():
                self.merge = None

    @property
    def total(self) -> int:
        """How many chunks the user asked for."""
        return len(self.frames)

    @property
    def fraction(self) -> float:
        """How much of the job is done, 0 to 1: of its frames, without those that failed."""
        running = sum(self.frames[chunk_id] * (command.fraction or 0) for chunk_id, command in self.running.items())
        return (self._completed_frames + running) / (sum(self.frames.values()) or 1)

    def remaining(self, now: float) -> float | None:
        """Return the estimated time until the last chunk is done, in seconds, if one can be estimated."""
        # Between two pieces of news the estimate counts down; made anew from the time alone it would grow.
        if self._has_moved:
            self._has_moved = False
            self._end = self._estimate_end(now)
        if self._end is None or self._end < now or not (self.running or self.retrying):
            return None
        return self._end - now

    def _end_chunk(self, chunk_id: int, now: float) -> None:
        command = self.running.pop(chunk_id, None)
        if command is not None:
            self._ended_time += now - command.started
        self._has_moved = True

    def _estimate_end(self, now: float) -> float | None:
        ended = self._completed_frames - self._skipped_frames + self._failed_frames
        running = sum(self.frames[id_] * self._share_done(id_, now) for id_ in self.running)
        done = ended + running
        to_do = sum(self.frames.values()) - self._skipped_frames
        elapsed = now - self.started
        if elapsed < _LEAST_TIME or done < to_do * _LEAST_SHARE:
            return None
        longest = max((command.remaining(now) or 0 for command in self.running.values()), default=0)
        return now + max(longest, elapsed / done * (to_do - done))

    def _share_done(self, chunk_id: int, now: float) -> float:
        """Return how much of a running chunk is done; where nothing tells, as if it took as long as the others did."""
        command = self.running[chunk_id]
        if command.fraction is not None:
            return command.fraction
        ended_frames = self._completed_frames - self._skipped_frames + self._failed_frames
        if not self._ended_time or not ended_frames:
            return 0
        usual = self._ended_time / ended_frames * self.frames[chunk_id]
        return min((now - command.started) / usual, 0.95)

    def _frames_of(self, chunk_ids: Iterable[int]) -> int:
        return sum(self.frames[chunk_id] for chunk_id in chunk_ids)
