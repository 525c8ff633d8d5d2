"""Work on a file that goes on beside the event loop, and is given up where the disk does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import anyio

from .._concurrency.disk_threads import DiskThreads

_MOST_WAITING = 4 << 20
"""How many bytes may wait; with one or two pieces of output there would be a pause after each."""

T = TypeVar("T")


class DiskWork(Generic[T]):
    """What is put in is handled on a thread, in its order and as much at once as there is.

    Belongs to the event loop that it was made in.
    """

    def __init__(
        self, threads: DiskThreads, handle: Callable[[list[T]], object], clean_up: Callable[[], object]
    ) -> None:
        """Take what a thread calls: `handle`, which must not raise, and once this was given up, `clean_up` instead."""
        self.fault: str | None = None
        """Why it was given up; None if it was not."""
        self._threads = threads
        self._handle = handle
        self._clean_up = clean_up
        self._call_soon = _from_any_thread()
        self._mutex = threading.Lock()
        self._items: list[T] = []
        self._waiting = 0
        self._is_running = False
        self._has_thread = False
        self._since = math.inf
        """When it got on last."""
        self._changed: anyio.Event | None = None

    def put(self, item: T, size: int = 0) -> None:
        """Have `item` handled, which counts as `size` bytes until then; nothing happens once this was given up."""
        with self._mutex:
            if self.fault is not None:
                return
            self._items.append(item)
            self._waiting += size
            if self._is_running:
                if self._delay() > self._threads.patience:
                    self._give_up()
                return
            self._is_running = True
            self._since = time.monotonic()
        try:
            self._threads.do(self._run)
        except RuntimeError as error:
            self._is_running = False
            self.fault = str(error)
            with contextlib.suppress(OSError):
                self._clean_up()

    def room(self) -> Awaitable[None] | None:
        """Return what to await before more is put in, if so much waits that it has to be."""
        return None if self._waiting <= _MOST_WAITING else self._wait(lambda: self._waiting <= _MOST_WAITING)

    async def settle(self) -> None:
        """Return when all is handled or this was given up, and soon when the task is cancelled."""
        if self._is_running:
            try:
                await self._wait(lambda: not self._is_running)
            except anyio.get_cancelled_exc_class():
                self._threads.is_hurried = True
                with anyio.CancelScope(shield=True):
                    await self._until(lambda: not self._is_running)
                raise

    def got_on(self) -> None:
        """Say on the thread that the disk has answered. Raises `TimeoutError` once that comes too late."""
        self._since = self._threads.got_on_at = time.monotonic()
        if self.fault is not None:
            raise TimeoutError(self.fault)

    async def _wait(self, is_so: Callable[[], bool]) -> None:
        if not await self._until(is_so):
            with self._mutex:
                if self.fault is None and self._is_running:
                    self._give_up()
            self._tell()

    async def _until(self, is_so: Callable[[], bool]) -> bool:
        """Return True when `is_so`, or this was given up; False when it did not get on for so long."""
        while True:
            with self._mutex:
                if is_so() or self.fault is not None:
                    return True
                event = self._changed = self._changed or anyio.Event()
                left = self._threads.patience - self._delay()
            if left <= 0:
                return False
            with anyio.move_on_after(left):
                await event.wait()

    def _delay(self) -> float:
        """Return for how long the disk has not answered: not for how long it answered others, who came first."""
        since = self._since if self._has_thread else max(self._since, self._threads.got_on_at)
        return time.monotonic() - since

    def _give_up(self) -> None:
        self.fault = f"it did not answer for {self._delay():.0f} s"
        self._items.clear()
        self._waiting = 0
        self._threads.hanging.add(self)

    def _run(self) -> None:
        while True:
            with self._mutex:
                items, self._items = self._items, []
                self._waiting = 0
                self._is_running = bool(items)
                if self._changed is not None:
                    # The event loop may be gone.
                    with contextlib.suppress(RuntimeError):
                        self._call_soon(self._tell)
                if not items:
                    break
            self._since = time.monotonic()
            self._has_thread = True
            self._handle(items)
            self._has_thread = False
            # They may be views of large buffers.
            del items
            self._since = self._threads.got_on_at = time.monotonic()
            if self._threads.are_short:
                # It is the turn of others.
                self._threads.do(self._run)
                return
        if self.fault is not None:
            self._threads.hanging.discard(self)
            with contextlib.suppress(OSError):
                self._clean_up()

    def _tell(self) -> None:
        event, self._changed = self._changed, None
        if event is not None:
            event.set()


def _from_any_thread() -> Callable[[Callable[[], Any]], object]:
    """Return what has the running event loop call a function soon."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        return asyncio.get_running_loop().call_soon_threadsafe
    import trio

    return trio.lowlevel.current_trio_token().run_sync_soon
