"""What answers wait for, until the server is about to exit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Waits:
    """Has answers that wait for something be given when the server ends: who asked is to ask the next one."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()
        self._have_ended = False

    @contextmanager
    def move_on_after(self, seconds: float | None) -> Iterator[None]:
        """Leave the block after so many seconds, unless it is None, and when the server ends."""
        with anyio.move_on_after(seconds) as scope:
            self._scopes.add(scope)
            if self._have_ended:
                scope.cancel()
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def end(self) -> None:
        """Leave all blocks, also those to come."""
        self._have_ended = True
        for scope in self._scopes:
            scope.cancel()
