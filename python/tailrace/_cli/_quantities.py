"""Times, sizes and numbers for people."""

from __future__ import annotations

import math


def clock(seconds: float) -> str:
    """Return a time as 0:41, 12:03 or 1:12:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def rough_time(seconds: float) -> str:
    """Return an estimated time as 40 s, 34 min or 2 h 5 min, not more exact than it can be."""
    if seconds < 55:
        return f"{max(5, math.ceil(seconds / 5) * 5)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(number: int) -> str:
    """Return a number of bytes as 2.0 MiB or 1.1 GiB, in nine characters or fewer up to a terabyte."""
    mebibytes = number / 2**20
    return f"{mebibytes:.1f} MiB" if mebibytes < 999.95 else f"{mebibytes / 1024:.1f} GiB"
