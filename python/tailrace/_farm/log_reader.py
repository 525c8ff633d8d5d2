"""Reads what a chunk wrote, from its log, while it runs too."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing
from functools import partial
from itertools import chain, count, takewhile
from pathlib import Path
from typing import IO, NamedTuple, Self, TypeVar, cast

import anyio
import anyio.to_thread

from .._command.job import StreamName

_T = TypeVar("_T")

_PIECE = 1 << 18
_COMPRESSED_PIECE = 1 << 24
"""More: it is read from its beginning for each."""
_MOST_ZEROS = 18
"""Before the number of a chunk in the name of its log."""
_PAUSE = 0.1
"""How long a log that is being written is left alone when there is nothing more in it, in seconds."""


class LogName(NamedTuple):
    """Whose log is meant."""

    folder: Path
    chunk_id: int
    attempt: int
    stream: StreamName


class LogReader(AsyncIterator[bytes]):
    """Iterates over a log in pieces, to its end, or as long as it is written; nothing if it does not exist."""

    def __init__(
        self, find: Callable[[], Awaitable[LogName]], is_written: Callable[[LogName], bool], offset: int
    ) -> None:
        """Take what finds out at first which log is meant, whether it is being written, and where to begin."""
        self._find = find
        self._is_written = is_written
        self._offset = offset
        self._log: LogName | None = None
        self._path: Path | None = None

    def __aiter__(self) -> Self:
        return self

    async def find(self) -> LogName:
        """Return which log it is; the first time, it may have to be waited for."""
        if self._log is None:
            self._log = await self._find()
        return self._log

    async def size(self) -> int:
        """Return how many bytes there are now, from the beginning; a compressed log is read for that."""
        return await self.look(lambda file: file.seek(0, os.SEEK_END))

    async def look(self, function: Callable[[IO[bytes]], _T]) -> _T:
        """Return what the function makes of the log, as it is now, in a thread."""
        return await anyio.to_thread.run_sync(partial(self._look, function), await self.find())

    async def __anext__(self) -> bytes:
        log = await self.find()
        while True:
            # What is written until it ends is there afterwards.
            goes_on = self._is_written(log)
            data = await anyio.to_thread.run_sync(self._read, log)
            if data:
                self._offset += len(data)
                return data
            if not goes_on:
                raise StopAsyncIteration
            await anyio.sleep(_PAUSE)

    def _read(self, log: LogName) -> bytes:
        with self._opened(log) as file:
            file.seek(self._offset)
            is_compressed = self._path is not None and self._path.suffix == ".gz"
            return file.read(_COMPRESSED_PIECE if is_compressed else _PIECE)

    def _look(self, function: Callable[[IO[bytes]], _T], log: LogName) -> _T:
        with self._opened(log) as file:
            return function(file)

    def _opened(self, log: LogName) -> AbstractContextManager[IO[bytes]]:
        # A later run sets it aside, and it may be compressed when it is finished.
        known = () if self._path is None else (self._path,)
        for path in chain(known, _paths_of(log)):
            try:
                file = closing(_open(path))
            except FileNotFoundError:
                continue
            self._path = path
            return file
        return io.BytesIO()


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _paths_of(log: LogName) -> Iterator[Path]:
    """Yield where the log may be: the numbers of chunks have as many zeros before them as their job needs.

    The folder is not listed for that: it may have a hundred thousand of them.
    """
    length = len(str(log.chunk_id))
    names = [
        f"chunk-{log.chunk_id:0{digits}}-attempt-{log.attempt}-{log.stream}.log{ending}"
        for digits in range(length, length + _MOST_ZEROS + 1)
        for ending in ("", ".gz")
    ]
    yield from (log.folder / name for name in names)
    aside = takewhile(Path.is_dir, (log.folder / f"run-{number}" for number in count(1)))
    for folder in reversed(list(aside)):
        yield from (folder / name for name in names)
