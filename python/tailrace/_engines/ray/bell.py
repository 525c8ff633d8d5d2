"""What wakes a task from another thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import anyio

from ..._concurrency.per_loop import is_on_asyncio


class Bell:
    """Belongs to the task that makes it; others ring it."""

    def __init__(self, also_call: Callable[[], object]) -> None:
        """Take what the event loop calls at each ring, outside of any task."""
        self._also_call = also_call
        self._rung = anyio.Event()
        self._soon: Callable[..., Any]
        if is_on_asyncio():
            self._soon = asyncio.get_running_loop().call_soon_threadsafe
        else:
            import trio

            self._soon = trio.lowlevel.current_trio_token().run_sync_soon

    def ring(self) -> None:
        """Have `wait` return. Any thread may call it."""
        # The event loop may be gone.
        with contextlib.suppress(RuntimeError):
            self._soon(self._ring)

    async def wait(self) -> None:
        """Return when it was rung since the last time that this returned."""
        await self._rung.wait()
        self._rung = anyio.Event()

    def _ring(self) -> None:
        self._rung.set()
        self._also_call()
