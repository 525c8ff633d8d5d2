"""Threads for files whose disk may never answer."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

_PATIENCE = 30.0
"""How long a disk may take for one thing, in seconds."""
_SHORT_PATIENCE = 1.0
_MOST = 32
_IDLE = 5.0
"""How long a thread waits for more to do, in seconds."""


class DiskThreads:
    """Threads that nobody waits for, not even the interpreter's exit; where one hangs, others go on with the rest."""

    def __init__(self) -> None:
        self.hanging: set[object] = set()
        """What has been given up and still keeps a thread."""
        self.is_hurried = False
        """Whether there is no time to wait for a disk."""
        self.answers_at_once = False
        """Whether the disk did so last."""
        self.got_on_at = -math.inf
        """When the disk answered last, whatever it was that it had been asked."""
        self._mutex = threading.Lock()
        self._waiting: deque[Callable[[], object]] = deque()
        self._idle: list[SimpleQueue[Callable[[], object]]] = []
        """Of each thread that has nothing to do, what gives it something; the last one's memory is still warm."""
        self._count = 0

    @property
    def patience(self) -> float:
        """How long the disk may take for one thing, in seconds: not so long where it is known to hang."""
        return _SHORT_PATIENCE if self.is_hurried or self.hanging else _PATIENCE

    @property
    def are_short(self) -> bool:
        """Whether something waits for a thread."""
        return bool(self._waiting)

    def do(self, work: Callable[[], object]) -> None:
        """Have `work`, which must not raise, called soon. Raises `RuntimeError` where there can be no thread."""
        with self._mutex:
            if self._hand_over(work):
                return
            self._count += 1
        try:
            threading.Thread(target=self._run, args=(work,), name="tailrace-disk", daemon=True).start()
        except RuntimeError:
            with self._mutex:
                self._count -= 1
                # The others get to it, if there are any.
                if not self._hand_over(work, most=1):
                    raise

    def _hand_over(self, work: Callable[[], object], most: int = _MOST) -> bool:
        """Give the work to a thread that is there; return False where none is idle and there are fewer than `most`."""
        if self._idle:
            self._idle.pop().put(work)
        elif self._count >= most:
            self._waiting.append(work)
        else:
            return False
        return True

    def _run(self, work: Callable[[], object]) -> None:
        given: SimpleQueue[Callable[[], object]] = SimpleQueue()
        while True:
            work()
            # It holds on to much.
            del work
            with self._mutex:
                if self._waiting:
                    work = self._waiting.popleft()
                    continue
                self._idle.append(given)
            try:
                work = given.get(timeout=_IDLE)
            except Empty:
                with self._mutex:
                    if given in self._idle:
                        self._idle.remove(given)
                        self._count -= 1
                        return
                work = given.get()
