"""Karma, Mantra and husk, the renderers of Houdini.

Sources: `afanasy/python/parsers/karma.py` and `mantra.py` in https://github.com/CGRU/cgru;
`HoudiniAdaptor/adaptor.py` in https://github.com/aws-deadline/deadline-cloud-for-houdini.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

KARMA = Renderer(
    "karma",
    [
        Rule(r"\bALF_PROGRESS +(?P<percent>\d+(?:\.\d+)?)", "ALF_PROGRESS", whole=True),
        Rule(r"\bPeak Memory Usage: *(?P<memory>[\d.,]+ ?[KMGT]?)", "Peak Memory Usage:"),
        Rule(
            r"(?P<error>\bNo licenses could be found to run this application)",
            "No licenses could be found",
            category="licence",
            fatal=True,
        ),
        Rule(
            r"(?P<error>\bPlease check for a valid license server)",
            "valid license server",
            category="licence",
            fatal=True,
        ),
        Rule(r"(?P<error>\bError loading geometry .* from stdin)", "Error loading geometry", category="missing_asset"),
        Rule(r"(?P<error>\bUnable to (?:access file|load texture))", "Unable to ", category="missing_asset"),
        Rule(r"(?P<error>\bFailed to create file)", "Failed to create file", fatal=True),
    ],
    programs=["husk", "karma", "mantra"],
    signatures=["ALF_PROGRESS ", "husk version "],
)
