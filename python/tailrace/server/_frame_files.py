"""Which files show the frames of a job. They are those that its specification names: no others are ever opened."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._frames.names import SET_ASIDE
from .._spec.frame_range import FrameRange
from .._spec.numbered_name import NumberedName, is_numbered


class _Shown(NamedTuple):
    frames: Sequence[int]
    names: tuple[str, ...]
    """Those with numbers in them, or all where none has: a video is its chunk's last frame then."""


class FrameFiles:
    """Knows the files of each frame; a hundred thousand chunks take some 30 MB."""

    def __init__(self, spec_text: str, folder: str) -> None:
        """Take what the job is, as JSON, and the folder that it runs in. Takes some ten microseconds a chunk."""
        self._folder = Path(folder)
        known: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._chunks: dict[int, _Shown] = {}
        for chunk in chunks_in(spec_text):
            names = _shown_names(chunk)
            # Nearly all have the same.
            self._chunks[chunk["id"]] = _Shown(_frames_in(chunk), known.setdefault(names, names))

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
        return None if is_numbered(shown.names[0]) else str(FrameRange(shown.frames))

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


def chunks_in(spec_text: str) -> Iterator[Mapping[str, Any]]:
    """Yield the chunks of a specification as it is stored, one by one: all at once would hold up all other threads."""
    read = json.JSONDecoder().raw_decode
    place = 1
    while True:
        key, place = read(spec_text, place)
        if key == "chunks":
            break
        _, place = read(spec_text, place + 1)
        place += 1
    place += 2
    while True:
        chunk, place = read(spec_text, place)
        yield chunk
        if spec_text[place] == "]":
            return
        place += 1


def _shown_names(chunk: Mapping[str, Any]) -> tuple[str, ...]:
    files: Sequence[str] = chunk.get("outputFiles") or [chunk["outputFile"]]
    return tuple(name for name in files if is_numbered(name)) or tuple(files)


def _frames_in(chunk: Mapping[str, Any]) -> Sequence[int]:
    if "frames" in chunk:
        return FrameRange.parse(chunk["frames"])
    start, step = chunk["startFrame"], chunk.get("frameStep", 1)
    return range(start, start + chunk["frameCount"] * step, step)
