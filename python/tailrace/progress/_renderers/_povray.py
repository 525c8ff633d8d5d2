"""POV-Ray.

Source: `source/frontend/` and `source/parser/` in https://github.com/POV-Ray/povray; recorded from POV-Ray 3.7.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

POVRAY = Renderer(
    "povray",
    [
        Rule(r"\bRendered \d+ of \d+ pixels \((?P<percent>\d+)%\)", "pixels ("),
        Rule(r"\bRendered (?P<done>\d+) of (?P<total>\d+) pixels", "pixels ("),
        Rule(r"\bRendering frame (?P<index>\d+) of (?P<count>\d+) \(#(?P<frame>\d+)\)", "Rendering frame "),
        Rule(r"\bRendering frame (?P<frame>(?P<index>\d+)) of (?P<count>\d+)", "Rendering frame "),
        Rule(r"==== \[(?P<status>[^\]]+?)\.*\] ====", "==== ["),
        Rule(r"(?P<error>(?:Parse|File) Error: Cannot (?:find|open).*)", " Error: ", category="missing_asset"),
        Rule(r"(?P<error>Possible Parse Error: )", " Error: ", category="scene"),
        Rule(r"(?P<error>Parse Error: )", " Error: ", category="scene", fatal=True),
        Rule(r"(?P<error>Fatal error in .*)", "Fatal error in ", fatal=True),
        Rule(r"(?P<finished>POV-Ray finished)", "POV-Ray finished", of="command"),
    ],
    programs=["povray"],
    signature=r"^Persistence of Vision\(tm\) Ray Tracer",
)
