"""Pictures of frames, as they are to be seen on a screen."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .._concurrency.side_by_side import side_by_side
from .answers import missing_tool
from .checker import absolute_path
from .decoder import FrameLimits
from .decoder_pool import DecoderPool
from .result import FrameCheck, NotLookedAtError

_LIMITS = FrameLimits(samples=1 << 30, processor_time=60.0, wall_time=60.0)
"""Somebody waits for it, so that what takes longer goes without."""
_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A small picture."""

    width: int
    """In pixels."""
    height: int
    pixels: bytes = field(repr=False)
    """Red, green and blue of 8 bits each, row by row from the top."""


class Jpeg(NamedTuple):
    """A picture as browsers show it."""

    width: int
    """In pixels."""
    height: int
    data: bytes
    """The file."""


async def make_thumbnails(
    paths: Iterable[str | os.PathLike[str]], *, width: int = 240, height: int = 135, concurrency: int | None = None
) -> list[Thumbnail | None]:
    """Return a small picture of each file, in the order of `paths`, none larger than `width` x `height` pixels.

    Floating-point pictures, such as EXRs, are shown through the default display and view of the OpenColorIO
    configuration that `$OCIO` names, else of the one that comes with OpenColorIO. A video is shown by its last frame, a
    damaged picture as far as it can be read; what cannot be seen at all is None. Each is decoded in a process of its
    own, `concurrency` of them at a time; None is one for each processor.

    Raises `ImportError` where there is a picture and OpenImageIO is not installed, `TailraceError` where there is a
    video and no ffmpeg, and `ValueError` for a size below 1.
    """
    made = await _of_all(paths, (width, height), None, concurrency)
    return [one and Thumbnail(width=one.width, height=one.height, pixels=one.data) for one in made]


async def make_jpegs(paths: Iterable[str | os.PathLike[str]], *, width: int, height: int) -> list[Jpeg | None]:
    """Do the same, with JPEG files in place of pixels."""
    return await _of_all(paths, (width, height), _QUALITY, None)


async def _of_all(
    paths: Iterable[str | os.PathLike[str]], box: tuple[int, int], quality: int | None, concurrency: int | None
) -> list[Jpeg | None]:
    width, height = box
    if width < 1 or height < 1:
        raise ValueError(f"a thumbnail has at least 1 x 1 pixels, not {width} x {height}")
    given = [os.fspath(path) for path in paths]
    made: list[Jpeg | None] = [None] * len(given)
    async with DecoderPool(concurrency, yields=False) as pool:

        async def make(place: int) -> None:
            with suppress(NotLookedAtError):
                found = await show(pool, given[place], box, quality)
                made[place] = None if isinstance(found, str) else found

        await side_by_side(range(len(given)), make, tasks=min(pool.concurrency, len(given)))
    return made


async def show(
    pool: DecoderPool,
    path: str,
    box: tuple[int, int],
    quality: int | None,
    *,
    limits: FrameLimits = _LIMITS,
    enlarges: bool = True,
    video_frame: Literal["first", "last"] = "last",
) -> Jpeg | str:
    """Return what a file is seen as, in at most `box`, as a JPEG of that quality; without one `data` are the pixels.

    What cannot be seen is a text instead that says why, to be read after the name of the file. Raises `ImportError` or
    `TailraceError` where something is not installed, `NotLookedAtError` for what is no fault of the file.
    """
    request: dict[str, Any] = {
        "path": absolute_path(path),
        "kind": None,
        "box": box,
        "enlarges": enlarges,
        "video_frame": video_frame,
        "quality": quality,
        "samples": limits.samples,
        "memory": limits.memory,
        "processor_time": limits.processor_time,
    }
    answer = await pool.ask(request, limits)
    if "missing" in answer:
        raise missing_tool(answer["missing"])
    if "failed" in answer:
        raise NotLookedAtError(path, answer["failed"])
    if "data" not in answer:
        return str(answer.get("reason") or answer["ended"])
    return Jpeg(answer["width"], answer["height"], base64.b64decode(answer["data"]))


def notable_frames(checks: Sequence[FrameCheck], most: int) -> list[FrameCheck]:
    """Return what is to be shown of many frames: those that are damaged or odd, and the last ones.

    They are at most `most`, in their order. With more damaged or odd ones than that, the last of these.
    """
    if most < 1:
        return []
    flagged = [place for place, check in enumerate(checks) if check.reason is not None or check.warnings]
    shown = set(flagged[-most:])
    for place in range(len(checks) - 1, -1, -1):
        if len(shown) >= most:
            break
        shown.add(place)
    return [checks[place] for place in sorted(shown)]
