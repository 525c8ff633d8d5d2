"""Calls that block, in a thread: for what is short itself, since anyio takes longer for the way there and back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from .disk_threads import DiskThreads

_T = TypeVar("_T")

_AT_ONCE = 0.001
"""How long the event loop waits for a disk that has answered sooner so far, in seconds."""


async def in_thread(threads: DiskThreads, function: Callable[[], _T]) -> _T:
    """Return what `function` returns in one of `threads`; a cancellation leaves it to itself.

    Where there can be no thread it is called here. While the disk answers at once, the event loop waits for it: it
    would come back to it later than that, and both would fight over the interpreter meanwhile.
    """
    returned: list[_T] = []
    raised: list[BaseException] = []
    tells: list[Callable[[], object]] = []
    running = threading.Lock()
    running.acquire()

    def work() -> None:
        began = time.monotonic()
        try:
            returned.append(function())
        except BaseException as error:  # noqa: BLE001
            raised.append(error)
        threads.answers_at_once = time.monotonic() - began < _AT_ONCE
        running.release()
        if tells:
            # The event loop may be gone.
            with contextlib.suppress(RuntimeError):
                tells[0]()

    may_wait = threads.answers_at_once
    try:
        threads.do(work)
    except RuntimeError:
        work()
    if not running.acquire(timeout=_AT_ONCE if may_wait else 0):
        threads.answers_at_once = False
        wait, tell = _bell()
        tells.append(tell)
        # It may have been over before it could see this.
        if not running.acquire(blocking=False):
            await wait()
    if raised:
        raise raised.pop()
    return returned[0]


def _bell() -> tuple[Callable[[], Awaitable[object]], Callable[[], object]]:
    """Return what waits on the event loop, and what any thread may call to end that."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        loop = asyncio.get_running_loop()
        rung: asyncio.Future[None] = loop.create_future()
        return lambda: rung, lambda: loop.call_soon_threadsafe(lambda: None if rung.done() else rung.set_result(None))
    import trio

    token, event = trio.lowlevel.current_trio_token(), trio.Event()
    return event.wait, lambda: token.run_sync_soon(event.set)
