"""What a command has written so far, for any number of readers."""

from __future__ import annotations

import math
import os
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import anyio
import anyio.to_thread

from .._wire.frames import LARGEST_PAYLOAD, FrameKind


class KeptOutput:
    """The room for the output that all logs keep together, in bytes."""

    def __init__(self, limit: int, drop: Callable[[], bool]) -> None:
        """Take the limit, and what drops one log that is not needed and returns whether there was any."""
        self._room = limit
        self._drop = drop

    def take(self, size: int) -> bool:
        """Return whether there is room, and take it; others have to make way if they can."""
        while size > self._room:
            if not self._drop():
                return False
        self._room -= size
        return True

    def give_back(self, size: int) -> None:
        """Make room that was taken free again."""
        self._room += size


_HEADER = struct.Struct(">BI")
_AHEAD = 2**20
"""How many bytes a command may be ahead of its fastest reader before it has to wait."""
_RECENT = 2**20
"""How many bytes of what is not saved stay in memory though they have been read."""
_SAVED_AT_ONCE = 256 * 2**10
_READ_AT_ONCE = 2**20


class Piece(NamedTuple):
    """Bytes that were written at once to one of the streams."""

    kind: FrameKind
    data: bytes | memoryview


class OutputLog:
    """Takes pieces of output in their order.

    As long as `kept` has room they are kept: a few in memory, more in an unnamed temporary file. Beyond it only the
    last are there, and the command waits for its readers: it goes on at the pace of the fastest.
    """

    def __init__(self, kept: KeptOutput | None) -> None:
        self._kept = kept
        self._pieces: list[Piece] = []
        # Offsets count the headers of the file too. The last one is the end.
        self._offsets: list[int] = [0]
        self._saved = 0
        self._file: int | None = None
        self._is_saving = kept is not None
        self._save_lock = anyio.Lock()
        self._readers: set[LogReader] = set()
        self._is_finished = False
        self._written = anyio.Event()
        self._read = anyio.Event()

    def append(self, kind: FrameKind, data: memoryview) -> Awaitable[None] | None:
        """Take one piece; await what comes back before the next one."""
        for start in range(0, len(data), LARGEST_PAYLOAD):
            part = data[start : start + LARGEST_PAYLOAD]
            self._pieces.append(Piece(kind, part))
            self._offsets.append(self._offsets[-1] + _HEADER.size + len(part))
        self._tell_written()
        unsaved = self._offsets[-1] - self._saved
        if (self._is_saving and unsaved >= _SAVED_AT_ONCE) or self._offsets[-1] - self._fastest() > _AHEAD:
            return self._settle()
        if not self._is_saving:
            self._forget()
        return None

    def finish(self) -> None:
        """Have the readers end when they have read what is there."""
        self._is_finished = True
        self._tell_written()
        # Views would keep whole buffers of the command's for as long as the log.
        self._pieces = [Piece(kind, bytes(data)) for kind, data in self._pieces]

    def close(self) -> None:
        """Give back what it holds; who reads on misses it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._kept is not None:
            self._kept.give_back(self._saved)
        self._saved = 0
        self._pieces = []
        self._offsets = self._offsets[-1:]

    def __del__(self) -> None:
        self.close()

    @property
    def is_on_disk(self) -> bool:
        """Whether there is something in its file."""
        return self._saved > 0

    @property
    def is_complete(self) -> bool:
        """Whether all that was written can still be read."""
        return self._offsets[0] <= self._saved

    def reader(self) -> LogReader:
        """Return a reader that begins at the beginning. Close it when it is done."""
        reader = LogReader(self)
        self._readers.add(reader)
        return reader

    async def _settle(self) -> None:
        if self._is_saving:
            await self._save()
        while self._offsets[-1] - self._fastest() > _AHEAD:
            await self._read.wait()
        self._forget()

    def _tell_written(self) -> None:
        told, self._written = self._written, anyio.Event()
        told.set()

    def _tell_read(self) -> None:
        told, self._read = self._read, anyio.Event()
        told.set()

    def _fastest(self) -> float:
        # Without a reader nobody waits for the output: it is wanted at the end.
        return max((reader.place for reader in self._readers), default=math.inf)

    async def _save(self) -> None:
        async with self._save_lock:
            begin = bisect_right(self._offsets, self._saved) - 1
            batch = self._pieces[begin:]
            end = self._offsets[-1]
            size = end - self._saved
            if self._kept is None or not self._kept.take(size):
                self._is_saving = False
                return
            try:
                if self._file is None:
                    self._file = _unnamed_file()
                await anyio.to_thread.run_sync(_write, self._file, batch, self._saved)
            except OSError:
                # The disk is full. The command and who listens to it need not suffer.
                self._is_saving = False
            else:
                self._saved, size = end, 0
            finally:
                self._kept.give_back(size)

    def _forget(self) -> None:
        """Drop from memory what somebody has read, and is saved or need not be."""
        needed = self._saved if self._is_saving else self._offsets[-1] - _RECENT
        bound = min(needed, self._fastest())
        if bound - self._offsets[0] < _SAVED_AT_ONCE:
            return
        count = bisect_right(self._offsets, bound) - 1
        del self._pieces[:count]
        del self._offsets[:count]


class LogReader:
    """Reads a log from its beginning, at its own pace."""

    def __init__(self, log: OutputLog) -> None:
        self._log = log
        self.place: int = 0
        self.has_missed = False
        """Whether something that was written is not there any more."""

    async def read(self) -> list[Piece]:
        """Return what follows, up to about a MiB, as soon as there is something; nothing at the end."""
        log = self._log
        while True:
            if self.place == log._offsets[-1]:
                if log._is_finished:
                    return []
                await log._written.wait()
            elif self.place >= log._offsets[0]:
                return self._read_recent()
            elif pieces := await self._read_saved():
                return pieces
            else:
                self.has_missed = True
                self.place = log._offsets[0]

    def close(self) -> None:
        """Let the command go on without this reader."""
        self._log._readers.discard(self)
        self._log._tell_read()

    def _read_recent(self) -> list[Piece]:
        log = self._log
        first = bisect_right(log._offsets, self.place) - 1
        last = max(bisect_right(log._offsets, self.place + _READ_AT_ONCE) - 1, first + 1)
        pieces = log._pieces[first:last]
        self._advance(log._offsets[last])
        return pieces

    async def _read_saved(self) -> list[Piece]:
        log = self._log
        if log._file is None or self.place >= log._saved:
            return []
        # The largest piece has to fit.
        size = min(log._saved - self.place, _READ_AT_ONCE + _HEADER.size)
        content = await anyio.to_thread.run_sync(os.pread, log._file, size, self.place)
        pieces = list(_parse(content))
        self._advance(self.place + sum(_HEADER.size + len(piece.data) for piece in pieces))
        return pieces

    def _advance(self, place: int) -> None:
        self.place = place
        self._log._tell_read()


def _unnamed_file() -> int:
    # A descriptor alone: of a file object that is left to the garbage collector, Python would warn.
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def _write(descriptor: int, pieces: list[Piece], place: int) -> None:
    content = memoryview(b"".join(part for kind, data in pieces for part in (_HEADER.pack(kind, len(data)), data)))
    # At its place, whatever an attempt that was cancelled has written already.
    while content:
        count = os.pwrite(descriptor, content, place)
        content, place = content[count:], place + count


def _parse(content: bytes) -> Iterator[Piece]:
    """Yield the pieces that are whole."""
    view = memoryview(content)
    while len(view) >= _HEADER.size:
        kind, length = _HEADER.unpack_from(view)
        end = _HEADER.size + length
        if len(view) < end:
            return
        yield Piece(FrameKind(kind), view[_HEADER.size : end])
        view = view[end:]
