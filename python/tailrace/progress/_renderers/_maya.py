"""Maya: `Render`, with the renderers that it brings.

Sources: `MayaAdaptor/adaptor.py` in https://github.com/aws-deadline/deadline-cloud-for-maya;
`afanasy/python/parsers/maya.py` in https://github.com/CGRU/cgru.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule
from ._arnold import ARNOLD_LICENCE, ARNOLD_PROGRESS
from ._redshift import REDSHIFT_PROGRESS
from ._renderman import RENDERMAN_PROGRESS
from ._vray import VRAY_PROGRESS

MAYA = Renderer(
    "maya",
    [
        Rule(r"\[PROGRESS\] (?P<percent>\d+(?:[.,]\d+)?) percent", "[PROGRESS]", whole=True),
        *ARNOLD_PROGRESS,
        *REDSHIFT_PROGRESS,
        *RENDERMAN_PROGRESS,
        *VRAY_PROGRESS,
        Rule(r"(?P<error>Could not obtain a license)", "obtain a license", category="licence", fatal=True),
        Rule(r"(?P<error>\bMaxon licensing error)", "Maxon licensing error", category="licence", fatal=True),
        ARNOLD_LICENCE,
        Rule(r"(?P<error>\{SEVERE\} +License)", "{SEVERE}", category="licence", fatal=True),
        Rule(r"(?P<error>\bFatal Error\. Attempting to save\b)", "Fatal Error", fatal=True),
        Rule(r"(?P<error>\bFrame aborted\b)", "Frame aborted", fatal=True),
        Rule(r"(?P<error>\bFrame rendering aborted\b)", "Frame rendering aborted", fatal=True),
        Rule(r"(?P<error>\{SEVERE\})", "{SEVERE}"),
        Rule(r"(?P<error>\(kFailure\))", "(kFailure)"),
        Rule(r"(?P<error>\bError: )", "Error: "),
    ],
    programs=["Render", "maya", "mayabatch"],
    signatures=["mayabatch"],
)
