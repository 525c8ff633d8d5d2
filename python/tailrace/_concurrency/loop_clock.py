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
    The clock never runs backwards. It goes on by a part of each wait also where the loop is held up all the time: the
    silence of a limit is noticed after so long and some 8 * (1 + log(limit)) times that for which the loop is held up.
    """

    def __init__(self) -> None:
        self._lost = 0.0
        self._stood_still = False

    def now(self) -> float:
        """Return the time, in seconds."""
        return anyio.current_time() - self._lost

    async def wait(self, happens: Callable[[], Awaitable[object]], seconds: float) -> None:
        """Await what `happens` returns for so long, or less: look at the time then, and wait again.

        A loop that stands still is noticed while somebody waits here.
        """
        # Often enough to miss no more than an eighth, and seldom where there is much time.
        step = min(seconds, max(seconds / 8, _STEP))
        due = anyio.current_time() + step
        with anyio.CancelScope(deadline=due):
            await happens()
        late = anyio.current_time() - due
        stands_still = late >= _CATCHING_UP
        self._lost += max(late, 0)
        if stands_still and not self._stood_still:
            # Once only: where the loop is late each time, a clock whose steps are short would never go on.
            self._lost += min(step, _CATCHING_UP)
        self._stood_still = stands_still
