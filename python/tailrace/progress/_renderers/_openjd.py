"""Programs that speak Open Job Description and nothing else; see `_common`."""

from __future__ import annotations

from .._renderer import Renderer
from ._common import OPENJD_RULES

OPENJD = Renderer("openjd", OPENJD_RULES)
