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


class NumberedName:
    """A name with `####` or `%04d` in it."""

    def __init__(self, name: str) -> None:
        self._texts = FRAME_NUMBER.split(name)
        self._tokens: list[str] = FRAME_NUMBER.findall(name)
        self.before = self._texts[0]
        self._after = self._texts[-1]
        self._width = len(number(self._tokens[0], 0))

    def frame_in(self, name: str) -> int | None:
        """Return the frame whose file has this name, if there is one, after a few comparisons."""
        if not name.endswith(self._after):
            return None
        start = len(self.before)
        for end in range(start + self._width, min(start + max(self._width, _MOST_DIGITS), len(name)) + 1):
            # It may be filled up with zeros, or with spaces.
            digits = name[start:end].lstrip(" 0")
            if len(digits) <= _MOST_DIGITS and (digits.isdecimal() or not digits):
                frame = int(digits or "0")
                if self.at(frame) == name:
                    return frame
        return None

    def at(self, frame: int) -> str:
        """Return the name of the frame's file."""
        numbers = [number(token, frame) for token in self._tokens]
        return "".join(part for pair in zip(self._texts, [*numbers, ""], strict=True) for part in pair)


class NumberedNames:
    """Many of them, of which few are compared with a name: those that begin as it does."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_start: defaultdict[str, list[tuple[str, NumberedName]]] = defaultdict(list)
        for name in names:
            numbered = NumberedName(name)
            self._by_start[numbered.before].append((name, numbered))
        self._lengths = sorted({len(before) for before in self._by_start})

    def frames_of(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield those that have a frame whose file has this name, with the frame."""
        for length in self._lengths:
            if length < len(name):
                for pattern, numbered in self._by_start.get(name[:length], ()):
                    frame = numbered.frame_in(name)
                    if frame is not None:
                        yield pattern, frame
