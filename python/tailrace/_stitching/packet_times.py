"""When the frames of a video are shown, as ffmpeg's `framecrc` format lists it."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

_TIME_BASE = re.compile(r"^#tb 0: (\d+)/(\d+)", re.MULTILINE)
_PACKET = re.compile(r"^0, *(-?\d+), *(-?\d+), *(-?\d+),", re.MULTILINE)
_NO_TIME = -(1 << 63)
"""What ffmpeg has for a time that it does not know (AV_NOPTS_VALUE)."""


class PacketTimes(NamedTuple):
    """The times of one video's frames, in ticks of `time_base` seconds."""

    time_base: Fraction
    shown: Sequence[int]
    """When each frame is shown, in the order in which they are stored."""
    last_duration: int
    """How long the last of these is shown."""

    @property
    def first(self) -> Fraction:
        """When the first frame is shown, in seconds."""
        return min(self.shown) * self.time_base

    @property
    def length(self) -> Fraction:
        """How long the video is shown, in seconds."""
        return (max(self.shown) - min(self.shown) + self.last_duration) * self.time_base

    @property
    def are_known(self) -> bool:
        """Whether each frame has a time."""
        return bool(self.shown) and min(self.shown) != _NO_TIME


def read_packet_times(table: str) -> PacketTimes:
    """Return what a table says of its first stream."""
    time_base = _TIME_BASE.search(table)
    rows = _PACKET.findall(table)
    return PacketTimes(
        Fraction(int(time_base[1]), int(time_base[2])) if time_base else Fraction(1),
        array("q", (int(shown) for _, shown, _ in rows)),
        int(rows[-1][2]) if rows else 0,
    )
