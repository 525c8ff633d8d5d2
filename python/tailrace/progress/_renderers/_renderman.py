"""RenderMan: `prman`.

Sources: `MayaAdaptor/adaptor.py` in https://github.com/aws-deadline/deadline-cloud-for-maya;
`afanasy/python/parsers/prman.py` in https://github.com/CGRU/cgru; the errors of textures in
https://github.com/prman-pixar/RenderManForBlender/issues (230, 551).
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

RENDERMAN_PROGRESS = (Rule(r"\bR90000 +(?P<percent>\d+(?:[.,]\d+)?)%", "R90000", whole=True),)

RENDERMAN = Renderer(
    "renderman",
    [
        *RENDERMAN_PROGRESS,
        Rule(r'^(?>.*?"(?P<saved>[^"]+)").*\(mode = ', "(mode = "),
        Rule(r"(?P<error>\{SEVERE\} +License)", "{SEVERE}", category="licence", fatal=True),
        Rule(r"^(?>.*?(?P<error>\{ERROR\} )).*\bcould not open ", "{ERROR}", category="missing_asset"),
        Rule(r"^(?>.*?(?P<error>\{WARNING\} )).*\bCould not acquire texture ", "{WARNING}", category="missing_asset"),
        Rule(r"(?P<error>\{SEVERE\})", "{SEVERE}"),
        Rule(r"(?P<error>\{ERROR\})", "{ERROR}"),
    ],
    programs=["prman"],
    signatures=["R90000 ", "PhotoRealistic RenderMan"],
)
