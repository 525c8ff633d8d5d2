"""What the end of a process that decodes says of the file that it was at."""

from __future__ import annotations

import signal

_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})
"""Signals that no decoder sends itself: the kernel does, where the memory is full, or a person."""


def is_from_outside(code: int | None) -> bool:
    """Return whether a process with this exit code, -N for signal N, was ended by somebody else."""
    return code is not None and -code in _FROM_OUTSIDE


def describe_end(code: int | None, processor_time: float) -> str:
    """Return what to say of a file whose decoder ended by itself."""
    if code == -signal.SIGXCPU:
        return f"is given up: its decoder took more than {processor_time:g} s of processor time"
    if code is None:
        return "cannot be decoded: its decoder ended"
    return f"cannot be decoded: its decoder ended with {shown_end(code)}"


def shown_end(code: int) -> str:
    """Return the exit code in words."""
    return f"signal {-code}" if code < 0 else f"status {code}"
