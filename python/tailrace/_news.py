"""What wakes a task when the native core has news of its command: one mailbox for each event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import anyio
from anyio.lowlevel import RunVar

from ._native import Mailbox


class News(ABC):
    """The mailbox of an event loop, and who listens to what comes in."""

    mailbox: Mailbox

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        # Kept alive by the tasks that wait, not by this: what is stored for an event loop must not lead back to it, or
        # neither it nor a task that was abandoned with it is ever freed.
        self._listeners: WeakValueDictionary[int, Callable[[], object]] = WeakValueDictionary()

    @classmethod
    def current(cls) -> News:
        """Return that of the running event loop."""
        news = _current.get(None)
        if news is None:
            on_asyncio = anyio.get_cancelled_exc_class() is asyncio.CancelledError
            news = _AsyncioNews() if on_asyncio else _TrioNews()
            _current.set(news)
        return news

    @contextmanager
    def listening(self, execution_id: int, listener: Callable[[], object]) -> Iterator[None]:
        """Have the event loop call `listener` at each news of the execution, until the block is left.

        The caller has to keep it: a method as it is taken from its object is gone at once.
        """
        self._listeners[execution_id] = listener
        try:
            yield
        finally:
            self._listeners.pop(execution_id, None)

    @abstractmethod
    async def wait(self, execution_id: int) -> None:
        """Return when there is news of the execution."""

    def _hand_out(self) -> None:
        for execution_id in self.mailbox.take():
            listener = self._listeners.get(execution_id)
            if listener is not None:
                listener()


_current: RunVar[News | None] = RunVar("tailrace._news")


class _AsyncioNews(News):
    # Not `anyio.wait_readable`, which on asyncio adds and removes the reader at each wait.

    def __init__(self) -> None:
        super().__init__()
        asyncio.get_running_loop().add_reader(self.mailbox.fileno(), self._hand_out)

    async def wait(self, execution_id: int) -> None:
        future = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        with self.listening(execution_id, wake):
            await future


class _TrioNews(News):
    def __init__(self) -> None:
        import trio

        super().__init__()
        trio.lowlevel.spawn_system_task(self._watch)

    async def _watch(self) -> None:
        import trio

        while True:
            await trio.lowlevel.wait_readable(self.mailbox.fileno())
            self._hand_out()

    async def wait(self, execution_id: int) -> None:
        import trio

        event = trio.Event()

        def wake() -> None:
            event.set()

        with self.listening(execution_id, wake):
            await event.wait()
