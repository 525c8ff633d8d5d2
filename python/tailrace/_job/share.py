"""What a job has of slots that others use too, and what became of it before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

from .._scheduling.packer import Lane
from .._spec.model import Chunk
from .slots import Slots


def _nobody_listens(_: int) -> None:
    pass


def _as_listed(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    return chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Without one, a job has slots of its own, and begins at its beginning."""

    slots: Slots
    lane: Lane
    attempts: Mapping[int, int] = field(default_factory=dict)
    """How many attempts at each chunk there were."""
    uncounted: Mapping[int, int] = field(default_factory=dict)
    """How many of them take no retry of it."""
    on_lost: Callable[[int], object] = _nobody_listens
    """Told of each chunk whose attempt comes to nothing for no fault of its own."""
    in_order: Callable[[Sequence[Chunk]], Sequence[Chunk]] = _as_listed
    """Returns the chunks in the order in which they are to begin."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables for all commands, the merge too."""
    merging: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
    """Makes the block in which the merge runs; entering it may wait for its turn."""
