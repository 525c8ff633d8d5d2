"""Which frames of a command are rendered, as far as its output tells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from ._report import FrameRendered

_NUMBER = re.compile(r"(-?)(\d{1,18})")


class RenderedFrames:
    """Tells each frame once, as it becomes known that it is rendered. `frames` are those of the command."""

    def __init__(self, frames: Sequence[int] | None) -> None:
        self.told: list[FrameRendered] = []
        """What is new; whoever reports it empties the list."""
        self._frames = frames if frames is not None and len(frames) else None
        self._places: dict[int, int] | None = None
        self._rendered: set[int] = set()
        self._up_to = 0

    @property
    def number(self) -> int | None:
        """How many there are in the command, None if that is not known."""
        return None if self._frames is None else len(self._frames)

    @property
    def done(self) -> int | None:
        """How many are rendered; None while none is known to be."""
        return max(len(self._rendered), self._up_to if self._frames is None else 0) or None

    def __contains__(self, frame: int) -> bool:
        """Return whether a frame is known to be rendered."""
        return frame in self._rendered

    def place_of(self, frame: int) -> int | None:
        """Return the place of a frame among those of the command, counted from 0."""
        if isinstance(self._frames, range):
            return self._frames.index(frame) if frame in self._frames else None
        if self._places is None:
            # The first place counts, so the last one is set first.
            known = list(self._frames or ())
            self._places = {known[place]: place for place in reversed(range(len(known)))}
        return self._places.get(frame)

    def at(self, place: int) -> int | None:
        """Return the frame of the command that comes at a place, counted from 0."""
        return self._frames[place] if self._frames is not None and 0 <= place < len(self._frames) else None

    def add(self, frame: int, path: str | None = None) -> None:
        """Have a frame be rendered. One that is none of the command's is not told."""
        if frame not in self._rendered and (self._frames is None or self.place_of(frame) is not None):
            self._rendered.add(frame)
            self.told.append(FrameRendered(frame, path))

    def add_first(self, count: int) -> None:
        """Have so many of the command's frames be rendered, the first ones."""
        if self._frames is not None:
            count = min(count, len(self._frames))
            for place in range(self._up_to, count):
                self.add(self._frames[place])
        self._up_to = max(self._up_to, count)

    def add_saved(self, path: str, current: int | None, *, at_work: bool) -> None:
        """Have the frame be rendered whose file was saved.

        `current` is the frame that the output tells of, `at_work` whether the renderer says that it works on that one.
        The name of the file counts unless it has the number of that frame too: a camera or a version has one as well.
        """
        named = [] if self._frames is None else list(self._numbers_in(path))
        if current is not None and (at_work or not named) and (current in named or not named):
            self.add(current, path)
        elif named:
            self.add(named[0], path)
        elif current is None:
            self.told.append(FrameRendered(None, path))

    def _numbers_in(self, path: str) -> Iterator[int]:
        """Yield the frames of the command that the name of a file may mean, the likeliest first."""
        stem = PurePath(path.replace("\\", "/")).stem

        def likelihood(match: re.Match[str]) -> tuple[bool, bool, int, int]:
            # The number of a frame is none of a version; it comes last, or is the one that is padded.
            is_version = match.start() > 0 and stem[match.start() - 1] in "vV"
            return not is_version, match.end() == len(stem), len(match[2]), match.end()

        for match in sorted(_NUMBER.finditer(stem), key=likelihood, reverse=True):
            number = int(match[2])
            # A minus between two words is a hyphen.
            hyphen = match.start() > 0 and stem[match.start() - 1].isalnum()
            signed = (number, -number) if hyphen else (-number, number)
            for frame in signed if match[1] else (number,):
                if self.place_of(frame) is not None:
                    yield frame
