"""Numbers, times and sizes as renderers print them. What cannot be understood is None."""

from __future__ import annotations

import math
import re

# Longer ones nobody prints, and they would be searched in vain for long.
_LONGEST = 64
_UNIT_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([dhms])")
_SIZE = re.compile(r"([\d.,]+)\s*([KMGTkmgt]?)")


def number_of(text: str) -> float | None:
    """Return the number that `text` is, with a point or a comma, if it is a finite one that is not negative."""
    try:
        number = float(text.replace(",", ".") if "," in text else text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def integer_of(text: str) -> int | None:
    """Return the whole number that `text` is."""
    # Nobody counts so far, and what reads the events may have 64 bits for it.
    try:
        return int(text) if len(text) < 19 else None
    except ValueError:
        return None


def seconds_of(text: str) -> float | None:
    """Return the seconds in "1:02:03.45", "02:03", "1h 2m 3s", "0h:2m:3s" or "3.5"."""
    if len(text) > _LONGEST:
        return None
    with_units = _WITH_UNIT.findall(text)
    if with_units:
        return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in with_units)
    seconds = 0.0
    for part in text.split(":"):
        number = number_of(part)
        if number is None:
            return None
        seconds = seconds * 60 + number
    return seconds


def bytes_of(text: str) -> int | None:
    """Return the bytes in "49.06M", "1,024 KB" or "1.5 GiB"; the units are powers of 1024."""
    match = _SIZE.match(text)
    number = None if match is None else number_of(match[1].replace(",", ""))
    if match is None or number is None:
        return None
    size = number * 1024 ** " KMGT".index(match[2].upper() or " ")
    return int(size) if size < 2**63 else None
