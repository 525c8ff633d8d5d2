"""What was found of frames, for people and for programs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tailrace import FrameCheck, FrameRange

from .style import RED, TerminalStyle
from .text import without_controls

YELLOW = "33"
_LEAST_SEQUENCE = 3
_MOST_HOLES = 10
"""How many times as long as its files a sequence may be; beyond that it is none."""


def describe_frames(checks: Sequence[FrameCheck], style: TerminalStyle, *, tell_holes: bool) -> Iterator[str]:
    """Yield lines: of each sequence what it is, what is wrong with its frames and which it may lack, and a sum."""
    sequences: dict[str, list[FrameCheck]] = defaultdict(list)
    for check in checks:
        sequences[check.path if check.sequence is None else check.sequence].append(check)
    for name, members in sequences.items():
        shown = members[0].path if len(members) == 1 else _pattern(name, members)
        numbers = "" if len(members) == 1 else f"  {_range(members)}"
        looks = _usual_look(members)
        yield f"{_plain(shown)}{numbers}{f'  {looks}' if looks else ''}"
        yield from _faults(members, style)
        if tell_holes and (holes := _holes(members)):
            yield style.paint(f"  there is no file of frame{'s' * (len(holes) > 1)} {holes}", YELLOW)
    yield _sum_of(checks, style)


def frame_to_json(check: FrameCheck) -> Mapping[str, Any]:
    """Return what becomes an object of JSON."""
    return {
        "path": check.path,
        "frame": check.frame,
        "level": check.level,
        "ok": check.ok,
        "reason": check.reason,
        "warnings": list(check.warnings),
        "kind": check.kind,
        "format": check.format,
        "width": check.width,
        "height": check.height,
        "channels": check.channels,
        "frames": check.frames,
    }


def colour_of(check: FrameCheck) -> str:
    """Return the colour of a frame by what is wrong with it."""
    return RED if check.reason is not None else YELLOW if check.warnings else ""


def _usual_look(members: Iterable[FrameCheck]) -> str:
    """Return what most of the frames are, and of videos how many they hold; the unlike have lines of their own."""
    looks = Counter(filter(None, map(_look, members)))
    usual = [looks.most_common(1)[0][0]] if looks else []
    frames = sum(check.frames or 0 for check in members)
    return ", ".join([*usual, *([f"{frames:,} frame{'s' * (frames != 1)}"] if frames else [])])


def _pattern(name: str, members: Sequence[FrameCheck]) -> str:
    """Return the name of a sequence with a # for each digit, where its numbers are padded; it can be given as it is."""
    head, _, tail = name.rpartition("#")
    numbers = [check.path[len(head) : len(check.path) - len(tail)] for check in members]
    width = min(map(len, numbers))
    is_padded = any(number.lstrip("-").startswith("0") and len(number.lstrip("-")) > 1 for number in numbers)
    return f"{head}{'#' * (width if is_padded else 1)}{tail}"


def _look(check: FrameCheck) -> str:
    parts = []
    if check.width is not None:
        parts.append(f"{check.width} x {check.height}")
    if check.channels is not None:
        parts.append(f"{check.channels} channel{'s' * (check.channels != 1)}")
    if check.format is not None:
        parts.append(check.format)
    return ", ".join(parts)


def _faults(members: Sequence[FrameCheck], style: TerminalStyle) -> Iterator[str]:
    """Yield a line for each thing that is wrong, with the frames it is said of, as they come."""
    said: dict[tuple[str, str], list[FrameCheck]] = defaultdict(list)
    for check in members:
        if check.reason is not None:
            said[check.reason, RED].append(check)
        for warning in check.warnings:
            said[warning, YELLOW].append(check)
    for (reason, colour), frames in said.items():
        which = f"frame{'s' * (len(frames) != 1)} {_range(frames)}: " if len(members) > 1 else ""
        yield style.paint(f"  {which}{_plain(reason)}", colour)


def _range(members: Iterable[FrameCheck]) -> str:
    frames = [check.frame for check in members if check.frame is not None]
    return str(FrameRange(sorted(set(frames))))


def _holes(members: Iterable[FrameCheck]) -> FrameRange:
    """Return the frames between the first and the last picture that have none, where all are the same step apart."""
    frames = sorted({check.frame for check in members if check.frame is not None and check.kind == "picture"})
    step = math.gcd(*(after - before for before, after in pairwise(frames)))
    # A number in a name may be a date, and is none of a frame then.
    if len(frames) < _LEAST_SEQUENCE or (frames[-1] - frames[0]) // step > _MOST_HOLES * len(frames):
        return FrameRange()
    return FrameRange(sorted({*range(frames[0], frames[-1], step)}.difference(frames)))


def _sum_of(checks: Sequence[FrameCheck], style: TerminalStyle) -> str:
    damaged = sum(check.reason is not None for check in checks)
    odd = sum(check.ok and bool(check.warnings) for check in checks)
    what = "there" if checks[0].level == "exist" else "whole"
    whole = f"{len(checks) - damaged:,} {what}" if damaged else f"all {what}" if len(checks) > 1 else what
    parts = [style.paint(f"{damaged:,} damaged or missing", RED)] if damaged else []
    parts.append(whole + (f", {style.paint(f'{odd:,} of them odd', YELLOW)}" if odd else ""))
    return f"{len(checks):,} file{'s' * (len(checks) != 1)}: {', '.join(parts)}"


def _plain(text: str) -> str:
    return without_controls(text.encode(errors="replace"), with_colours=False).decode()
