"""One file, opened once: what it is, and who reads it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..kinds import HEAD, kind_by_head, kind_by_name
from ..names import SET_ASIDE
from .found import Found, NotSeenError
from .packing import packed


def look_at(request: dict[str, Any], found: Found, tell: Callable[[int], None]) -> None:
    """Find what is to be told of the file of a request; `tell` is called with the frames of a video so far.

    Raises `OSError` for what cannot be opened, `MemoryError`, `NotTheFileError` for what says nothing of it, and
    `ImportError` where what reads it is not installed.
    """
    path: str = request["path"]
    found.kind = kind_by_name(path) or "other"
    with _opened(path) as descriptor:
        is_the_same = _state(descriptor) == request["state"]
        found.kind = _kind_of(descriptor, path, request["kind"])
        if found.kind == "picture":
            from .picture import read_picture

            read_picture(descriptor, request, found)
        elif found.kind == "video":
            from .video import read_video

            read_video(descriptor, request, found, tell)
        found.is_changed = not is_the_same or _state(descriptor) != request["state"]


def thumbnail_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return what the file of a request is to be seen as.

    Raises `NotSeenError` for what cannot be seen, and what `look_at` does.
    """
    with _opened(request["path"]) as descriptor:
        _state(descriptor)
        kind = _kind_of(descriptor, request["path"].removesuffix(SET_ASIDE), request["kind"])
        if kind == "picture":
            from .thumbnail import thumbnail_of_picture

            return packed(thumbnail_of_picture(descriptor, request), request)
        if kind == "video":
            from .video_thumbnail import thumbnail_of_video

            return packed(thumbnail_of_video(request), request)
        raise NotSeenError("is neither a picture nor a video")


@contextmanager
def _opened(path: str) -> Iterator[int]:
    # A pipe would keep waiting for who writes it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _kind_of(descriptor: int, path: str, kind: str | None) -> str:
    meant = kind or kind_by_name(path)
    if kind is not None or meant == "other":
        return meant or "other"
    return kind_by_head(os.pread(descriptor, HEAD, 0)) or meant or "other"


def _state(descriptor: int) -> list[int]:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a file")
    return [status.st_size, status.st_mtime_ns, status.st_ino]
