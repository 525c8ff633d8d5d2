"""From bytes as they are read to what callbacks receive: the pure-Python counterpart of the core's consumers."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

from ._worker_job import StreamMode

_LINE_END = re.compile(b"[\r\n]")


class OutputSplitter:
    """Cuts one stream into pieces of the kind that `mode` says; see `WorkerJob.stream`."""

    def __init__(self, mode: StreamMode) -> None:
        self._mode = mode
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial: list[bytes] = []
        self._after_return = False

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the pieces that `data` completes."""
        if self._mode == "bytes":
            yield memoryview(data)
        elif self._mode == "text":
            text = self._decoder.decode(data)
            if text:
                yield text
        else:
            yield from self._lines(data)

    def finish(self) -> Iterator[Any]:
        """Yield what the end of the stream completes."""
        rest = self._decoder.decode(b"", final=True) if self._mode == "text" else self._take_partial(b"")
        if rest:
            yield rest

    def _lines(self, data: bytes) -> Iterator[str]:
        start = 0
        if self._after_return and data:
            self._after_return = False
            start = data.startswith(b"\n")
        for end in _LINE_END.finditer(data, start):
            at = end.start()
            if at < start:
                # The second half of a "\r\n".
                continue
            yield self._take_partial(data[start:at])
            start = at + 1
            if data[at] == ord(b"\r"):
                if start == len(data):
                    self._after_return = True
                elif data[start] == ord(b"\n"):
                    start += 1
        if start < len(data):
            self._partial.append(data[start:])

    def _take_partial(self, end: bytes) -> str:
        line = b"".join([*self._partial, end])
        self._partial.clear()
        return line.decode(errors="replace")
