"""Those who are told of a job's events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import anyio

from .._command.callbacks import UserCallback, close_unused
from .._events.types import JobEvent
from .options import JobExecutionOptions

_Pending: TypeAlias = tuple[tuple[UserCallback, Awaitable[object]], ...]
"""What observers returned for one event, and is to be awaited."""


class Observers:
    """Calls each observer with each event, in their order.

    One event at a time: what they return for an event is awaited before anything that is returned for a later one. One
    that raised is not called again and keeps no event from the others; `on_error` is told at once.
    """

    def __init__(self, options: JobExecutionOptions, on_error: Callable[[BaseException], object]) -> None:
        """Take `on_event`, then `observers`. Needs an event loop."""
        self.failed: str | None = None
        """The one that raised last, if any did, as the options name it."""
        self._on_error = on_error
        self._by_name = {
            name: UserCallback(function, partial(self._fail, name)) for name, function in options.listeners.items()
        }
        self._callbacks = tuple(self._by_name.values())
        self._lock = anyio.Lock(fast_acquire=True)

    def __bool__(self) -> bool:
        """Whether there is anybody to be told."""
        return bool(self._callbacks)

    def __call__(self, event: JobEvent) -> Awaitable[None] | None:
        """Tell of an event; return what is still to be awaited. Raises what the first raises that does."""
        error: BaseException | None = None
        pending: _Pending = ()
        for callback in self._callbacks:
            try:
                outcome = callback.begin(event)
            except BaseException as raised:  # noqa: BLE001 (it comes out when the others have been called)
                error = error or raised
            else:
                if outcome is not None:
                    pending = (*pending, (callback, outcome))
        if pending:
            return self._finish(pending, error)
        if error is not None:
            raise error
        return None

    async def _finish(self, pending: _Pending, error: BaseException | None) -> None:
        try:
            async with self._lock:
                for callback, outcome in pending:
                    try:
                        await callback.finish(outcome)
                    except Exception as raised:  # noqa: BLE001
                        error = error or raised
        finally:
            for _, outcome in pending:
                close_unused(outcome)
        if error is not None:
            raise error

    def _fail(self, name: str, error: BaseException) -> None:
        self.failed = name
        self._by_name.pop(name, None)
        self._callbacks = tuple(self._by_name.values())
        self._on_error(error)
