"""What is known of a command, changed by one line at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ._quantities import bytes_of, integer_of, number_of, seconds_of
from ._report import Progress
from ._rule import Rule


class State:
    """Everything that the lines told so far. `frames` are those that the command renders."""

    def __init__(self, frames: Sequence[int] | None) -> None:
        self._frames = frames or None
        self._frame: int | None = None
        self._frame_fraction: float | None = None
        self._fraction: float | None = None
        self._finished = False
        self._rendered: int | None = None
        self._index: int | None = None
        self._count: int | None = None
        self._time: float | None = None
        self._duration: float | None = None
        self._remaining: float | None = None
        self._memory: int | None = None
        self._status: str | None = None

    def forget(self, groups: frozenset[str], of: frozenset[str]) -> None:
        """Make unknown again what these groups tell, and how much is done of what `of` names."""
        if "frame" in groups:
            self._frame = None
        if "rendered" in groups:
            self._rendered = self._frame = None
        if "index" in groups:
            self._index = self._count = None
        if "time" in groups:
            self._time = None
        if "remaining" in groups:
            self._remaining = None
        if "memory" in groups:
            self._memory = None
        if "status" in groups:
            self._status = None
        if "frame" in of:
            self._frame_fraction = None
        if "command" in of:
            self._fraction = None

    def apply(self, rule: Rule, match: re.Match[str]) -> None:
        """Take over what a line says."""
        told = {name: text for name, text in match.groupdict().items() if text is not None}
        if "frame" in told:
            self._set_frame(integer_of(told["frame"]))
        if "rendered" in told:
            self._rendered = integer_of(told["rendered"])
            self._set_frame(self._rendered)
        if "index" in told and "count" in told:
            index, count = integer_of(told["index"]), integer_of(told["count"])
            if index != self._index:
                self._frame_fraction = None
            self._index, self._count = index, count
            self._finished = False
        if "time" in told:
            self._time = seconds_of(told["time"])
            self._finished = False
        if "duration" in told:
            # Of several inputs the longest counts.
            self._duration = max(self._duration or 0.0, seconds_of(told["duration"]) or 0.0)
        if "remaining" in told:
            self._remaining = seconds_of(told["remaining"])
        if "memory" in told:
            self._memory = bytes_of(told["memory"])
        if "status" in told:
            self._status = told["status"].strip() or None
        self._measure(rule, told)
        if "saved" in told:
            self._frame_fraction = 1.0

    def progress(self) -> Progress:
        """Return what can be told from all this."""
        fraction = self._whole_fraction()
        return Progress(
            frame=self._shown_frame(),
            frame_fraction=self._frame_fraction,
            fraction=None if fraction is None else min(fraction, 1.0),
            remaining=self._remaining,
            memory=self._memory,
            status=self._status,
        )

    def _shown_frame(self) -> int | None:
        if self._frame is not None or self._index is None:
            return self._frame
        # The renderer only counts, so it is the one that comes at this place, if that is known.
        if self._frames is not None and 0 < self._index <= len(self._frames):
            return self._frames[self._index - 1]
        return self._index

    def _set_frame(self, frame: int | None) -> None:
        if frame != self._frame:
            self._frame = frame
            # These were the other frame's.
            self._frame_fraction = self._remaining = None
        self._finished = False

    def _measure(self, rule: Rule, told: dict[str, str]) -> None:
        fraction = None
        if "percent" in told:
            percent = number_of(told["percent"])
            fraction = None if percent is None else percent / 100
        elif "fraction" in told:
            fraction = number_of(told["fraction"])
        elif "done" in told and "total" in told:
            done, total = number_of(told["done"]), number_of(told["total"])
            if done is not None and total:
                fraction = done / total
        if fraction is not None:
            self._finished = False
            if rule.of == "frame":
                self._frame_fraction = min(fraction, 1.0)
            else:
                self._fraction = fraction
        if "finished" in told:
            if rule.of == "frame":
                self._frame_fraction = 1.0
            else:
                self._finished = True

    def _whole_fraction(self) -> float | None:
        if self._finished:
            return 1.0
        if self._fraction is not None:
            return self._fraction
        of_frame = self._frame_fraction or 0.0
        if self._frames is not None:
            if self._rendered is not None:
                return self._rendered / len(self._frames)
            frame = self._shown_frame()
            if frame is not None and frame in self._frames:
                return (self._frames.index(frame) + of_frame) / len(self._frames)
            if len(self._frames) == 1 and self._frame_fraction is not None:
                return of_frame
        if self._index and self._count:
            return (self._index - 1 + of_frame) / self._count
        if self._time is not None and self._duration:
            return self._time / self._duration
        return None
