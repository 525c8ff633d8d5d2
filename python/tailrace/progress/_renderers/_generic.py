"""Any other program: percentages, and how many frames of how many."""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

GENERIC = Renderer(
    "generic",
    [
        Rule(r"(?<![\d.])(?P<percent>\d+(?:\.\d+)?) ?%", "%", of="command", whole=True),
        Rule(r"\b(?P<done>\d+) ?/ ?(?P<total>\d+) frames\b", " frames", of="command", whole=True),
    ],
)
