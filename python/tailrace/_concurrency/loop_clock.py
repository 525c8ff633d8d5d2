"""How long nothing has happened, in the eyes of an event loop that may have stood still itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

_STEP = 0.1
"""The least time until the next look at the time, in seconds."""
_CATCHING_UP = 0.2
"""How long what waited for the event loop may take to come through when that goes on, in seconds."""


class LoopClock:
    """Tells the time, but for that in which the event loop stood still: a callback of somebody's held it up.

    What has come meanwhile is known only when the loop goes on. Who waited for that might take it for missing.
    """

    def __init__(self) -> None:
        self._lost = 0.0

    def now(self) -> float:
        """Return the time, in seconds."""
        return anyio.current_time() - self._lost

    async def wait(self, happens: Callable[[], Awaitable[object]], seconds: float) -> None:
        """Await what `happens` returns for so long, or less: look at the time then, and wait again.

        A loop that stands still is noticed while somebody waits here.
        """
        # Often enough to miss no more than an eighth, and seldom where there is much time.
        due = anyio.current_time() + min(seconds, max(seconds / 8, _STEP))
        with anyio.CancelScope(deadline=due):
            await happens()
        late = anyio.current_time() - due
        if late > 0:
            self._lost += late if late < _CATCHING_UP else late + _CATCHING_UP
