"""Frames a second, as an exact number."""

from __future__ import annotations

from fractions import Fraction

_NTSC_NOMINALS = (12, 15, 24, 30, 48, 60, 90, 96, 120, 240)
"""What the rates that come from NTSC are called after: each is 1000/1001 of one of these."""
_ROUNDING = Fraction(1, 200)
"""How far such a rate may be from what is written for it: 23.98, 23.976 and 23.976024 are all 24000/1001."""


def exact_frame_rate(rate: float | Fraction) -> Fraction:
    """Return a rate that was written with a few decimals as it is meant: 23.976 is 24000/1001, 12.5 is 25/2.

    A float counts as it is written. Raises `ValueError` if it is not finite.
    """
    # A float's own fraction has a denominator of a power of two.
    written = rate if isinstance(rate, Fraction) else Fraction(str(rate))
    for nominal in _NTSC_NOMINALS:
        exact = Fraction(nominal * 1000, 1001)
        if abs(written - exact) <= _ROUNDING:
            return exact
    return written
