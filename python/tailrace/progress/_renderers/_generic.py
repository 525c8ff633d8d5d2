"""Any other program: percentages, and how many frames of how many."""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

GENERIC = Renderer(
    "generic",
    [
        Rule(r"(?<![\d.])(?P<percent>\d+(?:\.\d+)?) ?%", "%", of="command"),
        Rule(r"\b(?P<done>\d+) ?(?:/|of) ?(?P<total>\d+) frames\b", " frames", of="command"),
        Rule(r"(?i)\bframes? (?P<done>\d+) ?(?:/|of) ?(?P<total>\d+)\b", "rame", of="command"),
    ],
)
