"""Looks for text in a log."""

from __future__ import annotations

from typing import IO, NamedTuple

_SLICE = 1 << 18
"""Small: it keeps the interpreter busy meanwhile."""
_MOST_BYTES = 1 << 25
_MOST_PLACES = 10_000
_LONGEST_CHARACTER = 4
"""Bytes of UTF-8."""


class LogPlaces(NamedTuple):
    """Where text is, in bytes, as far as was looked."""

    places: list[int]
    next: int
    """From where to go on."""
    is_end: bool
    """Whether there is nothing behind that now."""


def find_text(file: IO[bytes], text: str, offset: int) -> LogPlaces:
    """Return where the text is from `offset` on, whether its letters are large or small.

    It looks through 32 MiB at most, for ten thousand places at most; what an escape sequence stands in is not found.
    Blocks as long as the log takes to be read.
    """
    wanted = _lower(text)
    # A large letter may have more bytes than the small one.
    overlap = _LONGEST_CHARACTER * len(wanted) - 1
    places: list[int] = []
    start, data = offset, b""
    file.seek(offset)
    while True:
        more = file.read(_SLICE)
        data += more
        # What is no UTF-8 keeps its places.
        line = data.decode(errors="surrogateescape")
        lower = _lower(line)
        end = seen = seen_bytes = 0
        while (index := lower.find(wanted, end)) >= 0 and len(places) < _MOST_PLACES:
            seen_bytes += _length(line[seen:index])
            seen, end = index, index + len(wanted)
            places.append(start + seen_bytes)
        done = seen_bytes + _length(line[seen:end])
        is_full = len(places) == _MOST_PLACES
        if not is_full:
            # What begins there may go on in what comes next.
            done = max(done, len(data) - overlap)
        start, data = start + done, data[done:]
        if is_full or not more or start - offset >= _MOST_BYTES:
            return LogPlaces(places, start, is_end=not (is_full or more))


def _lower(text: str) -> str:
    """Return it with as many letters: this one alone would become two."""
    return text.replace("\u0130", "i").lower()


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))
