"""How frames look, as JPEGs for browsers: made once, in processes with limits, two at a time."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections import OrderedDict
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import anyio

from .._concurrency.disk_threads import DiskThreads
from .._concurrency.in_thread import in_thread
from .._errors import TailraceError
from .._frames.decoder import FrameLimits
from .._frames.decoder_pool import DecoderPool
from .._frames.result import NotLookedAtError
from .._frames.thumbnails import Jpeg, show
from ._refusal import one_line

_log = logging.getLogger("tailrace.server")

Size: TypeAlias = Literal["thumb", "full"]

_BOXES: dict[Size, tuple[int, int]] = {"thumb": (320, 180), "full": (2048, 2048)}
"""The most pixels, across and down."""
_QUALITIES: dict[Size, int] = {"thumb": 80, "full": 90}
_AT_ONCE = 2
_ROOM = 32 << 20
"""How much is kept, in bytes: some 4,000 small pictures."""
_OVERHEAD = 500
_PAUSE = 60.0
"""How long processes without work are kept, in seconds."""
_LIMITS = FrameLimits(memory=2 << 30, samples=1 << 28, processor_time=20.0, wall_time=60.0, yields=False)
"""Of a picture with 16,384 x 4,096 pixels of four channels. Somebody waits for it, so that it is not idle."""
_NICE = 10
"""Of the processors they get a tenth of what a render gets; with less, nothing would be seen while all are at work."""
_VERSION = 1
"""Rises when pictures come to look different: browsers keep them."""


class Picture(NamedTuple):
    """How a frame looks."""

    tag: str
    """Is another one when the file is."""
    data: bytes
    """A JPEG file."""


class NoPicture(NamedTuple):
    """Why there is none: an HTTP status, and a line."""

    status: int
    message: str


_Made: TypeAlias = bytes | NoPicture


class _Key(NamedTuple):
    path: str
    size: Size
    state: tuple[int, int, int]
    """The size, the time and the inode of the file."""


class _Wanted:
    def __init__(self) -> None:
        self.count = 0
        """How many wait for it."""
        self.is_begun = False
        self.done = anyio.Event()
        self.made: _Made | None = None


class FrameImages:
    """Makes pictures while `run` does, and keeps those that were asked for last."""

    def __init__(self) -> None:
        self._threads = DiskThreads()
        self._kept: OrderedDict[_Key, _Made] = OrderedDict()
        self._size = 0
        self._wanted: OrderedDict[_Key, _Wanted] = OrderedDict()
        """What was asked for last comes last, and first."""
        self._news = anyio.Event()

    async def run(self) -> None:
        """Make what is asked for."""
        async with DecoderPool(_AT_ONCE, yields=_LIMITS.yields, nice=_NICE) as pool, anyio.create_task_group() as tasks:
            for _ in range(_AT_ONCE):
                tasks.start_soon(self._work, pool)

    async def get(self, path: str, size: Size) -> Picture | NoPicture:
        """Return a picture of a file, or why there is none."""
        state = await in_thread(self._threads, partial(_state, path))
        if isinstance(state, NoPicture):
            return state
        key = _Key(path, size, state)
        made = self._kept.get(key)
        if made is None:
            made = await self._wait_for(key)
        else:
            self._kept.move_to_end(key)
        if isinstance(made, NoPicture):
            return made
        digest = hashlib.sha256(repr((_VERSION, *key)).encode(errors="surrogatepass")).hexdigest()
        return Picture(f'"{digest[:32]}"', made)

    async def _wait_for(self, key: _Key) -> _Made:
        wanted = self._wanted.setdefault(key, _Wanted())
        wanted.count += 1
        self._wanted.move_to_end(key)
        news, self._news = self._news, anyio.Event()
        news.set()
        try:
            await wanted.done.wait()
        finally:
            wanted.count -= 1
            if not wanted.count and not wanted.is_begun:
                del self._wanted[key]
        assert wanted.made is not None  # noqa: S101
        return wanted.made

    async def _work(self, pool: DecoderPool) -> None:
        while True:
            key = next((key for key in reversed(self._wanted) if not self._wanted[key].is_begun), None)
            if key is None:
                with anyio.move_on_after(_PAUSE) as scope:
                    await self._news.wait()
                if scope.cancelled_caught:
                    await pool.end_idle()
                continue
            wanted = self._wanted[key]
            wanted.is_begun = True
            wanted.made = await _make(pool, key)
            del self._wanted[key]
            if not _may_pass(wanted.made):
                self._keep(key, wanted.made)
            wanted.done.set()

    def _keep(self, key: _Key, made: _Made) -> None:
        self._kept[key] = made
        self._size += _size_of(made)
        while self._size > _ROOM:
            _, oldest = self._kept.popitem(last=False)
            self._size -= _size_of(oldest)


async def _make(pool: DecoderPool, key: _Key) -> _Made:
    try:
        found = await show(
            pool,
            key.path,
            _BOXES[key.size],
            _QUALITIES[key.size],
            limits=_LIMITS,
            enlarges=False,
            video_frame="first",
        )
    except NotLookedAtError as error:
        return NoPicture(503, str(error))
    except (ImportError, TailraceError) as error:
        return NoPicture(501, str(error))
    except Exception:  # noqa: BLE001 (whatever it is, other pictures are made)
        _log.exception("a picture of %s could not be made", one_line(key.path))
        return NoPicture(500, "something went wrong in the server: its log says what")
    if isinstance(found, Jpeg):
        return found.data
    return NoPicture(422, f"{os.path.basename(key.path)} {found}")  # noqa: PTH119


def _may_pass(made: _Made) -> bool:
    """Return whether it may be another time, though the file is the same."""
    return isinstance(made, NoPicture) and made.status != 422


def _size_of(made: _Made) -> int:
    return _OVERHEAD + (len(made) if isinstance(made, bytes) else 0)


def _state(path: str) -> tuple[int, int, int] | NoPicture:
    name = os.path.basename(path)  # noqa: PTH119
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        return NoPicture(404, f"{name} cannot be found: {error.strerror}")
    except ValueError:
        return NoPicture(404, f"{name!r} is no name of a file")
    if not stat.S_ISREG(status.st_mode):
        return NoPicture(422, f"{name} is not a file")
    if not status.st_size:
        return NoPicture(422, f"{name} is empty")
    return status.st_size, status.st_mtime_ns, status.st_ino
