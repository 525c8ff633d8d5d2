"""Makes a small picture of a large one, as it is to be seen on a screen."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from OpenImageIO import FLOAT, HALF, UINT8, ImageBuf, ImageBufAlgo, ImageInput, ImageSpec, TypeFloat

from .found import NotSeenError
from .packing import Seen
from .picture import bands, fault_of_size, first_line, open_picture, why_not_opened
from .structure import head_of

_ROLE, _USUAL = "scene_linear", "lin_rec709"


def thumbnail_of_picture(descriptor: int, request: dict[str, Any]) -> Seen:
    """Return the first image of a file, no larger than `box`; as much of a damaged one as can be read.

    Raises `NotSeenError` where that is nothing.
    """
    picture = open_picture(descriptor, request["path"])
    if picture is None:
        raise NotSeenError(why_not_opened(head_of(descriptor)))
    box: Sequence[int] = request["box"]
    spec = picture.spec()
    if (fault := fault_of_size(spec, request["samples"])) is not None:
        raise NotSeenError(fault)
    if spec.deep:
        raise NotSeenError("has deep pixels, which are not shown")
    across, down = spec.full_width / box[0], spec.full_height / box[1]
    # One that is only to fit need not be resampled, which takes longer than to decode it.
    is_exact: bool = request["enlarges"]
    factor = max(int(min(across, down)), 1) if is_exact else max(math.ceil(max(across, down)), 1)
    small = _reduced(picture, spec, factor)
    said = first_line(picture.geterror())
    if small is None:
        raise NotSeenError(f"is damaged: {said}" if said else "is damaged: nothing of it can be decoded")
    small = _in_window(small, spec, factor)
    buffer = ImageBuf(small)
    height, width = small.shape[:2]
    if is_exact:
        width, height = _fitting(spec.full_width, spec.full_height, box)
        buffer = ImageBufAlgo.resize(buffer, roi=_region(width, height))
    if spec.format in (HALF, FLOAT):
        buffer = _displayed(buffer, spec.get_string_attribute("oiio:ColorSpace"))
    pixels = np.asarray(buffer.get_pixels(UINT8)).reshape(height, width, -1)[:, :, :3]
    return Seen(width, height, np.ascontiguousarray(pixels).tobytes())


def _reduced(picture: ImageInput, spec: ImageSpec, factor: int) -> Any:
    """Return the colours with each block of so many rows and columns as one pixel; None if none can be read."""
    found = _colours(spec.channelnames)
    # A slice is no copy.
    channels = slice(found[0], found[-1] + 1) if found == [*range(found[0], found[-1] + 1)] else found
    columns, across = max(spec.width // factor, 1), min(factor, spec.width)
    rows = max(spec.height // factor, 1)
    small = np.zeros((rows, columns, 3), dtype=np.float32)
    top = 0
    for band in _readable(picture, spec):
        pixels = band.reshape(-1, spec.width, spec.nchannels)[:, : columns * across, channels]
        if not np.isfinite(pixels).all():
            pixels = np.nan_to_num(pixels, posinf=1e4, neginf=0.0)
        # A band may begin and end within a block.
        places = np.minimum((top + np.arange(len(pixels))) // factor, rows - 1)
        firsts = np.flatnonzero(np.diff(places, prepend=-1))
        sums = np.add.reduceat(pixels, firsts, axis=0) if factor > 1 else pixels
        small[places[firsts]] += sums.reshape(len(firsts), columns, across, -1).mean(axis=2)
        top += len(pixels)
    if not top:
        return None
    if factor > 1:
        counts = np.bincount(np.minimum(np.arange(spec.height) // factor, rows - 1), minlength=rows)
        small /= counts[:, None, None]
    return small


def _in_window(small: Any, spec: ImageSpec, factor: int) -> Any:
    """Return the pixels where they belong in the picture: an EXR may hold a part of it, or more than is to be seen."""
    columns, rows = max(spec.full_width // factor, 1), max(spec.full_height // factor, 1)
    left, top = (spec.x - spec.full_x) // factor, (spec.y - spec.full_y) // factor
    height, width = small.shape[:2]
    if (left, top, width, height) == (0, 0, columns, rows):
        return small
    window = np.zeros((rows, columns, 3), dtype=np.float32)
    seen = window[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    down, right = max(-top, 0), max(-left, 0)
    seen[:] = small[down : down + seen.shape[0], right : right + seen.shape[1]]
    return window


def _readable(picture: ImageInput, spec: ImageSpec) -> Iterator[Any]:
    """Yield the pixels from the top, to the first row that cannot be read."""
    top = spec.y
    for band in bands(picture, 0, 0, spec, TypeFloat):
        if band is None:
            break
        rows = band.reshape(-1, spec.width, spec.nchannels)
        top += len(rows)
        yield rows
    if spec.tile_width:
        return
    for row in range(top, spec.y + spec.height):
        pixels = picture.read_scanlines(0, 0, row, row + 1, spec.z, 0, spec.nchannels, TypeFloat)
        if pixels is None:
            return
        yield pixels


def _colours(names: Sequence[str]) -> list[int]:
    """Return the channels to show: the first red, green and blue that belong together, else the first one."""
    places = {name: place for place, name in enumerate(names)}
    for name in ("R", *names):
        layer, dot, channel = name.rpartition(".")
        found = [places.get(f"{layer}{dot}{colour}") for colour in "RGB"]
        if channel == "R" and all(place is not None for place in found):
            return [place for place in found if place is not None]
    return [places.get("Y", 0)]


def _fitting(width: int, height: int, box: Sequence[int]) -> tuple[int, int]:
    scale = min(box[0] / width, box[1] / height)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _region(width: int, height: int) -> Any:
    return ImageSpec(width, height, 3, FLOAT).roi


def _displayed(buffer: ImageBuf, space: str) -> ImageBuf:
    """Return the buffer as the display of the studio's configuration ($OCIO), or of OpenColorIO's own, shows it."""
    from_space = space or (_ROLE if os.environ.get("OCIO") else _USUAL)
    shown = ImageBufAlgo.ociodisplay(buffer, "", "", from_space)
    # A configuration may lack the colour space that the file names.
    if shown.has_error:
        shown = ImageBufAlgo.ociodisplay(buffer, "", "", _ROLE)
    return buffer if shown.has_error else shown
