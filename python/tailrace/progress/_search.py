"""The search for lines that are worth a look, in output of which most means nothing."""

from __future__ import annotations

import functools
from typing import Protocol

from ._plan import rarity

try:
    from .._native import Needles, line_ends
except ImportError as _error:
    if getattr(_error, "name", None) != "tailrace._native":
        raise
    Needles = None  # type: ignore[assignment, misc]

    def line_ends(data: bytes | memoryview) -> tuple[int, int] | None:
        """Return the places of the first and the last line end, or None."""
        data = bytes(data)
        places = [at for at in (data.find(b"\n"), data.find(b"\r")) if at >= 0]
        return (min(places), max(data.rfind(b"\n"), data.rfind(b"\r"))) if places else None


__all__ = ["EveryLine", "Search", "line_ends", "search_for"]

_PART = 4
"""So many bytes of a text decide how often the core has to look closer."""


class Search(Protocol):
    """Looks for lines that hold one of several texts."""

    def find_line(self, data: bytes | memoryview, start: int, end: int, /) -> int:
        """Return the start of the first line of `data[start:end]` that may hold one of them, or -1."""


@functools.lru_cache(maxsize=64)
def search_for(texts: tuple[bytes, ...]) -> Search:
    """Return a search for lines that hold one of `texts`."""
    if Needles is not None:
        try:
            return Needles([(text, _rarest_part_of(text)) for text in texts])
        except ValueError:
            # Not on this processor, or not for so many.
            pass
    return EveryLine()


class EveryLine:
    """Leaves nothing out."""

    def find_line(self, _: bytes | memoryview, start: int, end: int, /) -> int:
        """Return the start, unless nothing follows."""
        return start if start < end else -1


def _rarest_part_of(text: bytes) -> int:
    """Return where the bytes begin that are the least likely in ordinary output."""
    places = range(max(1, len(text) - _PART + 1))
    return max(places, key=lambda at: sum(map(rarity, text[at : at + _PART])))
