"""Threads for files whose disk may never answer."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

_PATIENCE = 30.0
"""How long a disk may take for one thing, in seconds."""
_SHORT_PATIENCE = 1.0
_MOST = 32
_IDLE = 5.0
"""How long a thread waits for more to do, in seconds."""

T = TypeVar("T")


class DiskThreads:
    """Threads that nobody waits for, not even the interpreter's exit; where one hangs, others go on with the rest."""

    def __init__(self) -> None:
        self.hanging: set[object] = set()
        """What has been given up and still keeps a thread."""
        self.is_hurried = False
        """Whether there is no time to wait for a disk."""
        self.got_on_at = -math.inf
        """When the disk answered last, whatever it was that it had been asked."""
        self._works: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._mutex = threading.Lock()
        self._count = 0
        self._spare = 0
        """How many threads have nothing to do, less what waits for one."""

    @property
    def patience(self) -> float:
        """How long the disk may take for one thing, in seconds: not so long where it is known to hang."""
        return _SHORT_PATIENCE if self.is_hurried or self.hanging else _PATIENCE

    @property
    def are_short(self) -> bool:
        """Whether something waits for a thread."""
        return self._spare < 0

    def do(self, work: Callable[[], object]) -> None:
        """Have `work`, which must not raise, called soon. Raises `RuntimeError` where there can be no thread."""
        with self._mutex:
            self._spare -= 1
            needs_thread = self._spare < 0 and self._count < _MOST
            if needs_thread:
                self._count += 1
                self._spare += 1
        self._works.put(work)
        if needs_thread:
            self._start()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name="tailrace-disk", daemon=True).start()
        except RuntimeError:
            with self._mutex:
                self._count -= 1
                self._spare -= 1
                if self._count:
                    # The others get to it.
                    return
                self._spare = 0
            self._works.get()
            raise

    def _run(self) -> None:
        while True:
            try:
                work = self._works.get(timeout=_IDLE)
            except Empty:
                with self._mutex:
                    if self._spare > 0:
                        self._spare -= 1
                        self._count -= 1
                        return
                continue
            work()
            # It holds on to much.
            del work
            with self._mutex:
                self._spare += 1


def within(seconds: float, look: Callable[[], T], otherwise: T) -> T:
    """Return what `look` returns, or `otherwise` if that takes longer. It must not raise."""
    found: SimpleQueue[T] = SimpleQueue()
    try:
        threading.Thread(target=lambda: found.put(look()), name="tailrace-disk", daemon=True).start()
        return found.get(timeout=seconds)
    except (RuntimeError, Empty):
        return otherwise
