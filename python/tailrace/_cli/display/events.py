"""Writes what happens in a job as a stream of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tailrace import JobEvent, JobState, event_to_json

from ..writing import print_event, settle, standard_writers
from .base import Display
from .message import message_on


class EventOutput(Display):
    """Writes each event to standard output, as one line of JSON (NDJSON).

    `screen` shows what is to be seen meanwhile; without one, trouble is told on standard error.
    """

    def __init__(self, state: JobState, screen: Display | None) -> None:
        self._state = state
        self._screen = screen
        self._stdout = standard_writers().stdout

    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        """Await `job()`, whose events come to `show`. What it raises comes out unchanged."""
        await (job() if self._screen is None else self._screen.run(job))

    async def show(self, event: JobEvent) -> None:
        """Take the next event of the job, after the job's state. Raises `OSError`."""
        await settle(self._stdout.write(event_to_json(event).encode() + b"\n"))
        if self._screen is not None:
            await self._screen.show(event)
            return
        message = message_on(event, self._state)
        if message is not None and message.is_trouble:
            await print_event(message.text)

    def announce(self, text: str) -> None:
        """Say something that cannot wait, if somebody reads it."""
        if self._screen is None:
            super().announce(text)
        else:
            self._screen.announce(text)

    async def close(self) -> None:
        """Clear the screen away; of the events nothing is left to write. Raises `OSError`."""
        if self._screen is not None:
            await self._screen.close()
