"""Names of files in which something stands for the number of a frame.

They come from job files. None becomes a regular expression: with eight `%d` in it, one would look for hours.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

FRAME_NUMBER = re.compile(r"#{2,}|%0?\d{0,2}d", re.ASCII)
"""What stands for the number of each frame in the name of an output file."""
_MOST_DIGITS = 20
"""Of a frame's number: a chunk begins below 2^31, has fewer frames than that, and fewer between them."""


def is_numbered(name: str) -> bool:
    """Return whether `name` stands for a file for each frame."""
    return FRAME_NUMBER.search(name) is not None


def number(token: str, frame: int) -> str:
    """Return the number of a frame as `token`, `####` or `%04d`, has it."""
    return str(frame).zfill(len(token)) if token[0] == "#" else token % frame


def unified(name: str) -> str:
    """Return the one way to write a name for the same files: `####` is `%04d`, and `%1d` is `%d`."""
    return FRAME_NUMBER.sub(lambda match: _unified(match[0]), name)


def texts_of(name: str) -> tuple[str, ...]:
    """Return what a name has around its numbers; others that have the same differ in how they pad these alone."""
    return tuple(FRAME_NUMBER.split(name))


def least_alike(first: str, second: str) -> int:
    """Return the frame from which on two names of the same texts are those of the same file."""
    pairs = zip(_widths(first), _widths(second), strict=True)
    # Only those are alike that need no padding.
    return max((10 ** (max(width, other) - 1) for (one, width), (two, other) in pairs if one != two), default=0)


def _widths(name: str) -> Iterator[tuple[str, int]]:
    for token in FRAME_NUMBER.findall(name):
        yield token, len(number(token, 0))


def _unified(token: str) -> str:
    if token[0] == "#":
        # More digits than that cannot be written the other way.
        return f"%0{len(token)}d" if len(token) < 100 else token
    width = int(token[1:-1] or 0)
    return "%d" if width < 2 else f"%{'0' * (token[1] == '0')}{width}d"


class NumberedName:
    """A name with `####` or `%04d` in it."""

    def __init__(self, name: str) -> None:
        self._texts = FRAME_NUMBER.split(name)
        self._tokens: list[str] = FRAME_NUMBER.findall(name)
        self.before = self._texts[0]
        self.after = self._texts[-1]
        self._width = len(number(self._tokens[0], 0))

    def frame_in(self, name: str) -> int | None:
        """Return the frame whose file has this name, if there is one, after a few comparisons."""
        if not name.endswith(self.after):
            return None
        start = len(self.before)
        for end in range(start + self._width, min(start + max(self._width, _MOST_DIGITS), len(name)) + 1):
            # It may be filled up with zeros, or with spaces.
            text = name[start:end].lstrip(" ")
            digits = text.removeprefix("-").lstrip("0")
            if len(digits) <= _MOST_DIGITS and (digits.isdecimal() or not digits):
                frame = int(digits or "0") * (-1 if text.startswith("-") else 1)
                if self.at(frame) == name:
                    return frame
        return None

    def at(self, frame: int) -> str:
        """Return the name of the frame's file."""
        numbers = [number(token, frame) for token in self._tokens]
        return "".join(part for pair in zip(self._texts, [*numbers, ""], strict=True) for part in pair)


class NumberedNames:
    """Many of them, of which few are compared with a name: those that begin and end as it does."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_ends: defaultdict[tuple[str, str], list[tuple[str, NumberedName]]] = defaultdict(list)
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for name in names:
            numbered = NumberedName(name)
            self._by_ends[numbered.before, numbered.after].append((name, numbered))
            lengths[numbered.before].add(len(numbered.after))
        self._lengths = sorted({len(before) for before in lengths})
        self._lengths_after = lengths

    def frames_of(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield those that have a frame whose file has this name, with the frame."""
        for length in self._lengths:
            before = name[:length]
            for length_after in self._lengths_after.get(before, ()):
                # There is a digit at least between the two.
                if length + length_after < len(name):
                    for pattern, numbered in self._by_ends.get((before, name[len(name) - length_after :]), ()):
                        frame = numbered.frame_in(name)
                        if frame is not None:
                            yield pattern, frame
