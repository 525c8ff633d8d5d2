"""The renderers that tailrace knows."""

from __future__ import annotations

from ._aftereffects import AFTEREFFECTS
from ._arnold import ARNOLD
from ._blender import BLENDER
from ._cinema4d import CINEMA4D
from ._ffmpeg import FFMPEG
from ._generic import COMMON_RULES, GENERIC, OPENJD, OPENJD_RULES
from ._karma import KARMA
from ._maya import MAYA
from ._nuke import NUKE
from ._povray import POVRAY
from ._redshift import REDSHIFT
from ._renderman import RENDERMAN
from ._vray import VRAY

BUILT_IN = (
    AFTEREFFECTS,
    ARNOLD,
    BLENDER,
    CINEMA4D,
    FFMPEG,
    GENERIC,
    KARMA,
    MAYA,
    NUKE,
    OPENJD,
    POVRAY,
    REDSHIFT,
    RENDERMAN,
    VRAY,
)

__all__ = ["BUILT_IN", "COMMON_RULES", "OPENJD_RULES"]
