"""A line about the progress now and then, where nothing else is shown: a log of a night should not be empty."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

from tailrace import JobState

from ..phrases import counted
from ..writing import OutputClosedError, OutputFailedError, print_event
from .message import frames_done
from .text import rough_time

_FIRST = 20.0
"""When the first line comes, in seconds; a short job has none."""
_INTERVAL = 60.0
"""How often one comes after that, in seconds, if anything has changed."""


class ProgressLines:
    """Writes the progress of a job to standard error while it runs."""

    def __init__(self, state: JobState, *, first: float = _FIRST, interval: float = _INTERVAL) -> None:
        self._state = state
        self._first = first
        self._interval = interval

    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        """Await `job()`, and write meanwhile. What it raises comes out unchanged."""
        error: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write)
            try:
                await job()
            except Exception as raised:  # noqa: BLE001
                # Through the task group it would come out in an ExceptionGroup.
                error = raised
            finally:
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error

    async def _write(self) -> None:
        last, delay = "", self._first
        while True:
            await anyio.sleep(delay)
            delay = self._interval
            counts = progress_counts(self._state)
            if counts == last:
                continue
            last = counts
            left = self._state.remaining(time.monotonic())
            try:
                await print_event(counts if left is None else f"{counts}, about {rough_time(left)} left")
            except (OutputClosedError, OutputFailedError, OSError):
                # Whoever writes an event next says so.
                return


def progress_counts(state: JobState) -> str:
    """Return how much of a job is done: frames, chunks, and how many of these run and have failed."""
    parts = [*frames_done(state), f"{state.done} of {counted(state.total, 'chunk')}", f"{len(state.running)} running"]
    if state.failed:
        parts.append(f"{state.failed} failed")
    return f"{int(state.progress * 100)} % done: {', '.join(parts)}"
