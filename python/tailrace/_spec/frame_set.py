"""Sets of frame numbers, however many, kept as ranges."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

_MOST_STEPS = 64


class FrameSet:
    """The frames of some ranges, none of which may be empty or go down."""

    def __init__(self, ranges: Iterable[range]) -> None:
        classes: dict[tuple[int, int], list[range]] = defaultdict(list)
        for frames in comparable(list(ranges)):
            step = frames.step
            classes[step, frames.start % step].append(range(frames.start, frames[-1] + step, step))
        self._by_step: dict[int, dict[int, list[range]]] = defaultdict(dict)
        """The ranges of each step and, within that, remainder: in order, without any that touch."""
        for (step, remainder), parts in classes.items():
            self._by_step[step][remainder] = list(_joined(sorted(parts, key=lambda part: part.start), step))

    def __iter__(self) -> Iterator[range]:
        """Yield ranges of which each frame is in one of the same step at most."""
        for classes in self._by_step.values():
            for parts in classes.values():
                yield from parts

    def __contains__(self, frame: int) -> bool:
        for step, classes in self._by_step.items():
            parts = classes.get(frame % step, ())
            place = bisect_left(parts, frame, key=_last)
            if place < len(parts) and parts[place].start <= frame:
                return True
        return False

    def common_frame(self, other: FrameSet, least: int = 0) -> int | None:
        """Return a frame of both, `least` or more, None if there is none."""
        for step, own in self._by_step.items():
            for other_step, others in other._by_step.items():
                divisor = math.gcd(step, other_step)
                candidates: dict[int, list[list[range]]] = defaultdict(list)
                for remainder, parts in others.items():
                    candidates[remainder % divisor].append(parts)
                for remainder, parts in own.items():
                    for other_parts in candidates.get(remainder % divisor, ()):
                        for pair in _overlapping(parts, other_parts):
                            frame = common_frame(*pair, least)
                            if frame is not None:
                                return frame
        return None


def comparable(ranges: Sequence[range]) -> Iterator[range]:
    """Yield a range for each, so that there are few different steps, since each is compared with each.

    Where there are too many for any real job, all frames from the first of a range to its last count as its own.
    """
    has_many = len({frames.step for frames in ranges if len(frames) > 1}) > _MOST_STEPS
    for frames in ranges:
        yield range(frames.start, frames[-1] + 1) if has_many or len(frames) == 1 else frames


def common_frame(first: range, second: range, least: int = 0) -> int | None:
    """Return the first frame of both ranges that is `least` or more, without looking at each; None if there is none."""
    divisor = math.gcd(first.step, second.step)
    difference = first.start - second.start
    if difference % divisor:
        return None
    # In steps of the second one, from its start on, until both are met if neither begins or ends.
    cycle = first.step // divisor
    steps = difference // divisor * pow(second.step // divisor, -1, cycle) % cycle
    frame = second.start + second.step * steps
    distance = math.lcm(first.step, second.step)
    frame += max(0, -(-(max(least, first.start) - frame) // distance)) * distance
    return frame if frame <= min(first[-1], second[-1]) else None


def _joined(parts: Sequence[range], step: int) -> Iterator[range]:
    current = parts[0]
    for part in parts[1:]:
        if part.start > current.stop:
            yield current
            current = part
        elif part.stop > current.stop:
            current = range(current.start, part.stop, step)
    yield current


def _last(frames: range) -> int:
    return frames[-1]


def _overlapping(first: Sequence[range], second: Sequence[range]) -> Iterator[tuple[range, range]]:
    """Yield a range of each where one begins before the other ends."""
    for part in first:
        place = bisect_left(second, part.start, key=_last)
        while place < len(second) and second[place].start <= part[-1]:
            yield part, second[place]
            place += 1
