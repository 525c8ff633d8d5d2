"""Values that each event loop has one of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes a value for an event loop when it is first asked for there, and forgets it with the loop.

    What is made must not lead back to the loop, or neither is ever freed. Each command asks more than once, and anyio's
    `RunVar` takes several times as long to answer.
    """

    def __init__(self, on_asyncio: Callable[[], T], on_trio: Callable[[], T] | None = None) -> None:
        """Take what makes the value; without `on_trio` it is the same for both kinds of event loop."""
        self._on_asyncio = on_asyncio
        self._on_trio = on_trio or on_asyncio
        self._values: WeakKeyDictionary[object, T] = WeakKeyDictionary()

    def get(self) -> T:
        """Return that of the running event loop. Call it in a task."""
        on_asyncio = is_on_asyncio()
        loop = asyncio.get_running_loop() if on_asyncio else _trio_token()
        value = self._values.get(loop)
        if value is None:
            value = self._values[loop] = self._on_asyncio() if on_asyncio else self._on_trio()
        return value


def is_on_asyncio() -> bool:
    """Whether the task that asks is one of asyncio's, else it is one of trio's."""
    try:
        # There is none where trio is a guest in an event loop of asyncio's.
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def _trio_token() -> object:
    import trio

    return trio.lowlevel.current_trio_token()
