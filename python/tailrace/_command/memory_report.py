"""What is known of the memory where a command was killed for want of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"))

_MUCH = 0.1
"""With this part of all memory left, it was not this memory that was full."""


class ProcessMemory(NamedTuple):
    """How much memory a process had, in bytes."""

    pid: int
    name: str
    """As the kernel keeps it: its first 15 characters."""
    memory: int

    def __str__(self) -> str:
        return f"{self.name} ({self.pid}) {to_text(self.memory)}"


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What was seen of the memory before a command was killed for want of it. Sizes are bytes.

    `str()` says it in words.
    """

    kernel_killed: bool
    """Whether the kernel had just killed somebody for it; else nearly none was left when it was last looked at, and
    somebody sent SIGKILL then, as services do that watch for that."""
    available: int | None = None
    """How much was to be had at the last look, of the machine or of the control group that limits it; None where that
    is not known."""
    total: int | None = None
    """How much that has in all; None where `available` is."""
    processes: tuple[ProcessMemory, ...] = ()
    """The five largest processes of the command then, the largest first."""
    machine_processes: tuple[ProcessMemory, ...] = ()
    """The five largest of the machine, by resident memory; empty where more than a tenth was to be had."""
    age: float | None = None
    """How many seconds before the end that was; None if there was no look."""

    def __str__(self) -> str:
        parts = []
        if self.available is not None and self.total is not None:
            part = f"{to_text(self.available)} of {to_text(self.total)} available"
            has_own_limit = self.available >= self.total * _MUCH
            parts.append(f"{part}, but its control group may have a limit of its own" if has_own_limit else part)
        if self.processes:
            parts.append(f"its largest processes: {_listed(self.processes)}")
        if self.machine_processes:
            parts.append(f"the largest here: {_listed(self.machine_processes)}")
        if parts and self.age is not None:
            parts[0] = f"{self.age:.1f} s before: {parts[0]}"
        return "; ".join(parts)


def _listed(processes: Iterable[ProcessMemory]) -> str:
    return ", ".join(map(str, processes))


def to_text(size: int) -> str:
    """Return bytes in the largest unit of which there is one: 1.5 GiB."""
    unit, name = next((unit for unit in _UNITS if size >= unit[0]), (2**10, "KiB"))
    return f"{size / unit:.1f} {name}"
