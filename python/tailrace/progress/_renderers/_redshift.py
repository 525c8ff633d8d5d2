"""Redshift.

Sources: `afanasy/python/parsers/redshift.py` in https://github.com/CGRU/cgru; the licence error of newer versions in
https://github.com/aws-deadline/deadline-cloud-for-maya/pull/480.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

REDSHIFT_PROGRESS = (
    Rule(r"\bBlock +(?P<done>\d+)/(?P<total>\d+) .*\brendered by GPU\b", "rendered by GPU", whole=True),
)

REDSHIFT = Renderer(
    "redshift",
    [
        *REDSHIFT_PROGRESS,
        Rule(
            r"\bRendering frame +(?P<frame>-?\d+)(?: +\((?P<index>\d+)/(?P<count>\d+)\))?",
            "Rendering frame ",
        ),
        Rule(r"(?P<error>\bLicense error)", "License error", category="licence", fatal=True),
        Rule(r"(?P<error>\bMaxon licensing error)", "Maxon licensing error", category="licence", fatal=True),
        Rule(r"(?P<error>\bRendering was internally aborted)", "internally aborted", fatal=True),
        Rule(r"(?P<error>\bNo devices found\. Aborting)", "No devices found", fatal=True),
        Rule(r"(?P<error>\bError an illegal memory access was encountered)", "illegal memory access", fatal=True),
    ],
    programs=["redshiftCmdLine"],
    signatures=["[Redshift]", "Redshift Command-Line Renderer"],
)
