"""The times that adapters are given."""

from __future__ import annotations


def check_times(**times: float) -> None:
    """Raise `ValueError`, naming the argument, unless all are positive numbers of seconds."""
    for name, seconds in times.items():
        if not seconds > 0:
            raise ValueError(f"{name} must be a positive number of seconds: {seconds!r}")
