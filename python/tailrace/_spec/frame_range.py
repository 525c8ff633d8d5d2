"""Frame ranges as render farms write them: `1-250x2,300`."""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias, overload

from .._errors import SpecError

MOST_FRAMES = 1_000_000
"""Each may become a chunk of its own; eleven hours of film have fewer."""

LARGEST_FRAME = 2**31 - 1
"""Of the numbers of frames, up and down; programs written in C can count no further."""

_PART = re.compile(r"(-?\d{1,20})(?:-(-?\d{1,20})(?:([xy:])(-?\d{1,20}))?)?", re.ASCII)
_FEW_RANGES = 8
"""So many are looked through for a frame; of more, the place of each frame is kept."""
_LONGEST_QUOTE = 60
_FORMS = "300, 1-250, 1-250x2, 1-250y2 or several of them with commas"

FrameRangeLike: TypeAlias = "str | Iterable[int]"
"""What is taken for a range: a text, or frames one by one."""


class FrameRange(Sequence[int]):
    """Frames in the order in which they are to be rendered, each once; however many, they are kept as ranges.

    `FrameRange.parse` reads one, and `str` writes it: `1-8,11,20-30x2`. Two are equal if they have the same frames in
    the same order. Frame numbers may be negative.
    """

    __slots__ = ("_ends", "_length", "_places", "_ranges")

    def __init__(self, frames: Iterable[int] = ()) -> None:
        """Take frames one by one; one that comes again is left out.

        Raises `TypeError` for what is not a whole number.
        """
        if isinstance(frames, str):
            raise TypeError(f"frames must be numbers, and FrameRange.parse reads a text such as {_quote(frames)}")
        if isinstance(frames, FrameRange):
            self._ranges: tuple[range, ...] = frames._ranges
        elif isinstance(frames, range):
            self._ranges = (_evenly_spaced(frames[0], len(frames), frames.step),) if frames else ()
        else:
            self._ranges = tuple(_runs(dict.fromkeys(map(operator.index, frames))))
        self._length = sum(map(len, self._ranges))
        self._ends: list[int] | None = None
        self._places: dict[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> FrameRange:
        """Return the frames that `text` names.

        The parts between commas are a frame (`300`), all from one to another (`1-250`), every Nth of them (`1-250x2`),
        or all but these (`1-250y2`); `10-1` goes down. A frame that is named again is left out there, so that
        `1-100x10,1-100` is every tenth frame first, then the others. (https://github.com/justinfx/fileseq)

        Raises `SpecError` for what is not a range or names no frame, for blanks that are not beside a comma, for
        `1-10:3`, which means different things to different programs, for frames beyond 2147483647, up or down, and for
        more than a million of them.
        """
        parts = [part.strip() for part in text.split(",")]
        matches = [_checked(_PART.fullmatch(part), part) for part in parts]
        if sum(map(_count, matches)) > MOST_FRAMES:
            raise SpecError(f"frames: {_quote(text)} names more than {MOST_FRAMES} frames: plan several jobs")
        start, end, kind, step = matches[0].groups()
        if len(matches) == 1 and kind != "y" and int(start) <= int(end or start):
            return cls(range(int(start), int(end or start) + 1, int(step or 1)))
        # Most jobs do without it, and it takes longer to import than all else.
        from fileseq.frameset import FrameSet

        found = cls(map(int, FrameSet(",".join(parts))))
        if not found:
            raise SpecError(f"frames: {_quote(text)} names no frame: 1-10y3 is all but every third one")
        return found

    @classmethod
    def of(cls, frames: FrameRangeLike) -> FrameRange:
        """Return the range that is meant: by a text, or by frames."""
        return cls.parse(frames) if isinstance(frames, str) else cls(frames)

    @property
    def ranges(self) -> tuple[range, ...]:
        """The frames as evenly spaced runs, in order, none of them empty; a single frame has a step of 1."""
        return self._ranges

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        for run in self._ranges:
            yield from run

    def __contains__(self, frame: object) -> bool:
        if len(self._ranges) > _FEW_RANGES:
            return frame in self._places_by_frame()
        return any(frame in run for run in self._ranges)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> FrameRange: ...

    def __getitem__(self, index: int | slice) -> int | FrameRange:
        if isinstance(index, slice):
            places = range(self._length)[index]
            if len(self._ranges) == 1:
                only = self._ranges[0]
                return FrameRange(only[index])
            return FrameRange(self[place] for place in places)
        place = range(self._length)[index]
        if self._ends is None:
            self._ends = list(accumulate(map(len, self._ranges)))
        run = bisect_right(self._ends, place)
        return self._ranges[run][place - (self._ends[run - 1] if run else 0)]

    def index(self, frame: int, start: int = 0, stop: int | None = None) -> int:
        """Return the place of a frame; raises `ValueError` if it is not there."""
        place = self._place_of(frame)
        if place is None or place not in range(self._length)[start:stop]:
            raise ValueError(f"{frame} is not among these frames")
        return place

    def count(self, frame: int) -> int:
        """Return how often a frame is there: once or not at all."""
        return int(frame in self)

    def _place_of(self, frame: int) -> int | None:
        if len(self._ranges) > _FEW_RANGES:
            return self._places_by_frame().get(frame)
        before = 0
        for run in self._ranges:
            if frame in run:
                return before + run.index(frame)
            before += len(run)
        return None

    def _places_by_frame(self) -> dict[int, int]:
        """Return the place of each frame: made once, for frames that are looked up one after another."""
        if self._places is None:
            self._places = {frame: place for place, frame in enumerate(self)}
        return self._places

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrameRange):
            return self._ranges == other._ranges
        if isinstance(other, range):
            return self._ranges == FrameRange(other)._ranges
        return NotImplemented

    def __hash__(self) -> int:
        # That of the range which it is equal to, if there is one.
        return hash(self._ranges if len(self._ranges) > 1 else next(iter(self._ranges), range(0)))

    def __str__(self) -> str:
        return ",".join(map(_to_text, self._ranges))

    def __repr__(self) -> str:
        return f"FrameRange.parse({str(self)!r})" if self._ranges else "FrameRange()"


def rising_runs(frames: Sequence[int]) -> list[range]:
    """Return the frames as evenly spaced runs, each of which goes up."""
    runs: list[range] = []
    for run in FrameRange(frames).ranges:
        # Frames here and there have as many steps between them as there are pairs.
        parts = [run] if len(run) != 2 or run.step == 1 else [range(frame, frame + 1) for frame in run]
        runs += [part if part.step > 0 else part[::-1] for part in parts]
    return runs


def _checked(match: re.Match[str] | None, part: str) -> re.Match[str]:
    """Return the match of a part of a range; raise `SpecError` if there is none, or it means nothing certain."""
    quoted = _quote(part)
    if match is None:
        hint = ": frames are listed with commas, 1,3,5" if re.search(r"\d\s+-?\d", part, re.ASCII) else ""
        raise SpecError(f"frames: {quoted} is not of the form {_FORMS}{hint}")
    start, end, kind, step = match.groups()
    if int(step or 1) == 0:
        raise SpecError(f"frames: {quoted} has a step of 0: with 1 it is every frame, with 2 every second one")
    if int(step or 1) < 0:
        raise SpecError(
            f"frames: {quoted} has a step below 0: to go down, write the higher frame first, such as 10-1x2"
        )
    if kind == ":":
        raise SpecError(
            f"frames: {quoted} is every frame or some of them, depending on the program: write {start}-{end}x{step} for"
            f" every frame that is {step} after another, or {start}-{end}x{step},{start}-{end} for these first and then"
            " the others"
        )
    for frame in (int(start), int(end or start)):
        if abs(frame) > LARGEST_FRAME:
            raise SpecError(f"frames: {quoted} goes beyond frame {LARGEST_FRAME if frame > 0 else -LARGEST_FRAME}")
    return match


def _quote(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…")


def _count(match: re.Match[str]) -> int:
    """Return how many frames a part of a range has at most."""
    start, end, kind, step = match.groups()
    count = abs(int(end or start) - int(start)) + 1
    return count if kind == "y" else -(-count // int(step or 1))


def _runs(frames: Iterable[int]) -> Iterator[range]:
    """Yield the frames as evenly spaced runs, each as long as can be, from the first frame on."""
    start = count = step = 0
    for frame in frames:
        if count == 1:
            step = frame - start
        elif count == 2 and frame != start + 2 * step and abs(step) != 1:
            # Two frames are no pattern, and the second may begin one: 11,20-30x2.
            yield range(start, start + 1)
            start += step
            step, count = frame - start, 1
        elif count and frame != start + count * step:
            yield _evenly_spaced(start, count, step)
            count = 0
        if not count:
            start = frame
        count += 1
    if count:
        yield _evenly_spaced(start, count, step)


def _evenly_spaced(start: int, count: int, step: int) -> range:
    """Return a range whose `stop` is where it would go on; a single frame has a step of 1."""
    return range(start, start + count * step, step) if count > 1 else range(start, start + 1)


def _to_text(run: range) -> str:
    if len(run) == 1:
        return f"{run[0]}"
    if abs(run.step) == 1:
        return f"{run[0]}-{run[-1]}"
    # Two frames are no pattern.
    return f"{run[0]},{run[1]}" if len(run) == 2 else f"{run[0]}-{run[-1]}x{abs(run.step)}"
