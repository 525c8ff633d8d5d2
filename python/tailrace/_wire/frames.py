"""The frames in which a remote worker streams a command's output; docs/worker-protocol.md describes them.

Each has a header of 13 bytes, in network byte order: its kind (1 byte), its sequence number (8 bytes), which counts the
frames of a response from 0, and the length of its payload (4 bytes), which follows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

MEDIA_TYPE = "application/vnd.tailrace.frames"
LARGEST_PAYLOAD = 1 << 20
"""In bytes. The result has no output in it, and longer output goes in several frames."""

_HEADER = struct.Struct(">BQI")


class FrameKind(IntEnum):
    """What a frame's payload is."""

    STDOUT = 1
    """Bytes that the command wrote to its standard output."""
    STDERR = 2
    """The same for standard error."""
    HEARTBEAT = 3
    """Means nothing: it shows that the worker is still there, and may be of any length to push through buffers."""
    RESULT = 4
    """JSON that says how the command ended; nothing follows."""


class Frame(NamedTuple):
    """One frame, without its number."""

    kind: FrameKind
    payload: bytes


class FrameError(ValueError):
    """What was received is no stream of frames, or one of them is missing."""


class FrameWriter:
    """Numbers frames and turns them into bytes."""

    def __init__(self) -> None:
        self._sequence = 0

    def write(self, kind: FrameKind, payload: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield the bytes of as many frames as `payload` takes, headers and payloads in turn."""
        rest = memoryview(payload)
        while True:
            part, rest = rest[:LARGEST_PAYLOAD], rest[LARGEST_PAYLOAD:]
            yield _HEADER.pack(kind, self._sequence, len(part))
            self._sequence += 1
            if part:
                yield part
            if not rest:
                return


class FrameReader:
    """Finds the frames in bytes that come in pieces."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._payload = bytearray()
        self._kind: FrameKind | None = None
        self._missing = 0
        self._expected = 0
        self._is_ended = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield what `data` completes; output as it comes, so that a frame of it may come out as several.

        Raises `FrameError` for an unknown kind, a number out of order, a payload longer than is allowed, and for
        anything after the result.
        """
        place = 0
        while place < len(data):
            if self._kind is None:
                place += self._read_header(data[place : place + _HEADER.size - len(self._header)])
                if self._kind is None:
                    return
            # All of `data` is not copied: with much output that is what most reads bring.
            part = data[place : place + self._missing]
            place += len(part)
            self._missing -= len(part)
            kind, is_complete = self._kind, self._missing == 0
            if is_complete:
                self._kind = None
                self._is_ended = kind is FrameKind.RESULT
            if kind in (FrameKind.STDOUT, FrameKind.STDERR):
                if part:
                    yield Frame(kind, part)
            else:
                self._payload += part
                if is_complete:
                    payload = bytes(self._payload)
                    self._payload.clear()
                    yield Frame(kind, payload)

    def finish(self) -> None:
        """Raise `FrameError` if the stream ended before the result, or within a frame."""
        if self._kind is not None or self._header:
            raise FrameError(f"the stream ended within frame {self._expected - (self._kind is not None)}")
        if not self._is_ended:
            raise FrameError(f"the stream ended after {self._expected} frames, without the result")

    def _read_header(self, data: bytes) -> int:
        """Take what is missing of a header, or what there is of it; return its length."""
        self._header += data
        if len(self._header) == _HEADER.size:
            kind, sequence, length = _HEADER.unpack(self._header)
            self._check(kind, sequence, length)
            self._header.clear()
            self._kind = FrameKind(kind)
            self._missing = length
            self._expected += 1
        return len(data)

    def _check(self, kind: int, sequence: int, length: int) -> None:
        if self._is_ended:
            raise FrameError("something follows the result")
        if kind not in set(FrameKind):
            raise FrameError(f"frame {self._expected} is of an unknown kind, {kind}")
        if sequence != self._expected:
            raise FrameError(f"frame {self._expected} was expected, and {sequence} came")
        if length > LARGEST_PAYLOAD:
            raise FrameError(f"frame {sequence} says it has {length} bytes, more than {LARGEST_PAYLOAD}")
