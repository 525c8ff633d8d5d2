"""Notices that this process stood still: another manager may have taken the repository meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

from .._errors import RepositoryError
from .ledger import Ledger

_BEAT = 0.25
"""How often it is seen to be going, in seconds."""
_LONGEST = 1.0
"""More than this between two looks is a standstill, in seconds; if the machine was only busy, that costs one write."""


class Standstill:
    """Says whether chunks may start: not from a standstill on until the repository is known to be ours."""

    def __init__(self) -> None:
        self._seen = _now()
        self._is_over = True

    def is_over(self) -> bool:
        """Return whether there is none, or the repository was seen to be ours since."""
        now = _now()
        if now - self._seen > _LONGEST:
            self._is_over = False
        self._seen = now
        return self._is_over

    async def watch(self, ledger: Ledger, go_on: Callable[[], object]) -> None:
        """Do so until it is cancelled, or the repository is lost; `go_on` is called when chunks may start again."""
        self._seen = _now()
        while True:
            if not self.is_over():
                try:
                    await ledger.confirm()
                except RepositoryError:
                    # Whoever writes is told too.
                    return
                self._seen, self._is_over = _now(), True
                go_on()
            await anyio.sleep(_BEAT)


def _now() -> float:
    # Goes on while the machine sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
