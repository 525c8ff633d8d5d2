"""What the first process of a container writes down of its command: see rust/container_init/outcome.rs."""

from __future__ import annotations

import os
import signal
import struct
from enum import IntEnum
from typing import NamedTuple, Self

_RECORD = struct.Struct("=7q")


class Kind(IntEnum):
    """How a command ended; the numbers are those of the first process, as are the next ones."""

    RUNNING = 0
    EXITED = 1
    SIGNALLED = 2
    NO_PROGRAM = 3
    NOT_STARTED = 4


class EndedBy(IntEnum):
    """Who asked for its end."""

    NOBODY = 0
    OUTSIDE = 1
    """This process or its stand-in, or somebody by the engine."""
    INSIDE = 2
    """A process of the container."""


class Outcome(NamedTuple):
    """What is known of a command that has begun, or was to begin."""

    kind: Kind
    number: int
    """The exit code, the signal, or the number of the error."""
    ended_by: EndedBy
    killed_processes: int
    """How many of the container's processes the kernel killed for want of memory."""
    cpu_user: float
    cpu_system: float
    max_rss: int

    @classmethod
    def read(cls, file: int) -> Self | None:
        """Return what the file has; None if the first process has not been heard of."""
        record = os.pread(file, _RECORD.size, 0)
        if len(record) < _RECORD.size:
            return None
        kind, number, ended_by, killed, user, system, largest = _RECORD.unpack(record)
        return cls(Kind(kind), number, EndedBy(ended_by), killed, user / 1e6, system / 1e6, largest * 1024)

    @property
    def has_run(self) -> bool:
        """Whether the command has begun, and ended."""
        return self.kind in (Kind.EXITED, Kind.SIGNALLED)

    @property
    def is_failed_start(self) -> bool:
        """Whether the kernel could not start it, and the number says why."""
        return self.kind in (Kind.NO_PROGRAM, Kind.NOT_STARTED)

    @property
    def exit_code(self) -> int:
        """That of a `WorkerResult`."""
        return -self.number if self.kind is Kind.SIGNALLED else self.number

    @property
    def was_killed_for_memory(self) -> bool:
        """Whether the command, or what its shell ran last, was killed for want of memory."""
        killed = (-signal.SIGKILL, 128 + signal.SIGKILL)
        return bool(self.killed_processes) and self.ended_by is EndedBy.NOBODY and self.exit_code in killed
