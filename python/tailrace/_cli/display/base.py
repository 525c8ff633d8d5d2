"""What shows a job to whoever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from tailrace import JobEvent

from ..writing import print_message


class Display(ABC):
    """Shows what happens in one run of a job."""

    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        """Await `job()`, whose events come to `show`. What it raises comes out unchanged."""
        await job()

    def shows(self, event: JobEvent) -> bool:
        """Return whether there is anything to show of an event."""
        del event
        return True

    @abstractmethod
    async def show(self, event: JobEvent) -> None:
        """Take the next event of the job of which there is, after the job's state. Raises `OSError`."""

    def announce(self, text: str) -> None:
        """Say something that cannot wait, if somebody reads it."""
        print_message(text, patience=0)

    @abstractmethod
    async def close(self) -> None:
        """Write what is left to write, after `run`. Raises `OSError`."""
