"""The way back from a thread to an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

from .per_loop import is_on_asyncio

CallSoon: TypeAlias = Callable[[Callable[[], object]], None]
"""Has a function called soon by an event loop; nothing happens if that is gone. Any thread may call it."""


def calls_into_this_loop() -> CallSoon:
    """Return what calls into the running event loop. Call it in a task."""
    hand_over: Callable[[Callable[[], object]], Any]
    if is_on_asyncio():
        hand_over = asyncio.get_running_loop().call_soon_threadsafe
    else:
        import trio

        hand_over = trio.lowlevel.current_trio_token().run_sync_soon

    def call_soon(function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):
            hand_over(function)

    return call_soon
