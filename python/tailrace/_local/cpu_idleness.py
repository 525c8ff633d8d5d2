"""Ends commands that use no processor for too long: `WorkerJob.cpu_idle_timeout`, one thread for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from .activity import NOTHING_DONE, SHARE, Activity, IdleWindow
from .gpu_usage import GpuUsage

_EVERY = 0.5
"""How often to look, in seconds: as often as the trees' usage is sampled."""


class Watched:
    """A command that is ended when it is idle."""

    def __init__(self, limit: float, activity: Callable[[], Activity], end: Callable[[], object]) -> None:
        self._window = IdleWindow(limit)
        self._activity = activity
        self._end = end
        self._before = NOTHING_DONE
        self._gpu_before: float | None = None
        self._gpu_work = 0.0

    def look(self, gpus: GpuUsage) -> None:
        """See what it did, and end it if that is too little. GPUs are asked only where the processors do nothing."""
        before, now = self._before, self._activity()
        self._before = now
        if now.work - before.work < SHARE * (now.seen - before.seen):
            busy = gpus.busy(now.processes)
            if self._gpu_before is not None:
                # Less: of those who were there, some are gone.
                self._gpu_work += max(0.0, busy - self._gpu_before)
            self._gpu_before = busy
        else:
            self._gpu_before = None
        if self._window.is_idle(now.seen, now.work + self._gpu_work):
            self._end()


class _IdlenessWatch:
    def __init__(self) -> None:
        self.gpus = GpuUsage()
        self._changed = threading.Condition()
        self._watched: set[Watched] = set()
        self._is_running = False

    def add(self, watched: Watched) -> None:
        with self._changed:
            self._watched.add(watched)
            if not self._is_running:
                threading.Thread(target=self._run, name="tailrace-idle", daemon=True).start()
                self._is_running = True
            self._changed.notify_all()

    def remove(self, watched: Watched) -> None:
        with self._changed:
            self._watched.discard(watched)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._watched)
                # Nobody else waits for so long that it would matter.
                self._changed.wait_for(lambda: not self._watched, _EVERY)
                watched = list(self._watched)
            for each in watched:
                each.look(self.gpus)


_watch = _IdlenessWatch()


def add(watched: Watched) -> None:
    """Look at it now and then. Raises `RuntimeError` where no thread can be had."""
    _watch.add(watched)


def remove(watched: Watched) -> None:
    """Look at it no more. It may be ended once more, if that is just going on."""
    _watch.remove(watched)


def _start_anew() -> None:
    global _watch
    _watch = _IdlenessWatch()


os.register_at_fork(after_in_child=_start_anew)
