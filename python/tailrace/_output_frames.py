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
        self._pending = bytearray()
        self._expected = 0
        self._is_ended = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes.

        Raises `FrameError` for an unknown kind, a number out of order, a payload longer than is allowed, and for
        anything after the result.
        """
        self._pending += data
        place = 0
        try:
            while len(self._pending) - place >= _HEADER.size:
                kind, sequence, length = _HEADER.unpack_from(self._pending, place)
                self._check(kind, sequence, length)
                begin = place + _HEADER.size
                if len(self._pending) < begin + length:
                    break
                place = begin + length
                self._expected += 1
                self._is_ended = kind == FrameKind.RESULT
                yield Frame(FrameKind(kind), bytes(memoryview(self._pending)[begin:place]))
        finally:
            del self._pending[:place]

    def finish(self) -> None:
        """Raise `FrameError` if the stream ended before the result, or within a frame."""
        if self._pending:
            raise FrameError(f"the stream ended within frame {self._expected}")
        if not self._is_ended:
            raise FrameError(f"the stream ended after {self._expected} frames, without the result")

    def _check(self, kind: int, sequence: int, length: int) -> None:
        if self._is_ended:
            raise FrameError("something follows the result")
        if kind not in set(FrameKind):
            raise FrameError(f"frame {self._expected} is of an unknown kind, {kind}")
        if sequence != self._expected:
            raise FrameError(f"frame {self._expected} was expected, and {sequence} came")
        if length > LARGEST_PAYLOAD:
            raise FrameError(f"frame {sequence} says it has {length} bytes, more than {LARGEST_PAYLOAD}")
