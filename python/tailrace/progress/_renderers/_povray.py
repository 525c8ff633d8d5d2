"""POV-Ray.

Sources: recorded from POV-Ray 3.7; `vfe/` and `source/frontend/renderfrontend.h` in https://github.com/POV-Ray/povray.
"""

from __future__ import annotations

from .._renderer import Renderer
from .._rule import Rule

POVRAY = Renderer(
    "povray",
    [
        # A preview and each step of radiosity's pretrace begin anew.
        Rule(r"\bRendered \d+ of \d+ pixels \((?P<percent>\d+)%\)", " pixels (", whole=True, falls="pass"),
        # The number behind "#" is the frame's; without it the frames that are rendered are counted.
        Rule(
            r"\bRendering frame (?P<index>\d+) of (?P<count>\d+)(?: \(#(?P<frame>\d+)\))?",
            "Rendering frame ",
        ),
        Rule(r"==== \[(?P<status>[^.\[\]]+)\.*\] ====", "==== ["),
        Rule(r"(?P<error>\bFatal error in \w+: Out of memory)", "Fatal error in ", category="memory", fatal=True),
        Rule(r"(?P<error>\bFatal error in )", "Fatal error in ", fatal=True),
        Rule(r"(?P<error>Possible Parse Error: Cannot )", "Parse Error: ", category="missing_asset"),
        Rule(r"(?P<error>Parse Error: Cannot (?:open|find))", "Parse Error: ", category="missing_asset", fatal=True),
        Rule(r"(?P<error>(?<!Possible )\bParse Error: )", "Parse Error: ", category="scene", fatal=True),
        # Old scenes have none, and are right all the same.
        Rule(r"(?P<error>\bPossible Parse Error: )(?!assumed_gamma)", "Parse Error: ", category="scene"),
        Rule(r"(?P<finished>\bPOV-Ray finished\b)", "POV-Ray finished", of="command"),
    ],
    programs=["povray"],
    signatures=["Persistence of Vision(tm) Ray Tracer"],
)
