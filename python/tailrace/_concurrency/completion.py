"""What has to be done whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread


async def to_the_end(function: Callable[[], object]) -> None:
    """Call a function that blocks in a thread, and return when it is done; it must allow to be called again.

    Neither a cancelled scope nor `Task.cancel`, which reaches through a shield even before the thread has begun, keeps
    it from being done; the cancellation comes out then.
    """
    try:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(function)
    finally:
        function()
