"""Calls that block, in a thread: for what is short itself, since anyio takes longer for the way there and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from ._disk_threads import DiskThreads

_T = TypeVar("_T")


async def in_thread(threads: DiskThreads, function: Callable[[], _T]) -> _T:
    """Return what `function` returns in one of `threads`; a cancellation leaves it to itself.

    Where there can be no thread it is called here.
    """
    returned: list[_T] = []
    raised: list[BaseException] = []
    told, tell = _bell()

    def work() -> None:
        try:
            returned.append(function())
        except BaseException as error:  # noqa: BLE001
            raised.append(error)
        # The event loop may be gone.
        with contextlib.suppress(RuntimeError):
            tell()

    try:
        threads.do(work)
    except RuntimeError:
        work()
    await told
    if raised:
        raise raised.pop()
    return returned[0]


def _bell() -> tuple[Awaitable[object], Callable[[], object]]:
    """Return what waits on the event loop, and what any thread may call to end that."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        loop = asyncio.get_running_loop()
        rung: asyncio.Future[None] = loop.create_future()
        return rung, lambda: loop.call_soon_threadsafe(lambda: None if rung.done() else rung.set_result(None))
    import trio

    token, event = trio.lowlevel.current_trio_token(), trio.Event()
    return event.wait(), lambda: token.run_sync_soon(event.set)
