"""What is said of processes that could not be ended, or not even be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class ProcessNote(NamedTuple):
    """A process, and what it was last seen doing."""

    pid: int
    name: str
    """Empty where it could not be had."""
    state: str
    """One letter, as ps shows it; D is an uninterruptible sleep. Empty where it could not be had."""
    wait_channel: str
    """The kernel's function that it sleeps in; empty where there is none, or it is not told."""

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        state = f" in state {self.state}" if self.state else ""
        channel = f" at {self.wait_channel}" if self.wait_channel else ""
        return f"process {self.pid}{name}{state}{channel}"


def warnings_about(left: Sequence[ProcessNote], unseen: Sequence[ProcessNote]) -> list[str]:
    """Return a line each for what is left of a command's tree, and for strangers that may belong to it or not."""
    warnings = []
    if left:
        warnings.append(f"could not be ended: {_listed(left)}")
    if unseen:
        warnings.append(f"could not be looked at, and may be part of it: {_listed(unseen)}")
    return warnings


_MOST = 5
"""How many processes are named."""


def _listed(processes: Sequence[ProcessNote]) -> str:
    named: Iterable[str] = map(str, processes[:_MOST])
    more = f" and {len(processes) - _MOST} more" if len(processes) > _MOST else ""
    return ", ".join(named) + more
