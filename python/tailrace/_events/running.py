"""A command that runs now, as its events tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .types import ChunkProgress, ChunkUsage

_TAIL = 1024
"""How much of a command's newest output is kept, in bytes: a row of a screen."""

LEAST_TIME = 3.0
LEAST_FRACTION = 0.01
"""No time is estimated before this many seconds and this part of the work: the estimates would jump."""


@dataclass(slots=True)
class RunningCommand:
    """An attempt at a chunk, or the merge, that runs now. `JobState` changes it with the events: only read it."""

    started: float
    """When it began, by the clock of `JobEvent.monotonic`."""
    chunk_id: int | None = None
    """None for the merge."""
    attempt: int = 1
    slot: int = 0
    progress: ChunkProgress | None = None
    """The latest news of how far it is."""
    usage: ChunkUsage | None = None
    """The latest of what it uses; the log of a job has none."""
    tail: bytes = b""
    """The end of what it wrote, 1 KiB at most, to the stream that it wrote to last; the log of a job has none."""
    stream: Literal["stdout", "stderr"] | None = None
    """The stream that it wrote to last."""

    @property
    def fraction(self) -> float | None:
        """How much is done, 0 to 1, or None if it does not tell."""
        return None if self.progress is None else self.progress.fraction

    @property
    def memory(self) -> int | None:
        """What it uses, in bytes: what was measured, or, as on other machines, what its renderer says; else None."""
        if self.usage is None:
            return None if self.progress is None else self.progress.memory
        return self.usage.memory

    @property
    def latest_line(self) -> str:
        """The last line of `tail` that is not blank, whatever ended it; what is not UTF-8 becomes U+FFFD.

        It is as the command wrote it: control characters in it are for whoever shows it to take out.
        """
        lines = self.tail.decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")

    def remaining(self, now: float) -> float | None:
        """Return the estimated time to its end, in seconds; None if there is no estimate, or it is over already.

        `now` is by the clock of `JobEvent.monotonic`. Nothing is estimated before some of the work is done.
        """
        # What the renderer says is left may be that of its frame, as Blender's is.
        if self.progress is None or (self.progress.fraction or 0) < LEAST_FRACTION:
            return None
        fraction, elapsed = self.progress.fraction or 0, self.progress.monotonic - self.started
        end = self.started + elapsed / fraction
        return None if elapsed < LEAST_TIME or end < now else end - now


def add_output(command: RunningCommand, stream: Literal["stdout", "stderr"], data: str | memoryview) -> None:
    """Have a command's `tail` end with a piece of its output; the cost does not depend on its length."""
    newest = data[-_TAIL:].encode(errors="replace") if isinstance(data, str) else bytes(data[-_TAIL:])
    command.tail = (command.tail + newest)[-_TAIL:] if stream == command.stream else newest[-_TAIL:]
    command.stream = stream
