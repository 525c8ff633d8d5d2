"""A callback of the user's, apart from the adapter that may call it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import anyio

from .._concurrency.cancellation import as_error, is_being_cancelled
from .._concurrency.steps import Steps


async def await_if_needed(outcome: object) -> None:
    """Await what a callback returned, if it is awaitable."""
    # The question takes long.
    if outcome is not None and inspect.isawaitable(outcome):
        await outcome


def close_unused(outcome: Awaitable[object]) -> None:
    """Close a coroutine that may have been cancelled before its turn came: one that never ran would warn about it."""
    if inspect.iscoroutine(outcome):
        outcome.close()


@runtime_checkable
class LastWordsCallback(Protocol):
    """A callback that can take what its command still writes while a cancellation or an exception ends it.

    Users are told nothing more then; but a log is to be whole.
    """

    def __call__(self, data: Any, /) -> Awaitable[None] | None: ...

    def begin_last_words(self) -> None:
        """Be called for that from now on: nothing is to be awaited or raised any more."""


def begin_last_words(*callbacks: object) -> bool:
    """Have them take what their command still writes while it is ended; False if they are not all made for that."""
    heard = [callback for callback in callbacks if callback is not None]
    able = [callback for callback in heard if isinstance(callback, LastWordsCallback)]
    if not able or len(able) < len(heard):
        return False
    for callback in able:
        callback.begin_last_words()
    return True


class UserCallback:
    """Calls a plain or async function and tells `on_error` what it raised, before an adapter can see it.

    With `one_at_a_time`, what it returns is awaited before the next awaitable, in the order of the calls.
    """

    __slots__ = ("_cancelled", "_function", "_lock", "_on_error")

    def __init__(
        self,
        function: Callable[..., object],
        on_error: Callable[[BaseException], object],
        *,
        one_at_a_time: bool = False,
    ) -> None:
        self._function = function
        self._on_error = on_error
        self._lock = anyio.Lock(fast_acquire=True) if one_at_a_time else None
        self._cancelled = anyio.get_cancelled_exc_class()

    def __call__(self, *args: object) -> Awaitable[None] | None:
        """Call the function; return what is still to be awaited."""
        outcome = self.begin(*args)
        return None if outcome is None else self.finish(outcome)

    def begin(self, *args: object) -> Awaitable[object] | None:
        """Call the function; return what it returned if that is for `finish`."""
        try:
            outcome = self._function(*args)
        except BaseException as raised:
            self._tell(raised)
            raise
        # To ask whether it is awaitable takes longer than the rest.
        return outcome if outcome is not None and inspect.isawaitable(outcome) else None

    def with_each(self, first: object, seconds: Iterable[object]) -> Steps:
        """Call the function with `first` and each of `seconds`; yield what has to be awaited before the next."""
        function = self._function
        for second in seconds:
            try:
                outcome = function(first, second)
            except BaseException as raised:
                self._tell(raised)
                raise
            if outcome is not None and inspect.isawaitable(outcome):
                yield self.finish(outcome)

    def _tell(self, raised: BaseException) -> None:
        """Tell what the function raised; raises what is to come out instead, if that is something else."""
        error = as_error(raised)
        self._on_error(error)
        if error is not raised:
            raise error from raised

    async def finish(self, outcome: Awaitable[object]) -> None:
        """Await what `begin` returned."""
        try:
            if self._lock is None:
                await outcome
            else:
                async with self._lock:
                    await outcome
        except BaseException as raised:
            # Perhaps by the adapter, which may not wait for ever for a callback when a limit has been reached.
            if not isinstance(raised, self._cancelled) or not is_being_cancelled():
                self._tell(raised)
            raise
        finally:
            close_unused(outcome)
