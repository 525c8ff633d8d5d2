"""Looks at many files, in a few processes, and at none of them twice."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias, get_args

import anyio
import anyio.to_thread

from .._checks import check_path
from .._concurrency.disk_threads import DiskThreads
from .._concurrency.in_thread import in_thread
from .._concurrency.side_by_side import side_by_side
from .._events.types import FrameLevel
from .._spec.outputs import fault_of_status
from .answers import UNSTARTED, answer_of_end, lacks, to_check, to_request
from .decoder import Decoder, DecoderEnded, DecoderTooSlow, FrameLimits
from .decoder_pool import DecoderPool
from .kinds import kind_by_name
from .looks import by_sequence, compare_looks
from .result import FrameCheck, FrameKind, NotLookedAtError

_Key: TypeAlias = tuple[str, tuple[int, int, int], FrameLevel, FrameKind | None, int | None]

_TRIES = 3
"""How often a file is read that is written to meanwhile."""
_WRITTEN_TO = "is still being written to"


class FrameChecker:
    """Looks at files while it is entered, and keeps what it found: nothing is decoded twice that has not changed.

    On leaving, its processes are ended, also those that are at work.
    """

    def __init__(self, *, concurrency: int | None = None, limits: FrameLimits | None = None) -> None:
        """Look at so many files at a time; None is one for each processor that this process may use."""
        self._limits = limits or FrameLimits()
        self._pool = DecoderPool(concurrency, yields=self._limits.yields)
        self.concurrency = self._pool.concurrency
        """How many files are looked at at a time."""
        self._kept: dict[_Key, FrameCheck] = {}
        self._at_work: dict[_Key, _Turn] = {}
        self._threads = DiskThreads()

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, traceback)

    async def check(
        self,
        path: str | os.PathLike[str],
        *,
        level: FrameLevel = "whole",
        kind: FrameKind | None = None,
        frames: int | None = None,
    ) -> FrameCheck:
        """Do what `check_frame` does."""
        given = _checked(path, level, kind, frames)
        absolute = absolute_path(given)
        for _ in range(_TRIES):
            status = await in_thread(self._threads, partial(_status, given))
            found = _without_reading(given, status, level, kind)
            if found is not None:
                return found
            assert isinstance(status, os.stat_result)  # noqa: S101
            key = (absolute, _state(status), level, kind, frames)
            async with self._turn(key):
                found = self._known(key) or await self._read(key, given)
            if found is not None:
                return found
        return FrameCheck(path=given, level=level, kind=_kind(given, kind), reason=_WRITTEN_TO)

    def _known(self, key: _Key) -> FrameCheck | None:
        path, state, level, kind, frames = key
        if level == "whole" and (closer := self._kept.get((path, state, "looks", kind, frames))) is not None:
            return replace(closer, level=level, warnings=(), stats=None)
        return self._kept.get(key)

    @asynccontextmanager
    async def _turn(self, key: _Key) -> AsyncIterator[None]:
        """Have who asks for the same file wait for the answer that another has asked for."""
        turn = self._at_work.setdefault(key, _Turn())
        turn.count += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.count -= 1
            if not turn.count:
                self._at_work.pop(key, None)

    async def _read(self, key: _Key, given: str) -> FrameCheck | None:
        """Return what is in the file, or None if it was written to meanwhile."""
        path, state, level, kind, frames = key
        request = to_request(path, state, level, kind, frames, self._limits)
        answer = await self._pool.ask(request, self._limits)
        found = to_check(answer, given, level, kind)
        if found is not None:
            self._kept[key] = found
        return found


class _Turn:
    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.count = 0


class FrameRequest(NamedTuple):
    """A file to look at; the fields are the parameters of `check_frame`."""

    path: str | os.PathLike[str]
    kind: FrameKind | None = None
    frames: int | None = None


async def check_frames(
    paths: Iterable[str | os.PathLike[str]],
    *,
    level: FrameLevel = "whole",
    kind: FrameKind | None = None,
    frames: int | None = None,
    concurrency: int | None = None,
    in_background: bool = True,
    on_check: Callable[[FrameCheck], object] | None = None,
) -> list[FrameCheck]:
    """Look at many files, and return what `check_frame` does of each, in the order of `paths`.

    `concurrency` is how many are looked at at a time, each in a process of its own; None is one for each processor. The
    processes use what others leave of the processors, unless `in_background` is False, and are gone when this returns
    or raises. `on_check` is called with each file's when it is known.
    At the level "looks" the pictures whose names differ in the frame's number alone are compared with each other, too.

    Raises what `check_frame` does, and what `on_check` raises.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(f"paths must be several paths, such as a list, not {paths!r}: one is for check_frame")
    requests = [FrameRequest(path, kind, frames) for path in paths]
    return await check_all(requests, level, concurrency=concurrency, in_background=in_background, on_check=on_check)


async def check_all(
    requests: Sequence[FrameRequest],
    level: FrameLevel,
    *,
    concurrency: int | None,
    in_background: bool,
    on_check: Callable[[FrameCheck], object] | None,
) -> list[FrameCheck]:
    """Do what `check_frames` does for files that differ in more than their paths."""
    for path, kind, frames in requests:
        _checked(path, level, kind, frames)
    found: list[FrameCheck | None] = [None] * len(requests)
    limits = FrameLimits(yields=in_background)
    async with FrameChecker(concurrency=concurrency, limits=limits) as checker:

        async def look(place: int) -> None:
            path, kind, frames = requests[place]
            check = await checker.check(path, level=level, kind=kind, frames=frames)
            if on_check is not None:
                on_check(check)
            found[place] = check

        # Twice as many, so that no process waits for the event loop.
        await side_by_side(range(len(requests)), look, tasks=min(2 * checker.concurrency, len(requests)))
    checks = [check for check in found if check is not None]
    # Of a hundred thousand it takes seconds.
    return await anyio.to_thread.run_sync(_compared, checks) if level == "looks" else checks


def check_frame(
    path: str | os.PathLike[str],
    *,
    level: FrameLevel = "whole",
    kind: FrameKind | None = None,
    frames: int | None = None,
) -> FrameCheck:
    """Look at a picture, a video or another file, and return what was found; blocks meanwhile.

    `level` is how closely: "exist" (it is a file and not empty), "whole" (it can be decoded to its end: every image of
    a picture, every frame of a video, for which `frames` says how many there have to be) or "looks" (that, and whether
    it is odd, as a render that went wrong is: `FrameCheck.warnings`). What is neither a picture nor a video by its name
    is only looked for; `kind` says what it is where its name does not. It is decoded in a process of its own, which
    uses what others leave of the processors, and whose end is a fault of the file. `check_frames` is quicker for many.

    Raises `ImportError` where a picture is to be decoded and OpenImageIO is not installed, `TailraceError` where a
    video is and there is no ffmpeg, or where the look fails for a reason that is none of the file's (its process is
    killed, as where the memory is full), and `TypeError` or `ValueError` for arguments that cannot be used; each says
    what to do.
    """
    given = _checked(path, level, kind, frames)
    absolute = absolute_path(given)
    limits = FrameLimits()
    decoder: Decoder | None = None
    try:
        for _ in range(_TRIES):
            status = _status(given)
            found = _without_reading(given, status, level, kind)
            if found is not None:
                return found
            assert isinstance(status, os.stat_result)  # noqa: S101
            request = to_request(absolute, _state(status), level, kind, frames, limits)
            try:
                decoder = decoder or Decoder()
            except OSError as error:
                raise NotLookedAtError(given, UNSTARTED.format(error.strerror or error)) from error
            try:
                answer = decoder.ask_blocking(request, limits.wall_time)
            except (DecoderEnded, DecoderTooSlow) as error:
                answer = answer_of_end(error, limits, is_ready=decoder.is_ready)
            found = to_check(answer, given, level, kind)
            if found is not None:
                return found
    finally:
        if decoder is not None:
            decoder.kill()
            decoder.close()
            decoder.wait_blocking()
    return FrameCheck(path=given, level=level, kind=_kind(given, kind), reason=_WRITTEN_TO)


def missing_tools(paths: Iterable[str], level: FrameLevel) -> Sequence[str]:
    """Return what would be needed to look at files of these names and is not installed, each with the remedy."""
    if level == "exist":
        return []
    kinds = {kind_by_name(path) for path in paths}
    return lacks(pictures=bool(kinds & {"picture", None}), videos="video" in kinds)


def _compared(checks: list[FrameCheck]) -> list[FrameCheck]:
    for places in by_sequence(checks).values():
        by_frame = dict(places)
        for oddity in compare_looks((frame, checks[place]) for frame, place in places):
            place = by_frame[oddity.frame]
            checks[place] = replace(checks[place], warnings=(*checks[place].warnings, oddity.reason))
    return checks


def _checked(path: object, level: object, kind: object, frames: object) -> str:
    if path is None:
        raise TypeError("path must be a path (a str or an os.PathLike of one), not None")
    check_path("path", path)
    if level not in get_args(FrameLevel):
        raise ValueError(f"level must be 'exist', 'whole' or 'looks', not {level!r}")
    if kind is not None and kind not in get_args(FrameKind):
        raise ValueError(f"kind must be 'picture', 'video', 'other' or None, not {kind!r}")
    if frames is not None and (isinstance(frames, bool) or not isinstance(frames, int)):
        raise TypeError(f"frames must be how many frames a video holds (int), not {frames!r}")
    if frames is not None and frames < 1:
        raise ValueError(f"frames must be at least 1: {frames}")
    return os.fspath(path)  # type: ignore[call-overload, no-any-return]


def absolute_path(path: str) -> str:
    """Return the path for a process that has another folder."""
    # Links are to be followed when it is opened.
    return os.path.abspath(path)  # noqa: PTH100


def _status(path: str) -> os.stat_result | str:
    try:
        return os.stat(path)  # noqa: PTH116 - it is called for each frame.
    except OSError as error:
        return f"cannot be found: {error.strerror}"


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _kind(path: str, kind: FrameKind | None) -> FrameKind:
    meant = kind or kind_by_name(path)
    return "picture" if meant == "picture" else "video" if meant == "video" else "other"


def _without_reading(
    path: str, status: os.stat_result | str, level: FrameLevel, kind: FrameKind | None
) -> FrameCheck | None:
    fault = status if isinstance(status, str) else fault_of_status(status)
    meant = _kind(path, kind)
    needs_reading = level != "exist" and (meant != "other" or (kind is None and kind_by_name(path) is None))
    if fault is None and needs_reading:
        return None
    return FrameCheck(path=path, level=level, kind=meant, reason=fault)
