"""The times that users give."""

from __future__ import annotations

import math
from numbers import Real


def check_times(**times: float) -> None:
    """Raise `TypeError` or `ValueError`, naming the argument, unless all are positive numbers of seconds."""
    for name, seconds in times.items():
        if not _to_float(name, seconds) > 0:
            raise ValueError(f"{name} must be a positive number of seconds: {seconds!r}")


def check_limits(**limits: float | None) -> None:
    """Do the same, but None is no limit."""
    check_times(**{name: seconds for name, seconds in limits.items() if seconds is not None})


def check_delays(**delays: float) -> None:
    """Do the same, but 0 is allowed and infinity is not."""
    for name, seconds in delays.items():
        if not 0 <= _to_float(name, seconds) < math.inf:
            raise ValueError(f"{name} must be a number of seconds, 0 or more: {seconds!r}")


def _to_float(name: str, value: object) -> float:
    if not isinstance(value, int | float | Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        # Not shown: it has more than 300 digits.
        raise ValueError(f"{name} is too large for a number of seconds") from None
