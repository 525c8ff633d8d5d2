"""How fast the frames of a job are being done."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .running import LEAST_FRACTION, LEAST_TIME, RunningCommand


@dataclass(slots=True)
class Pace:
    """Counts frames, and estimates from them how much time is left."""

    total: int = 0
    skipped: int = 0
    completed: int = 0
    """Without those that were skipped."""
    failed: int = 0
    _ended_time: float = 0
    _has_moved: bool = False
    _end: float | None = None

    def move(self) -> None:
        """Take it that a new estimate can be made."""
        self._has_moved = True

    def end_chunk(self, frames: int, elapsed: float, *, is_completed: bool) -> None:
        """Take it that a chunk has ended, `elapsed` seconds after its last attempt began."""
        self._ended_time += elapsed
        self._has_moved = True
        if is_completed:
            self.completed += frames
        else:
            self.failed += frames

    def fraction(self, running: Collection[tuple[int, RunningCommand]]) -> float:
        """Return how much is done, 0 to 1, without what failed; `running` has the frames of what runs now."""
        partly = sum(frames * (command.fraction or 0) for frames, command in running)
        return (self.skipped + self.completed + partly) / (self.total or 1)

    def remaining(self, started: float, running: Collection[tuple[int, RunningCommand]], now: float) -> float | None:
        """Return the estimated time until all is done, in seconds, if it can be estimated and is not over."""
        # Between two pieces of news the estimate counts down; made anew from the time alone it would grow.
        if self._has_moved:
            self._has_moved = False
            self._end = self._estimate_end(started, running, now)
        return None if self._end is None or self._end < now else self._end - now

    def _estimate_end(
        self, started: float, running: Collection[tuple[int, RunningCommand]], now: float
    ) -> float | None:
        partly = sum(frames * self._part_done(frames, command, now) for frames, command in running)
        done = self.completed + self.failed + partly
        to_do = self.total - self.skipped
        elapsed = now - started
        if elapsed < LEAST_TIME or done < to_do * LEAST_FRACTION:
            return None
        longest = max((command.remaining(now) or 0 for _, command in running), default=0)
        return now + max(longest, elapsed / done * (to_do - done))

    def _part_done(self, frames: int, command: RunningCommand, now: float) -> float:
        """Return how much of a running chunk is done; where nothing tells, as if it took as long as the others did."""
        if command.fraction is not None:
            return command.fraction
        ended = self.completed + self.failed
        if not self._ended_time or not ended:
            return 0
        return min((now - command.started) / (self._ended_time / ended * frames), 0.95)
