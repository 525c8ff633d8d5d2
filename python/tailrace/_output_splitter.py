"""From bytes as they are read to what callbacks receive: the pure-Python counterpart of the core's consumers."""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from ._worker_job import StreamMode

_BLOCK = 32 * 1024
"""How much is split into lines at once, in bytes: they fit the processor's cache, and never are too many to be kept."""


class OutputSplitter:
    """Cuts one stream into pieces of the kind that `mode` says; see `WorkerJob.stream`."""

    def __init__(self, mode: StreamMode) -> None:
        self._mode = mode
        self._partial: list[bytes] = []
        self._after_return = False

    def feed(self, data: bytes | memoryview) -> Iterator[Any]:
        """Yield the pieces that `data` completes."""
        return chain.from_iterable(self.batches(data))

    def batches(self, data: bytes | memoryview) -> Iterator[Sequence[Any]]:
        """Yield the same, many at a time: lines are many."""
        if self._mode == "bytes":
            yield (memoryview(data),)
        elif self._mode == "text":
            yield self._text(data)
        else:
            for start in range(0, len(data), _BLOCK):
                yield self._lines(bytes(data[start : start + _BLOCK]))

    def finish(self) -> Sequence[Any]:
        """Return what the end of the stream completes."""
        rest = self._take_partial(b"")
        return (_decode(rest),) if rest else ()

    def _text(self, data: bytes | memoryview) -> Sequence[str]:
        if self._partial:
            data = self._take_partial(data)
        text, used = utf_8_decode(data, "replace", False)
        if used < len(data):
            self._partial.append(bytes(data[used:]))
        return (text,) if text else ()

    def _lines(self, data: bytes) -> Sequence[str]:
        if self._after_return:
            self._after_return = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        complete, end, rest = data.rpartition(b"\n")
        # Nothing that is decoded spans the end of a line, so that it makes no difference to decode them together.
        lines = _decode(self._take_partial(complete)).split("\n") if end else ()
        if rest:
            self._partial.append(rest)
        return lines

    def _take_partial(self, end: bytes | memoryview) -> bytes:
        """Return what nothing had completed, followed by `end`."""
        whole = b"".join([*self._partial, end])
        self._partial.clear()
        return whole


def _decode(data: bytes) -> str:
    return data.decode(errors="replace")
