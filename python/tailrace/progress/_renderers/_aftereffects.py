"""After Effects: `aerender`.

Sources: `afanasy/python/parsers/afterfx.py` in https://github.com/CGRU/cgru; logs in
https://github.com/inlife/nexrender/issues (148, 223, 342, 697).
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

AFTEREFFECTS = Renderer(
    "aftereffects",
    [
        Rule(r"\bPROGRESS: +[\d:;]+ \((?P<rendered>\d+)\): ", "PROGRESS: "),
        Rule(r"\bPROGRESS: +(?P<status>.*\S)", "PROGRESS: "),
        Rule(r"(?P<error>\bmissing dependencies\b)", "missing dependencies", category="missing_asset"),
        Rule(r"(?P<error>\baerender ERROR.*No comp was found)", "aerender E", category="scene", fatal=True),
        Rule(r"(?P<error>\baerender (?:ERROR|Error)\b)", "aerender E", fatal=True),
        Rule(r"(?P<error>\bAfter Effects error\b)", "After Effects error"),
        Rule(r"(?P<error>\bUnable to Render\b)", "Unable to Render", fatal=True),
    ],
    programs=["aerender"],
    signatures=["aerender version ", "After Effects successfully launched"],
)
