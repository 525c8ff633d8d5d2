"""Blender, with the log format of version 5 and the one before.

Sources: recorded from Blender 3.4; `source/blender/render/intern/pipeline.cc` (the lines with "Fra:" and "Saved:"),
`source/blender/windowmanager/intern/wm_files.cc` and `intern/cycles/` (the errors) in https://projects.blender.org.
"""

from __future__ import annotations

from ..._errors import ErrorCategory
from .._renderer import Renderer
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


_ERRORS: tuple[tuple[str, ErrorCategory | None, bool], ...] = (
    (".*[Oo]ut of (?:GPU|memory)", "memory", True),
    ("Cannot read file ", "missing_asset", True),
    ("Cannot render|Build without OpenImageDenoise", "scene", True),
    ("Python: ", "scene", False),
    ("Render error .*cannot save", None, True),
    ("", None, False),
)
"""The text of an error, its category, and whether it is fatal."""


def _errors(prefix: str, trigger: str) -> list[Rule]:
    return [
        Rule(f"(?P<error>{prefix}(?:{text}))", trigger, category=category, fatal=fatal)
        for text, category, fatal in _ERRORS
    ]


BLENDER = Renderer(
    "blender",
    [
        *_errors(r"\bError: ", "Error: "),
        *_errors(r"\| ERROR ", "| ERROR"),
        Rule(r"\bSaved: '(?P<saved>.+)'", "Saved: '"),
        Rule(_STATE_4, "Fra:", whole=True),
        Rule(_STATE_5, "Fra:", whole=True),
    ],
    programs=["blender", "blender-softwaregl"],
    signatures=["Blender 2.", "Blender 3.", "Blender 4.", "Blender 5.", "M (Peak ", "| Fra: "],
)
