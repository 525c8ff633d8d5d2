"""Blender, with the log format of version 5 and the one before.

Sources: recorded from Blender 3.4; `source/blender/render/intern/pipeline.cc` (the lines with "Fra:" and "Saved:"),
`source/blender/windowmanager/intern/wm_files.cc` and `intern/cycles/` (the errors) in https://projects.blender.org.
"""

from __future__ import annotations

from collections.abc import Iterator

from .._renderer import Renderer
from .._report import ErrorCategory
from .._rule import Rule

_LAST_PART = (
    r"(?:.*\|\s*(?P<status>Sample|(?!\s|Mem:|Time:|Remaining:)[^|]+?)"
    r"(?:(?:(?<=Sample)|(?<=Tile)|(?<=Rendered)|(?<=Rendering)) (?P<done>\d+) ?/ ?(?P<total>\d+)[^|]*)?$)?"
)
_STATE_4 = (
    r"\bFra:(?P<frame>-?\d+) Mem:(?P<memory>[\d.]+[KMGT]?)"
    r"[^|]*(?:\| Time:[^|]*)?(?:\| Remaining:(?P<remaining>[\d:.]+))?"
) + _LAST_PART
_STATE_5 = (
    r"\bFra: ?(?P<frame>-?\d+)"
    r"(?=(?:.*?\bRemaining: ?(?P<remaining>[\d:.]+))?)"
    r"(?=(?:.*?\bMem: ?(?P<memory>[\d.]+[KMGT]?))?)"
) + _LAST_PART


def _error(text: str, category: ErrorCategory | None = None, *, fatal: bool = False) -> Iterator[Rule]:
    """Yield the rules for an error in both formats."""
    yield Rule(rf"(?P<error>\bError: {text})", "Error: ", category=category, fatal=fatal)
    yield Rule(rf"\| ERROR (?P<error>{text})", "| ERROR", category=category, fatal=fatal)


BLENDER = Renderer(
    "blender",
    [
        *_error(".*(?:[Oo]ut of (?:GPU|memory|host)|host memory)", "memory", fatal=True),
        *_error(
            "(?:Cannot|Can't|Could not|Failed to) (?:read|open|load|find) (?:blend )?file", "missing_asset", fatal=True
        ),
        *_error(
            "Cannot render|No camera|.*without OpenImageDenoise|.*[Dd]enoiser? (?:is )?not supported",
            "scene",
            fatal=True,
        ),
        *_error("Python: ", "scene"),
        *_error("Render error .*cannot save", fatal=True),
        *_error(""),
        Rule(r"\bSaved: '(?P<saved>.+)'", "Saved: '"),
        Rule(_STATE_4, "Fra:", whole=True),
        Rule(_STATE_5, "Fra:", whole=True),
    ],
    programs=["blender", "blender-softwaregl"],
    signature=r"^Blender \d+\.\d+|\bFra: ?\d+ (?:Mem:|\|)",
)
