"""What the executor needs of a place where completed chunks are recorded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from .._spec.model import Chunk
from .inspection import Fingerprint


class JobRecord(Protocol):
    """The record of one run of a job; as long as it is open, nobody else runs that, or what writes the same files.

    All methods block; `add` may be called by several threads at once. What cannot be recorded is a `TailraceError`.
    """

    def open(self) -> None:
        """Take the job for this run; raises `JobLockedError` if another run has it or one of its files."""

    def begin(self, chunk: Chunk, frames: Sequence[int]) -> None:
        """Record that the files of these of its frames are from now on written by the chunk's command.

        It may end in the middle.
        """

    def written(self, chunk: Chunk) -> Collection[int]:
        """Return the frames whose files were written by the chunk's command as it is now, in earlier runs."""

    def add(self, chunk: Chunk, outputs: Fingerprint | None) -> None:
        """Record that the chunk is completed, with its files as they are; None are files that are not seen here.

        It may be gone if the machine stops within a second. After `close` it does nothing.
        """

    def close(self) -> None:
        """Make durable what was added, and let other runs in. Allowed at any time, and again."""
