"""Which names the output files of chunks may have.

Names of files come from job files. None becomes a regular expression: with eight `%d` in it, one would look for hours.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable

from ._output_files import FRAME_NUMBER, is_numbered, number
from ._spec import Chunk

_MOST_DIGITS = 20
"""Of a frame's number: a chunk begins below 2^31, has fewer frames than that, and fewer between them."""


class OutputNames:
    """The names of everything that `chunks` may write, for whatever frame."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        names = {os.path.normpath(chunk.output_file) for chunk in chunks}
        self.digest = hashlib.sha256("\0".join(sorted(names)).encode(errors="surrogatepass")).digest()
        """Is the same for the same names."""
        self._plain = {name for name in names if not is_numbered(name)}
        # By what comes before the first number: few names begin with it.
        self._numbered: defaultdict[str, list[NumberedName]] = defaultdict(list)
        for name in names - self._plain:
            numbered = NumberedName(name)
            self._numbered[numbered.before].append(numbered)
        self._lengths = sorted({len(before) for before in self._numbered})

    def __contains__(self, name: str) -> bool:
        """Return whether `name`, without needless parts, is one of them."""
        return name in self._plain or any(
            numbered.frame_in(name) is not None
            for length in self._lengths
            if length < len(name)
            for numbered in self._numbered.get(name[:length], ())
        )


def is_output_of(chunk: Chunk, name: str) -> bool:
    """Return whether `name`, without needless parts, is one of the files that `chunk` is to write."""
    own = os.path.normpath(chunk.output_file)
    if not is_numbered(own):
        return name == own
    frame = NumberedName(own).frame_in(name)
    return frame is not None and frame in chunk.frames


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
