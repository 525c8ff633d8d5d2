"""One picture of many frames, side by side with their names."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio.to_thread

from .._errors import TailraceError
from .._extras import missing_extra
from .replaced_file import replacing
from .result import FrameCheck
from .thumbnails import Thumbnail, make_thumbnails, notable_frames

_GAP = 8
"""Pixels between two frames; half of it is the border of one that is flagged."""
_LABEL = 18
"""The height of a name, in pixels."""
_FONT = 12
_LETTER = 7
"""How wide a letter is at most, nearly."""
_BACKGROUND = (0.11, 0.11, 0.11)
_EMPTY = (0.2, 0.2, 0.2)
_TEXT = (0.8, 0.8, 0.8)
_DAMAGED = (0.9, 0.2, 0.2)
_ODD = (0.95, 0.7, 0.1)


async def write_contact_sheet(
    path: str | os.PathLike[str],
    checks: Sequence[FrameCheck],
    *,
    most: int = 100,
    columns: int | None = None,
    width: int = 240,
    height: int = 135,
) -> Sequence[FrameCheck]:
    """Write a picture of frames beside each other to `path`, and return the frames that are on it.

    They are those that `notable_frames` returns of `checks`, as `make_thumbnails` shows them, each in at most `width` x
    `height` pixels, with its file's name; damaged ones have a red border, odd ones a yellow one. `columns` is how many
    are in a row; None makes about a square of them. The ending of `path` says the format. It gets its name when it is
    whole; what had the name before is replaced.

    Raises `ValueError` for no frames at all, what `make_thumbnails` does, and `TailraceError` if the picture cannot be
    written.
    """
    shown = notable_frames(checks, most)
    if not shown:
        raise ValueError("a contact sheet needs at least one frame")
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1: {columns}")
    thumbnails = await make_thumbnails([check.path for check in shown], width=width, height=height)
    across = min(columns or math.ceil(math.sqrt(len(shown))), len(shown))
    write = partial(_write, os.fspath(path), list(zip(shown, thumbnails, strict=True)), across, width, height)
    await anyio.to_thread.run_sync(write)
    return shown


def _write(
    path: str, frames: Sequence[tuple[FrameCheck, Thumbnail | None]], columns: int, width: int, height: int
) -> None:
    try:
        # They are loaded by nobody else: what looks at frames has processes of its own for it.
        import numpy
        from OpenImageIO import ROI, ImageBuf, ImageBufAlgo, ImageSpec
    except ImportError as error:
        raise missing_extra("a contact sheet", "frames", error) from error
    across, down = width + _GAP, height + _LABEL + _GAP
    rows = math.ceil(len(frames) / columns)
    sheet = ImageBuf(ImageSpec(columns * across + _GAP, rows * down + _GAP, 3, "uint8"))
    ImageBufAlgo.fill(sheet, _BACKGROUND)
    for place, (check, thumbnail) in enumerate(frames):
        left, top = _GAP + place % columns * across, _GAP + place // columns * down
        colour = _DAMAGED if check.reason is not None else _ODD if check.warnings else None
        if colour is not None:
            border = _GAP // 2
            region = ROI(left - border, left + width + border, top - border, top + height + border, 0, 1, 0, 3)
            ImageBufAlgo.fill(sheet, colour, roi=region)
        ImageBufAlgo.fill(sheet, _EMPTY, roi=ROI(left, left + width, top, top + height, 0, 1, 0, 3))
        if thumbnail is not None:
            pixels = numpy.frombuffer(thumbnail.pixels, numpy.uint8)
            picture = ImageBuf(pixels.reshape(thumbnail.height, thumbnail.width, 3))
            x, y = left + (width - thumbnail.width) // 2, top + (height - thumbnail.height) // 2
            ImageBufAlgo.paste(sheet, x, y, 0, 0, picture)
        name = _shortened(check.name, width // _LETTER)
        ImageBufAlgo.render_text(sheet, left, top + height + _LABEL - 3, name, _FONT, "", colour or _TEXT)
    _save(sheet, path)


def _shortened(name: str, most: int) -> str:
    """Return a name that fits: what makes it another than those beside it stands at its end."""
    shown = name.encode(errors="replace").decode()
    return shown if len(shown) <= most else f"...{shown[-max(most - 3, 1) :]}"


def _save(sheet: Any, path: str) -> None:
    from OpenImageIO import geterror

    with replacing(path, "the contact sheet") as written:
        if not sheet.write(written):
            said = sheet.geterror() or geterror()
            raise TailraceError(f"the contact sheet {path} cannot be written: {_reason(said)}")


def _reason(said: str) -> str:
    line = said.partition("\n")[0]
    return "its name should end with .jpg or .png" if "format writer" in line else line
