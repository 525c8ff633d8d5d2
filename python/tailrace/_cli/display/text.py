"""What is shown as text: quantities for people, and output made harmless for a terminal that others share."""

from __future__ import annotations

import math
import re


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


# ECMA-48, 5.3 and 8.3: control sequences, of which those for colours and emphasis (SGR) are caught in a group, control
# strings (which xterm lets BEL end too), other escape sequences, and what is left of the control characters.
_CONTROLS = re.compile(
    rb"(\x1b\[[0-9;:]*m)|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
    rb"|[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]"
)
_SINGLE_CONTROLS = bytes([*range(9), *range(11, 32), 127])
_OVERWRITTEN = re.compile(rb"[^\n]*\r")
_LINE_END = re.compile(rb"[\r\n]+")


def without_controls(text: bytes, *, with_colours: bool) -> bytes:
    """Return `text` without control characters but tabs and line ends, and without escape sequences.

    Those that set colours stay with `with_colours`.
    """
    # Nearly always there are none, and this is thirty times as fast.
    if b"\xc2" not in text and len(text.translate(None, _SINGLE_CONTROLS)) == len(text):
        return text
    return _CONTROLS.sub(rb"\1" if with_colours else b"", text)


def shown_lines(text: bytes) -> bytes:
    """Return what a terminal shows at the end of lines that carriage returns began anew; `text` is whole lines."""
    if b"\r" not in text:
        return text
    return _OVERWRITTEN.sub(b"", re.sub(rb"\r+\n", b"\n", text))


def latest_line(text: bytes) -> str:
    """Return the last line of output that is not blank, whatever ended it, as plain text."""
    for line in reversed(_LINE_END.split(text)):
        clean = without_controls(line, with_colours=False).decode(errors="replace").expandtabs().rstrip()
        if clean:
            return clean
    return ""
