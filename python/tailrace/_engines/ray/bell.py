"""What wakes a task from another thread."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from ..._concurrency.calls_from_threads import calls_into_this_loop


class Bell:
    """Belongs to the task that makes it; others ring it."""

    def __init__(self, also_call: Callable[[], object]) -> None:
        """Take what the event loop calls at each ring, outside of any task."""
        self._also_call = also_call
        self._rung = anyio.Event()
        self._soon = calls_into_this_loop()

    def ring(self) -> None:
        """Have `wait` return. Any thread may call it."""
        self._soon(self._ring)

    async def wait(self) -> None:
        """Return when it was rung since the last time that this returned."""
        await self._rung.wait()
        self._rung = anyio.Event()

    def _ring(self) -> None:
        self._rung.set()
        self._also_call()
