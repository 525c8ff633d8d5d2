"""Tells in time that the disk will be full before the job is done."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from .._command.callbacks import await_if_needed
from .._concurrency.slices import Work, in_slices
from .._events.head import ChunkHead, EmitChunkEvent
from .._events.types import ChunkWarning
from .._output.space_forecast import SpaceForecast

_INTERVAL = 5.0
"""How often it is looked, in seconds."""


class SpaceWatch:
    """Adds up what the frames take, and warns once of each disk that those left will not fit on."""

    def __init__(self, frames: int, *, interval: float = _INTERVAL) -> None:
        """Take how many frames are to be rendered."""
        self._forecast = SpaceForecast(interval=interval)
        self._interval = interval
        self._left = frames
        self._next_look = time.monotonic() + interval
        self._emit: EmitChunkEvent | None = None

    def add(self, emit: EmitChunkEvent, path: Path, size: int, frames: int) -> None:
        """Take a file that is whole, and how many frames are finished with it; `emit` tells a warning."""
        self._emit = emit
        self._left -= frames
        self._forecast.add(path, size, frames=frames)

    def is_due(self, now: float) -> bool:
        """Return whether it is time for a look; `now` is by `time.monotonic`. Then another is not, for a while."""
        if self._emit is None or now < self._next_look:
            return False
        self._next_look = now + self._interval
        return True

    async def look(self) -> None:
        """Look at the disks, and warn if that is due. Raises what a callback raises."""
        message = await in_slices(self._ask())
        if message is not None and self._emit is not None:
            await await_if_needed(self._emit(partial(_to_warning, message)))

    def _ask(self) -> Work[str | None]:
        yield
        return self._forecast.warning(self._left)


def _to_warning(message: str, head: ChunkHead) -> ChunkWarning:
    return ChunkWarning(**head, message=message)
