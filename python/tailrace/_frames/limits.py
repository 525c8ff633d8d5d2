"""How much a look at one file may cost."""

from __future__ import annotations

from dataclasses import dataclass

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLimits:
    """What the process that decodes a file may use. It is far more than whole ones need."""

    memory: int = 4 * _GIB
    """In bytes, for what is decoded and what decodes it."""
    samples: int = 1 << 32
    """Width times height times depth times channels of an image, before it is decoded: 32,768 x 32,768 RGBA."""
    processor_time: float = 600.0
    """In seconds: of a picture, or of a video without getting on by a frame."""
    wall_time: float = 6 * 3600.0
    """In seconds, likewise. It may be long until there is a processor with nothing else to do."""
    yields: bool = True
    """Whether it only gets what others leave of the processors and disks."""
