"""The forms in which output is streamed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

from .._events.json import describe_bytes
from .._wire.frames import MEDIA_TYPE, FrameKind, FrameWriter
from ._output_log import Piece

_PADDING = bytes(16 * 2**10)
"""Goes with each heartbeat: proxies that buffer mostly pass on what they have when there is that much of it."""
_NAMES = {FrameKind.STDOUT: "stdout", FrameKind.STDERR: "stderr"}


class StreamFormat(Protocol):
    """Turns what happens into the bytes of one response."""

    media_type: str

    def output(self, pieces: Sequence[Piece]) -> bytes:
        """Return the bytes for pieces of output."""
        ...

    def heartbeat(self) -> bytes:
        """Return the bytes that show that the worker is there."""
        ...

    def result(self, outcome: dict[str, object]) -> bytes:
        """Return the bytes that end the response."""
        ...


class FrameFormat:
    """Frames, for programs."""

    media_type = MEDIA_TYPE

    def __init__(self) -> None:
        self._writer = FrameWriter()

    def output(self, pieces: Sequence[Piece]) -> bytes:
        """Return the bytes for pieces of output; those of one stream that follow each other share a frame."""
        return b"".join(
            part
            for kind, group in groupby(pieces, lambda piece: piece.kind)
            for part in self._writer.write(kind, _join([piece.data for piece in group]))
        )

    def heartbeat(self) -> bytes:
        """Return the bytes that show that the worker is there."""
        return b"".join(self._writer.write(FrameKind.HEARTBEAT, _PADDING))

    def result(self, outcome: dict[str, object]) -> bytes:
        """Return the bytes that end the response."""
        return b"".join(self._writer.write(FrameKind.RESULT, json.dumps(outcome).encode()))


class LineFormat:
    """One JSON object a line, for people."""

    media_type = "application/x-ndjson"

    def output(self, pieces: Sequence[Piece]) -> bytes:
        """Return the bytes for pieces of output."""
        return b"".join(_line({"stream": _NAMES[kind], **describe_bytes("data", data)}) for kind, data in pieces)

    def heartbeat(self) -> bytes:
        """Return the bytes that show that the worker is there."""
        return _line({"heartbeat": True})

    def result(self, outcome: dict[str, object]) -> bytes:
        """Return the bytes that end the response."""
        return _line({"result": outcome})


def _join(parts: Sequence[bytes | memoryview]) -> bytes | memoryview:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
