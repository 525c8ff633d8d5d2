"""How long a task that waits for nothing may keep the event loop."""

from __future__ import annotations

import time

import anyio.lowlevel

_LENGTH = 0.005
"""In seconds."""


class TimeSlice:
    """What a task has of the event loop until it lets the others go on."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin anew: the task has just waited for something."""
        self._began = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether it is time to `give_way`."""
        return time.monotonic() - self._began > _LENGTH

    async def give_way(self) -> None:
        """Let the others go on, and begin anew."""
        await anyio.lowlevel.checkpoint()
        self.begin()
