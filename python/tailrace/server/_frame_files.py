"""Which files show the frames of a job. They are those that its specification names: no others are ever opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .._frames.names import SET_ASIDE
from .._spec.model import Chunk, JobSpec
from .._spec.numbered_name import NumberedName, is_numbered


class _Shown(NamedTuple):
    frames: Sequence[int]
    names: tuple[str, ...]
    """Those with numbers in them, or all where none has: a video is its chunk's last frame then."""


class FrameFiles:
    """Knows the files of each frame; a hundred thousand chunks take some 40 MB."""

    def __init__(self, spec: JobSpec, folder: str) -> None:
        """Take what the job is, and the folder that it runs in."""
        self._folder = Path(folder)
        self._chunks = {chunk.id: _Shown(chunk.frames, _shown_names(chunk)) for chunk in spec.chunks}

    def frames_of(self, chunk_id: int) -> Sequence[int]:
        """Return the frames of a chunk that can be shown; of a video it is the last one."""
        shown = self._chunks.get(chunk_id)
        if shown is None:
            return ()
        return shown.frames if is_numbered(shown.names[0]) else shown.frames[-1:]

    def names(self, chunk_id: int, frame: int) -> Sequence[str]:
        """Return the files of a frame, relative to the folder as the specification has them; none of an unknown one."""
        if frame not in self.frames_of(chunk_id):
            return ()
        return [NumberedName(name).at(frame) if is_numbered(name) else name for name in self._chunks[chunk_id].names]

    def span(self, chunk_id: int) -> str | None:
        """Return which frames a chunk's video shows; None where there is a file for each frame."""
        shown = self._chunks[chunk_id]
        return None if is_numbered(shown.names[0]) else str(shown.frames)

    def place_of(self, chunk_id: int, frame: int, path: str) -> int:
        """Return which of the frame's files has that path; that of another one is taken for the first."""
        names = self.names(chunk_id, frame)
        return next((place for place, name in enumerate(names) if str(self._folder / name) == path), 0)

    def path(self, chunk_id: int, frame: int, place: int, *, is_damaged: bool) -> str:
        """Return where to look for one of the frame's files; what is damaged may have been set aside. Asks the disk."""
        path = str(self._folder / self.names(chunk_id, frame)[place])
        if is_damaged and os.path.exists(aside := os.path.realpath(path) + SET_ASIDE):  # noqa: PTH110
            return aside
        return path


def _shown_names(chunk: Chunk) -> tuple[str, ...]:
    # Of the frames of a night nearly all have the same.
    numbered = tuple(sys.intern(name) for name in chunk.output_files if is_numbered(name))
    return numbered or chunk.output_files
