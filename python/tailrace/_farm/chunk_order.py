"""In which order the chunks of a job begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from .._spec.model import Chunk
from .settings import ChunkOrder


def in_order(chunks: Sequence[Chunk], order: ChunkOrder) -> Sequence[Chunk]:
    """Return the chunks in the order in which they are to begin."""
    match order:
        case "listed":
            return chunks
        case "reverse":
            return chunks[::-1]
        case "ends_first":
            return chunks if len(chunks) < 3 else [chunks[0], chunks[-1], *chunks[1:-1]]
        case "middle_first":
            return [chunks[place] for place in _halving(len(chunks))]
        case _:
            assert_never(order)


def _halving(count: int) -> Sequence[int]:
    """Return the places from 0 on, the middle first, then the middles of what lies on both sides, and so on."""
    places, spans = [], [(0, count)]
    for begin, end in spans:
        if begin < end:
            middle = (begin + end) // 2
            places.append(middle)
            # Gone through in the order in which they are added: the larger parts come before the smaller ones.
            spans += [(begin, middle), (middle + 1, end)]
    return places
