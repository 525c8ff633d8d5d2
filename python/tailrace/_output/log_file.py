"""A file that output is logged to."""

from __future__ import annotations

import gzip
import os
from collections.abc import Awaitable, Iterable, Iterator
from pathlib import Path
from typing import IO, TypeAlias

from .._concurrency.disk_threads import DiskThreads
from .disk_work import DiskWork

_BEFORE_LAST = ".tail-before"
_LAST = ".tail"
_MOST_PIECES = os.sysconf("SC_IOV_MAX")
_MOST_AT_ONCE = 1 << 20
"""In bytes: a disk that is slow, or has much to do, is not to be taken for one that hangs."""
_OVERHEAD = 256
"""What a piece takes in memory besides its bytes."""

_Data: TypeAlias = bytes | memoryview


class LogFile:
    """Takes one stream of output as it comes; a thread has what is written on its way to the disk at once.

    The file is created when there is something to write. With a `limit`, in bytes, the first half of that is kept and
    as much of the end as the rest has room for: two files beside the log, each of a quarter, that take turns and are
    joined to it when it is finished.
    """

    def __init__(self, path: str, threads: DiskThreads, *, limit: int | None, compress: bool) -> None:
        """Only say where. Nothing here ever raises; see `take_failure`."""
        self.path = path
        self._limit = limit
        self._compress = compress
        self._left = None if limit is None else limit // 2
        """What may still be written to the file that is open, in bytes; None without a limit."""
        self._segments = 0
        """How many parts of the end have been begun."""
        self._error: OSError | None = None
        self._is_told = False
        self._is_begun = False
        self._fd = -1
        # None is the end of the file.
        self._work: DiskWork[_Data | None] = DiskWork(threads, self._take, self._close)

    def write(self, data: _Data) -> None:
        """Have `data`, which must not change any more, written unless something failed: a gap would mislead."""
        self._is_begun = True
        if self._error is None:
            self._work.put(data, len(data) + _OVERHEAD)

    def room(self) -> Awaitable[None] | None:
        """Return what to await before more is written; None if there is room."""
        return self._work.room()

    def finish(self) -> None:
        """Have the file finished; `settle` waits for that."""
        if self._is_begun:
            self._work.put(None)

    async def settle(self) -> None:
        """Return when everything is written, or nothing more will be."""
        await self._work.settle()

    def take_failure(self) -> str | None:
        """Return what is wrong with the file, the first time it is asked after something went wrong; else None."""
        if self._is_told:
            return None
        reason = self._work.fault
        if reason is None and self._error is not None:
            reason = self._error.strerror or str(self._error)
        self._is_told = reason is not None
        return reason

    def _take(self, pieces: list[_Data | None]) -> None:
        try:
            if self._error is None:
                self._write([piece for piece in pieces if piece is not None])
        except OSError as error:
            self._error = error
        try:
            if pieces[-1] is None and self._fd >= 0:
                self._finish()
        except OSError as error:
            self._error = self._error or error

    def _write(self, pieces: list[_Data]) -> None:
        if pieces and self._fd < 0:
            self._fd = _create(self.path)
        if self._left is not None:
            self._write_limited(memoryview(b"".join(pieces)), self._left)
            return
        for group in _groups(pieces):
            for rest in _without(group, os.writev(self._fd, group)):
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            self._work.got_on()

    def _write_limited(self, data: memoryview, left: int) -> None:
        while data:
            if left == 0:
                left = self._begin_tail()
            written = os.write(self._fd, data[: min(left, _MOST_AT_ONCE)])
            data = data[written:]
            left -= written
            self._left = left
            self._work.got_on()

    def _begin_tail(self) -> int:
        last = Path(self.path + _LAST)
        if last.exists():
            last.replace(self.path + _BEFORE_LAST)
        fd = _create(last)
        os.close(self._fd)
        self._fd = fd
        self._segments += 1
        return self._quarter()

    def _finish(self) -> None:
        # Some file systems only say now that there was no room.
        self._close()
        self._work.got_on()
        if self._segments:
            self._join()
        if self._compress:
            self._pack(Path(self.path))

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _join(self) -> None:
        parts = [part for suffix in (_BEFORE_LAST, _LAST) if (part := Path(self.path + suffix)).exists()]
        # A part is only thrown away when it is full.
        dropped = (self._segments - len(parts)) * self._quarter()
        with Path(self.path).open("ab") as log:
            if dropped:
                log.write(f"\n[tailrace: {dropped} bytes left out here, for the limit of this log]\n".encode())
            for part in parts:
                with part.open("rb") as source:
                    self._copy(source, log)
        for part in parts:
            part.unlink()

    def _pack(self, path: Path) -> None:
        packed = path.with_name(path.name + ".gz")
        try:
            # Quickly rather than tightly: a log shrinks to a tenth or less in any case.
            with path.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
                self._copy(source, target)
        except OSError:
            packed.unlink(missing_ok=True)
            raise
        path.unlink()

    def _copy(self, source: IO[bytes], target: IO[bytes] | gzip.GzipFile) -> None:
        while data := source.read(1 << 20):
            target.write(data)
            self._work.got_on()

    def _quarter(self) -> int:
        return (self._limit or 0) // 4


def _create(path: str | Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)


def _groups(pieces: Iterable[_Data]) -> Iterator[list[memoryview]]:
    """Yield the pieces, cut where they have to be, in groups for one call each."""
    group: list[memoryview] = []
    room = _MOST_AT_ONCE
    for piece in pieces:
        for start in range(0, len(piece), _MOST_AT_ONCE):
            part = memoryview(piece)[start : start + _MOST_AT_ONCE]
            if len(part) > room or len(group) == _MOST_PIECES:
                yield group
                group, room = [], _MOST_AT_ONCE
            group.append(part)
            room -= len(part)
    if group:
        yield group


def _without(pieces: Iterable[memoryview], count: int) -> Iterator[memoryview]:
    """Yield the pieces but for their first `count` bytes."""
    for piece in pieces:
        if count < len(piece):
            yield piece[count:]
        count -= min(count, len(piece))
