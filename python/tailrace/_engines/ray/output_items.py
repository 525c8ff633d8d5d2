"""What both streams wrote, in the order in which it came, in one item for Ray.

What costs is the item and hardly its bytes: 4 MiB take little longer than 1. Large pieces go as buffers, which Ray
copies into its store from where they are, and which are read there at the other end; small ones as one `bytes`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pickle import PickleBuffer
from typing import Any, TypeAlias

Item: TypeAlias = bytes | list[Any]

_LARGE = 32 * 1024
"""How long pieces have to be, on the average, to go as buffers, of which each takes some microseconds."""

_COUNT = struct.Struct("<I")


def pack(pieces: Sequence[tuple[int, bytes | memoryview]]) -> Item:
    """Return an item: the output of `pieces`, each of which comes from stream 0 or 1."""
    size = sum(len(piece) for _, piece in pieces)
    if size >= len(pieces) * _LARGE:
        return [size, *((stream, PickleBuffer(piece)) for stream, piece in pieces)]
    runs: list[int] = []
    for stream, piece in pieces:
        if runs and runs[-1] & 1 == stream:
            runs[-1] += len(piece) << 1
        else:
            runs.append(len(piece) << 1 | stream)
    # How it is cut stands at its end.
    return b"".join([*(piece for _, piece in pieces), struct.pack(f"<{len(runs) + 1}I", *runs, len(runs))])


def size_of(item: Item) -> int:
    """Return about how many bytes of output are in an item."""
    return len(item) if isinstance(item, bytes) else int(item[0])


def unpack(item: Item) -> Iterator[tuple[int, memoryview]]:
    """Yield the streams and the output in an item, which is not copied: what is kept of it keeps all of it."""
    if not isinstance(item, bytes):
        for stream, buffer in item[1:]:
            yield stream, memoryview(buffer).toreadonly()
        return
    end = len(item) - _COUNT.size
    (count,) = _COUNT.unpack_from(item, end)
    runs = struct.unpack_from(f"<{count}I", item, end - count * _COUNT.size)
    view, start = memoryview(item), 0
    for run in runs:
        length = run >> 1
        yield run & 1, view[start : start + length]
        start += length
