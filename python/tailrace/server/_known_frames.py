"""The frames of a job that are known, in the order in which something became known of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from .._events.types import FrameFinished, FrameFlagged
from ._frame_files import FrameFiles

FrameState: TypeAlias = Literal["finished", "odd", "damaged"]

_MOST = 100_000
"""So many are kept, the latest: each takes some 300 bytes."""
_MOST_REASONS = 8
_LONGEST_REASON = 1000
"""In characters: it may hold a path, which is anybody's."""


class KnownFrame(NamedTuple):
    """A frame, and what is known of it."""

    chunk_id: int
    frame: int
    place: int
    """Which of its files it is seen by."""
    state: FrameState
    reasons: tuple[str, ...]
    """Why it is odd or damaged."""
    attempt: tuple[str, int] | None
    """The run and the attempt that tell of it; None where only its chunk is known to be completed."""
    version: int
    """Rises with each change of any frame."""


class KnownFrames:
    """Takes what events say, and which chunks are completed: not all that is rendered is told of."""

    def __init__(self, files: FrameFiles) -> None:
        """Take which frames there can be; others that events speak of are none."""
        self._files = files
        self._version = 0
        self._frames: dict[tuple[int, int], KnownFrame] = {}
        """By their chunk and their number; what has changed last comes last."""

    def find(self, chunk_id: int, frame: int) -> KnownFrame | None:
        """Return what is known of a frame."""
        return self._frames.get((chunk_id, frame))

    def since(self, version: int, limit: int) -> list[KnownFrame]:
        """Return those that have changed since that version, in that order, but no more than `limit`."""
        return list(islice(self._since(version), limit))

    def _since(self, version: int) -> Iterator[KnownFrame]:
        changed = 0
        for known in reversed(self._frames.values()):
            if known.version <= version:
                break
            changed += 1
        return islice(self._frames.values(), len(self._frames) - changed, None)

    def apply(self, event: FrameFinished | FrameFlagged) -> None:
        """Take an event."""
        if not self._files.names(event.chunk_id, event.frame):
            return
        attempt = event.run_id, event.attempt
        known = self.find(event.chunk_id, event.frame)
        # It may be known to be odd before it is known to be whole.
        before = known.reasons if known is not None and known.state == "odd" and known.attempt == attempt else ()
        state: FrameState
        if isinstance(event, FrameFinished):
            state, reasons = "odd" if before else "finished", before
        elif event.fatal:
            state, reasons = "damaged", (event.reason[:_LONGEST_REASON],)
        else:
            state, reasons = "odd", tuple(dict.fromkeys((*before, event.reason[:_LONGEST_REASON])))[:_MOST_REASONS]
        place = self._files.place_of(event.chunk_id, event.frame, event.path)
        self._keep(KnownFrame(event.chunk_id, event.frame, place, state, reasons, attempt, 0))

    def complete(self, chunk_ids: Iterable[int]) -> None:
        """Take that chunks are completed, of which no event may tell."""
        for chunk_id in chunk_ids:
            for frame in self._files.frames_of(chunk_id):
                known = self.find(chunk_id, frame)
                if known is None or known.attempt is None:
                    self._keep(KnownFrame(chunk_id, frame, 0, "finished", (), None, 0))

    def _keep(self, frame: KnownFrame) -> None:
        key = frame.chunk_id, frame.frame
        self._frames.pop(key, None)
        self._version += 1
        self._frames[key] = frame._replace(version=self._version)
        if len(self._frames) > _MOST:
            del self._frames[next(iter(self._frames))]
