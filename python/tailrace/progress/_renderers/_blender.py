"""Blender, with the log format of version 5 and the one before.

Sources: recorded from Blender 3.4; `source/blender/render/intern/pipeline.cc` (the lines with "Fra:" and "Saved:"),
`source/blender/windowmanager/intern/wm_files.cc`, `source/blender/blenloader/intern/readfile.cc`, `intern/cycles/`,
`source/blender/blenkernel/intern/bpath.cc` and `source/blender/python/intern/` (the errors) in https://projects.blender.org.
"""

from __future__ import annotations

from ..._errors import ErrorCategory
from .._renderer import Renderer
from .._rule import Rule

_LAST_PART = (
    r"(?:(?>.*\|)\s*(?P<status>Sample|(?!\s|Mem:|Time:|Remaining:)[^|]+?)"
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
    ("System is out of GPU |Out of memory in ", "memory", True),
    ("Cannot read file ", "missing_asset", True),
    ("Cannot render|Build without OpenImageDenoise", "scene", True),
    (r"Render error \([^()]*\) cannot save", None, True),
    ("Python: OSError: Python file ", "missing_asset", False),
    ("Python: ", "scene", False),
    ("", None, False),
)
"""The text of an error, its category, and whether it is fatal."""


_ERROR_RULES = [
    Rule(f"(?P<error>{prefix}(?:{text}))", trigger, category=category, fatal=fatal)
    for text, category, fatal in _ERRORS
    for prefix, trigger in ((r"\bError: ", "Error: "), (r"\| ERROR ", "| ERROR"))
]


BLENDER = Renderer(
    "blender",
    [
        # With --python-exit-code; else it goes on.
        Rule(
            r"(?P<error>\bscript failed, (?:expr|file): ).*, exiting",
            "script failed, ",
            category="scene",
            fatal=True,
            after_traceback=True,
        ),
        Rule(r"(?P<error>\bCannot find lib ')", "Cannot find lib '", category="missing_asset"),
        # By "Report Missing Files" alone: else nothing is told of a texture that is missing, which is rendered in pink.
        Rule(r"(?P<error>\bPath '.+' not found)", "Path '", category="missing_asset"),
        *_ERROR_RULES,
        # It goes on with what was there before, or with what the driver gave last.
        Rule(r"(?P<error>\bscripts disabled for \")", 'scripts disabled for "', category="scene"),
        Rule(r"(?P<error>\brestricted access disallows )", "restricted access ", category="scene"),
        Rule(r"(?P<error>\bError in (?:Py)?Driver: )", "Driver: ", category="scene"),
        Rule(r"\bSaved: '(?P<saved>.+)'", "Saved: '"),
        # A film has no file for each frame. (The line "Time: ... (Saving: ...)" also comes where a file was not saved.)
        Rule(r"\bAppend frame (?P<frame_finished>-?\d+)", "Append frame "),
        # Each view layer, and each view of it, begins anew.
        Rule(_STATE_4, "Fra:", whole=True, falls="pass"),
        Rule(_STATE_5, "Fra:", whole=True, falls="pass"),
    ],
    programs=["blender", "blender-softwaregl"],
    signatures=["Blender 2.", "Blender 3.", "Blender 4.", "Blender 5.", "M (Peak ", "| Fra: "],
)
