"""What is open for as long as anybody in an event loop uses it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio

from .per_loop import PerLoop

_T = TypeVar("_T")


class KeptOpen(Generic[_T]):
    """Opens something when the first of an event loop enters, and closes it when the last one leaves.

    Those of another event loop have one of their own: connections belong to the loop that made them.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[_T]]) -> None:
        """Take what makes the thing; it is entered and left as any context manager."""
        self._make = make
        self._uses: PerLoop[_Use[_T]] = PerLoop(_Use)

    @property
    def value(self) -> _T | None:
        """What is open in the running event loop; None if nobody has entered there."""
        return self._uses.get().value

    async def enter(self) -> None:
        """Open it, unless it is open. Raises what opening raises."""
        use = self._uses.get()
        # Who comes second finds it open, or opens it; nobody opens it while it is being closed.
        async with use.lock:
            if not use.count:
                manager = self._make()
                use.value = await manager.__aenter__()
                use.manager = manager
            use.count += 1

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, unless somebody else has entered, in whatever task that is. Raises what closing raises."""
        use = self._uses.get()
        with anyio.CancelScope(shield=True):
            await use.lock.acquire()
        try:
            use.count -= 1
            if not use.count:
                manager, use.manager, use.value = use.manager, None, None
                if manager is not None:
                    await manager.__aexit__(kind, error, traceback)
        finally:
            use.lock.release()


class Enterable:
    """Is entered and left as often as anybody likes; what it keeps open for that is `_kept_open`."""

    _kept_open: KeptOpen[Any]

    async def __aenter__(self) -> Self:
        await self._kept_open.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._kept_open.leave(kind, error, traceback)


class _Use(Generic[_T]):
    def __init__(self) -> None:
        self.count = 0
        self.lock = anyio.Lock()
        self.manager: AbstractAsyncContextManager[_T] | None = None
        self.value: _T | None = None
