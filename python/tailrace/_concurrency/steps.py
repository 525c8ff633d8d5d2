"""Steps that may have to be awaited, and how long those that need not be may keep the event loop."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator

import anyio.lowlevel

Steps = Iterator[Awaitable[None] | None]
"""Each is done when it comes out, or when what comes out has been awaited."""


def run_steps(steps: Steps) -> Awaitable[None] | None:
    """Take the steps; return None if that was all, else what is to be awaited for the rest of them."""
    for pending in steps:
        if pending is not None:
            return _finish(pending, steps)
    return None


async def _finish(pending: Awaitable[None], steps: Steps) -> None:
    await pending
    for following in steps:
        if following is not None:
            await following


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
