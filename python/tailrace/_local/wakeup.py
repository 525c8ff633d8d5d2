"""What wakes a task when the native core has news of its command: one mailbox for each event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from .._concurrency.per_loop import PerLoop
from .._native import Mailbox

if TYPE_CHECKING:
    import trio


class Listener(ABC):
    """Who listens to the news of one execution."""

    also_call: Callable[[], object] | None = None
    """Called by the event loop at each news, outside of any task."""

    @abstractmethod
    async def wait(self) -> None:
        """Return at the next news. What came while nobody waited is not news any more."""

    @abstractmethod
    def wake(self) -> None:
        """Have `wait` return."""


class Notifications(ABC):
    """The mailbox of an event loop, and who listens to what comes in."""

    mailbox: Mailbox
    listener: type[Listener]

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        # Kept alive by the tasks that wait, not by this: what is stored for an event loop must not lead back to it, or
        # neither it nor a task that was abandoned with it is ever freed.
        self._listeners: WeakValueDictionary[int, Listener] = WeakValueDictionary()

    @classmethod
    def current(cls) -> Notifications:
        """Return that of the running event loop."""
        return _current.get()

    def listen(self, execution_id: int) -> Listener:
        """Return a listener to the news of the execution, which hears of them as long as the caller keeps it."""
        listener = self._listeners[execution_id] = self.listener()
        return listener

    def _hand_out(self) -> None:
        for execution_id in self.mailbox.take():
            listener = self._listeners.get(execution_id)
            if listener is not None:
                listener.wake()
                if listener.also_call is not None:
                    listener.also_call()


class _AsyncioListener(Listener):
    _woken: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        self._woken = asyncio.get_running_loop().create_future()
        await self._woken

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class _AsyncioNews(Notifications):
    # Not `anyio.wait_readable`, which on asyncio adds and removes the reader at each wait.

    listener = _AsyncioListener

    def __init__(self) -> None:
        super().__init__()
        asyncio.get_running_loop().add_reader(self.mailbox.fileno(), self._hand_out)


class _TrioListener(Listener):
    _woken: trio.Event | None = None

    async def wait(self) -> None:
        import trio

        self._woken = trio.Event()
        await self._woken.wait()

    def wake(self) -> None:
        if self._woken is not None:
            self._woken.set()


class _TrioNews(Notifications):
    listener = _TrioListener

    def __init__(self) -> None:
        import trio

        super().__init__()
        trio.lowlevel.spawn_system_task(self._watch)

    async def _watch(self) -> None:
        import trio

        while True:
            await trio.lowlevel.wait_readable(self.mailbox.fileno())
            self._hand_out()


_current: PerLoop[Notifications] = PerLoop(_AsyncioNews, _TrioNews)
