"""How the files of some formats are made up: what can be missing of them though all pixels are there."""

from __future__ import annotations

import os
import struct
import zlib

from ..kinds import HEAD

_PNG_HEAD = 8
_PNG_DATA = b"IDAT"
_PIECE = 1 << 20
_TARGA_FOOTER = b"TRUEVISION-XFILE.\0"
_MOST_DIRECTORIES = 100_000


def head_of(descriptor: int) -> bytes:
    """Return the first bytes of a file."""
    return os.pread(descriptor, HEAD, 0)


def has_targa_footer(descriptor: int) -> bool:
    """Return whether the file ends as a TGA of version 2 does."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, len(_TARGA_FOOTER), max(size - len(_TARGA_FOOTER), 0)) == _TARGA_FOOTER


def png_fault(descriptor: int) -> str | None:
    """Return why the chunks of a PNG do not lead to its end; those of the pixels are not summed up."""
    place = _PNG_HEAD
    while True:
        head = os.pread(descriptor, 8, place)
        if len(head) < 8:
            return "is cut short: its end mark (IEND) is missing"
        length, name = struct.unpack(">I4s", head)
        told = os.pread(descriptor, 4, place + 8 + length)
        if len(told) < 4:
            return f"is cut short in its chunk {name.decode('latin-1')}"
        if name != _PNG_DATA and _png_sum(descriptor, place + 4, 4 + length) != int.from_bytes(told):
            return f"is damaged: the checksum of its chunk {name.decode('latin-1')} is wrong"
        if name == b"IEND":
            return None
        place += 12 + length


def _png_sum(descriptor: int, place: int, length: int) -> int:
    total = 0
    for start in range(place, place + length, _PIECE):
        total = zlib.crc32(os.pread(descriptor, min(_PIECE, place + length - start), start), total)
    return total


def tiff_images(descriptor: int) -> int:
    """Return how many images a TIFF has, as far as its directories can be followed; 1 for what is none."""
    return max(_follow(descriptor)[0], 1)


def tiff_fault(descriptor: int) -> str | None:
    """Return why the directories of a TIFF cannot be followed to the last one."""
    return _follow(descriptor)[1]


def _follow(descriptor: int) -> tuple[int, str | None]:
    head = head_of(descriptor)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return 0, None
    is_big = struct.unpack(order + "H", head[2:4])[0] == 43
    # Their count, the size of an entry, and where the next one is.
    count_form, entry, next_form = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    place = struct.unpack(order + next_form, head[8:16] if is_big else head[4:8])[0]
    seen: set[int] = set()
    while place:
        if place in seen or len(seen) > _MOST_DIRECTORIES:
            return len(seen), "is damaged: its list of images leads back into itself"
        seen.add(place)
        size = struct.calcsize(count_form)
        counted = os.pread(descriptor, size, place)
        if len(counted) < size:
            return len(seen), f"is cut short: the directory of its image {len(seen)} is missing"
        after = place + size + struct.unpack(order + count_form, counted)[0] * entry
        size = struct.calcsize(next_form)
        following = os.pread(descriptor, size, after) if after < 1 << 62 else b""
        if len(following) < size:
            return len(seen), f"is cut short: the directory of its image {len(seen)} is missing"
        place = struct.unpack(order + next_form, following)[0]
        if place >= 1 << 62:
            return len(seen) + 1, f"is cut short: the directory of its image {len(seen) + 1} is missing"
    return len(seen), None
