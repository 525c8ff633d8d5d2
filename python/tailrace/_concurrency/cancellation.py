"""Cancellation: told from other ends, and held off until what has to be done is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import anyio
import anyio.to_thread


async def run_shielded(function: Callable[[], object]) -> None:
    """Call a function that blocks in a thread, and return when it is done; it must allow to be called again.

    Neither a cancelled scope nor `Task.cancel`, which reaches through a shield even before the thread has begun, keeps
    it from being done; the cancellation comes out then.
    """
    try:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(function)
    finally:
        function()


def is_being_cancelled() -> bool:
    """Return whether the running task is, when a cancellation came out of what it did."""
    if anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return True
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0 or anyio.current_effective_deadline() == -math.inf


def as_error(raised: BaseException) -> BaseException:
    """Return what is to come out for what was raised: an error for a cancellation that is not one of the running task.

    As it is, it would end a task of a group as if all were well.
    """
    if not isinstance(raised, anyio.get_cancelled_exc_class()) or is_being_cancelled():
        return raised
    error = RuntimeError("something was awaited that had been cancelled")
    error.__cause__ = raised
    return error
