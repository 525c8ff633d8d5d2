"""The frames of a job as small pictures."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import NamedTuple

import anyio.to_thread

from .._errors import TailraceError
from .._frames.names import SET_ASIDE
from .._frames.thumbnails import make_jpegs
from ._data import FrameReport

MOST_PICTURES = 96
"""So many are shown: about a megabyte."""
_WIDTH, _HEIGHT = 240, 135


class SheetFrame(NamedTuple):
    """A frame, and how it looks."""

    frame: FrameReport
    source: str | None
    """A data URL; None if it cannot be seen."""
    width: int
    height: int


class Sheet(NamedTuple):
    """Frames that are shown."""

    frames: Sequence[SheetFrame] = ()
    missing: str | None = None
    """Why there are none, in a line, where something is not installed."""


async def make_sheet(frames: Sequence[FrameReport]) -> Sheet:
    """Return pictures of up to `MOST_PICTURES` frames; each is decoded in a process of its own."""
    shown = choose_frames(frames, MOST_PICTURES)
    if not shown:
        return Sheet()
    paths = await anyio.to_thread.run_sync(lambda: [_path_of(frame) for frame in shown])
    try:
        files = await make_jpegs(paths, width=_WIDTH, height=_HEIGHT)
    except (ImportError, TailraceError) as error:
        return Sheet(missing=str(error))
    pictures = []
    for frame, file in zip(shown, files, strict=True):
        if file is None:
            pictures.append(SheetFrame(frame, None, _WIDTH, _HEIGHT))
            continue
        source = f"data:image/jpeg;base64,{base64.b64encode(file.data).decode()}"
        pictures.append(SheetFrame(frame, source, file.width, file.height))
    return Sheet(pictures)


def choose_frames(frames: Sequence[FrameReport], most: int) -> list[FrameReport]:
    """Return at most so many of the frames, in their order: half of them at most flagged, the others evenly spaced."""
    if len(frames) <= most:
        return list(frames)
    flagged = [place for place, frame in enumerate(frames) if frame.damage is not None or frame.warnings]
    shown = set(_spaced(flagged, most // 2))
    others = [place for place in range(len(frames)) if place not in shown]
    shown.update(_spaced(others, most - len(shown)))
    return [frames[place] for place in sorted(shown)]


def _spaced(places: Sequence[int], most: int) -> list[int]:
    if len(places) <= most:
        return list(places)
    # The first and the last are among them.
    return [places[round(number * (len(places) - 1) / (most - 1))] for number in range(most)]


def _path_of(frame: FrameReport) -> str:
    aside = frame.path + SET_ASIDE
    return aside if frame.damage is not None and os.path.exists(aside) else frame.path  # noqa: PTH110
