"""When an attempt at a chunk begins to run, which may be long after it was handed to an adapter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .._command.callbacks import await_if_needed


class Beginning:
    """Tells of it once: when the adapter says so, where it does and the command may wait elsewhere, or else at once."""

    def __init__(self, tell: Callable[[], Awaitable[None] | None], *, is_waited_for: bool) -> None:
        """Take what tells of it, and whether the adapter says when it is."""
        self.is_waited_for = is_waited_for
        self._tell = tell
        self._is_told = False

    def tell(self) -> Awaitable[None] | None:
        """Tell of it unless that was done; return what is still to be awaited."""
        if self._is_told:
            return None
        self._is_told = True
        return self._tell()

    async def make_up(self) -> None:
        """Tell of it at the end of an attempt that has not begun: whoever listens hears of each before its end."""
        await await_if_needed(self.tell())
