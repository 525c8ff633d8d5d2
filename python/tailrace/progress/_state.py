"""What is known of a command, changed by one line at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ._frame_measure import ALMOST_ALL, FrameMeasure
from ._quantities import bytes_of, integer_of, number_of, seconds_of
from ._rendered_frames import RenderedFrames
from ._report import FrameRendered, Progress
from ._rule import Rule

Told: TypeAlias = Mapping[str, str | None]
"""The groups of a rule, and what each matched."""


class State:
    """Everything that the lines told so far. `frames` are those that the command renders.

    An encoder counts frames that are not files of their own: none of them is told.
    """

    def __init__(self, frames: Sequence[int] | None, *, encoder: bool = False) -> None:
        self._frames = RenderedFrames(frames)
        self._encoder = encoder
        self._measure = FrameMeasure()
        self._frame: int | None = None
        self._at_work = False
        self._failed = False
        self._furthest = -1
        self._in_order = True
        self._reached = 0.0
        self._fraction: float | None = None
        self._finished = False
        self._rendered: int | None = None
        self._index: int | None = None
        self._count: int | None = None
        self._before = 0
        self._time: float | None = None
        self._duration: float | None = None
        self._remaining: float | None = None
        self._memory: int | None = None
        self._status: str | None = None

    def forget(self, groups: frozenset[str], of: frozenset[str]) -> None:
        """Make unknown again what these groups tell, and how much is done if `of` names the command."""
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
        if "command" in of:
            self._fraction = None

    def apply(self, rule: Rule, match: re.Match[str]) -> None:
        """Take over what a line says."""
        told = {name: text for name, text in match.groupdict().items() if text is not None}
        self._apply_frame(told)
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
        self._apply_measure(rule, told)
        if "frame_finished" in told:
            self._finish_frame(integer_of(told["frame_finished"]))
        if "saved" in told:
            self._save(told["saved"])

    def follow(self, rule: Rule, match: re.Match[str]) -> None:
        """Take over of a line what counts after those that come later: the frame and how much of it is done."""
        told = match.groupdict()
        self._apply_frame(told)
        fraction = _fraction_in(told)
        if fraction is not None:
            self._reach(rule, fraction)

    def fail(self) -> None:
        """Have the current frame not be rendered, whatever follows."""
        self._failed = True

    def end(self) -> None:
        """Take the end of the output: what was complete is rendered."""
        if self._measure.is_complete:
            self._tell_current()
        elif not self._known() and (self._fraction or 0.0) >= 1.0 and not self._failed:
            self._frames.add_first(self._frames.number or 0)

    def take_rendered(self) -> list[FrameRendered]:
        """Return the frames that became known to be rendered since the last call."""
        told = self._frames.told
        if told:
            self._frames.told = []
        return told

    def progress(self) -> Progress:
        """Return what can be told from all this."""
        fraction = self._whole_fraction()
        return Progress(
            frame=self._shown_frame(),
            frame_fraction=self._measure.fraction,
            fraction=None if fraction is None else min(fraction, 1.0),
            frames_done=self._frames_done(),
            remaining=None if self._finished or self._measure.is_complete else self._remaining,
            memory=self._memory,
            status=self._status,
        )

    def _frames_done(self) -> int | None:
        if self._rendered is None:
            return self._frames.done
        return self._rendered if self._frames.number is None else min(self._rendered, self._frames.number)

    def _apply_frame(self, told: Told) -> None:
        if (frame := told.get("frame")) is not None:
            self._work_on(integer_of(frame))
        if (rendered := told.get("rendered")) is not None:
            self._count_rendered(integer_of(rendered))
        if (done := told.get("frames_done")) is not None:
            self._frames.add_first(integer_of(done) or 0)
        if (index := told.get("index")) is not None and (count := told.get("count")) is not None:
            self._work_on_place(integer_of(index), integer_of(count))

    def _work_on(self, frame: int | None) -> None:
        self._finished = False
        self._at_work = True
        if frame == self._frame:
            return
        if self._frame is not None:
            # Frames that are not rendered in the order in which they were named would make it fall.
            self._reached = max(self._reached, self._fraction_of_frames() or 0.0)
            self._tell_current()
        self._frame = frame
        self._begin_frame()
        place = None if frame is None else self._frames.place_of(frame)
        if place is not None:
            self._in_order &= place >= self._furthest
            self._furthest = max(self._furthest, place)

    def _count_rendered(self, rendered: int | None) -> None:
        self._finished = False
        if rendered != self._rendered:
            self._rendered = self._frame = rendered
            self._begin_frame()
            if rendered is not None and not self._encoder:
                self._frames.add_first(rendered)

    def _work_on_place(self, index: int | None, count: int | None) -> None:
        if self._finished or (index is not None and index < (self._index or 0)):
            # Another run, which counts from the start.
            self._before += self._index or 0
            self._index = None
        self._finished = False
        if index != self._index:
            if self._index is not None and self._frame is None:
                self._tell_current()
            self._begin_frame()
        self._index, self._count = index, count

    def _begin_frame(self) -> None:
        """Forget what was the frame's before."""
        self._measure.begin()
        self._remaining = None
        self._failed = False

    def _finish_frame(self, number: int | None) -> None:
        """Have the frame of this number, or the current one, be rendered."""
        if number is not None:
            if number != self._frame:
                self._frame = number
                self._begin_frame()
            self._at_work = False
        if not self._failed:
            self._tell_current()
            self._measure.finish()

    def _save(self, path: str) -> None:
        self._measure.finish()
        if not self._encoder:
            self._frames.add_saved(path, self._current(), at_work=self._at_work)

    def _tell_current(self) -> None:
        current = self._current()
        if current is not None and not self._failed and not self._encoder and self._rendered is None:
            self._frames.add(current)

    def _current(self) -> int | None:
        """Return the frame that the output tells of, or that comes at this place."""
        if self._rendered is not None:
            return None
        if self._frame is not None:
            return self._frame
        if self._index is not None:
            return self._frames.at(self._before + self._index - 1)
        return self._frames.at(0) if self._frames.number == 1 else None

    def _shown_frame(self) -> int | None:
        if self._frame is not None or self._index is None:
            return self._frame
        # The renderer only counts, so it is the one that comes at this place, if that is known.
        frame = self._frames.at(self._before + self._index - 1)
        return self._index if frame is None and self._count is not None else frame

    def _apply_measure(self, rule: Rule, told: Told) -> None:
        fraction = _fraction_in(told)
        if fraction is not None:
            self._reach(rule, fraction)
        if "finished" in told:
            if rule.of == "frame":
                self._measure.finish()
            else:
                self._finish()

    def _reach(self, rule: Rule, fraction: float) -> None:
        if rule.of == "command":
            self._fraction = fraction
        else:
            if rule.falls == "frame":
                self._go_on_if_complete(fraction)
            self._measure.reach(min(fraction, 1.0), rule.falls)
        self._finished = False

    def _go_on_if_complete(self, fraction: float) -> None:
        """Begin the next frame where only a measure that starts anew tells of it."""
        before = self._measure.fraction
        if self._frame is None and before is not None and before >= ALMOST_ALL and fraction < before:
            self._work_on_place((self._index or 1) + 1, None)
        elif self._frame is None and self._index is None and (self._frames.number or 0) > 1:
            self._index = 1

    def _finish(self) -> None:
        self._finished = True
        self._tell_current()

    def _whole_fraction(self) -> float | None:
        if self._finished:
            return self._fraction_of_runs()
        if self._fraction is not None:
            return self._fraction
        number = self._frames.number
        if number is not None and self._rendered is not None:
            return self._rendered / number
        fraction = self._fraction_of_frames()
        if fraction is not None:
            return max(self._reached, fraction)
        if self._index and self._count:
            return (self._index - 1 + (self._measure.fraction or 0.0)) / self._count
        if self._time is not None and self._duration:
            return self._time / self._duration
        return None

    def _fraction_of_runs(self) -> float:
        """Return how much the end of a run tells: a command may have several that render some of its frames each."""
        number = self._frames.number
        if number is None or self._index is None:
            return 1.0
        if self._frame is None:
            return (self._before + self._index) / number
        return 1.0 if self._frames.place_of(self._frame) is None else (self._frames.done or 0) / number

    def _fraction_of_frames(self) -> float | None:
        number = self._frames.number
        if number is None:
            return None
        of_frame = self._measure.fraction or 0.0
        current = self._current()
        place = None if current is None else self._frames.place_of(current)
        if place is None or (self._measure.fraction is None and not self._known()):
            return None
        if self._in_order:
            return (place + of_frame) / number
        done = self._frames.done or 0
        return (done if current is not None and current in self._frames else done + of_frame) / number

    def _known(self) -> bool:
        """Return whether the output told of a frame by its number or place."""
        return self._frame is not None or self._index is not None


def _fraction_in(told: Told) -> float | None:
    if (percent := told.get("percent")) is not None:
        number = number_of(percent)
        return None if number is None else number / 100
    if (fraction := told.get("fraction")) is not None:
        return number_of(fraction)
    if (done := told.get("done")) is not None and (total := told.get("total")) is not None:
        number, whole = number_of(done), number_of(total)
        if number is not None and whole:
            return number / whole
    return None
