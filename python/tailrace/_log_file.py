"""A file that output is logged to."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
from pathlib import Path

_BEFORE_LAST = ".tail-before"
_LAST = ".tail"


class LogFile:
    """Takes one stream of output as it comes; what is written is on its way to the disk at once.

    The file is created when there is something to write. With a `limit`, in bytes, the first half of that is kept and
    as much of the end as the rest has room for: two files beside the log, each of a quarter, that take turns and are
    joined to it when it is closed.
    """

    def __init__(self, path: str, *, limit: int | None, compress: bool) -> None:
        """Only say where. Nothing here ever raises; see `take_failure`."""
        self.path = path
        self._limit = limit
        self._compress = compress
        self._room = None if limit is None else limit // 2
        """What may still be written to the file that is open, in bytes; None without a limit."""
        self._segments = 0
        """How many parts of the end have been begun."""
        self._error: OSError | None = None
        self._is_told = False
        self._mutex = threading.Lock()
        self._fd = -1

    def write(self, data: bytes | memoryview) -> None:
        """Write `data`, or nothing any more after a failure: a log with a gap would mislead."""
        if self._error is None:
            try:
                self._write(memoryview(data))
            except OSError as error:
                self._error = error

    def close(self) -> None:
        """Finish the file. Blocks; may be called again."""
        with self._mutex:
            if self._fd < 0:
                return
            fd, self._fd = self._fd, -1
            try:
                # Some file systems only say now that there was no room.
                os.close(fd)
                if self._segments:
                    self._join()
                if self._compress:
                    _compress(Path(self.path))
            except OSError as error:
                self._error = self._error or error

    def take_failure(self) -> str | None:
        """Return what is wrong with the file, the first time it is asked after something went wrong; else None."""
        if self._error is None or self._is_told:
            return None
        self._is_told = True
        return self._error.strerror or str(self._error)

    @property
    def is_quick_to_close(self) -> bool:
        """Whether `close` has nothing to do that takes its time."""
        return not self._segments and not self._compress

    def _write(self, data: memoryview) -> None:
        if self._fd < 0:
            self._fd = _create(self.path)
        while data:
            if self._room == 0:
                self._begin_tail()
            written = os.write(self._fd, data[: self._room])
            data = data[written:]
            if self._room is not None:
                self._room -= written

    def _begin_tail(self) -> None:
        last = Path(self.path + _LAST)
        if last.exists():
            last.replace(self.path + _BEFORE_LAST)
        fd = _create(last)
        os.close(self._fd)
        self._fd = fd
        self._room = self._quarter()
        self._segments += 1

    def _join(self) -> None:
        parts = [part for suffix in (_BEFORE_LAST, _LAST) if (part := Path(self.path + suffix)).exists()]
        # A part is only thrown away when it is full.
        dropped = (self._segments - len(parts)) * self._quarter()
        with Path(self.path).open("ab") as log:
            if dropped:
                log.write(f"\n[tailrace: {dropped} bytes left out here, for the limit of this log]\n".encode())
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, log, 1 << 20)
        for part in parts:
            part.unlink()

    def _quarter(self) -> int:
        return (self._limit or 0) // 4


def _create(path: str | Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)


def _compress(path: Path) -> None:
    packed = path.with_name(path.name + ".gz")
    try:
        # Quickly rather than tightly: a log shrinks to a tenth or less in any case.
        with path.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except OSError:
        packed.unlink(missing_ok=True)
        raise
    path.unlink()
