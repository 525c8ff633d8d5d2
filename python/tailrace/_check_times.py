"""The times that users give."""

from __future__ import annotations

import math
from numbers import Real


def check_times(**times: float) -> None:
    """Raise `TypeError` or `ValueError`, naming the argument, unless all are positive numbers of seconds."""
    for name, seconds in times.items():
        _check_number(name, seconds)
        if not seconds > 0:
            raise ValueError(f"{name} must be a positive number of seconds: {seconds!r}")


def check_limits(**limits: float | None) -> None:
    """Do the same, but None is no limit."""
    check_times(**{name: seconds for name, seconds in limits.items() if seconds is not None})


def check_delays(**delays: float) -> None:
    """Do the same, but 0 is allowed and infinity is not."""
    for name, seconds in delays.items():
        _check_number(name, seconds)
        if not 0 <= seconds < math.inf:
            raise ValueError(f"{name} must be a number of seconds, 0 or more: {seconds!r}")


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, int | float | Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
