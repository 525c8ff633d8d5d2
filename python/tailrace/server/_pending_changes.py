"""Requests that change something of the farm, which do not wait for ever where it cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from .._errors import RepositoryUnavailableError
from .._farm.manager import JobManager

_BEAT = 1.0
_PATIENCE = 5
"""So many looks in a row at a repository that cannot be written: one that is only busy is not told of."""


class PendingChanges:
    """Knows those that are being answered, and answers them where the repository is full, locked or gone."""

    def __init__(self, manager: JobManager) -> None:
        self._farm = manager
        self._seen: dict[anyio.CancelScope, int] = {}
        """For how many looks in a row each has waited for a repository that could not be written."""

    @contextmanager
    def one(self, *, ends: bool = False) -> Iterator[None]:
        """Make the block in which a request is answered; `ends` is that it may end what runs.

        Raises `RepositoryUnavailableError` instead of beginning where nothing can be written, unless it `ends`: what
        fills the disk can be ended. Raises it too in place of what the block waits for where that has become so; what
        was asked for may then have been done, be done later, or not at all, if it had not come that far.
        """
        if not ends and (trouble := self._farm.trouble) is not None:
            raise RepositoryUnavailableError(
                f"the farm cannot note anything now, so nothing was changed: {trouble}; ask again when that is mended"
            )
        with anyio.CancelScope() as scope:
            self._seen[scope] = 0
            try:
                yield
            finally:
                del self._seen[scope]
        if scope.cancelled_caught:
            raise RepositoryUnavailableError(
                f"the farm cannot note anything now: {self._farm.trouble or 'it could not for a while'}; whether what"
                " was asked for is done is seen when that is mended"
            )

    async def run(self) -> None:
        """Look whether the repository can be written, until it is cancelled."""
        while True:
            await anyio.sleep(_BEAT)
            for scope in self._seen:
                self._seen[scope] = 0 if self._farm.trouble is None else self._seen[scope] + 1
                if self._seen[scope] >= _PATIENCE:
                    scope.cancel()
