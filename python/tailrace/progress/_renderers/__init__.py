"""The renderers that tailrace knows."""

from __future__ import annotations

from ._blender import BLENDER
from ._common import COMMON_RULES
from ._ffmpeg import FFMPEG
from ._generic import GENERIC
from ._povray import POVRAY

BUILT_IN = (BLENDER, FFMPEG, GENERIC, POVRAY)

__all__ = ["BUILT_IN", "COMMON_RULES"]
