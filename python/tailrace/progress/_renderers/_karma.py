"""Karma, Mantra and husk, the renderers of Houdini.

Sources: `afanasy/python/parsers/karma.py` and `mantra.py` in https://github.com/CGRU/cgru;
`HoudiniAdaptor/adaptor.py` in https://github.com/aws-deadline/deadline-cloud-for-houdini, and the log in its pull
request 141, in which each frame counts from 0 %; the plug-ins of Deadline for husk (`Render Time:`).
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

KARMA = Renderer(
    "karma",
    [
        Rule(r"\bALF_PROGRESS +(?P<percent>\d+(?:[.,]\d+)?)", "ALF_PROGRESS", whole=True, falls="frame"),
        # Of mantra with -V, and of a render node that runs husk; husk itself only begins again.
        Rule(r"^(?>.*?\bGenerating [\w ]*[Ii]mage: ).*?(?<!\d)(?P<frame>\d++)\.\w++(?: \(|$)", "enerating "),
        Rule(r"usdrender\w* +frame (?P<frame>-?\d+)", "usdrender"),
        Rule(r"^(?P<frame_finished>Render Time:)", "Render Time:"),
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
        Rule(
            r"^(?>.*?(?P<error>\bError loading geometry )).* from stdin",
            "Error loading geometry",
            category="missing_asset",
        ),
        Rule(r"(?P<error>\bUnable to (?:access file|load texture))", "Unable to ", category="missing_asset"),
        Rule(r"(?P<error>\bFailed to create file)", "Failed to create file"),
    ],
    programs=["husk", "karma", "mantra"],
    signatures=["ALF_PROGRESS ", "husk version "],
)
