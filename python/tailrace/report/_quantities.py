"""Times, sizes and counts for people."""

from __future__ import annotations

import math
import signal
from datetime import datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Return 0.42 s, 12.3 s, 4 min 05 s, 2 h 07 min or 3 d 04 h."""
    if not seconds:
        return "0 s"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02} h"


def size(number: float) -> str:
    """Return a number of bytes as 12 KiB, 2.0 MiB or 1.1 GiB."""
    if not number:
        return "0"
    if number < 2**20:
        return f"{number / 2**10:.0f} KiB"
    return f"{number / 2**20:.1f} MiB" if number < 999.95 * 2**20 else f"{number / 2**30:.1f} GiB"


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: 1 chunk, 2,000 chunks."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def moment(seconds: float) -> str:
    """Return a time since the epoch as it was on the clocks here: 2026-11-28 22:41:07; "?" for one that is none."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"


def exit_status(code: int) -> str:
    """Return an exit status, or the signal that ended the command."""
    try:
        return str(code) if code >= 0 else signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def ticks(most: float, about: int) -> list[float]:
    """Return `about` so many round numbers from 0 to `most`, with the first one that is not below it."""
    if not most > 0:
        return [0.0, 1.0]
    rough = most / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((power * factor for factor in (1, 2, 5) if power * factor >= rough), power * 10)
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def size_ticks(most: float, about: int) -> list[float]:
    """Return the same of numbers of bytes, which are round in the unit that they are shown in."""
    unit = next((unit for unit in (2.0**30, 2.0**20) if most >= unit), 2.0**10)
    return [tick * unit for tick in ticks(most / unit, about)]


def time_ticks(most: float, about: int) -> list[float]:
    """Return the same of times, none above `most`: whole minutes and hours rather than thousands of seconds."""
    for step in (1, 2, 5, 10, 15, 30, *(60 * n for n in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))):
        if most / step <= about and most > 2:
            return [float(step * number) for number in range(int(most / step) + 1)]
    return [tick for tick in ticks(most, about) if tick <= most]


def clock(seconds: float) -> str:
    """Return a time on an axis: 0:00, 12:30, 1:05:00; a fraction of seconds where there is one."""
    if seconds % 1:
        return f"{seconds:.3g} s"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
