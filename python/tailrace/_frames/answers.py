"""What the process that decodes is asked, and what its answers mean."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .._errors import TailraceError
from .._events.types import FrameLevel
from .._extras import lacking, missing_extra
from .decoder import DecoderEnded, DecoderTooSlow, FrameLimits
from .endings import describe_end
from .kinds import kind_by_name
from .looks import look_alone
from .result import FlatTile, FrameCheck, FrameKind, FrameStats, NotLookedAtError

_AS_THEY_ARE = ("kind", "reason", "format", "width", "height", "channels", "frames")
UNSTARTED = "the process that decodes frames could not be started: {}"
_NO_FFMPEG = (
    "videos are looked at by ffmpeg, which was not found: install it, for example with `apt install ffmpeg`, or put it"
    " into the PATH"
)


def to_request(
    path: str,
    state: tuple[int, int, int],
    level: FrameLevel,
    kind: FrameKind | None,
    frames: int | None,
    limits: FrameLimits,
) -> dict[str, Any]:
    """Return the request for a look at a file of this size, time and inode."""
    return {
        "path": path,
        "state": state,
        "level": level,
        "kind": kind,
        "frames": frames,
        "memory": limits.memory,
        "samples": limits.samples,
        "processor_time": limits.processor_time,
    }


def to_check(answer: dict[str, Any], path: str, level: FrameLevel, kind: FrameKind | None) -> FrameCheck | None:
    """Return what was found, or None if the file was written to meanwhile.

    Raises `ImportError` or `TailraceError` for what could not be looked at because something is not installed, and
    `NotLookedAtError` where something else went wrong that is no fault of the file.
    """
    if "missing" in answer:
        raise missing_tool(answer["missing"])
    if "failed" in answer:
        raise NotLookedAtError(path, answer["failed"])
    if "ended" in answer:
        is_video = (kind or kind_by_name(path)) == "video"
        return FrameCheck(path=path, level=level, kind="video" if is_video else "picture", reason=answer["ended"])
    if answer["is_changed"]:
        return None
    stats = _stats(answer["stats"])
    found = FrameCheck(path=path, level=level, stats=stats, **{name: answer[name] for name in _AS_THEY_ARE})
    return replace(found, warnings=look_alone(found)) if level == "looks" and found.ok else found


def answer_of_end(error: DecoderEnded | DecoderTooSlow, limits: FrameLimits, *, is_ready: bool) -> dict[str, Any]:
    """Return an answer in the place of one of a decoder that ended, or took too long."""
    is_killed = isinstance(error, DecoderEnded) and error.is_chance
    if not is_ready and not is_killed:
        return {"failed": UNSTARTED.format(error)}
    if isinstance(error, DecoderTooSlow):
        return {"failed": f"nothing came of it within {limits.wall_time:g} s: look after its disk and the processors"}
    if is_killed:
        return {"failed": f"the process that decodes it was killed ({error}): is the memory full?"}
    return {"ended": describe_end(error.code, limits.processor_time)}


def lacks(*, pictures: bool, videos: bool) -> Sequence[str]:
    """Return what is not installed of what pictures or videos need, each with the remedy."""
    lines = list(lacking("frames", ["OpenImageIO"])) if pictures else []
    return [*lines, _NO_FFMPEG] if videos and shutil.which("ffmpeg") is None else lines


def missing_tool(name: str) -> Exception:
    """Return the error for what could not be looked at because something of this name is not installed."""
    if name == "ffmpeg":
        return TailraceError(_NO_FFMPEG)
    return missing_extra("a look at a picture", "frames", ImportError(name, name=name))


def _stats(fields: dict[str, Any] | None) -> FrameStats | None:
    if fields is None:
        return None
    tiles = tuple(FlatTile(*tile) for tile in fields["flat_tiles"])
    return FrameStats(**{**fields, "channel_names": tuple(fields["channel_names"]), "flat_tiles": tiles})
