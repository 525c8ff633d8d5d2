"""From bytes as they are read to what callbacks receive: the counterpart of the core's consumers."""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from .job import StreamMode

try:
    from .._native import LineSplitter
except ImportError:
    from .._pure_python import LineSplitter  # type: ignore[assignment]

_BLOCK = 16 * 1024
"""How much is split into lines at once, in bytes: they fit the processor's cache, and never are too many to be kept."""


class OutputSplitter:
    """Cuts one stream into pieces of the kind that `mode` says; see `WorkerJob.stream`."""

    def __init__(self, mode: StreamMode) -> None:
        self._mode = mode
        self._lines = LineSplitter()
        self._unfinished = b""
        """The beginning of a character."""

    def feed(self, data: bytes | memoryview) -> Iterator[Any]:
        """Yield the pieces that `data` completes."""
        return chain.from_iterable(self.batches(data))

    def batches(self, data: bytes | memoryview) -> Iterator[Sequence[Any]]:
        """Yield the same, many at a time: lines are many."""
        if self._mode == "bytes":
            yield (memoryview(data),)
        elif self._mode == "text":
            yield self._text(data, is_all=False)
        else:
            for start in range(0, len(data), _BLOCK):
                yield self._lines.feed(data[start : start + _BLOCK])

    def finish(self) -> Sequence[Any]:
        """Return what the end of the stream completes."""
        if self._mode == "text":
            return self._text(b"", is_all=True)
        last = self._lines.finish()
        return () if last is None else (last,)

    def _text(self, data: bytes | memoryview, *, is_all: bool) -> Sequence[str]:
        if self._unfinished:
            data = b"".join((self._unfinished, data))
        text, used = utf_8_decode(data, "replace", is_all)
        self._unfinished = bytes(data[used:])
        return (text,) if text else ()
