"""What the log of a job's events says of its frames, read once, and on from there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from .._events.from_json import event_from_json
from .._events.types import FrameFinished, FrameFlagged

_EVENTS = "job.ndjson"
_RUN = re.compile(r"run-(\d+)", re.ASCII)
_MARK = b'"event":"frame_f'
"""Nothing else has to be read of the many lines of other kinds."""
_MARKED = 64
_LONGEST_LINE = 64 << 20
"""In bytes. What is longer is damaged."""


class FrameLog:
    """The logs of all runs of a job."""

    def __init__(self, folder: Path) -> None:
        """Take the folder with the log of the last run; those of earlier ones are in folders in it."""
        self._folder = folder
        self._places: dict[int, int] = {}
        """How far each file was read, by its inode: a log that is set aside for a new run is still the same file."""

    def read_on(self) -> Iterator[FrameFinished | FrameFlagged]:
        """Yield what is new; blocks. What is damaged is left out, and what cannot be read may be so the next time."""
        for path in self._paths():
            try:
                yield from self._read_on(path)
            except OSError:
                continue

    def _paths(self) -> list[Path]:
        try:
            found = [
                (int(match[1]), entry) for entry in self._folder.iterdir() if (match := _RUN.fullmatch(entry.name))
            ]
        except OSError:
            return []
        return [*(entry / _EVENTS for _, entry in sorted(found)), self._folder / _EVENTS]

    def _read_on(self, path: Path) -> Iterator[FrameFinished | FrameFlagged]:
        with path.open("rb") as log:
            status = os.fstat(log.fileno())
            place = self._places.get(status.st_ino, 0)
            if place > status.st_size:
                place = 0
            log.seek(place)
            while line := log.readline(_LONGEST_LINE):
                if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                    # It is being written.
                    break
                place = self._places[status.st_ino] = place + len(line)
                if _MARK in line[:_MARKED] and (event := _event(line)) is not None:
                    yield event


def _event(line: bytes) -> FrameFinished | FrameFlagged | None:
    try:
        event = event_from_json(line)
    except ValueError:
        return None
    return event if isinstance(event, FrameFinished | FrameFlagged) else None
