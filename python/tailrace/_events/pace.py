"""How fast the frames of a job are being done."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from .chunk_state import ChunkState
from .running import LEAST_FRACTION, LEAST_TIME, RunningCommand


class Unfinished(NamedTuple):
    """A chunk that was begun and is neither completed nor failed."""

    chunk: ChunkState
    whole: int
    """How many of its frames are known to be whole."""
    command: RunningCommand | None
    """None while it waits for another attempt."""


@dataclass(slots=True)
class Pace:
    """Counts frames, and estimates from them how much time is left."""

    total: int = 0
    done_before: int = 0
    """Those of chunks that were done before this run."""
    completed: int = 0
    """Without those."""
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

    def fraction(self, unfinished: Collection[Unfinished]) -> float:
        """Return how much is done, 0 to 1, without what failed; `unfinished` has what was begun and is not done."""
        partly = sum(map(_frames_done, unfinished))
        return (self.done_before + self.completed + partly) / (self.total or 1)

    def remaining(self, started: float, unfinished: Collection[Unfinished], now: float) -> float | None:
        """Return the estimated time until all is done, in seconds, if it can be estimated and is not over."""
        # Between two pieces of news the estimate counts down; made anew from the time alone it would grow.
        if self._has_moved:
            self._has_moved = False
            self._end = self._estimate_end(started, unfinished, now)
        return None if self._end is None or self._end < now else self._end - now

    def _estimate_end(self, started: float, unfinished: Collection[Unfinished], now: float) -> float | None:
        partly = sum(self._part_done(one, now) for one in unfinished)
        done = self.completed + self.failed + partly
        to_do = self.total - self.done_before
        elapsed = now - started
        if elapsed < LEAST_TIME or done < to_do * LEAST_FRACTION:
            return None
        longest = max((one.command.remaining(now) or 0 for one in unfinished if one.command is not None), default=0)
        return now + max(longest, elapsed / done * (to_do - done))

    def _part_done(self, one: Unfinished, now: float) -> float:
        """Return how many frames of a chunk are done; where nothing tells, as if it took as long as the others did."""
        command, ended = one.command, self.completed + self.failed
        if command is None or command.fraction is not None or one.whole or not self._ended_time or not ended:
            return _frames_done(one)
        return min((now - command.started) / (self._ended_time / ended), 0.95 * one.chunk.frames)


def _frames_done(one: Unfinished) -> float:
    told = 0 if one.command is None else (one.command.fraction or 0) * one.chunk.frames
    return max(told, min(one.whole, one.chunk.frames))
