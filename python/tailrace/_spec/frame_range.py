"""Frame ranges as render farms write them: `1-250x2,300`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .._errors import SpecError

MOST_FRAMES = 1_000_000
"""Each may become a chunk of its own; eleven hours of film have fewer."""

_PART = re.compile(r"(\d{1,20})(?:-(\d{1,20})(?:x(\d{1,20}))?)?", re.ASCII)
_LARGEST_FRAME = 2**31 - 1


def parse_frame_range(text: str) -> list[range]:
    """Return the frames that `text` names, as ranges in the order in which they are written, none of them empty.

    The parts between commas are a frame (`300`), all frames from one to another (`1-250`), or every Nth of them
    (`1-250x2`). A frame that is named again is left out there, as in Deadline: `1-100x10,1-100` is every tenth frame
    first, then the others. Ranges that continue each other become one.

    Raises `SpecError` for what is not a range, and for more than a million frames.
    (https://www.awsthinkbox.com/blog/frame-list-formatting)
    """
    parts = [_parse_part(part.strip()) for part in text.split(",")]
    if sum(map(len, parts)) > MOST_FRAMES:
        raise SpecError(f"frames: {text!r} names more than {MOST_FRAMES} frames: plan several jobs")
    ranges: list[range] = []
    for frames in _without_repetitions(parts):
        # A single frame continues any step.
        if ranges and frames.start == ranges[-1].stop and (frames.step == ranges[-1].step or len(frames) == 1):
            before = ranges.pop()
            frames = _evenly_spaced(before.start, len(before) + len(frames), before.step)
        ranges.append(frames)
    return ranges


def _parse_part(text: str) -> range:
    match = _PART.fullmatch(text)
    if match is None:
        negative = ", and there are no frames below 0" if text.startswith("-") else ""
        raise SpecError(f"frames: {text!r} is not of the form 300, 1-250 or 1-250x2{negative}")
    start, end, step = (None if group is None else int(group) for group in match.groups())
    assert start is not None  # noqa: S101 - the first group always takes part in the match.
    if end is None:
        end = start
    if end < start:
        raise SpecError(f"frames: {text!r} ends before it starts: write the lower frame first")
    if end > _LARGEST_FRAME:
        raise SpecError(f"frames: {text!r} goes beyond frame {_LARGEST_FRAME}")
    if step == 0:
        raise SpecError(f"frames: {text!r} has a step of 0: with 1 it is every frame, with 2 every second one")
    return range(start, end + 1, step or 1)


def _without_repetitions(parts: list[range]) -> Iterator[range]:
    """Yield the parts, those with frames that an earlier one has too in pieces without them."""
    seen: set[int] = set()
    for part in parts:
        start, count = part.start, 0
        for frame in part:
            if frame not in seen:
                count += 1
                continue
            if count:
                yield _evenly_spaced(start, count, part.step)
            start, count = frame + part.step, 0
        if count:
            yield _evenly_spaced(start, count, part.step)
        seen.update(part)


def _evenly_spaced(start: int, count: int, step: int) -> range:
    """Return a range whose `stop` is where it would go on; a single frame has a step of 1."""
    return range(start, start + count * step, step) if count > 1 else range(start, start + 1)
